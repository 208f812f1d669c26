"""TOML -> a frozen, typed ``Config``; every mistake is one line that names file, key path, what
was found and what was expected. All mistakes of a file are told at once.

Pure: the environment and the files that secrets come from are arguments.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
import toml

from lmbroker.call import Alias, Backend, Target
from lmbroker.config_table import Table
from lmbroker.endpoints import backend_name, listen_on, parse_url
from lmbroker.profiles import Profile
from lmbroker.secret import Secret

LOG_LEVELS = ("debug", "info", "warning", "warn", "error", "critical")
DIALECTS = ("openai", "anthropic")
MODES = ("default", "strict", "lenient")
ENDPOINT_KINDS = ("tcp", "tcp6", "unix", "systemd", "ssl")

ReadFile = Callable[[str], str]


class ConfigError(Exception):
    """The configuration cannot be used; ``complaints`` has one line per mistake."""

    def __init__(self, complaints: tuple[str, ...]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """Where clients reach us, as Twisted endpoint strings."""

    listen: tuple[str, ...]


class Config(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a configuration file says. ``warnings`` are what is legal but unwise."""

    log_level: str
    server: Server
    aliases: Mapping[str, Alias]
    warnings: tuple[str, ...] = ()

    def alias(self, name: str) -> Alias | None:
        """Where the model name of a client leads, None for one that nobody configured."""
        return self.aliases.get(name)


def parse(text: str, *, name: str, environ: Mapping[str, str], read_file: ReadFile) -> Config:
    """The configuration that ``text`` holds; ``name`` is the file's name in complaints.

    ``read_file`` gives the text of a file that a ``file:`` reference names and may raise
    OSError. Raises ConfigError.
    """
    try:
        raw = toml.loads(text)
    except toml.TomlDecodeError as error:
        raise ConfigError((f"{name}: line {error.lineno}: not valid TOML: {error.msg}",)) from None
    except Exception:
        # The parser raises whatever its string handling trips over: IndexError, TypeError, ...
        raise ConfigError((f"{name}: not valid TOML",)) from None
    complaints: list[str] = []
    root = Table(raw, "", complaints)
    reader = _Reader(environ, read_file, complaints)
    log_level = root.text("log_level", "info", choices=LOG_LEVELS)
    server = _server(root.table("server"))
    aliases = reader.models(root)
    root.done()
    if complaints:
        raise ConfigError(tuple(f"{name}: {complaint}" for complaint in complaints))
    return Config(
        log_level=log_level,
        server=server,
        aliases=aliases,
        warnings=tuple(f"{name}: {warning}" for warning in reader.warnings),
    )


def _server(table: Table) -> Server:
    host = table.text("host", "127.0.0.1")
    port = table.integer("port", 8080, least=1, most=65535)
    listen = table.texts("listen")
    if listen is not None and (table.has("host") or table.has("port")):
        table.complain("listen", "cannot stand beside host or port: use the one or the other")
    for number, endpoint in enumerate(listen or ()):
        kind, colon, rest = endpoint.partition(":")
        if kind not in ENDPOINT_KINDS or not colon or not rest:
            kinds = ", ".join(ENDPOINT_KINDS)
            table.complain(
                f"listen[{number}]",
                f"{endpoint!r} is not a Twisted endpoint string (one of {kinds}, "
                'such as "tcp:8080:interface=127.0.0.1")',
            )
    table.done()
    return Server(listen=tuple(listen) if listen is not None else (listen_on(host, port),))


class _Reader:
    """Reads the models; backends that are the same become one object."""

    def __init__(
        self, environ: Mapping[str, str], read_file: ReadFile, complaints: list[str]
    ) -> None:
        self.warnings: list[str] = []
        self._environ = environ
        self._read_file = read_file
        self._complaints = complaints
        self._backends: dict[tuple[str, str, str], Backend] = {}

    def models(self, root: Table) -> dict[str, Alias]:
        aliases: dict[str, Alias] = {}
        tables = root.tables("models")
        if not tables:
            root.complain("models", "expected at least one [[models]] table")
        for table in tables:
            alias = self._model(table)
            if alias is None:
                continue
            if alias.name in aliases:
                table.complain("alias", f"{alias.name!r} is used by another model already")
            aliases[alias.name] = alias
        return aliases

    def _model(self, table: Table) -> Alias | None:
        name = table.text("alias", required=True)
        dialect: Any = table.text("type", required=True, choices=DIALECTS)
        mode: Any = table.text("mode", "default", choices=MODES)
        profile = self._profile(table.table("profile"))
        target = self._target(table.table("target", required=True), dialect, name)
        table.done()
        if not name or target is None:
            return None
        return Alias(name=name, targets=(target,), mode=mode, profile=profile)

    def _target(self, table: Table, dialect: Any, alias: str) -> Target | None:
        url = table.text("url", required=True)
        model = table.text("model", alias)
        reference = table.text("api_key", "", secret=True)
        table.done()
        if url:
            url, problem = parse_url(url)
            if problem:
                table.complain("url", problem)
        key = self._credential(table, reference)
        if not url or not model:
            return None
        identity = (url, dialect, reference)
        backend = self._backends.get(identity)
        if backend is None:
            taken = {known.name for known in self._backends.values()}
            backend = self._backends[identity] = Backend(
                name=backend_name(url, taken),
                url=url,
                dialect=dialect,
                credential=key,
                credential_ref=reference
                if reference.startswith(("env:", "file:"))
                else "literal"
                if reference
                else "",
            )
        return Target(backend=backend, model=model)

    def _credential(self, table: Table, reference: str) -> Secret | None:
        if not reference:
            return None
        kind, _, rest = reference.partition(":")
        if kind == "env":
            value = self._environ.get(rest, "")
            if not value:
                table.complain("api_key", f"the environment variable {rest!r} is not set")
        elif kind == "file":
            try:
                value = self._read_file(rest).strip()
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or "it is not UTF-8"
                table.complain("api_key", f"the file {rest!r} cannot be read: {reason}")
                return None
            if not value:
                table.complain("api_key", f"the file {rest!r} is empty")
        else:
            value = reference
            self.warnings.append(
                f"{table.path('api_key')}: the key stands in the file itself; "
                'use "env:NAME" or "file:/path"'
            )
        if not value.isascii() or not value.isprintable():
            table.complain("api_key", "the key has characters that no HTTP header may hold")
            return None
        return Secret(value)

    def _profile(self, table: Table) -> dict[str, Any]:
        known = {field.name: field for field in msgspec.structs.fields(Profile)}
        given = {key: table.any(key) for key in known if table.has(key)}
        table.done(known)
        out = {}
        for key, value in given.items():
            try:
                out[key] = msgspec.convert(value, known[key].type)
            except msgspec.ValidationError as error:
                table.complain(key, f"{value!r} does not fit: {error}")
        return out
