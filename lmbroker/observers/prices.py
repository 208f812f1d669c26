"""The prices of backends: the configured ones, else those of the package ``genai-prices``.

That package is an extra (``lmbroker[prices]``) and brings its prices along; nothing is fetched.
"""

from collections.abc import Iterable
from datetime import datetime
from functools import lru_cache
from typing import Any

from lmbroker.call import Target
from lmbroker.config.endpoints import is_loopback
from lmbroker.usage import Price, Tier

KEPT = 4096
"""The maximum of models whose price is remembered: where an alias ends with ``*``, clients choose
the names."""

_RATES = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "cache_write_1h": "cache_write_1h_mtok",
}
"""Our names of the rates, and those of the package."""


class Prices:
    """Knows the price of a target's model: the configured one, until the package is loaded.

    Prices that change with the time are those of ``when``.
    """

    def __init__(self, when: datetime) -> None:
        self._when = when
        self._package: Any = None
        self._listed = lru_cache(maxsize=KEPT)(self._look_up)

    def load(self, targets: Iterable[Target]) -> None:
        """Load the package where it is installed and one of ``targets`` has no price.

        That takes a third of a second.
        """
        if self._package is None and any(map(_may_be_listed, targets)):
            try:
                from genai_prices.data_snapshot import get_snapshot
            except ImportError:
                return
            self._package = get_snapshot()

    def of(self, target: Target) -> Price | None:
        """Return the price of a target's model; None where nobody gave it."""
        if self._package is None or not _may_be_listed(target):
            return target.price
        return self._listed(target.backend.url, target.model)

    def _look_up(self, url: str, model: str) -> Price | None:
        try:
            _, found = self._package.find_provider_model(model, None, None, url)
        except LookupError:
            return None
        return _price_of(found.get_prices(self._when))


def _may_be_listed(target: Target) -> bool:
    return target.price is None and not is_loopback(target.backend.host)


def _price_of(prices: Any) -> Price | None:
    """Return a price of the package as ours; None for one that is not by tokens."""
    rates = {name: getattr(prices, theirs, None) for name, theirs in _RATES.items()}
    if rates["input"] is None or rates["output"] is None:
        return None
    base = {name: _base(rate) for name, rate in rates.items() if rate is not None}
    tiers = []
    starts = {tier.start for rate in rates.values() for tier in getattr(rate, "tiers", ())}
    for start in sorted(starts):
        there = {name: _at(rate, start) for name, rate in rates.items() if rate is not None}
        tiers.append(Tier(above=start, **there))
    return Price(**base, tiers=tuple(tiers))


def _base(rate: Any) -> float:
    return float(getattr(rate, "base", rate))


def _at(rate: Any, start: int) -> float:
    """Return a rate for prompts just above ``start``."""
    reached = [tier.price for tier in getattr(rate, "tiers", ()) if tier.start <= start]
    return float(reached[-1]) if reached else _base(rate)
