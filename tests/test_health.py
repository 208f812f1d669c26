"""The breaker, rests, load and pace of targets and keys, on a clock that is only a number."""

from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmbroker.call import Backend, Target
from lmbroker.errors import AttemptFailed, BackendRefused, Broken, ErrorInfo, Unreachable
from lmbroker.routing.breaker import LEGAL, LONGEST_REST, Breaker, BreakerRules, Window
from lmbroker.routing.target_health import RATE_LIMIT_REST, STALE, Health, OpenAttempt

RULES = BreakerRules(failures=3, rate=0.5, least=10, window=60, open=15, open_lasting=300)
TARGET = Target(backend=Backend(name="b", url="http://b", dialect="openai"), model="m")


def unreachable():
    return Unreachable(ErrorInfo(kind="unreachable", message="", code="refused"))


def refused(kind, status, code=None):
    return BackendRefused(ErrorInfo(kind=kind, message="", status=status, code=code))


AUTH = refused("bad_upstream", 401, "backend_auth")
TLS = Unreachable(ErrorInfo(kind="unreachable", message="", code="tls"), phase="tls")
BUSY = AttemptFailed(ErrorInfo(kind="overloaded", message="", code="backend_busy"), sent=False)


class Seen:
    """A target, and attempts at it."""

    def __init__(self):
        self.health = Health(RULES)
        self.target = self.health.target(TARGET)

    def attempt(self, now, failure=None, *, ref="", took=0.0, after=None, outcome="complete"):
        attempt = self.health.opened(self.target, ref, now)
        self.health.attempted(attempt, now + took, failure, after)
        self.health.closed(attempt, now + took, outcome)

    def open_it(self, now=0.0):
        for _ in range(RULES.failures):
            self.attempt(now, unreachable())
        assert self.state == "open"

    @property
    def state(self):
        return self.target.breaker.state

    def free(self, now, *refs):
        return self.target.free(refs or ("",), now)


@pytest.fixture
def seen():
    return Seen()


# The breaker of a target.


def test_failures_in_a_row_open_it_and_an_answer_between_starts_anew(seen):
    for failure in (unreachable(), unreachable(), None, unreachable(), unreachable()):
        seen.attempt(1.0, failure)
    assert seen.state == "closed" and seen.free(1.0)
    seen.attempt(2.0, refused("server", 500))
    assert seen.state == "open" and not seen.free(2.0)
    assert seen.target.breaker.reason == "3 failures in a row, last server"


def test_an_answer_to_what_began_before_a_row_of_failures_does_not_break_it(seen):
    early = [seen.health.opened(seen.target, "", 0.0) for _ in range(9)]
    for n in range(RULES.failures):
        assert seen.state == "closed"
        seen.attempt(1.0 + n, unreachable())
        seen.health.attempted(early.pop(), 1.5 + n)
    assert seen.state == "open"


def test_a_share_of_failures_opens_it_though_never_many_in_a_row(seen):
    for n in range(9):
        seen.attempt(n * 5.0, unreachable() if n % 2 else None)
    assert seen.state == "closed"
    seen.attempt(45.0, unreachable())
    assert seen.state == "open"
    assert seen.target.breaker.reason == "5 of 10 attempts failed, last refused"


def test_failures_of_long_ago_do_not_count(seen):
    for n in range(100):
        seen.attempt(n * 10.0, unreachable() if n % 2 else None)
    assert seen.state == "closed"


def test_an_error_that_is_about_the_call_is_an_answer(seen):
    for _ in range(2):
        seen.attempt(0.0, unreachable())
    for _ in range(50):
        seen.attempt(0.0, refused("context_length", 400))
        seen.attempt(0.0, refused("not_found", 404))
    seen.attempt(0.0, unreachable())
    assert seen.state == "closed" and seen.free(0.0)


def test_our_own_full_queue_says_nothing_about_the_backend(seen):
    for _ in range(50):
        seen.attempt(0.0, BUSY, after=1.0)
    assert seen.state == "closed" and seen.free(0.0)


def test_one_probe_when_its_time_is_over(seen):
    seen.open_it()
    assert not seen.free(14.9)
    assert seen.free(15.0)
    probe = seen.health.opened(seen.target, "", 15.0)
    assert seen.state == "half_open" and not seen.free(15.0) and not seen.free(1000.0)
    seen.health.attempted(probe, 17.0)
    assert seen.state == "closed" and seen.free(17.0)


def test_a_failed_probe_opens_it_for_as_long_again(seen):
    seen.open_it()
    seen.attempt(20.0, unreachable(), took=1.0)
    assert seen.state == "open" and not seen.free(35.9) and seen.free(36.0)
    assert seen.target.breaker.reason == "the probe failed: refused"


def test_a_probe_whose_client_left_leaves_the_probe_to_the_next(seen):
    seen.open_it()
    probe = seen.health.opened(seen.target, "", 20.0)
    seen.health.closed(probe, 21.0, "client_left")
    assert seen.state == "open" and seen.free(21.0)
    assert seen.target.in_flight == seen.target.waiting == 0


def test_what_began_before_a_change_says_nothing_after_it(seen):
    early = [seen.health.opened(seen.target, "", 0.0) for _ in range(20)]
    seen.open_it(1.0)
    seen.health.attempted(early[0], 2.0)
    assert seen.state == "open"
    seen.attempt(16.0)
    assert seen.state == "closed"
    for attempt in early[1:]:
        seen.health.attempted(attempt, 18.0, unreachable())
    assert seen.state == "closed" and seen.target.in_flight == 1
    seen.health.closed(early[0], 19.0, "complete")
    assert seen.target.breaker.window.counts(19.0, 60.0) == (1, 0)
    seen.health.attempted(seen.health.opened(seen.target, "", 10.0), 20.0, TLS)
    assert seen.state == "closed"


def test_what_was_before_an_outage_does_not_count_after_it(seen):
    for n in range(8):
        seen.attempt(n * 0.1, unreachable() if n % 2 else None)
    seen.open_it(1.0)
    seen.attempt(16.0)
    for _ in range(2):
        seen.attempt(17.0, unreachable())
    assert seen.state == "closed"


def test_a_probe_that_meets_our_own_full_queue_leaves_the_probe_to_the_next(seen):
    seen.open_it()
    seen.attempt(20.0, BUSY)
    assert seen.state == "open" and seen.free(20.0)


def test_an_attempt_made_all_the_same_closes_it_when_it_is_answered(seen):
    seen.open_it()
    seen.attempt(5.0, unreachable())
    assert seen.state == "open" and seen.free(15.0)
    seen.attempt(6.0)
    assert seen.state == "closed" and seen.free(6.0)


def test_a_certificate_that_does_not_fit_opens_it_at_once_and_for_long(seen):
    seen.attempt(0.0, TLS)
    assert seen.state == "open" and not seen.free(299.0) and seen.free(300.0)


def test_streams_that_break_after_they_began_count_too(seen):
    for n in range(RULES.least):
        assert seen.state == "closed"
        seen.attempt(float(n), outcome="stream_error")
    assert seen.state == "open"
    assert seen.target.breaker.reason == "10 of 10 attempts failed, last stream_error"


def test_an_answer_whose_client_left_counts_neither_way(seen):
    for n in range(100):
        seen.attempt(float(n % 7), outcome="client_left")
    assert seen.target.breaker.window.counts(7.0, 60.0) == (0, 0)


# Rests.


def test_a_target_rests_as_long_as_it_asks_and_then_takes_all_calls(seen):
    seen.attempt(0.0, refused("overloaded", 503), after=4.0)
    assert seen.state == "closed" and not seen.free(3.9)
    assert seen.free(4.0)
    seen.health.opened(seen.target, "", 4.0)
    assert seen.free(4.0)


def test_a_shorter_rest_does_not_end_a_longer_one(seen):
    seen.attempt(0.0, refused("overloaded", 503), after=9.0)
    seen.attempt(0.0, refused("overloaded", 503), after=2.0)
    assert not seen.free(8.9)


def test_nobody_rests_for_ever(seen):
    seen.attempt(0.0, refused("rate_limit", 429), after=1e12)
    assert not seen.free(LONGEST_REST - 1) and seen.free(LONGEST_REST)


# Keys.


@pytest.mark.parametrize("failure", [AUTH, refused("billing", 402), refused("auth", 0)])
def test_a_key_that_is_refused_is_out_at_once_and_no_other(seen, failure):
    seen.attempt(0.0, failure, ref="one")
    assert seen.target.keys["one"].state == "open" and seen.state == "closed"
    assert not seen.free(0.0, "one") and seen.free(0.0, "one", "two")
    assert seen.free(300.0, "one")


def test_a_key_above_its_rate_rests_as_long_as_it_is_told(seen):
    seen.attempt(0.0, refused("rate_limit", 429), ref="one", after=30.0)
    seen.attempt(0.0, refused("rate_limit", 429), ref="two")
    assert seen.target.free_at(("one", "two")) == RATE_LIMIT_REST
    assert not seen.free(RATE_LIMIT_REST, "one") and seen.free(RATE_LIMIT_REST, "two")
    assert seen.free(30.0, "one")
    assert seen.state == "closed"


def test_the_probe_of_a_key_proves_it_or_not(seen):
    seen.attempt(0.0, AUTH, ref="one")
    seen.attempt(300.0, AUTH, ref="one")
    assert not seen.free(599.0, "one")
    seen.attempt(600.0, unreachable(), ref="one")
    assert seen.target.keys["one"].state == "open" and seen.free(600.0, "one")
    seen.health.closed(seen.health.opened(seen.target, "one", 600.0), 600.5, "client_left")
    assert seen.target.keys["one"].state == "open" and seen.free(600.5, "one")
    seen.attempt(601.0, refused("invalid_request", 400), ref="one")
    assert seen.target.keys["one"].state == "closed"


# Load and pace.


def test_an_attempt_is_in_flight_until_its_answer_ends(seen):
    attempt = seen.health.opened(seen.target, "", 0.0)
    assert (seen.target.in_flight, seen.target.waiting) == (1, 1)
    seen.health.attempted(attempt, 1.0)
    assert (seen.target.in_flight, seen.target.waiting) == (1, 0)
    for _ in range(2):
        seen.health.closed(attempt, 9.0, "complete")
        assert (seen.target.in_flight, seen.target.waiting) == (0, 0)


def test_pace_is_a_peak_that_sinks_to_the_mean(seen):
    seen.attempt(0.0, took=1.0)
    assert seen.target.first_event(1.0) == 1.0
    seen.attempt(1.0, took=4.0)
    assert seen.target.first_event(5.0) == 4.0
    for n in range(60):
        seen.attempt(5.0 + n, took=1.0)
    assert seen.target.first_event(65.0) == pytest.approx(1.0, abs=0.05)
    assert seen.target.first_event(65.0 + STALE + 1) is None


def test_what_is_not_known_is_tried_by_one_call_at_a_time(seen):
    assert seen.target.cost(0.0) == 0
    attempt = seen.health.opened(seen.target, "", 0.0)
    assert seen.target.cost(0.0) > 1e5
    seen.health.attempted(attempt, 2.0)
    assert seen.target.cost(2.0) == 4.0
    seen.health.closed(attempt, 3.0, "complete")
    assert seen.target.cost(3.0) == 2.0
    assert seen.target.cost(3.0 + STALE) == 0


def test_failures_measure_nothing(seen):
    seen.attempt(0.0, took=3.0)
    seen.attempt(3.0, unreachable(), took=0.001)
    assert seen.target.first_event(4.0) == 3.0


# What is told.


def test_the_snapshot_tells_states_times_and_reasons(seen):
    seen.open_it(1.0)
    seen.attempt(2.0, AUTH, ref="env:KEY")
    seen.health.opened(seen.target, "", 3.0)
    target, key = seen.health.snapshot(4.0)
    assert (target.backend, target.model, target.key) == ("b", "m", "")
    assert (target.state, target.since, target.free_at) == ("closed", 2.0, 0.0)
    assert (target.reason, target.in_flight) == ("", 1)
    assert (key.key, key.state, key.reason) == ("env:KEY", "open", "backend_auth")
    assert (key.since, key.free_at) == (2.0, 302.0)
    seen.attempt(5.0, refused("overloaded", 529), after=9.0)
    target = seen.health.snapshot(6.0)[0]
    assert (target.state, target.reason, target.free_at) == ("closed", "overloaded", 14.0)


def test_changes_are_kept_for_the_log(seen):
    seen.open_it(1.0)
    seen.attempt(20.0, took=1.0)
    told = [(each.at, each.before, each.after, each.reason) for each in seen.health.changes]
    why = "3 failures in a row, last refused"
    assert told == [
        (1.0, "closed", "open", why),
        (20.0, "open", "half_open", why),
        (21.0, "half_open", "closed", "answered"),
    ]


def test_a_model_that_stands_for_any_is_one_place_whatever_is_asked_for():
    health = Health()
    backend = Backend(name="b", url="http://b", dialect="openai")
    targets = {id(health.target(Target(backend=backend, model="*"))) for _ in range(3)}
    assert len(targets) == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.floats(0, 20), st.booleans()), max_size=300))
def test_a_window_forgets_and_stays_small(steps):
    window, now, added = Window(), 0.0, []
    for seconds, failed in steps:
        now += seconds
        window.add(now, 10.0, failed=failed)
        added.append((now, failed))
        assert len(window._slices) <= 11
    made, failed = window.counts(now, 10.0)
    certain = [each for each in added if now - each[0] < 9.0]
    possible = [each for each in added if now - each[0] < 10.0]
    assert len(certain) <= made <= len(possible)
    assert sum(each[1] for each in certain) <= failed <= sum(each[1] for each in possible)


# Laws.

EVENTS = ("begin", "answer", "complete", "fail", "fail lastingly", "give up", "rest", "wait")


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(EVENTS), st.integers(0, 5)), max_size=120))
def test_a_breaker_makes_legal_changes_only_and_has_one_probe_at_a_time(steps):
    changes = deque()
    breaker = Breaker(("b", "m", ""), changes)
    now, under_way, probes = 0.0, [], set()
    for event, number in steps:
        before = breaker.state
        attempt = under_way[number % len(under_way)] if under_way else None
        if event == "wait":
            now += number * 5.0
        elif event == "rest":
            breaker.rest(now, "asked", float(number))
        elif event == "begin":
            was_free = breaker.free(now)
            attempt = OpenAttempt(None, None, now)
            breaker.began(attempt, now)
            under_way.append(attempt)
            if before == "open" and breaker.state == "half_open":
                assert was_free or breaker.free_at() > now
                probes = {attempt}
                assert not breaker.free(now)
        elif attempt is None:
            continue
        elif event == "answer":
            breaker.answered(attempt, now)
        else:
            under_way.remove(attempt)
            if event == "complete":
                breaker.completed(attempt, now, RULES)
            elif event == "fail":
                breaker.failed(attempt, now, "reason", RULES)
            elif event == "fail lastingly":
                breaker.failed_lastingly(attempt, now, "reason", RULES)
            elif event == "give up":
                breaker.given_up(attempt, now)
        if before == "half_open" and breaker.state == "open" and event != "fail lastingly":
            assert attempt in probes
        if breaker.state == "half_open":
            assert probes & set(under_way)
            assert not breaker.free(now)
        assert 0 <= breaker.in_a_row < RULES.failures
    pairs = [(change.before, change.after) for change in changes]
    assert set(pairs) <= LEGAL
    for one, other in zip(changes, list(changes)[1:], strict=False):
        assert one.after == other.before and one.at <= other.at


@settings(deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(("open", "answer", "fail", "busy", "auth", "close", "leave")),
            st.integers(0, 9),
            st.floats(0, 10),
        ),
        max_size=150,
    )
)
def test_when_all_calls_ended_nothing_is_left_in_flight(steps):
    health = Health(RULES)
    target = health.target(TARGET)
    now, attempts = 0.0, []
    for event, number, seconds in steps:
        now += seconds
        if event == "open":
            attempts.append(health.opened(target, "env:KEY", now))
            continue
        if not attempts:
            continue
        attempt = attempts[number % len(attempts)]
        failures = {"fail": Broken(BUSY.info), "busy": BUSY, "auth": AUTH, "answer": None}
        if event in failures:
            health.attempted(attempt, now, failures[event])
        else:
            health.closed(attempt, now, "complete" if event == "close" else "client_left")
        assert 0 <= target.waiting <= target.in_flight <= len(attempts)
    for attempt in attempts:
        health.closed(attempt, now, "complete")
    assert target.waiting == target.in_flight == 0
    for breaker in (target.breaker, target.key("env:KEY")):
        assert breaker.state != "half_open"
        assert breaker.free(max(now, breaker.free_at()))


# Checks.


def check(seen, now, failure=None, *, began=None):
    seen.health.checked([TARGET, TARGET], now if began is None else began, now, failure)


def test_an_answered_check_takes_back_failed_ones_and_nothing_else(seen):
    """A backend that lists its models and answers no calls must be found out all the same."""
    seen.attempt(0.0, unreachable())
    for now in range(1, 20):
        check(seen, now, unreachable() if now % 2 else None)
    assert seen.state == "closed" and seen.target.breaker.in_a_row == 2
    check(seen, 20.0)
    assert seen.target.breaker.in_a_row == 1
    seen.attempt(21.0, unreachable())
    seen.attempt(22.0, unreachable())
    assert seen.state == "open"


def test_an_answered_call_ends_a_row_of_failed_checks(seen):
    for now in (1.0, 2.0):
        check(seen, now, unreachable())
    seen.attempt(3.0)
    for now in (4.0, 5.0):
        check(seen, now, unreachable())
    check(seen, 6.0)
    assert seen.target.breaker.in_a_row == 0 and seen.state == "closed"


def test_checks_say_nothing_about_the_share_of_calls_that_fail(seen):
    for n in range(9):
        seen.attempt(n * 1.0, unreachable() if n % 2 else None)
        for _ in range(9):
            check(seen, n * 1.0)
    seen.attempt(9.0, unreachable())
    assert seen.state == "open"


def test_no_call_goes_to_an_open_target_sooner_for_answered_checks(seen):
    seen.open_it(100.0)
    for now in range(101, 115):
        check(seen, now)
        assert not seen.free(now)
    assert seen.free(115.0)
    probe = seen.health.opened(seen.target, "", 115.0)
    check(seen, 116.0)
    check(seen, 117.0, unreachable())
    assert seen.state == "half_open"
    seen.health.attempted(probe, 118.0, unreachable())
    check(seen, 119.0)
    assert seen.state == "open" and not seen.free(132.9) and seen.free(133.0)


def test_a_failed_check_keeps_an_open_target_from_calls_until_one_is_answered(seen):
    seen.open_it(0.0)
    check(seen, 14.0, unreachable())
    assert not seen.free(28.9) and seen.free(29.0)
    check(seen, 20.0)
    assert seen.free(20.0) and seen.state == "open"
    seen.attempt(20.0)
    assert seen.state == "closed"


def test_a_check_that_began_before_the_last_change_is_no_evidence(seen):
    seen.open_it(10.0)
    check(seen, 20.0, unreachable(), began=9.0)
    assert seen.free(25.0)
    seen.attempt(25.0)
    for _ in range(9):
        check(seen, 26.0, unreachable(), began=24.0)
    assert seen.state == "closed" and seen.target.breaker.in_a_row == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["call", "fail", "check", "failed check"]), st.floats(0, 30))
    )
)
@settings(max_examples=200)
def test_with_checks_too_calls_that_fail_are_an_open_time_apart(events):
    """While every call fails, a target that has opened gets at most one per ``open`` seconds."""
    seen, now, last = Seen(), 0.0, None
    for kind, pause in events:
        now += pause
        if "check" in kind:
            check(seen, now, unreachable() if kind == "failed check" else None)
        elif seen.free(now):
            opened = seen.state != "closed"
            if opened and last is not None:
                assert now >= last + RULES.open
            seen.attempt(now, unreachable())
            if seen.state == "open":
                last = now


def test_a_failed_check_is_about_every_operation():
    health = Health(RULES)
    targets = [health.target(TARGET, each) for each in ("chat", "embeddings")]
    assert health.target(TARGET, "count_tokens") is targets[0] is not targets[1]
    for now in (1.0, 2.0, 3.0):
        health.checked([TARGET], now, now, unreachable())
    assert [each.breaker.state for each in targets] == ["open", "open"]
