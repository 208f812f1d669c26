"""How much text a passed stream has carried, by its tap: what an answer that is broken off cost."""

import json
import random
from typing import Any

import pytest

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.counting import CLAUDE, OTHERS

JSON = dict[str, Any]
WORDS = ("a", " quokka", "\n", ' "x"', " über", " and so on and on")


def event(value: JSON, name: str = "", spaces: int = 0, compact: bool = True) -> bytes:
    text = json.dumps(value, separators=(",", ":") if compact else None, ensure_ascii=False)
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {text}{' ' * spaces}\n\n".encode()


def openai(chance: random.Random, texts: list[str], compact: bool) -> list[bytes]:
    def chunk(delta: JSON) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": None}
        return event({"id": "c1", "choices": [choice], "model": "m"}, compact=compact)

    kinds = ("content", "reasoning_content", "arguments")
    out = [chunk({"role": "assistant", "content": ""})]
    for at, kind in enumerate(kinds):
        if kind == "arguments":
            function = {"name": "look", "arguments": ""}
            out.append(chunk({"tool_calls": [{"index": 0, "id": "c", "function": function}]}))
        for text in texts[at::3]:
            given = [{"index": 0, "function": {"arguments": text}}]
            out.append(chunk({"tool_calls": given} if kind == "arguments" else {kind: text}))
    return out


def anthropic(chance: random.Random, texts: list[str], compact: bool) -> list[bytes]:
    kinds = (("text", "text"), ("thinking", "thinking"), ("input_json", "partial_json"))
    message = {"id": "m", "type": "message", "content": [], "usage": {"input_tokens": 3}}
    out = [event({"type": "message_start", "message": message}, "message_start", compact=compact)]
    for at, (kind, field) in enumerate(kinds):
        block: JSON = {"type": kind, field: ""}
        if kind == "input_json":
            block = {"type": "tool_use", "id": "t", "name": "look", "input": {}}
        shown: list[JSON] = [{"type": "content_block_start", "index": at, "content_block": block}]
        for text in texts[at::3]:
            delta = {"type": f"{kind}_delta", field: text}
            shown.append({"type": "content_block_delta", "index": at, "delta": delta})
        signature = {"type": "signature_delta", "signature": "c2ln" * 200}
        if kind == "thinking":
            shown.append({"type": "content_block_delta", "index": at, "delta": signature})
        shown.append({"type": "content_block_stop", "index": at})
        out += [event(each, each["type"], chance.randrange(16), compact) for each in shown]
    return out


def responses(chance: random.Random, texts: list[str], compact: bool) -> list[bytes]:
    kinds = (
        ("response.output_text", "message"),
        ("response.reasoning_text", "reasoning"),
        ("response.function_call_arguments", "function_call"),
    )
    padded = chance.random() < 0.5
    shown: list[JSON] = [{"type": "response.created", "response": {"id": "r"}}]
    for at, (kind, item_type) in enumerate(kinds):
        item: JSON = {"id": "i", "type": item_type}
        if item_type == "function_call":
            item |= {"name": "look", "call_id": "c", "arguments": ""}
        shown.append({"type": "response.output_item.added", "output_index": at, "item": item})
        for text in texts[at::3]:
            more: JSON = {"delta": text}
            if padded:
                more |= {"logprobs": [], "obfuscation": "x" * chance.randrange(16)}
            shown.append({"type": f"{kind}.delta", "item_id": "i", "output_index": at, **more})
        whole = "".join(texts[at::3])
        shown.append({"type": f"{kind}.done", "item_id": "i", "output_index": at, "text": whole})
        item = {**item, "content": [{"type": "output_text", "text": whole}]}
        shown.append({"type": "response.output_item.done", "output_index": at, "item": item})
    return [event(each, each["type"], compact=compact) for each in shown]


STREAMS = {"openai": openai, "anthropic": anthropic, "responses": responses}
CALLS = {"openai": OTHERS, "anthropic": CLAUDE, "responses": OTHERS}


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("blocks", ["one by one", "all at once", "by threes"])
@pytest.mark.parametrize("dialect", STREAMS)
def test_the_text_of_a_passed_stream_is_known_whatever_carries_it(
    dialect: str, blocks: str, compact: bool
) -> None:
    for seed in range(5):
        chance = random.Random(seed)
        texts = [chance.choice(WORDS) * chance.randrange(1, 9) for _ in range(300)]
        events = STREAMS[dialect](chance, texts, compact)
        step = {"one by one": 1, "by threes": 3, "all at once": len(events)}[blocks]
        tap = ADAPTERS[dialect].tap()
        for at in range(0, len(events), step):
            tap.see(b"".join(events[at : at + step]))
        size = sum(len(text.encode()) for text in texts) + CALLS[dialect].answer_call
        assert abs(tap.text_bytes / size - 1) < 0.15, (seed, tap.text_bytes, size)
