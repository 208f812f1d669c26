"""Which path a client meant."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.redaction import SHOWN
from lmbroker.server.request_paths import OPERATIONS, cause, meant, problem

SLIPS = [
    ("/chat/completions", "/v1/chat/completions"),
    ("/v1/v1/chat/completions", "/v1/chat/completions"),
    ("//v1/chat/completions", "/v1/chat/completions"),
    ("/v1//chat/completions", "/v1/chat/completions"),
    ("/v1/chat/completions/", "/v1/chat/completions"),
    ("/v1/v1/messages", "/v1/messages"),
    ("/messages", "/v1/messages"),
    ("/v1/v1/v1/messages/count_tokens", "/v1/messages/count_tokens"),
    ("/embeddings", "/v1/embeddings"),
    ("/models", "/v1/models"),
    ("/models/a/b", "/v1/models/a/b"),
    ("/v1/v1/models", "/v1/models"),
    ("/completions", "/v1/completions"),
    ("/responses", "/v1/responses"),
]
NOT_ONE_THING = [
    "/",
    "/v1",
    "/v1/v1",
    "/v1/chat",
    "/chat",
    "/api/v1/chat/completions",
    "/v2/chat/completions",
    "/v1/chat/completions/chat/completions",
    "/v1/messages/batches",
    "/v1x/messages",
    "/favicon.ico",
]


@pytest.mark.parametrize(("path", "served"), SLIPS)
def test_a_slip_that_can_mean_one_thing_only_is_that_thing(path, served):
    assert meant(path) == served


@pytest.mark.parametrize("path", [*NOT_ONE_THING, *(f"/v1{each}" for each in OPERATIONS)])
def test_nothing_else_is_read_in_another_way(path):
    assert meant(path) is None


@given(st.lists(st.sampled_from(["/", "v1", "/v1/", "chat", "models", "x", "\u202e"])).map("".join))
def test_what_is_meant_needs_no_further_reading(path):
    found = meant(path)
    if found is not None:
        assert meant(found) is None and found.startswith("/v1/")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/api/v1/chat/completions", "version_missing"),
        ("/v1/api/v1/messages", "version_twice"),
        ("/v1/chat/completions/chat/completions", "operation_twice"),
        ("/v1/chat/completions/v1/messages", "operation_twice"),
        ("/favicon.ico", "unknown"),
        ("", "unknown"),
    ],
)
def test_the_likely_cause_is_one_of_few_words(path, why):
    assert cause(path) == why
    assert repr(path) in problem(path)


@given(st.text(max_size=2000))
def test_a_message_shows_the_path_bounded_and_printable(path):
    text = problem(path)
    assert text.isprintable() and len(text) < 4 * SHOWN + 300
