"""What every dialect offers: its facts and its adapter, which are all that other layers know of it.

Decoding turns a dialect's wire format into the Unified Model, encoding turns the model into the
wire format. An adapter holds no state; what a stream needs to remember lives in its decoder or
encoder, one of each per stream.
"""

from collections.abc import Callable, Mapping
from typing import Literal, Protocol

import msgspec

from lmbroker.call import Operation
from lmbroker.errors import ErrorInfo
from lmbroker.headers import HeaderFacts
from lmbroker.json_text import JSON
from lmbroker.sse import Frame
from lmbroker.translation.losses import AnswerLosses, Losses
from lmbroker.translation.model_lists import ModelListFacts
from lmbroker.translation.profiles.profile import Profile, ProfileTable
from lmbroker.translation.rate_limit_headers import RateLimitFacts
from lmbroker.translation.unified.request import Request
from lmbroker.translation.unified.response import Response
from lmbroker.translation.unified.stream import StreamEvent
from lmbroker.usage import Usage


class AskedEmbeddings(msgspec.Struct, frozen=True, kw_only=True):
    """What a request for embeddings asks for."""

    count: int
    """The number of vectors."""
    base64: bool = False
    """The vectors are asked for as base64 of float32, else as arrays of numbers."""
    dimensions: int | None = None
    """The length of a vector; None: the model's own."""
    tokens: int = 0
    """Tokens of the input: counted where it holds tokens, estimated where it holds text."""
    opaque: bool = False
    """The answer is no JSON, and nothing looks into it (vLLM's ``bytes``)."""


class EmbeddingsRules(Protocol):
    """Checks requests for embeddings and their answers."""

    def check_request(self, body: JSON) -> AskedEmbeddings:
        """What ``body`` asks for. Raises Refused for what no backend could answer."""
        ...

    def mend_answer(
        self, answer: JSON, asked: AskedEmbeddings, *, matryoshka: bool = False
    ) -> JSON | None:
        """The answer as it was asked for; None where it is so already. Raises Broken for an answer
        that holds other vectors. ``matryoshka``: the model's vectors may be cut."""
        ...

    def counted(self, answer: JSON) -> bool:
        """Whether the backend said how many tokens it read."""
        ...


class CutRules(Protocol):
    """Cuts out of a client's request what must not reach a backend, although it is passed through.
    ``attribution``: the line in which a client names itself is cut out, too."""

    def may_concern(self, body: bytes, attribution: bool) -> bool:
        """Whether there may be anything to cut out of ``body``; one quick search."""
        ...

    def cut(self, body: bytes, attribution: bool) -> tuple[bytes, tuple[str, ...]]:
        """``body`` without what must not reach the backend, and the paths that count as dropped."""
        ...


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker must know of a dialect besides how its wire format is read and written. Every
    layer that treats dialects differently asks the facts; none asks for a dialect's name."""

    name: str
    """The name of the dialect in configurations, logs and metrics."""
    client_paths: Mapping[str, Operation]
    """The paths on which clients call, each with its operation; lists of models are not among
    them."""
    paths: Mapping[Operation, str]
    """The operations that backends of the dialect have, each with its path below the API root."""
    headers: HeaderFacts
    """The headers that it has of its own."""
    models: ModelListFacts
    """How it lists models."""
    rate_limits: RateLimitFacts
    """How it tells rate limits."""
    profiles: ProfileTable
    """What is known of the models that its backends serve."""
    own_paths: tuple[str, ...] = ()
    """The beginnings of further paths that are known to be this dialect's: errors on them are told
    in its form."""
    own_headers: tuple[str, ...] = ()
    """Request headers, in lower case, that only clients of this dialect send."""
    must_stream: Callable[[JSON], bool] | None = None
    """Whether a backend answers a request only as a stream, because the answer may take too long:
    (encoded request) -> bool. None: it answers all of them."""
    with_usage: Callable[[bytes], bytes | None] | None = None
    """Gives a client's request for a stream with the demand to count tokens, None where that makes
    no difference: (body) -> body. None: streams of the dialect always count."""
    cuts: CutRules | None = None
    """What is cut out of requests that are passed through."""
    embeddings: EmbeddingsRules | None = None
    """How embeddings are checked; None where the dialect has none."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """What an encoder must know of the request whose answer it writes.

    ``model`` is the name that the client asked for. ``created`` (unix seconds) is the broker's
    clock when the backend's answer began. ``tool_names`` maps names as sent to the backend back
    to the client's. ``custom_tools`` are names whose calls go back as custom calls.
    ``request_id`` is the broker's id of the call. ``tool_id`` is the pattern of the ids that the
    backend's model takes (``Profile.tool_id``); None: ids stay as they are.
    ``losses`` is told what the encoder cannot say.
    """

    model: str
    created: int = 0
    request_id: str = ""
    stream_usage: bool = True
    legacy_functions: bool = False
    wants_tier: bool = False
    tool_names: Mapping[str, str] = {}
    custom_tools: frozenset[str] = frozenset()
    stop: tuple[str, ...] = ()
    hide_reasoning: bool = False
    tool_id: str | None = None
    losses: AnswerLosses = msgspec.field(default_factory=AnswerLosses)


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """What a decoder must know of the backend whose answer it reads.

    ``losses`` is told what the decoder cannot take in. ``think_tags``: the model writes its
    reasoning between tags at the head of its text, or up to the closing one
    (``Profile.think_tags``).
    """

    losses: AnswerLosses = msgspec.field(default_factory=AnswerLosses)
    think_tags: bool | Literal["open"] = False


class Decoder(Protocol):
    """Backend stream -> events; one per stream.

    ``feed`` never raises for what a backend sends: a bad frame becomes an ``Error`` event, and
    after a terminal event it returns nothing. ``close`` says that the body ended (for whatever
    reason) and gives the terminal event if none was seen. ``stopped``: the answer has told why it
    stopped; counts may still come, and the end.
    """

    stopped: bool

    def feed(self, frame: Frame) -> list[StreamEvent]: ...
    def close(self) -> list[StreamEvent]: ...


class Encoder(Protocol):
    """Events -> client stream; one per stream. ``Error`` and ``Finish`` write their own ends.

    ``feed`` raises ``errors.Broken`` for what the dialect cannot say and of which a part was
    said already; an ``Error`` event with its info ends the stream then.
    """

    def feed(self, event: StreamEvent) -> bytes: ...


class Adapter(Protocol):
    """One dialect. ``decode_*`` raise ``errors.Refused`` (requests) or ``errors.Broken``
    (responses) for what is not of the dialect; ``encode_request`` raises ``Refused`` for losses
    of class C."""

    facts: Facts

    def decode_request(self, body: JSON) -> Request: ...
    def encode_request(self, request: Request, profile: Profile, losses: Losses) -> JSON: ...
    def decode_response(self, body: JSON, reading: Reading | None = None) -> Response: ...

    def gist(self, body: JSON) -> tuple[Usage | None, str]:
        """Usage and stop reason of an answer that is passed through; never raises."""
        ...

    def encode_response(self, response: Response, reply: Reply) -> JSON: ...
    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorInfo: ...
    def encode_error(self, error: ErrorInfo, request_id: str) -> tuple[int, JSON]: ...

    def overflow_told(self, value: JSON, error: ErrorInfo, request_id: str) -> JSON | None:
        """A backend's own body for a context overflow in the words that clients of this dialect
        act on; None where it has them already."""
        ...

    def decoder(self, reading: Reading | None = None) -> Decoder: ...
    def encoder(self, reply: Reply) -> Encoder: ...
    def tap(self, choices: int = 1) -> "Tap": ...

    def ping(self, started: bool) -> bytes:
        """A sign of life inside a stream; ``started``: the dialect's first event was sent."""
        ...

    def stream_error(self, error: ErrorInfo, request_id: str) -> bytes:
        """The in-band error event that ends a broken stream."""
        ...


class Tap(Protocol):
    """Looks aside at a passed-through stream of its dialect: whole events, bytes untouched.

    ``started``: a real event was seen (no comment, ping, empty chunk or error). ``complete``:
    the terminal event was seen. ``stopped``: the answer has told why it stopped. ``error``: the
    backend sent an error event; ``heard``: clients of the dialect take it for one. ``told`` is
    about how many bytes of text the answer has told.
    """

    started: bool
    stopped: bool
    complete: bool
    error: ErrorInfo | None
    heard: bool
    stop: str

    @property
    def told(self) -> int: ...

    @property
    def usage(self) -> Usage | None: ...

    def see(self, block: bytes) -> int:
        """Look at whole events; how many bytes of them belong to the stream: all, or those up
        to the end of the terminal event or of an error."""
        ...

    def without_usage(self, block: bytes) -> bytes:
        """``block`` without the events that only count tokens, for a client who did not ask."""
        ...

    def close(self) -> ErrorInfo | bytes:
        """The body ended and no terminal event was seen: what is missing of it when the answer
        is complete all the same, the error otherwise."""
        ...
