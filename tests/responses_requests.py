"""Requests of Responses in tests: what is known of a model there, and who judges them."""

import copy
from itertools import pairwise
from typing import Any

from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from sdk_types import accept

from lmbroker.translation.dialects.openai_responses.decode_request import decode_request
from lmbroker.translation.dialects.openai_responses.encode_request import encode_request
from lmbroker.translation.dialects.openai_responses.families import UNKNOWN
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.profiles.profile import Profile

JSON = dict[str, Any]


def known(model: str, **overrides: Any) -> Profile:
    """The profile of a model, whatever the host."""
    return profile("responses", model, overrides)


def judged(body: JSON) -> None:
    """The SDK takes ``body``; its types want ids that the API does not."""
    streamed = body.get("stream")
    hint = ResponseCreateParamsStreaming if streamed else ResponseCreateParamsNonStreaming
    items = []
    for item in body["input"]:
        if item.get("role") == "assistant" and isinstance(item["content"], list):
            item = {"id": "msg_1", "status": "completed", **item}
        elif item["type"] == "reasoning":
            item = {"id": "rs_1", **item}
        items.append(item)
    accept(hint, {**body, "input": items}, closed=True)


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


def comes_back(body: JSON) -> None:
    """A request that was read is written as it was, but for what is absent or goes without
    saying."""
    before = copy.deepcopy(body)
    out = encode_request(decode_request(body), UNKNOWN, Losses("strict"))
    assert body == before
    assert _same(out) == _same(body)


def _same(body: JSON) -> JSON:
    out: JSON = _told(body)
    if isinstance(out.get("input"), list):
        out["input"] = [
            {"type": "message", **item} if "role" in item else item for item in out["input"]
        ]
    return out


def _told(value: Any) -> Any:
    if isinstance(value, list):
        return [_told(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {key: _told(each) for key, each in value.items() if each is not None}
