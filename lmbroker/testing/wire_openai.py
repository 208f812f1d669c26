"""The practice backend's answers in the form of OpenAI's Chat Completions and Embeddings.

Source of the forms: OpenAI's API reference (chat/object, chat/streaming, embeddings/object,
models/object, error codes). ``reasoning_content`` is not OpenAI's: it is what DeepSeek, vLLM,
llama.cpp and others send.
"""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.testing.ask import Ask, Offered
from lmbroker.testing.script import PAGE, Said, chunks, fragments

FINISH = {
    "end": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "refusal": "stop",
}
ERRORS = {
    401: ("invalid_request_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", None),
    404: ("invalid_request_error", "model_not_found"),
    409: ("invalid_request_error", "conflict"),
    413: ("invalid_request_error", "request_too_large"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("service_unavailable_error", "server_is_overloaded"),
    504: ("server_error", "timeout"),
    529: ("service_unavailable_error", "server_is_overloaded"),
}
"""Type and code by status."""


class OpenAI:
    """Writes answers to one request. ``identity`` makes the ids, ``now`` is in Unix seconds."""

    request_id_header = "x-request-id"
    overflow = (
        "This model's maximum context length is 128000 tokens. However, your messages resulted in"
        " 128001 tokens. Please reduce the length of the messages.",
        {"param": "messages", "code": "context_length_exceeded"},
    )

    def __init__(self, identity: str, now: int) -> None:
        self._identity = identity
        self._now = now

    def whole(self, ask: Ask, said: Said) -> JSON:
        """Return the answer as one JSON body."""
        message: JSON = {
            "role": "assistant",
            "content": None if said.calls or said.refusal else said.text,
            "refusal": said.refusal or None,
            "annotations": [],
        }
        if said.query:
            message["annotations"] = [_citation(said)]
        if said.thinking:
            message["reasoning_content"] = said.thinking
        if said.calls:
            message["tool_calls"] = [
                self._call(number, tool, _written(arguments))
                for number, (tool, arguments) in enumerate(said.calls)
            ]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None,
            "finish_reason": FINISH[said.stop],
        }
        return {
            **self._head(ask, "chat.completion"),
            "choices": [choice],
            "usage": _usage(said),
        }

    def events(self, ask: Ask, said: Said) -> Iterator[bytes]:
        """Yield the events of a streamed answer, as bytes."""
        content = None if said.calls else ""
        yield self._chunk(ask, {"role": "assistant", "content": content, "refusal": None})
        for piece in chunks(said.thinking):
            yield self._chunk(ask, {"reasoning_content": piece})
        last, event = None, b""
        for piece in said.pieces:
            if piece != last:
                last, event = piece, self._chunk(ask, {"content": piece})
            yield event
        if said.query:
            yield self._chunk(ask, {"annotations": [_citation(said)]})
        for piece in chunks(said.refusal):
            yield self._chunk(ask, {"refusal": piece})
        for number, (tool, arguments) in enumerate(said.calls):
            yield self._chunk(
                ask, {"tool_calls": [{"index": number, **self._call(number, tool, "")}]}
            )
            for piece in fragments(_written(arguments)):
                text = {"custom": {"input": piece}} if tool.custom else {}
                call = {"index": number, **(text or {"function": {"arguments": piece}})}
                yield self._chunk(ask, {"tool_calls": [call]})
        yield self._chunk(ask, {}, FINISH[said.stop])
        if ask.usage_in_stream:
            head = self._head(ask, "chat.completion.chunk")
            yield _data({**head, "choices": [], "usage": _usage(said)})
        yield b"data: [DONE]\n\n"

    def completion(self, ask: Ask, said: Said) -> JSON:
        """Return the answer to a prompt of the older operation."""
        choice = self._text_choice(said.text, FINISH[said.stop])
        head = self._head(ask, "text_completion")
        return {**head, "choices": [choice], "usage": _usage(said)}

    def completion_events(self, ask: Ask, said: Said) -> Iterator[bytes]:
        """Yield the events of a streamed answer to a prompt of the older operation."""
        head = self._head(ask, "text_completion")
        for piece in said.pieces:
            yield _data({**head, "choices": [self._text_choice(piece, None)]})
        yield _data({**head, "choices": [self._text_choice("", FINISH[said.stop])]})
        if ask.usage_in_stream:
            yield _data({**head, "choices": [], "usage": _usage(said)})
        yield b"data: [DONE]\n\n"

    def _text_choice(self, text: str, finish: str | None) -> JSON:
        return {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}

    def error(self, status: int, message: str) -> JSON:
        """Return the body of an error with an HTTP status."""
        general = ("server_error" if status >= 500 else "invalid_request_error", None)
        kind, code = ERRORS.get(status, general)
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}

    def error_event(self, message: str) -> bytes:
        """Return an error that stands inside a stream."""
        return _data(self.error(529, message))

    def garbage(self) -> bytes:
        """Return an event that is cut off in its JSON."""
        return b'data: {"id":"chatcmpl-\n\n'

    def models(self, names: tuple[str, ...]) -> JSON:
        """Return the list of models."""
        return {"object": "list", "data": [self.model(name) for name in names]}

    def model(self, name: str) -> JSON:
        """Return the entry of one model."""
        return {"id": name, "object": "model", "created": self._now, "owned_by": "practice"}

    def _head(self, ask: Ask, kind: str) -> JSON:
        return {
            "id": f"chatcmpl-{self._identity}",
            "object": kind,
            "created": self._now,
            "model": ask.model,
            "service_tier": "default",
            "system_fingerprint": "fp_practice",
        }

    def _chunk(self, ask: Ask, delta: JSON, finish: str | None = None) -> bytes:
        chunk = self._head(ask, "chat.completion.chunk")
        chunk["choices"] = [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
        if ask.usage_in_stream:
            chunk["usage"] = None
        return _data(chunk)

    def _call(self, number: int, tool: Offered, text: str) -> JSON:
        id = f"call_{self._identity}{number}"
        if tool.custom:
            return {"id": id, "type": "custom", "custom": {"name": tool.name, "input": text}}
        function = {"name": tool.name, "arguments": text}
        return {"id": id, "type": "function", "function": function}


def embeddings(body: JSON) -> JSON:
    """Return vectors of three numbers (or ``dimensions``).

    The first number is made from the input's length.
    """
    given = body["input"]
    single = isinstance(given, str) or (given and isinstance(given[0], int))
    inputs = [given] if single else given
    size = body.get("dimensions") or 3
    data = []
    for number, item in enumerate(inputs):
        vector: Any = [len(item) / 8] + [0.25] * (size - 1)
        if body.get("encoding_format") == "base64":
            vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
        data.append({"object": "embedding", "index": number, "embedding": vector})
    count = sum(len(item.split()) if isinstance(item, str) else len(item) for item in inputs)
    return {
        "object": "list",
        "data": data,
        "model": body["model"],
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }


def _citation(said: Said) -> JSON:
    url, title = PAGE
    place = {"start_index": 0, "end_index": len(said.text), "url": url, "title": title}
    return {"type": "url_citation", "url_citation": place}


def _written(arguments: Any) -> str:
    return arguments if isinstance(arguments, str) else json.dumps(arguments)


def _usage(said: Said) -> JSON:
    usage: JSON = {
        "prompt_tokens": said.prompt,
        "completion_tokens": said.output,
        "total_tokens": said.prompt + said.output,
        "prompt_tokens_details": {"cached_tokens": said.cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": said.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }
    if said.written:
        usage["prompt_tokens_details"]["cache_write_tokens"] = said.written
    return usage


def _data(value: JSON) -> bytes:
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return b"data: " + text.encode() + b"\n\n"
