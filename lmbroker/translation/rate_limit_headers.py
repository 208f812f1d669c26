"""How much of its limits a backend has left, told in the client's dialect (translation.md 6).

Anthropic: ``anthropic-ratelimit-requests-reset: 2026-11-23T10:00:00Z``, a moment.
OpenAI: ``x-ratelimit-reset-requests: 1h2m3s``, a duration from now.

A backend's limits belong to whoever pays it. A client sees them only where its alias says so.
"""

import math
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime

from lmbroker.call import Dialect

_ANTHROPIC = "anthropic-ratelimit-"
_OPENAI = "x-ratelimit-"
_NATIVE: Mapping[Dialect, tuple[str, ...]] = {
    "anthropic": (_ANTHROPIC, "anthropic-fast-", "anthropic-priority-"),
    "openai": (_OPENAI,),
}
_COUNTS = ("limit", "remaining")

_DURATION = re.compile(
    r"(?:(?P<d>\d{1,6})d)?(?:(?P<h>\d{1,6})h)?(?:(?P<m>\d{1,6})m)?"
    r"(?:(?P<s>\d{1,9}(?:\.\d{1,9})?)s)?(?:(?P<ms>\d{1,9}(?:\.\d{1,9})?)ms)?",
    re.ASCII,
)
_SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1, "ms": 0.001}


def for_client(
    headers: Mapping[str, str],
    backend: Dialect,
    client: Dialect,
    *,
    expose_limits: bool,
    now: float,
) -> tuple[tuple[str, str], ...]:
    """The rate-limit headers of a backend's answer, as the client may see them.

    ``headers`` are the backend's, names in lower case; ``now`` is in unix seconds. In one
    dialect they pass as they are. A reset that cannot be read is left out.
    """
    if not expose_limits:
        return ()
    if backend == client:
        return tuple(each for each in headers.items() if each[0].startswith(_NATIVE[client]))
    if client == "openai":
        return tuple(_to_openai(headers, now))
    return tuple(_to_anthropic(headers, now))


def _to_openai(headers: Mapping[str, str], now: float) -> Iterator[tuple[str, str]]:
    """Anthropic counts input and output apart as well: the first of them bounds a prompt."""
    together = any(name.startswith(f"{_ANTHROPIC}tokens-") for name in headers)
    groups = (("requests", "requests"), ("tokens" if together else "input-tokens", "tokens"))
    for theirs, ours in groups:
        for what in _COUNTS:
            value = headers.get(f"{_ANTHROPIC}{theirs}-{what}")
            if value is not None:
                yield f"{_OPENAI}{what}-{ours}", value
        moment = _moment(headers.get(f"{_ANTHROPIC}{theirs}-reset", ""))
        if moment is not None:
            yield f"{_OPENAI}reset-{ours}", duration_text(moment - now)


def _to_anthropic(headers: Mapping[str, str], now: float) -> Iterator[tuple[str, str]]:
    for group in ("requests", "tokens"):
        for what in _COUNTS:
            value = headers.get(f"{_OPENAI}{what}-{group}")
            if value is not None:
                yield f"{_ANTHROPIC}{group}-{what}", value
        seconds = duration(headers.get(f"{_OPENAI}reset-{group}", ""))
        if seconds is not None:
            moment = datetime.fromtimestamp(math.ceil(now + seconds), UTC)
            yield f"{_ANTHROPIC}{group}-reset", f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def duration(text: str) -> float | None:
    """The seconds of a duration such as ``1h2m3s``, ``8.64s`` or ``250ms``; None for another
    text. A bare number is one: some mean seconds by it, others the time of day."""
    found = _DURATION.fullmatch(text) if text else None
    if found is None:
        return None
    return sum(float(count) * _SECONDS[unit] for unit, count in found.groupdict("0").items())


def duration_text(seconds: float) -> str:
    """``seconds`` in OpenAI's form, rounded up to a millisecond; ``0s`` for what has passed."""
    total = max(0, math.ceil(round(seconds * 1000, 3)))
    if 0 < total < 1000:
        return f"{total}ms"
    minutes, rest = divmod(total, 60_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{rest / 1000:.3f}".rstrip("0").rstrip(".") + "s"
    if hours:
        return f"{hours}h{minutes}m{text}"
    return f"{minutes}m{text}" if minutes else text


def _moment(text: str) -> float | None:
    """The unix seconds of an RFC 3339 time with its zone."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment.timestamp() if moment.tzinfo is not None else None
