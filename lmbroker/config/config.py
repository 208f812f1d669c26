"""TOML -> a frozen, typed ``Config``.

Every mistake is one line that names file, key path, what was found and what was expected. All
mistakes of a file are reported at once, no secret in any.

Pure: the environment and the files that secrets come from are arguments.
"""

import re
from collections.abc import Mapping
from typing import Any

import msgspec

from lmbroker.call import Timeouts
from lmbroker.config.backends import Backends, ReadFile, Secrets, is_plain_header
from lmbroker.config.endpoints import (
    ANY_ORIGIN,
    CERTIFICATES,
    OWN_ADDRESS,
    PRACTICE,
    host_problem,
    is_loopback,
    is_public,
    listen_on,
    origin_problem,
    parse_endpoint,
)
from lmbroker.config.fields import read_settings, read_struct
from lmbroker.config.limit_rules import LimitRules, forgotten
from lmbroker.config.limit_store import RedisAddress, read_limit_store
from lmbroker.config.models import NOT_IN_RETRIES, Models
from lmbroker.config.settings import (
    DRAIN,
    Engine,
    File,
    KeyTable,
    LogFormat,
    ServerTable,
    UsageTable,
)
from lmbroker.config.table import NotTOML, Table, describe, read_toml
from lmbroker.config.tracing import TracingRules, read_tracing
from lmbroker.limits import Limits
from lmbroker.redaction import redact
from lmbroker.routing.aliases import Aliases, Route
from lmbroker.routing.breaker import BreakerRules
from lmbroker.routing.keys import HASH, Key, digest_of
from lmbroker.routing.limit_rules import LimitRule
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.routing.retries import Retries
from lmbroker.translation.dialects.catalog import client_paths

MOST_TAGS = 3
"""The maximum of headers by which usage is split: their values multiply."""

SOCKET_PATH = 107
"""The maximum of bytes of the path of a Unix socket (unix(7))."""

TIB = 1 << 40
"""Bytes."""

_NAMES = {"models": ("alias", "alias"), "backends": ("name", "backend"), "keys": ("name", "key")}
"""Arrays of tables whose number in the file says little -> the key of their name, and the word for
it."""

_NUMBERED = re.compile(rf"({'|'.join(_NAMES)})\[(\d+)\]([^:]*)")

_PLAIN_NAME = re.compile(r"[A-Za-z0-9._/:*@ -]{1,64}")
"""Names that may be shown in a line."""

_PATH = re.compile(r"/[a-z0-9_/]{0,60}")
"""Paths that may be shown: a key may stand in the place of a path by mistake."""


class ConfigError(Exception):
    """The configuration cannot be used; ``problems`` has one line per mistake."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients reach us, as Twisted endpoint strings.

    ``metrics_listen``: where ``/metrics`` is, and nowhere else; without it, on all of them.
    ``open``: other machines may reach us although no client needs a key. ``drain_timeout``: seconds
    that answers in flight may take after the daemon was asked to stop; ``drain_delay``: for so long
    before that it serves on as before, but says that it is not ready. ``engine``: which HTTP layers
    carry the bytes. ``workers``: how many processes serve. ``cors_origins``: whose web pages may
    call us. ``control``: the path of the control socket, "" for none.
    """

    listen: tuple[str, ...]
    metrics_listen: tuple[str, ...] = ()
    open: bool = False
    drain_timeout: float = DRAIN
    drain_delay: float = 0.0
    engine: Engine = "lean"
    workers: int = 1
    cors_origins: tuple[str, ...] = ()
    control: str = ""


class UsageRules(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of what is kept of each caller's usage (``settings.UsageTable``)."""

    file: str = ""
    """The SQLite file; "" for none."""
    tags: tuple[str, ...] = ()
    """Names of headers, in lower case."""
    keep_days: int = 400
    keep_calls: int = 10_000


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a configuration file says.

    ``warnings`` are what is legal but unwise. ``holds_a_key``: the file itself contains a
    credential.
    """

    log_level: str
    log_format: LogFormat = "auto"
    log_files: int = 10
    """How many older log files twistd keeps; 0 for all."""
    server: Server
    aliases: Mapping[str, Route]
    default: str = ""
    """The alias of names that lead nowhere else."""
    keys: tuple[Key, ...] = ()
    timeouts: Timeouts = Timeouts()
    limits: Limits = Limits()
    limit_store: RedisAddress | None = None
    """Where limit rules are counted; None for the process itself."""
    limit_rules: tuple[LimitRule, ...] = ()
    """How much callers may take, in the order of the file."""
    retries: Retries = Retries()
    breaker: BreakerRules = BreakerRules()
    usage: UsageRules = UsageRules()
    tracing: TracingRules | None = None
    """Where spans of calls go; None for nowhere."""
    warnings: tuple[str, ...] = ()
    holds_a_key: bool = False
    index: Any = None
    """Made from the aliases."""

    def __post_init__(self) -> None:
        index = Aliases(self.aliases.values(), self.default)
        msgspec.structs.force_setattr(self, "index", index)

    def alias(self, name: str) -> Route | None:
        """Return the route of a client's model name, None for one that nobody configured."""
        found: Route | None = self.index.find(name)
        return found


def parse(
    text: str,
    *,
    name: str,
    environ: Mapping[str, str],
    read_file: ReadFile,
    listen: tuple[str, ...] = (),
) -> Config:
    """Return the configuration that ``text`` holds; ``name`` is the file's name in problems.

    ``read_file`` gives the text of a file that the configuration names and may raise OSError or
    ValueError. ``listen`` are endpoints in the place of those in the file. Raises ConfigError.
    """
    try:
        raw, warning = read_toml(text)
    except NotTOML as error:
        raise ConfigError((f"{name}: {error}",)) from None
    if listen:
        raw = _listening_on(listen, raw)
    problems: list[str] = []
    root = Table(raw, "", problems)
    secrets = Secrets(environ, read_file)
    if warning:
        secrets.warnings.append(warning)
    settings = read_settings(root, File)
    keys = _keys(root, secrets)
    server = _server(root.table("server"), secrets, bool(keys))
    timeouts = read_struct(root.table("timeouts"), Timeouts)
    limits_table = root.table("limits")
    retries = read_struct(root.table("retries"), Retries, NOT_IN_RETRIES)
    breaker = read_struct(root.table("breaker"), BreakerRules)
    usage = _usage(root.table("usage"))
    tracing = read_tracing(root.table("tracing"), secrets)
    backends = Backends(secrets)
    backends.read(root)
    limits_table.any("rules")
    limit_store = read_limit_store(limits_table, secrets)
    limits = _limits(limits_table)
    request_limits = RequestLimits(max_tokens=limits.max_tokens, n=limits.n)
    aliases = Models(backends, timeouts, retries, request_limits).read(root)
    default = settings.default or ""
    if default and default not in aliases:
        root.report("default", f"found {describe(default)}, which no model has as its alias")
    find = Aliases(aliases.values(), default if default in aliases else "").find
    reader = LimitRules(aliases, keys, find)
    limit_rules = reader.read(limits_table)
    secrets.warnings += reader.warnings
    if forgotten(limit_rules) and not usage.file and limit_store is None:
        secrets.warnings.append(
            "limits.rules: without usage.file a restart forgets what was used "
            f"({forgotten(limit_rules)})"
        )
    root.done()
    if problems:
        raise ConfigError(
            tuple(f"{name}: {_shown(_with_name(problem, raw))}" for problem in problems)
        )
    secrets.warnings += _proxies_unused(environ, aliases)
    return Config(
        log_level=settings.log_level,
        log_format=settings.log_format,
        log_files=settings.log_files,
        server=server,
        aliases=aliases,
        keys=keys,
        timeouts=timeouts,
        limits=limits,
        limit_rules=limit_rules,
        limit_store=limit_store,
        retries=retries,
        breaker=breaker,
        usage=usage,
        tracing=tracing,
        default=default,
        warnings=tuple(
            f"{name}: {_shown(_with_name(warning, raw))}" for warning in secrets.warnings
        ),
        holds_a_key=secrets.literal,
    )


def _listening_on(listen: tuple[str, ...], raw: dict[str, Any]) -> dict[str, Any]:
    """Return the tables of the file with other endpoints for clients."""
    server = raw.get("server", {})
    if not isinstance(server, dict):
        return raw
    kept = {key: value for key, value in server.items() if key not in ("host", "port", "listen")}
    return {**raw, "server": {**kept, "listen": list(listen)}}


def _proxies_unused(environ: Mapping[str, str], aliases: Mapping[str, Route]) -> list[str]:
    """Return the warning for a proxy that the environment names and the broker does not use.

    It is given where no backend is reached through a proxy and some are not on this machine. What
    the environment names is not shown: a password may stand in it.
    """
    named = [
        name
        for each in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY")
        for name in (each, each.lower())
        if environ.get(name)
    ]
    backends = [target.backend for route in aliases.values() for target in route.targets]
    away = [each for each in backends if each.url != PRACTICE and not is_loopback(each.host)]
    if not named or not away or any(each.proxy is not None for each in backends):
        return []
    return [
        f"the environment names a proxy ({', '.join(named)}), which the broker does not use: a "
        'backend that is reached through one says so, with proxy = "http://HOST:PORT"'
    ]


def _with_name(line: str, raw: Mapping[str, Any]) -> str:
    """Return ``line`` with the name of the table at whose number it points, where it has one."""
    place = _NUMBERED.match(line)
    if place is None:
        return line
    kind, number, rest = place[1], int(place[2]), place[3]
    key, word = _NAMES[kind]
    tables = raw[kind]
    found = tables[number].get(key) if isinstance(tables[number], dict) else None
    if rest == f".{key}" or not isinstance(found, str) or not _PLAIN_NAME.fullmatch(found):
        return line
    return f'{line} ({word} "{found}")'


def _shown(line: str) -> str:
    """Return ``line`` without what looks like a credential: one may stand where none belongs."""
    return redact(line.encode("utf-8", "replace")).decode("utf-8", "replace")


def _keys(root: Table, secrets: Secrets) -> tuple[Key, ...]:
    """Return the keys of clients, each of which has a name of its own.

    A key is given by its hash, or by a reference to itself.
    """
    found: dict[str, Key] = {}
    for table in root.tables("keys") if root.has("keys") else ():
        settings = read_settings(table, KeyTable)
        name = settings.name
        digest = _digest(table, settings, secrets)
        table.done()
        if name in found:
            table.report("name", f"found {describe(name)}, which another key has already")
        if name and digest is not None:
            found[name] = Key(name=name, digest=digest, models=settings.models or ())
    return tuple(found.values())


def _digest(table: Table, settings: KeyTable, secrets: Secrets) -> bytes | None:
    """Return the hash of a key, given as ``hash`` or made of the key that ``key`` refers to."""
    written, reference = settings.hash or "", settings.key or ""
    if bool(written) == bool(reference):
        table.report("hash", "expected either hash or key, and one of them")
        return None
    if written:
        found = HASH.fullmatch(written)
        if found is None:
            table.report("hash", 'expected "sha256:" and 64 hexadecimal digits')
        return bytes.fromhex(found[1]) if found else None
    secret = secrets.credential(table, "key", reference)
    return None if secret is None else digest_of(secret.reveal())


def _usage(table: Table) -> UsageRules:
    settings = read_settings(table, UsageTable)
    tags = tuple(tag.lower() for tag in settings.tags or ())
    for number, tag in enumerate(tags):
        if not is_plain_header(tag):
            table.report(
                f"tags[{number}]",
                f"found {describe(tag)}, expected the name of a header that holds no credential",
            )
    if len(tags) > MOST_TAGS or len(set(tags)) < len(tags):
        table.report("tags", f"expected at most {MOST_TAGS} headers, each of them once")
    table.done()
    return UsageRules(
        file=settings.file or "",
        tags=tags,
        keep_days=settings.keep_days,
        keep_calls=settings.keep_calls,
    )


def _limits(table: Table) -> Limits:
    by_path: dict[str, int] = {}
    paths = table.table("body_by_path")
    calls = client_paths()
    for path in paths.names():
        if _PATH.fullmatch(path) and any(known.startswith(path) for known in calls):
            by_path[path] = paths.integer(path, 1, least=1, most=TIB)
        else:
            place = path if _PATH.fullmatch(path) else "?"
            paths.report(place, f"expected the beginning of one of {', '.join(calls)}")
    # The longest first, since the first that fits wins.
    longest = sorted(by_path.items(), key=lambda pair: -len(pair[0]))
    limits = read_struct(table, Limits, ("body_by_path",))
    return msgspec.structs.replace(limits, body_by_path=tuple(longest))


def _server(table: Table, secrets: Secrets, keyed: bool) -> Server:
    settings = read_settings(table, ServerTable)
    host, listen = settings.host, settings.listen
    if listen is not None and (table.has("host") or table.has("port")):
        table.report("listen", "cannot stand beside host or port: use the one or the other")
    problem = host_problem(host)
    public: dict[str, str] = {}
    if problem:
        table.report("host", f"found {describe(host)}, {problem}")
    elif listen is None:
        listen = (listen_on(host, settings.port),)
        public = _public(table, secrets, {"host": listen[0]})
    else:
        names = [f"listen[{number}]" for number in range(len(listen))]
        public = _public(table, secrets, dict(zip(names, listen, strict=True)))
    metrics = settings.metrics_listen or ()
    names = [f"metrics_listen[{number}]" for number in range(len(metrics))]
    aside = dict(zip(names, metrics, strict=True))
    for name, reach in _public(table, secrets, aside).items():
        secrets.warnings.append(f"{table.path(name)}: {reach}, and /metrics needs no key")
    for name, endpoint in aside.items():
        if endpoint in (listen or ()):
            table.report(name, "clients are served there already")
    origins = settings.cors_origins or ()
    for number, origin in enumerate(origins):
        problem = origin_problem(origin)
        if problem:
            table.report(f"cors_origins[{number}]", f"found {describe(origin)}, {problem}")
    if ANY_ORIGIN in origins and not keyed:
        secrets.warnings.append(
            f"{table.path('cors_origins')}: every web page that a browser opens here may "
            "use the broker, and no client needs a key"
        )
    control = settings.control or ""
    if control and (not control.startswith("/") or len(control.encode()) > SOCKET_PATH):
        expected = f"an absolute path of at most {SOCKET_PATH} bytes"
        table.report("control", f"found {describe(control)}, expected {expected}")
    for name, reach in public.items() if not keyed else ():
        problem = f"{reach}, and no client needs a key"
        if settings.open:
            secrets.warnings.append(f"{table.path(name)}: {problem}")
        else:
            table.report(name, f"{problem}: add [[keys]], or open = true to [server]")
    table.done()
    return Server(
        listen=listen or (),
        metrics_listen=metrics,
        open=settings.open,
        drain_timeout=settings.drain_timeout,
        drain_delay=settings.drain_delay,
        engine=settings.engine,
        workers=settings.workers,
        cors_origins=origins,
        control=control,
    )


def _public(table: Table, secrets: Secrets, endpoints: Mapping[str, str]) -> dict[str, str]:
    """Return the endpoints that other machines reach, by their keys, each with the words for it.

    All endpoints are checked.
    """
    found = {}
    for key, endpoint in endpoints.items():
        arguments, problem = parse_endpoint(endpoint)
        if problem:
            table.report(key, f"found {describe(endpoint)}: {problem}")
            continue
        for argument in CERTIFICATES:
            if argument in arguments:
                secrets.file(table, key, arguments[argument])
        if is_public(arguments):
            # Only systemd's unit, or the plugin, says where the other kinds listen.
            may = "reach" if arguments["kind"] in OWN_ADDRESS else "may reach"
            found[key] = f"other machines {may} it"
    return found
