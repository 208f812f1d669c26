"""Collects whole answers of backends in memory, within bounds."""

from io import BytesIO
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss

from lmbroker.backends.client.failures import broken, slow
from lmbroker.call import Timeouts
from lmbroker.errors import AttemptFailed, BrokerError, Refused, TimedOut


class AnswerMemory:
    """The memory for all collected answers: ``limit`` bytes, of which ``used`` are taken."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0


class MemoryShare:
    """The memory that one answer takes, for as long as a reference to this is kept."""

    __slots__ = ("_memory", "_size")

    def __init__(self, memory: AnswerMemory) -> None:
        self._memory = memory
        self._size = 0

    def take(self, size: int) -> bool:
        """Take ``size`` more bytes; returns False where all answers now take more than they may."""
        self._size += size
        self._memory.used += size
        return self._memory.used <= self._memory.limit

    def __del__(self) -> None:
        self._memory.used -= self._size


class Collector(Protocol):
    """Collects a body of at most ``limit`` bytes.

    Silence and a body that never ends are errors, and so is a body for which ``memory`` has no
    bytes left.
    """

    def __init__(self, limit: int, memory: AnswerMemory | None = None) -> None:
        self.outcome: bytes | BrokerError | None = None
        """The body, or the error why there is none; None while the body comes."""
        self.memory = None if memory is None else MemoryShare(memory)
        self._done: Deferred[None] | None = None
        self._body = BytesIO()
        self._size = 0
        self._limit = limit
        self._idle = 0.0
        self._timers: tuple[Any, ...] = ()

    def watch(self, clock: IReactorTime, timeouts: Timeouts) -> "Deferred[None]":
        """Begin the time limits; fires when there is an outcome.

        This is called only for a body that is not whole with the first read, as most are.
        """
        self._idle = timeouts.idle
        self._timers = (
            clock.callLater(timeouts.idle, self._silent),
            clock.callLater(timeouts.total, self._too_long),
        )
        self._done = Deferred()
        return self._done

    def body(self) -> bytes:
        """Return the body; raises the outcome where that is an error."""
        if isinstance(self.outcome, bytes):
            return self.outcome
        assert self.outcome is not None
        raise self.outcome

    def dataReceived(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self._timers and self._timers[0].active():
            self._timers[0].reset(self._idle)
        if self.outcome is not None:
            return
        self._size += len(data)
        if self._size > self._limit:
            self._end(oversized())
        elif self.memory is not None and not self.memory.take(len(data)):
            self._end(_out_of_memory())
        else:
            self._body.write(data)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """End the body; ``reason`` says whether it is whole."""
        if reason.check(ResponseDone, PotentialDataLoss):
            # No copy: the buffer itself, cut to its size.
            self._end(self._body.getvalue())
        else:
            self._end(broken("the backend closed the connection in its answer", "truncated"))

    def _silent(self) -> None:
        self._end(TimedOut(slow("the backend stopped in its answer", "timeout_idle")))

    def _too_long(self) -> None:
        self._end(TimedOut(slow("the backend's answer took too long", "timeout_total")))

    def _end(self, outcome: bytes | BrokerError) -> None:
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        if self.outcome is None:
            self.outcome = outcome
            self._body = BytesIO()
            if not isinstance(outcome, bytes):
                # Now, since an error and its traceback hold each other, and with that this.
                self.memory = None
            if self._done is not None:
                self._done.callback(None)


def oversized() -> AttemptFailed:
    """Return the error for an answer that is larger than its limit."""
    return broken("the backend's answer is too large", "oversized")


def _out_of_memory() -> Refused:
    return Refused(
        "overloaded",
        "the broker has as many answers in memory as it may",
        code="too_many_answers",
        retry_after="1",
    )
