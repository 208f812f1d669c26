"""Every chat completion request that a real client sent is understood, and comes back as it was.

Three things are not as they were, on purpose:

- ``null`` for a field is the same as no field.
- A tool without a type comes back as the function that it is.
- Azure's URL has the model; it is put in first.
"""

import json
from typing import Any

import pytest
from batches import in_batches
from captures import captured, named, recorded

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai.families import UNKNOWN as UNKNOWN_OPENAI
from lmbroker.translation.losses import Losses
from lmbroker.translation.unified.parts import ToolCallPart, ToolResultPart

JSON = dict[str, Any]

RECORDED = recorded("openai.chat")
CAPTURED = captured("/v1/chat/completions")

BROKEN = {"writer.chat.sse.writer-async-streaming-chat-tool-calls-legacy.5c25ef.00"}
"""Calls and results without ids."""

FREE = ("parameters", "schema", "metadata")
"""Keys whose values are the client's own."""

CASES = [case for case in RECORDED + CAPTURED if case[0] not in BROKEN]


def whole(body: JSON) -> JSON:
    return {**body, "model": body.get("model") or "m"}


def without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [without_nulls(each) for each in value]
    if not isinstance(value, dict):
        return value
    kept = {key: each for key, each in value.items() if each is not None}
    return {key: each if key in FREE else without_nulls(each) for key, each in kept.items()}


def told_alike(body: JSON) -> JSON:
    """``body`` in the words in which it comes back."""
    body = without_nulls(body)
    if "tools" in body:
        body["tools"] = [{"type": "function", **tool} for tool in body["tools"]]
    return body


@in_batches(named(CASES))
def test_a_recorded_request_comes_back_as_it_was(recorded_body: JSON) -> None:
    body = whole(recorded_body)
    before = json.dumps(body)
    adapter, losses = ADAPTERS["openai"], Losses("strict")
    back = adapter.encode_request(adapter.decode_request(body), UNKNOWN_OPENAI, losses)
    assert back == told_alike(body)
    assert json.dumps(body) == before


@pytest.mark.parametrize("name", sorted(BROKEN))
def test_a_result_without_an_id_is_that_of_the_call_without_one(name: str) -> None:
    for body in (body for folder, body in RECORDED if folder == name):
        request = ADAPTERS["openai"].decode_request(whole(body))
        calls = [p.id for turn in request.turns for p in turn.parts if isinstance(p, ToolCallPart)]
        results = [
            p.call_id for turn in request.turns for p in turn.parts if isinstance(p, ToolResultPart)
        ]
        assert calls and calls == results
