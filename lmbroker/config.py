"""TOML -> a frozen, typed ``Config``; every mistake is one line that names file, key path, what
was found and what was expected. All mistakes of a file are told at once, no secret in any.

Pure: the environment and the files that secrets come from are arguments.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from lmbroker.call import Alias, Backend, Target
from lmbroker.config_table import NotTOML, Table, describe, expected, one_of, read_toml
from lmbroker.endpoints import (
    CERTIFICATES,
    backend_name,
    host_problem,
    is_public,
    listen_on,
    parse_endpoint,
    parse_url,
    sends_in_clear,
)
from lmbroker.profiles import Profile
from lmbroker.secret import Secret
from lmbroker.unified.request import Effort

LOG_LEVELS = ("debug", "info", "warning", "warn", "error", "critical")
DIALECTS = ("openai", "anthropic")
MODES = ("default", "strict", "lenient")

NAME_LENGTH = 256
"""Longest alias or model name, in characters: what a client may ask for (``envelope``)."""

ReadFile = Callable[[str], str]

_ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
"""Names of environment variables that may be shown: what stands after ``env:`` by mistake may be
a key."""
_NEARLY_A_REFERENCE = re.compile(r"\$|(?:env|file)[:=]", re.IGNORECASE)
_LEVELS = get_args(Effort)
_WORDS: Mapping[str, tuple[str, ...]] = {
    "effort": _LEVELS,
    "default_effort": _LEVELS,
    "disabled_max_effort": _LEVELS,
    "thinking_types": ("adaptive", "enabled", "disabled", "between_tools"),
}
"""The words that profile fields of type string know."""


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

    ``read_file`` gives the text of a file that the configuration names and may raise OSError or
    ValueError. Raises ConfigError.
    """
    try:
        raw = read_toml(text)
    except NotTOML as error:
        raise ConfigError((f"{name}: {error}",)) from None
    complaints: list[str] = []
    root = Table(raw, "", complaints)
    reader = _Reader(environ, read_file)
    log_level = root.text("log_level", "info", choices=LOG_LEVELS)
    server = reader.server(root.table("server"))
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


class _Reader:
    """Reads the tables; backends that are the same become one object."""

    def __init__(self, environ: Mapping[str, str], read_file: ReadFile) -> None:
        self.warnings: list[str] = []
        self._environ = environ
        self._read_file = read_file
        self._backends: dict[tuple[str, str, str], Backend] = {}
        self._alias_paths: dict[str, str] = {}

    def server(self, table: Table) -> Server:
        host = table.text("host", "127.0.0.1")
        port = table.integer("port", 8080, least=1, most=65535)
        listen = table.texts("listen")
        if listen is not None and (table.has("host") or table.has("port")):
            table.complain("listen", "cannot stand beside host or port: use the one or the other")
        problem = host_problem(host)
        if problem:
            table.complain("host", f"found {describe(host)}, {problem}")
        elif listen is None:
            listen = [listen_on(host, port)]
            self._endpoint(table, "host", listen[0])
        else:
            for number, endpoint in enumerate(listen):
                self._endpoint(table, f"listen[{number}]", endpoint)
        table.done()
        return Server(listen=tuple(listen or ()))

    def _endpoint(self, table: Table, key: str, endpoint: str) -> None:
        arguments, problem = parse_endpoint(endpoint)
        if problem:
            table.complain(key, f"found {describe(endpoint)}: {problem}")
            return
        for argument in CERTIFICATES:
            if argument in arguments:
                self._file(table, key, arguments[argument])
        if is_public(arguments):
            self.warnings.append(
                f"{table.path(key)}: other machines reach it, and no client needs a key"
            )

    def models(self, root: Table) -> dict[str, Alias]:
        aliases = [self._model(table) for table in root.tables("models")]
        return {alias.name: alias for alias in aliases if alias is not None}

    def _model(self, table: Table) -> Alias | None:
        name = _name(table, "alias", required=True)
        used = self._alias_paths.setdefault(name, table.path("alias"))
        if name and used != table.path("alias"):
            table.complain("alias", f"found {describe(name)}, which is {used} already")
        dialect: Any = table.text("type", required=True, choices=DIALECTS)
        mode: Any = table.text("mode", "default", choices=MODES)
        profile = _profile(table.table("profile"))
        target = self._target(table.table("target", required=True), dialect, name)
        table.done()
        if not name or target is None:
            return None
        return Alias(name=name, targets=(target,), mode=mode, profile=profile)

    def _target(self, table: Table, dialect: Any, alias: str) -> Target | None:
        url = table.text("url", required=True)
        model = _name(table, "model", alias)
        reference = table.text("api_key", secret=True)
        table.done()
        if url:
            url, problem = parse_url(url)
            if problem:
                table.complain("url", problem)
        credential = self._credential(table, reference) if reference else None
        if not url or not model:
            return None
        if credential is not None and sends_in_clear(url):
            self.warnings.append(f"{table.path('url')}: the key goes over the network in clear")
        identity = (url, dialect, reference)
        backend = self._backends.get(identity)
        if backend is None:
            taken = {known.name for known in self._backends.values()}
            backend = self._backends[identity] = Backend(
                name=backend_name(url, taken),
                url=url,
                dialect=dialect,
                credential=credential,
                credential_ref=_shown(reference),
            )
        return Target(backend=backend, model=model)

    def _credential(self, table: Table, reference: str) -> Secret | None:
        kind, _, rest = reference.partition(":")
        if kind == "env":
            value = self._environ.get(rest, "").strip()
            if not value:
                name = repr(rest) if _ENVIRONMENT_NAME.fullmatch(rest) else 'after "env:"'
                table.complain("api_key", f"the environment variable {name} is not set")
                return None
        elif kind == "file":
            if not rest.startswith("/"):
                table.complain("api_key", 'expected an absolute path after "file:"')
                return None
            value = self._file(table, "api_key", rest).strip()
            if not value:
                return None
        elif _NEARLY_A_REFERENCE.match(reference):
            table.complain("api_key", 'expected "env:NAME", "file:/path" or the key itself')
            return None
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

    def _file(self, table: Table, key: str, path: str) -> str:
        """The text of a file; "" after a complaint."""
        try:
            text = self._read_file(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            table.complain(key, f"the file {path!r} cannot be read: {reason}")
            return ""
        if not text.strip():
            table.complain(key, f"the file {path!r} is empty")
        return text


def _shown(reference: str) -> str:
    """``reference`` without the secret."""
    if reference.startswith(("env:", "file:")):
        return reference
    return "literal" if reference else ""


def _name(table: Table, key: str, default: str = "", *, required: bool = False) -> str:
    """A model's name that can stand in a request and in a header."""
    name = table.text(key, default, required=required)
    if len(name) > NAME_LENGTH or not name.isprintable():
        table.complain(
            key,
            f"found {describe(name)}, expected at most {NAME_LENGTH} characters, all of them "
            "visible",
        )
    return name


def _profile(table: Table) -> dict[str, Any]:
    """The fields of a ``Profile`` that a model's table sets."""
    out = {}
    for field in msgspec.structs.fields(Profile):
        value = table.any(field.name)
        if value is None:
            continue
        try:
            out[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            table.complain(field.name, expected(describe(value), _kind(field.type)))
            continue
        problem = _profile_problem(field.name, value)
        if problem:
            table.complain(field.name, problem)
    table.done()
    return out


def _profile_problem(name: str, value: Any) -> str:
    """What is wrong with a profile's value of the right type."""
    least = 0 if name.endswith("_max") else 1
    if isinstance(value, int) and not isinstance(value, bool) and value < least:
        return expected(describe(value), f"{least} or more")
    words = _WORDS.get(name, ())
    for word in value if isinstance(value, list) else [value]:
        if words and word not in words:
            return expected(describe(word), one_of(words))
    if name == "tool_id":
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError):
            return expected(describe(value), "a regular expression")
    return ""


def _kind(annotation: Any) -> str:
    """The words for the type of a profile's field."""
    if get_origin(annotation) is Literal:
        return one_of(get_args(annotation))
    if get_origin(annotation) is tuple:
        return "an array of strings"
    if annotation is bool:
        return "a boolean"
    return "an integer" if int in (annotation, *get_args(annotation)) else "a string"
