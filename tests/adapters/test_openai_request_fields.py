"""Every key of every type that the installed SDK can send has a place or a class.

No list of keys stands here: bodies are made from the SDK's own types, one key and one value at
a time, and the decoder is asked which keys it did not know. What it knew must come back from a
backend of this dialect.
"""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from sdk_types import Samples, Unknown

from lmbroker.translation.dialects.openai.families import UNKNOWN as UNKNOWN_OPENAI
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request
from lmbroker.translation.losses import Losses

SAMPLES = Samples(
    needed={"FileFile": {"file_data"}},
    values={
        ("ChatCompletionAllowedToolsParam", "tools"): [
            [{"type": "function", "function": {"name": "f"}}]
        ]
    },
)


@pytest.mark.parametrize(
    "request_type", [CompletionCreateParamsNonStreaming, CompletionCreateParamsStreaming]
)
def test_every_key_of_the_sdk_is_known_and_comes_back(
    request_type: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = Unknown(monkeypatch)
    bodies = SAMPLES.of(request_type)
    assert len(bodies) > 150
    for body in bodies:
        request = decode_request(body)
        assert unknown == [], body
        losses = Losses("strict")
        assert encode_request(request, UNKNOWN_OPENAI, losses) == body


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(SAMPLES.of(CompletionCreateParamsNonStreaming)), max_size=8))
def test_keys_come_back_in_any_company(bodies: list[dict[str, Any]]) -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    for each in bodies:
        body = {**body, **each, "messages": body["messages"] + each["messages"]}
    assert encode_request(decode_request(body), UNKNOWN_OPENAI, Losses("strict")) == body


def test_a_key_of_tomorrow_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = Unknown(monkeypatch)
    hello = {"role": "user", "content": [{"type": "text", "text": "x", "mood": 1}], "mood": 2}
    tool = {"type": "function", "mood": 3, "function": {"name": "f", "mood": 4}}
    body = {"model": "m", "messages": [hello], "tools": [tool], "mood": 5}
    decode_request({**body, "stream_options": {"mood": 6}, "prompt_cache_options": {"mood": 7}})
    assert sorted(unknown) == [
        "messages[0].content[0].mood",
        "messages[0].mood",
        "mood",
        "prompt_cache_options.mood",
        "stream_options.mood",
        "tools[0].function.mood",
        "tools[0].mood",
    ]
