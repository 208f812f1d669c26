"""Legal streams pass; every rule, broken alone, is told by its name."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from lmbroker.errors import ErrorInfo
from lmbroker.sse import Frame, Reader
from lmbroker.testing.grammar import (
    ANTHROPIC,
    EVENTS,
    OPENAI,
    Checker,
    EventChecker,
    GrammarError,
    anthropic_checker,
    openai_checker,
)
from lmbroker.translation.unified import parts
from lmbroker.translation.unified.fold import unfold
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
    UsageUpdate,
)
from lmbroker.usage import Usage

WIRE = Path(__file__).parent / "wire"
SAMPLES = sorted(f"{path.parent.name}/{path.stem}" for path in WIRE.glob("*/*.sse"))
COMMENT = Frame("", None)


def sample(name: str) -> list[Frame]:
    reader = Reader()
    return reader.feed((WIRE / f"{name}.sse").read_bytes()) + reader.close()


def checker_of(name: str) -> Checker[Frame]:
    return openai_checker() if name.startswith("openai/") else anthropic_checker()


def run(checker: Checker[Any], items: Iterable[Any]) -> None:
    for item in items:
        checker.feed(item)
    checker.close()


def refused(checker: Checker[Any], items: Iterable[Any]) -> str:
    with pytest.raises(GrammarError) as caught:
        run(checker, items)
    return str(caught.value)


@pytest.mark.parametrize("name", SAMPLES)
def test_sample_is_legal_and_no_beginning_of_it_is(name: str) -> None:
    frames = sample(name)
    checker = checker_of(name)
    for frame in frames:
        assert not checker.terminal
        with pytest.raises(GrammarError, match="does not end in state"):
            checker.close()
        checker.feed(frame)
    assert checker.terminal
    checker.close()


@pytest.mark.parametrize("name", SAMPLES)
def test_comment_may_stand_anywhere_before_the_end(name: str) -> None:
    frames = sample(name)
    run(checker_of(name), [item for frame in frames for item in (COMMENT, frame)])


@pytest.mark.parametrize("name", SAMPLES)
def test_nothing_follows_the_end(name: str) -> None:
    frames = sample(name)
    for late in (COMMENT, *frames):
        assert refused(checker_of(name), [*frames, late]) == "nothing follows the end"


@pytest.mark.parametrize("name", SAMPLES)
def test_error_may_stand_for_any_rest(name: str) -> None:
    frames = sample(name)
    error = sample(f"{name.partition('/')[0]}/error-first")[-1]
    for at in range(len(frames)):
        run(checker_of(name), [*frames[:at], error])


def structural(frame: Frame) -> bool:
    """What a stream may have neither less nor more of; the rest is text in pieces and pings."""
    data = frame.data or b""
    if frame.event:
        counts_only = b'"delta":{"stop_reason":null' in data
        return not counts_only and frame.event not in ("ping", "content_block_delta")
    marks = (b'"role"', b'reason":"', b'"choices":[]', b'"error":', b"[DONE]")
    return any(mark in data for mark in marks)


def told_once(frame: Frame) -> bool:
    marks = (b'"id":"call', b'"name"', b'"annotations"', b"signature_delta")
    again = any(mark in (frame.data or b"") for mark in marks)
    return again or (structural(frame) and frame.event != "message_delta")


def strict_checker_of(name: str) -> Checker[Frame]:
    if name.startswith("anthropic/"):
        return anthropic_checker()
    return openai_checker(True if b'"choices":[]' in (WIRE / f"{name}.sse").read_bytes() else None)


@pytest.mark.parametrize("name", SAMPLES)
def test_lost_frame_is_noticed(name: str) -> None:
    frames = sample(name)
    places = [at for at, frame in enumerate(frames) if structural(frame)]
    assert places
    for at in places:
        assert refused(strict_checker_of(name), frames[:at] + frames[at + 1 :])


@pytest.mark.parametrize("name", SAMPLES)
def test_doubled_frame_is_noticed(name: str) -> None:
    frames = sample(name)
    places = [at for at, frame in enumerate(frames) if told_once(frame)]
    assert places
    for at in places:
        assert refused(strict_checker_of(name), frames[:at] + frames[at : at + 1] + frames[at:])


@pytest.mark.parametrize("name", [name for name in SAMPLES if name != "openai/two-choices"])
def test_swapped_frames_are_noticed(name: str) -> None:
    frames = [frame for frame in sample(name) if frame.data and frame.event != "ping"]
    for at in range(len(frames) - 1):
        one, two = frames[at : at + 2]
        steps = one.event == two.event == "message_delta"
        if (structural(one) or structural(two)) and not steps:
            swapped = [*frames[:at], two, one, *frames[at + 2 :]]
            assert refused(strict_checker_of(name), swapped)


def test_choices_may_begin_and_finish_in_any_order() -> None:
    zero, one, *deltas, finish_one, finish_zero, usage, done = sample("openai/two-choices")
    run(openai_checker(True), [one, zero, *deltas, finish_zero, finish_one, usage, done])
    heads, tails = deltas
    run(openai_checker(True), [zero, heads, finish_zero, one, tails, finish_one, usage, done])
    assert refused(openai_checker(True), [zero, one, *deltas, finish_one, usage, done])


def test_choices_may_share_a_chunk() -> None:
    frames = sample("openai/two-choices")
    bodies = [json.loads(frame.data or b"") for frame in frames[:2]]
    bodies[0]["choices"] += bodies[1]["choices"]
    run(openai_checker(True), [packed(bodies[0]), *frames[2:]])


def packed(body: Any, event: str = "") -> Frame:
    return Frame(event, json.dumps(body).encode())


def at(body: Any, path: str) -> tuple[Any, Any]:
    """The holder and the key of the dotted ``path``."""
    keys: list[Any] = [int(key) if key.isdigit() else key for key in path.split(".")]
    for key in keys[:-1]:
        body = body[key]
    return body, keys[-1]


def put(path: str, value: Any) -> Callable[[Any], None]:
    def change(body: Any) -> None:
        holder, key = at(body, path)
        holder[key] = value

    return change


def cut(path: str) -> Callable[[Any], None]:
    def change(body: Any) -> None:
        holder, key = at(body, path)
        del holder[key]

    return change


def broken(name: str, number: int, change: Callable[[Any], None]) -> list[Frame]:
    """The sample without comments, ``change`` made to the body of frame ``number``."""
    frames = [frame for frame in sample(name) if frame.data is not None]
    frame = frames[number]
    body = json.loads(frame.data or b"")
    change(body)
    event = body["type"] if frame.event and isinstance(body.get("type"), str) else frame.event
    frames[number] = packed(body, event)
    return frames


@pytest.mark.parametrize(
    ("name", "number", "change", "rule"),
    [
        ("text", 0, put("type", "ping"), "ping may not stand in state 'nothing'"),
        ("text", 0, put("type", "hidden"), "an unknown event may not stand in state 'nothing'"),
        ("text", 1, put("type", "message_stop"), "message_stop may not stand in state 'between'"),
        ("text", 1, put("type", "comment"), "an unknown event may not stand"),
        ("text", 3, put("type", "message_delta"), "message_delta may not stand in state 'block'"),
        ("text", 0, cut("message"), "message_start has its message, of type dict"),
        ("text", 0, put("message.role", "user"), "the message starts with role assistant"),
        ("text", 0, put("message.content", [{}]), "the message starts with content []"),
        ("text", 0, put("message.stop_reason", "x"), "the message starts with stop_reason None"),
        ("text", 0, cut("message.id"), "the message has its id"),
        ("text", 0, cut("message.model"), "the message has its model"),
        ("text", 0, cut("message.usage"), "the message has its usage"),
        ("text", 0, cut("message.usage.output_tokens"), "the message's usage has its output_tok"),
        ("text", 1, put("index", 1), "block indices have no gap (fact 3)"),
        ("text", 1, put("index", True), "content_block_start has its index, of type int"),
        ("text", 1, cut("content_block"), "content_block_start has its content_block"),
        ("text", 1, cut("content_block.type"), "a block has its type"),
        ("text", 1, cut("content_block.text"), "a text block has its text"),
        ("text", 3, put("index", 1), "blocks do not overlap"),
        ("text", 3, cut("delta"), "content_block_delta has its delta"),
        ("text", 3, put("delta.text", None), "text_delta has its text, of type str"),
        ("text", 5, put("index", 1), "blocks do not overlap"),
        ("text", 6, cut("delta"), "message_delta has its delta"),
        ("text", 6, cut("usage"), "message_delta (fact 2) has its usage"),
        ("text", 6, cut("usage.output_tokens"), "usage (fact 2) has its output_tokens"),
        ("text", 6, put("usage.output_tokens", None), "usage (fact 2) has its output_tokens"),
        ("text", 6, put("delta.stop_reason", 1), "message_delta has its stop_reason"),
        ("text", 6, put("delta.stop_reason", None), "stop_reason is sent before message_stop"),
        ("tool-use", 5, put("index", 0), "block indices have no gap"),
        ("tool-use", 5, put("content_block.id", ""), "a call's id and name are not empty"),
        ("tool-use", 5, put("content_block.name", ""), "a call's id and name are not empty"),
        ("tool-use", 5, put("content_block.input", "{}"), "a tool_use block has its input"),
        ("tool-use", 6, put("delta.type", "text_delta"), "the kind of a delta is one of its"),
        ("tool-use", 6, put("delta.type", "hidden"), "the kind of a delta is one of its block's"),
        ("tool-use", 6, put("index", 0), "blocks do not overlap"),
        ("thinking", 1, cut("content_block.signature"), "a thinking block has its signature"),
        ("thinking", 2, put("delta", {"type": "signature_delta", "signature": "x"}), "once and"),
        ("thinking", 4, cut("delta.signature"), "signature_delta has its signature"),
        ("thinking", 6, cut("content_block.data"), "a redacted_thinking block has its data"),
        ("thinking", 7, put("type", "content_block_delta"), "content_block_delta has its delta"),
        ("server-tool", 4, put("content_block.type", "text"), "a text block has its text"),
        ("error", 3, cut("error"), "an error event has its error"),
        ("error", 3, cut("error.type"), "an error has its type"),
        ("error", 3, cut("error.message"), "an error has its message"),
    ],
)
def test_anthropic_rule(name: str, number: int, change: Callable[[Any], None], rule: str) -> None:
    assert rule in refused(anthropic_checker(), broken(f"anthropic/{name}", number, change))


def test_whole_block_has_no_deltas() -> None:
    frames = sample("anthropic/thinking")
    late = packed(
        {
            "type": "content_block_delta",
            "index": 1,
            "delta": {"type": "thinking_delta", "thinking": "x"},
        },
        "content_block_delta",
    )
    assert "one of its block's" in refused(anthropic_checker(), [*frames[:7], late])


CHOICE = "choices.0."
CALL = "choices.0.delta.tool_calls."


@pytest.mark.parametrize(
    ("name", "number", "change", "rule"),
    [
        ("text", 0, put("object", "chat.completion"), "the object is a chunk"),
        ("text", 1, cut("object"), "the object is a chunk"),
        ("text", 1, put("id", "x"), "are the same in all chunks"),
        ("text", 1, put("created", 1), "are the same in all chunks"),
        ("text", 1, put("model", "x"), "are the same in all chunks"),
        ("text", 4, put("id", "x"), "are the same in all chunks"),
        ("text", 0, cut("id"), "a chunk has its id"),
        ("text", 0, put("created", 1.5), "a chunk has its created, of type int"),
        ("text", 0, put("model", None), "a chunk has its model"),
        ("text", 1, cut("choices"), "a chunk has its choices"),
        ("text", 1, put("choices", [1]), "a choice is an object"),
        ("text", 1, put("choices", []), "usage may not stand in state 'open'"),
        ("text", 1, cut(CHOICE + "index"), "a choice has its index"),
        ("text", 1, put(CHOICE + "index", 1), "the first delta of a choice carries the role"),
        ("text", 1, cut(CHOICE + "delta"), "a choice has its delta"),
        ("text", 0, cut(CHOICE + "delta.role"), "the first delta of a choice carries the role"),
        ("text", 0, put(CHOICE + "delta.role", "user"), "first delta of a choice carries the role"),
        ("text", 1, put(CHOICE + "delta.role", "assistant"), "the role is sent once (fact 8)"),
        ("text", 1, put(CHOICE + "delta.role", None), "the role is sent once (fact 8)"),
        ("text", 1, put(CHOICE + "delta.content", []), "a delta has its content, of type str"),
        ("text", 1, put(CHOICE + "delta.refusal", 1), "a delta has its refusal"),
        ("text", 1, put(CHOICE + "finish_reason", "stop"), "nothing follows a choice's finish"),
        ("text", 3, put(CHOICE + "finish_reason", "end_turn"), "the finish_reason is a known one"),
        ("text", 3, put(CHOICE + "finish_reason", None), "usage may not stand in state 'open'"),
        ("text", 3, put("usage", {"prompt_tokens": 1}), "usage stands in the last chunk only"),
        ("text", 1, cut("usage"), "with include_usage every chunk has the key usage"),
        ("text", 4, put("usage", None), "the usage chunk has its usage"),
        ("text", 4, cut("usage.prompt_tokens"), "usage has its prompt_tokens"),
        ("text", 4, cut("usage.completion_tokens"), "usage has its completion_tokens"),
        ("text", 4, cut("usage.total_tokens"), "usage has its total_tokens"),
        ("parallel-calls", 2, put(CALL + "0.index", 1), "tool calls count from 0 without gaps"),
        ("parallel-calls", 4, put(CALL + "0.index", 2), "tool calls count from 0 without gaps"),
        ("parallel-calls", 2, put(CALL + "0.index", -1), "tool calls count from 0 without gaps"),
        ("parallel-calls", 2, cut(CALL + "0.index"), "an entry of tool_calls (fact 9) has its in"),
        ("parallel-calls", 2, put(CALL + "0", "x"), "an entry of tool_calls is an object"),
        ("parallel-calls", 2, cut(CALL + "0.id"), "a tool call has its id"),
        ("parallel-calls", 2, put(CALL + "0.id", ""), "a call's id is not empty"),
        ("parallel-calls", 2, cut(CALL + "0.type"), "a tool call has its type"),
        ("parallel-calls", 2, put(CALL + "0.type", "x"), "a call's type is function or custom"),
        ("parallel-calls", 2, cut(CALL + "0.function"), "a tool call has its function"),
        ("parallel-calls", 2, cut(CALL + "0.function.name"), "a call has its name"),
        ("parallel-calls", 2, put(CALL + "0.function.name", ""), "a call's name is not empty"),
        ("parallel-calls", 2, cut(CALL + "0.function.arguments"), "a call has its arguments"),
        ("parallel-calls", 3, put(CALL + "0.id", "call_1"), "id and type are sent once (fact 8)"),
        ("parallel-calls", 3, put(CALL + "0.type", "function"), "id and type are sent once"),
        ("parallel-calls", 3, put(CALL + "0.function.name", ""), "name is sent once (fact 8)"),
        ("parallel-calls", 5, cut(CALL + "1.function.arguments"), "a call has its arguments"),
        ("custom-call", 1, cut(CALL + "0.custom"), "a tool call has its custom"),
        ("custom-call", 1, cut(CALL + "0.custom.input"), "a call has its input"),
        ("function-call", 2, put(CHOICE + "delta.function_call.name", "x"), "name is sent once"),
        ("function-call", 1, cut(CHOICE + "delta.function_call.name"), "a call has its name"),
        ("reasoning", 1, put(CHOICE + "delta.reasoning_content", 1), "has its reasoning_content"),
        ("reasoning", 1, cut(CHOICE + "delta.reasoning_details.0.index"), "(fact 9) has its index"),
        ("error", 2, put("error", None), "an error event has its error"),
        ("error", 2, cut("error.message"), "an error has its message"),
    ],
)
def test_openai_rule(name: str, number: int, change: Callable[[Any], None], rule: str) -> None:
    assert rule in refused(openai_checker(True), broken(f"openai/{name}", number, change))


def test_usage_is_told_where_it_was_asked_for() -> None:
    asked, plain = sample("openai/text"), sample("openai/no-usage")
    run(openai_checker(None), asked)
    run(openai_checker(None), plain)
    run(openai_checker(False), plain)
    assert "only where it was asked for" in refused(openai_checker(False), asked)
    run(openai_checker(False), [frame for frame in asked if b"_tokens" not in (frame.data or b"")])
    assert "every chunk has the key usage" in refused(openai_checker(True), plain)
    without = asked[:-2] + asked[-1:]
    assert "the usage chunk comes last" in refused(openai_checker(True), without)


def test_openai_stream_has_no_event_lines() -> None:
    frames = sample("openai/text")
    for number, frame in enumerate(frames):
        if frame.data is not None:
            named = [*frames[:number], Frame("message", frame.data)]
            assert refused(openai_checker(), named) == "no event has an event: line"


def test_anthropic_stream_has_an_event_line_everywhere() -> None:
    frames = sample("anthropic/text")
    for number, frame in enumerate(frames):
        if frame.data is not None:
            bare = [*frames[:number], Frame("", frame.data)]
            assert "every event has its event: line" in refused(anthropic_checker(), bare)
            other = [*frames[:number], Frame("error", frame.data)]
            assert refused(anthropic_checker(), other) == "the event: line is the type"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"1", b'{"a":NaN}', b'{"a":1} ]', b" [DONE]"])
def test_data_is_one_json_object(data: bytes) -> None:
    assert refused(openai_checker(), [Frame("", data)]) == "data is one JSON object"
    assert refused(anthropic_checker(), [Frame("ping", data)]) == "data is one JSON object"


def test_done_is_no_anthropic_event() -> None:
    assert refused(anthropic_checker(), [*sample("anthropic/text")[:-1], Frame("x", b"[DONE]")])
    assert (
        refused(openai_checker(), [Frame("", b"[DONE]")])
        == "[DONE] may not stand in state 'nothing'"
    )


def test_half_a_surrogate_pair_is_json() -> None:
    half = put(CHOICE + "delta.content", "\ud83d")
    run(openai_checker(True), broken("openai/text", 1, half))


@pytest.mark.parametrize("table", [ANTHROPIC, OPENAI, EVENTS])
def test_every_state_can_be_reached_and_left(table: dict[str, dict[str, str]]) -> None:
    reached = {state for row in table.values() for state in row.values()}
    assert reached | {"nothing"} == {*table, "complete"}
    assert all(table.values())


IMAGE: Any = parts.ImagePart(source=parts.Url(url="x"))
STOP = Finish(Stop(reason="end"), Usage())
SIGNATURE = parts.Signature(origin="signable", value="x")
LEGAL: list[StreamEvent] = [
    Start("id", "model"),
    PartStart(0, parts.ReasoningPart()),
    PartDelta(0, "reasoning", "hm"),
    PartDelta(0, "signature", SIGNATURE),
    PartStop(0),
    PartStart(1, parts.ReasoningPart(redacted="x")),
    PartStop(1),
    PartStart(2, parts.TextPart(text="")),
    PartDelta(2, "text", "a"),
    PartDelta(2, "citation", parts.Citation(kind="url")),
    PartStop(2),
    PartStart(3, parts.ToolCallPart(id="1", name="f")),
    PartDelta(3, "args", "{}"),
    PartStop(3),
    PartStart(4, parts.OpaquePart(origin="anthropic", type="x", raw={})),
    PartStop(4),
    STOP,
]
FREE = {2, 8, 9, 12}
"""Deltas that may be missing or doubled."""


def test_events_are_legal_and_no_beginning_of_them_is() -> None:
    checker = EventChecker()
    for event in LEGAL:
        with pytest.raises(GrammarError, match="does not end in state"):
            checker.close()
        checker.feed(event)
    assert checker.terminal
    checker.close()


def test_pings_and_usage_may_stand_between() -> None:
    live = (Ping(), UsageUpdate(Usage()))
    run(EventChecker(), [LEGAL[0], *(x for event in LEGAL[1:] for x in (*live, event))])
    for event in live:
        assert "may not stand in state 'nothing'" in refused(EventChecker(), [event])


def test_error_event_may_stand_for_any_rest() -> None:
    error = Error(ErrorInfo(kind="server", message="x"))
    for number in range(len(LEGAL)):
        run(EventChecker(), [*LEGAL[:number], error])
        after = refused(EventChecker(), [*LEGAL[:number], error, LEGAL[number]])
        assert after == "nothing follows the end"


@pytest.mark.parametrize("number", sorted({*range(len(LEGAL))} - FREE))
def test_lost_doubled_or_swapped_event_is_noticed(number: int) -> None:
    before, event, after = LEGAL[:number], LEGAL[number], LEGAL[number + 1 :]
    if number != 3:
        assert refused(EventChecker(), [*before, *after])
    assert refused(EventChecker(), [*before, event, event, *after])
    if after:
        assert refused(EventChecker(), [*before, after[0], event, *after[1:]])


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        ([PartStart(1, parts.TextPart(text=""))], "part indices have no gap"),
        ([PartStart(0, IMAGE)], "one that an answer may have"),
        ([*LEGAL[1:2], PartDelta(1, "reasoning", "x")], "parts do not overlap"),
        ([*LEGAL[1:2], PartStop(1)], "parts do not overlap"),
        ([*LEGAL[1:2], PartDelta(0, "text", "x")], "the kind of a delta is one of its part's"),
        ([*LEGAL[1:2], PartDelta(0, "reasoning", SIGNATURE)], "a delta's value is of its kind"),
        ([*LEGAL[1:2], PartDelta(0, "signature", "x")], "a delta's value is of its kind"),
        ([*LEGAL[1:4], PartDelta(0, "reasoning", "x")], "a signature comes once and last"),
        ([*LEGAL[1:4], PartDelta(0, "signature", SIGNATURE)], "a signature comes once and last"),
        ([*LEGAL[1:6], PartDelta(1, "reasoning", "x")], "one of its part's"),
        ([*LEGAL[1:15], PartDelta(4, "text", "x")], "one of its part's"),
        ([*LEGAL[1:2], STOP], "Finish may not stand in state 'part'"),
        ([object()], "an unknown event may not stand in state 'between'"),
    ],
)
def test_event_rule(events: list[Any], rule: str) -> None:
    assert rule in refused(EventChecker(), [LEGAL[0], *events])


def test_unfolded_answer_is_legal() -> None:
    told = (
        parts.ReasoningPart(text="hm", signature=SIGNATURE),
        parts.TextPart(text="a", citations=(parts.Citation(kind="url"),)),
        parts.ToolCallPart(id="1", name="f", args={}, raw_args="{}"),
    )
    answer = Response(id="1", model="m", parts=told, stop=Stop(reason="tool_calls"))
    run(EventChecker(), unfold(answer))


def test_complaint_holds_nothing_of_the_contents() -> None:
    for frame in (
        Frame("hidden", b'{"type":"hidden"}'),
        Frame("message_start", b'{"type":"message_start","message":"hidden"}'),
        Frame("error", b"hidden"),
    ):
        assert "hidden" not in refused(anthropic_checker(), [frame])
    body = broken("openai/text", 3, put(CHOICE + "finish_reason", "hidden"))
    assert "hidden" not in refused(openai_checker(), body)
