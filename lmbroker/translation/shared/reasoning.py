"""Levels of reasoning effort: their order, and the token budgets that they stand for.

See translation.md 2.7.
"""

from collections.abc import Sequence

from lmbroker.translation.unified.request import Effort

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""The levels of effort, lowest to highest."""

MIN_BUDGET = 1024
"""The minimum of Anthropic's ``budget_tokens``; also what stays free of ``max_tokens`` here."""

BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32000,
    "max": 63999,
}
"""The token budget of each level, for models that take a budget only."""

_BUDGET_EFFORTS: tuple[tuple[int, Effort], ...] = (
    (4096, "low"),
    (16384, "medium"),
    (32768, "high"),
)


def clip(effort: Effort, levels: Sequence[str]) -> Effort | None:
    """Return the highest of ``levels`` that is not above ``effort``, else the lowest of them.

    It is None where there are no levels. Reasoning that was asked for is never turned off: ``none``
    is chosen for ``none`` only.
    """
    ranks = sorted(EFFORTS.index(level) for level in EFFORTS if level in levels)
    if effort != "none":
        ranks = [rank for rank in ranks if EFFORTS[rank] != "none"]
    if not ranks:
        return None
    wanted = EFFORTS.index(effort)
    return EFFORTS[max((rank for rank in ranks if rank <= wanted), default=ranks[0])]


def effort_of(budget: int) -> Effort:
    """Return the level of effort whose token budget is nearest to ``budget``."""
    for limit, effort in _BUDGET_EFFORTS:
        if budget < limit:
            return effort
    return "xhigh"


def budget_of(effort: Effort, max_tokens: int) -> int | None:
    """Return the token budget for ``effort`` within ``max_tokens``, None where none fits."""
    return fit_budget(BUDGETS.get(effort, MIN_BUDGET), max_tokens)


def fit_budget(budget: int, max_tokens: int) -> int | None:
    """Return ``budget`` limited to 1024..max_tokens-1024 tokens, None where that range is empty."""
    fitted = min(max(budget, MIN_BUDGET), max_tokens - MIN_BUDGET)
    return fitted if fitted >= MIN_BUDGET else None
