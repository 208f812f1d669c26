"""Addresses as configuration files write them: listening endpoints and backends' URLs.

What reads one gives its value and what is wrong with it, "" where nothing is.
"""

import difflib
import ipaddress
import re
from collections.abc import Container, Mapping
from urllib.parse import urlsplit

from lmbroker.translation.dialects.catalog import ADAPTERS

PRACTICE = "practice:"
"""The URL that stands for the built-in practice backend."""

ENDPOINTS: Mapping[str, tuple[str, ...]] = {
    "tcp": ("port", "interface", "backlog"),
    "tcp6": ("port", "backlog", "interface"),
    "unix": ("address", "mode", "backlog", "lockfile"),
    "ssl": (
        "port",
        "privateKey",
        "certKey",
        "sslmethod",
        "interface",
        "backlog",
        "extraCertChain",
        "dhParameters",
    ),
    "systemd": ("domain", "index", "name"),
}
"""Kinds of Twisted's endpoint strings, and the arguments of each in Twisted's order."""

OWN_ADDRESS = ("tcp", "tcp6", "unix", "ssl")
"""Kinds of endpoints that say where they listen, and have a backlog that can be set."""

CERTIFICATES = ("privateKey", "certKey", "extraCertChain", "dhParameters")
"""The arguments of an ``ssl`` endpoint that name a file."""

_PLUGIN = re.compile(r"[a-z][A-Za-z0-9]{0,30}")
"""Kinds of endpoints that a plugin of Twisted's may bring, such as ``haproxy``."""

_VALUES = {
    "port": (r"\d{1,4}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5]", "0 to 65535"),
    "backlog": (r"\d{1,6}", "a number"),
    "mode": (r"[0-7]{3,4}", "an octal mode such as 660"),
    "lockfile": (r"[01]", "0 or 1"),
    "domain": (r"INET6?|UNIX", "INET, INET6 or UNIX"),
    "index": (r"\d{1,4}", "a number"),
}
_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+(?:%[A-Za-z0-9._-]+)?")
_URL = re.compile(r"[A-Za-z0-9._~:/?#\[\]@!$&'()*+,;=%-]+")
_OWN_NETWORK = (".local", ".internal", ".lan", ".home.arpa")
_VERSION = re.compile(r"v\d+(?:(?:alpha|beta)\d*)?")
_OPERATIONS = {
    path
    for facts in (adapter.facts for adapter in ADAPTERS.values())
    for path in (
        *(path for operation, path in facts.paths.items() if operation != "models"),
        *(path.removeprefix("/v1") for path in facts.own_paths if path.startswith("/v1/")),
    )
}
_OPERATION = re.compile(f"(?:{'|'.join(map(re.escape, sorted(_OPERATIONS)))})$")
"""An operation at the end of a URL. ``/models`` is not among them: some base URLs end so."""


BACKLOG = 4096
"""How many connections may wait until they are accepted, where nothing else is said: with Twisted's
50 a burst costs some clients the second after which they try again. The system may allow fewer
(``net.core.somaxconn``)."""


def listen_on(host: str, port: int) -> str:
    """Return the Twisted endpoint string that listens on a host and a port."""
    escaped = host.strip("[]").replace("\\", "\\\\").replace(":", "\\:")
    kind = "tcp6" if ":" in host else "tcp"
    return f"{kind}:{port}:interface={escaped}"


def endpoint_of(written: str) -> str:
    """Return the Twisted endpoint string for what people write on a command line.

    That is a port (on loopback), a host and a port, or an endpoint string, which stays as it is.
    """
    if written.isdecimal():
        return f"tcp:{written}:interface=127.0.0.1"
    host, colon, port = written.rpartition(":")
    if colon and port.isdecimal() and host not in ENDPOINTS and not host_problem(host):
        return listen_on(host, int(port))
    return written


def with_backlog(endpoint: str) -> str:
    """Return an endpoint string that says how many connections may wait.

    That is ``BACKLOG`` where it said nothing. What systemd listens on has its backlog already.
    """
    found, problem = parse_endpoint(endpoint)
    if problem or "backlog" in found or found["kind"] not in OWN_ADDRESS:
        return endpoint
    return f"{endpoint}:backlog={BACKLOG}"


def host_problem(host: str) -> str:
    """Return what is wrong with the name or address of an interface to listen on."""
    if _HOST.fullmatch(host[1:-1] if host.startswith("[") and host.endswith("]") else host):
        return ""
    return "expected a host name or an address such as 127.0.0.1, ::1 or 0.0.0.0"


def parse_endpoint(endpoint: str) -> tuple[dict[str, str], str]:
    """Return the arguments of a Twisted endpoint string by name, its ``kind`` among them.

    Of a kind that a plugin of Twisted's may bring only the kind is known here;
    ``daemon.listening.endpoint_problems`` has Twisted's own parser read the rest.
    """
    (label, kind), *parts = _endpoint_parts(endpoint)
    names = ENDPOINTS.get(kind)
    if names is None and not label and parts and _PLUGIN.fullmatch(kind):
        return {"kind": kind}, ""
    if names is None or label:
        return {}, f"expected an endpoint string of one of the kinds {', '.join(ENDPOINTS)}"
    if (len(endpoint) - len(endpoint.rstrip("\\"))) % 2:
        return {}, "a backslash at the end escapes nothing"
    found: dict[str, str] = {}
    unnamed = iter(names)
    for name, value in parts:
        if not name:
            name = next(unnamed, "")
        if not name:
            return {}, f"too many arguments for {kind} (colons in an address are written \\:)"
        if name not in names:
            near = difflib.get_close_matches(name, names, 1, 0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"{kind} has {', '.join(names)}"
            return {}, f"{kind} has no argument {name!r} ({hint})"
        if name in found:
            return {}, f"{kind} has {name!r} twice"
        pattern, wanted = _VALUES.get(name, (r".*", ""))
        if not re.fullmatch(pattern, value, re.ASCII | re.DOTALL):
            return {}, f"{name!r} of {kind} is {value!r}, expected {wanted}"
        found[name] = value
    if not found.get(names[0]):
        return {}, f"{kind} needs {names[0]!r}"
    if kind == "systemd" and ("index" in found) == ("name" in found):
        return {}, "systemd needs either 'index' or 'name'"
    return {"kind": kind, **found}, ""


def _endpoint_parts(endpoint: str) -> list[tuple[str, str]]:
    """Return (name or "", value) of each part between colons.

    A backslash takes the next letter literally.
    """
    parts = [[""]]
    escaped = False
    for letter in endpoint:
        if escaped:
            parts[-1][-1] += letter
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == ":":
            parts.append([""])
        elif letter == "=" and len(parts[-1]) == 1:
            parts[-1].append("")
        else:
            parts[-1][-1] += letter
    return [(part[0], part[1]) if len(part) == 2 else ("", part[0]) for part in parts]


def is_public(endpoint: Mapping[str, str]) -> bool:
    """Return whether an endpoint of ``parse_endpoint`` may be reached from other machines.

    Of a TCP socket that systemd holds, and of what a plugin listens on, nobody here knows; they
    count as public.
    """
    if endpoint["kind"] == "systemd":
        return endpoint["domain"] != "UNIX"
    if endpoint["kind"] == "unix":
        return False
    return endpoint["kind"] not in ENDPOINTS or not is_loopback(endpoint.get("interface", ""))


def is_loopback(host: str) -> bool:
    """Return whether a host name or address is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def sends_in_clear(url: str) -> bool:
    """Return whether what goes to ``url`` can be read on its way.

    So it is for ``http`` to an address that is not of a private network. A name without a dot is
    one of the own network (a container's).
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if parts.scheme != "http" or is_loopback(host):
        return False
    try:
        return ipaddress.ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_OWN_NETWORK)


def parse_url(url: str, *, exact: bool = False) -> tuple[str, str]:
    """Return a backend's base URL as its ``api_root``; ``exact``: the URL is the root itself."""
    if url == PRACTICE and not exact:
        return url, ""
    if "://" not in url:
        return "", 'expected a URL that begins with "https://" or "http://"'
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", "not a URL"
    if parts.scheme not in ("http", "https"):
        return "", f"found the scheme {parts.scheme!r}, expected http or https"
    if parts.username is not None or parts.password is not None:
        return "", "a URL must not hold a user or a password; use api_key"
    if not _HOST.fullmatch(parts.hostname or ""):
        return "", "the URL has no valid host name"
    if port == 0:
        return "", "the URL's port must be from 1 to 65535"
    if "#" in url:
        return "", "a base URL has no fragment"
    if "?" in url:
        return "", 'a base URL has no query; write it as query = { name = "value" }'
    if not _URL.fullmatch(url):
        return "", "the URL has characters that no URL may hold"
    path = parts.path.rstrip("/")
    operation = _OPERATION.search(path)
    if operation is not None:
        return "", f'a base URL ends before "{operation[0]}"'
    base = f"{parts.scheme}://{parts.netloc.lower()}{path}"
    return base if exact else api_root(base), ""


def parse_proxy(address: str) -> tuple[str, int, str]:
    """Return host and port of an HTTP proxy written as ``http://host:port``, and what is wrong."""
    try:
        parts = urlsplit(address)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "", 0, "expected http://host:port"
    if parts.scheme == "https":
        return "", 0, "TLS to the proxy itself is not supported: expected http://host:port"
    if parts.scheme != "http" or parts.path not in ("", "/") or parts.query or parts.fragment:
        return "", 0, "expected http://host:port, or http://user:password@host:port"
    if not _HOST.fullmatch(host):
        return "", 0, "the proxy has no valid host name"
    if not port:
        return "", 0, "the proxy needs a port from 1 to 65535"
    return host, port, ""


def api_root(url: str) -> str:
    """Return the URL below which a backend's operations live; its own root's root is itself.

    ``http://host``, ``http://host/v1`` and ``https://host/openai/v1/`` all work: a base that names
    a version (``/v1``, ``/v1beta/openai``) is taken as it is, any other gets ``/v1``.
    """
    base = url.rstrip("/")
    path = base.split("://", 1)[-1].partition("/")[2]
    versioned = any(_VERSION.fullmatch(part) for part in path.split("/"))
    return base if versioned else base + "/v1"


def operation_url(root: str, path: str, query: str = "", *, exact: bool = False) -> str:
    """Return the full URL of an operation whose ``path`` begins below a backend's root.

    ``exact`` takes the root as it is.
    """
    text = (root if exact else api_root(root)) + path
    return f"{text}?{query}" if query else text


def backend_name(url: str, taken: Container[str]) -> str:
    """Return a short name for logs and metric labels: host and port, numbered where it is taken."""
    if url == PRACTICE:
        base = "practice"
    else:
        parts = urlsplit(url)
        base = parts.hostname or "backend"
        if parts.port is not None:
            base = f"{base}-{parts.port}"
    name, number = base, 1
    while name in taken:
        number += 1
        name = f"{base}-{number}"
    return name


ANY_ORIGIN = "*"
"""The word for web pages of all origins."""

_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{1,5})?")


def origin_problem(origin: str) -> str:
    """Return what is wrong with an origin of the configuration, "" where nothing is."""
    if origin == ANY_ORIGIN or _ORIGIN.fullmatch(origin):
        return ""
    return 'expected an origin such as "https://app.example.com", without a path, or "*"'
