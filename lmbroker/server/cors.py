"""Decides which web pages may call the broker from a browser (Fetch standard, 3.3: CORS).

A browser sends a preflight request before it sends a JSON body or a key to another origin, and
lets a page read an answer only where the answer allows the page's origin.
"""

import re
from collections.abc import Mapping, Sequence

from lmbroker.config.endpoints import ANY_ORIGIN
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.rate_limit_headers import GROUPS, RateLimit

Pairs = tuple[tuple[str, str], ...]

MAX_AGE = "600"
"""The seconds for which a browser may cache the answer to a preflight."""

METHODS = "GET, POST"
_REQUEST_IDS = sorted({adapter.facts.headers.request_id for adapter in ADAPTERS.values()})
_LIMITS = sorted(
    {
        name
        for adapter in ADAPTERS.values()
        for name, _ in adapter.facts.rate_limits.write(
            [RateLimit(of=each, limit="", remaining="", reset=0.0) for each in GROUPS], 0.0
        )
    }
)
"""The headers that report what is left by limits, of every dialect."""

EXPOSED = (
    f"{', '.join((*_REQUEST_IDS, *_LIMITS))}, retry-after, retry-after-ms, x-should-retry, "
    "x-lmbroker-request-id, x-lmbroker-backend, x-lmbroker-model, x-lmbroker-dropped, "
    "x-lmbroker-changed, x-lmbroker-attempts, x-lmbroker-estimated, x-lmbroker-cost, "
    "x-lmbroker-limit-then, x-lmbroker-limit-exceeded"
)
"""The headers of an answer that a page may read, besides the few that it always may."""

_NAMES = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*,[ \t]*[!#$%&'*+.^_`|~0-9A-Za-z-]+)*")
_ASKED_BYTES = 4096


def allowed(origins: Sequence[str], headers: Mapping[str, str]) -> Pairs:
    """Return the headers that let a page read the answer to a request with ``headers``.

    They are () where the page may not read it, or the request does not come from a page. The names
    in ``headers`` are in lower case.
    """
    origin = headers.get("origin")
    if origin is None:
        return ()
    if ANY_ORIGIN in origins:
        allow: Pairs = (("access-control-allow-origin", ANY_ORIGIN),)
    elif origin in origins:
        allow = (("access-control-allow-origin", origin), ("vary", "origin"))
    else:
        return ()
    return (*allow, ("access-control-expose-headers", EXPOSED))


def preflight(origins: Sequence[str], headers: Mapping[str, str]) -> Pairs:
    """Return the headers that answer a preflight with ``headers``.

    They are () where the request is no preflight, or its page may not call.
    """
    allow = allowed(origins, headers)
    if not allow or "access-control-request-method" not in headers:
        return ()
    out = [
        *allow[:-1],
        ("access-control-allow-methods", METHODS),
        ("access-control-max-age", MAX_AGE),
    ]
    asked = headers.get("access-control-request-headers", "")
    if len(asked) <= _ASKED_BYTES and _NAMES.fullmatch(asked):
        # A wildcard would not cover ``authorization``, and SDKs send headers of their own.
        out.append(("access-control-allow-headers", asked))
    if headers.get("access-control-request-private-network") == "true":
        out.append(("access-control-allow-private-network", "true"))
    return tuple(out)
