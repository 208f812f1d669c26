"""Sends the spans of recorded calls to a collector in batches, and never delays a call.

What waits is bounded: while nobody takes spans, new ones are dropped and counted. One batch is on
its way at a time, and one that may be taken later is sent again, less and less often.
"""

from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker.call import Attempt, Record
from lmbroker.observers.spans import SpanEncoder, rejected_of

SECONDS = 2.0
"""How long spans wait for others of their batch."""

BATCH_BYTES = 256 * 1024
"""A batch of so many bytes does not wait for more."""

WAITING_BYTES = 4 * 1024 * 1024
"""The maximum of bytes that wait, the batch on its way included."""

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds before a batch is sent again: at first, and at most."""

LAST_SECONDS = 2.0
"""How long the end of the process waits for the last spans."""


class NotTaken(Exception):
    """A batch was not taken; ``reason`` says why, without anything of the receiver's.

    ``again``: it may be taken later, after ``pause`` seconds if the receiver has named them.
    """

    def __init__(self, reason: str, *, again: bool, pause: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.again = again
        self.pause = pause


Post = Callable[[bytes], Coroutine[Any, Any, bytes]]
"""Sends a batch to the receiver, and returns its answer. Raises NotTaken."""

Count = Callable[[int], object]


class SpanExport:
    """Keeps the spans of recorded calls and sends them. See ``batching.BatchObserver``.

    ``wall`` gives unix seconds; ``dropped`` and ``exported`` count spans.
    """

    log = Logger()

    def __init__(
        self,
        service_name: str,
        post: Post,
        reactor: IReactorTime,
        wall: Callable[[], float],
        chance: Callable[[], float],
        dropped: Count,
        exported: Count,
    ) -> None:
        self._encoder = SpanEncoder(service_name)
        self._post = post
        self._reactor = reactor
        self._wall = wall
        self._chance = chance
        self._dropped = dropped
        self._exported = exported
        self._waiting: deque[tuple[bytes, int]] = deque()
        """The spans of each call, and how many they are."""
        self._bytes = 0
        self._timer: Any = None
        self._sending: Deferred[None] | None = None
        self._pause = 0.0
        self._lost = 0
        """Spans that were dropped since the receiver is away."""
        self._away = False
        self._stopping = False

    def take(self, service_name: str, post: Post) -> None:
        """Send by ``post`` from now on, under this name of the service."""
        self._encoder = SpanEncoder(service_name)
        self._post = post

    # Observing.

    def opened(self, record: Record) -> None:
        """Keep nothing: a call has its spans when it ends."""

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Keep nothing: the spans of attempts are made with their call's."""

    def closed(self, record: Record) -> None:
        """Keep the spans of one ended call."""
        self.ended((), (record,))

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Keep the spans of ended calls."""
        offset = self._wall() - self._reactor.seconds()
        for record in records:
            if record.trace is not None and record.trace.recorded:
                count = 1 + len(record.attempts)
                if self._bytes >= WAITING_BYTES:
                    self._drop(count)
                    continue
                part = self._encoder.spans(record, offset)
                if self._bytes + len(part) > WAITING_BYTES:
                    self._drop(count)
                    continue
                self._waiting.append((part, count))
                self._bytes += len(part)
        if self._waiting and self._sending is None:
            if self._bytes >= BATCH_BYTES and not self._pause:
                self._send()
            elif self._timer is None:
                self._timer = self._reactor.callLater(SECONDS, self._send)

    def _drop(self, count: int) -> None:
        self._dropped(count)
        self._lost += count

    # Sending.

    def _send(self) -> None:
        """Send the next batch, if there is anything and none is on its way."""
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
        if self._sending is not None or not self._waiting:
            return
        parts: list[bytes] = []
        spans = size = 0
        while self._waiting and (not parts or size + len(self._waiting[0][0]) <= BATCH_BYTES):
            part, count = self._waiting.popleft()
            parts.append(part)
            spans += count
            size += len(part)
        self._sending = sending = Deferred.fromCoroutine(self._exchange(parts, spans, size))
        sending.addErrback(self._failed)
        if sending.called:
            self._next()
        else:
            sending.addCallback(lambda _: self._next())

    def _failed(self, failure: Any) -> None:
        if not failure.check(CancelledError):
            self.log.failure("The export of spans failed", failure)

    async def _exchange(self, parts: list[bytes], spans: int, size: int) -> None:
        """Send one batch, and take it back where it may be taken later."""
        kept = False
        try:
            answer = await self._post(self._encoder.batch(parts))
        except NotTaken as problem:
            self._note_away(problem.reason)
            if problem.again and not self._stopping:
                kept = True
                self._waiting.appendleft((b"".join(parts), spans))
                before = min(self._pause * 2, LONGEST_PAUSE) if self._pause else FIRST_PAUSE
                # Processes that began to wait together do not come back together.
                self._pause = problem.pause or before
                self._timer = self._reactor.callLater(
                    self._pause * (0.5 + self._chance()), self._send
                )
            else:
                self._drop(spans)
        except CancelledError:
            self._drop(spans)
            raise
        else:
            rejected = min(rejected_of(answer), spans)
            self._exported(spans - rejected)
            if rejected:
                self._drop(rejected)
            self._note_back()
        finally:
            if not kept:
                self._bytes -= size

    def _next(self) -> None:
        self._sending = None
        if self._waiting and self._timer is None:
            if self._bytes >= BATCH_BYTES:
                self._timer = self._reactor.callLater(0, self._send)
            else:
                self._timer = self._reactor.callLater(SECONDS, self._send)

    def _note_away(self, reason: str) -> None:
        if not self._away:
            self._away = True
            self.log.error("Spans cannot be exported: {reason}", reason=reason)

    def _note_back(self) -> None:
        self._pause = 0.0
        if self._away:
            self._away = False
            self.log.info("Spans are exported again; {count} were dropped", count=self._lost)
        self._lost = 0

    # Stopping.

    def stop(self) -> "Deferred[None]":
        """Send what waits, once and for a bounded time; fires when that is over."""
        self._stopping = True
        if not self._waiting and self._sending is None:
            self._cancel_timer()
            return succeed(None)
        return Deferred.fromCoroutine(self._rest())

    async def _rest(self) -> None:
        until = self._reactor.seconds() + LAST_SECONDS
        while self._waiting or self._sending is not None:
            left = until - self._reactor.seconds()
            if left <= 0 or (self._away and self._sending is None):
                break
            if self._sending is None:
                self._send()
            sending = self._sending
            if sending is not None:
                timer = self._reactor.callLater(left, sending.cancel)
                done: Deferred[None] = Deferred()
                sending.addCallback(done.callback)
                await done
                if timer.active():
                    timer.cancel()
        self._cancel_timer()
        self._drop(sum(count for _, count in self._waiting))
        self._waiting.clear()
        self._bytes = 0

    def _cancel_timer(self) -> None:
        if self._timer is not None and self._timer.active():
            self._timer.cancel()
        self._timer = None
