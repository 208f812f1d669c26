"""Reasoning effort: its order, how it is clipped, and what it is worth in tokens
(translation.md 2.7)."""

from collections.abc import Sequence

from lmbroker.translation.unified.request import Effort

EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
"""Lowest to highest."""

MIN_BUDGET = 1024
"""Anthropic's least ``budget_tokens``; also what it keeps free of ``max_tokens`` here."""

BUDGETS: dict[Effort, int] = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32000,
    "max": 63999,
}
"""Thinking tokens that an effort stands for, where a model takes a budget only."""

_BUDGET_EFFORTS: tuple[tuple[int, Effort], ...] = (
    (4096, "low"),
    (16384, "medium"),
    (32768, "high"),
)


def clip(effort: Effort, levels: Sequence[str]) -> Effort | None:
    """The nearest of ``levels`` that is not above ``effort``, else the lowest of them; None where
    there are no levels. Reasoning that was asked for is never turned off by it: ``none`` stands
    for itself only."""
    ranks = sorted(EFFORTS.index(level) for level in EFFORTS if level in levels)
    if effort != "none":
        ranks = [rank for rank in ranks if EFFORTS[rank] != "none"]
    if not ranks:
        return None
    wanted = EFFORTS.index(effort)
    return EFFORTS[max((rank for rank in ranks if rank <= wanted), default=ranks[0])]


def effort_of(budget: int) -> Effort:
    """The effort that a budget of so many thinking tokens comes nearest to."""
    for limit, effort in _BUDGET_EFFORTS:
        if budget < limit:
            return effort
    return "xhigh"


def budget_of(effort: Effort, max_tokens: int) -> int | None:
    """Thinking tokens for ``effort`` within ``max_tokens``; None where there is no room."""
    return fit_budget(BUDGETS.get(effort, MIN_BUDGET), max_tokens)


def fit_budget(budget: int, max_tokens: int) -> int | None:
    """``budget`` made to fit 1024..max_tokens-1024; None where there is no room."""
    fitted = min(max(budget, MIN_BUDGET), max_tokens - MIN_BUDGET)
    return fitted if fitted >= MIN_BUDGET else None
