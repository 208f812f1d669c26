"""Reports what is left of the limits, for people and programs."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from lmbroker.routing.limit_ledger import NEVER, Decision
from lmbroker.routing.limit_rules import Bound, LimitRule, met
from lmbroker.usage import dollars

Found = tuple[LimitRule, Bound]


def bounds_of(
    rules: Sequence[LimitRule], callers: Iterable[str], aliases: Iterable[str]
) -> list[Found]:
    """Return each bound that meets one of ``callers`` at one of ``aliases``, with its rule.

    A rule for some of the names that an alias with a ``*`` stands for is among them.
    """
    names = [(name, "") for name in aliases]
    names += [
        (alias, glob.rstrip("*"))
        for alias, _ in names
        for rule in rules
        for glob in rule.aliases
        if alias.endswith("*") and glob.startswith(alias[:-1])
    ]
    found: dict[str, Found] = {}
    for caller in callers:
        for alias, asked in names:
            here = met(rules, caller, alias, asked)
            if here is not None:
                for rule, bound in zip(here.rules, here.bounds, strict=True):
                    found.setdefault(bound.counter, (rule, bound))
    return list(found.values())


def shown_limits(found: Sequence[Found], decision: Decision) -> Iterator[dict[str, Any]]:
    """Yield each bound as a JSON object: money is text, since JSON's numbers are not exact.

    ``again_in`` are the seconds until nothing of it is used any more, None where that does not
    come.
    """
    for at, (rule, bound) in enumerate(found):
        remaining = decision.remaining[at]
        of_money = bound.measure == "cost"
        counts: str = bound.measure
        if bound.measure != "parallel":
            counts = f"{bound.measure} {'for good' if bound.period == 'never' else bound.period}"
        reset = decision.resets[at]
        yield {
            "rule": rule.name,
            "for": bound.counter[len(rule.name) + 1 :].rpartition("|")[0],
            "counts": counts,
            "limit": dollars(bound.limit) if of_money else bound.limit,
            "left": dollars(remaining) if of_money else remaining,
            "again_in": None if reset == NEVER else round(reset, 3),
        }
