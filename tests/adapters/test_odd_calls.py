"""Calls in the forms that backends really give them."""

import json
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
    check,
    completion,
    cuts,
    message,
    o_call,
    o_chunk,
    o_stream,
    run,
    translated,
)

from lmbroker import json_text
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.parts import TextPart, ToolCallPart

CALLS = o_chunk(finish="tool_calls")
ARGS = {"file_path": "/a"}
TEXT = json.dumps(ARGS)


def streamed(*deltas: JSON) -> list[Any]:
    """The calls that an Anthropic client gets, the same however the stream is cut."""
    found = []
    for chunks in cuts(o_stream(*deltas, CALLS)):
        out = run(translated("openai", "anthropic"), chunks)
        check("anthropic", out)
        found.append([block for block in message(out).content if block.type == "tool_use"])
    assert all([b.input for b in each] == [b.input for b in found[0]] for each in found)
    return found[0]


def whole(*calls: JSON) -> list[JSON]:
    answer = {"choices": [{"message": {"tool_calls": list(calls)}, "finish_reason": "tool_calls"}]}
    response = ADAPTERS["openai"].decode_response(answer)
    content: list[JSON] = ADAPTERS["anthropic"].encode_response(response, REPLY)["content"]
    return content


@pytest.mark.parametrize(
    ("told", "meant"),
    [
        ("null", {}),
        (None, {}),
        ("", {}),
        ("{}", {}),
        (" { } ", {}),
        (TEXT, ARGS),
        (ARGS, ARGS),
        (json.dumps(TEXT), ARGS),
        ("{}" + TEXT, ARGS),
        ("{ } {}\n" + TEXT, ARGS),
        ("[1]", {"INVALID_JSON": "[1]"}),
        (json.dumps("no object"), {"INVALID_JSON": '"no object"'}),
        ('{"a":1e400}', None),
    ],
)
def test_arguments_are_read_for_what_they_are(told: Any, meant: JSON | None) -> None:
    body = whole({"id": "c", "type": "function", "function": {"name": "f", "arguments": told}})
    if meant is not None:
        assert body[0]["input"] == meant
        assert streamed(o_call(told, id="c", name="f"))[0].input == meant
    assert b"null" not in json_text.encode(body)
    assert b"1e400" in json_text.encode(body) or meant is not None


@pytest.mark.parametrize(
    "pieces", [["{}", TEXT], ["{", "}", TEXT[:5], TEXT[5:]], ["{} ", " {}", TEXT]]
)
def test_an_empty_object_before_the_arguments_is_left_out(pieces: list[str]) -> None:
    first, *rest = pieces
    deltas = [o_call(first, id="c", name="f"), *(o_call(piece) for piece in rest)]
    assert [block.input for block in streamed(*deltas)] == [ARGS]


def test_an_empty_object_may_be_all() -> None:
    found = streamed(
        o_call("{}", index=0, id="c", name="f"), o_call(TEXT, index=1, id="d", name="g")
    )
    assert [block.input for block in found] == [{}, ARGS]


def test_very_many_empty_objects_are_no_work() -> None:
    deltas = [o_call("{}" * 50_000, id="c", name="f"), *(o_call("{") for _ in range(3))]
    transform = translated("openai", "anthropic")
    run(transform, [o_stream(*deltas, o_chunk(finish="length"))])
    assert transform.phase == "complete"


@pytest.mark.parametrize("ids", [["", ""], [None, None], ["c", "c"], ["c", ""], ["c", "c", "c"]])
def test_ids_are_unique_within_an_answer(ids: list[Any]) -> None:
    deltas = [o_call(TEXT, index=number, id=id, name=f"f{number}") for number, id in enumerate(ids)]
    calls = [delta["tool_calls"][0] for delta in deltas]
    for found in ([b.id for b in streamed(*deltas)], [b["id"] for b in whole(*calls)]):
        assert len(set(found)) == len(ids)
        assert all(found)
        assert found[0] == (ids[0] or found[0])


def test_ids_of_an_anthropic_backend_are_unique_too() -> None:
    events = [*a_call(0, "t", "f", "{}"), *a_call(1, "t", "g", "{}")]
    for chunks in cuts(a_stream(a_start(), *events, a_ending("tool_use"), A_END)):
        out = run(translated("anthropic", "openai"), chunks)
        check("openai", out)
        calls = completion(out).choices[0].message.tool_calls or []
        assert len({call.id for call in calls}) == 2
    blocks = [{"type": "tool_use", "id": "t", "name": name, "input": {}} for name in "fg"]
    parts = ADAPTERS["anthropic"].decode_response({"content": blocks}).parts
    assert [part.id for part in parts if isinstance(part, ToolCallPart)] == ["t", ""]


@pytest.mark.parametrize(
    ("given", "meant"),
    [(TEXT, TEXT), ("", "{}"), (None, "{}"), ("not json", "not json"), ([1], "[1]"), (ARGS, TEXT)],
)
def test_an_input_that_is_a_text_keeps_its_content(given: Any, meant: str) -> None:
    block = {"type": "tool_use", "id": "t", "name": "f", "input": given}
    body = {"content": [block], "stop_reason": "end_turn"}
    answer = ADAPTERS["anthropic"].decode_response(body)
    assert answer.stop.reason == "tool_calls", "end_turn beside a call"
    told = ADAPTERS["openai"].encode_response(answer, REPLY)["choices"][0]["message"]
    assert json.loads(json.dumps(told["tool_calls"][0]["function"]["arguments"])) in (
        meant,
        meant.replace(": ", ":"),
    )
    events = [a_open(0, "tool_use", id="t", name="f", input=given), a_stop(0)]
    for chunks in cuts(a_stream(a_start(), *events, a_ending(), A_END)):
        out = run(translated("anthropic", "openai"), chunks)
        check("openai", out)
        calls = completion(out).choices[0].message.tool_calls or []
        assert calls[0].function.arguments in (meant, meant.replace(": ", ":"))


def test_arguments_in_deltas_follow_an_empty_input() -> None:
    delta = a_delta(0, "input_json_delta", partial_json=TEXT)
    events = [a_open(0, "tool_use", id="t", name="f", input={}), delta, a_stop(0)]
    out = run(translated("anthropic", "openai"), [a_stream(a_start(), *events, a_ending(), A_END)])
    assert (completion(out).choices[0].message.tool_calls or [])[0].function.arguments == TEXT


# Choices.

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": TEXT}}


@pytest.mark.parametrize(
    "marks", [[{}, {}], [{"index": 0}, {"index": 0}], [{"index": 0}, {"index": 1}]]
)
def test_text_and_calls_in_two_choices_are_one_message(marks: list[JSON]) -> None:
    body = {
        "choices": [
            {**marks[0], "finish_reason": "stop", "message": {"content": "I look."}},
            {**marks[1], "finish_reason": "tool_calls", "message": {"tool_calls": [CALL]}},
        ]
    }
    reading = Reading()
    answer = ADAPTERS["openai"].decode_response(body, reading)
    text, call = answer.parts
    assert text == TextPart(text="I look.")
    assert isinstance(call, ToolCallPart)
    assert (call.id, call.args) == ("c", ARGS)
    assert answer.stop.reason == "tool_calls"
    assert reading.losses.dropped == ()


def test_another_text_is_another_answer_and_dropped_with_a_word() -> None:
    choices = [
        {"index": n, "finish_reason": "stop", "message": {"content": f"{n}"}} for n in (1, 0)
    ]
    reading = Reading()
    answer = ADAPTERS["openai"].decode_response({"choices": choices}, reading)
    assert answer.parts == (TextPart(text="0"),)
    assert reading.losses.dropped == ("choices[]",)


def test_a_message_that_was_cut_in_one_choice_was_cut() -> None:
    choices = [
        {"index": 0, "finish_reason": "stop", "message": {"content": "I look."}},
        {"index": 1, "finish_reason": "length", "message": {"tool_calls": [CALL]}},
    ]
    assert ADAPTERS["openai"].decode_response({"choices": choices}).stop.reason == "max_tokens"


def test_text_and_calls_in_two_choices_of_a_stream_are_one_message() -> None:
    calls = {**o_chunk(o_call(TEXT, id="c", name="f"), "tool_calls")}
    calls["choices"][0]["index"] = 1
    found = []
    for chunks in cuts(o_stream({"content": "I look."}, calls, o_chunk(finish="stop"))):
        out = run(translated("openai", "anthropic"), chunks)
        check("anthropic", out)
        found.append(message(out))
    for each in found:
        assert [block.type for block in each.content] == ["text", "tool_use"]
        assert each.stop_reason == "tool_use"
