"""Requests that real clients sent and Responses: theirs come back from the Unified Model as they
were, and in those of the other dialects each call has its result, and reasoning what followed."""

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from captures import captured, recorded
from responses_requests import comes_back, known
from test_translated_requests import REQUESTS, whole

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses

JSON = dict[str, Any]

MODELS = ("gpt-5.6", "grok-4", "qwen3", "mistral-large")
CASES = [
    pytest.param(dialect, body, id=f"{dialect}-{name}")
    for dialect in ("openai", "anthropic")
    for name, body in REQUESTS[dialect]
]


@pytest.mark.parametrize(
    "case", recorded("openai.responses") + captured("/v1/responses"), ids=lambda case: case[0]
)
def test_a_request_of_a_responses_client_comes_back(case: tuple[str, JSON]) -> None:
    comes_back(whole(case[1]))


@pytest.mark.parametrize(("dialect", "body"), CASES)
def test_calls_have_results_and_reasoning_what_followed_it(dialect: str, body: JSON) -> None:
    for model in MODELS:
        asked = ADAPTERS[dialect].decode_request(whole(body))
        asked = msgspec.structs.replace(asked, model=model, extras=(), tools=())
        paired(ADAPTERS["responses"].encode_request(asked, known(model), Losses())["input"])


def paired(items: list[JSON]) -> None:
    """Each call has one result after it, and each result its call before it."""
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
