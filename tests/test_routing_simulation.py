"""Thousands of calls on a fake clock through outages, slow backends, rate limits and recoveries;
what counts is what the clients saw and what the backends had to bear."""

import heapq
import itertools
import random
from collections import Counter

import pytest

from lmbroker.call import Backend, End, Record, Target
from lmbroker.errors import BackendRefused, BrokerError, ErrorInfo, Unreachable
from lmbroker.routing.aliases import Route
from lmbroker.routing.breaker import BreakerRules
from lmbroker.routing.conversations import hashed
from lmbroker.routing.failover import Failovers
from lmbroker.routing.retries import Retries
from lmbroker.routing.target_health import Health

STRATEGIES = ("ordered", "weighted", "least-busy", "fastest")
RULES = BreakerRules()
RETRIES = Retries()


class Provider:
    """A backend that is played: ``down`` from and to when, ``paces`` its seconds to the first
    event from when on, ``limit`` answers a second."""

    def __init__(self, name, *, down=(), paces=((0.0, 0.4),), limit=None):
        self.target = Target(
            backend=Backend(name=name, url=f"http://{name}", dialect="openai"), model="m"
        )
        self.asked = []
        self._down = down
        self._paces = paces
        self._limit = limit
        self._served = Counter()

    def is_down(self, now):
        return any(begin <= now < end for begin, end in self._down)

    def answer(self, now, chance):
        """In how many seconds it answers, and with what; None is an answer."""
        self.asked.append(now)
        if self.is_down(now):
            words = ErrorInfo(kind="unreachable", message="", code="refused")
            return 0.001, Unreachable(words)
        if self._limit is not None:
            self._served[int(now)] += 1
            if self._served[int(now)] > self._limit:
                wait = str(int(now) + 1 - now)
                words = ErrorInfo(kind="rate_limit", message="", status=429, retry_after=wait)
                return 0.02, BackendRefused(words)
        pace = [seconds for begin, seconds in self._paces if begin <= now][-1]
        return pace * (0.5 + chance()), None

    def asked_in(self, begin, end):
        return [moment for moment in self.asked if begin <= moment < end]


class Seen:
    """One call as its client saw it."""

    def __init__(self, at, key=""):
        self.at = at
        self.key = key
        self.attempts = []
        self.ok = False


class World:
    """Calls come at ``rate`` a second, evenly by chance; each walks the broker's loop."""

    def __init__(self, *providers, seed=1, **route):
        self.chance = random.Random(seed).random
        self.now = 0.0
        self.providers = {each.target.backend.name: each for each in providers}
        self.route = Route(name="alias", targets=tuple(each.target for each in providers), **route)
        self.failovers = Failovers(Health(RULES), self.chance)
        self.seen = []
        self.conversations = False
        self._heap = []
        self._numbers = itertools.count()

    def run(self, seconds, rate, keys=("",)):
        """Let calls come for ``seconds`` and all of them end. Nothing of them may be left: nothing
        in flight, and no probe that never ends."""
        at = self.now
        end = at + seconds
        while at < end:
            key = keys[int(self.chance() * len(keys))]
            self._at(at, self._call(at, key))
            at += 2 * self.chance() / rate
        while self._heap:
            self.now, _, call = heapq.heappop(self._heap)
            pause = next(call, None)
            if pause is not None:
                self._at(self.now + pause, call)
        self.now = max(self.now, end)
        for status in self.failovers.health.snapshot(self.now):
            assert status.in_flight == 0
            assert status.state != "half_open"

    def _at(self, moment, call):
        heapq.heappush(self._heap, (moment, next(self._numbers), call))

    def _call(self, at, key):
        seen = Seen(at, key)
        self.seen.append(seen)
        record = Record(
            id=str(len(self.seen)), operation="chat", dialect="openai", opened_at=self.now
        )
        failovers = self.failovers
        try:
            told = {"conversation": hashed("alias", key)} if self.conversations else {"key": key}
            failover = failovers.begin(record, self.route, "m", self.now, **told)
            while True:
                target = failover.target(self.now)
                seen.attempts.append(target.backend.name)
                provider = self.providers[target.backend.name]
                seconds, error = provider.answer(self.now, self.chance)
                yield seconds
                if error is None:
                    failover.answered(self.now)
                    yield 3 * self.chance()
                    record.end = End(outcome="complete")
                    seen.ok = True
                    return
                pause = failover.failed(error, self.now, self.now)
                if pause:
                    yield pause
        except BrokerError:
            record.end = End(outcome="backend_error")
        finally:
            record.closed_at = self.now
            failovers.closed(record)

    def calls(self, begin=0.0, end=1e9):
        return [each for each in self.seen if begin <= each.at < end]

    def attempts(self, begin=0.0, end=1e9):
        return sum(len(each.asked_in(begin, end)) for each in self.providers.values())

    def shares(self, begin=0.0, end=1e9):
        """Of the attempts of a time, the share of each provider."""
        asked = {name: len(each.asked_in(begin, end)) for name, each in self.providers.items()}
        return {name: count / sum(asked.values()) for name, count in asked.items()}


def test_weights_are_kept_within_two_percent():
    world = World(
        Provider("a"), Provider("b"), Provider("c"), strategy="weighted", weights=(5.0, 3.0, 2.0)
    )
    world.run(600, rate=20)
    assert all(each.ok and len(each.attempts) == 1 for each in world.seen)
    shares = world.shares()
    for name, weight in zip("abc", (0.5, 0.3, 0.2), strict=True):
        assert shares[name] == pytest.approx(weight, abs=0.02)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_one_of_three_is_down_and_no_client_notices(strategy):
    dead = Provider("a", down=[(60.0, 360.0)])
    world = World(dead, Provider("b"), Provider("c"), strategy=strategy)
    world.run(600, rate=20)
    assert len(world.seen) > 10_000
    assert all(each.ok for each in world.seen)
    assert max(len(each.attempts) for each in world.seen) <= 2

    # Until the breaker opened: as many attempts as it takes. Then the probes and nothing else.
    began = dead.asked_in(60.0, 360.0)
    opened = began[RULES.failures - 1]
    assert opened < 63.0
    probes = began[RULES.failures :]
    assert 10 <= len(probes) <= 300 / RULES.open
    for one, other in itertools.pairwise([opened, *probes]):
        assert other - one >= RULES.open

    # Back within one probe's time, and with its full share soon after.
    back = min(dead.asked_in(360.0, 1e9))
    assert back - 360.0 <= RULES.open + 1.0
    if strategy == "ordered":
        assert world.shares(back + 2.0, 600.0)["a"] == 1.0
    else:
        assert world.shares(back + 2.0, 600.0)["a"] == pytest.approx(1 / 3, abs=0.05)


def test_slow_failures_cost_each_call_one_attempt_too():
    """Calls that fail late are many at once when the breaker opens; each is tried once more."""

    class Late(Provider):
        def answer(self, now, chance):
            seconds, error = super().answer(now, chance)
            if error is None:
                return seconds, error
            words = ErrorInfo(kind="overloaded", message="", status=503)
            return 1.0, BackendRefused(words)

    dead = Late("a", down=[(60.0, 200.0)])
    world = World(dead, Provider("b"), Provider("c"), strategy="weighted")
    world.run(300, rate=20)
    assert all(each.ok and len(each.attempts) <= 2 for each in world.seen)
    assert len(dead.asked_in(62.0, 200.0)) <= 140 / RULES.open


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("same_target", [0, 2])
def test_an_outage_of_all_makes_no_storm(strategy, same_target):
    outage = [(60.0, 360.0)]
    providers = [Provider(name, down=outage) for name in "abc"]
    retries = Retries(same_target=same_target, attempts=6)
    world = World(*providers, strategy=strategy, retries=retries)
    world.run(600, rate=20)

    during = world.calls(60.0, 360.0)
    assert len(during) > 5000
    assert not any(each.ok for each in world.calls(60.0, 340.0))
    assert world.attempts(60.0, 360.0) <= 1.1 * len(during) + retries.floor

    # Every call got an answer: one that failed at once, or, before, a whole one.
    assert all(each.ok for each in world.calls(0.0, 59.0))
    after = world.calls(360.0 + RULES.open + 1.0)
    assert len(after) > 4000
    assert all(each.ok for each in after)
    for name in "abc" if strategy != "ordered" else "a":
        assert world.providers[name].asked_in(370.0, 395.0)


def test_a_half_broken_backend_is_taken_out_and_the_budget_bounds_what_it_costs():
    """Each backend refuses every second call: some calls fail, the attempts stay bounded."""

    class Moody(Provider):
        def answer(self, now, chance):
            if chance() < 0.5:
                words = ErrorInfo(kind="overloaded", message="", status=529)
                return 0.05, BackendRefused(words)
            return super().answer(now, chance)

    world = World(Moody("a"), Moody("b"), Moody("c"), strategy="weighted")
    world.run(300, rate=20)
    limit = 1.1 * len(world.seen) + RETRIES.floor * (1 + 300 / 60)
    assert world.attempts() <= limit
    assert sum(each.ok for each in world.seen) / len(world.seen) > 0.5


def test_a_backend_above_its_rate_rests_and_the_others_take_over():
    tight = Provider("a", limit=5)
    world = World(tight, Provider("b"), strategy="ordered")
    world.run(300, rate=20)
    assert all(each.ok and len(each.attempts) <= 2 for each in world.seen)
    # It serves what it can, and is asked in vain only by those that were under way.
    served = len(tight.asked) - sum(len(each.attempts) == 2 for each in world.seen)
    assert served / 300 == pytest.approx(5, abs=0.5)
    assert len(tight.asked) / 300 < 7
    assert {each.state for each in world.failovers.health.snapshot(world.now)} == {"closed"}


def test_all_above_their_rate_tell_the_client_when():
    world = World(Provider("a", limit=2), Provider("b", limit=2), strategy="least-busy")
    world.run(120, rate=20)
    assert sum(each.ok for each in world.seen) / 120 == pytest.approx(4, abs=0.5)
    assert world.attempts() <= 1.1 * len(world.seen) + RETRIES.floor * (1 + 120 / 60)


def test_the_fastest_gets_the_calls_and_a_change_is_noticed():
    turned = 200.0
    one = Provider("a", paces=[(0.0, 0.2), (turned, 6.0)])
    other = Provider("b", paces=[(0.0, 6.0), (turned, 0.2)])
    world = World(one, other, strategy="fastest")
    world.run(400, rate=10)
    assert all(each.ok for each in world.seen)
    assert world.shares(10.0, turned)["a"] > 0.9
    assert world.shares(turned + 90.0, 400.0)["b"] > 0.9
    # The slow one is looked at from time to time, by one call and not by a burst.
    assert 1 <= len(other.asked_in(10.0, turned)) <= 0.1 * turned * 10


def test_the_least_busy_share_follows_how_fast_they_end():
    world = World(
        Provider("a", paces=[(0.0, 0.5)]),
        Provider("b", paces=[(0.0, 8.0)]),
        strategy="least-busy",
    )
    world.run(300, rate=10)
    shares = world.shares(20.0, 300.0)
    assert shares["a"] > 0.7 and shares["b"] > 0.1


def test_sessions_stay_where_they_are_but_for_an_outage():
    keys = tuple(f"session {n}" for n in range(200))
    dead = Provider("a", down=[(100.0, 200.0)])
    world = World(dead, Provider("b"), Provider("c"), strategy="least-busy", sticky=("caller",))
    homes = {}
    made = world._call

    def remembering(at, key):
        call = made(at, key)

        def walk():
            count = len(world.seen)
            yield from call
            seen = world.seen[count]
            homes.setdefault(key, []).append((at, seen.attempts[-1]))

        return walk()

    world._call = remembering
    world.run(300, rate=20, keys=keys)
    assert all(each.ok for each in world.seen)
    moved = 0
    for visits in homes.values():
        calm = {name for at, name in visits if at < 100.0 or at > 216.0}
        storm = {name for at, name in visits if 101.0 < at < 200.0}
        assert len(calm) == 1
        assert len(storm) <= 1
        if calm != {"a"} and storm:
            assert storm == calm
        moved += calm == {"a"}
    assert 40 < moved < 95


@pytest.mark.parametrize("strategy", ["weighted", "least-busy"])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_conversations_stay_together_and_are_spread_evenly_without_any_setting(strategy, seed):
    count, turns, rate = 200, 20, 40
    dead = Provider("a", down=[(40.0, 70.0)])
    others = [Provider(name) for name in "bcd"]
    world = World(dead, *others, strategy=strategy, seed=seed)
    world.conversations = True
    world.run(
        turns * count / rate, rate=rate, keys=tuple(f"conversation {n}" for n in range(count))
    )
    assert all(each.ok for each in world.seen)
    homes = {}
    for each in world.seen:
        homes.setdefault(each.key, []).append(each.attempts[-1])
    pairs = [pair for names in homes.values() for pair in itertools.pairwise(names)]
    assert sum(one == other for one, other in pairs) / len(pairs) >= 0.95
    at_home = Counter(names[-1] for names in homes.values())
    for name in "abcd":
        assert at_home[name] == pytest.approx(count / 4, rel=0.1)
