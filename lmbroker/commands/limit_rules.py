"""The limit rules of a configuration in words, for ``check`` and ``explain``."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from lmbroker.config.config import Config
from lmbroker.config.limit_rules import ANONYMOUS
from lmbroker.observers.prices import Prices
from lmbroker.routing.limit_rules import LimitRule

SHOWN = 20
"""The maximum of names of one kind in a line."""


def callers_of(config: Config) -> list[str]:
    """Return the names of all who may call."""
    return [key.name for key in config.keys] or [ANONYMOUS]


def rule_lines(config: Config) -> Iterator[str]:
    """Yield which keys and aliases each rule meets, and what holds for them."""
    callers, aliases = callers_of(config), list(config.aliases)
    for rule in config.limit_rules:
        yield f"limit {rule.name!r}: {in_words(rule)}"
        pairs = [(key, name) for key in callers for name in aliases if rule.meets(key, name)]
        # A glob for names that an alias with a * stands for meets it by what is asked for.
        wild = [name for name in aliases if name.endswith("*") and _meets_within(rule, name)]
        keys = list(dict.fromkeys(key for key, _ in pairs)) or [
            key for key in callers if wild and _meets_caller(rule, key)
        ]
        met = list(dict.fromkeys([*(name for _, name in pairs), *wild]))
        yield f"  keys {_listed(keys)}; aliases {_listed(met)}"


def limits_of(config: Config, caller: str, alias: str, asked: str) -> Iterator[str]:
    """Yield the rules that meet the calls of ``caller`` for the model name ``asked``.

    ``caller`` is "" for every key that one of them meets.
    """
    if caller and caller not in callers_of(config):
        yield f"no key is called {caller!r}"
    for rule in config.limit_rules:
        callers = [caller] if caller else callers_of(config)
        met = [name for name in callers if rule.meets(name, alias, asked)]
        if met:
            whom = "" if caller else f" (keys {_listed(met)})"
            yield f"limit {rule.name!r}{whom}: {in_words(rule)}"


def in_words(rule: LimitRule) -> str:
    """Return what a rule says."""
    amounts = ", ".join(amount.shown for amount in rule.amounts)
    whose = f"for each {' and '.join(rule.per)}" if rule.per else "for all together"
    more = []
    if rule.wait:
        more.append(f"calls wait up to {rule.wait:g} s")
    if rule.then:
        more.append(f"then {rule.then!r}")
    if rule.soft:
        more.append("soft")
    return "; ".join([f"{amounts}, {whose}", *more])


def unpriced(config: Config) -> str:
    """Return the aliases with a target of unknown price where a rule counts money, "" for none.

    What costs nothing is not bounded by such a rule.
    """
    if not any(each.measure == "cost" for rule in config.limit_rules for each in rule.amounts):
        return ""
    money = [
        rule for rule in config.limit_rules if any(each.measure == "cost" for each in rule.amounts)
    ]
    met = [
        route
        for route in config.aliases.values()
        if any(rule.meets(key, route.name) for rule in money for key in callers_of(config))
    ]
    prices = Prices(datetime.now(UTC))
    prices.load(target for route in met for target in route.targets)
    return ", ".join(
        route.name for route in met if any(prices.of(target) is None for target in route.targets)
    )


def _meets_caller(rule: LimitRule, caller: str) -> bool:
    return any(rule.meets(caller, glob) for glob in rule.aliases) or not rule.aliases


def _meets_within(rule: LimitRule, alias: str) -> bool:
    """Return whether a rule is for some of the names that an alias with a ``*`` stands for."""
    return any(glob.startswith(alias[:-1]) for glob in rule.aliases)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"
