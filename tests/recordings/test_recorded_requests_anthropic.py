"""Every Messages request that a real client sent is understood, and comes back as it was.

Three things are not as they were, on purpose:

- ``null`` for a field of a body, a message or a block is the same as no field.
- ``output_format``, the beta's field, comes back as ``output_config.format``.
- What stands elsewhere is put in first: a count has no ``max_tokens``, Bedrock's URL has the model.
"""

import json
from typing import Any

import pytest
from batches import in_batches
from captures import captured, named, recorded

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.unified.parts import Extra, ToolResultPart
from lmbroker.translation.unified.request import Request

JSON = dict[str, Any]

RECORDED = recorded("anthropic.messages") + recorded("anthropic.count_tokens")
CAPTURED = captured("/v1/messages") + captured("/v1/messages/count_tokens")


def whole(body: JSON) -> JSON:
    return {"model": "m", "max_tokens": 1, **body}


def without_nulls(held: JSON) -> JSON:
    return {key: value for key, value in held.items() if value is not None}


def told_alike(body: JSON) -> JSON:
    """``body`` in the words in which it comes back."""
    body = without_nulls(body)
    messages = [without_nulls(message) for message in body["messages"]]
    for message in messages:
        if isinstance(message["content"], list):
            message["content"] = [without_nulls(block) for block in message["content"]]
    body["messages"] = messages
    form = body.pop("output_format", None)
    if form is not None:
        body["output_config"] = {**body.get("output_config", {}), "format": form}
    return body


@in_batches(named(RECORDED + CAPTURED))
def test_a_recorded_request_comes_back_as_it_was(recorded_body: JSON) -> None:
    body = whole(recorded_body)
    before = json.dumps(body)
    adapter, losses = ADAPTERS["anthropic"], Losses("strict")
    back = adapter.encode_request(adapter.decode_request(body), Profile(), losses)
    assert back == told_alike(body)
    assert json.dumps(body) == before


def extras(request: Request) -> list[Extra]:
    found = list(request.extras)
    for held in (*request.system, *request.turns, *request.tools):
        found += held.extras
    for turn in request.turns:
        for part in turn.parts:
            found += getattr(part, "extras", ())
            for inner in (part.parts or ()) if isinstance(part, ToolResultPart) else ():
                found += getattr(inner, "extras", ())
    return found


def classed(cases: list[tuple[str, JSON]], loss: str) -> set[str]:
    decoded = (ADAPTERS["anthropic"].decode_request(whole(body)) for _, body in cases)
    return {e.path for request in decoded for e in extras(request) if e.loss == loss}


@pytest.mark.skipif(not CAPTURED, reason="no captures")
def test_nothing_that_a_coding_agent_sends_is_refused() -> None:
    cases = [case for case in CAPTURED if case[0].startswith(("claude-code", "opencode"))]
    assert classed(cases, "refuse") == classed(cases, "refuse_soft") == set()
    assert classed(cases, "drop") == {"context_management", "safeguards", "thinking.display"}


@pytest.mark.skipif(not CAPTURED, reason="no captures")
def test_of_all_clients_only_one_that_continues_a_thread_is_refused() -> None:
    assert classed(CAPTURED, "refuse") == {"thread"}
    assert classed(CAPTURED, "refuse_soft") == set()
    expected = {"context_management", "safeguards", "thinking.display", "thread"}
    assert classed(CAPTURED, "drop") == expected


@pytest.mark.skipif(not RECORDED, reason="no recordings")
def test_what_recorded_requests_would_lose() -> None:
    assert classed(RECORDED, "refuse") == {"container"}
    assert classed(RECORDED, "refuse_soft") == set()
    assert classed(RECORDED, "drop") == {"context_management", "output_config.task_budget"}
