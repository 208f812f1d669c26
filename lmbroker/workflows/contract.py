"""The contract of a workflow: the bytes for a backend, and the client's bytes from its answer."""

from collections.abc import Mapping
from typing import Literal, Protocol

import msgspec

from lmbroker.call import WorkflowName
from lmbroker.errors import BackendRefused, ErrorInfo
from lmbroker.headers import Pairs
from lmbroker.sse import EVENT_LIMIT
from lmbroker.translation.dialects.base import AskedEmbeddings, Reply
from lmbroker.usage import Usage
from lmbroker.workflows.learned_rejections import Repair

Phase = Literal["waiting", "open", "stopped", "complete", "failed"]
GOING: tuple[Phase, ...] = ("waiting", "open", "stopped")
"""The phases before the end."""


class Outbound(msgspec.Struct, frozen=True, kw_only=True):
    """A request for a backend, without its credential."""

    method: Literal["POST", "GET"] = "POST"
    path: str
    query: bytes = b""
    headers: Pairs
    body: bytes = b""
    is_call: bool = True
    """A client waits for the answer. A failure of such a request is logged each time, of others
    once."""

    def with_headers(self, more: Pairs) -> "Outbound":
        """Return the same with ``more`` headers."""
        return Outbound(
            method=self.method,
            path=self.path,
            query=self.query,
            headers=self.headers + more,
            body=self.body,
            is_call=self.is_call,
        )

    def __repr__(self) -> str:
        """Show nothing that the client sent."""
        return f"Outbound({self.path!r}, {len(self.body)} bytes)"


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a request that its answer needs, so that the request itself may be dropped.

    ``dropped`` and ``changed`` are the request's losses, ``tokens`` its input, estimated.
    ``hide_usage``: the backend was asked for a count that the client does not want. ``choices``:
    how many answers there are at once. ``embeddings``: what was asked of them.
    """

    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    reply: Reply | None = None
    tokens: int = 0
    hide_usage: bool = False
    choices: int = 1
    embeddings: AskedEmbeddings | None = None


class Unary(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer for the client.

    ``dropped`` and ``changed`` are the paths of what it lost on its way (``losses.AnswerLosses``).
    """

    body: bytes
    content_type: str = "application/json"
    usage: Usage | None = None
    stop: str = ""
    tool_calls: int = 0
    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """Show nothing that the backend sent."""
        return f"Unary({len(self.body)} bytes)"


class Transform(Protocol):
    """The whole stream contract: bytes in, bytes out, exactly one end.

    ``phase`` is ``waiting`` until the first real event (nothing may have been given to the
    client until then, so an error can still become an HTTP error: ``error`` holds it and
    nothing is written), ``open`` after it, ``stopped`` when the answer has its stop reason (so
    that only counts and the end may still come), and at last ``complete`` or ``failed``. After the
    end every method returns b"". No method raises for what a backend sent. ``usage`` is what was
    known so far, or of an answer that has begun and is not whole, what came of it by an estimate.
    """

    phase: Phase
    error: ErrorInfo | None

    @property
    def usage(self) -> Usage | None:
        """The tokens that the answer took, as far as is known; None for unknown."""
        ...

    @property
    def text_bytes(self) -> int:
        """The estimated number of bytes of text in the answer so far."""
        ...

    @property
    def stop(self) -> str:
        """Why the answer stopped, in the backend's word; "" while unknown."""
        ...

    @property
    def tool_calls(self) -> int:
        """How many tools the answer has called so far."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """Paths of what the answer has lost so far (``losses.AnswerLosses``)."""
        ...

    @property
    def changed(self) -> tuple[str, ...]:
        """Paths of what the answer has in another form than the backend sent it."""
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Return what the client gets for a chunk of the backend's stream."""
        ...

    def close(self) -> bytes:
        """Return the end of the client's stream: the backend's body ended, cleanly or not.

        An answer that ended too early ends in an error.
        """
        ...

    def fail(self, error: ErrorInfo) -> bytes:
        """Return the in-band error of the client's dialect, b"" while still ``waiting``."""
        ...

    def ping(self) -> bytes:
        """Return a keep-alive ping for the client, b"" while still ``waiting``."""
        ...


class Workflow(Protocol):
    """The way of one call to one target; ``outbound`` raises Refused before anything is sent."""

    name: WorkflowName
    ratio: float
    """Tokens that the backend counts for each token that we estimate; set by the broker."""

    @property
    def estimated(self) -> int:
        """The input tokens of a request by our own estimate, 0 where nobody made one."""
        ...

    @property
    def dropped(self) -> tuple[str, ...]:
        """Paths of what the request lost on its way to the backend; after ``outbound``."""
        ...

    @property
    def changed(self) -> tuple[str, ...]:
        """Paths of what the backend gets in another form; after ``outbound``."""
        ...

    def outbound(self) -> Outbound:
        """Return the request for the backend. Raises Refused for one that cannot be made."""
        ...

    def asked(self) -> Asked:
        """Return what the answer needs of the request; after ``outbound``."""
        ...

    def recall(self, asked: Asked) -> None:
        """Take over what another call of ``outbound`` has returned.

        From then on only ``repair`` looks at the request.
        """
        ...

    def opaque(self, content_type: str) -> bool:
        """Return whether an answer of this type is passed to the client unread.

        It is no JSON, but what was asked for.
        """
        ...

    def unary(self, body: bytes, *, now: int) -> Unary:
        """Return a JSON answer to a unary call.

        Raises Broken; BackendRefused for an error in it.
        """
        ...

    def fold(self, body: bytes, *, now: int) -> Unary:
        """Return an event stream that answers a unary call. Raises Broken or BackendRefused."""
        ...

    def unfold(self, body: bytes, *, now: int) -> Unary:
        """Return a JSON answer to a streamed call, as a stream. Raises Broken."""
        ...

    def transform(self, *, now: int, longest: int = EVENT_LIMIT) -> Transform:
        """Return the transform of a stream.

        ``longest`` is the maximum of bytes of a backend's event.
        """
        ...

    def failure(self, status: int, headers: Mapping[str, str], body: bytes) -> BackendRefused:
        """Return the meaning of a backend's HTTP error, and what the client gets of it."""
        ...

    def repair(self, error: ErrorInfo) -> Repair | None:
        """Return the change of the model's profile with which the same call might succeed."""
        ...
