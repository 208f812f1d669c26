"""Limits in a real Redis: the same arithmetic as in the process, over processes and outages."""

import json
import random
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import msgspec
import pytest
import pytest_twisted
from limit_store_laws import DAY, MIDNIGHT, bound
from redis_server import MISSING, PROGRAM, RedisServer
from running import Daemon
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import deferLater

from lmbroker.config.limit_store import parse
from lmbroker.limiting import redis_store
from lmbroker.limiting.redis_connection import RedisConnection
from lmbroker.limiting.redis_store import PREFIX, SCRIPT, RedisStore, _arguments
from lmbroker.limiting.store import LocalStore
from lmbroker.routing.limit_ledger import Decision, Ledger
from lmbroker.routing.limit_rules import Bound

pytestmark = [
    pytest.mark.process,
    pytest.mark.sockets,
    pytest.mark.skipif(PROGRAM is None, reason=MISSING),
]

BOUNDS = (
    bound("requests", "minute", 30),
    bound("requests", "never", 900),
    bound("tokens", "minute", 5_000),
    bound("tokens", "day", 40_000),
    bound("tokens", "hour", 9_000, soft=True),
    bound("cost", "minute", 9_000),
    bound("cost", "month", 10**13),
    bound("parallel", "never", 5),
)
SLOTS = bound("parallel", "never", 3)
MONEY = bound("cost", "month", 100)


@pytest.fixture(scope="module")
def kept_server(tmp_path_factory):
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def server(kept_server):
    kept_server.ask("FLUSHALL")
    return kept_server


@pytest.fixture
def own_server(tmp_path):
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.stop()


class Process:
    """What one broker has: a store over a connection of its own."""

    def __init__(self, server, holder="one"):
        address, _ = parse(server.url)
        local = LocalStore(Ledger(), reactor, reactor.seconds)
        self.connection = RedisConnection(address, reactor)
        self.store = RedisStore(self.connection, reactor, local, holder)

    async def __aenter__(self):
        self.store.start()
        while self.connection._protocol is None:
            await deferLater(reactor, 0.005)
        await self.store._renewed()
        return self.store

    async def __aexit__(self, *_):
        await self.store.stop()


# The script alone.


def same(script: Decision, ledger: Decision) -> None:
    """Both say the same; times and levels may differ by what rounding does to them."""
    assert script.granted == ledger.granted
    assert script.over == ledger.over
    assert sorted(script.refusing) == sorted(ledger.refusing)
    assert script.retry_after == pytest.approx(ledger.retry_after, abs=1e-3, rel=1e-6)
    assert script.resets == pytest.approx(ledger.resets, abs=1e-3, rel=1e-6)
    assert all(
        abs(one - other) <= 1 for one, other in zip(script.remaining, ledger.remaining, strict=True)
    )


@pytest.mark.parametrize("seed", range(2))
def test_the_script_reckons_as_the_ledger_does(server, seed):
    chance, ledger = random.Random(seed), Ledger()
    now = MIDNIGHT - 90 + chance.randrange(400) * DAY + 0.25
    live = {}
    with server.talk() as talk:

        def run(step, holder, lease, bounds, amounts):
            # A holder lasts for good here: the ledger knows no time of that.
            arguments = _arguments(bounds, amounts)
            answer = talk(
                "EVAL", SCRIPT, 1, PREFIX, step, repr(now), holder, lease, "1e12", *arguments
            )
            return (
                answer if step in ("settle", "drop") else msgspec.json.decode(answer, type=Decision)
            )

        for number in range(1_200):
            chosen = tuple(each for each in BOUNDS if chance.random() < 0.6)
            holder = f"process {chance.randrange(3)}"
            act = chance.random()
            if act < 0.5 and chosen:
                needs = tuple(
                    1
                    if each.measure in ("requests", "parallel")
                    else chance.choice([0, 1, each.limit // 7, each.limit // 3, each.limit + 1])
                    for each in chosen
                )
                lease = f"req_{number}"
                found = ledger.reserve(lease, chosen, needs, now, holder)
                same(run("reserve", holder, lease, chosen, needs), found)
                if found.granted:
                    live[lease] = holder, chosen, needs
            elif act < 0.9 and live:
                lease = chance.choice(list(live))
                owner, bounds, needs = live.pop(lease)
                used = tuple(
                    int(need * chance.choice([0, 0.5, 1, 1.2]))
                    if each.measure in ("tokens", "cost")
                    else 0
                    for each, need in zip(bounds, needs, strict=True)
                )
                ledger.settle(lease, bounds, used, now, owner)
                run("settle", owner, lease, bounds, used)
            elif act < 0.91:
                ledger.drop(holder)
                run("drop", holder, "", (), ())
                live = {lease: each for lease, each in live.items() if each[0] != holder}
            else:
                now += chance.choice([0.001, 1, 7, 61, 60 - now % 60, 3600, DAY - now % DAY])
            zeros = (0,) * len(BOUNDS)
            same(run("read", holder, "", BOUNDS, zeros), ledger.read(BOUNDS, now))


# Stores of several processes.


@pytest_twisted.ensureDeferred
async def test_the_sum_over_processes_never_exceeds_the_limit(server):
    async with Process(server, "one") as one, Process(server, "two") as two:
        asked = [
            store.reserve(f"req_{number}_{name}", (SLOTS, MONEY), (1, 30))
            for number in range(20)
            for name, store in (("one", one), ("two", two))
        ]
        found = await gatherResults(asked)
        granted = [each for each in found if each.granted]
        assert len(granted) == 3
        refused = next(each for each in found if not each.granted)
        assert refused.refusing == (0, 1) or refused.refusing == (1, 0)
        left = await one.read((SLOTS, MONEY))
        assert left.remaining == (0, 10)


@pytest_twisted.ensureDeferred
async def test_a_process_that_dies_gives_its_leases_back(server, monkeypatch):
    monkeypatch.setattr(redis_store, "LASTS", 0.3)
    dead = Process(server, "dead")
    dead.store.start()
    async with Process(server, "two") as two:
        while dead.connection._protocol is None:
            await deferLater(reactor, 0.005)
        for number in range(3):
            assert (await dead.store.reserve(f"req_{number}", (SLOTS,), (1,))).granted
        assert not (await two.reserve("req_x", (SLOTS,), (1,))).granted
        dead.store._renewal.cancel()
        await deferLater(reactor, 0.35)
        assert (await two.reserve("req_y", (SLOTS,), (1,))).granted
    await dead.store.stop()


@pytest_twisted.ensureDeferred
async def test_a_call_waits_for_its_turn_over_processes(server):
    slot = bound("parallel", "never", 1, wait=20.0)
    async with Process(server, "one") as one, Process(server, "two") as two:
        assert (await one.reserve("req_1", (slot,), (1,))).granted
        order = []
        for name, store in (("second", two), ("third", two)):
            waiting = store.reserve(f"req_{name}", (slot,), (1,))
            waiting.addCallback(lambda found, name=name: order.append((name, found.granted)))
        await deferLater(reactor, 0.05)
        assert order == []
        one.settle("req_1", (slot,), (0,))
        while not order:
            await deferLater(reactor, 0.01)
        assert order == [("second", True)]
        two.settle("req_second", (slot,), (0,))
        while len(order) < 2:
            await deferLater(reactor, 0.01)
        assert order[1] == ("third", True)


@pytest_twisted.ensureDeferred
async def test_a_call_that_leaves_keeps_nothing(server):
    slot = bound("parallel", "never", 1, wait=20.0)
    async with Process(server) as store:
        asked = store.reserve("req_1", (slot,), (1,))
        asked.cancel()
        with pytest.raises(CancelledError):
            await asked
        assert (await store.reserve("req_2", (slot,), (1,))).granted
        waiting = store.reserve("req_3", (slot,), (1,))
        await deferLater(reactor, 0.02)
        waiting.cancel()
        with pytest.raises(CancelledError):
            await waiting
        store.settle("req_2", (slot,), (0,))
        while (await store.read((slot,))).remaining != (1,):
            await deferLater(reactor, 0.01)


# While Redis is away.


def by(on_failure: str) -> Bound:
    """A bound of two calls at once, with its own counter."""
    return Bound(f"{on_failure}|all|parallel/never", "parallel", "never", 2, False, 0.0, on_failure)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("how", ["frozen", "gone"])
async def test_the_rule_decides_while_redis_is_away(own_server, how):
    process = Process(own_server)
    async with process as store:
        own_server.freeze() if how == "frozen" else own_server.stop()
        if how == "gone":
            while process.connection._protocol is not None:
                await deferLater(reactor, 0.005)
        for on_failure, expected in (
            ("allow", [True, True, True]),
            ("deny", [False, False, False]),
            ("local", [True, True, False]),
        ):
            began = reactor.seconds()
            found = [
                await store.reserve(f"req_{on_failure}{n}", (by(on_failure),), (1,))
                for n in range(3)
            ]
            assert [each.granted for each in found] == expected
            assert reactor.seconds() - began < 1.0
        assert store.away
        assert store.failures == 9
        store.settle("req_local0", (by("local"),), (0,))
        assert (await store.reserve("req_again", (by("local"),), (1,))).granted
        own_server.thaw() if how == "frozen" else own_server.start()


@pytest_twisted.ensureDeferred
async def test_what_was_used_meanwhile_counts_when_redis_is_back(own_server):
    money = bound("cost", "never", 100)
    process = Process(own_server)
    async with process as store:
        assert (await store.reserve("req_1", (money,), (40,))).granted
        own_server.freeze()
        assert (await store.reserve("req_2", (money,), (30,))).granted
        store.settle("req_1", (money,), (25,))
        store.settle("req_2", (money,), (10,))
        own_server.thaw()
        while store.away:
            await store._renewed()
        while (await store.read((money,))).remaining != (65,):
            await deferLater(reactor, 0.01)


# Daemons.

DAEMON = """
[server]
listen = ["tcp:PORT:interface=127.0.0.1"]
[limits]
store = "URL"
[[limits.rules]]
name = "all"
requests = "7/month"
tokens = "1M/month"
[[models]]
alias = "m"
type = "openai"
target = { url = "practice:", model = "m" }
"""


def post(daemon):
    body = {"model": "m", "max_tokens": 20, "messages": [{"role": "user", "content": "hi"}]}
    request = urllib.request.Request(
        f"{daemon.url}/v1/chat/completions",
        json.dumps(body).encode(),
        {"content-type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_three_daemons_keep_to_one_sum_which_a_restart_does_not_forget(server, tmp_path):
    text = DAEMON.replace("URL", server.url)
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    daemons = [Daemon(folder, text) for folder in folders]
    try:
        for daemon in daemons:
            daemon.wait()
        with ThreadPoolExecutor(12) as pool:
            codes = list(pool.map(post, daemons * 5))
        assert sorted(codes) == [200] * 7 + [429] * 8
        daemons[0].stop()
        daemons[0] = Daemon(folders[0], text).wait()
        assert post(daemons[0]) == 429
    finally:
        for daemon in daemons:
            daemon.stop()
