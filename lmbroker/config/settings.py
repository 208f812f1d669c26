"""The settings of a configuration file: each table as a struct of its keys.

The type of a field says what a key may be, and the readers (``fields.read_settings``) keep to it.
The first paragraph of a field's docstring is its line in docs/configuration.md, which
``docs/configuration_page.py`` writes. A ``ClassVar`` is a table below that one: the struct of its
keys, or ``dict`` for one whose keys are free.
"""

from typing import Annotated, ClassVar, Literal

import msgspec

from lmbroker.call import Mode, Timeouts
from lmbroker.constraints import Text, without
from lmbroker.limits import Limits
from lmbroker.routing.balancing import Strategy
from lmbroker.routing.breaker import BreakerRules
from lmbroker.routing.limit_rules import OnFailure
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.routing.retries import Retries
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.profile import Profile
from lmbroker.usage import Rates, Tier

DAY = 86400
"""Seconds."""

MANY = 1_000_000

MOST_WORKERS = 64

DRAIN = 30.0
"""Seconds."""

Engine = Literal["lean", "stock"]
"""Our own HTTP layers, or Twisted's."""

Severity = Literal["debug", "info", "warning", "warn", "error", "critical"]
LogFormat = Literal["auto", "json", "console"]

DialectName = Annotated[str, msgspec.Meta(extra={"words": tuple(ADAPTERS)})]
Seconds = Annotated[float, msgspec.Meta(ge=0, le=DAY)]

_SECRET = msgspec.Meta(extra={"secret": True})
"""Marks a key whose value is never shown: a secret may stand there."""


class ServerTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[server]``: where and how the daemon serves."""

    host: Text = "127.0.0.1"
    """The address to listen on. The default is reached from this machine only; `"0.0.0.0"` is
    reached from everywhere, which asks for `[[keys]]` or `open = true`."""
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 8080
    """The TCP port."""
    listen: tuple[str, ...] | None = None
    """Twisted endpoint strings, in the place of `host` and `port`; see
    [Listening](#listening)."""
    metrics_listen: tuple[str, ...] | None = None
    """Endpoints for `/metrics`, `/health` and `/ready` only; where there are any, `/metrics` is
    nowhere else."""
    open: bool = False
    """Other machines may reach the broker although no client needs a key."""
    drain_timeout: Seconds = DRAIN
    """Seconds that answers in flight may take after the daemon was asked to stop."""
    drain_delay: Seconds = 0.0
    """Seconds for which the daemon serves on after it was asked to stop, while `/ready` answers
    503: time for load balancers to send nobody any more."""
    engine: Engine = "lean"
    """`lean` is our own HTTP server and reactor, `stock` is Twisted's: several times slower, for
    those who want to rule ours out. The client that calls backends is the same in both. Taken at
    the start, not by a reload."""
    control: Text | None = None
    """The control socket: a Unix socket that only the daemon's own user may open, for
    [`lmbroker capture`](capture.md). Its absolute path, such as `"/run/lmbroker/control.sock"`, in
    a folder that nobody else may write to. Without it there is none. Taken at the start, not by a
    reload."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=MOST_WORKERS)] = 1
    """How many processes serve; `twistd lmbroker --workers` goes before it. With 1 there is one
    process, with more a parent besides ([scaling.md](scaling.md)). Taken at the start, not by a
    reload."""
    cors_origins: tuple[str, ...] | None = None
    """Origins of web pages that may call the broker from a browser:
    `["https://app.example.com"]`, or `["*"]` for every page."""


class KeyTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[keys]]``: a key of clients."""

    name: Text
    """Whose key it is; the log has this name, never the key."""
    hash: Text | None = None
    """The key's SHA-256, as `lmbroker genkey` prints it: `"sha256:..."`."""
    key: Annotated[Text, _SECRET] | None = None
    """In the place of `hash`, the key by reference: `"env:NAME"` or `"file:/path"`; or the key
    itself, with a warning."""
    models: Annotated[tuple[str, ...], without("all")] | None = None
    """Globs of the aliases that the key may use: `["claude-*", "fast"]`. Where an alias ends with
    `*`, a name that it fits may stand here as well."""


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How a backend is reached, with which credentials, and how much is sent there at once."""

    url: Annotated[Text, without("required")] | None = None
    """Its base URL; see [URLs](#urls)."""
    root: Text | None = None
    """In the place of `url`, the exact URL below which its operations live; see
    [URLs](#urls)."""
    query: ClassVar = dict
    """Query parameters that go with each request: `{ api-version = "2024-10-21" }`. Their values
    are no secrets: `check` prints them."""
    api_key: Annotated[Text, _SECRET] | None = None
    """The credential: `"env:NAME"`, `"file:/path"`, `"client"` for each client's own, or the key
    itself; see [Keys of backends](#keys-of-backends)."""
    api_key_header: Annotated[Text, without("by format and host")] | None = None
    """The header that carries the key; see [Keys of backends](#keys-of-backends)."""
    api_keys: Annotated[tuple[str, ...], _SECRET] | None = None
    """Several credentials in the place of `api_key`, used in turn; one that is refused or
    exhausted rests."""
    headers: ClassVar = dict
    """Headers that go with each request: `{ openai-organization = "org-1" }`. A value may be
    `"env:NAME"` or `"file:/path"`; see [Keys of backends](#keys-of-backends)."""
    ca: Annotated[Text, without("the system's")] | None = None
    """A file of PEM certificates: the authorities to trust for this backend."""
    client_cert: Text | None = None
    """A file of PEM certificates: the one that the broker shows to this backend (mTLS), and
    behind it those that signed it; see
    [Proxies and client certificates](#proxies-and-client-certificates)."""
    client_key: Annotated[Text, without("in `client_cert`")] | None = None
    """A file with its private key, PEM and not encrypted."""
    proxy: Annotated[Text, _SECRET] | None = None
    """The HTTP proxy on the way there, `http://user:password@host:port`; see
    [Proxies and client certificates](#proxies-and-client-certificates)."""
    max_in_flight: Annotated[int, msgspec.Meta(ge=1, le=MANY)] | None = None
    """Calls at the backend at once."""
    queue: Annotated[int, msgspec.Meta(ge=0, le=MANY)] = 100
    """Calls that may wait for a slot at the backend, where `max_in_flight` is set; more are
    refused with 503 (529) at once."""
    queue_timeout: Seconds = 30.0
    """Seconds that a call may wait in that queue."""
    keepalive: bool = True
    """Use connections to the backend again."""
    omit_attribution: bool = False
    """Take the attribution line of Claude Code (`x-anthropic-billing-header: …`) out of its
    instructions where a request is passed through: Anthropic wants it, and the prompt caches of
    other vendors' Anthropic endpoints are defeated by it. Requests that are translated never have
    it."""
    check_interval: Annotated[float, msgspec.Meta(ge=1, le=DAY)] | None = None
    """Seconds between two checks whether the backend lives; see
    [routing.md](routing.md#checks)."""
    passthrough_errors: Literal["known-words", "as-is"] = "known-words"
    """Where both ends speak one format, errors go through as they are, but for one: that a prompt
    does not fit the context is said in the words that clients of the format act on (`prompt is too
    long: N tokens > M maximum`, the code `context_length_exceeded`). `"as-is"`: that neither."""
    responses: Literal["native", "auto"] | None = None
    """For a backend of type `openai` that answers `POST /v1/responses`, too. `"native"`: clients of
    Responses are passed through to it. `"auto"`: so are they, and calls of other clients that Chat
    Completions cannot carry there are translated to Responses; see
    [Responses at an openai backend](#responses-at-an-openai-backend)."""
    timeouts: ClassVar = Timeouts
    """The timeouts of this backend: `timeouts = { headers = 60 }`. Those of a model win over
    them."""


class PriceTable(Rates, frozen=True, kw_only=True):
    """``price`` of a model or of a target: what the backend charges."""

    tiers: ClassVar = tuple[Tier, ...]
    """Other rates for long prompts."""


class UsageTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[usage]``: what is kept of who used how much."""

    file: Text | None = None
    """A SQLite file that keeps tokens and costs by hour, caller, alias, backend, model and tags,
    and the latest calls; see [operations.md](operations.md#usage). Without it nothing is kept."""
    tags: tuple[str, ...] | None = None
    """Up to three request headers by whose values usage is split, in the log and in the
    file: `["x-claude-code-session-id"]`. They never stand in metrics."""
    keep_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] = 400
    """Days for which the file keeps the hours."""
    keep_calls: Annotated[int, msgspec.Meta(ge=0, le=MANY)] = 10_000
    """How many of the latest calls the file keeps, one row each."""


class TracingTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[tracing]``: spans of calls, for OpenTelemetry."""

    endpoint: Text | None = None
    """Where spans go, as OTLP over HTTP: `"http://127.0.0.1:4318"`, below which `/v1/traces` is.
    Without it there are none. Needs the extra `lmbroker[otel]`; see [tracing.md](tracing.md)."""
    headers: ClassVar = dict
    """Headers that go with the spans: `{ authorization = "env:OTLP_KEY" }`."""
    ratio: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """The share of traces with spans, of those that begin here. A client that sends a `traceparent`
    says itself whether its trace is recorded."""
    service_name: Text = "lmbroker"
    """The `service.name` of the spans."""


_AMOUNTS = msgspec.Meta(extra={"check": "string or array of strings"})


class LimitForTable(msgspec.Struct, frozen=True, kw_only=True):
    """``for`` of a limit rule: whom it is for."""

    caller: Annotated[Text, _AMOUNTS, without("all")] | None = None
    """Globs of the names of `keys[]`, or one: `"student-*"`."""
    alias: Annotated[Text, _AMOUNTS, without("all")] | None = None
    """Globs of aliases, or one: `["claude-*", "fast"]`. Where an alias ends with `*`, a name that
    it fits may stand here as well."""


class LimitRuleTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[limits.rules]]``: how much callers may take; see [limits.md](limits.md)."""

    name: Annotated[Text, without("`for`")] | None = None
    """Its name in errors, metrics and reports. What was used is kept under it."""
    for_: ClassVar = LimitForTable
    per: Annotated[Text, _AMOUNTS, without("together")] | None = None
    """What has the amounts each for itself: `"caller"`, `"alias"`, or both. Without it all that the
    rule is for have them together."""
    requests: Annotated[Text, _AMOUNTS] | None = None
    """Calls: `"60/min"`, also for `hour`, `day`, `month` and `never`, or several of them:
    `["60/min", "1k/day"]`. The units are `k`, `M` and `G`."""
    tokens: Annotated[Text, _AMOUNTS] | None = None
    """Tokens of prompts and answers together: `"1M/day"`."""
    cost: Annotated[Text, _AMOUNTS] | None = None
    """US dollars: `"20 USD/month"`; `"5 USD/never"` is prepaid."""
    parallel: Annotated[int, msgspec.Meta(ge=1, le=MANY)] | None = None
    """Calls at once."""
    reserve: Annotated[float, msgspec.Meta(ge=0, le=1)] = 1.0
    """The part of the tokens that a call may put out which is kept for it until it ends."""
    wait: Seconds = 0.0
    """Seconds that a call waits for its turn before it is refused."""
    then: Text | None = None
    """The model name that a call goes on to instead of being refused."""
    soft: bool = False
    """Calls beyond the amounts are reported, by a header, a log line and a metric, and let
    through."""
    on_failure: OnFailure = "local"
    """What holds while a store on other machines is away: calls go on (`allow`), are refused
    (`deny`), or are counted in the process (`local`)."""


class LimitsTable(Limits, frozen=True, kw_only=True):
    """``[limits]``: what clients may send, and how much callers may take."""

    store: Annotated[Text, without("this process")] | None = None
    """Where the rules are counted for daemons on several machines: a Redis or Valkey server,
    `"redis://HOST/0"`, `"rediss://HOST"` for TLS, `"unix:///PATH"`, or
    `"redis+sentinel://HOST,HOST/SERVICE"`; also `env:NAME` or `file:/path` with such a URL. It
    needs `lmbroker[redis]` and is read at the start only."""
    store_password: Text | None = None
    """Its password, as `env:NAME` or `file:/path`."""
    rules: ClassVar = tuple[LimitRuleTable, ...]


class BackendTable(Access, frozen=True, kw_only=True):
    """``[[backends]]``: a backend with a name."""

    name: Text
    """The name by which targets call it; in logs and metrics."""
    type: DialectName
    """The format that it speaks."""


class TargetTable(Access, frozen=True, kw_only=True):
    """``target`` of a model: the only target of an alias, with its backend."""

    profile: ClassVar = Profile
    """As `models[].profile`, over which it wins."""
    price: ClassVar = PriceTable
    """As `models[].price`, over which it wins."""
    model: Annotated[Text, without("the alias")] | None = None
    """The model's name at the backend; `*` is the name that the client asked for, and `{model}`
    stands for it inside another text."""


class NamedTargetTable(msgspec.Struct, frozen=True, kw_only=True):
    """``targets`` of a model: one of several, at a backend with a name."""

    backend: Text
    """In the place of `target` and `type`, several: each names one of `[[backends]]`; see
    [routing.md](routing.md)."""
    model: Annotated[Text, without("the alias")] | None = None
    """As `models[].target.model`."""
    profile: ClassVar = Profile
    """As `models[].profile`, over which it wins."""
    price: ClassVar = PriceTable
    """As `models[].price`, over which it wins."""
    weight: Annotated[float, msgspec.Meta(ge=0, le=MANY)] = 1.0
    """Its share, for `weighted`, `least-busy` and `sticky`."""


class ModelTable(msgspec.Struct, frozen=True, kw_only=True):
    """``[[models]]``: an alias, where it leads, and by which rules."""

    alias: Text
    """The name that clients ask for in `model`. A `*` at the end stands for the rest of any name.
    Each alias stands once. At most 256 visible characters."""
    type: Annotated[DialectName, without("required")] | None = None
    """The format that the backend of `target` speaks. A client that speaks the same one is passed
    through, any other is translated."""
    target: ClassVar = TargetTable
    targets: ClassVar = tuple[NamedTargetTable, ...]
    strategy: Strategy = "ordered"
    """Which target comes first."""
    sticky: Annotated[tuple[str, ...] | Literal[False], without("the conversation")] | None = None
    """Where the value is whose calls stay at one target: `"caller"`, `"header:NAME"`,
    `"body:NAME"` (`"body:metadata.user_id"` inside an object). `false`: nothing stays
    together."""
    fallback_on: tuple[str, ...] | None = None
    """More reasons for another target: kinds, codes or statuses of errors."""
    retry_unsafe: bool = False
    """Calls may be made twice where their connection died before the answer began."""
    retries: ClassVar = Retries
    """What `retries.*` says, for this model only."""
    limits: ClassVar = RequestLimits
    mode: Mode = "default"
    """What happens where something cannot be carried to the other format; see [Modes](#modes). A
    client may choose otherwise for one request with the header `x-lmbroker-mode`."""
    expose_limits: bool = False
    """Clients see what the backend says of its rate limits, in their own format's headers. Its
    limits are yours: leave it off where clients are not."""
    timeouts: ClassVar = Timeouts
    """The timeouts of this model: `timeouts = { idle = 900 }`."""
    profile: ClassVar = Profile
    """What the backend's model can do; see [Profiles](#profiles)."""
    price: ClassVar = PriceTable
    """What its targets charge, in US dollars for a million tokens; a target's own `price` wins
    over it. See [operations.md](operations.md#usage)."""


class File(msgspec.Struct, frozen=True, kw_only=True):
    """The top of the file."""

    log_level: Severity = "info"
    """The least severe lines that are logged; `warn` is `warning`."""
    log_format: LogFormat = "auto"
    """How lines look: `json`, or `console` for people. `auto` is `console` on a terminal and `json`
    elsewhere. Taken at the start, not by a reload."""
    log_files: Annotated[int, msgspec.Meta(ge=0, le=MANY)] = 10
    """How many older files are kept where twistd logs to a file; 0 for all. Taken at the start, not
    by a reload."""
    default: Text | None = None
    """The alias of names that lead nowhere else."""
    server: ClassVar = ServerTable
    keys: ClassVar = tuple[KeyTable, ...]
    limits: ClassVar = LimitsTable
    timeouts: ClassVar = Timeouts
    retries: ClassVar = Retries
    breaker: ClassVar = BreakerRules
    usage: ClassVar = UsageTable
    tracing: ClassVar = TracingTable
    backends: ClassVar = tuple[BackendTable, ...]
    models: ClassVar = tuple[ModelTable, ...]
