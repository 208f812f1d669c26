"""Learns how far our estimates of input tokens are from each backend's counts. Pure.

A tokenizer that nobody knows here counts more or fewer tokens than the estimate says, by much the
same factor each time. It is learned from answers that have both, per backend and model.
"""

from collections import OrderedDict

from lmbroker.call import Target

SHARE = 0.2
"""The weight of the newest answer; the rest is the weight of those before it."""

LEAST, MOST = 0.5, 2.0
"""The range in which a factor is believed: beyond it something else was counted."""

FEWEST = 20
"""The fewest tokens of a prompt that count: in a shorter one most of them come from the
template."""

MODELS = 1000
"""The maximum of models with a factor; the least recently used one is forgotten first."""


class TokenRatios:
    """The factor between a backend's count and our estimate, per backend and model."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()

    def learn(self, target: Target, *, counted: int, estimated: int) -> None:
        """Note that ``target`` counted so many input tokens where the estimate was another."""
        if counted < FEWEST or estimated < FEWEST:
            return
        ratio = counted / estimated
        if not LEAST <= ratio <= MOST:
            return
        key = (target.backend.name, target.model)
        before = self._known.pop(key, ratio)
        self._known[key] = before + SHARE * (ratio - before)
        if len(self._known) > MODELS:
            self._known.popitem(last=False)

    def of(self, target: Target) -> float:
        """Return the factor that corrects an estimate for ``target``, 1 where none is known."""
        if not self._known:
            return 1.0
        return self._known.get((target.backend.name, target.model), 1.0)

    def scaled(self, tokens: int, target: Target) -> int:
        """Return an estimate for ``target``, corrected by that factor."""
        return round(tokens * self.of(target))
