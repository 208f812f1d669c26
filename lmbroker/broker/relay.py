"""Moves a backend's stream through a transform to the client, at the client's pace.

The relay is the protocol of the backend's response body and the push producer of the client's
request. Chunk -> ``transform.feed`` -> one ``write``. It ends exactly once: ``ended`` fires when
the transform has reached its end, whatever caused it.
"""

from bisect import bisect_left
from collections.abc import Callable
from typing import Any
from weakref import ref

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IConsumer, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from lmbroker.call import CHUNK_BOUNDS, Timeouts
from lmbroker.errors import ErrorInfo
from lmbroker.workflows.contract import GOING, Transform

LINGER_SECONDS = 1.0
"""The seconds that the backend has after the terminal event to end its body, so that the connection
can be used again; then it is aborted."""

LINGER_BYTES = 64 * 1024

SHORTEST_GAP = CHUNK_BOUNDS[0]
"""Gaps between chunks up to this length are only counted, since there may be many of them."""

NO_EVENT = ErrorInfo(
    kind="timeout", message="the backend's answer did not begin in time", code="timeout_first_event"
)
IDLE = ErrorInfo(
    kind="timeout", message="the backend fell silent in its answer", code="timeout_idle"
)
TOO_LONG = ErrorInfo(
    kind="timeout", message="the backend's answer took too long", code="timeout_total"
)
FAULT = ErrorInfo(kind="server", message="the broker failed to relay the stream", code=None)


@implementer(IPushProducer)
class Relay(Protocol):
    """One streamed answer.

    ``begun`` fires when the first real event is here, or when the stream ended before one came:
    then the transform's phase says which. Only after that may ``deliver`` be called. ``answer`` is
    the BackendAnswer: the relay calls its ``finished``, ``release_slot`` and ``abort``.
    """

    log = Logger()

    # Of the objects that an event passes, those that are one for each stream are no longer in the
    # processor's cache when its next event comes: the fewer and the smaller the better.
    __slots__ = (
        "_aborted",
        "_answer",
        "_began",
        "_begun",
        "_body_over",
        "_chunks",
        "_clock",
        "_consumer",
        "_end_timer",
        "_first_at",
        "_held",
        "_last_received",
        "_linger_timer",
        "_paused",
        "_resting",
        "_slow",
        "_spoke",
        "_surplus",
        "_timeouts",
        "_watch_timer",
        "_wrote",
        "begun",
        "bytes_out",
        "ended",
        "first_event_at",
        "transform",
        "transport",
    )

    transport: Any

    def __init__(
        self, answer: Any, transform: Transform, clock: IReactorTime, timeouts: Timeouts
    ) -> None:
        self.transform = transform
        # Weak: with no cycle, a stream's memory is free, and still in the cache, when it ends.
        cancelled = _calls_cancel(ref(self))
        self.begun: Deferred[None] = Deferred(cancelled)
        self.ended: Deferred[None] = Deferred(cancelled)
        self.bytes_out = 0
        self.first_event_at: float | None = None
        self._answer = answer
        self._clock = clock
        self._timeouts = timeouts
        self._consumer: Any = None
        self._held: list[bytes] = []
        self._begun = False
        self._paused = False
        self._body_over = False
        self._aborted = False
        self._surplus = 0
        self._chunks = 0
        """How many chunks came after the one with the first event."""
        self._slow: list[int] | None = None
        """How many of them came later than ``SHORTEST_GAP``, by ``CHUNK_BOUNDS``; None for none."""
        self._first_at = self._resting = 0.0
        """When the first event came; for how long nothing was read since, for the client's sake."""
        self._spoke = False
        """Whether the backend has sent anything for the client."""
        self._began = self._last_received = self._wrote = clock.seconds()
        first = min(timeouts.first_event, timeouts.idle, timeouts.total, timeouts.ping)
        self._watch_timer = clock.callLater(first, self._watch)
        self._linger_timer: Any = None
        self._end_timer: Any = None
        """Runs from the stop reason of the answer to its end."""
        self.transport = None

    @property
    def silent(self) -> bool:
        """Whether nothing was written yet, nor waits to be written."""
        return not self._held and self.bytes_out == 0

    def chunk_gaps(self) -> tuple[tuple[int, ...], float]:
        """Return ``Record.chunk_gaps`` and ``Record.chunk_seconds``, as they are by now."""
        if not self._chunks:
            return (), 0.0
        gaps = self._slow or [0] * (len(CHUNK_BOUNDS) + 1)
        short = self._chunks - sum(gaps)
        return (short, *gaps[1:]), self._last_received - self._first_at - self._resting

    # What the backend's response calls.

    def dataReceived(self, data: bytes) -> None:
        """Transform a chunk of the backend's stream and pass it on."""
        transform = self.transform
        if transform.phase not in ("open", "waiting"):
            if transform.phase != "stopped":
                self._swallow(len(data))
                return
            if b"data:" in data:  # Comments are no sign that more will come.
                self._end_timer.reset(self._timeouts.after_stop)
        now = self._clock.seconds()
        if self._begun:
            self._chunks += 1
            if now - self._last_received > SHORTEST_GAP:
                self._count_slow(now - self._last_received)
        self._last_received = now
        try:
            out = transform.feed(data)
        except Exception:
            self.log.failure("A transform failed")
            out = transform.fail(FAULT)
        if out:
            self._spoke = True
        self._pass(out)

    def connectionLost(self, reason: Failure = None) -> None:  # type: ignore[assignment]
        """Close the transform: the backend's body has ended, whole or not."""
        self._body_over = True
        self._answer.finished()
        if self._linger_timer is not None and self._linger_timer.active():
            self._linger_timer.cancel()
        if self.transform.phase in GOING and not self._aborted:
            self._close_transform()

    # What the client's request calls.

    def deliver(self, consumer: IConsumer) -> "Deferred[None]":
        """Write what has come and all that will come to ``consumer``; fires at the end."""
        self._consumer = consumer
        held, self._held = b"".join(self._held), []
        if not self.ended.called:
            consumer.registerProducer(self, True)
        self._write(held)
        return self.ended

    def pauseProducing(self) -> None:
        """Stop reading from the backend: the client has not taken what is written."""
        self._paused = True
        transport = self.transport
        if transport is not None and not self._body_over:
            transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read from the backend again; its silence counts from now on."""
        self._paused = False
        self._rest_until(self._clock.seconds())
        transport = self.transport
        if transport is not None and not self._body_over:
            transport.resumeProducing()

    def stopProducing(self) -> None:
        """Stop the backend: the client's connection is gone.

        What waits for ``ended`` is cancelled next, and ends the call.
        """
        self._abort()

    def fail(self, error: ErrorInfo) -> None:
        """End the stream now, with ``error`` in band; nothing where it has ended."""
        if self.transform.phase in GOING:
            self._pass(self.transform.fail(error))

    def cancel(self) -> None:
        """Stop the backend; nobody wants the rest."""
        self._begun = True
        self._stop_timer()
        self._abort()

    # Within.

    def _pass(self, out: bytes) -> None:
        if out:
            if self._consumer is None:
                self._held.append(out)
            else:
                # As ``_write`` does, with the time that was looked at when its bytes came.
                self.bytes_out += len(out)
                self._wrote = self._last_received
                self._consumer.write(out)
        phase = self.transform.phase
        if phase == "waiting":
            return
        if not self._begun:
            self._begun = True
            self._first_at = self._last_received
            self.first_event_at = self._clock.seconds()
            self.begun.callback(None)
        if phase == "stopped":
            if self._end_timer is None:
                self._end_timer = self._clock.callLater(self._timeouts.after_stop, self._close)
        elif phase != "open":
            self._end()

    def _write(self, out: bytes) -> None:
        self.bytes_out += len(out)
        self._wrote = self._clock.seconds()
        self._consumer.write(out)

    def _end(self) -> None:
        if self.ended.called:
            return
        self._stop_timer()
        if self._consumer is not None:
            self._consumer.unregisterProducer()
        if not self._body_over:
            if self.transform.phase == "complete" and not self._aborted:
                self._answer.release_slot()
                if self._paused:
                    self.resumeProducing()
                self._linger_timer = self._clock.callLater(LINGER_SECONDS, self._abort)
            else:
                self._abort()
        self.ended.callback(None)

    def _close(self) -> None:
        """End an answer that has its stop reason and has sent nothing since.

        It is whole, and its backend does not end it.
        """
        if self._paused:
            self._end_timer = self._clock.callLater(self._timeouts.after_stop, self._close)
            return
        self._abort()
        self._close_transform()

    def _close_transform(self) -> None:
        try:
            out = self.transform.close()
        except Exception:
            self.log.failure("A transform failed")
            out = self.transform.fail(FAULT)
        self._pass(out)

    def _watch(self) -> None:
        now = self._clock.seconds()
        limits, ping = self._timeouts, self._timeouts.ping
        if self._paused:
            self._rest_until(now)
        due = [(self._last_received + limits.idle, IDLE), (self._began + limits.total, TOO_LONG)]
        if not self._spoke:
            due.append((self._began + limits.first_event, NO_EVENT))
        moment, late = min(due, key=lambda each: each[0])
        if now >= moment:
            if self.transform.phase == "stopped":
                self._close()
            else:
                self._pass(self.transform.fail(late))
            return
        if now - self._wrote >= ping and not self._paused:
            if self._consumer is not None:
                out = self.transform.ping()
                if out:
                    self._write(out)
            self._wrote = now
        wait = min(moment, self._wrote + ping) - now
        self._watch_timer = self._clock.callLater(max(wait, 0.001), self._watch)

    def _count_slow(self, gap: float) -> None:
        if self._slow is None:
            self._slow = [0] * (len(CHUNK_BOUNDS) + 1)
        self._slow[bisect_left(CHUNK_BOUNDS, gap)] += 1

    def _rest_until(self, now: float) -> None:
        """Let the backend's silence count from now on: until now nothing was read."""
        if self._begun:
            self._resting += now - self._last_received
        self._last_received = now

    def _swallow(self, size: int) -> None:
        self._surplus += size
        if self._surplus > LINGER_BYTES:
            self._abort()

    def _abort(self) -> None:
        if not self._aborted:
            self._aborted = True
            if not self._body_over:
                self._answer.abort()

    def _stop_timer(self) -> None:
        for timer in (self._watch_timer, self._end_timer):
            if timer is not None and timer.active():
                timer.cancel()


def _calls_cancel(relay: "ref[Relay]") -> Callable[[object], None]:
    def cancelled(_: object) -> None:
        here = relay()
        if here is not None:
            here.cancel()

    return cancelled
