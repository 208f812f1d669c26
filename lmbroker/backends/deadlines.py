"""A time limit for each of many Deferreds, by one timer."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger


class Deadlines:
    """Cancels Deferreds that take longer than ``seconds``.

    They come in the order of their deadlines, so one timer for the first of them is enough. A timer
    for each, set and cancelled, would cost more than all else that a call needs of the reactor.
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self._until: dict[Deferred[Any], float] = {}
        self._timer: Any = None

    def begin(self, deferred: "Deferred[Any]") -> None:
        """Begin the time limit of ``deferred``."""
        self._until[deferred] = self._clock.seconds() + self._seconds
        if self._timer is None:
            self._timer = self._clock.callLater(self._seconds, self._look)

    def end(self, deferred: "Deferred[Any]") -> bool:
        """End the time limit of ``deferred``, once it has fired; returns whether it was in time."""
        in_time = self._until.pop(deferred, None) is not None
        if not self._until and self._timer is not None:
            self._timer.cancel()
            self._timer = None
        return in_time

    def _look(self) -> None:
        """Cancel the Deferreds that are late, and set the timer for the next one."""
        self._timer = None
        now = self._clock.seconds()
        late = []
        for deferred, until in self._until.items():
            if until > now:
                self._timer = self._clock.callLater(until - now, self._look)
                break
            late.append(deferred)
        for deferred in late:
            # The cancellation of another one may have ended this one.
            if self._until.pop(deferred, None) is not None:
                try:
                    deferred.cancel()
                except Exception:
                    self.log.failure("What is late cannot be cancelled")
