"""How much of its limits a backend has left, in both dialects."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai.rate_limits import duration, duration_text
from lmbroker.translation.rate_limit_headers import for_client

NOW = datetime(2026, 11, 23, 10, 0, 0, tzinfo=UTC).timestamp()

ANTHROPIC = {
    "anthropic-ratelimit-requests-limit": "4000",
    "anthropic-ratelimit-requests-remaining": "3999",
    "anthropic-ratelimit-requests-reset": "2026-11-23T11:02:03Z",
    "anthropic-ratelimit-tokens-limit": "400000",
    "anthropic-ratelimit-tokens-remaining": "390000",
    "anthropic-ratelimit-tokens-reset": "2026-11-23T10:00:00.250Z",
    "anthropic-ratelimit-input-tokens-limit": "300000",
    "anthropic-ratelimit-input-tokens-remaining": "299000",
    "anthropic-ratelimit-input-tokens-reset": "2026-11-23T10:00:01Z",
    "anthropic-ratelimit-output-tokens-remaining": "80000",
    "anthropic-ratelimit-unified-status": "allowed",
    "anthropic-priority-input-tokens-remaining": "1",
    "anthropic-fast-input-tokens-remaining": "1",
    "anthropic-organization-id": "org",
    "retry-after": "3",
}
OPENAI = {
    "x-ratelimit-limit-requests": "10000",
    "x-ratelimit-remaining-requests": "9999",
    "x-ratelimit-reset-requests": "1h2m3s",
    "x-ratelimit-limit-tokens": "200000",
    "x-ratelimit-remaining-tokens": "199000",
    "x-ratelimit-reset-tokens": "250ms",
    "openai-organization": "org",
    "cf-ray": "1",
}


def limits(headers, backend, client, now=NOW, *, expose_limits):
    sides = (ADAPTERS[name].facts.rate_limits for name in (backend, client))
    return for_client(headers, *sides, expose_limits=expose_limits, now=now)


def shown(headers, backend, client, now=NOW):
    return dict(limits(headers, backend, client, now, expose_limits=True))


def test_case_91_anthropics_limits_for_an_openai_client():
    assert shown(ANTHROPIC, "anthropic", "openai") == {
        "x-ratelimit-limit-requests": "4000",
        "x-ratelimit-remaining-requests": "3999",
        "x-ratelimit-reset-requests": "1h2m3s",
        "x-ratelimit-limit-tokens": "400000",
        "x-ratelimit-remaining-tokens": "390000",
        "x-ratelimit-reset-tokens": "250ms",
    }


def test_case_91_openais_limits_for_an_anthropic_client():
    assert shown(OPENAI, "openai", "anthropic") == {
        "anthropic-ratelimit-requests-limit": "10000",
        "anthropic-ratelimit-requests-remaining": "9999",
        "anthropic-ratelimit-requests-reset": "2026-11-23T11:02:03Z",
        "anthropic-ratelimit-tokens-limit": "200000",
        "anthropic-ratelimit-tokens-remaining": "199000",
        "anthropic-ratelimit-tokens-reset": "2026-11-23T10:00:01Z",
    }


def test_case_91_input_tokens_stand_in_where_tokens_are_not_counted_together():
    apart = {name: value for name, value in ANTHROPIC.items() if "-ratelimit-tokens-" not in name}
    told = shown(apart, "anthropic", "openai")
    assert told["x-ratelimit-limit-tokens"] == "300000"
    assert told["x-ratelimit-remaining-tokens"] == "299000"
    assert told["x-ratelimit-reset-tokens"] == "1s"


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize(("headers", "backend"), [(ANTHROPIC, "anthropic"), (OPENAI, "openai")])
def test_case_91_limits_are_hidden_unless_the_alias_shows_them(headers, backend, client):
    assert limits(headers, backend, client, expose_limits=False) == ()


def test_case_91_in_one_dialect_limits_pass_as_they_are():
    told = shown(ANTHROPIC, "anthropic", "anthropic")
    assert told == {
        name: value
        for name, value in ANTHROPIC.items()
        if name not in ("anthropic-organization-id", "retry-after")
    }
    odd = {"x-ratelimit-reset-tokens": "1700000000", "x-ratelimit-limit-requests-day": "5"}
    assert shown({**odd, "server": "x"}, "openai", "openai") == odd


@pytest.mark.parametrize("reset", ["", "soon", "2026-11-23T11:02:03", "17", "2026-13-45T00:00:00Z"])
def test_a_moment_that_cannot_be_read_is_left_out(reset):
    headers = {
        "anthropic-ratelimit-requests-limit": "1",
        "anthropic-ratelimit-requests-reset": reset,
    }
    assert shown(headers, "anthropic", "openai") == {"x-ratelimit-limit-requests": "1"}


@pytest.mark.parametrize("reset", ["", "soon", "17", "-1s", "1s2m", "9" * 30 + "h"])
def test_a_duration_that_cannot_be_read_is_left_out(reset):
    headers = {"x-ratelimit-limit-tokens": "1", "x-ratelimit-reset-tokens": reset}
    assert shown(headers, "openai", "anthropic") == {"anthropic-ratelimit-tokens-limit": "1"}


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h2m3s", 3723),
        ("250ms", 0.25),
        ("8.64s", 8.64),
        ("2m59.56s", 179.56),
        ("6m0s", 360),
        ("1d", 86400),
        ("0s", 0),
        ("1m30ms", 60.03),
    ],
)
def test_durations_are_read(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (3723, "1h2m3s"),
        (0.25, "250ms"),
        (8.64, "8.64s"),
        (360, "6m0s"),
        (3600, "1h0m0s"),
        (1, "1s"),
        (0.0004, "1ms"),
        (0, "0s"),
        (-5, "0s"),
    ],
)
def test_durations_are_written(seconds, text):
    assert duration_text(seconds) == text


@given(st.integers(0, 10**9))
def test_a_written_duration_reads_the_same(milliseconds):
    assert duration(duration_text(milliseconds / 1000)) == pytest.approx(milliseconds / 1000)


@given(st.floats(0, 4e9), st.floats(0, 1e6))
def test_a_reset_never_comes_too_early(now, seconds):
    """Rounded up, both ways: who waits as told waits long enough."""
    headers = {"x-ratelimit-reset-requests": f"{seconds:.3f}s"}
    [(name, reset)] = shown(headers, "openai", "anthropic", now).items()
    assert name == "anthropic-ratelimit-requests-reset"
    moment = datetime.fromisoformat(reset).timestamp()
    assert now + float(f"{seconds:.3f}") <= moment + 1e-6
    assert moment < now + seconds + 1.01
    back = shown({name: reset}, "anthropic", "openai", now)["x-ratelimit-reset-requests"]
    assert duration(back) == pytest.approx(moment - now, abs=0.002)
