"""The table ``[tracing]`` of the configuration file: where spans go, and which calls have some."""

import re

import msgspec

from lmbroker.call import Backend
from lmbroker.config.backends import Secrets
from lmbroker.config.endpoints import parse_url, sends_in_clear
from lmbroker.config.fields import read_settings
from lmbroker.config.settings import TracingTable
from lmbroker.config.table import Table, describe
from lmbroker.secret import Secret
from lmbroker.translation.dialects.catalog import ADAPTERS

PATH = "/v1/traces"
"""The path of OTLP over HTTP below its endpoint."""

NAME = "tracing"
"""The name of the receiver of spans in logs."""

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_OURS = frozenset(
    {"host", "connection", "content-length", "content-type", "transfer-encoding", "user-agent"}
)


class TracingRules(msgspec.Struct, frozen=True, kw_only=True):
    """Where spans go (``settings.TracingTable``).

    ``receiver`` is the collector, at the URL before ``PATH``; ``ratio`` the share of new
    traces of which there are spans.
    """

    receiver: Backend
    ratio: float = 1.0
    service_name: str = "lmbroker"


def read_tracing(table: Table, secrets: Secrets) -> TracingRules | None:
    """Return the rules of the table, None where no endpoint stands there or one is a mistake."""
    settings = read_settings(table, TracingTable)
    held = table.table("headers")
    headers: list[tuple[str, str | Secret]] = []
    for name in held.names():
        written = held.text(name, secret=True)
        plain = _HEADER.fullmatch(name) is not None
        if not plain or name.lower() in _OURS:
            held.report(name if plain else "?", "no header that may be set here")
        elif written:
            headers.append((name.lower(), secrets.header(held, name, written)))
    table.done()
    endpoint = settings.endpoint
    if endpoint is None:
        if headers:
            table.report("endpoint", "found nothing, expected the URL of whoever takes the spans")
        return None
    url, problem = parse_url(endpoint, exact=True)
    if problem:
        table.report("endpoint", f"found {describe(endpoint)}, {problem}")
        return None
    if headers and sends_in_clear(url):
        secrets.warnings.append(f"{table.path('endpoint')}: the headers go there without TLS")
    receiver = Backend(
        name=NAME,
        url=url.removesuffix(PATH),
        # Nothing of it matters to a receiver that has no credential.
        dialect=next(iter(ADAPTERS)),
        exact_root=True,
        headers=tuple(headers),
    )
    return TracingRules(receiver=receiver, ratio=settings.ratio, service_name=settings.service_name)
