"""One call through its targets, as the broker's loop would walk it."""

import random

import pytest

from lmbroker.call import Backend, End, Record, Target
from lmbroker.errors import (
    BackendRefused,
    Broken,
    BrokerError,
    ErrorInfo,
    Refused,
    TimedOut,
    Unreachable,
)
from lmbroker.routing.aliases import Route
from lmbroker.routing.breaker import BreakerRules
from lmbroker.routing.failover import Failovers
from lmbroker.routing.retries import Retries
from lmbroker.routing.target_health import Health


def refused():
    return Unreachable(ErrorInfo(kind="unreachable", message="no", code="refused"))


def died():
    return Broken(ErrorInfo(kind="bad_upstream", message="no", code="closed_before_headers"))


def answer(kind, status, code=None, **more):
    return BackendRefused(ErrorInfo(kind=kind, message="no", status=status, code=code, **more))


def overloaded(**more):
    return answer("overloaded", 503, **more)


def limited(**more):
    return answer("rate_limit", 429, **more)


def auth():
    return answer("bad_upstream", 401, "backend_auth")


def backend(name, ref=""):
    return Backend(name=name, url=f"http://{name}", dialect="openai", credential_ref=ref)


def route(names="abc", *, keys=None, strategy="ordered", fallback_on=(), **retries):
    return Route(
        name="alias",
        targets=tuple(Target(backend=backend(name), model="m") for name in names),
        keys={
            name: tuple(backend(name, ref) for ref in refs) for name, refs in (keys or {}).items()
        },
        strategy=strategy,
        retries=Retries(fallback_on=frozenset(fallback_on), **retries),
    )


class Calls:
    """The broker's loop over a clock that is only a number. ``tried`` has each attempt as
    (when, backend, key)."""

    def __init__(self, chance=None):
        self.failovers = Failovers(Health(BreakerRules()), chance or random.Random(5).random)
        self.now = 0.0
        self.calls = 0
        self.lacking = ()
        self.tried = []

    def call(self, route, *outcomes, key="", left=False, took=0.0, operation="chat"):
        """Walk one call; an outcome is an error, or None for an answer. Returns the error that
        the client sees, None for an answer."""
        self.calls += 1
        self.tried = []
        record = Record(
            id=str(self.calls), operation=operation, dialect="openai", opened_at=self.now
        )
        script = iter(outcomes)
        try:
            failover = self.failovers.begin(
                record, route, "asked", self.now, key=key, lacking=self.lacking
            )
            while True:
                target = failover.target(self.now)
                name, ref = target.backend.name, target.backend.credential_ref
                self.tried.append((self.now, name, ref))
                self.now += took
                error = next(script)
                if error is None:
                    failover.answered(self.now)
                    record.end = End(outcome="complete")
                    return None
                record.client_left = left
                self.now += failover.failed(error, self.now, 1e9 + self.now)
        except BrokerError as error:
            record.end = End(outcome="backend_error")
            return error
        finally:
            record.closed_at = self.now
            self.failovers.closed(record)

    @property
    def names(self):
        return "".join(name for _, name, _ in self.tried)

    @property
    def refs(self):
        return [ref for _, _, ref in self.tried]


@pytest.fixture
def calls():
    return Calls()


def test_the_first_target_answers_and_no_other_is_asked(calls):
    assert calls.call(route(), None) is None
    assert calls.names == "a"


def test_each_target_is_tried_once_in_order_without_a_pause(calls):
    error = calls.call(route(), refused(), overloaded(), limited())
    assert calls.names == "abc" and calls.now == 0.0
    assert error.info.kind == "rate_limit"
    assert error.info.message == "no (tried a: refused, b: overloaded, c: rate_limit)"


def test_an_ordered_list_is_kept_to_also_with_a_sticky_key(calls):
    for number in range(4):
        calls.call(route(), refused(), overloaded(), None, key=f"caller={number}")
        assert calls.names == "abc"


def test_not_more_attempts_than_the_rules_say(calls):
    calls.call(route("abcdef", attempts=4), *[refused() for _ in range(6)])
    assert calls.names == "abcd"


def test_no_attempt_begins_after_the_time_of_the_call(calls):
    error = calls.call(route(seconds=5), *[refused() for _ in range(3)], took=3.0)
    assert calls.names == "ab"
    assert error.info.message == "no (tried a: refused, b: refused)"


@pytest.mark.parametrize(
    "error",
    [
        died(),
        TimedOut(ErrorInfo(kind="timeout", message="no", code="timeout_headers")),
        answer("server", 500),
        answer("context_length", 400),
        answer("timeout", 504),
    ],
    ids=lambda error: error.info.code or error.info.kind,
)
def test_what_must_not_be_tried_again_is_told_as_it_came(calls, error):
    assert calls.call(route(), error) is error
    assert calls.names == "a" and error.info.message == "no"


def test_a_client_who_left_is_never_called_for_again(calls):
    calls.call(route(), refused(), left=True)
    assert calls.names == "a"


def test_the_last_words_stay_where_they_are_about_the_call(calls):
    error = calls.call(route(), refused(), answer("context_length", 400))
    assert calls.names == "ab" and error.info.message == "no"


def test_an_alias_may_fall_back_for_more(calls):
    rules = route(fallback_on=("context_length", "unsupported"))
    assert calls.call(rules, answer("context_length", 400), None) is None
    assert calls.names == "ab"
    assert calls.call(rules, Refused("unsupported", "cannot be carried"), None) is None
    assert calls.names == "ab"
    assert all(each.in_flight == 0 for each in calls.failovers.health.snapshot(0.0))


def test_a_call_that_we_refuse_leaves_nothing_behind(calls):
    error = Refused("unsupported", "cannot be carried")
    assert calls.call(route("a"), error) is error
    (status,) = (each for each in calls.failovers.health.snapshot(0.0) if each.backend == "a")
    assert (status.in_flight, status.attempts, status.state) == (0, 0, "closed")
    assert not calls.failovers._open


def test_a_target_that_cannot_be_told_is_passed_over(calls):
    calls.call(route("ab"), Refused("unsupported", "cannot be carried"), None)
    assert calls.names == "ab"


def test_targets_that_lack_something_are_tried_last(calls):
    calls.lacking = ("it takes no images", "", "it takes no PDFs")
    calls.call(route(), overloaded(), overloaded(), overloaded())
    assert calls.names == "bac"


# The same target again.


def test_one_target_is_not_tried_again_unless_the_rules_say_so(calls):
    calls.call(route("a"), overloaded())
    assert calls.names == "a" and calls.now == 0.0


def test_the_same_target_is_tried_again_after_a_growing_pause():
    calls = Calls(chance=lambda: 0.5)
    calls.call(route("a", same_target=3, attempts=4), *[overloaded() for _ in range(4)])
    assert calls.names == "aaaa"
    assert [when for when, _, _ in calls.tried] == pytest.approx([0, 0.25, 0.75, 1.75], abs=0.01)


def test_other_targets_come_before_the_same_one_again():
    calls = Calls(chance=lambda: 0.5)
    calls.call(route("ab", same_target=1, attempts=9), *[refused() for _ in range(9)])
    assert calls.names == "abab"
    assert calls.tried[1][0] == 0.0 and calls.tried[2][0] == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("error", [limited, overloaded])
def test_a_pause_is_as_long_as_the_backend_asks(calls, error):
    again = {"same_target": 1}
    assert calls.call(route("a", **again), error(retry_after_ms="2500"), None) is None
    assert calls.tried[1][0] == pytest.approx(2.5, abs=0.01)
    date = "Sun, 09 Sep 2001 01:46:50 GMT"  # 10 s after the wall clock's beginning
    calls = Calls()
    assert calls.call(route("a", longest_pause=20, **again), error(retry_after=date), None) is None
    assert calls.tried[1][0] == pytest.approx(10, abs=0.01)


def test_a_pause_above_the_limit_is_not_waited_for(calls):
    error = calls.call(route("a", same_target=1), limited(retry_after="11"))
    assert calls.names == "a" and calls.now == 0.0
    assert error.info.retry_after == "11"


def test_a_pause_that_the_time_of_the_call_does_not_hold_is_not_waited_for(calls):
    calls.call(route("a", same_target=1, seconds=3), limited(retry_after="4"))
    assert calls.names == "a" and calls.now == 0.0


def test_what_was_a_reason_for_another_target_only_is_none_for_the_same(calls):
    rules = route("a", same_target=2, fallback_on=("context_length",))
    calls.call(rules, answer("context_length", 400))
    assert calls.names == "a"


# Keys.

KEYS = {"a": ("one", "two", "three")}


def test_keys_are_used_in_turn(calls):
    refs = []
    for _ in range(6):
        calls.call(route("a", keys=KEYS), None)
        refs += calls.refs
    assert refs == ["one", "two", "three"] * 2


@pytest.mark.parametrize("error", [auth, limited, lambda: answer("billing", 402)])
def test_another_key_takes_over_and_the_refused_one_rests(calls, error):
    rules = route("ab", keys=KEYS)
    assert calls.call(rules, error(), None) is None
    assert calls.names == "aa" and calls.refs == ["one", "two"]
    refs = []
    for _ in range(4):
        calls.call(rules, None)
        refs += calls.refs
    assert refs == ["three", "two", "three", "two"]


def test_after_all_keys_comes_the_next_target_where_that_is_allowed(calls):
    rules = route("ab", keys={"a": ("one", "two")})
    assert calls.call(rules, limited(), limited(), None) is None
    assert calls.names == "aab"
    calls = Calls()
    error = calls.call(rules, auth(), auth(), auth())
    assert calls.names == "aab"
    assert error.info.code == "backend_auth" and error.info.should_retry == "false"


def test_a_fault_of_the_backend_is_no_reason_for_another_key(calls):
    assert calls.call(route("ab", keys=KEYS), overloaded(), None) is None
    assert calls.names == "ab"


def test_calls_that_belong_together_keep_their_key(calls):
    seen = {}
    for n in range(60):
        calls.call(route("a", keys=KEYS), None, key=f"session {n % 12}")
        seen.setdefault(n % 12, set()).update(calls.refs)
    assert all(len(refs) == 1 for refs in seen.values())
    assert set.union(*seen.values()) == {"one", "two", "three"}


def test_another_key_is_used_even_where_the_refused_one_need_not_rest(calls):
    rules = route("a", keys=KEYS)
    for n in range(12):
        key = f"session {n}"
        assert calls.call(rules, limited(retry_after="0"), None, key=key) is None
        assert len(set(calls.refs)) == 2


def test_when_all_keys_rest_the_one_that_is_free_soonest_is_tried(calls):
    rules = route("a", keys=KEYS)
    waits = [limited(retry_after=seconds) for seconds in ("60", "20", "40")]
    calls.call(rules, *waits)
    calls.call(rules, limited())
    assert calls.refs == ["two"]


def test_no_other_key_of_a_target_that_went_out_meanwhile(calls):
    rules = route("ab", keys=KEYS)
    record = Record(id="r", operation="chat", dialect="openai", opened_at=0.0)
    failover = calls.failovers.begin(record, rules, "m", 0.0)
    assert failover.target(0.0).backend.name == "a"
    calls.now = 1.0
    for _ in range(5):
        calls.call(rules, refused(), None)
    assert failover.failed(limited(), 2.0, 2.0) == 0.0
    assert failover.target(2.0).backend.name == "b"


# Health.


def test_a_target_that_is_out_is_passed_over(calls):
    for _ in range(5):
        calls.call(route(), refused(), None)
    calls.call(route(), None)
    assert calls.names == "b"
    calls.now = 15.0
    calls.call(route(), None)
    assert calls.names == "a"


def test_counting_tokens_says_nothing_about_a_target(calls):
    for _ in range(9):
        calls.call(route(), refused(), None, operation="count_tokens")
        assert calls.names == "ab"
    assert all(each.state == "closed" for each in calls.failovers.health.snapshot(0.0))
    for _ in range(5):
        calls.call(route(), refused(), None)
    calls.call(route(), None, operation="count_tokens")
    assert calls.names == "b"


def test_what_the_configuration_no_longer_names_is_forgotten(calls):
    for _ in range(5):
        calls.call(route(floor=5, share=0.0), refused(), None)
    calls.failovers.keep([route("a")])
    assert [each.backend for each in calls.failovers.health.snapshot(0.0)] == ["a"]
    assert calls.failovers.health.snapshot(0.0)[0].state == "open"
    calls.call(route("bc", floor=5, share=0.0), refused())
    calls.failovers.keep([])
    calls.call(route("bc", floor=5, share=0.0), refused(), None)
    assert calls.names == "bc"


def test_a_target_that_went_out_meanwhile_is_passed_over(calls):
    record = Record(id="r", operation="chat", dialect="openai", opened_at=0.0)
    failover = calls.failovers.begin(record, route("abc"), "m", 0.0)
    assert failover.target(0.0).backend.name == "a"
    for _ in range(5):
        calls.call(route("b"), refused())
    assert failover.failed(overloaded(), 1.0, 1.0) == 0.0
    assert failover.target(1.0).backend.name == "c"


def test_when_all_are_out_the_one_that_is_free_soonest_is_tried_and_no_other(calls):
    calls.call(route("ab"), limited(retry_after="60"), limited(retry_after="20"))
    calls.call(route("ab"), limited(retry_after="20"))
    assert calls.names == "b"


def test_a_second_try_goes_to_no_target_that_is_out(calls):
    for _ in range(5):
        calls.call(route("ab"), refused(), None)
    calls.call(route("b"), limited(retry_after="60"))
    calls.now = 20.0
    error = calls.call(route("ab"), refused())
    assert calls.names == "a" and error.info.message == "no"


def test_one_probe_at_a_time_the_others_go_elsewhere(calls):
    for _ in range(5):
        calls.call(route("ab"), refused(), None)
    records = [
        Record(id=f"r{n}", operation="chat", dialect="openai", opened_at=20.0) for n in range(3)
    ]
    failovers = [calls.failovers.begin(each, route("ab"), "m", 20.0) for each in records]
    assert [failover.target(20.0).backend.name for failover in failovers[:1]] == ["a"]
    later = [calls.failovers.begin(each, route("ab"), "m", 20.0) for each in records[1:]]
    assert [failover.target(20.0).backend.name for failover in later] == ["b", "b"]


def test_the_second_tries_of_an_alias_have_a_budget(calls):
    rules = route("ab", floor=3, share=0.0)
    for _ in range(3):
        assert calls.call(rules, overloaded(), None) is None
    assert calls.call(rules, overloaded()) is not None
    assert calls.names == "a"


def no_such_operation():
    return answer("unsupported", 501, should_retry="false")


def test_a_target_without_the_operation_is_passed_over_and_stays_in_service(calls):
    for _ in range(9):
        calls.call(route("ab"), no_such_operation(), None, operation="embeddings")
        assert calls.names == "ab"
    calls.call(route("ab"), no_such_operation(), no_such_operation(), operation="embeddings")
    assert all(each.state == "closed" for each in calls.failovers.health.snapshot(0.0))


@pytest.mark.parametrize("failing", ["embeddings", "completions"])
def test_failures_of_one_operation_say_nothing_about_chat(calls, failing):
    for _ in range(5):
        calls.call(route(), answer("server", 500), operation=failing)
    calls.call(route(), None, operation=failing)
    assert calls.names == "b"
    for operation in ("chat", "count_tokens"):
        calls.call(route(), None, operation=operation)
        assert calls.names == "a"
