"""One call inside the broker: what is asked, by whom, where it may go, and what became of it.

A ``Call`` goes down through the layers, and a ``Record`` keeps what became of it. Observers get the
record in this order: ``opened`` once, ``attempted`` once per attempt, ``closed`` exactly once.
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from lmbroker.constraints import Positive
from lmbroker.secret import FileSecret, Secret
from lmbroker.usage import Price, Usage

Operation = Literal["chat", "completions", "embeddings", "count_tokens", "compact", "models"]
"""What a client asks the broker to do, or the broker asks a backend. ``compact``: to make a
conversation shorter, which only backends do that have it of their own."""

Dialect = str
"""The name of a dialect: one of those in ``translation.dialects.catalog``."""

WorkflowName = Literal["passthrough", "translation"]
"""How a call goes to a target: in the client's own bytes, or translated."""

Mode = Literal["default", "strict", "lenient"]
"""How much may be lost in translation before a request is refused (translation.md 0.2)."""

Outcome = Literal["complete", "stream_error", "refused", "backend_error", "client_left", "failed"]
"""How a call ended: ``complete`` (the client got a whole answer), ``stream_error`` (a stream that
ended with an in-band error), ``refused`` (by the broker), ``backend_error`` (no backend could
answer), ``client_left``, ``failed`` (a fault of the broker)."""


CHUNK_BOUNDS = (
    *(0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64),
    *(1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92),
)
"""The bounds, in seconds, between which the gaps between chunks are counted: those of
OpenTelemetry's conventions for generative AI."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP proxy on the way to a backend."""

    host: str
    port: int
    user: str = ""
    """The name that the proxy asks for; "" where it asks for none."""
    password: Secret | None = None

    @property
    def shown(self) -> str:
        """The URL of the proxy without the password, for messages."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"http://{user}{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self.shown!r})"


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """A configured server that answers calls."""

    name: str
    """The name in configuration, logs and metric labels."""
    url: str
    """The base URL, below whose API root (``endpoints.api_root``) the operations are."""
    dialect: Dialect
    credential: Secret | None = None
    """The key that is sent with each request; None for no key."""
    credential_ref: str = ""
    """Where the credential came from, such as ``env:NAME``; never the credential itself."""
    clients_key: bool = False
    """Each call is sent with its client's own key."""
    exact_root: bool = False
    """The operations are directly below ``url``."""
    also: Dialect = ""
    """A second dialect in which the backend is called as well, at the same URL: by clients of that
    dialect. "" for none."""
    also_translated: bool = False
    """Calls of other clients go there in the second dialect, too, if the first one cannot carry
    them."""
    omit_attribution: bool = False
    """The line in which Claude Code names itself is cut out of requests that are passed through."""
    query: str = ""
    """The query string that each request gets, encoded and without ``?``."""
    key_header: str = ""
    """The header that carries the credential; "" for the usual one
    (``headers.credential_headers``)."""
    passthrough_errors: Literal["known-words", "as-is"] = "known-words"
    """Whether a context overflow is reworded for clients on passthrough, so that they recognise
    it, or every error passes as it is."""
    ca: str = ""
    """The certificates to trust instead of the system's, as PEM; "" for the system's."""
    client_cert: str = ""
    """Our own certificate for this backend with its chain, as PEM."""
    client_key: Secret | None = None
    """The private key of ``client_cert``."""
    proxy: Proxy | None = None
    max_in_flight: int | None = None
    """The maximum of calls at the backend at once; None for any number."""
    queue: int = 100
    """The maximum of calls that wait for one of those to end."""
    queue_timeout: float = 30.0
    """Seconds for which a call waits at most."""
    keepalive: bool = True
    """Connections are used again."""
    check_interval: float | None = None
    """Seconds between two health checks; None for no checks."""
    headers: tuple[tuple[str, str | Secret], ...] = ()
    """Configured headers, which each request gets."""
    secrets: tuple[Secret, ...] = ()
    """Set by the constructor: all that must be masked in what the backend says."""
    key_files: tuple[FileSecret, ...] = ()
    """Set by the constructor: those of ``secrets`` that are read from files."""
    host: str = ""
    """Set by the constructor: the host in ``url``."""

    def __post_init__(self) -> None:
        held = [] if self.credential is None else [self.credential]
        held += [value for _, value in self.headers if isinstance(value, Secret)]
        files = tuple(secret for secret in held if isinstance(secret, FileSecret))
        if self.proxy is not None and self.proxy.password is not None:
            held.append(self.proxy.password)
        msgspec.structs.force_setattr(self, "secrets", tuple(held))
        msgspec.structs.force_setattr(self, "key_files", files)
        msgspec.structs.force_setattr(self, "host", urlsplit(self.url).hostname or "")

    def __repr__(self) -> str:
        """Return the backend without its headers, since these may hold a credential."""
        return f"Backend({self.name!r}, {self.url!r}, {self.dialect!r}, {self.credential!r})"


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """The deadlines of a call, in seconds (reliability.md A6).

    The fields' docstrings are their lines in docs/configuration.md.
    """

    connect: Positive = 10.0
    """Seconds for a connection to a backend, the look-up of its name included."""
    headers: Positive = 600.0
    """Seconds until the backend's answer begins, TLS and upload included."""
    first_event: Positive = 600.0
    """Seconds until the first event of a stream; reasoning models may think for minutes."""
    idle: Positive = 300.0
    """Seconds without a byte in an answer."""
    total: Positive = 3600.0
    """Seconds for a whole answer."""
    after_stop: Positive = 2.0
    """Seconds that a stream may stay open once it has said why it stopped. Then it ends for the
    client as a whole answer, and the backend's connection is closed; comments do not count."""
    commit: Positive = 10.0
    """Seconds after which the client of a stream gets its headers although its answer has not
    begun, and [keep-alive pings](operations.md#while-a-stream-waits) from then on. The first
    target's count."""
    ping: Positive = 10.0
    """Seconds without a byte after which the client of a stream gets a keep-alive ping."""


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A model at a backend."""

    backend: Backend
    model: str
    """The name of the model at the backend."""
    timeouts: Timeouts = Timeouts()
    profile: Mapping[str, Any] = {}
    """Fields of ``Profile`` that were configured for this target; they win over the alias's."""
    price: Price | None = None
    """What the backend charges, where that was configured."""
    named_by_client: bool = False
    """``model`` was made of the name that the client asked for."""


def in_dialect(backend: Backend, dialect: Dialect) -> Backend:
    """Return ``backend`` as it is called in ``dialect``."""
    if backend.dialect == dialect:
        return backend
    return msgspec.structs.replace(backend, dialect=dialect)


def in_second_dialect(backend: Backend) -> bool:
    """Return whether ``backend`` is called in its second dialect."""
    return bool(backend.also) and backend.dialect == backend.also


def spoken_in(target: Target, dialect: Dialect) -> Target:
    """Return ``target`` as its backend is called in ``dialect``."""
    return msgspec.structs.replace(target, backend=in_dialect(target.backend, dialect))


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The caller of a request; without configured keys everyone is ``anonymous``."""

    name: str = "anonymous"
    models: tuple[str, ...] = ()
    """Globs of the aliases that the caller may use; empty for all."""


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One client request."""

    id: str
    """The broker's own id of the request, which clients and logs see."""
    operation: Operation
    dialect: Dialect
    """The client's dialect."""
    asked: str
    """The ``model`` value of the body, without the suffix ``[1m]``."""
    body: bytes
    """What the client sent, byte for byte."""
    fields: Mapping[str, Any] | None = None
    """The top-level values of the body, each as its own JSON text; None where they were not read
    yet."""
    short_fields: bool = False
    """``fields`` holds the short values only."""
    stream: bool = False
    """The client asks for a stream."""
    query: bytes = b""
    """The client's query string without ``?``."""
    headers: Mapping[str, str] = {}
    """The client's headers: names in lower case, the first value of each. An allow-list decides
    which of them a backend gets."""
    caller: Caller = Caller()
    mode: Mode | None = None
    """What the client wants in the place of the alias's mode."""
    long_context: bool = False
    """The suffix ``[1m]`` of the model's name asked for the long context window."""

    def __repr__(self) -> str:
        """Show nothing that the client sent."""
        return f"Call({self.id!r}, {self.operation!r}, {self.dialect!r}, {len(self.body)} bytes)"


SAMPLED = "01"
"""The flags of a trace whose spans are recorded."""

_SAMPLED_FLAGS = (SAMPLED, "03")


class TraceContext(msgspec.Struct, frozen=True):
    """The trace of a call. Ids are lower-case hexadecimal digits: 32 of a trace, 16 of a span."""

    trace_id: str
    span_id: str
    """The span of the call. Where spans are not recorded it is the client's own, or one that nobody
    records."""
    flags: str = "00"
    """Two hexadecimal digits."""
    state: str = ""
    """The ``tracestate`` that goes with the trace; "" for none."""
    parent_id: str = ""
    """The client's span, of which the call's is a part; "" where the client named none."""
    recorded: bool = False
    """The broker records spans of this call."""

    @property
    def sampled(self) -> bool:
        """Whether a program that has handed the trace on records its spans."""
        return self.flags in _SAMPLED_FLAGS


class Turn:
    """A turn of the reactor; times are seconds of the broker's monotonic clock."""

    __slots__ = ("ended", "since")

    def __init__(self, since: float, ended: float | None = None) -> None:
        self.since = since
        """No byte that the turn has read had come before; some may have come later."""
        self.ended = ended
        """When all that the turn has written was sent; None while it goes on."""


class Attempt(msgspec.Struct, kw_only=True):
    """One try at one target; times are seconds of the broker's monotonic clock."""

    target: Target
    workflow: WorkflowName
    started: float
    queued: float = 0.0
    """For how many seconds it waited for a slot of the backend."""
    sent_at: float | None = None
    """When the request was written to a connection; None where it was not, or that is not known."""
    status: int = 0
    """The HTTP status of the backend; 0 where it did not answer."""
    ended: float | None = None
    span_id: str = ""
    """The span that was named to the backend; "" for none."""
    error: str = ""
    """The label of the error that ended the attempt; "" where it succeeded."""


class End(msgspec.Struct, frozen=True, kw_only=True):
    """The end of a call, as its client saw it."""

    outcome: Outcome | None = None
    """How it ended, in a word; None while the call goes on."""
    status: int = 0
    """The HTTP status that the client got; 0 where it got none."""
    code: str = ""
    """The label of the error that the client got; "" where it got none."""
    bytes_out: int = 0
    """Bytes of the answer's body."""


class Record(msgspec.Struct, kw_only=True):
    """The record of one call for observers, without any of its contents.

    Times are seconds of the broker's monotonic clock.
    """

    id: str
    """``Call.id``."""
    operation: Operation
    dialect: Dialect
    """The client's dialect."""
    opened_at: float
    arrived_at: float | None = None
    """Since when the whole request may have been here (``Turn.since``)."""
    read_at: float | None = None
    """When the request was read: its key, its body, and what it asks for."""
    alias: str = ""
    """The alias that was found; "" where none was."""
    caller: str = "anonymous"
    """``Caller.name``."""
    asked: str = ""
    """The model's name as the client wrote it; "" where it was not read."""
    client: str = ""
    """The address of the client, or of the proxy before it; "" where it has none."""
    path: str = ""
    """The path that was asked for, by which the route was found."""
    user_agent: str = ""
    """The ``user-agent`` header of the client, whole; "" for none."""
    trace: TraceContext | None = None
    """The trace that the call belongs to; None where nobody has looked for one."""
    client_request_id: str = ""
    """The client's ``x-request-id``; "" for none."""
    stream: bool = False
    """The client asked for a stream."""
    attempts: list[Attempt] = []
    end: End = End()
    """How the call ended."""
    headers_at: float | None = None
    """When the backend's response headers came."""
    backend_id: str = ""
    """The id that the backend gave the request that it answered; "" for none."""
    first_event_at: float | None = None
    """When the first event of a stream came, or a whole answer."""
    came_at: float | None = None
    """Since when what the answer begins with may have been here (``Turn.since``): the first event
    of a stream, or a whole body."""
    answered: Turn | None = None
    """The turn in which the answer began to go to the client; None where none did."""
    paused: float = 0.0
    """For how many seconds the call waited between its attempts."""
    chunk_gaps: tuple[int, ...] = ()
    """How many chunks of a stream came within each of ``CHUNK_BOUNDS`` of the one before, and last
    how many later; () for none."""
    chunk_seconds: float = 0.0
    """The time between the first and the last of them, without that in which they were not read."""
    closed_at: float | None = None
    usage: Usage | None = None
    """Tokens of the answer; None where they are not known."""
    cost: int | None = None
    """What the tokens cost, in 1 / ``usage.PICO`` US dollars; None where the price is not known."""
    tags: tuple[str, ...] = ()
    """The values of the headers that ``usage.tags`` of the configuration names, "" for one that the
    client did not send."""
    estimated: int = 0
    """Input tokens by our own estimate; 0 where none was made."""
    stop: str = ""
    """The stop reason of the answer."""
    tool_calls: int = 0
    """How many tools of the client the answer calls."""
    dropped: tuple[str, ...] = ()
    """Paths of what the other side did not get."""
    changed: tuple[str, ...] = ()
    """Paths of what the other side got in another form."""
    learned: tuple[str, ...] = ()
    """The parameters of the request that were repaired after a backend had refused them."""
    repairs: int = 0
    """How often the request was repaired."""
    bytes_in: int = 0
    """Bytes of the client's request body, as it came."""
    reservation: Any = None
    """What the call has reserved by the limit rules (``limiting.limiter.Reservation``); None where
    no rule met it."""
    limits: tuple[tuple[str, str], ...] = ()
    """The limit rules that met the call, each with what it said: ``allowed``, ``exceeded`` (a soft
    one), ``refused``, or ``then`` (it sent the call on)."""
    limit_headers: tuple[tuple[str, str], ...] = ()
    """The headers that report to the client what the limit rules leave."""
    client_left: bool = False
    """The client closed the connection before the end."""


class Observer(Protocol):
    """Observes calls, as metrics and logs do. An observer never raises and changes nothing."""

    def opened(self, record: Record) -> None:
        """Note that a call began; ``record`` is filled while it goes on."""
        ...

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Note that an attempt of a call ended."""
        ...

    def closed(self, record: Record) -> None:
        """Note that a call ended; ``record`` does not change any more."""
        ...
