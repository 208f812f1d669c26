"""The one place where calls are let through or refused by the limit rules, and settled.

``Limiter.admit`` reserves before anything is sent, and gives the record a ``Reservation``, which
the broker settles when the call has ended, whatever ended it.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec
from twisted.logger import Logger

from lmbroker.call import Call, Caller, Dialect, Record, Target
from lmbroker.errors import Refused
from lmbroker.headers import Pairs, header_text
from lmbroker.limiting.needs import Weight, needs_of, taken, weighs
from lmbroker.limiting.reports import bounds_of, shown_limits
from lmbroker.limiting.store import Amounts, Store
from lmbroker.routing import aliases
from lmbroker.routing.aliases import Aliases, Route
from lmbroker.routing.limit_ledger import NEVER, Decision
from lmbroker.routing.limit_rules import LimitRule, Measure, Met, met
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.rate_limit_headers import RateLimit
from lmbroker.usage import Price

KEPT = 4096
"""The maximum of callers and aliases whose rules are remembered: where an alias ends with ``*``,
clients choose the names."""

PATIENCE = 60.0
"""Seconds that clients wait at most before they try again: where it takes longer, the answer says
that they should not."""

_NOT_YET = object()


class Reservation:
    """What one call has reserved; ``taken`` is what it took of each bound at its end.

    ``text_bytes`` are those of text of an answer whose tokens nobody counted.
    """

    __slots__ = ("_needs", "_store", "_weight", "met", "taken", "text_bytes")

    def __init__(self, store: Store, met: Met, needs: Amounts, weight: Weight | None) -> None:
        self.met = met
        self.taken: Amounts = ()
        self.text_bytes = 0
        self._store = store
        self._needs = needs
        self._weight = weight

    def settle(self, record: Record) -> None:
        """Give back what the call did not take."""
        used = taken(self.met.bounds, record, self._weight, self.text_bytes)
        self._store.settle(record.id, self.met.bounds, used)
        self.taken = used

    def shares(self) -> Iterator[tuple[str, Measure, int]]:
        """Yield what was taken: the rule, what is counted, and how much of it."""
        for at, amount in enumerate(self.taken):
            measure = self.met.bounds[at].measure
            if measure != "parallel":
                taken = self._needs[at] if measure == "requests" else amount
                yield self.met.rules[at].name, measure, taken


class Limiter:
    """Lets calls through as far as ``rules`` allow, which may be replaced at any time.

    ``price_of`` gives what a target charges; ``wall`` gives unix seconds.
    """

    log = Logger()

    def __init__(
        self,
        store: Store,
        rules: Sequence[LimitRule],
        price_of: Callable[[Target], Price | None],
        wall: Callable[[], float],
    ) -> None:
        self.store = store
        self._rules = tuple(rules)
        self._price_of = price_of
        self._wall = wall
        self._met: dict[tuple[str, str, str], Met | None] = {}
        self._exceeded: set[str] = set()

    @property
    def rules(self) -> tuple[LimitRule, ...]:
        """The rules for new calls."""
        return self._rules

    @rules.setter
    def rules(self, rules: Sequence[LimitRule]) -> None:
        self._rules = tuple(rules)
        self._met = {}

    def met(self, caller: str, alias: str, asked: str = "") -> Met | None:
        """Return the rules that meet a call; None where there are none."""
        key = (caller, alias, asked if alias.endswith(aliases.ANY) else "")
        found = self._met.get(key, _NOT_YET)
        if found is _NOT_YET:
            if len(self._met) >= KEPT:
                self._met.clear()
            found = self._met[key] = met(self._rules, *key)
        return found  # type: ignore[return-value]

    async def admit(
        self, call: Call, record: Record, route: Route, index: Aliases
    ) -> tuple[Call, Route]:
        """Let ``call`` through to ``route``, or to where a rule sends it; reserves what it needs.

        The record gets the reservation, and the headers for the client. Raises Refused.
        """
        sent_on: Pairs = ()
        tried = {route.name}
        while True:
            found = self.met(call.caller.name, route.name, call.asked)
            if found is None:
                record.limit_headers = sent_on
                return call, route
            weight = None
            if weighs(found, call.operation):
                weight = Weight(call, self._prices(route))
            needs = needs_of(found, call, weight)
            decision = self.store.reserve(record.id, found.bounds, needs)
            if not isinstance(decision, Decision):
                decision = await decision
            headers = self._headers(found, decision, call.dialect)
            record.limit_headers = (*headers, *sent_on)
            if decision.granted:
                record.reservation = Reservation(self.store, found, needs, weight)
                self._note(record, found, decision)
                if headers and route.expose_limits:
                    # Two kinds of limits under the same names would mean nothing.
                    route = msgspec.structs.replace(route, expose_limits=False)
                return call, route
            then = self._elsewhere(found, decision, index, tried)
            if then is None:
                rule = found.rules[decision.refusing[0]]
                record.limits = (*record.limits, (rule.name, "refused"))
                raise refusal(found, decision, needs, call.dialect)
            rule, name, route = then
            tried.add(route.name)
            record.limits = (*record.limits, (rule.name, "then"))
            sent_on = (("x-lmbroker-limit-then", header_text(name)),)
            record.alias = route.name
            route = aliases.for_client(route, call.dialect)
            call = msgspec.structs.replace(call, asked=name)

    async def admit_listing(self, caller: Caller, record: Record) -> None:
        """Let a request for a list of models through, or raise Refused; as ``admit``."""
        found = self.met(caller.name, "")
        if found is None:
            return
        needs = tuple(int(bound.measure in ("requests", "parallel")) for bound in found.bounds)
        decision = self.store.reserve(record.id, found.bounds, needs)
        if not isinstance(decision, Decision):
            decision = await decision
        record.limit_headers = self._headers(found, decision, record.dialect)
        if not decision.granted:
            record.limits = ((found.rules[decision.refusing[0]].name, "refused"),)
            raise refusal(found, decision, needs, record.dialect)
        record.reservation = Reservation(self.store, found, needs, None)
        self._note(record, found, decision)

    async def left(self, caller: str, names: Iterable[str]) -> list[dict[str, Any]]:
        """Return what is left for a caller at the aliases ``names``, as JSON objects."""
        found = bounds_of(self._rules, [caller], names)
        decision = self.store.read(tuple(bound for _, bound in found))
        if not isinstance(decision, Decision):
            decision = await decision
        return list(shown_limits(found, decision))

    def _prices(self, route: Route) -> list[Price]:
        prices = (self._price_of(target) for target in route.targets)
        return [price for price in prices if price is not None]

    def _elsewhere(
        self, found: Met, decision: Decision, index: Aliases, tried: set[str]
    ) -> tuple[LimitRule, str, Route] | None:
        """Return the rule that sends a call on, the name it is then asked for, and its route."""
        for at in decision.refusing:
            rule = found.rules[at]
            route = index.find(rule.then) if rule.then else None
            if route is not None and route.name not in tried:
                return rule, rule.then, route
        return None

    def _note(self, record: Record, found: Met, decision: Decision) -> None:
        """Note in the record what the rules said, and log which soft ones are exceeded now."""
        if not decision.over:
            record.limits = (*record.limits, *found.allowed) if record.limits else found.allowed
            if not self._exceeded:
                return
        over = {found.rules[at].name for at in decision.over}
        if over:
            said = [(name, "exceeded" if name in over else word) for name, word in found.allowed]
            record.limits = (*record.limits, *said)
            record.limit_headers = (
                *record.limit_headers,
                ("x-lmbroker-limit-exceeded", header_text(", ".join(sorted(over)))),
            )
        for at, bound in enumerate(found.bounds):
            if at in decision.over:
                if bound.counter not in self._exceeded:
                    self._exceeded.add(bound.counter)
                    self.log.warn("Limit {limit} is exceeded", limit=bound.counter)
            else:
                self._exceeded.discard(bound.counter)

    def _headers(self, found: Met, decision: Decision, dialect: Dialect) -> Pairs:
        """Return the headers that report what is left, in the form of the client's dialect.

        Of several bounds of one kind it is the one with the least left.
        """
        if not found.reported:
            return ()
        limits = []
        for group, places in found.reported:
            least = places[0]
            if len(places) > 1:
                least = min(places, key=decision.remaining.__getitem__)
            reset = decision.resets[least]
            limits.append(
                RateLimit(
                    of=group,
                    limit=str(found.bounds[least].limit),
                    remaining=str(decision.remaining[least]),
                    reset=None if reset == NEVER else reset,
                )
            )
        return tuple(ADAPTERS[dialect].facts.rate_limits.write(limits, self._wall()))


def refusal(found: Met, decision: Decision, needs: Amounts, dialect: Dialect) -> Refused:
    """Return the error for a call that the rules refuse."""
    at = decision.refusing[0]
    bound, rule = found.bounds[at], found.rules[at]
    amount = next(
        each
        for each in rule.amounts
        if (each.measure, each.period) == (bound.measure, bound.period)
    )
    too_much = needs[at] > bound.limit
    spent = not too_much and (
        bound.measure == "cost" or (bound.period == "never" and bound.measure != "parallel")
    )
    problem = "no more calls are let through for now"
    if too_much:
        problem = "this call asks for more than that at once: ask for fewer tokens"
    elif spent:
        problem = "what is left of it is too little for this call"
    waits = decision.retry_after != NEVER
    return Refused(
        ADAPTERS[dialect].facts.spent_kind if spent else "rate_limit",
        f"limit {rule.name!r} ({amount.shown}): {problem}",
        code="insufficient_quota" if spent else "rate_limit_exceeded",
        retry_after=str(max(1, math.ceil(decision.retry_after))) if waits else None,
        should_retry="true" if waits and decision.retry_after <= PATIENCE else "false",
    )
