"""What a backend's error says, whatever its shape."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.refusals import error_bodies
from lmbroker.translation.refusals.error_bodies import Said, limited, read, read_value
from lmbroker.translation.refusals.error_kinds import kind_of, stream_error
from lmbroker.workflows.conversion import backend_error


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            {"error": {"message": "No.", "type": "t", "param": "p", "code": "c"}},
            Said(message="No.", type="t", param="p", code="c"),
        ),
        (
            {"type": "error", "error": {"type": "t", "message": "No."}, "request_id": "r"},
            Said(message="No.", type="t", request_id="r"),
        ),
        (
            {"error": {"type": "t", "message": "No.", "details": {"error_code": "e"}}},
            Said(message="No.", type="t", details={"error_code": "e"}),
        ),
        ({"error": "No."}, Said(message="No.")),
        ({"error": "No.", "code": "c"}, Said(message="No.", code="c")),
        ({"detail": "No."}, Said(message="No.")),
        ({"detail": {"message": "No.", "code": "c"}}, Said(message="No.", code="c")),
        (
            {"detail": [{"loc": ["body", "n"], "msg": "bad", "input": 7}, {"msg": "worse"}]},
            Said(message="body.n: bad; worse", param="n"),
        ),
        ({"message": "No.", "type": "t", "code": "c"}, Said(message="No.", type="t", code="c")),
        ({"object": "error", "message": "No.", "code": 400}, Said(message="No.", status=400)),
        ([{"error": {"code": 429, "message": "No."}}], Said(message="No.", status=429)),
        ({"error": {"code": "401", "message": "No."}}, Said(message="No.", status=401)),
        ({"error": {"code": 1261, "message": "No."}}, Said(message="No.", code="1261")),
        ({"error": {"code": True, "message": "No."}}, Said(message="No.")),
        ({"error": {"message": None, "type": 3, "param": [], "code": {}}}, Said()),
        ({"error": {"code": "c", "message": {"a": 1}}}, Said(code="c")),
        (
            {"message": {"detail": [{"loc": ["body", "n"], "msg": "bad"}]}, "type": "t"},
            Said(message="body.n: bad", type="t", param="n"),
        ),
        ({"message": ["one", {"message": "two"}]}, Said(message="one; two")),
        (
            {"success": False, "errors": [{"code": 7009, "message": "No."}]},
            Said(message="No.", code="7009"),
        ),
        (
            {"base_resp": {"status_code": 2013, "status_msg": "No."}},
            Said(message="No.", code="2013", kind="invalid_request"),
        ),
        ({"error_code": "BAD", "message": "No."}, Said(message="No.", code="BAD")),
        ({"error": "No.", "error_type": "validation"}, Said(message="No.", type="validation")),
        (
            [{"error": {"message": "One."}}, {"error": {"message": "Two."}}],
            Said(message="One.; Two."),
        ),
        (
            {
                "error": {
                    "message": "Bad.",
                    "status": "INVALID_ARGUMENT",
                    "details": [
                        {"fieldViolations": [{"field": "seed", "description": "Unknown name."}]}
                    ],
                }
            },
            Said(message="Bad.\nseed: Unknown name.", type="INVALID_ARGUMENT"),
        ),
        (
            {"error": {"message": "Param Incorrect", "param": "max_tokens is too large"}},
            Said(message="Param Incorrect: max_tokens is too large"),
        ),
        ({"detail": {"error": {"message": "No.", "code": "c"}}}, Said(message="No.", code="c")),
        ("No.", Said(message="No.")),
        ([], Said()),
        (None, Said()),
        (7, Said()),
        ({}, Said()),
    ],
)
def test_case_85_every_shape_is_read(body, said):
    assert read_value(body) == said


def test_case_85_the_words_of_a_provider_behind_openrouter_count():
    raw = json.dumps({"error": {"message": "prompt is too long: 2 tokens > 1 maximum"}})
    body = {"error": {"message": "Provider returned error", "code": 400, "metadata": {"raw": raw}}}
    info = backend_error(ADAPTERS["openai"], 400, {}, json.dumps(body).encode())
    assert (info.kind, info.message) == (
        "context_length",
        "prompt is too long: 2 tokens > 1 maximum",
    )
    body["error"]["metadata"]["raw"] = "it is temporarily rate-limited"
    info = backend_error(ADAPTERS["openai"], 429, {}, json.dumps(body).encode())
    assert (info.kind, info.message) == (
        "rate_limit",
        "Provider returned error: it is temporarily rate-limited",
    )


def test_the_numbers_that_llama_cpp_gives_aside_are_told():
    body = {
        "error": {
            "code": 400,
            "message": "the request exceeds the available context size, try increasing it",
            "type": "exceed_context_size_error",
            "n_prompt_tokens": 5000,
            "n_ctx": 4096,
        }
    }
    info = backend_error(ADAPTERS["openai"], 400, {}, json.dumps(body).encode())
    _, told = ADAPTERS["anthropic"].encode_error(info, "r")
    assert told["error"]["message"] == "prompt is too long: 5000 tokens > 4096 maximum"


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (502, "HTTP 502 Bad Gateway"),
        (418, "HTTP 418 I'm a Teapot"),
        (529, "HTTP 529"),
        (0, "the backend reported an error"),
    ],
)
@pytest.mark.parametrize(
    "body", [b"", b"  \n", b"<html>", b"<!DOCTYPE html><p>x", b'<?xml version="1.0"?>', b"{}", b"3"]
)
def test_case_85_a_body_without_words_gives_the_words_of_its_status(body, status, text):
    assert read(status, body).message == text


def test_case_85_a_plain_text_is_the_message():
    assert read(503, b" no healthy upstream\n").message == "no healthy upstream"


@pytest.mark.parametrize(
    ("type", "code", "kind"),
    [
        ("rate_limit_error", "", "rate_limit"),
        ("", "rate_limit_exceeded", "rate_limit"),
        ("invalid_request_error", "rate_limit_exceeded", "rate_limit"),
        ("overloaded_error", "", "overloaded"),
        ("api_error", "", "server"),
        ("not_found_error", "", "not_found"),
        ("request_too_large", "", "too_large"),
        ("conflict_error", "", "conflict"),
        ("unheard_of", "neither", "server"),
        ("", "", "server"),
    ],
)
def test_inside_a_stream_type_and_code_decide(type, code, kind):
    assert kind_of(0, Said(type=type, code=code)) == kind


def test_with_a_status_a_general_type_does_not_decide():
    assert kind_of(404, Said(type="invalid_request_error")) == "not_found"
    assert kind_of(500, Said(type="invalid_request_error")) == "server"


def test_a_number_in_the_body_counts_where_there_is_no_status():
    assert kind_of(0, Said(status=429)) == "rate_limit"
    assert kind_of(503, Said(status=429)) == "overloaded"


@pytest.mark.parametrize(
    "message", ["Incorrect API key provided.", "Invalid API Key", "API key not valid. Please pass"]
)
def test_a_wrong_key_is_recognised_with_status_400_too(message):
    assert kind_of(400, Said(message=message)) == "auth"
    assert kind_of(429, Said(message=message)) == "rate_limit"
    assert kind_of(400, Said(message=f"The MCP server said: {message}")) == "invalid_request"


def test_an_error_without_words_inside_a_stream_has_some():
    assert stream_error({"error": {}}).message == "the backend broke the stream off with an error"


@given(st.text())
def test_a_message_is_at_most_4_kib_of_whole_characters(text):
    cut = limited(text * 50)
    assert len(cut.encode()) <= error_bodies.MESSAGE_BYTES
    whole = (text * 50).encode("utf-8", "replace").decode()
    assert whole.startswith(cut)
    assert len(whole) == len(cut) or len(cut.encode()) > error_bodies.MESSAGE_BYTES - 4


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["error", "message", "detail", "type", "code", "loc", "msg", "metadata", "raw"]
            ),
            inner,
        )
    ),
    max_leaves=12,
)


@given(st.integers(0, 700), JSONS)
def test_no_json_makes_it_fail(status, value):
    body = json.dumps(value).encode()
    for adapter in ADAPTERS.values():
        info = backend_error(adapter, status, {}, body)
        assert info.message
        assert len(info.message.encode()) <= error_bodies.MESSAGE_BYTES
        for other in ADAPTERS.values():
            json.dumps(other.encode_error(info, "r"))


@given(st.integers(0, 700), st.binary(max_size=64))
def test_no_bytes_make_it_fail(status, body):
    assert read(status, body).message


def test_lists_in_lists_are_no_trap():
    value = {"error": "No."}
    for _ in range(5000):
        value = [value]
    assert read_value(value).message == "No."
