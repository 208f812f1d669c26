"""Rate limits in the headers of OpenAI's dialects.

Resets are durations from now: ``x-ratelimit-reset-requests: 1h2m3s``.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping

from lmbroker.translation.rate_limit_headers import Group, RateLimit, RateLimitFacts

_PREFIX = "x-ratelimit-"
_GROUPS: tuple[Group, ...] = ("requests", "tokens")

_DURATION = re.compile(
    r"(?:(?P<d>\d{1,6})d)?(?:(?P<h>\d{1,6})h)?(?:(?P<m>\d{1,6})m)?"
    r"(?:(?P<s>\d{1,9}(?:\.\d{1,9})?)s)?(?:(?P<ms>\d{1,9}(?:\.\d{1,9})?)ms)?",
    re.ASCII,
)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


def read(headers: Mapping[str, str], now: float) -> Iterator[RateLimit]:
    """Yield the rate limits in the headers of an answer."""
    for group in _GROUPS:
        yield RateLimit(
            of=group,
            limit=headers.get(f"{_PREFIX}limit-{group}"),
            remaining=headers.get(f"{_PREFIX}remaining-{group}"),
            reset=duration(headers.get(f"{_PREFIX}reset-{group}", "")),
        )


def write(limits: Iterable[RateLimit], now: float) -> Iterator[tuple[str, str]]:
    """Yield the headers for ``limits``."""
    for each in limits:
        if each.limit is not None:
            yield f"{_PREFIX}limit-{each.of}", each.limit
        if each.remaining is not None:
            yield f"{_PREFIX}remaining-{each.of}", each.remaining
        if each.reset is not None:
            yield f"{_PREFIX}reset-{each.of}", duration_text(each.reset)


def duration(text: str) -> float | None:
    """Return the seconds in a duration such as ``1h2m3s``, ``8.64s`` or ``250ms``.

    It is None for any other text, and for a bare number: some servers mean seconds by it, others
    the time of day.
    """
    found = _DURATION.fullmatch(text) if text else None
    if found is None:
        return None
    return sum(float(count) * _SECONDS[unit] for unit, count in found.groupdict("0").items())


def duration_text(seconds: float) -> str:
    """Return ``seconds`` in OpenAI's form, rounded up to a millisecond.

    ``0s`` where they have passed.
    """
    total = max(0, math.ceil(round(seconds * 1000, 3)))
    if 0 < total < 1000:
        return f"{total}ms"
    minutes, rest = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


RATE_LIMITS = RateLimitFacts(prefixes=(_PREFIX,), read=read, write=write)
