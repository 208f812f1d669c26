"""Requests that real clients sent and Responses: theirs come back from the Unified Model as they
were, and those of the other dialects become requests that OpenAI's SDK takes, turn for turn with
the same beginning."""

import json
from itertools import groupby, pairwise
from typing import Any

import msgspec
import pytest
from captures import captured, recorded
from responses_requests import comes_back, judged, known
from test_translated_requests import REFUSED, REQUESTS, whole

from lmbroker.errors import Refused
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.dialects.openai_responses.encode_request import encode_request
from lmbroker.translation.losses import Losses

JSON = dict[str, Any]

MODELS = ("gpt-4o", "gpt-5.4", "gpt-5.6", "grok-4", "qwen3", "any")
RESPONSES = recorded("openai.responses") + captured("/v1/responses")
NO_REQUEST = {
    "openai.responses.json.response-with-mixed-prompt-url-preserved.4df8a5.00",
    "openai.responses.json.response-with-mixed-prompt-url-stripped.9c227e.00",
}
"""Requests without a model, which stood in the prompt that the vendor kept."""


@pytest.mark.parametrize("case", RESPONSES, ids=lambda case: case[0])
def test_a_request_of_a_responses_client_comes_back(case: tuple[str, JSON]) -> None:
    if case[0] in NO_REQUEST:
        assert "prompt" in case[1]
        comes_back({**case[1], "model": "m"})
    else:
        comes_back(case[1])


def sent(dialect: str, body: JSON, model: str) -> JSON:
    request = msgspec.structs.replace(ADAPTERS[dialect].decode_request(whole(body)), model=model)
    return encode_request(request, known(model), Losses())


def check(dialect: str, body: JSON) -> None:
    before = json.dumps(body)
    for model in MODELS:
        try:
            out = sent(dialect, body, model)
        except Refused as error:
            assert error.info.kind == "unsupported", error.info
            assert error.info.param in REFUSED[dialect] | {"logprobs", "logit_bias"}, error.info
            continue
        if model.startswith("gpt"):
            judged(out)
        assert out == sent(dialect, body, model)
        paired(out["input"])
    assert json.dumps(body) == before


def paired(items: list[JSON]) -> None:
    """Each call has one result, each result its call before it, and reasoning what followed it."""
    waiting: dict[str, str] = {}
    for item, after in pairwise([*items, None]):
        kind = item["type"]
        if kind.endswith("_call"):
            assert item["call_id"] not in waiting
            waiting[item["call_id"]] = kind
        elif kind.endswith("_output"):
            assert waiting.pop(item["call_id"]) == kind.removesuffix("_output")
        elif kind == "reasoning":
            assert after is not None
            said = after["type"].endswith("_call") or after["type"] == "reasoning"
            assert said or after.get("role") == "assistant"
    assert not waiting or items[-1]["type"].endswith("_call")


@pytest.mark.parametrize("case", REQUESTS["openai"], ids=lambda case: case[0])
def test_a_chat_request_goes_to_responses(case: tuple[str, JSON]) -> None:
    check("openai", case[1])


@pytest.mark.parametrize("case", REQUESTS["anthropic"], ids=lambda case: case[0])
def test_a_messages_request_goes_to_responses(case: tuple[str, JSON]) -> None:
    check("anthropic", case[1])


def conversations(cases: list[tuple[str, JSON]]) -> list[list[JSON]]:
    """Requests of one file whose messages begin with those of the request before."""
    found = []
    for _, group in groupby(cases, key=lambda case: case[0].rpartition("#")[0]):
        run: list[JSON] = []
        for _, body in group:
            messages = body["messages"]
            if run and messages[: len(run[-1]["messages"])] == run[-1]["messages"]:
                run.append(body)
            else:
                found.append(run)
                run = [body]
        found.append(run)
    return [run for run in found if len(run) > 1]


@pytest.mark.parametrize(
    ("dialect", "path"),
    [("openai", "/v1/chat/completions"), ("anthropic", "/v1/messages")],
)
@pytest.mark.parametrize("model", MODELS)
def test_the_next_turn_begins_with_the_items_of_this_one(dialect, path, model):
    count = 0
    for run in conversations(captured(path)):
        bodies = []
        for body in run:
            try:
                bodies.append(sent(dialect, body, model))
            except Refused:
                break
        for before, after in pairwise(bodies):
            count += 1
            assert after["input"][: len(before["input"])] == before["input"]
            assert after.get("instructions") == before.get("instructions")
    assert count or not captured(path)
