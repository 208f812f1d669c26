"""Measures how long a reactor needs for something, on a machine that has other work as well."""

from twisted.internet import reactor

TICK = 0.01
"""Seconds between two ticks."""
_MOST = 1000


class Stopwatch:
    """Counts the ticks of the reactor's own timer from now on.

    A pause in which the process does not run makes a tick late and not two of it, so that what is
    measured is short on a busy machine, too, and long where a timer is waited for.
    """

    def __init__(self):
        self._ticks = 0
        self._call = reactor.callLater(TICK, self._tick)

    def _tick(self):
        self._ticks += 1
        if self._ticks < _MOST:
            self._call = reactor.callLater(TICK, self._tick)

    def stop(self):
        """The seconds that have passed, each tick counted as it should have been."""
        if self._call.active():
            self._call.cancel()
        return self._ticks * TICK
