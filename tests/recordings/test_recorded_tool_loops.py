"""Each recorded answer that reasons and calls tools, as an agent with the other dialect plays it
back: the backend finds its reasoning in the field in which it sent it, and its calls under the ids
that it gave them."""

import json
from pathlib import Path
from typing import Any

import pytest
from captures import RECORDINGS

from lmbroker.call import Backend, Call, Target
from lmbroker.sse import Reader
from lmbroker.workflows import workflow_for

JSON = dict[str, Any]
FIELDS = ("reasoning_content", "reasoning", "reasoning_details", "thinking_blocks")


def message_of(folder: Path) -> JSON:
    """The message that a recorded answer holds; a streamed one put together by hand."""
    whole = folder / "response.json"
    if whole.is_file():
        choices = json.loads(whole.read_bytes()).get("choices") or [{}]
        return choices[0].get("message") or {}
    message: JSON = {}
    for frame in Reader().feed((folder / "response.sse").read_bytes()):
        if not frame.data or frame.data.strip() == b"[DONE]":
            continue
        for choice in json.loads(frame.data).get("choices") or ():
            if choice.get("index"):
                continue
            add(message, choice.get("delta") or {})
    return message


def add(message: JSON, delta: JSON) -> None:
    for key, value in delta.items():
        if isinstance(value, str) and key != "role":
            if not isinstance(message.get(key), list):
                message[key] = (message.get(key) or "") + value
        elif key == "tool_calls" and value:
            calls = message.setdefault(key, [])
            for call in value:
                if call.get("id") and call["id"] not in [each.get("id") for each in calls]:
                    calls.append({"id": call["id"]})
                if call.get("extra_content"):
                    calls[-1]["extra_content"] = call["extra_content"]
        elif isinstance(value, list) and value:
            message[key] = [*(message.get(key) or ()), *value]


def loops() -> list[Any]:
    found = []
    for meta in sorted(RECORDINGS.glob("*/meta.json")):
        told = json.loads(meta.read_bytes())
        if told["endpoint"] != "openai.chat" or told["status"] != 200:
            continue
        message = message_of(meta.parent)
        if message.get("tool_calls") and wanted_of(message):
            found.append(pytest.param(meta.parent, message, id=meta.parent.name))
    return found


def wanted_of(message: JSON) -> JSON:
    """What must come back with the message."""
    wanted = {key: message[key] for key in FIELDS if message.get(key)}
    content = message.get("content")
    pieces = content if isinstance(content, list) else ()
    thinking = [piece for piece in pieces if piece.get("type") == "thinking"]
    if thinking:
        wanted["content"] = thinking
    for call in message.get("tool_calls") or ():
        if call.get("extra_content"):
            wanted[call["id"]] = call["extra_content"]
    return wanted


LOOPS = loops() or [pytest.param(None, {}, marks=pytest.mark.skip(reason="no recordings"))]


def body(model: str, *messages: JSON) -> bytes:
    hello = {"role": "user", "content": "Hello"}
    return json.dumps({"model": model, "max_tokens": 900, "messages": [hello, *messages]}).encode()


def met(model: str, raw: bytes, *, streamed: bool) -> Any:
    call = Call(
        id="r", operation="chat", dialect="anthropic", asked=model, body=raw, stream=streamed
    )
    backend = Backend(name="b", url="http://b", dialect="openai")
    return workflow_for(call, Target(backend=backend, model=model))


def content_of(answer: bytes) -> list[JSON]:
    """The blocks of an answer, whole or streamed."""
    if answer.startswith(b"{"):
        blocks: list[JSON] = json.loads(answer)["content"]
        return blocks
    blocks, pieces = [], {}
    for frame in Reader().feed(answer):
        if frame.data is None:
            continue
        event = json.loads(frame.data)
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
            pieces[event["index"]] = ""
        elif event["type"] == "content_block_delta":
            delta, block = event["delta"], blocks[event["index"]]
            for key in ("text", "thinking"):
                block[key] = block.get(key, "") + delta[key] if key in delta else block.get(key)
            block.update({k: v for k, v in delta.items() if k == "signature"})
            pieces[event["index"]] += delta.get("partial_json", "")
    for number, block in enumerate(blocks):
        if block["type"] == "tool_use":
            block["input"] = json.loads(pieces[number] or "{}")
    return [{k: v for k, v in block.items() if v is not None} for block in blocks]


def text_of(entries: Any) -> Any:
    """Entries with their texts joined, whatever pieces they came in."""
    if not isinstance(entries, list):
        return entries
    texts = [
        piece.get("text") or ""
        for entry in entries
        for piece in (entry["thinking"] if isinstance(entry.get("thinking"), list) else [entry])
    ]
    summaries = [entry.get("summary") or "" for entry in entries]
    signatures = [entry["signature"] for entry in entries if entry.get("signature")]
    return (
        "".join(texts),
        "".join(summaries),
        signatures,
        [e["data"] for e in entries if e.get("data")],
    )


@pytest.mark.parametrize(("folder", "message"), LOOPS)
def test_a_recorded_tool_loop_gets_its_reasoning_back(folder: Path, message: JSON) -> None:
    streamed = (folder / "response.sse").is_file()
    asked = folder / "request.json"
    model = json.loads(asked.read_bytes())["model"] if asked.is_file() else "any"
    workflow = met(model, body(model), streamed=streamed)
    if streamed:
        transform = workflow.transform(now=0)
        answer = transform.feed((folder / "response.sse").read_bytes()) + transform.close()
    else:
        answer = workflow.unary((folder / "response.json").read_bytes(), now=0).body
    content = content_of(answer)
    ids = [block["id"] for block in content if block["type"] == "tool_use"]
    results = [{"type": "tool_result", "tool_use_id": id, "content": "x"} for id in ids]
    turns = ({"role": "assistant", "content": content}, {"role": "user", "content": results})
    workflow = met(model, body(model, *turns), streamed=streamed)
    back = json.loads(workflow.outbound().body)["messages"]
    assert workflow.dropped == ()
    assert [call["id"] for call in back[1]["tool_calls"]] == [
        call["id"] for call in message["tool_calls"]
    ]
    assert [each["tool_call_id"] for each in back[2:]] == [
        call["id"] for call in back[1]["tool_calls"]
    ]
    for key, value in wanted_of(message).items():
        if key in (*FIELDS, "content"):
            assert text_of(back[1].get(key)) == text_of(value)
        else:
            call = next(call for call in back[1]["tool_calls"] if call["id"] == key)
            assert call["extra_content"] == value
