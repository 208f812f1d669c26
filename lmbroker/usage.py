"""The tokens of a call, and what they cost.

They are counted in the terms that all formats share (translation.md section 1).
"""

from functools import lru_cache
from typing import Annotated, Any

import msgspec

MOST = 2**53
"""Up to here JSON's readers agree on whole numbers (RFC 8259 6)."""


def count_of(value: Any) -> int | None:
    """Return the count of tokens in a JSON value, None where it is no number.

    It is brought into the range from zero to ``MOST``.
    """
    if type(value) is int and 0 <= value <= MOST:
        return value
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(min(max(0, value), MOST))


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens counted.

    The prompt is ``input + cache_read + cache_write`` (disjoint); ``output`` includes reasoning.
    ``estimated``: the backend did not count, so the broker did.
    """

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
    """Return the counts that hold after ``now`` came.

    Counts grow, so the last one wins; but where it is 0 the backend has forgotten what it sent
    before, which is kept.
    """
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


PICO = 10**12
"""Costs are whole numbers of 1 / ``PICO`` US dollars: exact for prices of up to six decimals."""

Dollars = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
"""US dollars for a million tokens."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """The prices of a million tokens of each kind, in US dollars."""

    input: Dollars
    """A million tokens of the prompt that no cache held."""
    output: Dollars
    """A million tokens of the answer, reasoning included."""
    cache_read: Dollars | None = None
    """A million tokens of the prompt that the backend's cache held; without it, as `input`."""
    cache_write: Dollars | None = None
    """A million tokens of the prompt that were written to the cache; without it, as `input`."""
    cache_write_1h: Dollars | None = None
    """The same for an hour's place in the cache; without it, as `cache_write`."""


class Tier(Rates, frozen=True, kw_only=True):
    """The rates of long prompts."""

    above: Annotated[int, msgspec.Meta(ge=1)]
    """They hold for all tokens of a call whose prompt is longer than this, in tokens."""


class Price(Rates, frozen=True, kw_only=True):
    """The price of a model at a backend."""

    tiers: tuple[Tier, ...] = ()
    """The rates of longer prompts, by ascending length."""


def cost_of(usage: Usage, price: Price) -> int:
    """Return what the tokens cost, in 1 / ``PICO`` US dollars."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    rates: Rates = price
    for tier in price.tiers:
        if prompt > tier.above:
            rates = tier
    fresh, output, read, written, hour = _picos(rates)
    for_an_hour = (usage.cache_write_by_ttl or {}).get("1h", 0)
    for_an_hour = min(for_an_hour, usage.cache_write)
    return (
        usage.input * fresh
        + usage.output * output
        + usage.cache_read * read
        + (usage.cache_write - for_an_hour) * written
        + for_an_hour * hour
    )


@lru_cache(maxsize=1024)
def _picos(rates: Rates) -> tuple[int, int, int, int, int]:
    """Return the cost of one token of each kind, in 1 / ``PICO`` US dollars.

    The kinds are tokens of the prompt, of the output, read from the cache, written to it, and
    written to it for an hour.
    """
    written = rates.input if rates.cache_write is None else rates.cache_write
    dollars = (
        rates.input,
        rates.output,
        rates.input if rates.cache_read is None else rates.cache_read,
        written,
        written if rates.cache_write_1h is None else rates.cache_write_1h,
    )
    fresh, output, read, wrote, hour = (round(each * PICO / 1_000_000) for each in dollars)
    return fresh, output, read, wrote, hour


def dollars(cost: int) -> str:
    """Return a cost as text, in US dollars, without zeros at its end: ``0.00123``."""
    whole, rest = divmod(cost, PICO)
    return f"{whole}.{rest:012d}".rstrip("0").rstrip(".")
