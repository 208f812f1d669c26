"""The two stream transforms: translated and passed through. See ``contract.Transform``."""

from collections.abc import Callable, Iterable

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.redaction import redact, redact_error
from lmbroker.secret import Secret
from lmbroker.sse import EVENT_LIMIT, Boundary, Frame, Reader, SSEError, last_words
from lmbroker.translation.dialects.base import Adapter, Decoder, Encoder, Tap
from lmbroker.translation.losses import AnswerLosses, in_answer, listed
from lmbroker.translation.refusals.stream_errors import NO_ANSWER
from lmbroker.translation.unified.counting import so_far, tokens_of_answer
from lmbroker.translation.unified.parts import ToolCallPart
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    PartStart,
    Ping,
    Start,
    StreamEvent,
    UsageUpdate,
)
from lmbroker.usage import Usage
from lmbroker.workflows.contract import GOING, Phase

TOO_LONG = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream event above the size limit",
    code="bad_upstream_response",
)
TOO_DEEP = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream event that nests too deeply",
    code="bad_upstream_response",
)
EARLY_BYTES = 64 * 1024
"""The maximum of bytes that are held of a passed stream that has not begun: comments, mostly, which
say that the backend is alive. Beyond it the client gets them all the same."""

PINGS_IN_A_ROW = 4
"""The maximum of a backend's keep-alive pings that reach the client between two events of the
answer: three bytes there become dozens here."""


Secrets = tuple[Secret | None, ...]


class TranslatedStream:
    """Backend dialect -> events -> client dialect.

    ``estimate_input`` counts the request's tokens; it is called where the backend does not report
    them at once, and where its answer is not whole. ``secrets`` are masked in the backend's error.
    ``losses`` gets what decoder and encoder report as lost.
    ``longest``: most bytes of an event. ``call_bytes``: what a tool call counts besides its texts.
    """

    __slots__ = (
        "_begun",
        "_bytes_at_ping",
        "_call_bytes",
        "_client",
        "_decoder",
        "_encoder",
        "_estimate_input",
        "_losses",
        "_pings",
        "_reader",
        "_secrets",
        "_text_bytes",
        "_usage",
        "error",
        "phase",
        "stop",
        "tool_calls",
    )

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        client: Adapter,
        estimate_input: Callable[[], int],
        secrets: Secrets = (),
        losses: AnswerLosses | None = None,
        longest: int = EVENT_LIMIT,
        call_bytes: int = 0,
    ) -> None:
        self.phase: Phase = "waiting"
        self.error: ErrorInfo | None = None
        self._call_bytes = call_bytes
        self._usage: Usage | None = None
        self._begun = False
        self.stop = ""
        self.tool_calls = 0
        self._reader = Reader(longest)
        self._decoder = decoder
        self._encoder = encoder
        self._client = client
        self._estimate_input = estimate_input
        self._secrets = secrets
        self._losses = losses or AnswerLosses()
        self._text_bytes = self._bytes_at_ping = self._pings = 0

    @property
    def usage(self) -> Usage | None:
        """The tokens that the answer took, as far as is known; None for unknown."""
        if self.phase == "complete" or not self._begun:
            return self._usage
        return so_far(self._usage, self._estimate_input, self._text_bytes)

    @property
    def text_bytes(self) -> int:
        """The estimated number of bytes of text in the answer so far."""
        return self._text_bytes

    @property
    def dropped(self) -> tuple[str, ...]:
        """Paths of what the answer has lost so far."""
        return self._losses.dropped

    @property
    def changed(self) -> tuple[str, ...]:
        """Paths of what the client gets in another form."""
        return self._losses.changed

    def feed(self, chunk: bytes) -> bytes:
        """Return the client's events for a chunk of the backend's stream."""
        if self.phase != "open" and self.phase not in GOING:
            return b""
        try:
            frames = self._reader.feed(chunk)
        except SSEError:
            return self.fail(TOO_LONG)
        return self._emit(frames)

    def close(self) -> bytes:
        """Return the end of the client's stream: the backend's body has ended."""
        return self._emit(self._reader.close(), last=True)

    def fail(self, error: ErrorInfo) -> bytes:
        """Return ``error`` as an event of the client's dialect; the stream has failed."""
        return self._step(Error(error))

    def ping(self) -> bytes:
        """Return a keep-alive ping of the client's dialect, b"" while none is allowed."""
        return self._client.ping(started=True) if self._begun and self.phase in GOING else b""

    def _emit(self, frames: Iterable[Frame], *, last: bool = False) -> bytes:
        out = []
        try:
            for frame in frames:
                for event in self._decoder.feed(frame):
                    out.append(self._step(event))
            if last:
                for event in self._decoder.close():
                    out.append(self._step(event))
        except Broken as broken:
            out.append(self.fail(broken.info))
        except RecursionError:
            out.append(self.fail(TOO_DEEP))
        if self.phase == "open" and self._decoder.stopped:
            self.phase = "stopped"
        return b"".join(out)

    def _step(self, event: StreamEvent) -> bytes:
        kind = type(event)
        phase = self.phase
        if kind is PartDelta and (phase == "open" or phase == "stopped"):
            try:
                return self._encoder.feed(event)
            finally:
                # A text keeps its encoded bytes, so they are not made twice.
                value = event.value  # type: ignore[union-attr]
                if type(value) is str:
                    self._text_bytes += len(
                        value if value.isascii() else value.encode(errors="replace")
                    )
        if self.phase not in GOING:
            return b""
        if isinstance(event, Start):
            self.phase, self._begun = "open", True
            self._usage = event.usage
            if event.usage is None:
                # Clients show how full the context is from the first event on.
                counted = Usage(input=self._estimate_input(), estimated=True)
                event = Start(event.id, event.model, counted, event.created, event.tier)
        elif isinstance(event, Finish):
            last = self._encoder.feed(self._finished(event))
            return _losses_comment(self._losses) + last
        elif isinstance(event, Error):
            waiting = self.phase == "waiting"
            self.phase = "failed"
            event = Error(redact_error(event.error, self._secrets))
            self.error = event.error
            if waiting:
                return b""
        elif isinstance(event, PartStart):
            if isinstance(event.part, ToolCallPart):
                self.tool_calls += 1
                self._text_bytes += self._call_bytes + len(event.part.name)
        elif isinstance(event, UsageUpdate):
            self._usage = event.usage
        elif isinstance(event, Ping) and (self.phase == "waiting" or self._too_many_pings()):
            return b""
        return self._encoder.feed(event)

    def _too_many_pings(self) -> bool:
        """Return whether the backend has sent nothing but keep-alive pings for a while.

        The relay sends pings of its own where they are needed.
        """
        if self._text_bytes != self._bytes_at_ping:
            self._bytes_at_ping = self._text_bytes
            self._pings = 0
        self._pings += 1
        return self._pings > PINGS_IN_A_ROW

    def _finished(self, event: Finish) -> Finish:
        self.phase = "complete"
        self.stop = event.stop.reason
        usage = event.usage or self._usage
        if usage is None:
            usage = Usage(
                input=self._estimate_input(),
                output=tokens_of_answer(self._text_bytes),
                estimated=True,
            )
        self._usage = usage
        return Finish(event.stop, usage, event.tier)


def _losses_comment(losses: AnswerLosses) -> bytes:
    """Return a comment that names what the answer lost, since its headers were sent long ago."""
    lines = [
        f": x-lmbroker-{word}: {listed(in_answer(paths))}\n"
        for word, paths in (("dropped", losses.dropped), ("changed", losses.changed))
        if paths
    ]
    return "".join((*lines, "\n")).encode("ascii") if lines else b""


class PassedStream:
    """The backend's bytes, unchanged.

    Whole events leave in the turn in which they arrive; the tail of an unfinished one is held until
    it is whole, so that an error event never lands inside it. A tap looks aside for usage and the
    end.

    ``estimated_input`` are the request's tokens, for an answer that breaks off before the backend
    has counted; what came of it is estimated by its bytes. ``longest``: most bytes of an event.
    """

    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    __slots__ = (
        "_boundary",
        "_client",
        "_early",
        "_early_bytes",
        "_estimated_input",
        "_held",
        "_hide_usage",
        "_request_id",
        "_secrets",
        "_tap",
        "error",
        "phase",
    )

    def __init__(
        self,
        tap: Tap,
        client: Adapter,
        request_id: str,
        *,
        hide_usage: bool = False,
        secrets: Secrets = (),
        estimated_input: int = 0,
        longest: int = EVENT_LIMIT,
    ) -> None:
        self.phase: Phase = "waiting"
        self.error: ErrorInfo | None = None
        self._tap = tap
        self._hide_usage = hide_usage
        self._secrets = secrets
        self._client = client
        self._request_id = request_id
        self._boundary = Boundary(longest)
        self._early: list[bytes] = []
        self._early_bytes = 0
        self._held = b""
        """The rest of a block that the tap must see again."""
        self._estimated_input = estimated_input

    @property
    def usage(self) -> Usage | None:
        """The tokens that the answer took, as far as is known; None for unknown."""
        tap = self._tap
        if self.phase == "complete" or not tap.started:
            return tap.usage
        return so_far(tap.usage, lambda: self._estimated_input, tap.text_bytes)

    @property
    def text_bytes(self) -> int:
        """The estimated number of bytes of text in the answer so far."""
        return self._tap.text_bytes

    @property
    def stop(self) -> str:
        """Why the answer stopped, in the backend's word; "" while unknown."""
        return self._tap.stop

    @property
    def tool_calls(self) -> int:
        """How many tools the answer has called so far."""
        return self._tap.tool_calls

    def feed(self, chunk: bytes) -> bytes:
        """Return the whole events of the backend's stream that a chunk completes."""
        if self.phase != "open" and self.phase not in GOING:
            return b""
        try:
            block = self._boundary.feed(chunk)
            return self._pass(block) if block else b""
        except SSEError:
            # The tap knows more of an event that it has parsed.
            return self.fail(TOO_LONG)

    def close(self) -> bytes:
        """Return the end of the stream, an error where the backend's body ended too early."""
        if self.phase not in GOING:
            return b""
        rest = last_words(self._boundary.tail)
        out = self._pass(rest) if rest else b""
        if self.phase not in GOING:
            return out
        ending = self._tap.close()
        if isinstance(ending, ErrorInfo):
            return out + self.fail(redact_error(ending, self._secrets))
        if not self._tap.started:
            return out + self.fail(NO_ANSWER)
        self.phase = "complete"
        return out + ending

    def fail(self, error: ErrorInfo) -> bytes:
        """Return ``error`` as an event of the dialect; the stream has failed."""
        if self.phase not in GOING:
            return b""
        waiting = self.phase == "waiting"
        self.phase = "failed"
        held, self._held = redact(self._held, self._secrets), b""
        end = self._tap.close() if held else None
        if isinstance(end, ErrorInfo):
            error = redact_error(end, self._secrets)  # the backend's own message
        self.error = error
        return (
            b"" if waiting else held + self._client.stream_error(error, self._request_id, self._tap)
        )

    def ping(self) -> bytes:
        """Return a keep-alive ping of the dialect, b"" while none is allowed."""
        return self._client.ping(self._tap.started) if self.phase in ("open", "stopped") else b""

    def _pass(self, block: bytes) -> bytes:
        """Return the part of ``block`` that belongs to the stream: nothing behind its end does."""
        tap = self._tap
        if self._held:
            block, self._held = self._held + block, b""
        seen = tap.see(block)
        if seen < len(block):
            if tap.waits:
                self._held = block[seen:]
            block = block[:seen]
        if self._hide_usage:
            block = tap.without_usage(block)
        if tap.complete and not tap.started:
            return self.fail(NO_ANSWER)
        if self.phase == "waiting":
            if not tap.started:
                if tap.error is not None:
                    return self.fail(tap.error)
                self._early.append(block)
                self._early_bytes += len(block)
                return self._open() if self._early_bytes > EARLY_BYTES else b""
            block = self._open() + block
        if tap.error is not None:
            block = redact(block, self._secrets)
            error = redact_error(tap.error, self._secrets)
            if not tap.recognised:
                return block + self.fail(error)
            self.phase = "failed"
            self.error = error
        elif tap.complete:
            self.phase = "complete"
        elif tap.stopped:
            self.phase = "stopped"
        return block

    def _open(self) -> bytes:
        """Leave ``waiting``; return what was held until now."""
        self.phase = "open"
        early, self._early = b"".join(self._early), []
        return early
