"""Events of Responses -> events: every backend that nearly speaks the dialect tells the same
answer."""

import json
from typing import Any

import pytest
from streams import JSON, cuts

from lmbroker.errors import ErrorInfo
from lmbroker.sse import Reader
from lmbroker.testing.grammar import EventChecker
from lmbroker.translation.dialects.base import Reading
from lmbroker.translation.dialects.openai_responses.response_decode import decode_response
from lmbroker.translation.dialects.openai_responses.stream_decode import ResponsesDecoder
from lmbroker.translation.unified.fold import TRUNCATED, fold
from lmbroker.translation.unified.parts import (
    Citation,
    Extra,
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

HEAD: JSON = {
    "id": "resp_7",
    "object": "response",
    "created_at": 1790000000,
    "model": "gpt",
    "status": "in_progress",
    "output": [],
    "service_tier": "default",
    "usage": None,
}
CREATED: JSON = {"type": "response.created", "response": HEAD}
USED = {
    "input_tokens": 9,
    "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 3},
    "output_tokens": 4,
    "output_tokens_details": {"reasoning_tokens": 1},
    "total_tokens": 13,
}
COUNTED = Usage(input=4, cache_read=2, cache_write=3, output=4, reasoning=1)


def event(kind: str, **fields: Any) -> JSON:
    return {"type": f"response.{kind}", **fields}


def end(*output: JSON, kind: str = "completed", **fields: Any) -> JSON:
    whole = {**HEAD, "status": kind, "output": list(output), "usage": USED, **fields}
    return event(kind, response=whole)


def message(text: str = "Hello", id: str = "msg_1", **fields: Any) -> JSON:
    piece = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    whole = {"id": id, "type": "message", "role": "assistant", "status": "completed"}
    return {**whole, "content": [piece], **fields}


def call(args: str = '{"a":1}', number: int = 1, **fields: Any) -> JSON:
    ids = {"id": f"fc_{number}", "call_id": f"call_{number}", "name": "f"}
    return {"type": "function_call", **ids, "arguments": args, "status": "completed", **fields}


def added(index: int, item: JSON) -> JSON:
    empty: JSON = {"message": {"content": []}, "function_call": {"arguments": ""}}.get(
        item["type"], {}
    )
    begun = {**item, **empty, "status": "in_progress"}
    return event("output_item.added", output_index=index, item=begun)


def done(index: int, item: JSON) -> JSON:
    return event("output_item.done", output_index=index, item=item)


def delta(kind: str, text: str, index: int = 0, id: str = "msg_1", **fields: Any) -> JSON:
    at = {"output_index": index, "item_id": id}
    return event(f"{kind}.delta", **at, delta=text, **fields)


def said(text: str, index: int = 0, id: str = "msg_1") -> JSON:
    return delta("output_text", text, index, id, content_index=0, logprobs=[])


def given(text: str, index: int = 0, number: int = 1) -> JSON:
    return delta("function_call_arguments", text, index, f"fc_{number}", obfuscation="x")


def stream(*items: JSON | str, names: bool = True) -> bytes:
    """Items: events, or lines as they are."""
    out = []
    for number, item in enumerate(items):
        if isinstance(item, str):
            out.append(f"{item}\n\n")
            continue
        name = f"event: {item['type']}\n" if names and "type" in item else ""
        numbered = {**item, "sequence_number": number} if names else item
        out.append(f"{name}data: {json.dumps(numbered)}\n\n")
    return "".join(out).encode()


def read(chunks: list[bytes], reading: Reading | None = None) -> list[StreamEvent]:
    reader, decoder, checker = Reader(), ResponsesDecoder(reading), EventChecker()
    found: list[StreamEvent] = []
    for chunk in chunks:
        for frame in reader.feed(chunk):
            found += decoder.feed(frame)
    for frame in reader.close():
        found += decoder.feed(frame)
    found += decoder.close()
    for each in found:
        checker.feed(each)
    checker.close()
    assert decoder.close() == []
    return found


def events_of(*items: JSON | str, names: bool = True) -> list[StreamEvent]:
    """The events of a stream, the same however it is cut."""
    first, *others = [read(chunks) for chunks in cuts(stream(*items, names=names))]
    for other in others:
        assert other == first
    return first


def answer(*items: JSON | str, names: bool = True) -> Response:
    return fold(events_of(*items, names=names))


def parts(*items: JSON | str) -> tuple[Part, ...]:
    return answer(CREATED, *items).parts


def error(*items: JSON | str) -> ErrorInfo:
    last = events_of(*items)[-1]
    assert isinstance(last, Error)
    return last.error


def dropped(*items: JSON | str) -> tuple[str, ...]:
    reading = Reading()
    read([stream(*items)], reading)
    return reading.losses.dropped


def own(id: str = "msg_1", **more: str) -> tuple[Extra, ...]:
    loss: Any = "drop" if more.get("phase") == "commentary" else "none"
    held = {"id": id, **more}
    return (
        Extra(origin="responses", name="message", path="output[].phase", value=held, loss=loss),
    )


HELLO = TextPart(text="Hello", extras=own())
F = ToolCallPart(id="call_1", name="f", args={"a": 1}, raw_args='{"a":1}')


# The form of a stream.


def test_a_stream_becomes_events() -> None:
    text = message()
    assert events_of(
        CREATED,
        event("in_progress", response=HEAD),
        added(0, text),
        event("content_part.added", output_index=0, part={"type": "output_text", "text": ""}),
        said("Hel"),
        said("lo"),
        event("output_text.done", output_index=0, item_id="msg_1", text="Hello"),
        event("content_part.done", output_index=0, part=text["content"][0]),
        done(0, text),
        end(text),
    ) == [
        Start("resp_7", "gpt", None, 1790000000, "standard"),
        PartStart(0, TextPart(text="", extras=own())),
        PartDelta(0, "text", "Hel"),
        PartDelta(0, "text", "lo"),
        PartStop(0),
        Finish(Stop(reason="end", raw="completed"), COUNTED, "standard"),
    ]


def test_nothing_is_told_before_the_first_item_since_an_error_may_follow() -> None:
    first = [CREATED, event("in_progress", response=HEAD), event("queued", response=HEAD)]
    failed = event("failed", response={**HEAD, "error": {"code": "server_error", "message": "No."}})
    for last in (failed, {"type": "error", "code": "server_error", "message": "No."}):
        (only,) = events_of(*first, last)
        assert isinstance(only, Error)
        assert (only.error.kind, only.error.message) == ("server", "No.")


@pytest.mark.parametrize("last", [said("late"), end(), {"type": "error"}, "data: {", ": late"])
def test_nothing_follows_the_end(last: JSON | str) -> None:
    assert parts(said("Hello"), end(), last) == (TextPart(text="Hello"),)


def test_a_stream_without_names_and_numbers_is_the_same_stream() -> None:
    items = [CREATED, added(0, message()), said("Hello"), done(0, message()), end(message())]
    assert events_of(*items, names=False) == events_of(*items)


def test_the_name_of_an_event_stands_in_for_its_missing_type() -> None:
    text = 'event: response.output_text.delta\ndata: {"delta":"Hello","output_index":0}'
    assert parts(text, end()) == (TextPart(text="Hello"),)


# Texts.

PIECE: JSON = message()["content"][0]


@pytest.mark.parametrize(
    "items",
    [
        [said("Hello")],
        [added(0, message()), said("Hel"), said("lo"), done(0, message())],
        [added(0, message()), event("output_text.done", output_index=0, text="Hello")],
        [added(0, message()), event("content_part.done", output_index=0, part=PIECE)],
        [added(0, message()), done(0, message())],
        [done(0, message())],
        [added(0, message())],
        [],
    ],
    ids=[
        "alone",
        "usual",
        "text done",
        "piece done",
        "item done",
        "only done",
        "only added",
        "only at the end",
    ],
)
@pytest.mark.parametrize("whole", [[message()], [message(id="msg_other")]])
def test_a_text_is_told_once_wherever_it_stands(items: list[JSON], whole: list[JSON]) -> None:
    found = parts(*items, end(*whole))
    assert [part.text for part in found if isinstance(part, TextPart)] == ["Hello"]
    assert len(found) == 1


def test_an_item_that_is_told_twice_is_one_item() -> None:
    for item, part in ((message(), HELLO), (call(), F)):
        assert parts(added(0, item), done(0, item), done(0, item), end(item)) == (part,)
        assert parts(added(0, item), added(0, item), done(0, item), end(item)) == (part,)


@pytest.mark.parametrize("without", ["output_index", "item_id", "content_index"])
def test_pieces_find_their_item_by_what_they_name(without: str) -> None:
    first, second = message("Hello"), message("World", "msg_2")
    items = [
        added(0, first),
        said("Hel"),
        said("lo"),
        done(0, first),
        added(1, second),
        said("Wor", 1, "msg_2"),
        said("ld", 1, "msg_2"),
        done(1, second),
        end(first, second),
    ]
    cut = [{key: value for key, value in item.items() if key != without} for item in items]
    assert parts(*cut) == (HELLO, TextPart(text="World", extras=own("msg_2")))


def test_ids_may_change_from_event_to_event() -> None:
    items = [
        added(0, message(id="a")),
        said("Hel", 0, "b"),
        said("lo", 0, "c"),
        done(0, message(id="d")),
        end(message(id="e")),
    ]
    assert [part.text for part in parts(*items) if isinstance(part, TextPart)] == ["Hello"]


def test_a_content_index_that_grows_begins_no_other_text() -> None:
    growing = [{**said(text), "content_index": number} for number, text in enumerate("abc")]
    (part,) = parts(added(0, message("abc")), *growing, done(0, message("abc")), end())
    assert isinstance(part, TextPart)
    assert part.text == "abc"


def test_overlapping_items_are_put_in_sequence() -> None:
    first, second = message("Hello"), message("World", "msg_2")
    assert parts(
        added(0, first),
        added(1, second),
        said("Hel"),
        said("Wor", 1, "msg_2"),
        said("lo"),
        said("ld", 1, "msg_2"),
        done(1, second),
        done(0, first),
        end(first, second),
    ) == (HELLO, TextPart(text="World", extras=own("msg_2")))


def test_several_pieces_of_content_are_several_texts() -> None:
    pieces = [{"type": "output_text", "text": text} for text in ("One", "Two")]
    both = message(content=pieces)
    begun = [
        event("content_part.added", output_index=0, part={**each, "text": ""}) for each in pieces
    ]
    first, second = begun
    found = parts(added(0, both), first, said("One"), second, said("Two"), done(0, both), end(both))
    assert found == (TextPart(text="One", extras=own()), TextPart(text="Two"))
    assert parts(done(0, both), end(both)) == found


@pytest.mark.parametrize("phase", ["commentary", "final_answer"])
def test_the_phase_of_a_message_is_kept(phase: str) -> None:
    text = message(phase=phase)
    kept = (TextPart(text="Hello", extras=own(phase=phase)),)
    assert parts(added(0, text), said("Hello"), done(0, text), end(text)) == kept
    assert parts(end(text)) == kept


def test_a_refusal_is_marked_and_explains_the_stop() -> None:
    item = message(content=[{"type": "refusal", "refusal": "I will not."}])
    for items in (
        [delta("refusal", "I will "), delta("refusal", "not.")],
        [event("refusal.done", output_index=0, refusal="I will not.")],
        [],
    ):
        found = answer(CREATED, added(0, item), *items, done(0, item), end(item))
        assert found.parts == (TextPart(text="I will not.", refusal=True, extras=own()),)
        details = {"type": "refusal", "category": None, "explanation": "I will not."}
        assert found.stop == Stop(reason="refusal", details=details, raw="completed")


URL: JSON = {
    "type": "url_citation",
    "url": "https://example.org/",
    "title": "Example",
    "start_index": 1,
    "end_index": 3,
}
CITED = Citation(
    kind="url",
    url="https://example.org/",
    title="Example",
    start=1,
    end=3,
    origin="responses",
    raw=URL,
    place="output[].content[].annotations",
)


def test_sources_are_told_once() -> None:
    item = message(content=[{"type": "output_text", "text": "Hello", "annotations": [URL]}])
    note = event("output_text.annotation.added", output_index=0, annotation=URL, annotation_index=0)
    for items in ([note], []):
        found = parts(added(0, item), said("Hello"), *items, done(0, item), end(item))
        assert found == (TextPart(text="Hello", citations=(CITED,), extras=own()),)


def test_probabilities_are_lost_and_told() -> None:
    certain = {**said("Hello"), "logprobs": [{"token": "Hello", "logprob": -0.1}]}
    assert dropped(CREATED, certain, end()) == ("output[].content[].logprobs",)


# Reasoning.


GIVEN = event("function_call_arguments.done", output_index=0, arguments='{"a":1}')


def thought(text: str, index: int = 0, **fields: Any) -> JSON:
    return delta("reasoning_summary_text", text, index, "rs_1", **fields)


def reasoning(*texts: str, content: bool = False, **fields: Any) -> JSON:
    kind = "reasoning_text" if content else "summary_text"
    pieces = [{"type": kind, "text": text} for text in texts]
    key = "content" if content else "summary"
    return {"id": "rs_1", "type": "reasoning", "summary": [], key: pieces, **fields}


def signed(value: str) -> Signature:
    return Signature(origin="responses", value=value)


def test_summaries_become_reasoning_that_can_be_brought_back() -> None:
    item = reasoning("One.", "Two.", encrypted_content="gAAAA")
    kept = signed('{"id":"rs_1","enc":"gAAAA","n":[4,4]}')
    found = events_of(
        CREATED,
        added(0, item),
        event("reasoning_summary_part.added", output_index=0, summary_index=0),
        thought("One", summary_index=0),
        thought(".", summary_index=0),
        event("reasoning_summary_text.done", output_index=0, summary_index=0, text="One."),
        event("reasoning_summary_part.added", output_index=0, summary_index=1),
        thought("Two.", summary_index=1),
        done(0, item),
        end(item),
    )
    assert found[1:-1] == [
        PartStart(0, ReasoningPart(signature=kept)),
        PartDelta(0, "reasoning", "One"),
        PartDelta(0, "reasoning", "."),
        PartDelta(0, "reasoning", "\n\nTwo."),
        PartDelta(0, "signature", kept),
        PartStop(0),
    ]
    assert parts(end(item)) == (ReasoningPart(text="One.\n\nTwo.", signature=kept),)


@pytest.mark.parametrize(
    "items",
    [
        [thought("One.", summary_index=0), thought("Two.", summary_index=1)],
        [
            event("reasoning_summary_text.done", output_index=0, summary_index=number, text=text)
            for number, text in enumerate(("One.", "Two."))
        ],
        [
            event("reasoning_summary_part.done", output_index=0, summary_index=number, part=part)
            for number, part in enumerate(({"text": "One."}, {"text": "Two."}))
        ],
        [],
    ],
    ids=["no parts", "only done", "only parts done", "only the item"],
)
def test_summaries_are_told_apart_without_all_events(items: list[JSON]) -> None:
    item = reasoning("One.", "Two.")
    assert parts(added(0, item), *items, done(0, item), end(item)) == (
        ReasoningPart(text="One.\n\nTwo.", signature=signed('{"id":"rs_1","n":[4,4]}')),
    )


def test_reasoning_itself_stands_in_for_a_summary() -> None:
    item = reasoning("Hm, yes.", content=True)
    kept = (ReasoningPart(text="Hm, yes.", signature=signed('{"id":"rs_1","c":1}')),)
    pieces = [
        delta("reasoning_text", text, 0, "rs_1", content_index=number)
        for number, text in enumerate(("Hm", ", yes."))
    ]
    begun = event("reasoning_part.added", output_index=0, part={"type": "reasoning_text"})
    for items in (
        [added(0, item), begun, *pieces, done(0, item)],
        [added(0, item), event("reasoning_text.done", output_index=0, text="Hm, yes.")],
        [added(0, item), event("reasoning_part.done", output_index=0, part={"text": "Hm, yes."})],
        [done(0, item)],
        [],
    ):
        assert parts(*items, end(item)) == kept


def test_of_summary_and_content_one_is_told() -> None:
    item = {**reasoning("Hm."), "content": [{"type": "reasoning_text", "text": "Long."}]}
    items = [
        CREATED,
        thought("Hm."),
        delta("reasoning_text", "Long.", 0, "rs_1"),
        done(0, item),
        end(),
    ]
    assert fold(read([stream(*items)])).parts == (
        ReasoningPart(text="Hm.", signature=signed('{"id":"rs_1"}')),
    )
    assert dropped(*items) == ("output[].content",)


def test_encrypted_reasoning_without_text_is_kept_and_an_empty_item_is_not() -> None:
    sealed, empty = reasoning(encrypted_content="gAAAA"), reasoning()
    assert parts(added(0, sealed), done(0, sealed), end(sealed)) == (
        ReasoningPart(signature=signed('{"id":"rs_1","enc":"gAAAA"}')),
    )
    assert parts(added(0, empty), done(0, empty), end(empty)) == ()


# Calls.


@pytest.mark.parametrize(
    "items",
    [
        [added(0, call()), given('{"a"'), given(":1}"), done(0, call())],
        [
            added(0, call()),
            event("function_call_arguments.done", output_index=0, arguments='{"a":1}'),
        ],
        [added(0, call()), done(0, call())],
        [added(0, call()), given('{"a":1}')],
        [given('{"a":1}'), done(0, call())],
        [given("{}"), given('{"a":1}'), done(0, call())],
        [done(0, call())],
        [],
    ],
)
def test_a_call_is_told_once_wherever_it_stands(items: list[JSON]) -> None:
    found = answer(CREATED, *items, end(call()))
    assert found.parts == (F,)
    assert found.stop == Stop(reason="tool_calls", raw="completed")


def test_parallel_calls_are_put_in_sequence() -> None:
    second = call('{"b":2}', 2)
    assert parts(
        added(0, call()),
        added(1, second),
        given('{"a"'),
        given('{"b":', 1, 2),
        given(":1}"),
        done(0, call()),
        given("2}", 1, 2),
        done(1, second),
        end(call(), second),
    ) == (F, ToolCallPart(id="call_2", name="f", args={"b": 2}, raw_args='{"b":2}'))


def test_two_calls_with_one_id_are_two_calls() -> None:
    first, second = call(), {**call('{"b":2}', 2), "call_id": "call_1"}
    found = parts(added(0, first), done(0, first), added(1, second), done(1, second), end())
    assert [part.id for part in found if isinstance(part, ToolCallPart)] == ["call_1", ""]


def test_arguments_may_be_an_object_or_nothing() -> None:
    for args in ({"a": 1}, '{"a":1}'):
        assert parts(end(call(args))) == (F,)  # type: ignore[arg-type]
        assert parts(done(0, call(args)), end()) == (F,)  # type: ignore[arg-type]
    for nothing in ("", "  ", None):
        item = call(nothing)  # type: ignore[arg-type]
        assert parts(done(0, item), end()) == (ToolCallPart(id="call_1", name="f", args={}),)


def test_a_tool_of_a_namespace_has_a_joined_name() -> None:
    item = call(namespace="files")
    (part,) = parts(added(0, item), given('{"a":1}'), done(0, item), end(item))
    assert isinstance(part, ToolCallPart)
    assert (part.name, part.namespace) == ("files__f", "files")


def test_a_custom_call_has_free_text() -> None:
    item: JSON = {
        "type": "custom_tool_call",
        "id": "ctc_1",
        "call_id": "call_1",
        "name": "shell",
        "input": 'echo "a\n',
    }
    kept = ToolCallPart(id="call_1", name="shell", raw_args='echo "a\n', kind="custom")
    pieces = [delta("custom_tool_call_input", text, 0, "ctc_1") for text in ("echo ", '"a\n')]
    for items in (
        [added(0, {**item, "input": ""}), *pieces, done(0, item)],
        [
            added(0, {**item, "input": ""}),
            event("custom_tool_call_input.done", output_index=0, input='echo "a\n'),
        ],
        [done(0, item)],
        [],
    ):
        found = answer(CREATED, *items, end(item))
        assert found.parts == (kept,)
        assert found.stop.reason == "tool_calls"


def test_who_calls_is_kept_for_those_who_understand_it() -> None:
    by_program = {"type": "program", "caller_id": "call_9"}
    item = call(caller=by_program, **{"async": True})
    (part,) = parts(end(item))
    assert isinstance(part, ToolCallPart)
    assert [(extra.path, extra.value) for extra in part.extras] == [
        ("output[].caller", by_program),
        ("output[].async", True),
    ]
    assert parts(end(call(caller={"type": "direct"}, **{"async": False}))) == (F,)


def test_half_a_call_is_an_error_unless_the_answer_is_cut_off() -> None:
    begun = [CREATED, added(0, call()), given('{"a":')]
    half = call('{"a":', status="incomplete")
    for items in ([], [done(0, half)]):
        assert error(*begun, *items, end(half)).kind == "truncated"
        assert error(*begun, *items, "data: [DONE]").kind == "truncated"
        details = {"reason": "max_output_tokens"}
        found = answer(*begun, *items, end(half, kind="incomplete", incomplete_details=details))
        assert found.parts == (ToolCallPart(id="call_1", name="f", raw_args='{"a":'),)
        assert found.stop == Stop(reason="max_tokens", raw="max_output_tokens")


def test_arguments_after_the_end_of_a_call_are_an_error() -> None:
    late = [CREATED, added(0, call()), done(0, call()), given("more")]
    assert error(*late).kind == "bad_upstream"


def test_a_server_that_tells_all_ends_at_the_end_is_told_at_once() -> None:
    """llama.cpp, which numbers nothing."""
    hm = reasoning("Hm.", content=True, encrypted_content="")
    items = [hm, message(), call(), call('{"b":2}', 2)]
    told = [
        [added(0, hm), delta("reasoning_text", "Hm.", 0, "rs_1")],
        [added(0, message()), said("Hello")],
        [added(0, call()), given('{"a":1}')],
        [added(0, call('{"b":2}', 2)), given('{"b":2}', 0, 2)],
        [*(done(0, item) for item in items), end(*items)],
    ]
    decoder, reader, closed = ResponsesDecoder(), Reader(), []
    found: list[StreamEvent] = []
    for each in told:
        bare = [{k: v for k, v in item.items() if k != "output_index"} for item in each]
        for frame in reader.feed(stream(*bare, names=False)):
            found += decoder.feed(frame)
        closed.append(sum(isinstance(event, PartStop) for event in found))
    assert closed == [0, 1, 2, 3, 4]
    assert fold(found).parts == (
        ReasoningPart(text="Hm.", signature=signed('{"id":"rs_1","enc":"","c":1}')),
        HELLO,
        F,
        ToolCallPart(id="call_2", name="f", args={"b": 2}, raw_args='{"b":2}'),
    )


def test_pieces_of_an_item_that_was_passed_are_told_as_another_part() -> None:
    found = parts(said("One"), given('{"a":1}', 1), said("Two"), done(1, call()), end())
    assert found == (TextPart(text="One"), F, TextPart(text="Two"))
    late = reasoning("Hm.", content=True, encrypted_content="gAAAA")
    hm = delta("reasoning_text", "Hm.", 0, "rs_1")
    assert dropped(CREATED, hm, said("Hi", 1), done(0, late), end()) == (
        "output[].encrypted_content",
    )


# What only this dialect knows.

SEARCH: JSON = {
    "id": "ws_1",
    "type": "web_search_call",
    "status": "completed",
    "action": {"type": "search", "query": "weather"},
}


def test_items_of_the_server_are_kept_whole() -> None:
    kept = OpaquePart(origin="responses", type="web_search_call", raw=SEARCH, place="output[]")
    found = events_of(
        CREATED,
        added(0, SEARCH),
        event("web_search_call.in_progress", output_index=0, item_id="ws_1"),
        event("web_search_call.searching", output_index=0, item_id="ws_1"),
        event("web_search_call.completed", output_index=0, item_id="ws_1"),
        done(0, SEARCH),
        added(1, message()),
        said("Hello", 1),
        done(1, message()),
        end(SEARCH, message()),
    )
    assert fold(found).parts == (kept, HELLO)
    assert sum(isinstance(each, Ping) for each in found) == 3
    assert parts(end(SEARCH, message())) == (kept, HELLO)


def test_messages_of_others_are_no_answer() -> None:
    asked = message("Hi", role="user", content=[{"type": "input_text", "text": "Hi"}])
    assert parts(done(0, asked), end(asked, message())) == (HELLO,)


def test_sound_is_lost_and_told() -> None:
    assert dropped(CREATED, event("audio.delta", delta="AAAA"), said("Hi"), end()) == ("audio",)


@pytest.mark.parametrize("kind", ["ping", "keepalive", "response.queued", "response.new.thing"])
def test_what_nobody_knows_is_a_sign_of_life(kind: str) -> None:
    found = events_of(CREATED, said("Hel"), {"type": kind}, said("lo"), end())
    assert fold(found).parts == (TextPart(text="Hello"),)
    assert found[3:5] == [Ping(), PartDelta(0, "text", "lo")]


# The end.


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("max_output_tokens", "max_tokens"),
        ("max_messages", "max_tokens"),
        ("content_filter", "refusal"),
        ("steered", "paused"),
        (None, "max_tokens"),
        ("context_window_exceeded", "context_full"),
    ],
)
def test_an_incomplete_answer_says_why(reason: str | None, expected: str) -> None:
    details = None if reason is None else {"reason": reason}
    last = end(message(), kind="incomplete", incomplete_details=details)
    assert answer(CREATED, said("Hello"), last).stop.reason == expected


def test_a_reason_that_nobody_knows_counts_as_cut_off_and_is_told() -> None:
    reading = Reading()
    last = end(kind="incomplete", incomplete_details={"reason": "mood"})
    found = fold(read([stream(CREATED, said("Hello"), last)], reading))
    assert found.stop == Stop(reason="other", raw="mood")
    assert reading.losses.changed == ("incomplete_details.reason",)


@pytest.mark.parametrize("status", ["completed", "complete", "in_progress", None])
def test_the_event_says_that_the_answer_is_complete(status: str | None) -> None:
    assert answer(CREATED, said("Hello"), end(status=status)).stop.reason == "end"


def test_a_stream_that_just_ends_is_truncated() -> None:
    assert error(CREATED) == TRUNCATED
    assert error(CREATED, added(0, message()), said("Hel")) == TRUNCATED
    assert error(CREATED, added(0, message()), said("Hello"), done(0, message())) == TRUNCATED


def test_done_ends_an_answer() -> None:
    found = answer(CREATED, said("Hello"), "data: [DONE]")
    assert (found.parts, found.stop) == ((TextPart(text="Hello"),), Stop(reason="end"))
    assert answer(CREATED, said("Hello"), end(message()), "data: [DONE]").parts == found.parts
    assert error("data: [DONE]").kind == "bad_upstream"


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("rate_limit_exceeded", "rate_limit"),
        ("server_error", "server"),
        ("server_is_overloaded", "overloaded"),
        ("insufficient_quota", "billing"),
        ("context_length_exceeded", "context_length"),
        ("invalid_prompt", "invalid_request"),
        ("invalid_image_url", "invalid_request"),
        ("image_content_policy_violation", "invalid_request"),
        ("bio_policy", "invalid_request"),
        ("vector_store_timeout", "timeout"),
    ],
)
def test_errors_are_told_in_all_forms(code: str, kind: str) -> None:
    told = {"code": code, "message": "No."}
    for last in (
        {"type": "error", **told, "param": None},
        {"type": "error", "error": {"type": "x", **told}},
        event("failed", response={**HEAD, "status": "failed", "error": told}),
        end(status="failed", error=told),
    ):
        found = error(CREATED, said("Hel"), last)
        assert (found.kind, found.code, found.message) == (kind, code, "No.")


@pytest.mark.parametrize("kind", ["failed", "cancelled"])
def test_a_failure_without_words_is_an_error(kind: str) -> None:
    assert error(CREATED, said("Hel"), end(kind=kind)).kind == "server"


@pytest.mark.parametrize(
    "line",
    [
        'data: {"error":{"message":"No."}}',
        'event: error\ndata: {"message":"No."}',
        "event: error\ndata: No.",
        'data: {"detail":"No."}',
    ],
)
def test_errors_of_servers_that_only_nearly_speak_the_dialect(line: str) -> None:
    assert error(CREATED, said("Hel"), line).message == "No."


@pytest.mark.parametrize("line", ["data: {", "data: 7", "data: [1]", 'data: "x"'])
def test_what_is_no_event_is_an_error(line: str) -> None:
    assert error(CREATED, said("Hel"), line).kind == "bad_upstream"


ODD: list[Any] = [None, 7, -1, "x", [], [7], {}, {"type": 7}, {"type": "message", "content": 7}]
FIELDS = """item part delta output_index item_id annotation text arguments input refusal response
summary_index logprobs"""
KINDS = """output_item.added output_item.done content_part.added content_part.done output_text.delta
output_text.done output_text.annotation.added refusal.delta refusal.done reasoning_text.delta
reasoning_summary_part.added reasoning_summary_text.delta reasoning_summary_text.done
reasoning_text.done function_call_arguments.delta function_call_arguments.done
custom_tool_call_input.delta custom_tool_call_input.done created completed incomplete failed"""
OF_RESPONSES = """id model output usage status error incomplete_details created_at service_tier"""
OF_ITEMS = """content summary name arguments input call_id id encrypted_content phase namespace
caller role annotations"""


@pytest.mark.parametrize("odd", ODD, ids=repr)
def test_nothing_that_a_backend_sends_raises(odd: Any) -> None:
    usual = {"output_index": 0, "item_id": "msg_1", "delta": "a", "item": message()}
    for kind in KINDS.split():
        for key in FIELDS.split():
            strange = event(kind, **{**usual, key: odd})
            read([stream(CREATED, said("Hel"), strange, end(message()))])
    for key in OF_RESPONSES.split():
        whole = {**HEAD, "status": "completed", "output": [message()], key: odd}
        read([stream(CREATED, said("Hel"), event("completed", response=whole))])
    for key in OF_ITEMS.split():
        for item in (message(), reasoning("a"), call(), SEARCH):
            strange = {**item, key: odd}
            read([stream(CREATED, added(0, strange), done(0, strange), end(strange))])


def test_a_stream_tells_what_the_whole_answer_does() -> None:
    items = [
        reasoning("Hm.", encrypted_content="gAAAA"),
        SEARCH,
        message(phase="commentary"),
        call(namespace="n"),
    ]
    told = [
        each
        for number, item in enumerate(items)
        for each in (added(number, item), done(number, item))
    ]
    whole = end(*items)
    assert answer(CREATED, *told, whole) == decode_response(whole["response"])
