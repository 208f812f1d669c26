"""The backends of the configuration file, named or inline.

Where they are, what they speak, and with which credentials.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, unquote, urlencode

import msgspec

from lmbroker.call import Backend, Proxy, Timeouts
from lmbroker.config.client_certificate import Unusable, read_client_certificate
from lmbroker.config.endpoints import backend_name, parse_proxy, parse_url, sends_in_clear
from lmbroker.config.fields import read_fields, read_settings
from lmbroker.config.settings import Access, BackendTable
from lmbroker.config.table import Table, describe
from lmbroker.redaction import redact
from lmbroker.secret import FileSecret, Secret
from lmbroker.translation.dialects.catalog import ADAPTERS, second_dialects

CLIENT = "client"
"""In the place of a key: each client's own."""
PLACE = ("url", "root")
"""The keys of a backend's address, of which it has one."""

ReadFile = Callable[[str], str]

_ENVIRONMENT_NAME = re.compile(r"[A-Z_][A-Z0-9_]{0,99}")
"""Names of environment variables that may be shown: what stands after ``env:`` by mistake may be
a key."""
_NEARLY_A_REFERENCE = re.compile(r"\$|(?:env|file)[:=]|os\.(?:environ|getenv)", re.IGNORECASE)
_NEARLY_IN_A_HEADER = re.compile(
    r"(?:[A-Za-z]+ +)?(?:\$|(?:env|file):|os\.(?:environ|getenv))", re.IGNORECASE
)
_LITELLMS = "os.environ/"
"""How LiteLLM's configurations begin what is ``env:NAME`` here; taken, too."""
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}")
_CREDENTIAL_HEADER = re.compile(
    r"(?:^|-)(?:(?:proxy)?auth(?:orization|entication)?|tokens?|secrets?|passwords?|credentials?"
    r"|cookies?)(?:-|$)|(?:^|-)(?:api|access|secret)?keys?$"
)
"""Headers whose value is a credential, by whole words of their name in lower case."""
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~$-]{1,64}")
_OURS = frozenset(
    {
        "accept",
        "accept-encoding",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "host",
        "transfer-encoding",
        "x-api-key",
    }
)
"""Headers that the broker writes itself."""
_KEY_HEADERS = ("authorization", "x-api-key")
_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


def is_plain_header(name: str) -> bool:
    """Return whether the values of the header ``name`` may be shown: it holds no credential."""
    return (
        _HEADER.fullmatch(name) is not None
        and name.lower() not in _KEY_HEADERS
        and _CREDENTIAL_HEADER.search(name.lower()) is None
    )


class Secrets:
    """Resolves references to secrets, and reads the files that a configuration names.

    ``literal``: a secret stood in the configuration itself.
    """

    def __init__(self, environ: Mapping[str, str], read_file: ReadFile) -> None:
        self.warnings: list[str] = []
        self.literal = False
        self._environ = environ
        self._read_file = read_file
        self._in_files: dict[str, FileSecret] = {}

    def credential(self, table: Table, key: str, reference: str) -> Secret | None:
        """Return the secret that the value of ``key`` leads to; None after a problem."""
        reference = as_reference(reference)
        if _is_reference(reference):
            value = self._referred(table, key, reference)
        elif _NEARLY_A_REFERENCE.match(reference):
            table.report(key, 'expected "env:NAME", "file:/path" or the key itself')
            value = ""
        else:
            value = self._literal(table, key, reference)
        if not value.isascii() or not value.isprintable():
            table.report(key, "the key has characters that no HTTP header may hold")
            value = ""
        return self._secret(reference, value) if value else None

    def password(self, table: Table, key: str, reference: str) -> Secret | None:
        """Return the password in the value of ``key``; None after a problem."""
        reference = as_reference(reference)
        if _is_reference(reference):
            value = self._referred(table, key, reference)
        elif _NEARLY_A_REFERENCE.match(reference):
            table.report(key, 'expected "env:NAME", "file:/path" or the password itself')
            value = ""
        else:
            value = self._literal(table, key, unquote(reference))
        if not value.isprintable():
            table.report(key, "the password has characters that none may have")
            value = ""
        return Secret(value) if value else None

    def header(self, table: Table, key: str, written: str) -> str | Secret:
        """Return the value of the header ``key``; "" after a problem.

        It is a Secret where it came by reference or looks like a credential.
        """
        written = as_reference(written)
        value = written
        secret = True
        if _is_reference(written):
            value = self._referred(table, key, written)
        elif _NEARLY_IN_A_HEADER.match(written):
            table.report(key, 'expected "env:NAME", "file:/path" or the value, and nothing else')
            value = ""
        elif _CREDENTIAL_HEADER.search(key.lower()) or redact(written.encode()) != written.encode():
            value = self._literal(table, key, written)
        else:
            secret = False
        if not value.isascii() or not value.isprintable():
            table.report(key, "the value has characters that no HTTP header may hold")
            value = ""
        return self._secret(written, value) if value and secret else value

    def _secret(self, reference: str, value: str) -> Secret:
        """Return the secret of a value: one object for each file, however many name it."""
        kind, _, path = reference.partition(":")
        if kind != "file":
            return Secret(value)
        return self._in_files.setdefault(path, FileSecret(value, path))

    def _referred(self, table: Table, key: str, reference: str) -> str:
        """Return what a reference leads to; "" after a problem."""
        kind, _, rest = reference.partition(":")
        if kind == "file":
            if rest.startswith("/"):
                return self.file(table, key, rest).strip()
            table.report(key, 'expected an absolute path after "file:"')
            return ""
        value = self._environ.get(rest, "").strip()
        if not value:
            name = repr(rest) if _ENVIRONMENT_NAME.fullmatch(rest) else 'after "env:"'
            table.report(key, f"the environment variable {name} is not set")
        return value

    def _literal(self, table: Table, key: str, value: str) -> str:
        self.literal = True
        self.warnings.append(
            f'{table.path(key)}: the key stands in the file itself; use "env:NAME" or "file:/path"'
        )
        return value

    def file(self, table: Table, key: str, path: str) -> str:
        """Return the text of a file; "" after a problem."""
        try:
            text = self._read_file(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            table.report(key, f"the file {path!r} cannot be read: {reason}")
            return ""
        if not text.strip():
            table.report(key, f"the file {path!r} is empty")
        return text


class Placed(msgspec.Struct, frozen=True, kw_only=True):
    """A backend as a configuration describes it.

    ``keyed`` has it once per key where it has several; ``timeouts`` are its own, which a model may
    overrule."""

    backend: Backend
    keyed: tuple[Backend, ...] = ()
    timeouts: Mapping[str, float] = {}


class Backends:
    """Reads backends; inline ones that are the same become one object."""

    def __init__(self, secrets: Secrets) -> None:
        self._secrets = secrets
        self._inline: dict[tuple[Any, ...], Placed] = {}
        self.named: dict[str, Placed] = {}

    def read(self, root: Table) -> None:
        """Read the ``[[backends]]`` tables."""
        for table in root.tables("backends") if root.has("backends") else ():
            settings = read_settings(table, BackendTable, PLACE)
            name = settings.name
            if name and _NAME.fullmatch(name) is None:
                table.report(
                    "name",
                    f"found {describe(name)}, expected up to 64 letters, digits, dots, "
                    "hyphens and underscores",
                )
            elif name in self.named:
                table.report("name", f"found {describe(name)}, which another backend has already")
            placed = self._placed(table, settings, settings.type, name)
            table.done()
            if placed is not None and name:
                self.named[name] = placed

    def inline(self, table: Table, settings: Access, dialect: str) -> Placed | None:
        """Return the backend of a model's own ``target``.

        The caller says when ``table`` is done.
        """
        return self._placed(table, settings, dialect, "")

    def _placed(self, table: Table, settings: Access, dialect: str, name: str) -> Placed | None:
        exact = table.any("root") is not None
        if exact and table.any("url") is not None:
            table.report("root", "cannot stand beside url: use the one or the other")
        place = "root" if exact else "url"
        url = table.text(place, required=True)
        references = self._references(table, settings)
        fields = {**self._fields(table, settings), **_second_dialect(table, settings, dialect)}
        timeouts = read_fields(table.table("timeouts"), Timeouts)
        if url:
            url, problem = parse_url(url, exact=exact)
            if problem:
                table.report(place, problem)
        clients_key = references == [("api_key", CLIENT)]
        if not clients_key and any(reference == CLIENT for _, reference in references):
            table.report("api_keys", f'"{CLIENT}" stands alone, as api_key')
        credentials = [
            (None if clients_key else self._secrets.credential(table, key, reference), reference)
            for key, reference in references
        ]
        if not url:
            return None
        secret = any(isinstance(value, Secret) for _, value in fields["headers"])
        keyed = clients_key or any(credential for credential, _ in credentials)
        if (secret or keyed) and sends_in_clear(url):
            self._secrets.warnings.append(
                f"{table.path(place)}: the key goes over the network in clear"
            )
        # Secrets all print alike: the headers as they are written distinguish them.
        written = (*map(str, fields.values()), repr(table.any("headers")))
        written = (*written, repr(table.any("proxy")), repr(table.any("client_key")))
        identity = (url, exact, dialect, *references, *written, *timeouts.items())
        if not name and identity in self._inline:
            return self._inline[identity]
        taken = {*self.named, *(known.backend.name for known in self._inline.values())}
        backends = tuple(
            Backend(
                name=name or backend_name(url, taken),
                url=url,
                exact_root=exact,
                dialect=dialect,
                credential=credential,
                credential_ref=_shown(reference),
                clients_key=clients_key,
                **fields,
            )
            for credential, reference in credentials or [(None, "")]
        )
        placed = Placed(
            backend=backends[0],
            keyed=_numbered_literals(backends) if len(backends) > 1 else (),
            timeouts=timeouts,
        )
        if not name:
            self._inline[identity] = placed
        return placed

    def _references(self, table: Table, settings: Access) -> list[tuple[str, str]]:
        """Yield (key of the table, reference) of every credential."""
        one = as_reference(settings.api_key or "")
        several = [as_reference(each) for each in settings.api_keys or ()]
        if one and several:
            table.report("api_keys", "cannot stand beside api_key: use the one or the other")
        if one:
            return [("api_key", one)]
        return [(f"api_keys[{number}]", each) for number, each in enumerate(several)]

    def _fields(self, table: Table, settings: Access) -> dict[str, Any]:
        ca_file = settings.ca
        ca = self._secrets.file(table, "ca", ca_file) if ca_file else ""
        if ca and "-----BEGIN CERTIFICATE-----" not in ca:
            table.report("ca", f"the file {ca_file!r} holds no certificate")
        return {
            "ca": ca,
            **self._client_certificate(table, settings),
            "proxy": self._proxy(table, settings.proxy),
            "max_in_flight": settings.max_in_flight,
            "queue": settings.queue,
            "queue_timeout": settings.queue_timeout,
            "keepalive": settings.keepalive,
            "omit_attribution": settings.omit_attribution,
            "check_interval": settings.check_interval,
            "headers": self._headers(table.table("headers")),
            "query": _query(table.table("query")),
            "key_header": _key_header(table, settings.api_key_header),
            "passthrough_errors": settings.passthrough_errors,
        }

    def _client_certificate(self, table: Table, settings: Access) -> dict[str, Any]:
        """Return our certificate for a backend and its key, as PEM.

        The key may stand in the certificate's file.
        """
        cert_file, key_file = settings.client_cert, settings.client_key
        if key_file and not cert_file:
            table.report("client_key", "needs client_cert, the certificate that it belongs to")
        if not cert_file:
            return {}
        certificates = self._secrets.file(table, "client_cert", cert_file)
        key = self._secrets.file(table, "client_key", key_file) if key_file else certificates
        if not certificates.strip() or not key.strip():
            return {}
        try:
            read_client_certificate(certificates, key)
        except Unusable as error:
            table.report(error.field, error.problem)
            return {}
        shown = "\n".join(_CERTIFICATE.findall(certificates))
        return {"client_cert": shown, "client_key": Secret(key)}

    def _proxy(self, table: Table, written: str | None) -> Proxy | None:
        if not written:
            return None
        scheme, separator, rest = written.partition("://")
        credentials, _, address = rest.rpartition("@")
        host, port, problem = parse_proxy(f"{scheme}{separator}{address}")
        user, _, reference = credentials.partition(":")
        user = unquote(user)
        if not user.isprintable() or ":" in user or (reference and not user):
            problem = problem or "a proxy's user has a name without colons and control characters"
        if problem:
            table.report("proxy", problem)
            return None
        password = self._secrets.password(table, "proxy", reference) if reference else None
        return Proxy(host=host, port=port, user=user, password=password)

    def _headers(self, table: Table) -> tuple[tuple[str, str | Secret], ...]:
        found: list[tuple[str, str | Secret]] = []
        for name in table.names():
            # The value may be a credential for a gateway in between.
            written = table.text(name, secret=True)
            plain = _HEADER.fullmatch(name) is not None
            if not plain or name.lower() in _OURS:
                hint = (
                    "; the key of a backend is its api_key" if name.lower() in _KEY_HEADERS else ""
                )
                table.report(name if plain else "?", f"no header that may be set here{hint}")
            elif written:
                found.append((name.lower(), self._secrets.header(table, name, written)))
        return tuple(found)


def _second_dialect(table: Table, settings: Access, dialect: str) -> dict[str, Any]:
    """Return the other dialect of the same API in which a backend is called, and for whom."""
    found: dict[str, Any] = {}
    for key in {facts.second_key for facts in (each.facts for each in ADAPTERS.values())} - {""}:
        mode = getattr(settings, key, None)
        if mode is None or dialect not in ADAPTERS:
            continue
        name = second_dialects(dialect).get(key)
        if name is None:
            table.report(key, f"backends of type {dialect!r} are not called so")
        else:
            found = {"also": name, "also_translated": mode == "auto"}
    return found


def _query(table: Table) -> str:
    """Return the query that goes with each request, encoded."""
    pairs = []
    for name in table.names():
        value = table.text(name)
        if _QUERY_NAME.fullmatch(name) is None:
            table.report("?", f"found {describe(name)}, expected the name of a query parameter")
        else:
            pairs.append((name, value))
    return urlencode(pairs, quote_via=quote)


def _key_header(table: Table, written: str | None) -> str:
    """Return the header that carries the key, in lower case; "" for the usual one."""
    name = (written or "").lower()
    if name and (_HEADER.fullmatch(name) is None or (name in _OURS and name not in _KEY_HEADERS)):
        table.report("api_key_header", "expected the name of a header that may carry a key")
        return ""
    return name


def _numbered_literals(backends: tuple[Backend, ...]) -> tuple[Backend, ...]:
    """Return the backends with numbers for keys that stand in the file itself and have no name."""
    return tuple(
        msgspec.structs.replace(backend, credential_ref=f"literal {number}")
        if backend.credential_ref == "literal"
        else backend
        for number, backend in enumerate(backends)
    )


def as_reference(text: str) -> str:
    """Return a value as references are written here: LiteLLM's ``os.environ/X`` is ``env:X``."""
    return f"env:{text.removeprefix(_LITELLMS)}" if text.startswith(_LITELLMS) else text


def _is_reference(text: str) -> bool:
    return text.startswith(("env:", "file:"))


def _shown(reference: str) -> str:
    """Return ``reference`` without the secret."""
    if _is_reference(reference) or reference == CLIENT:
        return reference
    return "literal" if reference else ""
