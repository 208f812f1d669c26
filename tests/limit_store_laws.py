"""What every store of limits promises (docs/design/limits.md), as a world of calls around one.

The world keeps its own account of who took what, and compares after each step.
"""

import random
from collections import defaultdict

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from lmbroker.routing.limit_rules import Bound
from lmbroker.routing.limit_windows import drain_seconds, has_window, window_end

DAY = 86_400
MIDNIGHT = 1_790_000_000 // DAY * DAY
"""A midnight, in unix seconds: some day in September of 2026."""


class Time:
    """A clock, whose seconds are also unix seconds."""

    def __init__(self, start=MIDNIGHT - 90):
        self.clock = Clock()
        self.start = start

    def __call__(self):
        return self.start + self.clock.seconds()


class CallInFlight:
    """One call: what it reserved, and how its reservation was answered."""

    def __init__(self, number, holder, bounds, needs, came):
        self.lease = f"req_{number}"
        self.holder = holder
        self.bounds = bounds
        self.needs = needs
        self.came = came
        self.decision = None
        self.waiting = None


class World:
    """Calls of several holders at one store.

    ``store`` has ``reserve`` and ``settle`` with the holder as last argument, and ``drop``.
    """

    def __init__(self, store, time, bounds, seed):
        self.store = store
        self.time = time
        self.bounds = list(bounds)
        self.chance = random.Random(seed)
        self.live = []
        self.waiting = []
        self.steps = 0
        self.granted = self.refused = self.waited = 0
        self._taken = defaultdict(int)
        self._excess = defaultdict(int)
        self._window = {}
        self._level = defaultdict(float)
        self._looked = {}
        self._reloaded = set()
        self._first = {each.counter: each.limit for each in self.bounds}

    # Steps.

    def step(self):
        """One random thing happens."""
        self.steps += 1
        acts = (
            (self.begin, 40),
            (self.end, 34),
            (self.abort, 4),
            (self.leave, 3),
            (self.die, 1),
            (self.reload, 1),
            (self.pass_time, 30),
        )
        act = self.chance.choices([act for act, _ in acts], [weight for _, weight in acts])[0]
        act()
        self.check()

    def begin(self):
        """A call comes, with needs of some bounds."""
        chosen = tuple(each for each in self.bounds if self.chance.random() < 0.7)
        if not chosen:
            return
        needs = tuple(self._need(each) for each in chosen)
        call = CallInFlight(
            self.steps, f"worker {self.chance.randrange(3)}", chosen, needs, self.time()
        )
        self._reserve(call)

    def _need(self, bound):
        if bound.measure in ("requests", "parallel"):
            return 1
        return self.chance.choice([0, 1, bound.limit // 7, bound.limit // 3, bound.limit])

    def _reserve(self, call):
        before = list(self.waiting)
        found = self.store.reserve(call.lease, call.bounds, call.needs, call.holder)
        if not isinstance(found, Deferred):
            self._decided(found, call, before)
            return
        call.waiting = found
        self.waiting.append(call)
        self.waited += 1
        found.addCallbacks(self._decided_later, self._cancelled, (call,), errbackArgs=(call,))

    def _decided_later(self, decision, call):
        ahead = self.waiting[: self.waiting.index(call)]
        self.waiting.remove(call)
        self._decided(decision, call, ahead)

    def _cancelled(self, failure, call):
        failure.trap(CancelledError)
        self.waiting.remove(call)

    def _decided(self, decision, call, ahead):
        call.decision = decision
        if not decision.granted:
            self.refused += 1
            assert decision.refusing
            return
        self.granted += 1
        self._was_in_turn(call, ahead)
        self.live.append(call)
        for bound, need in zip(call.bounds, call.needs, strict=True):
            if bound.measure == "requests":
                self._count(bound, need, 0)

    def _was_in_turn(self, call, ahead):
        """No call that came before and waits was overtaken: it waits for something that this one
        does not need, or for another call before it."""
        mine = _wanted(call)
        for other in ahead:
            if other not in self.waiting or not mine & _wanted(other):
                continue
            # They share a counter: then it is another one that holds the other up.
            refused = self._would_refuse(other)
            assert refused - mine or self._is_behind(other, call), (call.lease, other.lease)

    def _would_refuse(self, call):
        found = set()
        for bound, need in zip(call.bounds, call.needs, strict=True):
            if need and not bound.soft and not self._fits(bound, need):
                found.add(bound.counter)
        return found

    def _is_behind(self, other, call):
        earlier = self.waiting[: self.waiting.index(other)] if other in self.waiting else []
        return any(_wanted(each) & _wanted(other) for each in earlier if each is not call)

    def _fits(self, bound, need):
        self._turn(bound)
        used = self._level[bound.counter] if drain_seconds(bound) else self._taken[bound.counter]
        return used + self._reserved(bound.counter) + need <= bound.limit * (1 + 1e-7)

    def end(self):
        """A call ends, having used what it did: mostly less than it had reserved."""
        if not self.live:
            return
        call = self.live.pop(self.chance.randrange(len(self.live)))
        used = []
        for bound, need in zip(call.bounds, call.needs, strict=True):
            amount = 0
            if bound.measure in ("tokens", "cost"):
                amount = int(need * self.chance.choice([0, 0.1, 0.5, 1, 1, 1.2]))
            used.append(amount)
            self._count(bound, amount, max(0, amount - need))
        self.store.settle(call.lease, call.bounds, tuple(used), call.holder)

    def abort(self):
        """A call ends of which nothing is known."""
        if self.live:
            call = self.live.pop(self.chance.randrange(len(self.live)))
            self.store.settle(call.lease, call.bounds, (0,) * len(call.bounds), call.holder)

    def leave(self):
        """The client of a waiting call leaves."""
        if self.waiting:
            self.chance.choice(self.waiting).waiting.cancel()

    def die(self):
        """A holder dies with all its calls."""
        holder = f"worker {self.chance.randrange(3)}"
        self.live = [call for call in self.live if call.holder != holder]
        self.waiting = [call for call in self.waiting if call.holder != holder]
        self.store.drop(holder)

    def reload(self):
        """The limit of a bound changes to more: less is the matter of other tests, as then there
        may be more in flight than the new limit."""
        at = self.chance.randrange(len(self.bounds))
        old = self.bounds[at]
        values = {name: getattr(old, name) for name in old.__struct_fields__}
        values["limit"] = old.limit + self.chance.randrange(1, 3)
        if old.limit < 1.5 * self._first[old.counter]:
            self.bounds[at] = Bound(**values)
            self._reloaded.add(old.counter)

    def pass_time(self):
        """Time passes: mostly little, sometimes exactly to the edge of a window."""
        now = self.time()
        to_edge = window_end("minute", now) - now
        moments = [0, 0.001, 0.3, 1, 7, 61, to_edge, to_edge, 3600]
        self.time.clock.advance(self.chance.choices(moments, [4, 4, 9, 9, 5, 2, 4, 4, 0.2])[0])

    # Its own account.

    def _turn(self, bound):
        """Bring the account of a bound to the present."""
        name, now = bound.counter, self.time()
        if drain_seconds(bound):
            gone = now - self._looked.get(name, now)
            self._looked[name] = now
            rate = bound.limit / drain_seconds(bound)
            self._level[name] = max(0.0, self._level[name] - gone * rate)
        elif has_window(bound):
            end = self._window.get(name)
            if end is None or now >= end:
                self._window[name] = window_end(bound.period, now)
                self._taken[name] = self._excess[name] = 0

    def _count(self, bound, amount, excess):
        self._turn(bound)
        self._taken[bound.counter] += amount
        self._excess[bound.counter] += excess
        self._level[bound.counter] += amount
        if drain_seconds(bound):
            # What single calls took beyond their own need drains with all else, last of all.
            self._excess[bound.counter] = min(
                self._excess[bound.counter], int(self._level[bound.counter]) + 1
            )

    def _reserved(self, counter):
        return sum(
            need
            for call in self.live
            for bound, need in zip(call.bounds, call.needs, strict=True)
            if bound.counter == counter and bound.measure != "requests"
        )

    def check(self):
        """What every moment has to show."""
        for bound in self.bounds:
            if bound.soft:
                continue
            self._turn(bound)
            name = bound.counter
            held = self._reserved(name)
            used = self._level[name] if drain_seconds(bound) else self._taken[name]
            if bound.measure == "parallel":
                used = 0
            drains = bool(drain_seconds(bound))
            # Calls in flight go by the limit that they began with: by which of them a bucket
            # drained is not known here.
            off = bound.limit * (0.02 if name in self._reloaded else 1e-6) * drains
            assert used + held <= bound.limit + off + self._excess[name] + drains, bound
            decision = self.store.read((bound,))
            left = max(0, bound.limit - used - held)
            assert abs(decision.remaining[0] - left) <= off + drains, (bound, used, held)

    def drain(self):
        """Everything ends; nothing may be left."""
        for call in list(self.waiting):
            call.waiting.cancel()
        while self.live:
            self.end()
        self.time.clock.advance(1)


def _wanted(call):
    """The counters for which a call would wait."""
    return {
        bound.counter
        for bound, need in zip(call.bounds, call.needs, strict=True)
        if need and bound.wait and not bound.soft
    }


def bound(measure, period, limit, **more):
    """A bound with a counter of its own."""
    return Bound(f"rule|all|{measure}/{period}", measure, period, limit, **more)
