"""The ledger of limits: buckets, windows of the calendar, leases and their holders."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from limit_store_laws import MIDNIGHT, bound

from lmbroker.routing.limit_ledger import NEVER, Ledger
from lmbroker.routing.limit_windows import drain_seconds, has_window, window_end

NOW = float(MIDNIGHT)
MINUTE = bound("requests", "minute", 60)
TOKENS = bound("tokens", "minute", 6000)
MONEY = bound("cost", "month", 1000)
PREPAID = bound("tokens", "never", 100)
SLOTS = bound("parallel", "never", 2)


def unix(*moment):
    return datetime(*moment, tzinfo=UTC).timestamp()


class Calls:
    """Names leases by themselves."""

    def __init__(self, ledger=None):
        self.ledger = ledger or Ledger()
        self.number = 0

    def reserve(self, bounds, needs, now=NOW, holder=""):
        self.number += 1
        return self.ledger.reserve(f"r{self.number}", bounds, needs, now, holder)

    def granted(self, bounds, needs, now=NOW):
        return self.reserve(bounds, needs, now).granted


# Windows.


@pytest.mark.parametrize(
    ("period", "now", "end"),
    [
        ("minute", (2026, 11, 29, 12, 0, 59), (2026, 11, 29, 12, 1)),
        ("hour", (2026, 11, 29, 23, 59, 59), (2026, 11, 30)),
        ("day", (2026, 2, 28, 5), (2026, 3, 1)),
        ("day", (2028, 2, 28, 5), (2028, 2, 29)),
        ("month", (2026, 11, 29, 12), (2026, 12, 1)),
        ("month", (2026, 12, 31, 23, 59, 59), (2027, 1, 1)),
        ("month", (2027, 1, 1), (2027, 2, 1)),
    ],
)
def test_a_window_ends_where_the_next_begins(period, now, end):
    assert window_end(period, unix(*now)) == unix(*end)
    assert window_end(period, unix(*end)) > unix(*end)
    assert window_end(period, unix(*end) - 0.001) == unix(*end)


@given(st.sampled_from(["minute", "hour", "day", "month"]), st.floats(0, 4e9))
def test_every_moment_lies_in_one_window(period, now):
    end = window_end(period, now)
    assert now < end <= now + 31 * 86_400 + 1
    assert window_end(period, end - 1e-3) == end


def test_rates_drain_and_sums_have_windows():
    assert drain_seconds(MINUTE) == 60 and drain_seconds(bound("tokens", "hour", 1)) == 3600
    for other in (bound("tokens", "day", 1), bound("cost", "minute", 1), MONEY):
        assert drain_seconds(other) == 0 and has_window(other)
    for other in (PREPAID, SLOTS):
        assert drain_seconds(other) == 0 and not has_window(other)


def test_money_comes_back_at_the_edge_and_not_a_moment_before():
    calls, edge = Calls(), unix(2026, 12, 1)
    assert calls.granted((MONEY,), (1000,), edge - 5)
    calls.ledger.settle("r1", (MONEY,), (1000,), edge - 4)
    refused = calls.reserve((MONEY,), (1,), edge - 0.001)
    assert not refused.granted and refused.retry_after == pytest.approx(0.001, rel=1e-3)
    assert calls.granted((MONEY,), (1000,), edge)


def test_what_is_in_flight_counts_in_the_window_in_which_it_ends():
    calls, edge = Calls(), unix(2026, 12, 1)
    assert calls.granted((MONEY,), (600,), edge - 1)
    assert not calls.granted((MONEY,), (600,), edge + 1)
    calls.ledger.settle("r1", (MONEY,), (100,), edge + 2)
    assert calls.ledger.read((MONEY,), edge + 2).remaining == (900,)


# Buckets.


def test_a_bucket_drains_evenly():
    calls = Calls()
    assert all(calls.granted((MINUTE,), (1,)) for _ in range(60))
    refused = calls.reserve((MINUTE,), (1,))
    assert (refused.granted, refused.refusing, refused.retry_after) == (False, (0,), 1.0)
    assert not calls.granted((MINUTE,), (1,), NOW + 0.99)
    assert calls.granted((MINUTE,), (1,), NOW + 1)
    assert not calls.granted((MINUTE,), (1,), NOW + 1.5)
    assert sum(calls.granted((MINUTE,), (1,), NOW + 61) for _ in range(99)) == 60


@given(
    st.integers(1, 10**7),
    st.lists(st.tuples(st.floats(0, 50), st.floats(0.01, 1)), min_size=1, max_size=30),
)
def test_who_comes_back_when_it_was_told_is_let_through(limit, steps):
    calls, tokens, now = Calls(), bound("tokens", "minute", limit), NOW
    for pause, share in steps:
        now += pause
        need = max(1, int(limit * share))
        decision = calls.reserve((tokens,), (need,), now)
        if not decision.granted:
            now += decision.retry_after
            assert calls.granted((tokens,), (need,), now)
        calls.ledger.settle(f"r{calls.number}", (tokens,), (need,), now)


# Leases.


def test_the_difference_goes_back():
    calls = Calls()
    assert calls.granted((PREPAID,), (90,))
    assert not calls.granted((PREPAID,), (90,))
    calls.ledger.settle("r1", (PREPAID,), (10,), NOW)
    assert calls.granted((PREPAID,), (90,))


def test_more_than_reserved_is_counted_as_well():
    calls = Calls()
    calls.reserve((PREPAID,), (10,))
    calls.ledger.settle("r1", (PREPAID,), (150,), NOW)
    assert calls.ledger.read((PREPAID,), NOW).remaining == (0,)
    refused = calls.reserve((PREPAID,), (1,))
    assert not refused.granted and refused.retry_after == NEVER
    assert calls.granted((PREPAID,), (0,))


def test_all_bounds_are_reserved_or_none():
    calls = Calls()
    calls.reserve((SLOTS,), (1,))
    calls.reserve((SLOTS,), (1,))
    refused = calls.reserve((PREPAID, SLOTS, MINUTE), (50, 1, 1))
    assert (refused.refusing, refused.retry_after) == ((1,), 1.0)
    assert calls.ledger.reserved() == {SLOTS.counter: 2}
    assert calls.ledger.read((MINUTE,), NOW).remaining == (60,)


def test_the_bound_that_refuses_longest_comes_first():
    calls = Calls()
    bounds = (SLOTS, PREPAID, TOKENS)
    assert calls.granted(bounds, (2, 100, 6000))
    calls.ledger.settle("other", bounds, (0, 100, 6000), NOW)
    refused = calls.reserve(bounds, (1, 1, 600))
    assert refused.refusing == (1, 2, 0) and refused.retry_after == NEVER
    refused = calls.reserve((SLOTS, TOKENS), (1, 600))
    assert refused.refusing == (1, 0) and refused.retry_after == pytest.approx(6)


def test_a_need_above_the_limit_is_refused_for_good():
    refused = Calls().reserve((TOKENS,), (6001,))
    assert not refused.granted and refused.retry_after == NEVER


def test_a_holder_that_is_gone_leaves_nothing_reserved():
    calls = Calls()
    calls.reserve((SLOTS, PREPAID), (1, 30), holder="worker 1")
    calls.reserve((SLOTS, PREPAID), (1, 30), holder="worker 2")
    calls.ledger.drop("worker 1")
    assert calls.ledger.reserved() == {SLOTS.counter: 1, PREPAID.counter: 30}
    calls.ledger.drop("nobody")
    # Its words that come late give nothing back, and count.
    calls.ledger.settle("r1", (SLOTS, PREPAID), (0, 20), NOW, "worker 1")
    assert calls.ledger.reserved() == {SLOTS.counter: 1, PREPAID.counter: 30}
    assert calls.ledger.read((PREPAID,), NOW).remaining == (50,)


def test_a_soft_bound_refuses_nothing_and_forgets_excesses():
    soft = bound("tokens", "minute", 60, soft=True)
    calls = Calls()
    for number in range(5):
        decision = calls.reserve((soft,), (50,))
        assert decision.granted and decision.over == ((0,) if number else ())
        calls.ledger.settle(f"r{number + 1}", (soft,), (50,), NOW)
    assert calls.reserve((soft,), (10,), NOW + 60).over == ()


# The clock, changes and restarts.


def test_a_clock_that_goes_back_grants_nothing_twice():
    calls, edge = Calls(), unix(2026, 12, 1)
    assert calls.granted((TOKENS, MONEY), (6000, 1000), edge + 100)
    calls.ledger.settle("r1", (TOKENS, MONEY), (6000, 1000), edge + 100)
    assert not calls.granted((MONEY,), (1,), edge - 100)
    assert not calls.granted((TOKENS,), (10,), edge - 100)
    assert calls.granted((TOKENS,), (6000,), edge - 40)


def test_a_changed_limit_keeps_what_was_used():
    calls = Calls()
    calls.reserve((MINUTE,), (60,))
    more = bound("requests", "minute", 90)
    assert calls.ledger.read((more,), NOW).remaining == (30,)
    less = bound("requests", "minute", 10)
    assert calls.ledger.read((less,), NOW).remaining == (0,)


def test_what_is_kept_is_as_it_was():
    calls = Calls()
    bounds = (MINUTE, MONEY, PREPAID, SLOTS)
    calls.reserve(bounds, (20, 100, 10, 1))
    calls.ledger.settle("r1", bounds, (0, 90, 5, 0), NOW)
    calls.reserve(bounds, (20, 100, 10, 1))
    assert calls.ledger.changed == {MINUTE.counter, MONEY.counter, PREPAID.counter}
    kept = list(calls.ledger.kept(calls.ledger.changed))
    after = Ledger(kept)
    assert after.read(bounds, NOW + 10).remaining == (30, 910, 95, 2)
    assert after.read((MONEY,), unix(2026, 12, 1)).remaining == (1000,)
