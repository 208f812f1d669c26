"""The practice backend's answers in the form of Anthropic's Messages.

Source of the forms: Anthropic's API reference (messages, streaming, count_tokens, models,
errors).
"""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.testing.ask import SIGNATURE, Ask
from lmbroker.testing.script import PAGE, Said, chunks, fragments
from lmbroker.testing.sealed import sealed

STOP = {
    "end": "end_turn",
    "stop_sequence": "stop_sequence",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
}
ERRORS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}


class Anthropic:
    """Writes answers to one request. ``identity`` makes the ids."""

    request_id_header = "request-id"
    overflow: tuple[str, JSON] = ("prompt is too long: 200001 tokens > 200000 maximum", {})

    def __init__(self, identity: str, now: int) -> None:
        self._identity = identity

    def whole(self, ask: Ask, said: Said) -> JSON:
        """Return the answer as one JSON body."""
        blocks: list[JSON] = []
        if ask.reasoning:
            thinking = said.thinking if ask.shows_reasoning else ""
            blocks.append({"type": "thinking", "thinking": thinking, "signature": SIGNATURE})
        if said.query:
            blocks += self._search(said)
        if said.text:
            cited = {"citations": [_citation(said)]} if said.query else {}
            blocks.append({"type": "text", "text": said.text, **cited})
        blocks += [
            {"type": "tool_use", "id": self._call_id(number), "name": tool.name, "input": given}
            for number, (tool, given) in enumerate(said.calls)
        ]
        return self._message(ask, blocks, said, _usage(said) | {"service_tier": "standard"})

    def events(self, ask: Ask, said: Said) -> Iterator[bytes]:
        """Yield the events of a streamed answer, as bytes."""
        usage = _usage(said) | {"output_tokens": 1, "service_tier": "standard"}
        usage.pop("output_tokens_details", None)
        yield _event("message_start", message=self._message(ask, [], None, usage))
        for number, (block, deltas) in enumerate(self._blocks(ask, said)):
            yield _event("content_block_start", index=number, content_block=block)
            if number == 0:
                yield _event("ping")
            last, event = None, b""
            for delta in deltas:
                if delta != last:
                    last, event = delta, _event("content_block_delta", index=number, delta=delta)
                yield event
            yield _event("content_block_stop", index=number)
        yield _event("message_delta", delta=_end(said), usage=_usage(said))
        yield _event("message_stop")

    def error(self, status: int, message: str) -> JSON:
        """Return the body of an error with an HTTP status."""
        general = "api_error" if status >= 500 else "invalid_request_error"
        return {
            "type": "error",
            "error": {"type": ERRORS.get(status, general), "message": message},
            "request_id": f"req_{self._identity}",
        }

    def error_event(self, message: str) -> bytes:
        """Return an error that stands inside a stream."""
        return _event("error", error=self.error(529, message)["error"])

    def garbage(self) -> bytes:
        """Return an event that is cut off in its JSON."""
        return b'event: content_block_delta\ndata: {"type":"content_block_\n\n'

    def models(self, names: tuple[str, ...]) -> JSON:
        """Return the list of models."""
        return {
            "data": [self.model(name) for name in names],
            "has_more": False,
            "first_id": names[0],
            "last_id": names[-1],
        }

    def model(self, name: str) -> JSON:
        """Return the entry of one model."""
        return {
            "type": "model",
            "id": name,
            "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
        }

    def _message(self, ask: Ask, blocks: list[JSON], said: Said | None, usage: JSON) -> JSON:
        return {
            "id": f"msg_{self._identity}",
            "type": "message",
            "role": "assistant",
            "model": ask.model,
            "content": blocks,
            **(_end(said) if said else {"stop_reason": None, "stop_sequence": None}),
            "usage": usage,
        }

    def _blocks(self, ask: Ask, said: Said) -> Iterator[tuple[JSON, Iterator[JSON]]]:
        """Yield each block as it starts, and its deltas."""
        if ask.reasoning:
            yield {"type": "thinking", "thinking": "", "signature": ""}, _thoughts(ask, said)
        if said.query:
            call, result = self._search(said)
            pieces = fragments(json.dumps(call["input"]))
            yield (
                {**call, "input": {}},
                ({"type": "input_json_delta", "partial_json": piece} for piece in pieces),
            )
            yield result, iter(())
        if said.text:
            deltas: Iterator[JSON] = ({"type": "text_delta", "text": text} for text in said.pieces)
            cited: list[JSON] = []
            if said.query:
                cited = [{"type": "citations_delta", "citation": _citation(said)}]
            yield {"type": "text", "text": ""}, chain(deltas, cited)
        for number, (tool, arguments) in enumerate(said.calls):
            pieces = ("", *fragments(json.dumps(arguments)))
            deltas = ({"type": "input_json_delta", "partial_json": piece} for piece in pieces)
            id = self._call_id(number)
            yield {"type": "tool_use", "id": id, "name": tool.name, "input": {}}, deltas

    def _search(self, said: Said) -> tuple[JSON, JSON]:
        """Return the call of the provider's search, and its result."""
        id = f"srvtoolu_{self._identity}"
        given = {"query": said.query}
        call = {"type": "server_tool_use", "id": id, "name": "web_search", "input": given}
        url, title = PAGE
        page = {"type": "web_search_result", "url": url, "title": title, "page_age": None}
        page["encrypted_content"] = sealed(id, said.query)
        result = {"type": "web_search_tool_result", "tool_use_id": id, "content": [page]}
        return call, result

    def _call_id(self, number: int) -> str:
        return f"toolu_{self._identity}{number}"


def _thoughts(ask: Ask, said: Said) -> Iterator[JSON]:
    if ask.shows_reasoning:
        for piece in chunks(said.thinking):
            yield {"type": "thinking_delta", "thinking": piece}
    yield {"type": "signature_delta", "signature": SIGNATURE}


def _citation(said: Said) -> JSON:
    url, title = PAGE
    return {
        "type": "web_search_result_location",
        "url": url,
        "title": title,
        "encrypted_index": sealed(url, said.query),
        "cited_text": said.query,
    }


def _end(said: Said) -> JSON:
    end: JSON = {"stop_reason": STOP[said.stop], "stop_sequence": said.sequence}
    if said.refusal:
        details = {"type": "refusal", "category": None, "explanation": said.refusal}
        end["stop_details"] = details
    return end


def _usage(said: Said) -> JSON:
    usage: JSON = {
        "input_tokens": said.prompt - said.cached - said.written,
        "cache_creation_input_tokens": said.written,
        "cache_read_input_tokens": said.cached,
        "output_tokens": said.output,
    }
    if said.query:
        usage["server_tool_use"] = {"web_search_requests": 1, "web_fetch_requests": 0}
    if said.reasoning:
        usage["output_tokens_details"] = {"thinking_tokens": said.reasoning}
    return usage


def _event(type: str, **fields: Any) -> bytes:
    text = json.dumps({"type": type, **fields}, ensure_ascii=False, separators=(",", ":"))
    return f"event: {type}\ndata: {text}\n\n".encode()
