"""Reads where limits are counted: ``store`` of the table ``[limits]``."""

from importlib.util import find_spec
from urllib.parse import unquote, urlsplit

import msgspec

from lmbroker.config.backends import Secrets
from lmbroker.config.table import Table
from lmbroker.secret import Secret

PACKAGE = "txredisapi"
"""The package that speaks to Redis."""

PORT, SENTINEL_PORT = 6379, 26379

_FORMS = (
    'expected "redis://HOST[:PORT][/NUMBER]", "rediss://…" for TLS, "unix:///PATH", or '
    '"redis+sentinel://HOST,HOST/SERVICE[/NUMBER]"'
)


class RedisAddress(msgspec.Struct, frozen=True, kw_only=True):
    """A Redis or Valkey server: at a host, at the path of a socket, or known to Sentinels."""

    hosts: tuple[tuple[str, int], ...] = ()
    """The server; with ``service`` its Sentinels."""
    path: str = ""
    """The path of its UNIX socket."""
    service: str = ""
    """The name under which Sentinels know it; "" where none are asked."""
    secure: bool = False
    """It is spoken to over TLS."""
    database: int = 0
    user: str = ""
    password: Secret | None = None

    @property
    def shown(self) -> str:
        """The address without the password."""
        if self.path:
            return f"unix://{self.path}"
        hosts = ",".join(
            f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts
        )
        if self.service:
            return f"redis+sentinel://{hosts}/{self.service}/{self.database}"
        return f"{'rediss' if self.secure else 'redis'}://{hosts}/{self.database}"


def read_limit_store(table: Table, secrets: Secrets) -> RedisAddress | None:
    """Return the server that counts limits; None where the process counts them itself."""
    written = table.text("store", secret=True)
    given = table.text("store_password", secret=True)
    if not written:
        if given:
            table.report("store_password", "found a password, expected limits.store as well")
        return None
    if written.startswith(("env:", "file:")):
        found = secrets.password(table, "store", written)
        if found is None:
            return None
        address, password = parse(found.reveal())
    else:
        address, password = parse(written)
    if address is None:
        table.report("store", _FORMS)
        return None
    if find_spec(PACKAGE) is None:
        table.report("store", f"needs {PACKAGE}: pip install 'lmbroker[redis]'")
        return None
    secret = None
    if given:
        secret = secrets.password(table, "store_password", given)
    elif password:
        secret = Secret(password)
        if written.partition(":")[0] not in ("env", "file"):
            secrets.literal = True
            secrets.warnings.append(
                f"{table.path('store')}: the password stands in the file itself; "
                "use limits.store_password"
            )
    return msgspec.structs.replace(address, password=secret)


def parse(url: str) -> tuple[RedisAddress | None, str]:
    """Return the address in a URL and the password in it, "" for none; None for no such URL."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None, ""
    scheme, credentials, place = parts.scheme, *_rpartition(parts.netloc)
    user, _, password = credentials.partition(":")
    names = [name for name in parts.path.split("/") if name]
    service = names[0] if scheme == "redis+sentinel" and names else ""
    number, *more = names[1 if service else 0 :] or ["0"]
    plain = number.isascii() and number.isdigit() and not parts.query and not parts.fragment
    if scheme == "unix" and not place and parts.path.startswith("/"):
        return RedisAddress(path=parts.path), ""
    if scheme not in ("redis", "rediss", "redis+sentinel") or more or not plain:
        return None, ""
    usual = SENTINEL_PORT if service else PORT
    hosts = tuple(_host(each, usual) for each in place.split(","))
    several = len(hosts) > 1 and not service
    if several or (scheme == "redis+sentinel" and not service) or any(not h for h, _ in hosts):
        return None, ""
    address = RedisAddress(
        hosts=hosts,
        service=service,
        secure=scheme == "rediss",
        database=int(number),
        user=unquote(user),
    )
    return address, unquote(password)


def _rpartition(netloc: str) -> tuple[str, str]:
    credentials, _, place = netloc.rpartition("@")
    return credentials, place


def _host(text: str, usual: int) -> tuple[str, int]:
    """Return host and port; "" as the host where they are malformed."""
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = text.partition(":")
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        return "", 0
    return host, int(port) if port else usual
