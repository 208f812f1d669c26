"""Estimates what a call may take of its bounds, and counts what it has taken."""

import math
from collections.abc import Iterable, Sequence

from lmbroker import envelope
from lmbroker.call import Call, Operation, Record
from lmbroker.routing.limit_rules import Bound, Met
from lmbroker.translation.unified.counting import estimate_body, tokens_of_bytes
from lmbroker.usage import Price, Usage, cost_of

ASSUMED_OUTPUT = 1024
"""The output tokens that are assumed of a call without a limit of its own."""

_OUTPUT = ("max_tokens", "max_completion_tokens", "max_output_tokens")
"""The fields in which a request names the most tokens that it wants."""

_ANSWERS = ("chat", "completions", "compact")
"""The operations whose answers are written by a model."""

_FREE: tuple[Operation, ...] = ("count_tokens", "models")
"""The operations that take no tokens."""

_UNKNOWN = Usage()


class Weight:
    """What a call weighs: its input by an estimate, its output by what it asks for.

    ``asked`` is None where it asks for no number. ``prices`` are those of the targets that it may
    come to.
    """

    __slots__ = ("asked", "assumed", "input", "prices")

    def __init__(self, call: Call, prices: Iterable[Price]) -> None:
        self.input = estimate_body(call.body)
        self.asked: int | None = None
        self.assumed = 0
        if call.operation in _ANSWERS:
            self.asked = _asked_output(call)
            self.assumed = ASSUMED_OUTPUT
        self.prices = tuple(prices)

    def need(self, bound: Bound, reserve: float) -> int:
        """Return what the call may take of a bound for tokens or money.

        ``reserve`` is the part of its output that counts. Estimates never need more than the limit:
        a call that alone would exceed a bound by them is let through where nothing else was used.
        Money is needed where any target costs some.
        """
        output = self.assumed if self.asked is None else self.asked
        if reserve != 1.0:
            output = math.ceil(output * reserve)
        of_money = bound.measure == "cost"
        if of_money and not self.prices:
            return 0
        need = self._cost(self.input, output) if of_money else self.input + output
        if need <= bound.limit:
            # At least one where anything costs something, so that a used-up bound refuses.
            return need or int(not of_money or self._cost(1, 1) > 0)
        sure = output if not of_money else self._cost(0, output)
        return sure if self.asked is not None and sure > bound.limit else bound.limit

    def _cost(self, entered: int, output: int) -> int:
        usage = Usage(input=entered, output=output)
        if len(self.prices) == 1:
            return cost_of(usage, self.prices[0])
        return max(cost_of(usage, price) for price in self.prices)


def needs_of(met: Met, call: Call, weight: Weight | None) -> tuple[int, ...]:
    """Return what ``call`` may take of each bound; ``weight`` is None where none weighs it."""
    needs = []
    for bound, rule in zip(met.bounds, met.rules, strict=True):
        if bound.measure in ("requests", "parallel"):
            needs.append(1)
        else:
            needs.append(0 if weight is None else weight.need(bound, rule.reserve))
    return tuple(needs)


def weighs(met: Met, operation: Operation) -> bool:
    """Return whether a call of ``operation`` takes tokens or money of any bound."""
    return met.weighs and operation not in _FREE


def taken(
    bounds: Sequence[Bound], record: Record, weight: Weight | None, text_bytes: int
) -> tuple[int, ...]:
    """Return what an ended call has taken of each bound, besides what was counted when it began.

    Where the backend's counts never came although it got the request, that is estimated: the input,
    and the output by the ``text_bytes`` that came.
    """
    if weight is None:
        return (0,) * len(bounds)
    usage, cost = record.usage, record.cost
    if usage is None:
        answered = bool(record.attempts) and (
            record.end.outcome == "complete" or record.attempts[-1].error == "cancelled"
        )
        if answered:
            # Without an assumed output the answer is no text: numbers, in embeddings.
            output = tokens_of_bytes(text_bytes) if weight.assumed else 0
            usage = Usage(input=weight.input, output=output)
        else:
            usage = _UNKNOWN
        if answered and weight.prices:
            cost = min(cost_of(usage, price) for price in weight.prices)
    tokens = usage.input + usage.cache_read + usage.cache_write + usage.output
    return tuple(
        [
            tokens if bound.measure == "tokens" else (cost or 0 if bound.measure == "cost" else 0)
            for bound in bounds
        ]
    )


def _asked_output(call: Call) -> int | None:
    """Return the most tokens that a request asks for in all answers, None if it does not say."""
    fields = call.fields if call.fields is not None else envelope.read(call.body).fields
    found = []
    for name in _OUTPUT:
        if name in fields:
            value = envelope.value_of(fields, name)
            if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
                found.append(value)
    if not found:
        return None
    answers = envelope.value_of(fields, "n") if "n" in fields else 1
    if isinstance(answers, bool) or not isinstance(answers, int) or answers < 1:
        answers = 1
    return int(max(found)) * answers
