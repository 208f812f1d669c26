"""Chat completion request -> Unified Model -> the same request."""

from typing import Any

import pytest

from lmbroker.translation.dialects.openai.families import UNKNOWN as UNKNOWN_OPENAI
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request
from lmbroker.translation.losses import Losses

JSON = dict[str, Any]

HELLO = {"role": "user", "content": "Hello"}
MARK = {"cache_control": {"type": "ephemeral"}}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string", "default": None}}}


def back(*messages: JSON, **fields: Any) -> JSON:
    body = {"model": "m", "messages": list(messages) or [HELLO], **fields}
    return encode_request(decode_request(body), UNKNOWN_OPENAI, Losses("strict"))


def text(words: str, **more: Any) -> JSON:
    return {"type": "text", "text": words, **more}


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"functions": []},
        {"functions": [{"name": "f", "parameters": SCHEMA, "mood": 1}], "function_call": "auto"},
        {
            "functions": [{"name": "f"}],
            "tools": [{"type": "function", "function": {"name": "g"}}],
            "function_call": {"name": "f"},
            "tool_choice": "auto",
        },
        {"function_call": "none"},
        {"tools": [{"type": "openrouter:web_search", "parameters": {"max": None}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "strict": False}, **MARK}]},
        {
            "tools": [{"type": "custom", "custom": {"name": "f", "format": {"type": "text"}}}],
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "required",
                    "tools": [{"type": "custom", "custom": {"name": "f"}}],
                },
            },
        },
        {"tool_choice": "any"},
        {"tool_choice": "sometimes"},
        {"stop": []},
        {"stop": "x"},
        {"stop": ["x"]},
        {"max_tokens": 5},
        {"max_tokens": 5, "max_completion_tokens": 6},
        {"stream": False},
        {"stream": True, "stream_options": {"include_usage": False, "mood": 1}},
        {"stream": True, "stream_options": {"include_usage": True, "include_obfuscation": True}},
        {"reasoning_effort": "low", "output_config": {"effort": "max"}},
        {"reasoning_effort": "gigantic", "reasoning": {"effort": "low", "mood": 1}},
        {"reasoning_effort": "low", "thinking": {"type": "disabled", "mood": 1}},
        {"reasoning": {"max_tokens": 2000, "exclude": True}},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}, "mood": 1}},
        {"response_format": {"type": "text"}},
        {"response_format": {"type": "json_object", "mood": 1}},
        {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "n", "schema": SCHEMA, "strict": True, "mood": 1},
            }
        },
        {"response_format": {"type": "grammar", "grammar": "x"}},
        {"user": "a", "safety_identifier": "b", "metadata": {"user_id": "c"}},
        {"user": "a"},
        {"metadata": {"user_id": "c"}},
        {"service_tier": "default"},
        {"service_tier": "golden"},
        {"prompt_cache_options": {}},
        {"prompt_cache_options": {"mode": "explicit", "ttl": "30m", "mood": 1}},
        {"prompt_cache_options": {"mode": "odd"}},
        {"temperature": 0, "top_p": 1, "top_k": 3, "seed": 1, "logit_bias": {}, "min_p": 0.1},
        {"n": 1, "logprobs": False, "store": True, "modalities": ["text"], "verbosity": "low"},
        {"made.up": 1, "made": {"up": 2}},
    ],
)
def test_fields_come_back_as_they_were(fields: JSON) -> None:
    assert back(**fields) == {"model": "m", "messages": [HELLO], **fields}


@pytest.mark.parametrize(
    "message",
    [
        {"role": "system", "content": "s", "name": "n", "mood": 1, **MARK},
        {"role": "developer", "content": [text("a", **MARK), text("b", mood=1)]},
        {"role": "system", "content": []},
        {"role": "system", "content": [text("one")]},
        {"role": "user", "content": ""},
        {"role": "user", "content": []},
        {"role": "user", "content": [text("one")]},
        {"role": "user", "content": "x", "name": "n", **MARK},
        {"role": "user", "content": [{"type": "image_url", "image_url": "https://x/y.png"}]},
        {"role": "user", "content": [{"type": "image_url", "image_url": "data:image/png,%41"}]},
        {
            "role": "user",
            "content": [
                {"type": "image_url", "image_url": {"url": "data:image/PNG;base64,QQ==", "x": 1}},
                {"type": "file", "file": {"file_data": "JVBERi0=", "filename": "a.pdf"}},
                {"type": "file", "file": {"file_id": "f", "file_data": "x", "filename": "a"}},
                {"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}, **MARK},
                {"type": "video_url", "video_url": {"url": "x", "fps": None}},
            ],
        },
        {"role": "assistant", "content": ""},
        {"role": "assistant", "content": "a", "refusal": "b", "annotations": []},
        {"role": "assistant", "content": [text("a"), {"type": "refusal", "refusal": "b"}]},
        {"role": "assistant", "content": "a", "tool_calls": []},
        {"role": "assistant", "content": "a", "audio": {"id": "x"}, "prefix": True},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": [text("hm")]}, text("a")],
        },
        {
            "role": "assistant",
            "reasoning_content": "",
            "reasoning": "hm",
            "reasoning_details": [{"type": "reasoning.text", "text": "hm", "index": 0}],
            "tool_calls": [
                {
                    "id": "a",
                    "type": "function",
                    "index": 0,
                    "function": {"name": "f", "arguments": "[1", "mood": 1},
                },
                {"id": "b", "type": "function", "function": {"name": "f", "arguments": {"x": 1}}},
                {"id": "c", "type": "custom", "custom": {"name": "g", "input": ""}, "mood": 1},
            ],
        },
        {"role": "assistant", "function_call": {"name": "f", "arguments": "", "mood": 1}},
        {"role": "tool", "tool_call_id": "a", "content": "", "name": "f"},
        {"role": "tool", "tool_call_id": "a", "content": [text("one")], **MARK},
        {"role": "function", "name": "f", "content": "x"},
    ],
)
def test_messages_come_back_as_they_were(message: JSON) -> None:
    for messages in ([message], [HELLO, message, message], [message, HELLO, message]):
        assert back(*messages)["messages"] == messages


def test_null_is_no_field_and_a_call_without_a_type_is_a_function() -> None:
    call = {"id": "a", "function": {"name": "f", "arguments": ""}}
    out = back(
        {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]},
        tools=[{"function": {"name": "f", "parameters": SCHEMA, "strict": None}}],
        temperature=None,
    )
    assert out == {
        "model": "m",
        "messages": [{"role": "assistant", "tool_calls": [{**call, "type": "function"}]}],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}}],
    }


def test_fields_are_told_by_the_names_that_the_client_used() -> None:
    def path(field: str, **fields: Any) -> str:
        return decode_request({"model": "m", "messages": [HELLO], **fields}).path(field)

    form = {"type": "json_schema", "schema": SCHEMA}
    assert path("output", output_config={"format": form}) == "output_config.format"
    assert path("tool_choice", function_call="none") == "function_call"
    assert path("tool_choice", function_call="none", tool_choice="auto") == "tool_choice"
