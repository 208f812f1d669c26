"""The models of the configuration file: aliases, where they lead, and with which credential."""

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from lmbroker.call import Alias, Backend, Target, Timeouts
from lmbroker.config_struct import read_fields
from lmbroker.config_table import Table, describe
from lmbroker.endpoints import backend_name, parse_url, sends_in_clear
from lmbroker.profiles import Profile
from lmbroker.secret import Secret

DIALECTS = ("openai", "anthropic")
MODES = ("default", "strict", "lenient")

NAME_LENGTH = 256
"""Longest alias or model name, in characters: what a client may ask for (``envelope``)."""

MANY = 1_000_000
DAY = 86400
"""Seconds."""

ReadFile = Callable[[str], str]

_ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
"""Names of environment variables that may be shown: what stands after ``env:`` by mistake may be
a key."""
_NEARLY_A_REFERENCE = re.compile(r"\$|(?:env|file)[:=]", re.IGNORECASE)


class Secrets:
    """Resolves references to secrets, and reads the files that a configuration names."""

    def __init__(self, environ: Mapping[str, str], read_file: ReadFile) -> None:
        self.warnings: list[str] = []
        self._environ = environ
        self._read_file = read_file

    def credential(self, table: Table, key: str, reference: str) -> Secret | None:
        """The secret that the value of ``key`` leads to; None after a complaint."""
        kind, _, rest = reference.partition(":")
        if kind == "env":
            value = self._environ.get(rest, "").strip()
            if not value:
                name = repr(rest) if _ENVIRONMENT_NAME.fullmatch(rest) else 'after "env:"'
                table.complain(key, f"the environment variable {name} is not set")
                return None
        elif kind == "file":
            if not rest.startswith("/"):
                table.complain(key, 'expected an absolute path after "file:"')
                return None
            value = self.file(table, key, rest).strip()
            if not value:
                return None
        elif _NEARLY_A_REFERENCE.match(reference):
            table.complain(key, 'expected "env:NAME", "file:/path" or the key itself')
            return None
        else:
            value = reference
            self.warnings.append(
                f"{table.path(key)}: the key stands in the file itself; "
                'use "env:NAME" or "file:/path"'
            )
        if not value.isascii() or not value.isprintable():
            table.complain(key, "the key has characters that no HTTP header may hold")
            return None
        return Secret(value)

    def file(self, table: Table, key: str, path: str) -> str:
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


class Models:
    """Reads the models; backends that are the same become one object."""

    def __init__(self, secrets: Secrets, timeouts: Timeouts) -> None:
        self._secrets = secrets
        self._timeouts = timeouts
        self._backends: dict[tuple[Any, ...], Backend] = {}
        self._alias_paths: dict[str, str] = {}

    def read(self, root: Table) -> dict[str, Alias]:
        aliases = [self._model(table) for table in root.tables("models")]
        return {alias.name: alias for alias in aliases if alias is not None}

    def _model(self, table: Table) -> Alias | None:
        name = _name(table, "alias", required=True)
        used = self._alias_paths.setdefault(name, table.path("alias"))
        if name and used != table.path("alias"):
            table.complain("alias", f"found {describe(name)}, which is {used} already")
        dialect: Any = table.text("type", required=True, choices=DIALECTS)
        mode: Any = table.text("mode", "default", choices=MODES)
        profile = read_fields(table.table("profile"), Profile)
        timeouts = self._timeouts_of(table)
        expose_limits = table.boolean("expose_limits", False)
        target = self._target(table.table("target", required=True), dialect, name)
        table.done()
        if not name or target is None:
            return None
        return Alias(
            name=name,
            targets=(target,),
            mode=mode,
            profile=profile,
            timeouts=timeouts,
            expose_limits=expose_limits,
        )

    def _timeouts_of(self, table: Table) -> Timeouts:
        own = read_fields(table.table("timeouts"), Timeouts)
        return msgspec.structs.replace(self._timeouts, **own)

    def _target(self, table: Table, dialect: Any, alias: str) -> Target | None:
        url = table.text("url", required=True)
        model = _name(table, "model", alias)
        reference = table.text("api_key", secret=True)
        ca_file = table.text("ca")
        limit = table.integer("max_in_flight", 0, least=1, most=MANY) or None
        queue = table.integer("queue", 100, least=0, most=MANY)
        queue_timeout = table.number("queue_timeout", 30, least=0, most=DAY)
        keepalive = table.boolean("keepalive", True)
        table.done()
        ca = self._secrets.file(table, "ca", ca_file) if ca_file else ""
        if ca and "-----BEGIN CERTIFICATE-----" not in ca:
            table.complain("ca", f"the file {ca_file!r} holds no certificate")
        if url:
            url, problem = parse_url(url)
            if problem:
                table.complain("url", problem)
        credential = self._secrets.credential(table, "api_key", reference) if reference else None
        if not url or not model:
            return None
        if credential is not None and sends_in_clear(url):
            self._secrets.warnings.append(
                f"{table.path('url')}: the key goes over the network in clear"
            )
        identity = (url, dialect, reference, ca, limit, queue, queue_timeout, keepalive)
        backend = self._backends.get(identity)
        if backend is None:
            taken = {known.name for known in self._backends.values()}
            backend = self._backends[identity] = Backend(
                name=backend_name(url, taken),
                url=url,
                dialect=dialect,
                credential=credential,
                credential_ref=_shown(reference),
                ca=ca,
                max_in_flight=limit,
                queue=queue,
                queue_timeout=queue_timeout,
                keepalive=keepalive,
            )
        return Target(backend=backend, model=model)


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
