"""Anthropic stream -> events, one to one; servers that only nearly speak the dialect included.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from streams import (
    A_END,
    JSON,
    a_call,
    a_delta,
    a_ending,
    a_open,
    a_start,
    a_stop,
    a_stream,
    a_text,
    a_thought,
    decoded,
)

from lmbroker.errors import ErrorInfo
from lmbroker.sse import Frame
from lmbroker.translation.dialects.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.translation.unified.fold import TRUNCATED, fold
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
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

WIRE = Path(__file__).parents[1] / "wire" / "anthropic"
ENDED = [a_ending(), A_END]
HELLO = a_text(0, "Hel", "lo")
SAID = TextPart(text="Hello")


def events_of(*items: JSON | str) -> list[StreamEvent]:
    return decoded("anthropic", a_stream(*items))


def answer(*items: JSON | str) -> Response:
    return fold(events_of(*items))


def parts(*items: JSON | str) -> tuple[Part, ...]:
    return answer(a_start(), *items, *ENDED).parts


def error(*items: JSON | str) -> ErrorInfo:
    last = events_of(*items)[-1]
    assert isinstance(last, Error)
    return last.error


def signed(value: str) -> Signature:
    return Signature(origin="signable", value=value)


# The form of a stream.


def test_stream_becomes_events() -> None:
    usage = {"input_tokens": 9, "output_tokens": 1, "service_tier": "standard"}
    counted = Usage(input=9, output=1, tier="standard")
    assert events_of(a_start(usage=usage), {"type": "ping"}, *HELLO, *ENDED) == [
        Start("msg_7", "claude", counted, None, "standard"),
        Ping(),
        PartStart(0, TextPart(text="")),
        PartDelta(0, "text", "Hel"),
        PartDelta(0, "text", "lo"),
        PartStop(0),
        Finish(
            Stop(reason="end", raw="end_turn"),
            Usage(input=9, output=4, tier="standard"),
            "standard",
        ),
    ]


@pytest.mark.parametrize("path", sorted(WIRE.glob("*.sse")), ids=lambda path: path.stem)
def test_sample_is_decoded(path: Path) -> None:
    events = decoded("anthropic", path.read_bytes())
    if path.stem.startswith("error"):
        assert isinstance(events[-1], Error)
        assert events[-1].error.kind == "overloaded"
        assert not any(isinstance(event, PartStop) for event in events)
        return
    response = fold(events)
    weather = '{"city":"Kyiv"}'
    told: dict[str, list[type]] = {
        "empty": [],
        "server-tool": [OpaquePart, OpaquePart, TextPart],
        "text": [TextPart],
        "thinking": [ReasoningPart, ReasoningPart, TextPart],
        "tool-use": [TextPart, ToolCallPart, ToolCallPart],
        "usage-in-steps": [TextPart],
    }
    assert [type(part) for part in response.parts] == told[path.stem]
    if path.stem == "tool-use":
        assert response.parts[1:] == (
            ToolCallPart(id="toolu_1", name="weather", args=json.loads(weather), raw_args=weather),
            ToolCallPart(id="toolu_2", name="clock", args={}),
        )
    assert response.usage is not None
    assert (response.usage.input, response.usage.output) == (9, 4)


def test_thinking_with_its_signature() -> None:
    events = events_of(a_start(), *a_thought(0, "Hm.", "c2ln"), *ENDED)
    assert events[1:5] == [
        PartStart(0, ReasoningPart()),
        PartDelta(0, "reasoning", "Hm."),
        PartDelta(0, "signature", signed("c2ln")),
        PartStop(0),
    ]


def test_case_58_omitted_and_redacted_thinking() -> None:
    redacted = a_open(1, "redacted_thinking", data="b3BhcXVl")
    assert parts(*a_thought(0, "", "c2ln"), redacted, a_stop(1)) == (
        ReasoningPart(signature=signed("c2ln")),
        ReasoningPart(redacted="b3BhcXVl"),
    )


def test_citations() -> None:
    raw = {"type": "web_search_result_location", "url": "https://a.example/", "title": "A"}
    first, *rest = HELLO
    cited = a_delta(0, "citations_delta", citation={**raw, "cited_text": "x"})
    (part,) = parts(first, cited, *rest)
    citation = Citation(
        kind="url",
        url="https://a.example/",
        title="A",
        cited_text="x",
        origin="anthropic",
        raw={**raw, "cited_text": "x"},
    )
    assert part == TextPart(text="Hello", citations=(citation,))


def test_citation_that_is_none_or_of_no_text_is_skipped() -> None:
    thinking = a_open(1, "thinking", thinking="Hm.", signature="c2ln")
    cited = a_delta(1, "citations_delta", citation={"type": "page_location"})
    begun, *rest = HELLO
    odd = a_delta(0, "citations_delta", citation="x")
    assert parts(begun, odd, *rest, thinking, cited, a_stop(1)) == (
        SAID,
        ReasoningPart(text="Hm.", signature=signed("c2ln")),
    )


# Servers that only nearly speak the dialect.


def test_case_57_call_without_arguments() -> None:
    assert parts(*a_call(0, "t", "f")) == (ToolCallPart(id="t", name="f", args={}),)
    assert parts(*a_call(0, "t", "f", "")) == (ToolCallPart(id="t", name="f", args={}),)


def test_input_given_with_the_start_counts_if_no_delta_follows() -> None:
    whole = a_open(0, "tool_use", id="t", name="f", input={"a": 1})
    assert parts(whole, a_stop(0)) == (ToolCallPart(id="t", name="f", args={"a": 1}),)
    delta = a_delta(0, "input_json_delta", partial_json='{"a":2}')
    assert parts(whole, delta, a_stop(0)) == (
        ToolCallPart(id="t", name="f", args={"a": 2}, raw_args='{"a":2}'),
    )


def test_text_and_thinking_given_with_the_start() -> None:
    found = parts(
        a_open(0, "thinking", thinking="H", signature="c2ln"),
        a_delta(0, "thinking_delta", thinking="m."),
        a_stop(0),
        a_open(1, "text", text="Hel"),
        a_delta(1, "text_delta", text="lo"),
        a_stop(1),
    )
    assert found == (ReasoningPart(text="Hm.", signature=signed("c2ln")), SAID)


def test_answer_given_with_message_start() -> None:
    whole = a_start(
        content=[
            "odd",
            {"no": "type"},
            {"type": "text", "text": "Hello"},
            {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}},
        ]
    )
    response = answer(whole, a_ending("tool_use"), A_END)
    assert response.parts == (SAID, ToolCallPart(id="t", name="f", args={"a": 1}))


def test_blocks_counted_with_gaps() -> None:
    assert parts(*a_text(3, "Hello"), *a_text(9, "Hello")) == (SAID, SAID)


def test_block_that_is_not_stopped_ends_where_the_next_begins() -> None:
    first, second = a_text(0, "Hello"), a_text(1, "Hello")
    assert parts(*first[:-1], *second) == (SAID, SAID)
    assert parts(*first[:-1]) == (SAID,)


def test_case_76_thinking_without_signature_key() -> None:
    found = parts(
        a_open(0, "thinking", thinking=""), a_delta(0, "thinking_delta", thinking="Hm."), a_stop(0)
    )
    assert found == (ReasoningPart(text="Hm."),)


def test_case_76_counters_only_at_the_end() -> None:
    late = {"input_tokens": 9, "cache_read_input_tokens": 3, "output_tokens": 4}
    response = answer(a_start(usage=None), *HELLO, a_ending(usage=late), A_END)
    assert response.usage == Usage(input=9, cache_read=3, output=4)


def test_case_47_later_counters_overwrite_but_null_does_not() -> None:
    first = {"input_tokens": 9, "cache_creation_input_tokens": 5, "output_tokens": 1}
    late = {
        "input_tokens": 12,
        "cache_creation_input_tokens": None,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 3},
    }
    response = answer(a_start(usage=first), *HELLO, a_ending(usage=late), A_END)
    assert response.usage == Usage(input=12, cache_write=5, output=4, reasoning=3)


def test_no_usage_at_all_is_none() -> None:
    ending = a_ending()
    del ending["usage"]
    assert answer(a_start(usage={}), *HELLO, ending, A_END).usage is None


def test_stop_reason_may_come_in_steps() -> None:
    response = answer(
        a_start(), *HELLO, a_ending(None, {"output_tokens": 2}), a_ending("max_tokens"), A_END
    )
    assert response.stop == Stop(reason="max_tokens", raw="max_tokens")


def test_case_66_stop_reason_and_no_message_stop_is_complete() -> None:
    assert answer(a_start(), *HELLO, a_ending()) == answer(a_start(), *HELLO, *ENDED)


def test_message_stop_without_a_stop_reason_is_complete() -> None:
    assert answer(a_start(), *HELLO, A_END).stop == Stop(reason="end")
    assert answer(a_start(), *a_call(0, "t", "f"), A_END).stop == Stop(reason="tool_calls")


def test_done_is_ignored() -> None:
    assert answer(a_start(), *HELLO, *ENDED, "data: [DONE]").parts == (SAID,)
    assert answer(a_start(), "data: [DONE]", *HELLO, *ENDED).parts == (SAID,)


def test_case_75_second_message_start() -> None:
    assert parts(a_start(), {"type": "ping"}, *HELLO) == (SAID,)
    assert error(a_start(), a_start(id="msg_8"), *HELLO, *ENDED).kind == "bad_upstream"
    assert error(a_start(), *HELLO, a_start(), *HELLO, *ENDED).kind == "bad_upstream"


def test_case_74_unknown_events_deltas_and_blocks_are_no_error() -> None:
    begun, *rest = HELLO
    found = parts(
        {"type": "billing", "amount": 1, "error": "none"},
        begun,
        a_delta(0, "emphasis_delta", emphasis="strong"),
        {**a_delta(0, "x"), "delta": {"type": ["odd"]}},
        *rest,
        a_open(1, "hologram", shape="cube", text="a"),
        a_delta(1, "text_delta", text="b"),
        a_delta(1, "text_delta", text="c"),
        a_delta(1, "shape_delta", shape="ball"),
        a_stop(1),
        *a_text(2, "Hello"),
    )
    raw = {"type": "hologram", "shape": "cube", "text": "abc"}
    assert found == (SAID, OpaquePart(origin="anthropic", type="hologram", raw=raw), SAID)


def test_server_tools_are_opaque_and_whole() -> None:
    use = a_open(0, "server_tool_use", id="s", name="web_search", input={})
    found = parts(
        use,
        a_delta(0, "input_json_delta", partial_json='{"query":'),
        a_delta(0, "input_json_delta", partial_json='"x"}'),
        a_stop(0),
        a_open(1, "compaction", content=None),
        a_delta(1, "compaction_delta", content="Short."),
        a_stop(1),
    )
    searched = {**use["content_block"], "input": {"query": "x"}}
    assert found == (
        OpaquePart(origin="anthropic", type="server_tool_use", raw=searched),
        OpaquePart(
            origin="anthropic",
            type="compaction",
            raw={"type": "compaction", "content": "Short."},
        ),
    )


@pytest.mark.parametrize("block", [{"id": "t", "input": {}}, {"id": "t", "name": "", "input": {}}])
def test_call_of_nothing_is_no_call(block: JSON) -> None:
    (part,) = parts(
        a_open(0, "tool_use", **block),
        a_delta(0, "input_json_delta", partial_json='{"a":1}'),
        a_stop(0),
    )
    raw = {"type": "tool_use", **block, "input": {"a": 1}}
    assert part == OpaquePart(origin="anthropic", type="tool_use", raw=raw)


# The end.


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "end"),
        ("stop_sequence", "stop_sequence"),
        ("max_tokens", "max_tokens"),
        ("tool_use", "tool_calls"),
        ("refusal", "refusal"),
        ("pause_turn", "paused"),
        ("model_context_window_exceeded", "context_full"),
        ("compaction", "compaction"),
        ("something_new", "other"),
    ],
)
def test_case_46_stop_reasons(word: str, reason: Any) -> None:
    assert answer(a_start(), a_ending(word), A_END).stop == Stop(reason=reason, raw=word)


def test_case_46_stop_sequence_and_case_48_refusal_details() -> None:
    stop = answer(a_start(), a_ending("stop_sequence", stop_sequence="END"), A_END).stop
    assert stop == Stop(reason="stop_sequence", sequence="END", raw="stop_sequence")
    why = {"type": "refusal", "category": "cyber", "explanation": "No."}
    stop = answer(a_start(), a_ending("refusal", stop_details=why), A_END).stop
    assert stop == Stop(reason="refusal", details=why, raw="refusal")


def test_case_81_cut_arguments_stay_as_they_are() -> None:
    (part,) = parts(*a_call(0, "t", "f", '{"city":"Ky'))
    assert part == ToolCallPart(id="t", name="f", raw_args='{"city":"Ky')


@pytest.mark.parametrize("late", [*HELLO, A_END, {"type": "ping"}, ": late", "data: {"])
def test_data_after_the_end_is_ignored(late: JSON | str) -> None:
    stream = a_stream(a_start(), *HELLO, *ENDED)
    assert decoded("anthropic", stream + a_stream(late)) == decoded("anthropic", stream)


# Breaks.


@pytest.mark.parametrize(
    "items", [[], [a_start()], [a_start(), *HELLO], [a_start(), a_ending(None)], [": ping"]]
)
def test_case_60_stream_that_just_ends_is_an_error(items: list[JSON | str]) -> None:
    assert events_of(*items)[-1] == Error(TRUNCATED)


def test_case_61_cut_inside_a_call_does_not_close_it() -> None:
    *call, _ = a_call(0, "t", "f", '{"city":')
    events = events_of(a_start(), *call)
    assert events[-1] == Error(TRUNCATED)
    assert not any(isinstance(event, PartStop) for event in events)


@pytest.mark.parametrize(
    "line",
    [
        'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Full"}}',
        'data: {"error":{"type":"overloaded_error","message":"Full"}}',
        'data: {"error":{"message":"Full","code":529}}',
    ],
)
@pytest.mark.parametrize("before", [(), (a_start(), *a_call(0, "t", "f", '{"ci')[:-1])])
def test_case_56_error_ends_the_stream_and_leaves_open_what_is_open(
    line: str, before: tuple[JSON, ...]
) -> None:
    events = events_of(*before, line)
    assert isinstance(events[-1], Error)
    assert (events[-1].error.kind, events[-1].error.message) == ("overloaded", "Full")
    assert not any(isinstance(event, PartStop) for event in events)


@pytest.mark.parametrize(
    "items",
    [
        ["data: {"],
        ["data: []"],
        [{"type": "message_start"}],
        [a_open(0, "text", text="")],
        [A_END],
        [a_start(), {**a_delta(0, "text_delta", text="x"), "delta": None}],
        [a_start(), a_delta(0, "input_json_delta", partial_json="x")],
        [a_start(), *HELLO, a_delta(0, "text_delta", text="x")],
        [a_start(), a_open(0, "text", text=""), a_delta(1, "text_delta", text="x")],
        [a_start(), a_open(0, "text", text=""), a_delta(0, "input_json_delta", partial_json="x")],
        [a_start(), {"type": "content_block_start", "index": 0}],
    ],
)
def test_what_is_no_answer_is_an_error(items: list[JSON | str]) -> None:
    found = error(*items, *ENDED)
    assert (found.kind, found.code) == ("bad_upstream", "bad_upstream_response")


def test_nothing_follows_an_error() -> None:
    decoder = AnthropicDecoder()
    assert len(decoder.feed(Frame("", b"{"))) == 1
    assert decoder.feed(Frame("message_start", json.dumps(a_start()).encode())) == []
    assert decoder.close() == []


# Signs of life.


def test_case_70_pings_and_comments_are_signs_of_life_once_the_answer_began() -> None:
    events = events_of(": hello", {"type": "ping"}, a_start(), ": ping", {"type": "ping"}, *ENDED)
    assert [type(event) for event in events] == [Start, Ping, Ping, Finish]


# Bytes.


def test_case_77_long_signature() -> None:
    long = "c2ln" * 50_000
    assert parts(*a_thought(0, "Hm.", long)) == (ReasoningPart(text="Hm.", signature=signed(long)),)


@pytest.mark.parametrize("end", [b"\r\n", b"\r"])
def test_case_77_other_line_ends(end: bytes) -> None:
    stream = a_stream(a_start(), *HELLO, *ENDED)
    assert decoded("anthropic", stream.replace(b"\n", end)) == decoded("anthropic", stream)


def test_case_77_separators_of_unicode_and_code_points_in_pieces() -> None:
    text = "a\u2028b\u2029c\x85d ü 🙂"
    first, delta, last = a_text(0, text)
    line = f"event: content_block_delta\ndata: {json.dumps(delta, ensure_ascii=False)}"
    assert parts(first, line, last) == (TextPart(text=text),)


def test_case_77_halves_of_a_character_meet() -> None:
    args = ('{"a":"\ud83d', '\ude42"}')
    assert parts(*a_text(0, "a\ud83d", "\ude42b"), *a_call(1, "t", "f", *args)) == (
        TextPart(text="a🙂b"),
        ToolCallPart(id="t", name="f", args={"a": "🙂"}, raw_args='{"a":"🙂"}'),
    )


def test_blocks_that_overlap_are_told_one_after_the_other():
    """llama.cpp opens a block before it signs and stops the one before."""
    events = events_of(
        a_start(),
        a_open(0, "thinking", thinking=""),
        a_delta(0, "thinking_delta", thinking="so"),
        a_open(1, "text", text=""),
        a_delta(1, "text_delta", text="Hel"),
        a_delta(0, "signature_delta", signature=""),
        a_stop(0),
        a_delta(1, "text_delta", text="lo"),
        a_stop(1),
        *ENDED,
    )
    assert fold(events).parts == (ReasoningPart(text="so"), SAID)


def test_a_delta_before_the_message_is_an_error() -> None:
    stream = a_stream(a_delta(0, "text_delta", text="Hi"), a_start(), a_ending(), A_END)
    (only,) = decoded("anthropic", stream)
    assert isinstance(only, Error)
    assert only.error.kind == "bad_upstream"
