"""Whole answers between dialects, and between one JSON body and an event stream.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

from collections.abc import Iterator
from typing import Any

import pytest
from streams import (
    A_END,
    JSON,
    REPLY,
    a_call,
    a_delta,
    a_ending,
    a_open,
    a_start,
    a_stop,
    a_stream,
    a_text,
    a_thought,
    check,
    o_call,
    o_chunk,
    o_stream,
    o_usage,
    payloads,
    read,
    run,
    translated,
)

from lmbroker import json_text
from lmbroker.errors import BackendRefused, Broken
from lmbroker.sse import EVENT_LIMIT
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.fold import TRUNCATED, fold
from lmbroker.translation.unified.parts import TextPart, ToolCallPart
from lmbroker.translation.unified.response import Response, Stop
from lmbroker.usage import Usage
from lmbroker.workflows import conversion

ROLE = {"role": "assistant", "content": ""}
CALL = '{"city":"Kyiv"}'

A_BODY: JSON = {
    "id": "msg_7",
    "type": "message",
    "role": "assistant",
    "model": "claude",
    "content": [
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {"type": "text", "text": "Hello"},
        {"type": "tool_use", "id": "t", "name": "weather", "input": {"city": "Kyiv"}},
    ],
    "stop_reason": "tool_use",
    "stop_sequence": None,
    "usage": {"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 4},
}
A_STREAM = a_stream(
    a_start(usage={"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 1}),
    *a_thought(0, "Hm.", "c2ln"),
    *a_text(1, "Hel", "lo"),
    *a_call(2, "t", "weather", CALL[:5], CALL[5:]),
    a_ending("tool_use"),
    A_END,
)
O_BODY: JSON = {
    "id": "chatcmpl-7",
    "object": "chat.completion",
    "created": 1790000000,
    "model": "gpt",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Hello",
                "reasoning_content": "Hm.",
                "tool_calls": [
                    {
                        "id": "c",
                        "type": "function",
                        "function": {"name": "weather", "arguments": CALL},
                    }
                ],
            },
            "finish_reason": "tool_calls",
        }
    ],
    "usage": o_usage(),
}
O_STREAM = o_stream(
    ROLE,
    {"reasoning_content": "Hm."},
    {"content": "Hel"},
    {"content": "lo"},
    o_call(CALL[:5], id="c", name="weather"),
    o_call(CALL[5:]),
    o_chunk(finish="tool_calls"),
    {**o_chunk(), "choices": [], "usage": o_usage()},
)
BODY = {"openai": O_BODY, "anthropic": A_BODY}
STREAM = {"openai": O_STREAM, "anthropic": A_STREAM}

pairs = pytest.mark.parametrize(
    ("client", "backend"), [(a, b) for a in BODY for b in BODY], ids=lambda name: name
)
each = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


def body_of(backend: str) -> bytes:
    return json_text.encode(BODY[backend])


def whole(client: str, backend: str) -> Any:
    """The direct result: a whole answer for a client who wants one."""
    response = conversion.response_of(ADAPTERS[backend], body_of(backend))
    return conversion.encode_unary(ADAPTERS[client], response, REPLY)


# One body and a stream of the same answer.


@pairs
def test_case_78_stream_for_a_client_who_wants_a_body(client: str, backend: str) -> None:
    found = conversion.fold(ADAPTERS[client], ADAPTERS[backend], STREAM[backend], REPLY)
    assert found == whole(client, backend)
    assert found.content_type == "application/json"
    assert (found.stop, found.usage) == ("tool_calls", whole(client, backend).usage)


@pairs
def test_case_78_body_for_a_client_who_wants_a_stream(client: str, backend: str) -> None:
    found = conversion.unfold(ADAPTERS[client], ADAPTERS[backend], body_of(backend), REPLY)
    check(client, found.body)
    direct = run(translated(backend, client), [STREAM[backend]])
    assert fold(read(client, [found.body])) == fold(read(client, [direct]))
    assert found.content_type == "text/event-stream; charset=utf-8"
    assert (found.stop, found.usage) == ("tool_calls", whole(client, backend).usage)


def test_the_first_event_for_an_anthropic_client_tells_the_prompt_of_a_body() -> None:
    found = conversion.unfold(
        ADAPTERS["anthropic"], ADAPTERS["anthropic"], body_of("anthropic"), REPLY
    )
    usage = payloads(found.body)[0]["message"]["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (9, 3)
    assert usage["output_tokens"] == 0


@each
def test_case_78_native_body_and_stream_say_the_same(dialect: str) -> None:
    adapter = ADAPTERS[dialect]
    folded = conversion.fold_stream(adapter, STREAM[dialect])
    response = conversion.response_of(adapter, body_of(dialect))
    assert folded.parts[:2] == response.parts[:2]
    assert (folded.id, folded.stop, folded.usage) == (response.id, response.stop, response.usage)


def test_broken_arguments_are_wrapped_for_who_needs_an_object() -> None:
    response = Response(
        id="x",
        model="m",
        parts=(ToolCallPart(id="c", name="f", raw_args="nonsense"),),
        stop=Stop(reason="tool_calls"),
    )
    stream = conversion.encode_stream(ADAPTERS["anthropic"], response, REPLY).body
    (part,) = fold(read("anthropic", [stream])).parts
    assert isinstance(part, ToolCallPart)
    assert part.args == {"INVALID_JSON": "nonsense"}
    stream = conversion.encode_stream(ADAPTERS["openai"], response, REPLY).body
    assert fold(read("openai", [stream])).parts == response.parts


def test_opaque_parts_survive_between_the_same_dialect() -> None:
    stream = a_stream(
        a_start(),
        a_open(0, "server_tool_use", id="s", name="web_search", input={}),
        a_delta(0, "input_json_delta", partial_json='{"q":"x"}'),
        a_stop(0),
        a_ending(),
        A_END,
    )
    adapter = ADAPTERS["anthropic"]
    found = json_text.decode(conversion.fold(adapter, adapter, stream, REPLY).body)
    assert found["content"] == [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": "x"}}
    ]


# Answers that are none.


@each
@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"<html>", b'"x"', b"\xff"])
def test_case_50_body_that_is_no_json_object(dialect: str, body: bytes) -> None:
    with pytest.raises(Broken) as caught:
        conversion.response_of(ADAPTERS[dialect], body)
    assert caught.value.info.kind == "bad_upstream"
    assert caught.value.info.code == "invalid_json_from_backend"


def test_blank_lines_before_a_body_are_skipped() -> None:
    """DeepSeek keeps connections alive with them."""
    response = conversion.response_of(ADAPTERS["openai"], b"\n\n \n" + body_of("openai"))
    assert response.id == "chatcmpl-7"


@each
def test_stream_that_is_cut_is_broken(dialect: str) -> None:
    for stream in (STREAM[dialect][:-300], b"", b": ping\n\n"):
        with pytest.raises(Broken) as caught:
            conversion.fold_stream(ADAPTERS[dialect], stream)
        assert caught.value.info.kind in (TRUNCATED.kind, "bad_upstream")


@each
def test_stream_that_is_nonsense_is_broken(dialect: str) -> None:
    with pytest.raises(Broken):
        conversion.fold_stream(ADAPTERS[dialect], b"data: {\n\n" + STREAM[dialect])


@each
def test_error_in_a_stream_is_the_backends_refusal(dialect: str) -> None:
    error = b'data: {"error":{"type":"overloaded_error","message":"Overloaded","code":529}}\n\n'
    begun, between, _ = STREAM[dialect][:-300].rpartition(b"\n\n")
    with pytest.raises(BackendRefused) as caught:
        conversion.fold_stream(ADAPTERS[dialect], begun + between + error)
    assert (caught.value.info.kind, caught.value.info.message) == ("overloaded", "Overloaded")


@each
def test_event_above_the_limit_is_broken(dialect: str) -> None:
    with pytest.raises(Broken) as caught:
        conversion.fold_stream(ADAPTERS[dialect], b"data: " + b"x" * (EVENT_LIMIT + 1))
    assert caught.value.info.code == "bad_upstream_response"


# Usage that nobody told.


def estimates() -> Iterator[tuple[tuple[Any, ...], int]]:
    yield (), 0
    yield (TextPart(text="x" * 44),), 13
    yield (TextPart(text="🙂" * 11),), 13
    yield (TextPart(text="Hello"), TextPart(text="No", refusal=True)), 5
    yield (ToolCallPart(id="c", name="f", args={"a": 1}, raw_args=" " * 18 + "{}"),), 22
    yield (ToolCallPart(id="c", name="f", args={"a": "x" * 28}),), 26
    yield (ToolCallPart(id="c", name="f", args={}),), 17
    yield (ToolCallPart(id="c", name="f", raw_args="ls", kind="custom"),), 18


@pytest.mark.parametrize(("parts", "output"), list(estimates()))
def test_case_47_missing_usage_is_estimated(parts: tuple[Any, ...], output: int) -> None:
    response = Response(id="x", model="m", parts=parts, stop=Stop(reason="end"))
    found = conversion.estimated(response, lambda: 7, 60)
    assert found.usage == Usage(input=7, output=output, estimated=True)


def test_case_47_usage_that_was_told_is_not_estimated() -> None:
    response = Response(id="x", model="m", parts=(), stop=Stop(reason="end"), usage=Usage())

    def never() -> int:
        raise AssertionError

    assert conversion.estimated(response, never) is response


def test_case_47_stream_and_body_are_estimated_alike() -> None:
    said = [{"content": "🙂 ü"}, {"reasoning": "x"}, o_call('{"a":1}', id="c", name="f")]
    stream = o_stream(ROLE, *said, o_chunk(finish="tool_calls"))
    transform = translated("openai", "anthropic")
    out = run(transform, [stream])
    response = conversion.fold_stream(ADAPTERS["openai"], stream)
    assert conversion.estimated(response, lambda: 7).usage == transform.usage
    assert payloads(out)[-2]["usage"]["input_tokens"] == 7
