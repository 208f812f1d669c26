"""The course of one call through the targets of its alias: which are tried, in which order, with
which key, how often and after what pause. Pure: times and chance are arguments.

The broker's loop is all that is outside::

    course = self._courses.begin(record, route, asked, now, key=routing.sticky_key(route, call))
    while True:
        target = course.target(now)
        try:
            answer = await self._attempt(call, record, route, target)
        except BrokerError as error:
            pause = course.failed(error, now, wall)    # raises what the client shall be told
        else:
            course.answered(now)
            return answer
        if pause:
            await deferLater(clock, pause)

That the call ended, however it did, is for ``Courses.closed``.
"""

from collections.abc import Iterable, Sequence

import msgspec

from lmbroker.call import Backend, Record, Target
from lmbroker.errors import AttemptFailed, BrokerError, Refused
from lmbroker.routing import balancing, retries
from lmbroker.routing.aliases import Route, named
from lmbroker.routing.balancing import Chance, Load
from lmbroker.routing.conversations import Homes
from lmbroker.routing.keys import NO_OWN_KEY
from lmbroker.routing.retries import Budget, Failure
from lmbroker.routing.target_health import Health, Place, Visit

_ASIDE = frozenset({"count_tokens"})
"""What says nothing about how a target does: it may count well and be too busy to answer."""

_LATER = 0.001
"""A pause ends so much after the moment that it waits for: clocks round."""


class Course:
    """One call on its way; made by ``Courses.begin``."""

    __slots__ = (
        "_asked",
        "_began",
        "_budget",
        "_chance",
        "_conversation",
        "_failures",
        "_health",
        "_here",
        "_homeless",
        "_homes",
        "_next",
        "_order",
        "_record",
        "_route",
        "_sticky",
        "_visit",
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
        homes: Homes | None = None,
        conversation: bytes = b"",
    ) -> None:
        self._record = record
        self._route = route
        self._asked = asked
        self._sticky = key
        self._homes = homes if conversation else None
        self._conversation = conversation
        self._homeless = False
        self._began = began
        self._health = health
        self._budget = budget
        self._chance = chance
        stops = [_Stop(target, route, health, record.operation) for target in route.targets]
        self._order = stops if len(stops) == 1 else self._ranked(stops, began)
        if any(lacking):
            unsuitable = {id(stop) for stop, lack in zip(stops, lacking, strict=True) if lack}
            self._order = sorted(self._order, key=lambda stop: id(stop) in unsuitable)
        self._here = self._order[0]
        self._next: _Stop | None = self._here
        self._visit: Visit | None = None
        self._failures: list[Failure] = []

    def target(self, now: float) -> Target:
        """Where the next attempt goes; it must be made at once.

        Raises the last failure where the target that was chosen is not free any more. The first
        one is given whether it is free or not: when none is, the least bad is better than nothing.
        """
        stop = self._next
        self._next = None
        if stop is None or (self._failures and not stop.free(now)):
            raise self._last()
        backend = stop.pick(self._sticky or self._conversation.hex(), now)
        stop.tries += 1
        self._here = stop
        if self._record.operation not in _ASIDE:
            self._visit = self._health.opened(stop.place, backend.credential_ref, now)
        target = stop.target
        if backend is not target.backend:
            target = msgspec.structs.replace(target, backend=backend)
        return named(target, self._asked)

    def failed(self, error: BrokerError, now: float, wall: float) -> float:
        """The attempt failed, no event went to the client: after how many seconds ``target`` is to
        be asked for the next one. ``wall`` is now in unix seconds.

        Raises what the client shall be told where there is no next one.
        """
        stop = self._here
        after = retries.retry_after(error.info, wall)
        if self._visit is not None:
            if isinstance(error, AttemptFailed):
                self._health.attempted(self._visit, now, error, after)
            else:
                self._health.closed(self._visit, now)
        if self._failures and error.info.code == NO_OWN_KEY:
            # The client hears what failed before: it has never asked for this target.
            raise self._last()
        stop.failure = error
        self._failures.append(Failure(stop.target.backend.name, error, after))
        if self._record.client_left:
            raise error
        rules = self._route.retries
        elsewhere = retries.elsewhere(error, rules)
        other_key = isinstance(error, AttemptFailed) and retries.blame(error) == "key"
        if not elsewhere and not other_key:
            raise retries.told(self._failures, listed=False)
        found = self._another(now, elsewhere=elsewhere, other_key=other_key)
        if found is None or not self._budget.spend(now, rules):
            raise self._last()
        self._next, pause = found
        return pause

    def answered(self, now: float) -> None:
        """The first event of the answer came."""
        if self._homes is not None and self._homeless:
            name = "\0".join(self._here.place.name)
            self._homes.settle(self._conversation, self._route.name, name)
        if self._visit is not None:
            self._health.attempted(self._visit, now)

    def closed(self, now: float) -> None:
        """The call ended."""
        if self._visit is not None:
            self._health.closed(self._visit, now, self._record.outcome, self._record.code)

    def _ranked(self, stops: "list[_Stop]", now: float) -> "list[_Stop]":
        """``stops``, best first."""
        route = self._route
        free = [stop.free(now) for stop in stops]
        if route.strategy == "ordered" and all(free):
            return stops
        loads = [
            Load(
                name="\0".join(stop.place.name),
                weight=route.weight(at),
                free=free[at],
                free_at=stop.place.free_at(stop.refs),
                in_flight=stop.place.in_flight,
                cost=stop.place.cost(now),
            )
            for at, stop in enumerate(stops)
        ]
        order = balancing.order(loads, route.strategy, self._chance, self._sticky)
        if self._homes is not None and route.strategy != "ordered":
            self._home_first(order, loads)
        return [stops[at] for at in order]

    def _home_first(self, order: list[int], loads: Sequence[Load]) -> None:
        """Put the target where the conversation is at home first. While that is not free another
        one stands in for it, always the same. A new conversation goes where the strategy says, of
        the targets that have not got their share of conversations."""
        assert self._homes is not None
        names = [load.name for load in loads]
        home = self._homes.home(self._conversation)
        self._homeless = home not in names
        if not self._homeless and loads[names.index(home)].free:
            order.remove(names.index(home))
            order.insert(0, names.index(home))
            return
        key = self._conversation.hex()
        if not self._homeless or self._route.strategy == "weighted":
            # By hash: several processes agree, and who is away from home stays in one place.
            order.sort(key=lambda at: balancing.distance(key, names[at], loads[at].weight))
        full = [False] * len(loads)
        if self._homeless and self._route.strategy != "fastest":
            full = self._homes.full(self._route.name, names, [load.weight for load in loads])
        order.sort(key=lambda at: (not loads[at].free, full[at]))

    def _another(
        self, now: float, *, elsewhere: bool, other_key: bool
    ) -> "tuple[_Stop, float] | None":
        """The next target and the pause before it: another key, else another target, else one
        that was tried already."""
        rules = self._route.retries
        if len(self._failures) >= rules.attempts or now > self._began + rules.seconds:
            return None
        if other_key and self._here.other_key(now):
            return self._here, 0.0
        if not elsewhere:
            return None
        for stop in self._order:
            if not stop.tries and stop.free(now):
                return stop, 0.0
        pauses = [(self._pause(stop, now), stop) for stop in self._order if self._again(stop)]
        if not pauses:
            return None
        pause, stop = min(pauses, key=lambda pair: pair[0])
        if pause > rules.longest_pause + _LATER or now + pause > self._began + rules.seconds:
            return None
        return stop, pause

    def _again(self, stop: "_Stop") -> bool:
        rules = self._route.retries
        return (
            stop.failure is not None
            and 1 <= stop.tries <= rules.same_target
            and retries.again(stop.failure, rules)
        )

    def _pause(self, stop: "_Stop", now: float) -> float:
        """The backoff, or until the target may be asked again: it may have said when."""
        pause = retries.pause(stop.tries, self._route.retries, self._chance)
        return max(pause, stop.place.free_at(stop.refs) - now) + _LATER

    def _last(self) -> BrokerError:
        return retries.told(self._failures, listed=True)


class _Stop:
    """One target on a course: how often it was tried, how that ended, with which keys."""

    __slots__ = ("_keyed", "_used", "failure", "place", "refs", "target", "tries")

    def __init__(self, target: Target, route: Route, health: Health, operation: str) -> None:
        self.target = target
        self.place: Place = health.place(target, operation)
        self.tries = 0
        self.failure: BrokerError | None = None
        self._keyed = route.keyed(target.backend)
        self.refs = [backend.credential_ref for backend in self._keyed]
        self._used: frozenset[str] = frozenset()

    def free(self, now: float) -> bool:
        return self.place.free(self.refs, now)

    def other_key(self, now: float) -> bool:
        """Whether a key that was not used yet is free."""
        if not self.place.breaker.free(now):
            return False
        return any(self.place.key(ref).free(now) for ref in self.refs if ref not in self._used)

    def pick(self, sticky: str, now: float) -> Backend:
        """The backend with the key whose turn it is, or with the one that belongs to the sticky
        key: free and unused ones first, and where none is free the one that is soonest."""
        keyed = self._keyed
        if len(keyed) == 1:
            return keyed[0]
        place, count = self.place, len(keyed)

        def rank(at: int) -> tuple[bool, bool, float, float]:
            key = place.key(self.refs[at])
            free = key.free(now)
            if sticky:
                turn = balancing.distance(sticky, self.refs[at])
            else:
                turn = (at - place.turn) % count
            return not free, self.refs[at] in self._used, 0.0 if free else key.free_at(), turn

        at = min(range(count), key=rank)
        place.turn = (at + 1) % count
        self._used |= {self.refs[at]}
        return keyed[at]


class Courses:
    """The courses of all calls under way, and what outlives them: the health of the targets and
    the budgets of the aliases. Keep one per process."""

    def __init__(self, health: Health, chance: Chance) -> None:
        self.health = health
        self._chance = chance
        self._budgets: dict[str, Budget] = {}
        self._homes = Homes()
        self._open: dict[str, Course] = {}

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
    ) -> Course:
        """The course of a call for the model name ``asked``; ``key`` is its sticky key,
        ``conversation`` the hash of the conversation that it belongs to. ``lacking``
        says of each target what of the call it cannot take ("" for nothing); those that lack
        something are tried last.

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
        course = self._open[record.id] = Course(
            record,
            route,
            asked,
            key,
            began=now,
            health=self.health,
            budget=budget,
            chance=self._chance,
            lacking=lacking,
            homes=self._homes,
            conversation=conversation,
        )
        return course

    def keep(self, routes: Iterable[Route]) -> None:
        """Forget the targets and aliases that no route names any more."""
        routes = tuple(routes)
        self.health.keep([target for route in routes for target in route.targets])
        names = {route.name for route in routes}
        self._budgets = {name: each for name, each in self._budgets.items() if name in names}

    def closed(self, record: Record) -> None:
        """The call ended; one that never had a course may end, too."""
        course = self._open.pop(record.id, None)
        if course is not None and record.closed_at is not None:
            course.closed(record.closed_at)
