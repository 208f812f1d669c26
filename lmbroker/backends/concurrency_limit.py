"""Limits how many calls may be at one backend at a time, and how many may wait for a slot."""

from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from lmbroker.errors import AttemptFailed, ErrorInfo


class Full(AttemptFailed):
    """The backend has no free slot, and its queue is full or was too slow; nothing was sent."""

    def __init__(self, message: str) -> None:
        info = ErrorInfo(kind="overloaded", message=message, code="backend_busy", retry_after="1")
        super().__init__(info, phase="queued", sent=False)


class BackendLoad(NamedTuple):
    """The load of a backend: how many calls have a slot, and how many wait for one."""

    in_use: int
    queued: int


class ConcurrencyLimit:
    """Gives out ``limit`` slots at a time, one for each call.

    ``waiting`` more calls wait in the order in which they came, for at most ``seconds`` each.
    ``in_use`` is the number of slots that are taken.
    """

    def __init__(self, clock: IReactorTime, limit: int, waiting: int, seconds: float) -> None:
        self.in_use = 0
        self._clock = clock
        self._limit = limit
        self._waiting = waiting
        self._seconds = seconds
        self._queue: deque[Deferred[None]] = deque()

    @property
    def queued(self) -> int:
        """The number of calls that wait for a slot."""
        return len(self._queue)

    def try_acquire(self) -> Callable[[], None] | None:
        """Take a slot that is free now; returns what releases it, or None where none is free.

        The slot is released by the first call of the returned function; more calls do nothing.
        """
        if self.in_use < self._limit:
            self.in_use += 1
            return _Slot(self).release
        return None

    def acquire(self) -> "Deferred[Callable[[], None]]":
        """Wait for a slot; fires with what releases it, as ``try_acquire`` returns it.

        Raises Full where the queue is full. Fails with Full where no slot becomes free in time.
        Cancelling the Deferred leaves the queue.
        """
        if len(self._queue) >= self._waiting:
            raise Full("the backend is busy and its queue is full")
        waiter: Deferred[None] = Deferred(self._queue.remove)
        self._queue.append(waiter)
        timer = self._clock.callLater(self._seconds, self._too_late, waiter)

        def stop_timer(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return waiter.addBoth(stop_timer).addCallback(lambda _: _Slot(self).release)

    def release(self) -> None:
        """Free one slot, or hand it to the first call in the queue."""
        if self._queue:
            self._queue.popleft().callback(None)
        else:
            self.in_use -= 1

    def _too_late(self, waiter: "Deferred[None]") -> None:
        self._queue.remove(waiter)
        waiter.errback(Full("the backend is busy; no place became free in time"))


class _Slot:
    """One slot, which is released once."""

    __slots__ = ("_of",)

    def __init__(self, of: ConcurrencyLimit) -> None:
        self._of: ConcurrencyLimit | None = of

    def release(self) -> None:
        of, self._of = self._of, None
        if of is not None:
            of.release()
