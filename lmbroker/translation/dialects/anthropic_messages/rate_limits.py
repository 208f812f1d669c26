"""Rate limits in the headers of the Anthropic Messages dialect.

Resets are moments: ``anthropic-ratelimit-requests-reset: 2026-11-23T10:00:00Z``.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime

from lmbroker.translation.rate_limit_headers import Group, RateLimit, RateLimitFacts

_PREFIX = "anthropic-ratelimit-"


def read(headers: Mapping[str, str], now: float) -> Iterator[RateLimit]:
    """Yield the rate limits in the headers of an answer.

    Where input and output tokens are counted separately, the input tokens count as the tokens,
    since they bound a prompt.
    """
    together = any(name.startswith(f"{_PREFIX}tokens-") for name in headers)
    groups: tuple[tuple[Group, str], ...] = (
        ("requests", "requests"),
        ("tokens", "tokens" if together else "input-tokens"),
    )
    for of, group in groups:
        moment = _moment(headers.get(f"{_PREFIX}{group}-reset", ""))
        yield RateLimit(
            of=of,
            limit=headers.get(f"{_PREFIX}{group}-limit"),
            remaining=headers.get(f"{_PREFIX}{group}-remaining"),
            reset=None if moment is None else moment - now,
        )


def write(limits: Iterable[RateLimit], now: float) -> Iterator[tuple[str, str]]:
    """Yield the headers for ``limits``; moments are rounded up to a second."""
    for each in limits:
        if each.limit is not None:
            yield f"{_PREFIX}{each.of}-limit", each.limit
        if each.remaining is not None:
            yield f"{_PREFIX}{each.of}-remaining", each.remaining
        if each.reset is not None:
            moment = datetime.fromtimestamp(math.ceil(now + each.reset), UTC)
            yield f"{_PREFIX}{each.of}-reset", f"{moment.isoformat()[:19]}Z"


def _moment(text: str) -> float | None:
    """Return the unix seconds of an RFC 3339 time with a zone, None for any other text."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None


RATE_LIMITS = RateLimitFacts(
    prefixes=(_PREFIX, "anthropic-fast-", "anthropic-priority-"), read=read, write=write
)
