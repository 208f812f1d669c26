"""Limit rules: how much which callers may take of which aliases, and which rules meet whom. Pure.

docs/design/limits.md says how they are kept.
"""

import fnmatch
from collections.abc import Sequence
from typing import Literal

import msgspec

from lmbroker.usage import dollars

Measure = Literal["requests", "tokens", "cost", "parallel"]
"""What a bound counts: calls, tokens of prompts and answers, money, or calls at once."""

Period = Literal["minute", "hour", "day", "month", "never"]
"""How long an amount is for; ``never``: it does not come back."""

Per = Literal["caller", "alias"]
"""What has an amount of its own."""

OnFailure = Literal["allow", "deny", "local"]
"""What holds while the store cannot be reached: calls go on, are refused, or are counted here."""


class Amount(msgspec.Struct, frozen=True, kw_only=True):
    """One amount of a rule; that of ``parallel`` is for no period and says ``never``."""

    measure: Measure
    limit: int
    """In requests, tokens, 1 / ``usage.PICO`` US dollars, or calls at once."""
    period: Period = "never"

    @property
    def shown(self) -> str:
        """The amount in words, such as ``60 requests a minute``."""
        if self.measure == "parallel":
            return f"{self.limit} calls at once"
        what = f"{dollars(self.limit)} USD" if self.measure == "cost" else self._counted
        if self.period == "never":
            return f"{what} for good"
        return f"{what} an hour" if self.period == "hour" else f"{what} a {self.period}"

    @property
    def _counted(self) -> str:
        one = self.measure.removesuffix("s")
        return f"{self.limit} {one if self.limit == 1 else self.measure}"


class LimitRule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule. ``callers`` and ``aliases`` are globs, () for all."""

    name: str
    amounts: tuple[Amount, ...]
    callers: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    per: tuple[Per, ...] = ()
    """What has the amounts each for itself; (): all that the rule meets have them together."""
    reserve: float = 1.0
    """The part of the tokens that a call may put out which is kept for it until it ends."""
    wait: float = 0.0
    """Seconds that a call waits until the rule lets it through, before it is refused."""
    then: str = ""
    """The model name that a call goes on to instead of being refused; "" for none."""
    soft: bool = False
    """Calls beyond the amounts are reported and let through."""
    on_failure: OnFailure = "local"

    def meets(self, caller: str, alias: str, asked: str = "") -> bool:
        """Return whether the rule is for calls of ``caller`` that an alias serves.

        ``asked`` is the name that was asked for: it counts where the alias is a pattern that it
        fits. A rule is not for the calls that it sends on itself.
        """
        names = [alias]
        if asked and alias.endswith("*") and asked.startswith(alias[:-1]):
            names.append(asked)
        if self.then and self.then in (alias, asked):
            return False
        if self.callers and not any(fnmatch.fnmatchcase(caller, glob) for glob in self.callers):
            return False
        return not self.aliases or any(
            fnmatch.fnmatchcase(name, glob) for name in names for glob in self.aliases
        )

    def subject(self, caller: str, alias: str) -> str:
        """Return for whom the rule counts a call of ``caller`` at ``alias``."""
        each = {"caller": caller, "alias": alias}
        return ",".join(f"{word}={each[word]}" for word in self.per) or "all"


class Bound(msgspec.Struct, frozen=True, array_like=True):
    """One amount of one rule, for one subject: all that a store needs to know of it."""

    counter: str
    """The name of the counter: rule, subject, measure and period; the same on every machine."""
    measure: Measure
    period: Period
    limit: int
    soft: bool = False
    wait: float = 0.0
    """Seconds that a call may wait for this bound."""
    on_failure: OnFailure = "local"


class Met(msgspec.Struct, frozen=True):
    """The rules that meet a caller at an alias, one entry for each of their amounts."""

    bounds: tuple[Bound, ...]
    rules: tuple[LimitRule, ...]
    weighs: bool
    """Whether one of them counts tokens or money."""
    allowed: tuple[tuple[str, str], ...]
    """What the rules say where all of them allow a call (``Record.limits``)."""
    reported: tuple[tuple[Literal["requests", "tokens"], tuple[int, ...]], ...]
    """The groups that clients see in headers: what is counted, and which bounds count it."""


def met(rules: Sequence[LimitRule], caller: str, alias: str, asked: str = "") -> Met | None:
    """Return the bounds of all rules that meet a call, None where none does.

    ``alias`` is "" for what concerns no alias: only rules without a narrower pattern meet that.
    """
    bounds: list[Bound] = []
    owners: list[LimitRule] = []
    for rule in rules:
        if not rule.meets(caller, alias, asked):
            continue
        subject = rule.subject(caller, alias)
        for amount in rule.amounts:
            bounds.append(
                Bound(
                    f"{rule.name}|{subject}|{amount.measure}/{amount.period}",
                    amount.measure,
                    amount.period,
                    amount.limit,
                    rule.soft,
                    rule.wait,
                    rule.on_failure,
                )
            )
            owners.append(rule)
    if not bounds:
        return None
    weighs = any(bound.measure in ("tokens", "cost") for bound in bounds)
    names = dict.fromkeys(rule.name for rule in owners)
    groups: tuple[Literal["requests", "tokens"], ...] = ("requests", "tokens")
    reported = []
    for group in groups:
        places = tuple(at for at, bound in enumerate(bounds) if bound.measure == group)
        if places:
            reported.append((group, places))
    return Met(
        tuple(bounds),
        tuple(owners),
        weighs,
        tuple((name, "allowed") for name in names),
        tuple(reported),
    )
