"""Errors that a backend tells as JSON with status 200 in the place of an answer are errors, in each
way that a call may go: unary or streamed, passed through or translated."""

import json

import pytest

from lmbroker.call import Backend, Call, Target
from lmbroker.errors import BackendRefused, Broken
from lmbroker.routing.retries import Retries, elsewhere
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows import workflow_for

WAYS = [
    (client, backend, stream)
    for client in ADAPTERS
    for backend in ADAPTERS
    for stream in (False, True)
]

TOLD = [
    ({"error": {"type": "overloaded_error", "message": "WORDS"}}, "overloaded"),
    ({"type": "error", "error": {"type": "overloaded_error", "message": "WORDS"}}, "overloaded"),
    ({"error": {"type": "rate_limit_error", "message": "WORDS", "code": None}}, "rate_limit"),
    ({"error": {"code": 429, "message": "WORDS"}}, "rate_limit"),
    ({"error": {"code": 503, "message": "WORDS", "status": "UNAVAILABLE"}}, "overloaded"),
    ([{"error": {"code": 429, "message": "WORDS"}}], "rate_limit"),
    ({"error": {"type": "server_error", "message": "WORDS: model is overloaded"}}, "overloaded"),
    ({"error": {"code": 500, "message": "WORDS: model is overloaded"}}, "overloaded"),
    ({"error": "WORDS: at capacity"}, "overloaded"),
    ({"code": "1302", "msg": "WORDS", "success": False}, "rate_limit"),
    ({"error": {"code": "1305", "message": "WORDS"}}, "overloaded"),
    ({"error": {"code": 1302, "message": "WORDS"}}, "rate_limit"),
    ({"choices": None, "base_resp": {"status_code": 1002, "status_msg": "WORDS"}}, "rate_limit"),
    ({"base_resp": {"status_code": 1008, "status_msg": "WORDS"}}, "billing"),
    ({"object": "error", "message": "WORDS", "code": 503}, "overloaded"),
    ({"object": "error", "message": "WORDS: too many requests", "code": None}, "rate_limit"),
    ({"detail": "Too many requests, WORDS"}, "rate_limit"),
    ({"message": "WORDS: rate limit exceeded"}, "rate_limit"),
    ("WORDS: the server is busy", "overloaded"),
    (b"WORDS: too many requests", "rate_limit"),
    (
        {
            "choices": [
                {"message": {"role": "assistant", "content": ""}, "finish_reason": "error"}
            ],
            "error": {"code": 429, "message": "WORDS"},
        },
        "rate_limit",
    ),
]


def answered(client, backend, stream, body, operation="chat"):
    """What the way gives for an answer with this body."""
    request = {"model": "m", "max_tokens": 5, "stream": stream}
    request |= {"messages": [{"role": "user", "content": "x"}]}
    if client == "responses":
        request = {"model": "m", "stream": stream, "input": "x"}
    if operation != "chat":
        request = {"model": "m", "prompt": "x", "input": "x", "stream": stream}
    call = Call(
        id="r",
        operation=operation,
        dialect=client,
        asked="m",
        body=json.dumps(request).encode(),
        stream=stream,
    )
    where = Backend(name="b", url="http://b", dialect=backend)
    workflow = workflow_for(call, Target(backend=where, model="real"))
    workflow.outbound()
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return (workflow.unfold if stream else workflow.unary)(raw, now=0)


@pytest.mark.parametrize(("client", "backend", "stream"), WAYS)
@pytest.mark.parametrize(("body", "kind"), TOLD)
def test_the_next_target_is_tried_and_the_client_gets_the_words(
    client, backend, stream, body, kind
):
    with pytest.raises(BackendRefused) as told:
        answered(client, backend, stream, body)
    assert told.value.info.kind == kind
    assert "WORDS" in told.value.info.message
    assert elsewhere(told.value, Retries())


@pytest.mark.parametrize("operation", ["completions", "embeddings"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("body", "kind"), TOLD)
def test_so_it_is_for_the_other_operations(operation, stream, body, kind):
    with pytest.raises(BackendRefused) as told:
        answered("openai", "openai", stream, body, operation)
    assert told.value.info.kind == kind


@pytest.mark.parametrize(("client", "backend", "stream"), WAYS)
def test_another_error_is_one_of_the_backend_that_no_other_target_is_asked_for(
    client, backend, stream
):
    with pytest.raises(BackendRefused) as told:
        answered(client, backend, stream, {"error": {"message": "CUDA out of memory"}})
    assert told.value.info.kind == "server"
    assert not elsewhere(told.value, Retries())


@pytest.mark.parametrize(
    "more",
    [
        {"error": None},
        {"error": {}},
        {"error": {"message": "the last tokens are missing"}},
        {"base_resp": {"status_code": 0, "status_msg": ""}},
        {"base_resp": {"status_code": 1027, "status_msg": "output is sensitive"}},
        {"detail": "x", "message": "rate limit"},
        {"code": 200, "msg": "success"},
    ],
)
def test_whatever_stands_beside_an_answer_it_is_one(more):
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": "hi"},
        "finish_reason": "stop",
    }
    body = {"id": "c", "model": "m", "created": 1, "choices": [choice], **more}
    assert b"hi" in answered("openai", "openai", False, body).body


@pytest.mark.parametrize("body", [b"<html>overloaded</html>", b"the weather is fine", b"", b"[]"])
def test_other_texts_are_no_answer_and_nobodys_refusal(body):
    with pytest.raises(Broken):
        answered("openai", "openai", False, body)


def test_an_empty_message_of_anthropics_is_an_answer():
    body = {"type": "message", "role": "assistant", "id": "m", "model": "m", "content": []}
    body |= {"stop_reason": "end_turn", "usage": {"input_tokens": 1, "output_tokens": 0}}
    assert answered("anthropic", "anthropic", False, body).stop == "end"
