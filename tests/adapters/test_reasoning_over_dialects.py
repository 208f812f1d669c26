"""Whole tool loops between each client and each backend that speak different dialects: what the
backend said of its reasoning comes back to it as it said it, turn after turn, and what it got in
one turn is what the next one begins with."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tool_loops import PROFILES, SIDES, heard, without_ids

from lmbroker.translation.losses import Losses

JSON = dict[str, Any]

TURNS = 3

# What backends say: an answer that reasons and calls a tool, for turn ``n``.


def messages_answer(n: int, *blocks: JSON) -> JSON:
    call = {"type": "tool_use", "id": f"toolu_{n}", "name": "f", "input": {"turn": n}}
    return {"content": [*blocks, call], "stop_reason": "tool_use", "usage": {"input_tokens": 1}}


def chat_answer(n: int, **said: Any) -> JSON:
    function = {"name": "f", "arguments": json.dumps({"turn": n})}
    call = {"id": f"call_{n}", "type": "function", "function": function, **said.pop("call", {})}
    whole = {"role": "assistant", "content": None, "tool_calls": [call], **said}
    return {"choices": [{"index": 0, "message": whole, "finish_reason": "tool_calls"}]}


def responses_answer(n: int, *items: JSON) -> JSON:
    call = {
        "type": "function_call",
        "id": f"fc_{n}",
        "call_id": f"call_{n}",
        "name": "f",
        "arguments": json.dumps({"turn": n}),
    }
    return {"id": f"resp_{n}", "status": "completed", "output": [*items, call]}


def thinking(n: int, text: str = "Hm. ü 🙂") -> JSON:
    return {"type": "thinking", "thinking": text, "signature": f"EqQBCkYI{n}=="}


def item(n: int, *summary: str, content: str = "", **more: Any) -> JSON:
    summaries = [{"type": "summary_text", "text": text} for text in summary]
    whole = {"type": "reasoning", "id": f"rs_{n}", "summary": summaries}
    if content:
        whole["content"] = [{"type": "reasoning_text", "text": content}]
    return {**whole, **more}


DETAILS = [
    {"type": "reasoning.text", "text": "look", "format": "x", "index": 0, "signature": "S"},
    {"type": "reasoning.encrypted", "data": "b3A=", "format": "x", "index": 1, "id": None},
]
BLOCKS = [{"type": "thinking", "thinking": "look", "signature": "EqQB"}]
SIGNED = {"extra_content": {"google": {"thought_signature": "SIG=="}}}

SAID: dict[str, dict[str, Callable[[int], JSON]]] = {
    "messages": {
        "thinking": lambda n: messages_answer(n, thinking(n)),
        "omitted": lambda n: messages_answer(n, thinking(n, "")),
        "redacted": lambda n: messages_answer(n, {"type": "redacted_thinking", "data": f"b3A{n}"}),
        "interleaved": lambda n: messages_answer(
            n, thinking(n), {"type": "text", "text": "So."}, thinking(n + 10, "And?")
        ),
    },
    "chat": {
        "reasoning_content": lambda n: chat_answer(n, reasoning_content=f"look {n}"),
        "reasoning": lambda n: chat_answer(n, reasoning="look"),
        "details": lambda n: chat_answer(n, reasoning="look", reasoning_details=DETAILS),
        "blocks": lambda n: chat_answer(n, reasoning_content="look", thinking_blocks=BLOCKS),
        "signed call": lambda n: chat_answer(n, call=SIGNED),
    },
    "responses": {
        "summary": lambda n: responses_answer(n, item(n, "Hm. ü 🙂", encrypted_content=f"gA{n}")),
        "summaries": lambda n: responses_answer(n, item(n, "One.", "Two\n\nand.", "Three.")),
        "sealed": lambda n: responses_answer(n, item(n, encrypted_content="gAAAA")),
        "content": lambda n: responses_answer(n, item(n, content="Hm.")),
        "two items": lambda n: responses_answer(
            n, item(n, "One.", encrypted_content="a"), item(n + 10, "Two.", encrypted_content="b")
        ),
        "before a text": lambda n: responses_answer(
            n,
            item(n, "One.", encrypted_content="a"),
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "So."}],
            },
            item(n + 10, encrypted_content="b"),
        ),
    },
}


def owned(answer: JSON) -> Any:
    """What of a backend's answer must come back to it."""
    if "content" in answer:
        return answer["content"]
    if "output" in answer:
        return [each for each in answer["output"] if each["type"] == "reasoning"]
    whole = answer["choices"][0]["message"]
    kept = {k: v for k, v in whole.items() if k.startswith(("reasoning", "thinking"))}
    return kept, [call.get("extra_content") for call in whole["tool_calls"]]


LOOPS = [
    pytest.param(client, backend, name, id=f"{client}-{backend}-{name}")
    for backend, said in SAID.items()
    for name in said
    for client in SIDES
    if client != backend
]


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(("client", "backend", "name"), LOOPS)
def test_reasoning_comes_back_as_it_was_said(
    client: str, backend: str, name: str, streamed: bool
) -> None:
    front, back = SIDES[client], SIDES[backend]
    body = front.begin()
    before: JSON | None = None
    for n in range(TURNS):
        answer = SAID[backend][name](n)
        told = heard(front, back.decode_response(answer), streamed=streamed)
        front.go_on(body, json.loads(json.dumps(told)))
        losses = Losses()
        asked = front.decode_request(json.loads(json.dumps(body)))
        sent = back.encode_request(asked, PROFILES[backend], losses)
        assert losses.paths == ()
        for each in range(n + 1):
            wanted = owned(SAID[backend][name](each))
            assert without_ids(back.said(sent, each)) == without_ids(wanted)
        key = "input" if backend == "responses" else "messages"
        if before is not None:
            assert sent[key][: len(before[key])] == before[key]
        before = sent
