"""Requests that real clients sent and Responses: theirs come back from the Unified Model as they
were, and in those of the other dialects each call has its result, and reasoning what followed."""

from typing import Any

import msgspec
from batches import in_batches
from captures import captured, named, recorded
from responses_requests import comes_back, known, paired
from test_translated_requests import REQUESTS, whole

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import Losses

JSON = dict[str, Any]

MODELS = ("gpt-5.6", "grok-4", "qwen3", "mistral-large")
CASES = [
    (f"{dialect}-{name}", (dialect, body))
    for dialect in ("openai", "anthropic")
    for name, body in REQUESTS[dialect]
]


@in_batches(named(recorded("openai.responses") + captured("/v1/responses")))
def test_a_request_of_a_responses_client_comes_back(body: JSON) -> None:
    comes_back(whole(body))


@in_batches(CASES)
def test_calls_have_results_and_reasoning_what_followed_it(dialect: str, body: JSON) -> None:
    for model in MODELS:
        asked = ADAPTERS[dialect].decode_request(whole(body))
        asked = msgspec.structs.replace(asked, model=model, extras=(), tools=())
        paired(ADAPTERS["responses"].encode_request(asked, known(model), Losses())["input"])
