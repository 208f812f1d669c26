"""The practice backend's answers in the form of OpenAI's Responses.

Source of the forms: OpenAI's API reference (responses/object, responses-streaming, compact,
input_tokens).
"""

import json
from collections.abc import Iterator
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.testing.ask import Ask, Offered
from lmbroker.testing.script import PAGE, Said, chunks, fragments
from lmbroker.testing.sealed import sealed
from lmbroker.testing.wire_openai import ERRORS, OpenAI

ECHOED: JSON = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "safety_identifier": None,
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}
"""What an answer repeats of its request, and what it says where the request says nothing."""
COARSE = 16
"""Deltas are padded to a multiple of so many characters, so that nobody sees their lengths."""

Fill = Iterator[tuple[str, JSON]]
"""What comes between an item's first event and its last: names and fields of events."""


class Responses:
    """Writes answers to one request. ``identity`` makes the ids, ``now`` is in Unix seconds."""

    request_id_header = "x-request-id"
    overflow = (
        "Your input exceeds the context window of this model. Please adjust your input and try"
        " again.",
        {"param": "input", "code": "context_length_exceeded"},
    )

    def __init__(self, identity: str, now: int) -> None:
        self._identity = identity
        self._now = now
        self._openai = OpenAI(identity, now)
        """Writes what both of OpenAI's dialects have."""
        self._sequence = -1
        self._begun: JSON | None = None
        """The response so far, once a stream has begun."""

    def whole(self, ask: Ask, said: Said) -> JSON:
        """Return the answer as one JSON body."""
        items = [item for item, _, _ in self._items(ask, said)]
        return self._response(ask, _status(said), items, said)

    def events(self, ask: Ask, said: Said) -> Iterator[bytes]:
        """Yield the events of a streamed answer, as bytes."""
        self._begun = self._response(ask, "in_progress", [], None)
        yield self._event("response.created", response=self._begun)
        yield self._event("response.in_progress", response=self._begun)
        items = []
        hides = (ask.body.get("stream_options") or {}).get("include_obfuscation") is not False
        for index, (item, beginning, fill) in enumerate(self._items(ask, said)):
            place = {"output_index": index}
            yield self._event("response.output_item.added", **place, item={**item, **beginning})
            last, rest = None, ""
            for each in fill:
                type, fields = each
                if each != last:
                    last, more = each, {"item_id": item["id"], **place, **fields}
                    if hides and "delta" in fields:
                        more["obfuscation"] = "x" * (-len(fields["delta"]) % COARSE)
                    rest = _json(more)
                yield self._numbered(type, rest)
            yield self._event("response.output_item.done", **place, item=item)
            items.append(item)
        status = _status(said)
        yield self._event(f"response.{status}", response=self._response(ask, status, items, said))

    def error(self, status: int, message: str) -> JSON:
        """Return the body of an error with an HTTP status."""
        return self._openai.error(status, message)

    def error_event(self, message: str) -> bytes:
        """Return an error that stands inside a stream: by itself, or as the end of an answer."""
        code = ERRORS[529][1]
        if self._begun is None:
            return self._event("error", code=code, message=message, param=None)
        error = {"code": code, "message": message}
        failed = {**self._begun, "status": "failed", "error": error}
        return self._event("response.failed", response=failed)

    def garbage(self) -> bytes:
        """Return an event that is cut off in its JSON."""
        return b'event: response.output_text.delta\ndata: {"type":"response.output_\n\n'

    def models(self, names: tuple[str, ...]) -> JSON:
        """Return the list of models."""
        return self._openai.models(names)

    def model(self, name: str) -> JSON:
        """Return the entry of one model."""
        return self._openai.model(name)

    def compaction(self, ask: Ask, said: Said, kept: list[JSON]) -> JSON:
        """Return the answer to a request to compact: the user's messages, and the rest sealed."""
        messages = [
            {"id": f"msg_{self._identity}{number}", "status": "completed", **item}
            for number, item in enumerate(kept)
        ]
        return {
            "id": f"resp_{self._identity}",
            "object": "response.compaction",
            "created_at": self._now,
            "output": [*messages, self._compacted(ask)],
            "usage": _usage(said),
        }

    def _response(self, ask: Ask, status: str, items: list[JSON], said: Said | None) -> JSON:
        body = ask.body
        reasoning = body.get("reasoning") or {}
        text = body.get("text") or {}
        cut = {"reason": "max_output_tokens"} if status == "incomplete" else None
        response = {
            "id": f"resp_{self._identity}",
            "object": "response",
            "created_at": self._now,
            "status": status,
            "error": None,
            "incomplete_details": cut,
            "model": ask.model,
            "output": items,
            "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
            "service_tier": "default",
            "text": {"format": {"type": "text"}, "verbosity": "medium", **text},
            "tools": [_echoed(tool) for tool in body.get("tools") or ()],
            "usage": _usage(said) if said else None,
        }
        if status == "completed":
            response["completed_at"] = self._now
        for key, value in ECHOED.items():
            response[key] = value if body.get(key) is None else body[key]
        return response

    def _items(self, ask: Ask, said: Said) -> Iterator[tuple[JSON, JSON, Fill]]:
        """Yield each item as it is in the end, what differs at its start, and its events."""
        if said.compacts:
            yield self._compacted(ask), {"encrypted_content": ""}, _compacting()
            return
        if ask.reasoning:
            yield self._reasoning(ask, said)
        if said.refusal:
            part: JSON = {"type": "refusal", "refusal": said.refusal}
            fill = _message_fill(part, "refusal", chunks(said.refusal))
            yield self._message(part, "completed"), _OPEN_MESSAGE, fill
        elif not said.calls:
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": said.text}
            if said.query:
                yield self._search(said), {"status": "in_progress"}, _searching()
                part["annotations"] = [_citation(said)]
            message = self._message(part, _status(said))
            yield message, _OPEN_MESSAGE, _message_fill(part, "text", said.pieces)
        for number, (tool, arguments) in enumerate(said.calls):
            yield self._call(number, tool, arguments)

    def _message(self, part: JSON, status: str) -> JSON:
        return {
            "id": f"msg_{self._identity}",
            "type": "message",
            "status": status,
            "role": "assistant",
            "phase": "final_answer",
            "content": [part],
        }

    def _search(self, said: Said) -> JSON:
        sources = [{"type": "url", "url": PAGE[0]}]
        queries = [said.query]
        action = {"type": "search", "query": said.query, "queries": queries, "sources": sources}
        id = f"ws_{self._identity}"
        return {"id": id, "type": "web_search_call", "status": "completed", "action": action}

    def _reasoning(self, ask: Ask, said: Said) -> tuple[JSON, JSON, Fill]:
        id = f"rs_{self._identity}"
        text = said.thinking if ask.shows_reasoning else ""
        item: JSON = {"id": id, "type": "reasoning", "summary": []}
        if text:
            item["summary"] = [{"type": "summary_text", "text": text}]
        beginning: JSON = {"summary": []}
        if "reasoning.encrypted_content" in (ask.body.get("include") or ()):
            item["encrypted_content"] = sealed(id, said.thinking)
            beginning["encrypted_content"] = sealed(id, "")
        return item, beginning, _summary_fill(text)

    def _call(self, number: int, tool: Offered, arguments: Any) -> tuple[JSON, JSON, Fill]:
        key, begins, type = "arguments", "fc", "function_call"
        if tool.custom:
            key, begins, type = "input", "ctc", "custom_tool_call"
        item: JSON = {
            "id": f"{begins}_{self._identity}{number}",
            "type": type,
            "status": "completed",
            key: arguments if tool.custom else json.dumps(arguments),
            "call_id": f"call_{self._identity}{number}",
            "name": tool.name,
        }
        if tool.namespace is not None:
            item["namespace"] = tool.namespace
        event = f"response.{type}_input" if tool.custom else f"response.{type}_arguments"
        return item, {"status": "in_progress", key: ""}, _call_fill(event, key, item[key])

    def _compacted(self, ask: Ask) -> JSON:
        id = f"cmp_{self._identity}"
        return {"id": id, "type": "compaction", "encrypted_content": sealed(id, ask.text)}

    def _event(self, type: str, **fields: Any) -> bytes:
        return self._numbered(type, _json(fields))

    def _numbered(self, type: str, rest: str) -> bytes:
        """Return an event whose other fields are the JSON object ``rest``."""
        self._sequence += 1
        head = f'{{"type":"{type}","sequence_number":{self._sequence}'
        return f"event: {type}\ndata: {head},{rest[1:]}\n\n".encode()


_OPEN_MESSAGE: JSON = {"status": "in_progress", "content": []}


def _json(value: JSON) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _message_fill(part: JSON, key: str, pieces: tuple[str, ...]) -> Fill:
    kind = "output_text" if key == "text" else "refusal"
    place = {"content_index": 0}
    more: JSON = {"logprobs": []} if key == "text" else {}
    empty: JSON = {"annotations": []} if key == "text" else {}
    yield "response.content_part.added", {**place, "part": {**part, key: "", **empty}}
    for piece in pieces:
        yield f"response.{kind}.delta", {**place, "delta": piece, **more}
    for number, annotation in enumerate(part.get("annotations") or ()):
        cited = {"annotation_index": number, "annotation": annotation}
        yield "response.output_text.annotation.added", {**place, **cited}
    yield f"response.{kind}.done", {**place, key: part[key], **more}
    yield "response.content_part.done", {**place, "part": part}


def _summary_fill(text: str) -> Fill:
    if not text:
        return
    place = {"summary_index": 0}
    name = "response.reasoning_summary"
    yield f"{name}_part.added", {**place, "part": {"type": "summary_text", "text": ""}}
    for piece in chunks(text):
        yield f"{name}_text.delta", {**place, "delta": piece}
    yield f"{name}_text.done", {**place, "text": text}
    yield f"{name}_part.done", {**place, "part": {"type": "summary_text", "text": text}}


def _call_fill(event: str, key: str, text: str) -> Fill:
    for piece in fragments(text):
        yield f"{event}.delta", {"delta": piece}
    yield f"{event}.done", {key: text}


def _searching() -> Fill:
    for state in ("in_progress", "searching", "completed"):
        yield f"response.web_search_call.{state}", {}


def _citation(said: Said) -> JSON:
    url, title = PAGE
    place = {"start_index": 0, "end_index": len(said.text)}
    return {"type": "url_citation", **place, "url": url, "title": title}


def _compacting() -> Fill:
    yield "response.compaction.compacting", {}


def _status(said: Said) -> str:
    return "incomplete" if said.stop == "max_tokens" else "completed"


def _echoed(tool: JSON) -> JSON:
    """Return a tool as answers repeat it: with its defaults written out."""
    if tool.get("type") == "function":
        return {"description": None, "parameters": None, "strict": True, **tool}
    return tool


def _usage(said: Said) -> JSON:
    return {
        "input_tokens": said.prompt,
        "input_tokens_details": {
            "cached_tokens": said.cached,
            "cache_write_tokens": said.written,
        },
        "output_tokens": said.output,
        "output_tokens_details": {"reasoning_tokens": said.reasoning},
        "total_tokens": said.prompt + said.output,
    }
