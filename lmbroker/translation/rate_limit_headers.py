"""A backend's remaining rate limits in the headers of the client's dialect (translation.md 6).

They concern the account that pays for the backend. A client sees them only where its alias says so.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal

import msgspec

Pairs = tuple[tuple[str, str], ...]
Group = Literal["requests", "tokens"]
"""What a limit counts."""
GROUPS: tuple[Group, ...] = ("requests", "tokens")


class RateLimit(msgspec.Struct, frozen=True, kw_only=True):
    """One rate limit of a backend, in no dialect's form; None for what the backend did not say."""

    of: Group
    limit: str | None = None
    """The amount of a period."""
    remaining: str | None = None
    """The amount that is left."""
    reset: float | None = None
    """The seconds from now until the next period begins."""


class RateLimitFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The headers in which a dialect reports rate limits.

    Names of headers are in lower case, ``now`` is in unix seconds.
    """

    prefixes: tuple[str, ...]
    """The prefixes of the names of all its headers about limits."""
    read: Callable[[Mapping[str, str], float], Iterable[RateLimit]]
    """Reads the limits in the headers of an answer: (headers, now) -> limits. A time that cannot be
    read is left out."""
    write: Callable[[Iterable[RateLimit], float], Iterable[tuple[str, str]]]
    """Makes the headers that report limits: (limits, now) -> headers."""


def for_client(
    headers: Mapping[str, str],
    backend: RateLimitFacts,
    client: RateLimitFacts,
    *,
    expose_limits: bool,
    now: float,
) -> Pairs:
    """Return the rate-limit headers of a backend's answer, as the client may see them.

    ``headers`` are the backend's, names in lower case; ``now`` is in unix seconds. In one dialect
    they pass as they are.
    """
    if not expose_limits:
        return ()
    if backend is client:
        return tuple(each for each in headers.items() if each[0].startswith(client.prefixes))
    return tuple(client.write(backend.read(headers, now), now))
