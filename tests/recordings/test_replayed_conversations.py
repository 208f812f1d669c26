"""Conversations as Claude Code replays them, with thinking and images in them: other brokers'
rewriting made the backend refuse them."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from captures import CAPTURES, captured

from lmbroker.call import Backend, Call, Target
from lmbroker.workflows import workflow_for

JSON = dict[str, Any]


def blocks(content: Any) -> Iterator[JSON]:
    """The blocks of a message, those inside tool results as well."""
    for block in content if isinstance(content, list) else ():
        yield block
        yield from blocks(block.get("content"))


def kinds(body: JSON) -> set[str]:
    return {block["type"] for message in body["messages"] for block in blocks(message["content"])}


CASES = [
    pytest.param(body, id=case)
    for case, body in captured("/v1/messages")
    if case.startswith("claude-code-") and kinds(body) & {"thinking", "image"}
]


def sent(body: JSON, backend: Any, **profile: Any) -> tuple[bytes, bytes, tuple[str, ...]]:
    """What the client sent, what the backend gets, and what was lost between them."""
    raw = json.dumps(body, ensure_ascii=False).encode()
    call = Call(
        id="r",
        operation="chat",
        dialect="anthropic",
        asked=body["model"],
        body=raw,
        stream=bool(body.get("stream")),
        query=b"beta=true",
    )
    target = Target(backend=Backend(name="b", url="http://b", dialect=backend), model="real")
    met = workflow_for(call, target, overrides=profile)
    return raw, met.outbound().body, met.dropped


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="no captures beside the project")
def test_there_are_both_thinking_and_images() -> None:
    assert {"thinking", "image"} <= set().union(*(kinds(case.values[0]) for case in CASES))


@pytest.mark.parametrize("body", CASES)
def test_to_an_anthropic_backend_nothing_is_rewritten(body: JSON) -> None:
    raw, got, dropped = sent(body, "anthropic")
    name = json.dumps(body["model"]).encode()
    assert got == raw.replace(b'"model": ' + name, b'"model": "real"', 1)
    assert dropped == ()


@pytest.mark.parametrize("body", CASES)
def test_to_an_openai_backend_texts_calls_and_images_are_all_there(body: JSON) -> None:
    _, got, dropped = sent(body, "openai")
    messages = json.loads(got)["messages"]
    text = json.dumps(messages)
    for message in body["messages"]:
        for block in blocks(message["content"]):
            if block["type"] == "text":
                assert json.dumps(block["text"])[1:-1] in text
            elif block["type"] == "image":
                assert block["source"]["data"] in text
            elif block["type"] == "thinking":
                assert "messages[].content[].thinking" in dropped
    calls = [call["id"] for message in messages for call in message.get("tool_calls", ())]
    results = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
    assert calls == results != []


@pytest.mark.parametrize("body", CASES)
def test_thinking_of_the_backends_own_goes_back_to_it(body: JSON) -> None:
    """The same conversation, had the thinking been born at this OpenAI backend."""
    token = "lmb1.eyJrIjoicmMifQ"
    ours = json.loads(json.dumps(body))
    thoughts = []
    for message in ours["messages"]:
        for block in blocks(message["content"]):
            if block["type"] == "thinking":
                block["thinking"], block["signature"] = "I will look.", token
                thoughts.append(block["thinking"])
    _, got, dropped = sent(ours, "openai", reasoning_replay="reasoning_content")
    messages = json.loads(got)["messages"]
    back = [each["reasoning_content"] for each in messages if each.get("reasoning_content")]
    assert back == thoughts
    assert "messages[].content[].thinking" not in dropped
