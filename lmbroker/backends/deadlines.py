"""A time limit for each of many Deferreds, by one timer."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import Logger


class Deadlines:
    """Cancels those that take longer than ``seconds``.

    They come in the order of their deadlines, so the reactor has to be asked for the first one
    only: a timer for each, set and cancelled, is dearer than all else that a call needs of it.
    """

    log = Logger()

    def __init__(self, clock: Any, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._until: dict[Deferred[Any], float] = {}
        self._timer: Any = None

    def begin(self, deferred: "Deferred[Any]") -> None:
        """From now on ``deferred`` has its time."""
        self._until[deferred] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._look)

    def end(self, deferred: "Deferred[Any]") -> bool:
        """Whether it was done in time; to be asked once, when it is."""
        in_time = self._until.pop(deferred, None) is not None
        if not self._until and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return in_time

    def _look(self) -> None:
        """Cancel those that are late, and look again when the next one would be."""
        self._timer = None
        now = self._clock.seconds()
        late = []
        for deferred, until in self._until.items():
            if until > now:
                self._timer = self._clock.callLater(until - now, self._look)
                break
            late.append(deferred)
        for deferred in late:
            # Not one that has been ended by what became of another.
            if self._until.pop(deferred, None) is not None:
                try:
                    deferred.cancel()
                except Exception:
                    self.log.failure("What is late cannot be cancelled")
