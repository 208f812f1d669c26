"""Requests and streams as coding agents and their backends send them, made up from a seed."""

import random
import re
from collections.abc import Iterator
from typing import Any, Literal

import msgspec

JSON = dict[str, Any]
Kind = Literal["text", "reasoning", "arguments"]

_THINGS = ("File", "Page", "Task", "Notes")
_WORDS = tuple(
    re.findall(
        r"\w+",
        """the file test of and line in is a to function returns value error when path reads module
        config class token which that stream writes opens parser branch commit fails again since
        because with every list names called from its own first second result check ended""",
    )
)
_TOOLS = tuple(f"{verb}{thing}" for verb in ("Read", "Write", "Find", "Run") for thing in _THINGS)


class Samples:
    """All samples of one seed; the same seed gives the same bytes."""

    def __init__(self, seed: int = 1) -> None:
        self._random = random.Random(seed)

    def prose(self, size: int) -> str:
        """About ``size`` characters of text with quotes, umlauts and line ends in it."""
        words, length = [], 0
        while length < size:
            word = self._random.choice(_WORDS)
            chance = self._random.random()
            if chance < 0.03:
                word = f'"{word}"'
            elif chance < 0.06:
                word += ".\n"
            elif chance < 0.07:
                word += " für"
            words.append(word)
            length += len(word) + 1
        return " ".join(words)

    # A request.

    def agent_request(self, size: int) -> JSON:
        """A Messages request of about ``size`` bytes: long instructions, many tools, and turns of
        reasoning, tool calls and results until it is long enough."""
        request: JSON = {
            "model": "bench",
            "max_tokens": 32_000,
            "stream": True,
            "metadata": {"user_id": "user_" + "0123456789abcdef" * 4},
            "thinking": {"type": "enabled", "budget_tokens": 10_000},
            "system": [self._marked(self.prose(60)), self._marked(self.prose(9_000))],
            "tools": [self._tool(name) for name in _TOOLS],
            "messages": [{"role": "user", "content": [self._text(400), self._text(1_500)]}],
        }
        number = 0
        while len(msgspec.json.encode(request)) < size:
            request["messages"] += self._turns(number)
            number += 1
        last = request["messages"][-1]["content"]
        last[-1] = {**last[-1], "cache_control": {"type": "ephemeral"}}
        return request

    def _text(self, size: int) -> JSON:
        return {"type": "text", "text": self.prose(size)}

    def _marked(self, text: str) -> JSON:
        return {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}

    def _tool(self, name: str) -> JSON:
        fields: JSON = {
            f"{self._random.choice(_WORDS)}_{number}": {
                "type": self._random.choice(("string", "number", "boolean")),
                "description": self.prose(80),
            }
            for number in range(4)
        }
        fields["items"] = {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"content": {"type": "string", "minLength": 1}},
                "required": ["content"],
                "additionalProperties": False,
            },
        }
        schema = {
            "$schema": "http://json-schema.org/draft-07/schema#",
            "type": "object",
            "properties": fields,
            "required": list(fields)[:2],
            "additionalProperties": False,
        }
        return {"name": name, "description": self.prose(700), "input_schema": schema}

    def _turns(self, number: int) -> list[JSON]:
        """A call with what led to it, and its result."""
        call: JSON = {
            "type": "tool_use",
            "id": f"toolu_{number:024d}",
            "name": self._random.choice(_TOOLS),
            "input": {"file_path": f"/src/{number}.py", "old_string": self.prose(120), "limit": 40},
        }
        result = {
            "type": "tool_result",
            "tool_use_id": call["id"],
            "content": [self._text(900)] if number % 2 else self.prose(900),
        }
        thinking = {"type": "thinking", "thinking": self.prose(200), "signature": "c2ln" * 60}
        return [
            {"role": "assistant", "content": [thinking, self._text(90), call]},
            {"role": "user", "content": [result]},
        ]

    # Streams, as lists of whole events.

    def pieces(self, kind: Kind, count: int) -> list[str]:
        """What ``count`` deltas tell: a word or so each. Arguments are one JSON object together."""
        words = [self.prose(4) + " " for _ in range(count)]
        if kind == "arguments":
            words = [word.replace('"', "").replace("\n", "") for word in words]
            words[0], words[-1] = '{"content":"' + words[0], words[-1] + '"}'
        return words

    def openai_stream(self, kind: Kind, count: int) -> list[bytes]:
        """Chat Completions chunks: ``count`` deltas and what stands around them."""
        pieces = self.pieces(kind, count)
        called = kind == "arguments"
        deltas: list[JSON] = [{"role": "assistant", "content": None if called else ""}]
        if called:
            function = {"name": "WriteFile", "arguments": ""}
            deltas.append(
                {
                    "tool_calls": [
                        {"index": 0, "id": "call_1", "type": "function"} | {"function": function}
                    ]
                }
            )
            deltas += (
                {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces
            )
        else:
            key = "content" if kind == "text" else "reasoning_content"
            deltas += ({key: piece} for piece in pieces)
        if kind == "reasoning":
            deltas.append({"content": "done"})
        chunks = [self._chunk([_choice(delta)]) for delta in deltas]
        chunks.append(self._chunk([_choice({}, "tool_calls" if called else "stop")]))
        usage = {"prompt_tokens": 42, "completion_tokens": count, "total_tokens": 42 + count}
        chunks.append({**self._chunk([]), "usage": usage})
        events = [b"data: " + msgspec.json.encode(chunk) + b"\n\n" for chunk in chunks]
        return [*events, b"data: [DONE]\n\n"]

    def _chunk(self, choices: list[JSON]) -> JSON:
        return {
            "id": "chatcmpl-0123456789abcdef0123456789",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": "bench",
            "system_fingerprint": "fp_0123456789",
            "choices": choices,
        }

    def anthropic_stream(self, kind: Kind, count: int) -> list[bytes]:
        """Messages events: ``count`` deltas and what stands around them."""
        return [
            b"event: %b\ndata: %b\n\n" % (event["type"].encode(), msgspec.json.encode(event))
            for event in self._anthropic_events(kind, count)
        ]

    def _anthropic_events(self, kind: Kind, count: int) -> Iterator[JSON]:
        called = kind == "arguments"
        block, delta_type, key = {
            "text": ({"type": "text", "text": ""}, "text_delta", "text"),
            "reasoning": ({"type": "thinking", "thinking": ""}, "thinking_delta", "thinking"),
            "arguments": (
                {"type": "tool_use", "id": "toolu_1", "name": "WriteFile", "input": {}},
                "input_json_delta",
                "partial_json",
            ),
        }[kind]
        message: JSON = {
            "id": "msg_0123456789abcdef",
            "type": "message",
            "role": "assistant",
            "model": "bench",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": {"input_tokens": 42, "output_tokens": 1},
        }
        yield {"type": "message_start", "message": message}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
        yield {"type": "ping"}
        for piece in self.pieces(kind, count):
            delta = {"type": delta_type, key: piece}
            yield {"type": "content_block_delta", "index": 0, "delta": delta}
        yield {"type": "content_block_stop", "index": 0}
        yield {
            "type": "message_delta",
            "delta": {"stop_reason": "tool_use" if called else "end_turn", "stop_sequence": None},
            "usage": {"output_tokens": count},
        }
        yield {"type": "message_stop"}

    def responses_stream(self, kind: Kind, count: int) -> list[bytes]:
        """Responses events: ``count`` deltas and what stands around them."""
        return [
            b"event: %b\ndata: %b\n\n"
            % (
                event["type"].encode(),
                msgspec.json.encode({**event, "sequence_number": number}),
            )
            for number, event in enumerate(self._responses_events(kind, count))
        ]

    def _responses_events(self, kind: Kind, count: int) -> Iterator[JSON]:
        response: JSON = {
            "id": "resp_0123456789abcdef0123456789",
            "object": "response",
            "created_at": 1_700_000_000,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "model": "bench",
            "output": [],
            "parallel_tool_calls": True,
            "temperature": 1.0,
            "tool_choice": "auto",
            "tools": [],
            "top_p": 1.0,
            "usage": None,
        }
        yield {"type": "response.created", "response": response}
        yield {"type": "response.in_progress", "response": response}
        pieces = self.pieces(kind, count)
        text = "".join(pieces)
        item: JSON
        place: JSON
        if kind == "arguments":
            item = {"id": "fc_1", "type": "function_call", "status": "in_progress"}
            item |= {"call_id": "call_1", "name": "WriteFile", "arguments": ""}
            whole = {**item, "status": "completed", "arguments": text}
            name, place, key = "function_call_arguments", {}, "arguments"
        elif kind == "reasoning":
            item = {"id": "rs_1", "type": "reasoning", "summary": []}
            whole = {**item, "summary": [{"type": "summary_text", "text": text}]}
            name, place, key = "reasoning_summary_text", {"summary_index": 0}, "text"
        else:
            item = {"id": "msg_1", "type": "message", "status": "in_progress"}
            item |= {"role": "assistant", "content": []}
            part = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
            whole = {**item, "status": "completed", "content": [part]}
            name, place, key = "output_text", {"content_index": 0, "logprobs": []}, "text"
        at = {"item_id": item["id"], "output_index": 0}
        yield {"type": "response.output_item.added", "output_index": 0, "item": item}
        parts = {"reasoning": "reasoning_summary_part", "text": "content_part"}
        if kind in parts:
            first = (whole.get("content") or whole["summary"])[0]
            added = {**first, "text": ""}
            yield {"type": f"response.{parts[kind]}.added", **at, **place, "part": added}
        for piece in pieces:
            hidden = "x" * (-len(piece) % 16)
            delta = {**at, **place, "delta": piece, "obfuscation": hidden}
            yield {"type": f"response.{name}.delta", **delta}
        yield {"type": f"response.{name}.done", **at, **place, key: text}
        if kind in parts:
            yield {"type": f"response.{parts[kind]}.done", **at, **place, "part": first}
        yield {"type": "response.output_item.done", "output_index": 0, "item": whole}
        usage = {
            "input_tokens": 42,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": count,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": 42 + count,
        }
        done = {**response, "status": "completed", "output": [whole], "usage": usage}
        yield {"type": "response.completed", "response": done}


def _choice(delta: JSON, finish: str | None = None) -> JSON:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
