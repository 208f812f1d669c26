"""Writing a response part by part: at a pace, at the client's speed, to whatever end."""

from typing import Any, Protocol

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from lmbroker.testing.faults import Scene

RESET_DELAY = 0.02
"""Seconds between the last write and a reset, so that what was written leaves before it."""


class Tally(Protocol):
    """What is counted over all responses."""

    open_streams: int
    disconnects: int
    bytes_written: int


@implementer(IPushProducer)
class Play:
    """One response in progress. Begins at once; counts itself in ``tally``.

    ``wait``: seconds between two parts by ``clock``; 0 gives each part a turn of the reactor of
    its own; None writes them all at once, as far as the client reads.
    """

    def __init__(
        self, request: Any, scene: Scene, tally: Tally, reactor: Any, clock: Any, wait: float | None
    ) -> None:
        self._request = request
        self._scene = scene
        self._tally = tally
        self._reactor = reactor
        self._clock = clock
        self._wait = wait
        self._parts = iter(scene.parts)
        self._next = next(self._parts, None)
        self._paused = False
        self._over = False
        self._timer: Any = None
        tally.open_streams += 1
        request.notifyFinish().addErrback(self._left)
        request.registerProducer(self, True)
        if scene.wait and scene.length is not None:
            self._later()
        else:
            self._go()

    def pauseProducing(self) -> None:
        """Send nothing until resumed."""
        self._paused = True

    def resumeProducing(self) -> None:
        """Go on sending."""
        self._paused = False
        if self._timer is None:
            self._go()

    def stopProducing(self) -> None:
        """Send nothing more: the client has left."""
        self._paused = True

    def _go(self) -> None:
        self._timer = None
        while not (self._paused or self._over):
            part = self._next
            if part is None:
                self._end()
                return
            self._next = next(self._parts, None)
            self._tally.bytes_written += len(part)
            self._request.write(part)
            if self._next is not None and self._wait is not None:
                self._later()
                return

    def _later(self) -> None:
        timers = self._clock if self._wait else self._reactor
        self._timer = timers.callLater(self._wait, self._go)

    def _end(self) -> None:
        if self._scene.end == "silence":
            return
        self._close()
        self._request.unregisterProducer()
        channel = self._request.channel
        if self._scene.end == "cut":
            channel.loseConnection()
        elif self._scene.end == "reset":
            self._reactor.callLater(RESET_DELAY, channel.transport.abortConnection)
        else:
            self._request.finish()

    def _left(self, reason: Any) -> None:
        if not self._over:
            self._tally.disconnects += 1
            self._close()

    def _close(self) -> None:
        self._over = True
        self._tally.open_streams -= 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
