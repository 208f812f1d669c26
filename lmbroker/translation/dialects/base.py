"""The contract of a dialect: its facts and its adapter, which are all that other layers know of it.

Decoding turns a dialect's wire format into the Unified Model, encoding turns the model into the
wire format. An adapter holds no state; what a stream needs to remember lives in its decoder or
encoder, one of each per stream.
"""

from collections.abc import Callable, Mapping
from re import Pattern
from typing import Any, Literal, Protocol

import msgspec

from lmbroker.call import Operation
from lmbroker.errors import ErrorInfo, Kind
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
    """The embeddings that a request asks for."""

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
        """Return what ``body`` asks for. Raises Refused for what no backend could answer."""
        ...

    def mend_answer(
        self, answer: JSON, asked: AskedEmbeddings, *, matryoshka: bool = False
    ) -> JSON | None:
        """Return ``answer`` in the form that was asked for, None where it has that already.

        Raises Broken for an answer that holds other vectors. ``matryoshka``: the model's vectors
        may be cut.
        """
        ...

    def counted(self, answer: JSON) -> bool:
        """Return whether the answer says how many tokens the backend read."""
        ...


class CutRules(Protocol):
    """Cuts out of a passed-through request what must not reach a backend.

    ``attribution``: the line in which a client names itself is cut out, too.
    """

    def may_concern(self, body: bytes, attribution: bool) -> bool:
        """Return whether there may be anything to cut out of ``body``, after one quick search."""
        ...

    def cut(self, body: bytes, attribution: bool) -> tuple[bytes, tuple[str, ...]]:
        """Return ``body`` without such parts, and the paths to report as dropped."""
        ...


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a dialect that other layers need, besides how its wire format is read.

    Every layer that treats dialects differently asks the facts; none asks for a dialect's name.
    """

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
    """How its headers report rate limits."""
    profiles: ProfileTable
    """What is known of the models that its backends serve."""
    spent_kind: Kind = "billing"
    """The kind of error, sent with status 429, by which clients learn that their money is used
    up."""
    messages_field: str = "messages"
    """The field of a request that holds its conversation: messages, or whatever the dialect has in
    their place."""
    api: str = ""
    """The name of the API to which the dialect belongs, if that has several; "" for none."""
    second_key: str = ""
    """The key by which the configuration of a backend of another dialect of the same API says that
    it is also called in this one; "" for none."""
    own_only: Pattern[bytes] | None = None
    """Finds in a request what only backends of the dialect can read or run, so that others are
    tried last. None: nothing is looked for."""
    needs_memory: Callable[[Mapping[str, Any]], str] | None = None
    """Names the field of a request that builds on what its backend remembers, "" where none does:
    (top level of the body) -> name. None: no request does."""
    own_paths: tuple[str, ...] = ()
    """The beginnings of further paths that are known to be this dialect's: errors on them are sent
    in its form."""
    unserved: Mapping[str, ErrorInfo] = {}
    """The beginnings of paths of this dialect that the broker does not serve on purpose, each with
    the error that says why, and what to do instead."""
    own_headers: tuple[str, ...] = ()
    """Request headers, in lower case, that only clients of this dialect send."""
    must_stream: Callable[[JSON], bool] | None = None
    """Whether a backend answers a request only as a stream, because the answer may take too long:
    (encoded request) -> bool. None: it answers all of them."""
    with_usage: Callable[[bytes], bytes | None] | None = None
    """Adds the demand to count tokens to a client's request for a stream, None where that makes
    no difference: (body) -> body. None: streams of the dialect always count."""
    counted: Callable[[int], JSON] | None = None
    """Makes the answer to a request that counts input tokens: (tokens) -> body. None where
    clients of the dialect cannot ask for that."""
    cuts: CutRules | None = None
    """What is cut out of requests that are passed through."""
    embeddings: EmbeddingsRules | None = None
    """How embeddings are checked; None where the dialect has none."""


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a request that an encoder needs to write its answer."""

    model: str
    """The name that the client asked for."""
    created: int = 0
    """When the backend's answer began, in unix seconds of the broker's clock."""
    request_id: str = ""
    """The broker's id of the call."""
    stream_usage: bool = True
    """The client wants token counts at the end of a stream."""
    legacy_functions: bool = False
    """The request had ``functions``, so that calls go back as ``function_call``."""
    wants_tier: bool = False
    """The client named a service tier, and gets to know which one served it."""
    tool_names: Mapping[str, str] = {}
    """The names of tools as the backend got them, each with the client's name."""
    custom_tools: frozenset[str] = frozenset()
    """The names of tools, as the backend got them, whose calls go back as custom calls."""
    namespaces: Mapping[str, str] = {}
    """The names of tools in namespaces, as the client's request has them (``Tool.name``), each with
    its namespace."""
    echo: Mapping[str, Any] = {}
    """What the answer repeats of the request (``Request.echo``)."""
    stop: tuple[str, ...] = ()
    """The stop sequences of the request."""
    hide_reasoning: bool = False
    """The client does not want the text of reasoning."""
    tool_id: str | None = None
    """The pattern of the ids that the backend's model takes (``Profile.tool_id``); None: ids stay
    as they are."""
    losses: AnswerLosses = msgspec.field(default_factory=AnswerLosses)
    """Gets what the encoder cannot carry."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """The facts of a backend that a decoder needs to read its answer."""

    losses: AnswerLosses = msgspec.field(default_factory=AnswerLosses)
    """Gets what the decoder cannot carry."""
    think_tags: bool | Literal["open"] = False
    """The model writes its reasoning between tags at the head of its text, or up to the closing one
    (``Profile.think_tags``)."""


class Decoder(Protocol):
    """Turns the frames of one backend's stream into events."""

    stopped: bool
    """The answer has given its stop reason; only counts and the end may follow."""

    def feed(self, frame: Frame) -> list[StreamEvent]:
        """Return the events of one frame.

        A frame that cannot be read becomes an ``Error`` event; nothing a backend sends makes this
        raise. After a terminal event there are none.
        """
        ...

    def close(self) -> list[StreamEvent]:
        """Return the events that are left when the body has ended, for whatever reason.

        The terminal event is among them if there was none yet.
        """
        ...


class Encoder(Protocol):
    """Turns events into the bytes of one client's stream."""

    def feed(self, event: StreamEvent) -> bytes:
        """Return the bytes of one event; those of ``Error`` and ``Finish`` end the stream.

        Raises ``errors.Broken`` for what the dialect cannot say where a part of it was sent
        already; an ``Error`` event with its info then ends the stream.
        """
        ...


class Adapter(Protocol):
    """One dialect: the code that reads and writes its wire format."""

    facts: Facts

    def decode_request(self, body: JSON) -> Request:
        """Return the Unified Model of a client's request. Raises ``errors.Refused``.

        It is refused where it is not of the dialect.
        """
        ...

    def encode_request(self, request: Request, profile: Profile, losses: Losses) -> JSON:
        """Return the body of the request for a backend whose model has ``profile``.

        ``losses`` gets what the dialect cannot carry; raises ``errors.Refused`` for a loss that
        changes what was asked for (class C).
        """
        ...

    def decode_response(self, body: JSON, reading: Reading | None = None) -> Response:
        """Return the Unified Model of a backend's whole answer.

        Raises ``errors.Broken`` for what is not of the dialect.
        """
        ...

    def gist(self, body: JSON) -> tuple[Usage | None, str]:
        """Return the usage and the stop reason of an answer that is passed through.

        Never raises.
        """
        ...

    def tool_calls(self, body: JSON) -> int:
        """Return how many tools an answer that is passed through calls. Never raises."""
        ...

    def encode_response(self, response: Response, reply: Reply) -> JSON:
        """Return the body of a whole answer for a client."""
        ...

    def decode_error(self, status: int, headers: Mapping[str, str], body: bytes) -> ErrorInfo:
        """Return the meaning of a backend's HTTP error; names of ``headers`` are in lower case."""
        ...

    def encode_error(self, error: ErrorInfo, request_id: str) -> tuple[int, JSON]:
        """Return the HTTP status and the body of an error for a client."""
        ...

    def reworded_overflow(self, value: JSON, error: ErrorInfo, request_id: str) -> JSON | None:
        """Return a backend's body for a context overflow in words that clients recognise.

        It is None where the clients of this dialect recognise it as it is.
        """
        ...

    def decoder(self, reading: Reading | None = None) -> Decoder:
        """Return a decoder for one stream of a backend."""
        ...

    def encoder(self, reply: Reply) -> Encoder:
        """Return an encoder for one stream of a client."""
        ...

    def tap(self, choices: int = 1) -> "Tap":
        """Return a tap for one passed-through stream with ``choices`` answers at once."""
        ...

    def ping(self, started: bool) -> bytes:
        """Return a keep-alive ping inside a stream.

        ``started``: the dialect's first event was sent.
        """
        ...

    def stream_error(self, error: ErrorInfo, request_id: str, tap: "Tap | None" = None) -> bytes:
        """Return the in-band error event that ends a broken stream.

        ``tap`` has seen the stream where it was passed through.
        """
        ...


class Tap(Protocol):
    """Reads a passed-through stream of its dialect, in whole events, without changing it."""

    started: bool
    """A real event was seen: no comment, ping, empty chunk or error."""
    stopped: bool
    """The answer has given its stop reason."""
    complete: bool
    """The terminal event was seen."""
    error: ErrorInfo | None
    """The error event that the backend sent."""
    recognised: bool
    """Clients of the dialect take that event for an error."""
    waits: bool
    """The rest of the block must be passed to ``see`` again, together with what follows."""
    stop: str
    """The stop reason; "" before it was seen."""
    tool_calls: int
    """How many calls of tools were seen."""

    @property
    def text_bytes(self) -> int:
        """The estimated number of bytes of text in the answer so far."""
        ...

    @property
    def usage(self) -> Usage | None:
        """The token counts that were seen last; None before that."""
        ...

    def see(self, block: bytes) -> int:
        """Read whole events.

        Returns how many bytes of them belong to the stream: all, or those up to the end of the
        terminal event or of an error.
        """
        ...

    def without_usage(self, block: bytes) -> bytes:
        """Return ``block`` without events that only count tokens.

        It serves clients that did not ask for them.
        """
        ...

    def close(self) -> ErrorInfo | bytes:
        """Return the missing end of a body without a terminal event, or the error that it is.

        Where the answer is complete all the same, it is the bytes that are missing.
        """
        ...
