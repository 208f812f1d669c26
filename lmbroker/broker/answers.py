"""The answers to clients: one that is whole, and one that is still coming."""

from typing import Protocol

from twisted.internet.interfaces import IConsumer

from lmbroker.backends.pieces import PIECE, Pieces
from lmbroker.backends.whole_bodies import MemoryShare
from lmbroker.broker.relay import Relay
from lmbroker.call import End, Record
from lmbroker.errors import ErrorInfo
from lmbroker.headers import Pairs
from lmbroker.translation.losses import in_answer
from lmbroker.workflows.contract import Transform, Unary
from lmbroker.workflows.conversion import EVENT_STREAM

STREAM_HEADERS: Pairs = (
    ("content-type", EVENT_STREAM),
    ("cache-control", "no-cache"),
    ("x-accel-buffering", "no"),
)


class Answer(Protocol):
    """An answer for a client: status and headers at once, the body through ``deliver``."""

    status: int
    headers: Pairs

    @property
    def bytes_out(self) -> int:
        """How much of the body was written."""
        ...

    async def deliver(self, consumer: IConsumer) -> End:
        """Write the body to ``consumer``; returns, when it is written, how the call ended."""
        ...

    def fail(self, error: ErrorInfo) -> None:
        """End it now, with ``error`` where it is not whole yet."""
        ...


class WholeAnswer:
    """An answer whose body is known."""

    def __init__(
        self,
        status: int,
        headers: Pairs,
        body: bytes,
        memory: MemoryShare | None = None,
    ) -> None:
        """Keep the whole body.

        ``memory`` is what it takes, held for as long as this answer is kept.
        """
        self.status = status
        self.headers = (*headers, ("content-length", str(len(body))))
        self._body = body
        self._memory = memory
        self.bytes_out = 0

    async def deliver(self, consumer: IConsumer) -> End:
        """Write the body to ``consumer``, a long one in pieces at its pace."""
        if len(self._body) > PIECE:
            await Pieces(self._body, consumer).done
        else:
            consumer.write(self._body)
        self.bytes_out = len(self._body)
        return End(outcome="complete", status=self.status, bytes_out=self.bytes_out)

    def fail(self, error: ErrorInfo) -> None:
        """Do nothing: the answer is whole already."""


class StreamAnswer:
    """An answer that is still coming."""

    def __init__(self, status: int, headers: Pairs, relay: Relay, record: Record) -> None:
        self.status = status
        self.headers = headers
        self._relay = relay
        self._record = record

    @property
    def bytes_out(self) -> int:
        """How much of the stream was written."""
        return self._relay.bytes_out

    def fail(self, error: ErrorInfo) -> None:
        """End the stream with ``error`` in band; nothing where it has ended."""
        self._relay.fail(error)

    async def deliver(self, consumer: IConsumer) -> End:
        """Relay the stream to ``consumer``; returns at its end.

        The record gets what is known of the answer, also where this is cancelled.
        """
        relay, record = self._relay, self._record
        transform = relay.transform
        try:
            await relay.deliver(consumer)
        finally:
            record.first_event_at = record.first_event_at or relay.first_event_at
            note_losses(record, transform)
            record.chunk_gaps, record.chunk_seconds = relay.chunk_gaps()
            record.usage = transform.usage
            record.stop = transform.stop
            record.tool_calls = transform.tool_calls
            if record.usage is None and record.reservation is not None:
                record.reservation.text_bytes = transform.text_bytes
        if transform.phase == "complete":
            return End(outcome="complete", status=self.status, bytes_out=relay.bytes_out)
        return End(
            outcome="stream_error",
            status=self.status,
            code="" if transform.error is None else transform.error.label,
            bytes_out=relay.bytes_out,
        )


def note_losses(record: Record, answer: Unary | Transform) -> None:
    """Add what the answer lost to what the request lost."""
    if answer.dropped or answer.changed:
        record.dropped = (*record.dropped, *in_answer(answer.dropped))
        record.changed = (*record.changed, *in_answer(answer.changed))
