"""How many calls may be at one backend at a time, and how many may wait for a place."""

from collections import deque
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from lmbroker.errors import AttemptFailed, ErrorInfo


class Full(AttemptFailed):
    """No place at the backend, and none in its queue; nothing was sent."""

    def __init__(self, message: str) -> None:
        info = ErrorInfo(kind="overloaded", message=message, code="backend_busy", retry_after="1")
        super().__init__(info, phase="queued", sent=False)


class Gate:
    """Lets ``limit`` calls through at a time; ``waiting`` more wait in order, for at most
    ``seconds`` each."""

    def __init__(self, clock: Any, limit: int, waiting: int, seconds: float) -> None:
        self.inside = 0
        self._clock = clock
        self._limit = limit
        self._waiting = waiting
        self._seconds = seconds
        self._queue: deque[Deferred[None]] = deque()

    @property
    def queued(self) -> int:
        """How many wait."""
        return len(self._queue)

    def at_once(self) -> Callable[[], None] | None:
        """What gives the place back, which may be called any number of times; None where one has
        to wait for a place."""
        if self.inside < self._limit:
            self.inside += 1
            return _Place(self).leave
        return None

    def turn(self) -> "Deferred[Callable[[], None]]":
        """Fires with the same as ``at_once`` when a place is free. Raises Full where the queue is
        full, fails with it where there is no place in time; cancelling leaves the queue."""
        if len(self._queue) >= self._waiting:
            raise Full("the backend is busy and its queue is full")
        turn: Deferred[None] = Deferred(self._queue.remove)
        self._queue.append(turn)
        timer = self._clock.callLater(self._seconds, self._too_late, turn)

        def over(result: Any) -> Any:
            if timer.active():
                timer.cancel()
            return result

        return turn.addBoth(over).addCallback(lambda _: _Place(self).leave)

    def _too_late(self, turn: "Deferred[None]") -> None:
        self._queue.remove(turn)
        turn.errback(Full("the backend is busy; no place became free in time"))

    def leave(self) -> None:
        """A place is free: the first in the queue takes it over."""
        if self._queue:
            self._queue.popleft().callback(None)
        else:
            self.inside -= 1


class _Place:
    """One place, given back once."""

    __slots__ = ("_gate",)

    def __init__(self, gate: Gate) -> None:
        self._gate: Gate | None = gate

    def leave(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave()
