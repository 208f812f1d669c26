"""Limits of several workers: the parent counts, and they ask it along their lines."""

import msgspec
import pytest
from limit_store_laws import Time, World, bound
from test_limits_simulation import BOUNDS, WAITING
from twisted.internet.defer import CancelledError

from lmbroker.config.config import parse
from lmbroker.daemon.workers import limits_line
from lmbroker.daemon.workers.limits_line import LineStore, ParentLimits
from lmbroker.offload.channel import Message
from lmbroker.routing.limit_ledger import Decision
from lmbroker.routing.limit_rules import Bound

CONFIG = '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "http://127.0.0.1:1" }\n'
RULES = CONFIG + "[[limits.rules]]\nparallel = 1\n"
SLOTS = bound("parallel", "never", 2)
QUEUED = bound("parallel", "never", 1, wait=9.0)


def config(text=CONFIG):
    return parse(text, name="t", environ={}, read_file=str)


class End:
    """An end of a line that delivers at once, or when it is told to."""

    def __init__(self, deliver):
        self.deliver = deliver
        self.held = None

    def send(self, kind, text="", file=None):
        assert len(text) <= 4000
        # As it would cross a socket; the file is the receiver's to close.
        data = msgspec.json.encode(Message(kind, text))
        message = msgspec.json.decode(data, type=Message)
        copy = None if file is None else limits_line.os.dup(file)
        if self.held is None:
            self.deliver(message, copy)
        else:
            self.held.append((message, copy))

    def let_go(self):
        held, self.held = self.held, None
        for each in held:
            self.deliver(*each)


class Workers:
    """Workers and their parent, as one store of the laws."""

    def __init__(self, time):
        self.time = time
        self.parent = ParentLimits(config(), time.clock, time)
        self.stores = {}
        self.up = {}
        self.down = {}

    @property
    def ledger(self):
        return self.parent._begin().ledger

    def store(self, holder):
        if holder not in self.stores:
            up = End(lambda *asked: self.parent.received(holder, self.down[holder], *asked))
            self.up[holder] = up
            store = self.stores[holder] = LineStore(up)
            self.down[holder] = End(store.received)
        return self.stores[holder]

    def reserve(self, lease, bounds, needs, holder):
        return self.store(holder).reserve(lease, bounds, needs)

    def settle(self, lease, bounds, used, holder):
        self.store(holder).settle(lease, bounds, used)

    def read(self, bounds):
        found = []
        self.store("reader").read(bounds).addCallback(found.append)
        return found[0]

    def drop(self, holder):
        self.parent.gone(holder)
        self.stores.pop(holder, None)


@pytest.mark.parametrize("bounds", [BOUNDS, WAITING], ids=["refusing", "waiting"])
def test_all_workers_together_keep_to_the_laws(bounds):
    time = Time()
    workers = Workers(time)
    world = World(workers, time, bounds, seed=3)
    for _ in range(4_000):
        world.step()
    world.drain()
    assert world.granted > 250
    assert workers.ledger.reserved() == {}
    assert workers.parent._waiting == {}
    assert workers.parent._begin().waiting == 0


def decided(deferred):
    found = []
    deferred.addBoth(found.append)
    return found


def test_a_client_that_leaves_while_the_answer_is_on_its_way_leaves_nothing_reserved():
    workers = Workers(Time())
    store = workers.store("1.1")
    workers.down["1.1"].held = []
    asked = store.reserve("r1", (SLOTS,), (1,))
    found = decided(asked)
    assert workers.ledger.reserved() == {SLOTS.counter: 1}
    asked.cancel()
    assert found[0].check(CancelledError)
    workers.down["1.1"].let_go()
    assert workers.ledger.reserved() == {}
    assert store._asked == {}


def test_a_client_that_leaves_while_it_waits_is_let_through_no_more():
    workers = Workers(Time())
    store = workers.store("1.1")
    assert decided(store.reserve("r1", (QUEUED,), (1,)))[0].granted
    waiting = store.reserve("r2", (QUEUED,), (1,))
    behind = decided(store.reserve("r3", (QUEUED,), (1,)))
    decided(waiting)
    waiting.cancel()
    workers.time.clock.advance(0)
    assert behind == [] and store._asked.keys() == {3}
    store.settle("r1", (QUEUED,), (0,))
    assert behind[0].granted
    assert workers.ledger.reserved() == {QUEUED.counter: 1}


def test_what_a_dead_worker_waited_for_goes_to_others():
    workers = Workers(Time())
    decided(workers.store("1.1").reserve("r1", (QUEUED,), (1,)))
    decided(workers.store("1.1").reserve("r2", (QUEUED,), (1,)))
    behind = decided(workers.store("2.1").reserve("r3", (QUEUED,), (1,)))
    workers.drop("1.1")
    assert behind[0].granted
    assert workers.parent._waiting == {}


def test_long_questions_go_as_files():
    workers = Workers(Time())
    many = tuple(
        Bound(f"rule {number} with a rather long name|all|requests/hour", "requests", "hour", 100)
        for number in range(100)
    )
    [decision] = decided(workers.store("1.1").reserve("r1", many, (1,) * 100))
    assert decision.granted and decision.remaining == (99,) * 100
    workers.store("1.1").settle("r1", many, (0,) * 100)
    assert workers.ledger.leases == 0


def test_where_the_parent_is_gone_calls_are_refused():
    workers = Workers(Time())
    store = workers.store("1.1")
    workers.up["1.1"].held = []
    found = decided(store.reserve("r1", (SLOTS,), (1,)))
    store.gone()
    for decision in (*found, *decided(store.reserve("r2", (SLOTS,), (1,)))):
        assert isinstance(decision, Decision)
        assert (decision.granted, decision.refusing, decision.retry_after) == (False, (0,), 1.0)


def test_without_rules_the_parent_counts_nothing():
    time = Time()
    parent = ParentLimits(config(), time.clock, time)
    parent.start()
    assert parent._store is None
    parent.take(config(RULES))
    assert parent._store is not None
    assert decided(parent.stop()) == [None]
