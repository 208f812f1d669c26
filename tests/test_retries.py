"""What may be tried again, where, when, and how often."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmbroker.errors import (
    AttemptFailed,
    BackendRefused,
    Broken,
    ErrorInfo,
    Refused,
    TimedOut,
    Unreachable,
)
from lmbroker.routing.retries import (
    Budget,
    Failure,
    Retries,
    again,
    blame,
    elsewhere,
    lasting,
    pause,
    reported,
    retry_after,
)

RULES = Retries()
UNSAFE = Retries(unsafe=True)


def info(kind, code=None, status=0, **more):
    return ErrorInfo(kind=kind, message="words", code=code, status=status, **more)


def answered(status, kind, code=None, **more):
    return BackendRefused(info(kind, code, status, **more), phase="answer")


def first_event(kind, code=None, status=0):
    return BackendRefused(info(kind, code, status), phase="first_event")


REFUSED = Unreachable(info("unreachable", "refused"))
DNS = Unreachable(info("unreachable", "dns"))
TLS = Unreachable(info("unreachable", "tls"), phase="tls")
CONNECT_TIMEOUT = TimedOut(info("timeout", "timeout_connect"), sent=False)
BUSY = AttemptFailed(info("overloaded", "backend_busy", retry_after="1"), sent=False)
DIED = Broken(info("bad_upstream", "closed_before_headers"))
AUTH = answered(401, "bad_upstream", "backend_auth")

# failure, another target, the same one again, whose fault
TABLE = [
    (REFUSED, True, True, "target"),
    (DNS, True, True, "target"),
    (Unreachable(info("unreachable", "unreachable")), True, True, "target"),
    (TLS, True, False, "target"),
    (CONNECT_TIMEOUT, True, True, "target"),
    (BUSY, True, True, "nobody"),
    (answered(429, "rate_limit"), True, True, "key"),
    (answered(429, "billing", "insufficient_quota"), True, False, "key"),
    (answered(502, "server"), True, True, "target"),
    (answered(503, "overloaded"), True, True, "target"),
    (answered(503, "rate_limit", "slow_down"), True, True, "key"),
    (answered(529, "overloaded"), True, True, "target"),
    (answered(503, "overloaded", "backend_busy"), True, True, "target"),
    (first_event("overloaded"), True, True, "target"),
    (first_event("rate_limit"), True, True, "key"),
    (first_event("overloaded", status=503), True, True, "target"),
    (first_event("truncated", "upstream_stream_truncated"), True, True, "target"),
    (Broken(info("truncated"), phase="first_event"), True, True, "target"),
    (DIED, False, False, "target"),
    (first_event("server"), False, False, "target"),
    (first_event("timeout", "upstream_timeout"), False, False, "target"),
    (first_event("bad_upstream", "bad_upstream_response"), False, False, "target"),
    (Broken(info("truncated", "upstream_stream_truncated")), False, False, "target"),
    (Broken(info("bad_upstream", "truncated")), False, False, "target"),
    (Broken(info("bad_upstream", "bad_response")), False, False, "target"),
    (Broken(info("bad_upstream", "wrong_content_type")), False, False, "target"),
    (Broken(info("bad_upstream", "invalid_json_from_backend")), False, False, "target"),
    (TimedOut(info("timeout", "timeout_headers")), False, False, "target"),
    (TimedOut(info("timeout", "timeout_idle")), False, False, "target"),
    (answered(500, "server"), False, False, "target"),
    (answered(504, "timeout"), False, False, "target"),
    (answered(302, "bad_upstream", "redirect"), False, False, "target"),
    (AUTH, True, False, "key"),
    (answered(403, "permission"), True, False, "key"),
    (first_event("auth"), True, False, "key"),
    (answered(402, "billing"), True, False, "key"),
    (answered(400, "invalid_request"), False, False, "call"),
    (answered(400, "context_length", "context_length_exceeded"), False, False, "call"),
    (answered(500, "context_length"), False, False, "call"),
    (answered(400, "invalid_request", "content_filter"), False, False, "call"),
    (answered(503, "invalid_request", "content_filter"), False, False, "call"),
    (answered(404, "not_found"), False, False, "call"),
    (answered(409, "conflict"), False, False, "call"),
    (answered(413, "too_large"), False, False, "call"),
    (answered(422, "invalid_request"), False, False, "call"),
]


def named(value):
    if not isinstance(value, AttemptFailed):
        return ""
    return f"{type(value).__name__}-{value.info.status}-{value.info.code or value.info.kind}"


@pytest.mark.parametrize(("error", "other", "same", "whose"), TABLE, ids=named)
def test_what_may_be_tried_again_and_where(error, other, same, whose):
    assert elsewhere(error, RULES) is other
    assert again(error, RULES) is same
    assert blame(error) == whose


@pytest.mark.parametrize(("error", "other", "same", "whose"), TABLE, ids=named)
def test_unsafe_adds_the_connection_that_died_before_the_answer_and_nothing_else(
    error, other, same, whose
):
    assert elsewhere(error, UNSAFE) is (other or error is DIED)
    assert again(error, UNSAFE) is (same or error is DIED)


@pytest.mark.parametrize(
    ("word", "error"),
    [
        ("context_length", answered(400, "context_length")),
        ("content_filter", answered(400, "invalid_request", "content_filter")),
        ("timeout", TimedOut(info("timeout", "timeout_headers"))),
        ("500", answered(500, "server")),
        ("too_large", Refused("too_large", "a body above the bound")),
    ],
)
def test_the_alias_may_name_more_reasons_for_another_target_but_not_for_the_same(word, error):
    rules = Retries(fallback_on=frozenset({word}))
    assert not elsewhere(error, RULES)
    assert elsewhere(error, rules)
    assert not again(error, rules)
    assert not elsewhere(answered(404, "not_found"), rules)


def test_what_one_target_cannot_be_told_another_may_take():
    error = Refused("unsupported", "cannot be carried")
    assert elsewhere(error, RULES) and not again(error, RULES)


def test_an_error_without_code_or_status_is_not_named_by_an_empty_word():
    assert not elsewhere(first_event("server"), Retries(fallback_on=frozenset({"conflict"})))


def test_only_what_somebody_must_change_is_lasting():
    assert [named(each[0]) for each in TABLE if lasting(each[0])] == [
        named(each)
        for each in (
            TLS,
            answered(429, "billing", "insufficient_quota"),
            AUTH,
            answered(403, "permission"),
            first_event("auth"),
            answered(402, "billing"),
        )
    ]


# When.

WALL = 784111777.0  # Sun, 06 Nov 1994 08:49:37 GMT


@pytest.mark.parametrize(
    ("seconds", "milliseconds", "expected"),
    [
        (None, None, None),
        ("7", None, 7.0),
        (" 0.5 ", None, 0.5),
        ("-3", None, 0.0),
        ("7", "1500", 1.5),
        ("7", "soon", 7.0),
        (None, "250", 0.25),
        ("Sun, 06 Nov 1994 08:49:47 GMT", None, 10.0),
        ("Sunday, 06-Nov-94 08:49:47 GMT", None, 10.0),
        ("Sun Nov  6 08:49:47 1994", None, 10.0),
        ("Sun, 06 Nov 1994 08:49:00 GMT", None, 0.0),
        ("soon", None, None),
        ("", None, None),
        ("nan", None, None),
        ("inf", None, None),
        ("Sun, 06 Foo 1994 08:49:37 GMT", None, None),
        ("Sun, 06 Nov 99999 08:49:37 GMT", None, None),
        ("9" * 400, None, None),
    ],
)
def test_retry_after_in_every_form_that_backends_send(seconds, milliseconds, expected):
    error = info("rate_limit", retry_after=seconds, retry_after_ms=milliseconds)
    assert retry_after(error, WALL) == expected


@settings(deadline=None)
@given(st.text(max_size=40), st.text(max_size=10))
def test_no_header_text_breaks_retry_after(seconds, milliseconds):
    error = info("rate_limit", retry_after=seconds, retry_after_ms=milliseconds)
    found = retry_after(error, WALL)
    assert found is None or found >= 0


def test_a_pause_doubles_up_to_a_limit_and_its_jitter_is_full():
    rules = Retries(first_pause=0.5, longest_pause=3)
    assert [pause(tries, rules, lambda: 1.0) for tries in (1, 2, 3, 4, 99)] == [0.5, 1, 2, 3, 3]
    assert pause(3, rules, lambda: 0.0) == 0
    assert pause(3, rules, lambda: 0.25) == 0.5


# How often.


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=200),
    st.integers(0, 20),
    st.floats(0, 0.5),
)
def test_there_are_never_more_second_tries_than_the_budget_says(steps, floor, share):
    rules = Retries(floor=floor, share=share)
    budget = Budget()
    now, calls, tries = 100.0, 0, 0
    budget.calls += 1
    for seconds, call in steps:
        now += seconds
        if call:
            budget.calls += 1
            calls += 1
        else:
            tries += budget.spend(now, rules)
        assert tries <= floor + share * (calls + 1) + floor * (now - 100.0) / 60 + 1e-6


def test_a_slow_stream_of_calls_may_always_be_tried_again():
    """With one call a second and every first attempt failing, a minute's floor of 60 holds."""
    rules, budget = Retries(floor=60, share=0.0), Budget()
    for second in range(1000):
        budget.calls += 1
        assert budget.spend(float(second), rules)


def test_a_calm_time_saves_up_no_more_than_the_floor():
    rules, budget = Retries(floor=5, share=0.1), Budget()
    assert budget.spend(0.0, rules)
    budget.calls += 1000
    assert sum(budget.spend(999.0, rules) for _ in range(100)) == 5


def test_without_a_floor_the_share_alone_allows_second_tries():
    rules, budget = Retries(floor=0, share=0.125), Budget()
    tries = 0
    for _ in range(80):
        budget.calls += 1
        tries += budget.spend(0.0, rules)
    assert tries == 10


def test_no_floor_and_no_share_means_no_second_try():
    rules, budget = Retries(floor=0, share=0.0), Budget()
    budget.calls += 1
    assert not budget.spend(100.0, rules)


# What the client is told.


def failures(*errors, after=()):
    times = dict(enumerate(after))
    return [Failure(f"b{at}", error, times.get(at)) for at, error in enumerate(errors)]


def test_one_failure_is_told_as_it_came():
    native = (503, b'{"error": {}}')
    error = BackendRefused(info("overloaded", status=503), native=native)
    before = error.info
    assert reported(failures(error), listed=True) is error
    assert error.info == before and error.native == native


def test_where_all_failed_the_message_lists_them_and_the_last_kind_counts():
    first = Unreachable(info("unreachable", "refused"))
    last = BackendRefused(info("rate_limit", status=429), native=(429, b"{}"))
    error = reported(failures(first, last), listed=True)
    assert error is last and error.info.kind == "rate_limit" and error.info.status == 429
    assert error.info.message == "words (tried b0: refused, b1: rate_limit)"
    assert last.native is None


def test_where_the_last_failure_is_about_the_call_its_words_stay():
    """Coding agents act on the wording of a context overflow."""
    last = BackendRefused(info("context_length", status=400), native=(400, b"{}"))
    error = reported(failures(Unreachable(info("unreachable", "refused")), last), listed=False)
    assert error.info.message == "words" and last.native == (400, b"{}")


def test_the_soonest_retry_after_of_all_is_told():
    soon = answered(429, "rate_limit", retry_after="1")
    late = answered(503, "overloaded", retry_after="60", retry_after_ms="60000")
    error = reported(failures(soon, late, after=(1.0, 60.0)), listed=True)
    assert (error.info.retry_after, error.info.retry_after_ms) == ("1", None)


def test_the_client_is_told_not_to_try_again_only_where_nothing_will_pass():
    auth, tls = answered(403, "bad_upstream", "backend_auth"), Unreachable(TLS.info, phase="tls")
    assert reported(failures(auth), listed=False).info.should_retry == "false"
    assert reported(failures(tls, auth), listed=True).info.should_retry == "false"
    auth = answered(403, "bad_upstream", "backend_auth")
    assert (
        reported(failures(answered(503, "overloaded"), auth), listed=True).info.should_retry is None
    )
    assert (
        reported(failures(answered(503, "overloaded"), auth), listed=False).info.should_retry
        is None
    )
    said = answered(402, "billing", should_retry="true")
    assert reported(failures(said), listed=False).info.should_retry == "true"
