"""A short soak in this process: calls of all kinds, with everything that may go wrong, and nothing
may be left of them. ``make soak`` does the same for longer with the daemon."""

import gc
import os
from functools import partial
from random import Random
from threading import Lock
from types import MethodType

import pytest
import pytest_twisted
from chaos import own_site
from mixed_calls import BrokenBackends, carry_out, config, plans, settled
from rig import Rig
from twisted.internet import reactor

from lmbroker.backends import connections
from lmbroker.backends.client import sessions
from lmbroker.broker import relay
from lmbroker.observers.access_log import access_fields
from lmbroker.testing import PracticeBackend

pytestmark = pytest.mark.sockets

SEED = 20261125
CALLS = 200
ROUNDS = 7
LOCK = type(Lock())
COUNTERS = ("prometheus_client", "lmbroker.observers")
"""Modules whose objects count a kind of call, of which some are rare."""


@pytest.fixture
def quick_close(monkeypatch):
    """Idle connections are closed soon, lest the test wait for them; and what is kept of their
    TLS is soon as much as it may be."""
    monkeypatch.setattr(sessions, "EACH", 1)
    monkeypatch.setattr(connections, "IDLE_SECONDS", 0.2)
    monkeypatch.setattr(connections, "CLOSE_SECONDS", 0.1)
    monkeypatch.setattr(relay, "LINGER_SECONDS", 0.2)


def held():
    """What a call may leave behind: descriptors, timers, objects. Counters of a kind of call that
    was not seen before are no such thing."""
    gc.collect()
    counters = [each for each in gc.get_objects() if type(each).__module__.startswith(COUNTERS)]
    theirs = {id(each) for each in counters}
    for _ in range(3):
        # What a counter is made of, and what these things hold.
        counters = gc.get_referents(*counters) if counters else []
        counters = [
            each for each in counters if type(each) in (dict, list, tuple, partial, MethodType)
        ]
        theirs |= set(map(id, counters))
    objects = [
        each for each in gc.get_objects() if type(each) is not LOCK and id(each) not in theirs
    ]
    return len(os.listdir("/proc/self/fd")), len(reactor.getDelayedCalls()), len(objects)


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_of_many_calls(quick_close, tmp_path):
    random = Random(SEED)
    practice = PracticeBackend(reactor, pace=0.0)
    practice.start()
    broken = await BrokenBackends().listen(random, tmp_path)
    text, aliases = config(practice.url, broken)
    rig = await Rig().open(timeouts=None, config=text, site=own_site)
    rounds = []
    try:
        for _ in range(ROUNDS):
            outcomes = await carry_out(rig.port, plans(random, aliases, CALLS), at_once=16)
            assert sum(outcomes.values()) == CALLS
            assert set(outcomes) == {"complete", "in band", "error", "left"}
            await settled(lambda: len(reactor.getDelayedCalls()) <= 1, 2)
            assert rig.gauge() == 0
            ids = {access_fields(record)["request_id"] for record in rig.records}
            assert len(ids) == len(rig.records), "each call has one record"
            rig.records.clear()
            practice.received.clear()
            rounds.append(held())
    finally:
        await rig.close()
        await broken.close()
        await practice.stop()
    # Caches and counters of what is new fill in the first rounds; then all is level.
    before, after = rounds[4], rounds[-1]
    assert after[0] <= before[0], "descriptors"
    assert after[1] <= before[1], "timers"
    assert after[2] - before[2] < CALLS * (len(rounds) - 5), "an object for each call"
