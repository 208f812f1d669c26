"""Failover: which targets of its alias a call tries, in which order, with which key.

It also says how often and after what pause. Pure: times and chance are arguments.

The broker's loop is all that is outside::

    failover = self._failovers.begin(record, route, asked, now, key=sticky_key(route, call))
    while True:
        target = failover.target(now)
        try:
            answer = await self._attempt(call, record, route, target)
        except BrokerError as error:
            pause = failover.failed(error, now, wall)    # raises the error for the client
        else:
            failover.answered(now)
            return answer
        if pause:
            await deferLater(clock, pause)

The end of the call, whatever it is, goes to ``Failovers.closed``.
"""

from collections.abc import Iterable, Sequence

import msgspec

from lmbroker.call import Backend, Record, Target
from lmbroker.errors import AttemptFailed, BrokerError, Refused
from lmbroker.routing import balancing, retries
from lmbroker.routing.aliases import Route, named
from lmbroker.routing.balancing import Candidate, Chance
from lmbroker.routing.conversations import ConversationTargets
from lmbroker.routing.keys import NO_OWN_KEY
from lmbroker.routing.retries import Budget, Failure
from lmbroker.routing.target_health import Health, OpenAttempt, TargetState

_ASIDE = frozenset({"count_tokens"})
"""Operations that do not show a target's health: it may count well and be too busy to answer."""

_LATER = 0.001
"""Seconds that a pause exceeds the moment for which it waits: clocks round."""


class Failover:
    """The failover of one call; made by ``Failovers.begin``."""

    __slots__ = (
        "_asked",
        "_attempt",
        "_began",
        "_budget",
        "_chance",
        "_conversation",
        "_conversations",
        "_failures",
        "_health",
        "_here",
        "_next",
        "_order",
        "_record",
        "_route",
        "_sticky",
        "_unknown",
    )

    def __init__(
        self,
        record: Record,
        route: Route,
        asked: str,
        key: str,
        *,
        began: float,
        health: Health,
        budget: Budget,
        chance: Chance,
        lacking: Sequence[str] = (),
        conversations: ConversationTargets | None = None,
        conversation: bytes = b"",
    ) -> None:
        self._record = record
        self._route = route
        self._asked = asked
        self._sticky = key
        self._conversations = conversations if conversation else None
        self._conversation = conversation
        self._unknown = False
        self._began = began
        self._health = health
        self._budget = budget
        self._chance = chance
        entries = [_Entry(target, route, health, record.operation) for target in route.targets]
        self._order = entries if len(entries) == 1 else self._ranked(entries, began)
        if any(lacking):
            unsuitable = {id(entry) for entry, lack in zip(entries, lacking, strict=True) if lack}
            self._order = sorted(self._order, key=lambda entry: id(entry) in unsuitable)
        self._here = self._order[0]
        self._next: _Entry | None = self._here
        self._attempt: OpenAttempt | None = None
        self._failures: list[Failure] = []

    def target(self, now: float) -> Target:
        """Return the target of the next attempt, which must be made at once.

        Raises the last failure where the target that was chosen is not free any more. The first one
        is given whether it is free or not: when none is, the least bad is better than nothing.
        """
        entry = self._next
        self._next = None
        if entry is None or (self._failures and not entry.free(now)):
            raise self._last()
        backend = entry.keyed[0]
        if len(entry.keyed) > 1:
            backend = entry.pick(self._sticky or self._conversation.hex(), now)
        entry.tries += 1
        self._here = entry
        if self._record.operation not in _ASIDE:
            self._attempt = self._health.opened(entry.state, backend.credential_ref, now)
        target = entry.target
        if backend is not target.backend:
            target = msgspec.structs.replace(target, backend=backend)
        return named(target, self._asked)

    def failed(self, error: BrokerError, now: float, wall: float) -> float:
        """Note that the attempt failed, and return the pause before the next one.

        No event went to the client. The pause is in seconds: then ``target`` is to be asked.
        ``wall`` is now in unix seconds. Raises the error for the client where there is no next
        target.
        """
        entry = self._here
        after = retries.retry_after(error.info, wall)
        if self._attempt is not None:
            if isinstance(error, AttemptFailed):
                self._health.attempted(self._attempt, now, error, after)
            else:
                self._health.closed(self._attempt, now)
        if self._failures and error.info.code == NO_OWN_KEY:
            # The client gets the failure before this one: it has never asked for this target.
            raise self._last()
        entry.failure = error
        self._failures.append(Failure(entry.target.backend.name, error, after))
        if self._record.client_left:
            raise error
        rules = self._route.retries
        elsewhere = retries.elsewhere(error, rules)
        other_key = isinstance(error, AttemptFailed) and retries.blame(error) == "key"
        if not elsewhere and not other_key:
            raise retries.reported(self._failures, listed=False)
        found = self._another(now, elsewhere=elsewhere, other_key=other_key)
        if found is None or not self._budget.spend(now, rules):
            raise self._last()
        self._next, pause = found
        return pause

    def answered(self, now: float) -> None:
        """Note that the first event of the answer came."""
        if self._conversations is not None and self._unknown:
            name = "\0".join(self._here.state.name)
            self._conversations.remember(self._conversation, self._route.name, name)
        if self._attempt is not None:
            self._health.attempted(self._attempt, now)

    def closed(self, now: float) -> None:
        """Note that the call ended."""
        if self._attempt is not None:
            end = self._record.end
            self._health.closed(self._attempt, now, end.outcome, end.code)

    def _ranked(self, entries: "list[_Entry]", now: float) -> "list[_Entry]":
        """Return ``entries``, best first."""
        route = self._route
        free = [entry.free(now) for entry in entries]
        if route.strategy == "ordered" and all(free):
            return entries
        candidates = [
            Candidate(
                name="\0".join(entry.state.name),
                weight=route.weight(at),
                free=free[at],
                free_at=entry.state.free_at(entry.refs),
                in_flight=entry.state.in_flight,
                cost=entry.state.cost(now),
            )
            for at, entry in enumerate(entries)
        ]
        order = balancing.order(candidates, route.strategy, self._chance, self._sticky)
        if self._conversations is not None and route.strategy != "ordered":
            self._known_target_first(order, candidates)
        return [entries[at] for at in order]

    def _known_target_first(self, order: list[int], candidates: Sequence[Candidate]) -> None:
        """Put the target that answers the conversation first.

        While that is not free another one takes its place, always the same. A new conversation goes
        where the strategy says, of the targets that have not got their share of conversations.
        """
        assert self._conversations is not None
        names = [candidate.name for candidate in candidates]
        known = self._conversations.target_of(self._conversation)
        self._unknown = known not in names
        if not self._unknown and candidates[names.index(known)].free:
            order.remove(names.index(known))
            order.insert(0, names.index(known))
            return
        key = self._conversation.hex()
        if not self._unknown or self._route.strategy == "weighted":
            # The order by hash is the same in all processes, and so is the stand-in.
            order.sort(key=lambda at: balancing.distance(key, names[at], candidates[at].weight))
        full = [False] * len(candidates)
        if self._unknown and self._route.strategy != "fastest":
            full = self._conversations.full(
                self._route.name, names, [candidate.weight for candidate in candidates]
            )
        order.sort(key=lambda at: (not candidates[at].free, full[at]))

    def _another(
        self, now: float, *, elsewhere: bool, other_key: bool
    ) -> "tuple[_Entry, float] | None":
        """Return the next target and the pause before it, None for no further attempt.

        It is the same target with another key, else another one, else one that was tried already.
        """
        rules = self._route.retries
        if len(self._failures) >= rules.attempts or now > self._began + rules.seconds:
            return None
        if other_key and self._here.other_key(now):
            return self._here, 0.0
        if not elsewhere:
            return None
        for entry in self._order:
            if not entry.tries and entry.free(now):
                return entry, 0.0
        pauses = [(self._pause(entry, now), entry) for entry in self._order if self._again(entry)]
        if not pauses:
            return None
        pause, entry = min(pauses, key=lambda pair: pair[0])
        if pause > rules.longest_pause + _LATER or now + pause > self._began + rules.seconds:
            return None
        return entry, pause

    def _again(self, entry: "_Entry") -> bool:
        rules = self._route.retries
        return (
            entry.failure is not None
            and 1 <= entry.tries <= rules.same_target
            and retries.again(entry.failure, rules)
        )

    def _pause(self, entry: "_Entry", now: float) -> float:
        """Return the seconds of the backoff, or until the target may be asked again.

        It may have said when.
        """
        pause = retries.pause(entry.tries, self._route.retries, self._chance)
        return max(pause, entry.state.free_at(entry.refs) - now) + _LATER

    def _last(self) -> BrokerError:
        return retries.reported(self._failures, listed=True)


class _Entry:
    """One target in a failover: how often it was tried, how that ended, with which keys."""

    __slots__ = ("_used", "failure", "keyed", "refs", "state", "target", "tries")

    def __init__(self, target: Target, route: Route, health: Health, operation: str) -> None:
        self.target = target
        self.state: TargetState = health.target(target, operation)
        self.tries = 0
        self.failure: BrokerError | None = None
        self.keyed = route.keyed(target.backend)
        self.refs = [backend.credential_ref for backend in self.keyed]
        self._used: frozenset[str] = frozenset()

    def free(self, now: float) -> bool:
        return self.state.free(self.refs, now)

    def other_key(self, now: float) -> bool:
        """Return whether a key that was not used yet is free."""
        if not self.state.breaker.free(now):
            return False
        return any(self.state.key(ref).free(now) for ref in self.refs if ref not in self._used)

    def pick(self, sticky: str, now: float) -> Backend:
        """Return the backend with the key whose turn it is, or with the one of the sticky key.

        Free and unused keys come first, and where none is free the one that is soonest.
        """
        keyed = self.keyed
        state, count = self.state, len(keyed)

        def rank(at: int) -> tuple[bool, bool, float, float]:
            key = state.key(self.refs[at])
            free = key.free(now)
            if sticky:
                position = balancing.distance(sticky, self.refs[at])
            else:
                position = (at - state.next_key) % count
            return not free, self.refs[at] in self._used, 0.0 if free else key.free_at(), position

        at = min(range(count), key=rank)
        state.next_key = (at + 1) % count
        self._used |= {self.refs[at]}
        return keyed[at]


class Failovers:
    """The failovers of all calls under way, and what outlives them.

    That is the health of the targets and the budgets of the aliases. Keep one per process.
    """

    def __init__(self, health: Health, chance: Chance) -> None:
        self.health = health
        self._chance = chance
        self._budgets: dict[str, Budget] = {}
        self._conversations = ConversationTargets()
        self._open: dict[str, Failover] = {}

    def begin(
        self,
        record: Record,
        route: Route,
        asked: str,
        now: float,
        *,
        key: str = "",
        conversation: bytes = b"",
        lacking: Sequence[str] = (),
    ) -> Failover:
        """Begin the failover of a call for the model name ``asked``.

        ``key`` is its sticky key, ``conversation`` the hash of the conversation that it belongs to.
        ``lacking`` says of each target what of the call it cannot take ("" for nothing); those that
        lack something are tried last.

        Raises Refused for a route without targets.
        """
        if not route.targets:
            raise Refused(
                "unsupported",
                f"no backend of model {asked!r} offers this operation",
                param="model",
                code="unsupported_operation",
            )
        budget = self._budgets.get(route.name)
        if budget is None:
            budget = self._budgets[route.name] = Budget()
        budget.calls += 1
        failover = self._open[record.id] = Failover(
            record,
            route,
            asked,
            key,
            began=now,
            health=self.health,
            budget=budget,
            chance=self._chance,
            lacking=lacking,
            conversations=self._conversations,
            conversation=conversation,
        )
        return failover

    def keep(self, routes: Iterable[Route]) -> None:
        """Forget the targets and aliases that no route names any more."""
        routes = tuple(routes)
        self.health.keep([target for route in routes for target in route.targets])
        names = {route.name for route in routes}
        self._budgets = {name: each for name, each in self._budgets.items() if name in names}

    def closed(self, record: Record) -> None:
        """Note that a call ended, with or without a failover."""
        failover = self._open.pop(record.id, None)
        if failover is not None and record.closed_at is not None:
            failover.closed(record.closed_at)
