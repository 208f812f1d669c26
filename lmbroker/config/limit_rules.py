"""The limit rules of the configuration file: ``[[limits.rules]]``."""

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any, get_args

from lmbroker.config.fields import read_settings
from lmbroker.config.settings import LimitRuleTable
from lmbroker.config.table import Table, describe, expected
from lmbroker.routing.aliases import Route
from lmbroker.routing.keys import Key
from lmbroker.routing.limit_rules import Amount, LimitRule, Measure, Per, Period
from lmbroker.usage import PICO

MOST: Mapping[str, int] = {"requests": 2**53, "tokens": 2**53, "cost": 5_000_000 * PICO}
"""The largest amounts, which fit into 64 bits."""

ANONYMOUS = "anonymous"
"""Who calls where no client needs a key."""

_MOST = {"requests": "2^53", "tokens": "2^53", "cost": "5 million US dollars"}

_READ_HERE = ("requests", "tokens", "cost", "parallel", "per")

_PERIODS: Mapping[str, Period] = {
    "min": "minute",
    "minute": "minute",
    "h": "hour",
    "hour": "hour",
    "d": "day",
    "day": "day",
    "month": "month",
    "never": "never",
}
_MULTIPLES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "b": 10**9}
_NUMBER = r"(?P<number>\d{1,16}(?:_\d{1,16})*(?:\.\d{1,12})?)"
_COUNT = re.compile(rf"{_NUMBER} ?(?P<multiple>[kmgb]?) ?/ ?(?P<period>\w{{1,12}})", re.I)
_MONEY = re.compile(
    rf"(?:\$ ?{_NUMBER}|{_NUMBER.replace('number', 'other')} ?USD) ?/ ?(?P<period>\w+)"
)
_NAME = re.compile(r"[!-{}~]([ -{}~]{0,62}[!-{}~])?")
"""A name stands in headers, metrics and the names of counters, whose parts are set apart by |."""

_WORDS = '"min", "hour", "day", "month" or "never"'


class LimitRules:
    """Reads the rules.

    ``aliases`` and ``keys`` are those of the file; ``find`` gives the alias that a model name leads
    to.
    """

    def __init__(
        self,
        aliases: Mapping[str, Route],
        keys: Sequence[Key],
        find: Callable[[str], Route | None],
    ) -> None:
        self._aliases = aliases
        self._callers = [key.name for key in keys] or [ANONYMOUS]
        self._find = find
        self._names: set[str] = set()
        self.warnings: list[str] = []

    def read(self, limits: Table) -> tuple[LimitRule, ...]:
        """Return the rules below ``[limits]``, in their order."""
        tables = limits.tables("rules") if limits.has("rules") else []
        return tuple(self._rule(table) for table in tables)

    def _rule(self, table: Table) -> LimitRule:
        whom = table.table("for")
        callers, aliases = _globs(whom, "caller"), _globs(whom, "alias")
        whom.done()
        settings = read_settings(table, LimitRuleTable, _READ_HERE)
        name = self._name(table, settings.name, callers, aliases)
        per = _per(table)
        amounts = tuple(_amounts(table))
        if not amounts:
            table.report("requests", "expected one of requests, tokens, cost and parallel")
        if settings.then and self._find(settings.then) is None:
            table.report("then", f"found {describe(settings.then)}, which leads to no model")
        if settings.then and settings.soft:
            table.report("then", "cannot stand beside soft: a soft rule sends no call on")
        if settings.wait and settings.soft:
            table.report("wait", "cannot stand beside soft: no call waits for a soft rule")
        table.done()
        rule = LimitRule(
            name=name,
            amounts=amounts,
            callers=callers,
            aliases=aliases,
            per=per,
            reserve=settings.reserve,
            wait=settings.wait,
            then=settings.then or "",
            soft=settings.soft,
            on_failure=settings.on_failure,
        )
        self._warn(whom, rule)
        return rule

    def _name(
        self, table: Table, given: str | None, callers: Sequence[str], aliases: Sequence[str]
    ) -> str:
        """Return the name of a rule; without one, whom it is for."""
        name = given or ""
        if given and not _NAME.fullmatch(given):
            table.report(
                "name",
                f"found {describe(given)}, expected at most 64 visible ASCII characters without |",
            )
        if not given:
            parts = [f"caller={glob}" for glob in callers] + [f"alias={glob}" for glob in aliases]
            name = ",".join(parts).replace("|", "?") or "all"
        if name in self._names:
            problem = f"found {describe(name)}, which another rule has already"
            missing = f"another rule is for the same ({name}): give each of them a name"
            table.report("name", problem if given else missing)
        self._names.add(name)
        return name

    def _warn(self, table: Table, rule: LimitRule) -> None:
        for glob in rule.callers:
            if not any(fnmatch.fnmatchcase(name, glob) for name in self._callers):
                self.warnings.append(f"{table.path('caller')}: {glob!r} fits no key")
        for glob in rule.aliases:
            fits = any(fnmatch.fnmatchcase(name, glob) for name in self._aliases)
            if not fits and self._find(glob) is None:
                self.warnings.append(f"{table.path('alias')}: {glob!r} fits no alias")


def forgotten(rules: Sequence[LimitRule]) -> str:
    """Return the names of the rules that must not be forgotten at a restart, "" for none."""
    kept = ("day", "month", "never")
    names = [
        rule.name
        for rule in rules
        if any(each.measure != "parallel" and each.period in kept for each in rule.amounts)
    ]
    return ", ".join(names)


def _globs(table: Table, key: str) -> tuple[str, ...]:
    """Return a glob, or an array of them."""
    if isinstance(table.any(key), str):
        return (table.text(key),)
    return tuple(table.texts(key) or ())


def _per(table: Table) -> tuple[Per, ...]:
    words: tuple[Per, ...] = get_args(Per)
    found = _globs(table, "per")
    for word in found:
        if word not in words:
            table.report("per", expected(describe(word), '"caller", "alias" or both in an array'))
    return tuple(word for word in words if word in found)


def _amounts(table: Table) -> Iterator[Amount]:
    seen = set()
    for measure in ("requests", "tokens", "cost"):
        for amount in _of_periods(table, measure):
            if amount.period in seen:
                table.report(measure, f"found two amounts for one {amount.period}")
            seen.add(amount.period)
            yield amount
        seen.clear()
    if table.has("parallel"):
        yield Amount(
            measure="parallel", limit=table.integer("parallel", 1, least=1, most=1_000_000)
        )


def _of_periods(table: Table, measure: Any) -> Iterator[Amount]:
    """Return the amounts of a key that holds one, or an array of them."""
    value = table.any(measure)
    if value is None:
        return
    several = isinstance(value, list) and value
    for at, each in enumerate(value if several else [value]):
        key = f"{measure}[{at}]" if several else measure
        read = _money if measure == "cost" else _count
        found = read(each.strip(), measure) if isinstance(each, str) else None
        if found is None:
            example = '"20 USD/month"' if measure == "cost" else '"60/min" or "1M/day"'
            table.report(
                key,
                expected(describe(each), f"an amount such as {example}, for one of {_WORDS}"),
            )
        elif not 1 <= found.limit <= MOST[measure]:
            table.report(
                key, expected(describe(each), f"more than 0, and at most {_MOST[measure]}")
            )
        else:
            yield found


def _count(text: str, measure: Measure) -> Amount | None:
    found = _COUNT.fullmatch(text)
    period = _PERIODS.get(found["period"].lower()) if found is not None else None
    if found is None or period is None:
        return None
    number = Decimal(found["number"].replace("_", "")) * _MULTIPLES[found["multiple"].lower()]
    return Amount(measure=measure, limit=int(number), period=period) if number % 1 == 0 else None


def _money(text: str, measure: Measure) -> Amount | None:
    found = _MONEY.fullmatch(text)
    period = _PERIODS.get(found["period"].lower()) if found is not None else None
    if found is None or period is None:
        return None
    number = Decimal((found["number"] or found["other"]).replace("_", ""))
    return Amount(measure=measure, limit=int(number * PICO), period=period)
