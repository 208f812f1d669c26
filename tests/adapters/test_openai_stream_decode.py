"""OpenAI chunks -> events: every backend that nearly speaks the dialect tells the same answer.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from streams import JSON, decoded, o_call, o_chunk, o_stream, o_usage, read

from lmbroker.errors import ErrorInfo
from lmbroker.sse import Frame
from lmbroker.translation.dialects.openai_chat import stream_decode
from lmbroker.translation.dialects.openai_chat.stream_decode import OpenAIDecoder
from lmbroker.translation.unified.fold import TRUNCATED, fold
from lmbroker.translation.unified.parts import (
    Part,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response, Stop
from lmbroker.translation.unified.stream import (
    Error,
    Finish,
    PartDelta,
    PartStart,
    PartStop,
    Ping,
    Start,
    StreamEvent,
)
from lmbroker.usage import Usage

WIRE = Path(__file__).parents[1] / "wire" / "openai"
ROLE = {"role": "assistant", "content": ""}
STOP = o_chunk(finish="stop")
CALLS = o_chunk(finish="tool_calls")


def events_of(*items: JSON | str, done: bool = True) -> list[StreamEvent]:
    return decoded("openai", o_stream(*items, done=done))


def answer(*items: JSON | str, done: bool = True) -> Response:
    return fold(events_of(*items, done=done))


def parts(*items: JSON | str, finish: str = "stop") -> tuple[Part, ...]:
    return answer(ROLE, *items, o_chunk(finish=finish)).parts


def calls(*items: JSON | str) -> list[tuple[str, str, str | None]]:
    """(id, name, arguments) of the calls; nothing else is told."""
    found = parts(*items)
    assert all(isinstance(part, ToolCallPart) for part in found)
    return [(part.id, part.name, part.raw_args) for part in found]  # type: ignore[union-attr]


def error(*items: JSON | str, done: bool = True) -> ErrorInfo:
    last = events_of(*items, done=done)[-1]
    assert isinstance(last, Error)
    return last.error


def function(id: str, name: str, raw: str) -> ToolCallPart:
    return ToolCallPart(id=id, name=name, args=json.loads(raw), raw_args=raw)


SAID = TextPart(text="Hello")


# The form of a stream.


def test_stream_becomes_events() -> None:
    first = o_chunk(ROLE, service_tier="default")
    assert events_of(first, {"content": "Hel"}, {"content": "lo"}, STOP) == [
        Start("chatcmpl-7", "gpt", None, 1790000000, "standard"),
        PartStart(0, TextPart(text="")),
        PartDelta(0, "text", "Hel"),
        PartDelta(0, "text", "lo"),
        PartStop(0),
        Finish(Stop(reason="end", raw="stop"), None, "standard"),
    ]


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.sse")), ids=lambda path: path.stem)
def test_sample_is_decoded(path: Path) -> None:
    events = decoded("openai", path.read_bytes())
    if path.stem.startswith("error"):
        assert isinstance(events[-1], Error)
        assert events[-1].error.kind == "overloaded"
        return
    response = fold(events)
    expected: dict[str, tuple[Part, ...]] = {
        "custom-call": (ToolCallPart(id="call_1", name="shell", raw_args="ls", kind="custom"),),
        "function-call": (function("", "clock", "{}"),),
        "no-usage": (TextPart(text="Hi"),),
        "parallel-calls": (
            TextPart(text="Looking."),
            function("call_1", "weather", '{"city":"Kyiv"}'),
            function("call_2", "clock", "{}"),
        ),
        "refusal": (TextPart(text="I will not.", refusal=True),),
        "text": (TextPart(text="Grüße, Welt\u2028🙂"),),
        "two-choices": (TextPart(text="heads"),),
    }
    if path.stem == "reasoning":
        reasoning, text = response.parts
        assert isinstance(reasoning, ReasoningPart)
        assert reasoning.text == "Hm, yes."
        assert text == TextPart(text="Yes.")
    else:
        assert response.parts == expected[path.stem]
    assert (response.usage is None) == (path.stem == "no-usage")


def test_only_the_choice_of_index_0_counts() -> None:
    other = {"index": 1, "delta": {"content": "No"}, "finish_reason": None}
    both = o_chunk({"content": "lo"})
    both["choices"].insert(0, other)
    alone = {**o_chunk(), "choices": [{**other, "finish_reason": "length"}]}
    assert answer(ROLE, alone, {"content": "Hel"}, both, STOP).parts == (SAID,)


@pytest.mark.parametrize(
    "late",
    [
        o_chunk({"content": "late"}),
        {"error": {"message": "late"}, "choices": []},
        ": late",
        "data: [DONE]",
        "data: {",
    ],
)
def test_data_after_the_end_is_ignored(late: JSON | str) -> None:
    stream = o_stream(ROLE, {"content": "Hello"}, STOP)
    assert decoded("openai", stream + o_stream(late)) == decoded("openai", stream)


def test_nothing_follows_an_error() -> None:
    decoder = OpenAIDecoder()
    assert len(decoder.feed(Frame("", b"{"))) == 1
    assert decoder.feed(Frame("", json.dumps(o_chunk(ROLE)).encode())) == []
    assert decoder.close() == []


def test_empty_data_is_nothing() -> None:
    assert answer("data:", ROLE, "data:", {"content": "Hello"}, STOP).parts == (SAID,)


# Quirks.


def test_case_59_chunk_without_choices_comes_first() -> None:
    azure = {"choices": [], "created": 0, "id": "", "model": "", "object": ""}
    events = events_of({**azure, "prompt_filter_results": []}, ROLE, {"content": "Hello"}, STOP)
    assert events[0] == Start("chatcmpl-7", "gpt", None, 1790000000, None)


def test_case_59_role_in_every_chunk_and_nulls_beside_the_text() -> None:
    rest = {"role": "assistant", "reasoning_content": None, "tool_calls": None, "refusal": None}
    assert parts({**rest, "content": "Hel"}, {**rest, "content": "lo"}) == (SAID,)


def test_case_59_content_as_list() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    found = parts(
        {"content": [thinking]},
        {"content": [{"type": "text", "text": "Hel"}, {"type": "reference", "ids": [1]}]},
        {"content": [{"type": "text", "text": "lo"}]},
    )
    signature = Signature(origin="text", field="content")
    assert found == (ReasoningPart(text="Hm.", signature=signature), SAID)


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_case_59_reasoning_has_two_names(key: str) -> None:
    found = parts({key: "H"}, {key: "m.", "content": None}, {"content": "Hello", key: ""})
    field = "" if key == "reasoning_content" else key
    signature = Signature(origin="text", field=field)
    assert found == (ReasoningPart(text="Hm.", signature=signature), SAID)


def test_reasoning_told_under_both_names_is_told_once() -> None:
    """And reasoning, content and a call may come in one chunk."""
    both = {"reasoning": "H", "reasoning_content": "H"}
    found = parts(
        both,
        {"reasoning": "m.", "reasoning_content": "m."},
        {"reasoning": " So", "content": "Hel"},
        {"content": "lo", **o_call("{}", id="c", name="f")},
    )
    assert found == (
        ReasoningPart(text="Hm. So", signature=Signature(origin="text")),
        SAID,
        function("c", "f", "{}"),
    )


def test_case_59_finish_stop_with_calls_is_tool_calls() -> None:
    response = answer(ROLE, o_call("{}", id="c", name="f"), STOP)
    assert response.stop == Stop(reason="tool_calls", raw="stop")


def test_finish_tool_calls_without_a_call_is_the_end() -> None:
    response = answer(ROLE, {"content": "Hello"}, CALLS)
    assert response.stop == Stop(reason="end", raw="tool_calls")


# Reasoning details.


def details(part: Part) -> Any:
    assert isinstance(part, ReasoningPart) and part.signature is not None
    assert part.signature.origin == "details"
    return json.loads(part.signature.value)


def test_reasoning_details_are_kept_for_replay() -> None:
    def said(**entry: Any) -> JSON:
        return {"reasoning_details": [{"type": "reasoning.text", "index": 0, **entry}]}

    found = parts(
        {"reasoning": "Hm, ", **said(text="Hm, ", format="anthropic-claude-v1", signature=None)},
        {"reasoning": "yes.", **said(text="yes.")},
        said(signature="c2ln"),
        {"content": "Hello"},
    )
    assert isinstance(found[0], ReasoningPart)
    assert found[0].text == "Hm, yes."
    assert details(found[0]) == [
        {
            "type": "reasoning.text",
            "index": 0,
            "text": "Hm, yes.",
            "format": "anthropic-claude-v1",
            "signature": "c2ln",
        }
    ]
    assert found[1] == SAID


def test_reasoning_details_by_index_and_type() -> None:
    text, summary, opaque = "reasoning.text", "reasoning.summary", "reasoning.encrypted"
    found = parts(
        {"reasoning_details": [{"type": text, "index": 0, "text": "a"}]},
        {"reasoning_details": [{"type": text, "index": 1, "text": "x"}]},
        {"reasoning_details": [{"type": text, "index": 0, "text": "b"}]},
        {"reasoning_details": [{"type": summary, "index": 0, "summary": "s"}]},
        {"reasoning_details": [{"type": opaque, "index": 0, "data": "1"}]},
        {"reasoning_details": [{"type": opaque, "index": 0, "data": "2"}]},
    )
    (part,) = found
    assert isinstance(part, ReasoningPart)
    assert part.text == "axbs"
    assert details(part) == [
        {"type": text, "index": 0, "text": "ab"},
        {"type": text, "index": 1, "text": "x"},
        {"type": summary, "index": 0, "summary": "s"},
        {"type": opaque, "index": 0, "data": "1"},
        {"type": opaque, "index": 0, "data": "2"},
    ]


def test_reasoning_details_without_index() -> None:
    text, opaque = "reasoning.text", "reasoning.encrypted"
    (part,) = parts(
        {"reasoning_details": [{"type": text, "text": "Hm, "}]},
        {"reasoning_details": [{"type": text, "text": "yes.", "signature": "c2ln"}]},
        {"reasoning_details": [{"type": text, "text": "Then"}]},
        {"reasoning_details": [{"type": opaque, "data": "1"}]},
        {"reasoning_details": [{"type": opaque, "data": "2"}]},
        {"reasoning_details": "nonsense"},
        {"reasoning_details": ["nonsense", {"type": ["odd"]}]},
    )
    assert details(part) == [
        {"type": text, "text": "Hm, yes.", "signature": "c2ln"},
        {"type": text, "text": "Then"},
        {"type": opaque, "data": "1"},
        {"type": opaque, "data": "2"},
        {"type": ["odd"]},
    ]


def test_encrypted_reasoning_alone_is_a_part() -> None:
    entry = {"type": "reasoning.encrypted", "index": 0, "data": "b3BhcXVl", "id": "r1"}
    found = parts({"reasoning_details": [entry]}, {"content": "Hello"})
    assert isinstance(found[0], ReasoningPart)
    assert found[0].text == ""
    assert details(found[0]) == [entry]


# Calls.


def test_call_streams_as_it_comes() -> None:
    args = ['{"ci', 'ty":"Ky', 'iv"}']
    fragments = [o_call(text) for text in args]
    events = events_of(ROLE, o_call(id="call_1", name="weather"), *fragments, CALLS)
    assert events[1:6] == [
        PartStart(0, ToolCallPart(id="call_1", name="weather")),
        *(PartDelta(0, "args", text) for text in args),
        PartStop(0),
    ]


def test_text_before_a_call_is_closed_when_the_call_begins() -> None:
    stream = o_stream(ROLE, {"content": "Hello"}, o_call(id="c", name="f"), done=False)
    events = read("openai", [stream])
    assert events[3:] == [
        PartStop(0),
        PartStart(1, ToolCallPart(id="c", name="f")),
        Error(TRUNCATED),
    ]


def test_case_61_cut_inside_a_call_does_not_close_it() -> None:
    events = events_of(ROLE, o_call('{"city":', id="c", name="f"), done=False)
    assert events[-1] == Error(TRUNCATED)
    assert not any(isinstance(event, PartStop) for event in events)


def test_case_62_calls_that_share_index_0_are_told_apart_by_id() -> None:
    found = calls(
        o_call('{"a":1}', id="call_1", name="f"), o_call('{"b":2}', id="call_2", name="f")
    )
    assert found == [("call_1", "f", '{"a":1}'), ("call_2", "f", '{"b":2}')]


def test_case_62_fragments_without_id_go_to_the_last_call_of_their_index() -> None:
    found = calls(
        o_call(id="call_1", name="f"),
        o_call('{"a":1}'),
        o_call(id="call_2", name="f"),
        o_call('{"b"'),
        o_call(":2}"),
    )
    assert found == [("call_1", "f", '{"a":1}'), ("call_2", "f", '{"b":2}')]


def test_case_62_calls_that_share_index_0_interleave_by_id() -> None:
    found = calls(
        o_call('{"a"', id="call_1", name="f"),
        o_call('{"b"', id="call_2", name="g"),
        o_call(":1}", id="call_1"),
        o_call(":2}", id="call_2"),
    )
    assert found == [("call_1", "f", '{"a":1}'), ("call_2", "g", '{"b":2}')]


def test_id_that_changes_within_a_call_is_the_first_one() -> None:
    """Seen at Poolside: the fragments after the first have another id, and no name."""
    found = calls(
        o_call(id="call_1", name="f"), o_call('{"a"', id="other"), o_call(":1}", id="other")
    )
    assert found == [("call_1", "f", '{"a":1}')]


def test_case_59_id_and_name_repeated_or_empty_change_nothing() -> None:
    found = calls(
        o_call(id="call_1", name="f"),
        o_call('{"a":', id="", name=""),
        o_call("1}", id="call_1", name="f"),
        o_call("", id="", name=""),
    )
    assert found == [("call_1", "f", '{"a":1}')]


def test_case_59_calls_without_index() -> None:
    found = calls(
        o_call('{"a"', index=None, id="call_1", name="f"),
        o_call(":1}", index=None),
        o_call('{"b":2}', index=None, id="call_2", name="g"),
    )
    assert found == [("call_1", "f", '{"a":1}'), ("call_2", "g", '{"b":2}')]


@pytest.mark.parametrize("index", [None, 0])
def test_calls_that_nothing_tells_apart_begin_where_the_one_before_is_whole(
    index: int | None,
) -> None:
    found = calls(
        o_call('{"a":1}', index=index, name="f"),
        o_call("", index=index, name="f"),
        o_call('{"a":2}', index=index, name="f"),
    )
    assert found == [("", "f", '{"a":1}'), ("", "f", '{"a":2}')]


def test_calls_counted_from_another_number_than_0() -> None:
    found = calls(o_call("{}", index=3, id="c", name="f"), o_call("{}", index=7, id="d", name="g"))
    assert found == [("c", "f", "{}"), ("d", "g", "{}")]


def test_case_63_name_after_the_arguments() -> None:
    events = events_of(ROLE, o_call('{"a":'), o_call("1}"), o_call(name="f"), CALLS)
    assert events[1:4] == [
        PartStart(0, ToolCallPart(id="", name="f")),
        PartDelta(0, "args", '{"a":1}'),
        PartStop(0),
    ]


def test_case_64_text_after_an_incomplete_call_waits_for_its_end() -> None:
    found = parts(
        o_call('{"a":', id="c", name="f"), {"content": "Hel"}, o_call("1}"), {"content": "lo"}
    )
    assert found == (function("c", "f", '{"a":1}'), SAID)


def test_case_64_interleaved_calls_are_put_in_sequence() -> None:
    found = calls(
        o_call('{"a":', index=0, id="c", name="f"),
        o_call('{"b":', index=1, id="d", name="g"),
        o_call("1}", index=0),
        o_call("2}", index=1),
    )
    assert found == [("c", "f", '{"a":1}'), ("d", "g", '{"b":2}')]


def test_call_that_is_never_whole_does_not_swallow_the_others() -> None:
    found = parts(
        o_call('{"a":', index=0, id="c", name="f"),
        o_call("{}", index=1, id="d", name="g"),
        {"content": "Hello", "role": "assistant"},
        finish="length",
    )
    cut = ToolCallPart(id="c", name="f", raw_args='{"a":')
    assert found == (cut, function("d", "g", "{}"), SAID)


@pytest.mark.parametrize("args", ['{"a":1}', {"a": 1}])
def test_case_65_whole_arguments_are_one_delta(args: Any) -> None:
    events = events_of(ROLE, o_call(args, id="c", name="f"), CALLS)
    assert events[2] == PartDelta(0, "args", '{"a":1}')
    assert events[3] == PartStop(0)


@pytest.mark.parametrize("args", ["", " ", "\n", None])
def test_case_57_call_without_arguments(args: str | None) -> None:
    assert parts(o_call(args, id="c", name="f")) == (ToolCallPart(id="c", name="f", args={}),)


def test_arguments_that_are_no_object_are_told_as_they_are() -> None:
    found = parts(o_call("[1", id="c", name="f"), o_call("]"))
    assert found == (ToolCallPart(id="c", name="f", raw_args="[1]"),)


def test_arguments_after_the_end_of_a_call_are_an_error() -> None:
    """The call was closed because another began; nothing can be added to it, nothing is lost
    unsaid."""
    found = error(
        ROLE,
        o_call("{}", index=0, id="c", name="f"),
        o_call("", index=1, id="d", name="g"),
        o_call('{"a":1}', index=0),
    )
    assert found.kind == "bad_upstream"
    blank = calls(
        o_call("{}", index=0, id="c", name="f"),
        o_call("{}", index=1, id="d", name="g"),
        o_call(" ", index=0),
    )
    assert blank == [("c", "f", "{}"), ("d", "g", "{}")]


@pytest.mark.parametrize("name", [None, ""])
def test_call_without_a_name_is_left_out(name: str | None) -> None:
    response = answer(ROLE, {"content": "Hello"}, o_call("{}", id="c", name=name), CALLS)
    assert response.parts == (SAID,)
    assert response.stop.reason == "end"


def test_call_without_a_name_holds_up_what_follows_it_but_loses_none() -> None:
    found = parts(o_call("{}", index=0, id="c"), o_call("{}", index=1, id="d", name="g"))
    assert found == (function("d", "g", "{}"),)


def test_legacy_function_call() -> None:
    response = answer(
        ROLE,
        {"function_call": {"name": "f", "arguments": ""}},
        {"function_call": {"arguments": '{"a"'}},
        {"function_call": {"arguments": ":1}"}},
        o_chunk(finish="function_call"),
    )
    assert response.parts == (function("", "f", '{"a":1}'),)
    assert response.stop == Stop(reason="tool_calls", raw="function_call")


def custom(index: int, text: str, id: str | None = None, name: str | None = None) -> JSON:
    tool = {"input": text} if name is None else {"name": name, "input": text}
    call = {"index": index, "custom": tool}
    return {"tool_calls": [call if id is None else {**call, "id": id, "type": "custom"}]}


def test_custom_calls() -> None:
    """Their input is free text, which has no visible end: calls may go on until the stream
    ends."""
    found = parts(
        custom(0, "ls", id="c", name="shell"),
        custom(1, "{}", id="d", name="shell"),
        {"content": "Hello"},
        custom(0, " -l\n"),
    )
    assert found == (
        ToolCallPart(id="c", name="shell", raw_args="ls -l\n", kind="custom"),
        ToolCallPart(id="d", name="shell", raw_args="{}", kind="custom"),
        SAID,
    )


def test_custom_beside_function_counts_only_with_a_name() -> None:
    call = o_call("{}", id="c", name="f")
    call["tool_calls"][0]["custom"] = {"name": "", "input": ""}
    assert parts(call) == (function("c", "f", "{}"),)


# The end.

USAGE = o_usage(307, 26, prompt_tokens_details={"cached_tokens": 300, "cache_write_tokens": 4})
COUNTED = Usage(input=3, cache_read=300, cache_write=4, output=26)
LAST = {**o_chunk(), "choices": []}


@pytest.mark.parametrize(
    ("items", "usage"),
    [
        ([STOP, {**LAST, "usage": USAGE}, "data: [DONE]"], COUNTED),
        ([STOP, {**LAST, "usage": USAGE}], COUNTED),
        ([{**STOP, "usage": USAGE}, "data: [DONE]"], COUNTED),
        ([{**STOP, "usage": USAGE}], COUNTED),
        ([{**STOP, "usage": USAGE}, {**LAST, "usage": None}], COUNTED),
        ([{**STOP, "usage": o_usage()}, {**LAST, "usage": USAGE}], COUNTED),
        ([{**STOP, "x_groq": {"id": "r", "usage": USAGE}}], COUNTED),
        ([STOP, "data: [DONE]"], None),
        ([STOP], None),
        ([STOP, STOP, "data: [DONE]"], None),
    ],
)
def test_case_66_all_ways_to_end_tell_the_same(
    items: list[JSON | str], usage: Usage | None
) -> None:
    response = answer(ROLE, {"content": "Hello"}, *items, done=False)
    assert response.parts == (SAID,)
    assert response.stop == Stop(reason="end", raw="stop")
    assert response.usage == usage


def test_case_66_unterminated_last_event_counts() -> None:
    stream = o_stream(ROLE, {"content": "Hello"}, STOP, done=False).rstrip()
    assert fold(decoded("openai", stream)).parts == (SAID,)


def test_done_without_a_finish_reason_is_the_end() -> None:
    assert answer(ROLE, {"content": "Hello"}).stop == Stop(reason="end")
    assert answer(ROLE, o_call("{}", id="c", name="f")).stop == Stop(reason="tool_calls")


def test_content_may_come_with_the_finish_reason() -> None:
    response = answer(ROLE, {"content": "Hel"}, o_chunk({"content": "lo"}, "length"))
    assert (response.parts, response.stop.reason) == ((SAID,), "max_tokens")


def test_service_tier_may_be_told_with_the_finish_reason() -> None:
    assert answer(ROLE, {**STOP, "service_tier": "priority"}).tier == "priority"
    assert answer({**o_chunk(ROLE), "service_tier": "default"}, STOP).tier == "standard"


def test_values_of_the_wrong_type_say_nothing() -> None:
    odd = {"content": 7, "reasoning": ["x"], "refusal": {"x": 1}, "reasoning_details": 7}
    calls = {"tool_calls": ["x", {"index": [0], "id": [1], "function": 7}], "function_call": "x"}
    chunks: list[Any] = [
        {**odd, **calls},
        {"tool_calls": "x", "content": [7, {"type": ["x"]}, {"type": "thinking"}]},
        {**o_chunk(), "choices": ["x", {"index": 0, "delta": "x", "finish_reason": None}]},
        {**o_chunk(), "usage": "x", "x_groq": "x", "service_tier": 7},
        {**o_chunk(), "choices": "x"},
    ]
    response = answer(ROLE, *chunks, {"content": "Hello"}, STOP)
    assert (response.parts, response.usage) == ((SAID,), None)


def test_case_67_content_after_the_finish_reason_is_told() -> None:
    response = answer(ROLE, {"content": "Hel"}, STOP, {"content": "lo"})
    assert response.parts == (SAID,)


def test_case_81_cut_arguments_stay_as_they_are() -> None:
    events = events_of(ROLE, o_call('{"city":"Ky', id="c", name="f"), o_chunk(finish="length"))
    assert events[2:] == [
        PartDelta(0, "args", '{"city":"Ky'),
        PartStop(0),
        Finish(Stop(reason="max_tokens", raw="length")),
    ]


def test_case_48_refusal() -> None:
    response = answer(ROLE, {"refusal": "I will "}, {"refusal": "not."}, STOP)
    assert response.parts == (TextPart(text="I will not.", refusal=True),)
    why = {"type": "refusal", "category": None, "explanation": "I will not."}
    assert response.stop == Stop(reason="refusal", details=why, raw="stop")


@pytest.mark.parametrize("key", ["stop_reason", "matched_stop"])
def test_case_46_matched_stop_string(key: str) -> None:
    finish = o_chunk(finish="stop")
    finish["choices"][0][key] = "END"
    again = o_chunk(finish="stop")
    stop = answer(ROLE, {"content": "Hello"}, finish, again).stop
    assert stop == Stop(reason="stop_sequence", sequence="END", raw="stop")


def test_matched_token_is_no_stop_string() -> None:
    finish = o_chunk(finish="stop")
    finish["choices"][0]["stop_reason"] = 128009
    assert answer(ROLE, {"content": "Hello"}, finish).stop == Stop(reason="end", raw="stop")


# Breaks.


def test_case_60_stream_that_just_ends_is_an_error() -> None:
    events = events_of(ROLE, {"content": "Half an ans"}, done=False)
    assert events[-2:] == [PartDelta(0, "text", "Half an ans"), Error(TRUNCATED)]


@pytest.mark.parametrize("items", [[], [{**LAST, "usage": USAGE}], [": ping"], ["data: [DONE]"]])
def test_case_50_stream_without_a_choice_is_no_answer(items: list[JSON | str]) -> None:
    found = error(*items)
    assert (found.kind, found.code) == ("bad_upstream", "bad_upstream_response")


@pytest.mark.parametrize("data", ["{", "[]", "null", "7", '"x"', "hello", '{"a":NaN}'])
def test_data_that_is_no_chunk_is_an_error(data: str) -> None:
    found = error(ROLE, {"content": "Half"}, f"data: {data}")
    assert (found.kind, found.code) == ("bad_upstream", "bad_upstream_response")


@pytest.mark.parametrize(
    "line",
    [
        'data: {"error":{"message":"Overloaded","code":"server_is_overloaded"}}',
        'data: {"error":{"message":"Overloaded","code":503},"choices":[]}',
        'data: {"object":"error","message":"Overloaded","code":503}',
        'event: error\ndata: {"message":"Overloaded","code":"503"}',
        'event: error\ndata: {"error":{"message":"Overloaded","code":"server_is_overloaded"}}',
    ],
)
@pytest.mark.parametrize("before", [(), (ROLE, {"content": "Half"})])
def test_case_56_error_in_all_its_forms(line: str, before: tuple[JSON, ...]) -> None:
    events = events_of(*before, line)
    assert isinstance(events[-1], Error)
    assert (events[-1].error.kind, events[-1].error.message) == ("overloaded", "Overloaded")
    assert len(events) == (4 if before else 1)


def test_error_may_be_a_mere_string() -> None:
    found = error(ROLE, 'data: {"error":"The model crashed"}')
    assert (found.kind, found.message) == ("server", "The model crashed")


@pytest.mark.parametrize(
    ("finish", "kind"),
    [
        ("error", "server"),
        ("network_error", "server"),
        ("abort", "server"),
        ("insufficient_system_resource", "overloaded"),
    ],
)
def test_case_46_finish_reasons_that_are_errors(finish: str, kind: str) -> None:
    assert error(ROLE, {"content": "Half"}, o_chunk(finish=finish)).kind == kind
    alone = events_of(o_chunk(ROLE, finish))
    assert len(alone) == 1, "nothing is told of an answer that is only an error"


# Signs of life.


def test_case_70_comments_are_signs_of_life_once_the_answer_began() -> None:
    events = events_of(": OPENROUTER PROCESSING", ROLE, ": ping", {"content": "Hello"}, STOP)
    assert [type(event) for event in events[:3]] == [Start, Ping, PartStart]


# Bytes.


def test_case_77_long_line() -> None:
    long = "long " * 40_000
    assert parts({"content": long}, o_call(f'{{"a":"{long}"}}', id="c", name="f")) == (
        TextPart(text=long),
        function("c", "f", f'{{"a":"{long}"}}'),
    )


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_case_77_other_line_ends(end: bytes) -> None:
    stream = o_stream(ROLE, {"content": "Hello"}, STOP)
    assert decoded("openai", stream.replace(b"\n", end)) == decoded("openai", stream)


def test_case_77_separators_of_unicode_and_code_points_in_pieces() -> None:
    text = "a\u2028b\u2029c\x85d ü 🙂"
    chunk = json.dumps(o_chunk({"content": text}), ensure_ascii=False)
    assert parts(f"data: {chunk}") == (TextPart(text=text),)


def test_case_77_halves_of_a_character_meet() -> None:
    found = parts(
        {"content": "a\ud83d"},
        {"content": "\ude42b"},
        o_call('{"a":"\ud83d', id="c", name="f"),
        o_call('\ude42"}'),
    )
    assert found == (TextPart(text="a🙂b"), function("c", "f", '{"a":"🙂"}'))


DETAILS = [
    {"type": "reasoning.text", "text": "hm", "signature": "s", "format": "anthropic-claude-v1"}
]
CALL = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
VALUES = (
    *(None, 0, 1, "", "x", "stop", False, 1.5, [], {}, ["b"], [CALL], CALL["function"], DETAILS),
    *(
        {"message": "no"},
        o_usage(),
        {"usage": o_usage()},
        {"text": "t"},
        [{"type": "text", "text": "t"}],
    ),
)
DELTA_KEYS = (
    *("content", "role", "refusal", "tool_calls", "function_call", "reasoning", "audio"),
    *("reasoning_content", "reasoning_details", "new"),
)


PIECES: dict[str, JSON] = {
    "text": {"content": "b"},
    "reasoning": {"reasoning_content": "b"},
    "reasoning too": {"reasoning": "b", "content": ""},
    "arguments": {"tool_calls": [{"index": 0, "function": {"arguments": "b"}}]},
    "arguments by id": {
        "tool_calls": [
            {"index": 0, "id": "c", "type": "function", "function": {"name": "", "arguments": "b"}}
        ]
    },
    "no index": {"tool_calls": [{"function": {"arguments": "b"}}]},
}
"""Deltas that say one more piece, and no more."""
OPENED: JSON = {
    "tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"x": "'}}]
}


def oddly_said(said: JSON) -> Iterator[JSON | list[JSON]]:
    """A plain chunk with each value in each place, and chunks with another number of choices."""
    for value in VALUES:
        for key in ("usage", "error", "x_groq", "id", "service_tier", "object", "choices", "new"):
            yield {"choices": [{"delta": said}], key: value}
        for key in ("index", "finish_reason", "stop_reason", "logprobs", "delta"):
            yield {"choices": [{"delta": said, key: value}]}
        for key in DELTA_KEYS:
            yield {"choices": [{"delta": {**said, key: value}}]}
        for call in said.get("tool_calls", ()):
            for key in ("index", "id", "type", "function", "custom", "extra_content", "new"):
                yield {"choices": [{"delta": {"tool_calls": [{**call, key: value}]}}]}
            for key in ("name", "arguments", "input", "new"):
                function = {**call["function"], key: value}
                yield {"choices": [{"delta": {"tool_calls": [{**call, "function": function}]}}]}
            yield {"choices": [{"delta": {"tool_calls": [call, CALL]}}]}
            yield {"choices": [{"delta": {"tool_calls": [CALL, call]}}]}
    for index in (0, 1):
        choice = {"delta": {"content": "c"}, "index": index}
        yield {"choices": [choice, {"delta": said}]}
    yield [{"choices": [{"delta": said}]}]


@pytest.mark.parametrize("kind", PIECES)
def test_a_plain_chunk_tells_what_any_other_would(kind: str) -> None:
    """The short way to what a chunk tells, and the long one, tell the same events."""
    said = PIECES[kind]
    first = {"choices": [{"delta": OPENED if "tool_calls" in said else said}]}
    plain = {"choices": [{"delta": said}]}
    for chunk in oddly_said(said):
        told = []
        for quick in (True, False):
            decoder, events = OpenAIDecoder(), []
            for each in (first, plain, plain, chunk, plain, STOP):
                decoder._plain_text = decoder._plain_text and quick
                decoder._plain_other = decoder._plain_other and quick
                events += decoder.feed(Frame("", json.dumps(each).encode()))
            told.append([*events, *decoder.close()])
        assert told[0] == told[1], chunk


@pytest.mark.parametrize("kind", PIECES)
def test_the_usual_chunk_takes_the_short_way(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = OpenAIDecoder()
    said = PIECES[kind]
    decoder.feed(Frame("", json.dumps({"choices": [{"delta": said}]}).encode()))
    if "tool_calls" in said:
        decoder = OpenAIDecoder()
        decoder.feed(Frame("", json.dumps({"choices": [{"delta": OPENED}]}).encode()))
    monkeypatch.delattr(stream_decode, "decode")
    for _ in range(3):
        events = decoder.feed(Frame("", json.dumps({"choices": [{"delta": said}]}).encode()))
        assert [event.value for event in events] == ["b"]


@pytest.mark.parametrize(
    "data",
    [
        b'{"choices":[{"delta":{"content":"\xff"}}]}',
        b'{"choices":[{"delta":{"content":"\\ud800"}}]}',
    ],
)
def test_a_chunk_whose_text_is_no_utf8_is_not_plain(data):
    assert stream_decode.plain_text(data) == ""
