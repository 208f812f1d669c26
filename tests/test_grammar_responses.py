"""Legal streams of Responses pass; every rule, broken alone, is told by its name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmbroker.sse import Frame, Reader
from lmbroker.testing.grammar import GrammarError
from lmbroker.testing.grammar_responses import responses_checker

TRANSCRIPTS = Path(__file__).parent / "transcripts"
SAMPLES = sorted(path.name for path in TRANSCRIPTS.glob("*2r.out.sse"))

Body = dict[str, Any]
Change = Callable[[list[Body]], object]


def bodies(name: str) -> list[Body]:
    frames = Reader().feed((TRANSCRIPTS / name).read_bytes())
    return [json.loads(frame.data) for frame in frames if frame.data is not None]


def frames(events: list[Body]) -> list[Frame]:
    return [Frame(body["type"], json.dumps(body).encode()) for body in events]


def run(items: list[Frame]) -> None:
    checker = responses_checker()
    for item in items:
        checker.feed(item)
    checker.close()


def first(events: list[Body], kind: str) -> Body:
    return next(body for body in events if body["type"] == f"response.{kind}")


def renumbered(events: list[Body]) -> None:
    for number, body in enumerate(events):
        body["sequence_number"] = number


def without(kind: str) -> Change:
    def change(events: list[Body]) -> None:
        events.remove(first(events, kind))
        renumbered(events)

    return change


def again(kind: str) -> Change:
    def change(events: list[Body]) -> None:
        found = first(events, kind)
        events.insert(events.index(found), json.loads(json.dumps(found)))
        renumbered(events)

    return change


def put(kind: str, **fields: Any) -> Change:
    return lambda events: first(events, kind).update(fields)


def inside(kind: str, key: str, **fields: Any) -> Change:
    return lambda events: first(events, kind)[key].update(fields)


@pytest.mark.parametrize("name", SAMPLES)
def test_transcripts_are_legal(name: str) -> None:
    run(Reader().feed((TRANSCRIPTS / name).read_bytes()))


RULES: dict[str, tuple[str, Change]] = {
    "sequence_number has no gap": ("text", put("output_text.delta", sequence_number=9)),
    "an event has its sequence_number": ("text", put("output_text.delta", sequence_number=None)),
    "may not stand in state 'nothing'": ("text", without("created")),
    "may not stand in state 'created'": ("text", without("in_progress")),
    "the response keeps its id": ("text", inside("completed", "response", id="resp_other")),
    "the response has its model": ("text", inside("created", "response", model=None)),
    "the status is that of the event": ("text", inside("completed", "response", status="failed")),
    "the response begins without output": ("text", inside("created", "response", output=[{}])),
    "the response has its usage": ("text", inside("completed", "response", usage=None)),
    "ends with the items that were done": ("text", inside("completed", "response", output=[])),
    "an incomplete response has its incomplete_details": (
        "length",
        inside("incomplete", "response", incomplete_details=None),
    ),
    "a failed response has its error": ("error", inside("failed", "response", error=None)),
    "an item has its id": ("text", inside("output_item.added", "item", id=None)),
    "output indices have no gap": ("text", put("output_item.added", output_index=1)),
    "an item is added before it is spoken of": ("text", without("output_item.added")),
    "the item_id is that of the item": ("text", put("output_text.delta", item_id="msg_other")),
    "an item keeps its id": ("text", inside("output_item.done", "item", id="msg_other")),
    "an item keeps its type": ("text", inside("output_item.done", "item", type="other")),
    "all items are done before the end": ("text", without("output_item.done")),
    "nothing follows an item that is done": ("text", again("output_item.done")),
    "a text that is done is what its deltas sent": ("text", without("output_text.delta")),
    "nothing follows a text that is done": ("text", again("output_text.done")),
    "a part that is done has its text": ("text", inside("content_part.done", "part", text="")),
    "the part that is done is open": ("text", without("content_part.added")),
    "parts follow each other": ("text", again("content_part.added")),
    "parts are done before their item": ("text", without("content_part.done")),
    "an item that is done has its parts": (
        "text",
        inside("output_item.done", "item", content=[]),
    ),
    "an item that is done has its text": (
        "tool",
        lambda events: events[-2]["item"].update(arguments="{}"),
    ),
    "the kind of a delta is one of its item's": (
        "tool",
        lambda events: first(events, "function_call_arguments.delta").update(output_index=0),
    ),
    "the event is one of a response": (
        "text",
        lambda events: events[3].update(type="content_block_start"),
    ),
    "one error is sent": ("error", lambda events: events.insert(-1, dict(events[-2]))),
    "an error has its message": ("error", lambda events: events[-2]["error"].pop("message")),
}


@pytest.mark.parametrize("rule", RULES)
def test_a_rule_that_is_broken_is_told(rule: str) -> None:
    name, change = RULES[rule]
    events = bodies(f"{name}.a2r.out.sse" if name != "length" else "length.o2r.out.sse")
    change(events)
    if rule.startswith("one error"):
        renumbered(events)
    if rule.startswith("the kind of a delta"):
        item = first(events, "output_item.added")["item"]["id"]
        first(events, "function_call_arguments.delta")["item_id"] = item
        events.insert(4, events.pop(events.index(first(events, "function_call_arguments.delta"))))
        renumbered(events)
    with pytest.raises(GrammarError) as caught:
        run(frames(events))
    assert rule in str(caught.value)


def test_nothing_follows_the_end() -> None:
    events = bodies("text.a2r.out.sse")
    events.append({**events[3], "sequence_number": len(events)})
    with pytest.raises(GrammarError, match="nothing follows the end"):
        run(frames(events))


def test_each_event_has_its_line() -> None:
    (item, *_) = frames(bodies("text.a2r.out.sse"))
    with pytest.raises(GrammarError, match="event: line"):
        run([Frame("", item.data)])


@pytest.mark.parametrize("cut", [1, 2, 5, -1])
def test_a_stream_does_not_stop_before_its_end(cut: int) -> None:
    with pytest.raises(GrammarError, match="does not end in state"):
        run(frames(bodies("text.a2r.out.sse")[:cut]))


def test_an_error_may_stand_for_any_rest() -> None:
    events = bodies("error.a2r.out.sse")
    run(frames(events[:-1]))
    for kept in range(len(events) - 2):
        rest = [*events[:kept], *events[-2:]]
        renumbered(rest)
        run(frames(rest))
        rest = [*events[:kept], events[-1]]
        renumbered(rest)
        run(frames(rest))


def test_comments_may_stand_anywhere() -> None:
    comment = Frame("", None)
    run([each for item in frames(bodies("tool.a2r.out.sse")) for each in (comment, item)])


def test_items_may_overlap() -> None:
    events = bodies("parallel.a2r.out.sse")
    added = [body for body in events if body["type"] == "response.output_item.added"]
    events.remove(added[1])
    events.insert(3, added[1])
    renumbered(events)
    run(frames(events))


def test_a_rule_is_told_without_contents() -> None:
    events = bodies("text.a2r.out.sse")
    events[4]["type"] = "secret words"
    with pytest.raises(GrammarError) as caught:
        run(frames(events))
    assert "secret" not in str(caught.value)
