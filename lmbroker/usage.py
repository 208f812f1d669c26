"""How many tokens a call took, in the terms that all formats share (translation.md section 1)."""

from typing import Any

import msgspec

MOST = 2**53
"""Up to here JSON's readers agree on whole numbers (RFC 8259 6)."""


def count_of(value: Any) -> int | None:
    """A count of tokens that JSON tells, None where it is none: a boolean counts nothing. Nobody
    counts below zero or above ``MOST``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(min(max(0, value), MOST))


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens counted. The prompt is ``input + cache_read + cache_write`` (disjoint);
    ``output`` includes reasoning. ``estimated``: nobody told, we counted."""

    input: int = 0
    cache_read: int = 0
    cache_write: int = 0
    output: int = 0
    reasoning: int | None = None
    cache_write_by_ttl: dict[str, int] | None = None
    server_tools: dict[str, Any] | None = None
    tier: str | None = None
    estimated: bool = False


def later(before: Usage | None, now: Usage | None) -> Usage | None:
    """What is known after ``now`` was told: counts are told as they grow, so the last one wins, but
    a backend that says 0 at last has forgotten what it said before."""
    if before is None or now is None:
        return now or before
    if not now.output and before.output:
        now = msgspec.structs.replace(now, output=before.output, reasoning=before.reasoning)
    if not (now.input or now.cache_read or now.cache_write):
        now = msgspec.structs.replace(
            now,
            input=before.input,
            cache_read=before.cache_read,
            cache_write=before.cache_write,
            cache_write_by_ttl=before.cache_write_by_ttl,
        )
    return now
