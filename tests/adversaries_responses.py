"""Answers and streams of Responses in which each size can be as large as one likes."""

import json
from collections.abc import Callable, Iterable
from typing import Any

JSON = dict[str, Any]

CITED = {"type": "url_citation", "url": "https://a", "title": "t", "start_index": 0, "end_index": 1}
TYPES = ("message", "reasoning", "function_call", "custom_tool_call", "web_search_call")


def item(kind: str, number: int = 0, **fields: Any) -> JSON:
    """An item of an answer."""
    own: JSON = {
        "message": {"role": "assistant", "content": [_text()]},
        "reasoning": {"summary": [{"type": "summary_text", "text": "s"}]},
        "function_call": {"call_id": f"c{number}", "name": "f", "arguments": "{}"},
        "custom_tool_call": {"call_id": f"c{number}", "name": "f", "input": "a"},
    }.get(kind, {"status": "completed"})
    return {"type": kind, "id": f"i{number}", **own, **fields}


def answer(*output: JSON, **fields: Any) -> JSON:
    """A whole answer."""
    return {"id": "r", "model": "m", "status": "completed", "output": list(output), **fields}


def stream(events: Iterable[JSON], **response: Any) -> bytes:
    """A whole stream; ``response``: fields of its end."""
    ends = {"type": "response.completed", "response": answer(**response)}
    begins = {"type": "response.created", "response": answer(status="in_progress")}
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (each["type"].encode(), json.dumps(each).encode())
        for each in (begins, *events, ends)
    )


def _text(text: str = "a", **fields: Any) -> JSON:
    return {"type": "output_text", "text": text, **fields}


def _event(kind: str, **fields: Any) -> JSON:
    return {"type": f"response.{kind}", **fields}


def _delta(kind: str, text: str, index: int = 0, **fields: Any) -> JSON:
    at = {"output_index": index, "item_id": f"i{index}"}
    return _event(f"{kind}.delta", **at, delta=text, **fields)


def _added(each: JSON, index: int = 0) -> JSON:
    return _event("output_item.added", output_index=index, item=each)


def _done(each: JSON, index: int = 0) -> JSON:
    return _event("output_item.done", output_index=index, item=each)


def _call(pieces: Iterable[str]) -> bytes:
    deltas = [_delta("function_call_arguments", piece) for piece in pieces]
    return stream([_added(item("function_call", arguments="")), *deltas])


ANSWERS: dict[str, Callable[[int], JSON]] = {
    "text": lambda n: answer(item("message", content=[_text("ü\\" * n)])),
    "texts": lambda n: answer(item("message", content=[_text()] * n)),
    "messages": lambda n: answer(*(item("message", each, phase="p") for each in range(n))),
    "refusals": lambda n: answer(
        item("message", content=[{"type": "refusal", "refusal": "a"}] * n)
    ),
    "citations": lambda n: answer(
        item("message", content=[_text(annotations=[{**CITED, "url": f"u{e}"} for e in range(n)])])
    ),
    "files": lambda n: answer(
        item("message", content=[_text(annotations=[{"type": "file_citation"}] * n)])
    ),
    "fields": lambda n: answer(item("message", **{f"k{each}": 1 for each in range(n)})),
    "fields of a text": lambda n: answer(
        item("message", content=[_text(**{f"k{each}": 1 for each in range(n)})])
    ),
    "summaries": lambda n: answer(item("reasoning", summary=[{"text": "a"}] * n)),
    "contents": lambda n: answer(item("reasoning", summary=[], content=[{"text": "a"}] * n)),
    "a sealed text": lambda n: answer(item("reasoning", encrypted_content="a" * n)),
    "reasonings": lambda n: answer(*(item("reasoning", each) for each in range(n))),
    "calls": lambda n: answer(*(item("function_call", each) for each in range(n))),
    "calls of one id": lambda n: answer(*[item("function_call")] * n),
    "calls of namespaces": lambda n: answer(*[item("function_call", namespace="n")] * n),
    "arguments": lambda n: answer(item("function_call", arguments="{}" * n)),
    "arguments of objects": lambda n: answer(item("function_call", arguments={"a": [1] * n})),
    "custom calls": lambda n: answer(*(item("custom_tool_call", each) for each in range(n))),
    "items of servers": lambda n: answer(*[item("web_search_call")] * n),
    "all items": lambda n: answer(*(item(TYPES[each % 5], each) for each in range(n))),
    "counters": lambda n: answer(
        item("message"), usage={"input_tokens": 1, **{f"k{each}": 1 for each in range(n)}}
    ),
    "an error": lambda n: {"status": "failed", "error": {"message": "a" * n, "code": "b" * n}},
    "a reason": lambda n: answer(status="incomplete", incomplete_details={"reason": "a" * n}),
}

STREAMS: dict[str, Callable[[int], bytes]] = {
    "texts": lambda n: stream([_delta("output_text", "a")] * n),
    "texts with probabilities": lambda n: stream([_delta("output_text", "a", logprobs=[1])] * n),
    "half characters": lambda n: stream([_delta("output_text", "\ud83d")] * n),
    "texts without places": lambda n: stream([_event("output_text.delta", delta="a")] * n),
    "texts of many items": lambda n: stream([_delta("output_text", "a", e) for e in range(n)]),
    "texts of two items": lambda n: stream(
        [_delta("output_text", "a", 0), _delta("output_text", "b", 1)] * n
    ),
    "texts and reasoning": lambda n: stream(
        [_delta("output_text", "a", 0), _delta("reasoning_text", "b", 1)] * n
    ),
    "texts and refusals": lambda n: stream(
        [_delta("output_text", "a"), _delta("refusal", "b")] * n
    ),
    "pieces of content": lambda n: stream(
        [_event("content_part.added", output_index=0, part=_text()), _delta("output_text", "a")] * n
    ),
    "texts that are told again": lambda n: stream(
        [_event("output_text.done", output_index=0, text="a")] * n
    ),
    "pieces that are told again": lambda n: stream(
        [_event("content_part.done", output_index=0, part=_text())] * n
    ),
    "refusals": lambda n: stream([_delta("refusal", "a")] * n),
    "citations": lambda n: stream(
        [_event("output_text.annotation.added", output_index=0, annotation=CITED)] * n
    ),
    "citations of an item": lambda n: stream(
        [_done(item("message", content=[_text(annotations=[CITED] * n)]))]
    ),
    "summaries": lambda n: stream(
        [_delta("reasoning_summary_text", "a", summary_index=each) for each in range(n)]
    ),
    "one summary": lambda n: stream([_delta("reasoning_summary_text", "a", summary_index=0)] * n),
    "summaries that are told again": lambda n: stream(
        [
            _event("reasoning_summary_text.done", output_index=0, summary_index=each, text="a")
            for each in range(n)
        ]
    ),
    "reasoning": lambda n: stream(
        [_delta("reasoning_text", "a", content_index=each) for each in range(n)]
    ),
    "arguments": lambda n: _call('{"a":"' + "b" * n + '"}'),
    "arguments of escapes": lambda n: _call('{"a":"' + '\\"' * n + '"}'),
    "arguments of brackets": lambda n: _call('{"a":' + "[" * n),
    "blank arguments": lambda n: _call(" " * n + "{}"),
    "arguments after arguments": lambda n: _call(["{}"] * n),
    "an input": lambda n: stream([_delta("custom_tool_call_input", "a")] * n),
    "calls in turn": lambda n: stream(
        [
            event
            for each in range(n)
            for event in (
                _added(item("function_call", each, arguments=""), each),
                _delta("function_call_arguments", "{}", each),
                _done(item("function_call", each), each),
            )
        ]
    ),
    "calls at once": lambda n: stream(
        [
            *(_added(item("function_call", each, arguments=""), each) for each in range(n)),
            *(_delta("function_call_arguments", "{}", each) for each in reversed(range(n))),
            *(_done(item("function_call", each), each) for each in reversed(range(n))),
        ]
    ),
    "calls without names": lambda n: stream(
        [_delta("function_call_arguments", "{}", each) for each in range(n)]
    ),
    "calls that are told again": lambda n: stream(
        [
            _event("function_call_arguments.done", output_index=each, arguments="{}")
            for each in range(n)
        ]
    ),
    "items without places": lambda n: stream(
        [_event("output_item.done", item={**item(TYPES[e % 5]), "id": None}) for e in range(n)]
    ),
    "items at one place": lambda n: stream([_done(item("message", each)) for each in range(n)]),
    "items that are never done": lambda n: stream(
        [_added(item(TYPES[each % 5], each), each) for each in range(n)]
    ),
    "items at the end": lambda n: stream(
        [], output=[item(TYPES[each % 5], each) for each in range(n)]
    ),
    "items that are told at the end": lambda n: stream(
        [_done(item(TYPES[each % 5], each), each) for each in range(n)],
        output=[item(TYPES[each % 5], each) for each in range(n)],
    ),
    "signs of life": lambda n: stream([_event("web_search_call.searching")] * n),
    "sounds": lambda n: stream([_event("audio.delta", delta="a")] * n),
    "first events": lambda n: stream([_event("in_progress", response=answer())] * n),
    "an error": lambda n: stream([{"type": "error", "message": "sk-" * n, "a": [1] * n}]),
    "a failure": lambda n: stream([], status="failed", error={"message": "a" * n}),
    "errors that are none": lambda n: stream([_delta("output_text", 'error "response"')] * n),
}
