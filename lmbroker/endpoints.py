"""Addresses as configuration files write them: listening endpoints and backends' URLs."""

import re
from collections.abc import Container
from urllib.parse import urlsplit

PRACTICE = "practice:"
"""The URL that stands for the built-in practice backend."""


def listen_on(host: str, port: int) -> str:
    """The Twisted endpoint string that listens on a host and a port."""
    escaped = host.strip("[]").replace("\\", "\\\\").replace(":", "\\:")
    kind = "tcp6" if ":" in host else "tcp"
    return f"{kind}:{port}:interface={escaped}"


def parse_url(url: str) -> tuple[str, str]:
    """A backend's base URL without trailing slash and without a final ``/v1``, and what is wrong
    with it ("" when nothing is)."""
    if url == PRACTICE:
        return url, ""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "", "not a URL"
    if parts.scheme not in ("http", "https"):
        return "", f"expected an http or https URL, found the scheme {parts.scheme!r}"
    if parts.username is not None or parts.password is not None:
        return "", "a URL must not hold a user or a password; use api_key"
    host = parts.hostname or ""
    if not re.fullmatch(r"[A-Za-z0-9._-]+|[0-9a-fA-F:.]+", host):
        return "", "the URL has no valid host name"
    if port == 0:
        return "", "the URL's port must be from 1 to 65535"
    if parts.query or parts.fragment:
        return "", "a base URL has neither query nor fragment"
    if not url.isascii() or not url.isprintable() or " " in url:
        return "", "the URL has characters that no URL may hold"
    base = url.rstrip("/")
    return base.removesuffix("/v1").rstrip("/"), ""


def backend_name(url: str, taken: Container[str]) -> str:
    """A short name for logs and metric labels: host and port, numbered where it is taken."""
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
