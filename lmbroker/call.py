"""One call inside us: what is asked, by whom, where it may go, and what became of it.

A ``Call`` goes down through the house, a ``Record`` is its memory. Doors may refuse;
observers may not: they are told, in the order ``opened``, ``attempted`` (once per attempt),
``closed`` (exactly once).
"""

from collections.abc import Mapping
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

import msgspec

from lmbroker.constraints import Positive
from lmbroker.secret import FileSecret, Secret
from lmbroker.usage import Usage

Operation = Literal["chat", "completions", "embeddings", "count_tokens", "models"]
Dialect = str
"""The name of a dialect: one of those in ``translation.dialects.catalog``."""

WorkflowName = Literal["passthrough", "translation"]
Mode = Literal["default", "strict", "lenient"]
"""How much may be lost in translation before a request is refused (translation.md 0.2)."""

Outcome = Literal["complete", "stream_error", "refused", "backend_error", "client_left", "failed"]
"""How a call ended: ``complete`` (the client got a whole answer), ``stream_error`` (a stream that
ended with an in-band error), ``refused`` (we said no), ``backend_error`` (no backend could
answer), ``client_left``, ``failed`` (a fault of ours)."""


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """An HTTP proxy on the way to a backend. ``shown`` is its address without the password."""

    host: str
    port: int
    user: str = ""
    password: Secret | None = None

    @property
    def shown(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"http://{user}{host}:{self.port}"

    def __repr__(self) -> str:
        return f"Proxy({self.shown!r})"


class Backend(msgspec.Struct, frozen=True, kw_only=True):
    """A configured place to send to.

    ``url`` is the base below which its operations live (``endpoints.api_root``); with
    ``exact_root`` they live directly below it. ``query`` goes with each request, encoded and
    without ``?``. ``omit_attribution``: Claude Code's attribution line does not reach it in a
    request that is passed through. ``name`` is safe for logs and metric labels.
    ``credential_ref`` says where the credential came from (``env:NAME``), never what it is;
    with ``clients_key`` each call brings its client's own;
    ``key_header`` is the header that carries it, "" for the usual one
    (``headers.credential_headers``). ``ca`` are the certificates
    to trust, as PEM, in the place of the system's; ``client_cert`` is our own for it with its
    chain, as PEM, and ``client_key`` the key to it. ``proxy`` is on the way to it. At most
    ``max_in_flight`` calls are at it at once; ``queue`` more wait for at most ``queue_timeout``
    seconds each. ``keepalive``: connections are used again. With ``passthrough_errors`` ``as-is``
    not even its context overflows are told in the words that clients of its dialect know. It is
    asked each ``check_interval`` seconds whether it lives. ``headers`` go with each request.
    ``secrets`` is made of the others: what nobody may read in what the backend says; so are
    ``key_files``, those of them that stand in files, and ``host``, the name in ``url``.
    """

    name: str
    url: str
    dialect: Dialect
    credential: Secret | None = None
    credential_ref: str = ""
    clients_key: bool = False
    exact_root: bool = False
    omit_attribution: bool = False
    query: str = ""
    key_header: str = ""
    passthrough_errors: Literal["known-words", "as-is"] = "known-words"
    ca: str = ""
    client_cert: str = ""
    client_key: Secret | None = None
    proxy: Proxy | None = None
    max_in_flight: int | None = None
    queue: int = 100
    queue_timeout: float = 30.0
    keepalive: bool = True
    check_interval: float | None = None
    headers: tuple[tuple[str, str | Secret], ...] = ()
    secrets: tuple[Secret, ...] = ()
    key_files: tuple[FileSecret, ...] = ()
    host: str = ""

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
        """Without the headers, which may hold a credential, too."""
        return f"Backend({self.name!r}, {self.url!r}, {self.dialect!r}, {self.credential!r})"


class Timeouts(msgspec.Struct, frozen=True, kw_only=True):
    """How long we wait, in seconds (reliability.md A6).

    ``connect`` begins with the look-up of the backend's name and ends with the TCP connection,
    ``headers`` ends with the backend's response headers (TLS and upload included), ``first_event``
    with the first event of a stream (reasoning models may think for minutes before it), ``idle``
    restarts with each byte, ``total`` bounds a whole answer, ``after_stop`` is how long a stream
    may stay open that has told why it stopped. ``commit`` is how long the client of a stream may
    wait for its answer to begin before it gets the head of it, ``ping`` how long it may hear
    nothing from then on.
    """

    connect: Positive = 10.0
    headers: Positive = 600.0
    first_event: Positive = 600.0
    idle: Positive = 300.0
    total: Positive = 3600.0
    after_stop: Positive = 2.0
    commit: Positive = 10.0
    ping: Positive = 10.0


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """A backend and the model's name there; ``timeouts`` are how long to wait for it, ``profile``
    what overrides that of the alias."""

    backend: Backend
    model: str
    timeouts: Timeouts = Timeouts()
    profile: Mapping[str, Any] = {}


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """A name that clients ask for, and where it leads.

    ``profile`` overrides what is known of the target's model, by the names of
    ``profiles.Profile``. ``expose_limits``: clients may see how much of its rate limits the
    backend has left.
    """

    name: str
    targets: tuple[Target, ...]
    mode: Mode = "default"
    profile: Mapping[str, Any] = {}
    expose_limits: bool = False

    def overrides(self, target: Target) -> Mapping[str, Any]:
        """What was configured of the model of ``target``: there, else here."""
        return {**self.profile, **target.profile} if target.profile else self.profile


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """Who calls; without configured keys everybody is ``anonymous``. ``models`` are globs of the
    aliases that the caller may use; empty means all."""

    name: str = "anonymous"
    models: tuple[str, ...] = ()


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One client request.

    ``body`` is what the client sent, byte for byte; ``query`` its query string without ``?``.
    ``fields`` are its top-level values, each as its own JSON text, where somebody has looked at
    them already; ``short_fields``: only the short ones of them. ``headers`` are the client's, names
    in lower case, first value each; none reaches a backend but by an allow-list. ``asked`` is the
    ``model`` value of the body, without the ``[1m]`` behind it that asks for the long context
    window (``long_context``).
    """

    id: str
    operation: Operation
    dialect: Dialect
    asked: str
    body: bytes
    fields: Mapping[str, Any] | None = None
    short_fields: bool = False
    stream: bool = False
    query: bytes = b""
    headers: Mapping[str, str] = {}
    caller: Caller = Caller()
    mode: Mode | None = None
    long_context: bool = False

    def __repr__(self) -> str:
        """Nothing that the client sent."""
        return f"Call({self.id!r}, {self.operation!r}, {self.dialect!r}, {len(self.body)} bytes)"


class Attempt(msgspec.Struct, kw_only=True):
    """One try at one target; times are seconds of the broker's monotonic clock."""

    target: Target
    workflow: WorkflowName
    started: float
    status: int = 0
    ended: float | None = None
    error: str = ""


class Record(msgspec.Struct, kw_only=True):
    """The memory of one call, for observers; nothing of the contents stands here."""

    id: str
    operation: Operation
    dialect: Dialect
    opened_at: float
    alias: str = ""
    caller: str = "anonymous"
    stream: bool = False
    attempts: list[Attempt] = []
    status: int = 0
    outcome: Outcome | None = None
    code: str = ""
    headers_at: float | None = None
    first_event_at: float | None = None
    closed_at: float | None = None
    usage: Usage | None = None
    estimated: int = 0
    stop: str = ""
    dropped: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    learned: tuple[str, ...] = ()
    repairs: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    client_left: bool = False


class Observer(Protocol):
    """Who is told. Observers never raise and never change what happens."""

    def opened(self, record: Record) -> None: ...
    def attempted(self, record: Record, attempt: Attempt) -> None: ...
    def closed(self, record: Record) -> None: ...
