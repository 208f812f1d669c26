"""Thousands of calls at a store of limits, on a fake clock: they end, break off, die and wait."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from limit_store_laws import Time, World, bound

from lmbroker.limiting.store import LocalStore
from lmbroker.routing.limit_ledger import Ledger

BOUNDS = (
    bound("requests", "minute", 30),
    bound("requests", "never", 40_000),
    bound("tokens", "minute", 5_000),
    bound("tokens", "day", 400_000),
    bound("cost", "minute", 9_000),
    bound("cost", "month", 10**13),
    bound("parallel", "never", 5),
)
WAITING = (
    bound("parallel", "never", 3, wait=20.0),
    bound("tokens", "minute", 700, wait=30.0),
    bound("requests", "minute", 60, wait=5.0),
    bound("cost", "hour", 10**9),
)
SOFT = (bound("tokens", "minute", 100, soft=True), bound("parallel", "never", 2))


def world(bounds, seed):
    time = Time()
    return World(LocalStore(Ledger(), time.clock, time), time, bounds, seed)


def finish(here):
    here.drain()
    assert here.store.ledger.reserved() == {}
    assert here.store.ledger.leases == 0
    assert here.store.waiting == 0
    assert here.time.clock.getDelayedCalls() == []


@pytest.mark.parametrize("bounds", [BOUNDS, WAITING, SOFT], ids=["refusing", "waiting", "soft"])
def test_a_long_time_with_all_that_can_happen(bounds):
    here = world(bounds, seed=7)
    for _ in range(34_000):
        here.step()
    assert here.granted > 2_000
    assert here.refused > 1_000 or bounds is WAITING
    assert here.waited > 1_000 or bounds is not WAITING
    finish(here)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(BOUNDS + WAITING), min_size=1, max_size=5, unique_by=lambda b: b.counter
    ),
    st.integers(0, 2**32),
    st.integers(1, 120),
)
def test_whatever_happens_nothing_leaks_and_nothing_is_exceeded(bounds, seed, steps):
    here = world(bounds, seed)
    for _ in range(steps):
        here.step()
    finish(here)


def test_thousands_that_wait_and_end_at_once_are_no_recursion():
    time = Time()
    store = LocalStore(Ledger(), time.clock, time)
    slots = (bound("parallel", "never", 1, wait=60.0),)
    assert store.reserve("first", slots, (1,)).granted
    order = []

    def ends_at_once(decision, number):
        assert decision.granted
        order.append(number)
        store.settle(f"r{number}", slots, (0,))

    for number in range(1500):
        store.reserve(f"r{number}", slots, (1,)).addCallback(ends_at_once, number)
    store.settle("first", slots, (0,))
    assert order == list(range(1500))
    assert store.ledger.leases == 0 and time.clock.getDelayedCalls() == []
