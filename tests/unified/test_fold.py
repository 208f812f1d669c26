"""Folding makes one answer of a stream, unfolding tells it again. The law that they are inverse
is in test_laws.py; here is what each rule of it means."""

from typing import Any

import pytest
from streams import events

from lmbroker.errors import Broken, ErrorInfo
from lmbroker.translation.unified.fold import TRUNCATED, Folder, fold, unfold
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
    UsageUpdate,
)
from lmbroker.usage import Usage

START = Start("x", "m")
END = Finish(Stop(reason="end"))
PLAIN = Signature(origin="text")
SIGNED = Signature(origin="signable", value="c2ln")


def folded(skeleton: Part, *values: Any) -> Part:
    (part,) = fold([START, *events([skeleton, *values]), END]).parts
    return part


def test_answer_has_what_start_and_finish_say() -> None:
    usage = Usage(input=9, output=4)
    stop = Stop(reason="max_tokens", raw="length")
    found = fold([Start("x", "m", None, 179, "standard"), Finish(stop, usage)])
    assert found == Response(
        id="x", model="m", created=179, parts=(), stop=stop, usage=usage, tier="standard"
    )


@pytest.mark.parametrize(
    ("first", "update", "last", "expected"),
    [
        (1, None, None, 1),
        (1, 2, None, 2),
        (1, 2, 3, 3),
        (None, 2, None, 2),
        (None, None, None, None),
    ],
)
def test_last_usage_wins(
    first: int | None, update: int | None, last: int | None, expected: int | None
) -> None:
    def usage(count: int | None) -> Usage | None:
        return None if count is None else Usage(output=count)

    told: list[StreamEvent] = [Start("x", "m", usage(first))]
    if update is not None:
        told.append(UsageUpdate(Usage(output=update)))
    assert fold([*told, Finish(Stop(reason="end"), usage(last))]).usage == usage(expected)


def test_last_tier_wins() -> None:
    start, stop = Start("x", "m", None, None, "standard"), Stop(reason="end")
    assert fold([start, Finish(stop, None, "priority")]).tier == "priority"
    assert fold([start, Finish(stop)]).tier == "standard"


def test_deltas_become_one_text() -> None:
    assert folded(TextPart(text=""), "Hel", "lo") == TextPart(text="Hello")
    assert folded(TextPart(text="Hel"), "lo") == TextPart(text="Hello")
    assert folded(TextPart(text="", refusal=True), "No.") == TextPart(text="No.", refusal=True)


def test_halves_of_a_character_meet() -> None:
    assert folded(TextPart(text=""), "a\ud83d", "\ude42b") == TextPart(text="a🙂b")
    assert folded(TextPart(text=""), "\ude42", "\ud83d") == TextPart(text="\ude42\ud83d")


def test_citations_are_collected() -> None:
    one, two = Citation(kind="url", url="a"), Citation(kind="url", url="b")
    assert folded(TextPart(text=""), one, "Hi", two) == TextPart(text="Hi", citations=(one, two))


def test_signature_stands_once() -> None:
    assert folded(ReasoningPart(), "Hm.", SIGNED) == ReasoningPart(text="Hm.", signature=SIGNED)
    assert folded(ReasoningPart(signature=PLAIN), "Hm.") == ReasoningPart(
        text="Hm.", signature=PLAIN
    )
    details = Signature(origin="details", value="[]")
    assert folded(ReasoningPart(signature=PLAIN), details) == ReasoningPart(signature=details)


@pytest.mark.parametrize(
    ("skeleton", "values", "expected"),
    [
        ({}, ['{"a":', "1}"], {"args": {"a": 1}, "raw_args": '{"a":1}'}),
        ({}, [], {"args": {}}),
        ({}, [" "], {"args": {}, "raw_args": " "}),
        ({"args": {"a": 1}}, [], {"args": {"a": 1}}),
        ({"args": {}}, ['{"a":1}'], {"args": {"a": 1}, "raw_args": '{"a":1}'}),
        ({}, ["[1]"], {"raw_args": "[1]"}),
        ({}, ['{"a":'], {"raw_args": '{"a":'}),
        ({"kind": "custom"}, ["l", "s"], {"kind": "custom", "raw_args": "ls"}),
        ({"kind": "custom"}, [], {"kind": "custom", "raw_args": ""}),
    ],
)
def test_arguments(skeleton: Any, values: list[str], expected: Any) -> None:
    call = ToolCallPart(id="c", name="f", **skeleton)
    assert folded(call, *values) == ToolCallPart(id="c", name="f", **expected)


@pytest.mark.parametrize(
    "part",
    [
        ReasoningPart(redacted="b3BhcXVl"),
        OpaquePart(origin="anthropic", type="compaction", raw={"type": "compaction"}),
    ],
)
def test_whole_parts_stay_as_they_are(part: Part) -> None:
    assert folded(part) == part


def test_pings_say_nothing() -> None:
    part = events([TextPart(text=""), "Hi"])
    told = [each for event in (START, *part, END) for each in (event, Ping())]
    assert fold(told) == fold([START, *part, END])


def test_error_is_raised() -> None:
    info = ErrorInfo(kind="overloaded", message="Overloaded")
    folder = Folder()
    folder.feed(START)
    with pytest.raises(Broken) as caught:
        folder.feed(Error(info))
    assert caught.value.info is info


@pytest.mark.parametrize("told", [[], [START], [START, *events([TextPart(text=""), "Hi"])], [END]])
def test_stream_without_its_start_or_end_is_no_answer(told: list[StreamEvent]) -> None:
    with pytest.raises(Broken) as caught:
        fold(told)
    assert caught.value.info is TRUNCATED


def test_unfolded_answer_tells_each_part_in_one_piece() -> None:
    response = Response(
        id="x",
        model="m",
        created=179,
        parts=(
            ReasoningPart(text="Hm.", signature=SIGNED),
            ReasoningPart(text="Hm.", signature=PLAIN),
            TextPart(text="Hi", citations=(Citation(kind="url", url="a"),)),
            TextPart(text=""),
            ToolCallPart(id="c", name="f", args={"a": 1}, raw_args='{"a": 1}'),
            ToolCallPart(id="d", name="g", args={"a": 1}),
        ),
        stop=Stop(reason="tool_calls"),
        usage=Usage(input=9, cache_read=3, output=4, reasoning=2),
        tier="standard",
    )
    assert unfold(response) == [
        Start("x", "m", Usage(input=9, cache_read=3), 179, "standard"),
        PartStart(0, ReasoningPart()),
        PartDelta(0, "reasoning", "Hm."),
        PartDelta(0, "signature", SIGNED),
        PartStop(0),
        PartStart(1, ReasoningPart(signature=PLAIN)),
        PartDelta(1, "reasoning", "Hm."),
        PartDelta(1, "signature", PLAIN),
        PartStop(1),
        PartStart(2, TextPart(text="")),
        PartDelta(2, "text", "Hi"),
        PartDelta(2, "citation", Citation(kind="url", url="a")),
        PartStop(2),
        PartStart(3, TextPart(text="")),
        PartStop(3),
        PartStart(4, ToolCallPart(id="c", name="f")),
        PartDelta(4, "args", '{"a": 1}'),
        PartStop(4),
        PartStart(5, ToolCallPart(id="d", name="g", args={"a": 1})),
        PartStop(5),
        Finish(
            Stop(reason="tool_calls"),
            Usage(input=9, cache_read=3, output=4, reasoning=2),
            "standard",
        ),
    ]
