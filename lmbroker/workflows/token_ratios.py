"""How far our estimates of input tokens are from what each backend counts. Pure.

A tokenizer that nobody knows here counts more or fewer tokens than the estimate says, by much the
same factor each time. It is learned from answers that have both, per backend and model.
"""

from collections import OrderedDict

from lmbroker.call import Target

SHARE = 0.2
"""What the newest answer counts for; the rest is what those before it said."""

LEAST, MOST = 0.5, 2.0
"""Between these a factor is believed: beyond them something else was counted."""

FEWEST = 20
"""A prompt with fewer tokens says nothing: what a template adds is most of it."""

MODELS = 1000
"""Models of which a factor is kept; the one that was longest silent is forgotten first."""


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
        """Return what an estimate for ``target`` is to be multiplied by.

        1 where nothing is known.
        """
        if not self._known:
            return 1.0
        return self._known.get((target.backend.name, target.model), 1.0)

    def scaled(self, tokens: int, target: Target) -> int:
        """Return an estimate for ``target``, corrected."""
        return round(tokens * self.of(target))
