"""The two stream transforms: translated and passed through. See ``contract.Transform``."""

from collections.abc import Callable

from lmbroker.adapters.base import Adapter, Decoder, Encoder, Tap
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Boundary, Reader, SSEError
from lmbroker.unified.counting import tokens_of_bytes
from lmbroker.unified.response import Usage
from lmbroker.unified.stream import Error, Finish, PartDelta, Ping, Start, StreamEvent
from lmbroker.workflows.contract import Phase

TOO_LONG = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream event above the size limit",
    code="bad_upstream_response",
)


class TranslatedStream:
    """Backend dialect -> events -> client dialect.

    ``estimate_input`` counts the request's tokens; it is asked only when the backend ends
    without telling its usage.
    """

    def __init__(
        self,
        decoder: Decoder,
        encoder: Encoder,
        client: Adapter,
        estimate_input: Callable[[], int],
    ) -> None:
        self.phase: Phase = "waiting"
        self.error: ErrorInfo | None = None
        self.usage: Usage | None = None
        self.stop = ""
        self._reader = Reader()
        self._decoder = decoder
        self._encoder = encoder
        self._client = client
        self._estimate_input = estimate_input
        self._started = False
        self._told = 0

    def feed(self, chunk: bytes) -> bytes:
        try:
            frames = self._reader.feed(chunk)
        except SSEError:
            return self.fail(TOO_LONG)
        out = []
        for frame in frames:
            for event in self._decoder.feed(frame):
                out.append(self._step(event))
        return b"".join(out)

    def close(self) -> bytes:
        out = []
        for frame in self._reader.close():
            for event in self._decoder.feed(frame):
                out.append(self._step(event))
        for event in self._decoder.close():
            out.append(self._step(event))
        return b"".join(out)

    def fail(self, error: ErrorInfo) -> bytes:
        return self._step(Error(error))

    def commit(self) -> bytes:
        if self.phase == "waiting":
            self.phase = "open"
        return b""

    def ping(self) -> bytes:
        return self._client.ping(self._started) if self.phase == "open" else b""

    def _step(self, event: StreamEvent) -> bytes:
        kind = type(event)
        if self.phase == "open":
            if kind is PartDelta:
                if type(event.value) is str:  # type: ignore[union-attr]
                    self._told += len(event.value)  # type: ignore[union-attr]
                return self._encoder.feed(event)
        elif self.phase != "waiting":
            return b""
        if isinstance(event, Start):
            self._started = True
            self.phase = "open"
        elif isinstance(event, Finish):
            event = self._finished(event)
        elif isinstance(event, Error):
            waiting = self.phase == "waiting"
            self.phase = "failed"
            self.error = event.error
            if waiting:
                return b""
        elif self.phase == "waiting" and not isinstance(event, Ping):
            self.phase = "open"
        elif isinstance(event, Ping) and self.phase == "waiting":
            return b""
        return self._encoder.feed(event)

    def _finished(self, event: Finish) -> Finish:
        self.phase = "complete"
        self.stop = event.stop.reason
        self.usage = event.usage
        if self.usage is None:
            self.usage = Usage(
                input=self._estimate_input(),
                output=tokens_of_bytes(self._told),
                estimated=True,
            )
            event = Finish(event.stop, self.usage, event.tier)
        return event


class PassedStream:
    """The backend's bytes, unchanged. Whole events leave in the turn in which they arrive; the
    tail of an unfinished one is held until it is whole, so that an error event never lands
    inside it. A tap looks aside for usage and the end."""

    def __init__(self, tap: Tap, client: Adapter, request_id: str) -> None:
        self.phase: Phase = "waiting"
        self.error: ErrorInfo | None = None
        self._tap = tap
        self._client = client
        self._request_id = request_id
        self._boundary = Boundary()
        self._early: list[bytes] = []

    @property
    def usage(self) -> Usage | None:
        return self._tap.usage

    @property
    def stop(self) -> str:
        return self._tap.stop

    def feed(self, chunk: bytes) -> bytes:
        if self.phase not in ("open", "waiting"):
            return b""
        try:
            block = self._boundary.feed(chunk)
        except SSEError:
            return self.fail(TOO_LONG)
        return self._pass(block) if block else b""

    def close(self) -> bytes:
        if self.phase not in ("waiting", "open"):
            return b""
        out = b""
        tail = self._boundary.tail
        if tail:
            rest = self._tap.last_words(tail)
            if rest:
                out = self._pass(rest)
        if self.phase not in ("waiting", "open"):
            return out
        ending = self._tap.close()
        if ending is None:
            self.phase = "complete"
            return out
        if isinstance(ending, bytes):
            self.phase = "complete"
            return out + ending
        return out + self.fail(ending)

    def fail(self, error: ErrorInfo) -> bytes:
        if self.phase not in ("waiting", "open"):
            return b""
        waiting = self.phase == "waiting"
        self.phase = "failed"
        self.error = error
        return b"" if waiting else self._client.stream_error(error, self._request_id)

    def commit(self) -> bytes:
        if self.phase != "waiting":
            return b""
        self.phase = "open"
        early, self._early = b"".join(self._early), []
        return early

    def ping(self) -> bytes:
        return self._client.ping(self._tap.started) if self.phase == "open" else b""

    def _pass(self, block: bytes) -> bytes:
        tap = self._tap
        tap.see(block)
        if self.phase == "waiting":
            if tap.error is not None and not tap.started:
                self.phase = "failed"
                self.error = tap.error
                return b""
            if not tap.started:
                self._early.append(block)
                return b""
            block = b"".join((*self._early, block))
            self._early = []
            self.phase = "open"
        if tap.error is not None:
            self.phase = "failed"
            self.error = tap.error
        elif tap.complete:
            self.phase = "complete"
        return block
