"""How many tokens a call took, in the terms that all formats share (translation.md section 1)."""

from typing import Any

import msgspec

MOST = 2**53
"""Up to here JSON's readers agree on whole numbers (RFC 8259 6)."""


def count_of(value: Any) -> int | None:
    """The count of tokens that a JSON value is, None where it is no number. It is brought into the
    range from zero to ``MOST``."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(min(max(0, value), MOST))


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens counted. The prompt is ``input + cache_read + cache_write`` (disjoint);
    ``output`` includes reasoning. ``estimated``: the backend did not count, so the broker did."""

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
    """The counts that hold after ``now`` came. Counts grow, so the last one wins; but where it is 0
    the backend has forgotten what it sent before, which is kept."""
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
