"""Responses request -> Unified Model -> the same request."""

from typing import Any

import pytest
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam
from responses_requests import comes_back
from test_responses_request_fields import SAMPLES

from lmbroker.errors import Refused
from lmbroker.translation.dialects.openai_responses.decode_request import decode_request

JSON = dict[str, Any]

HELLO = {"type": "message", "role": "user", "content": "Hello"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}}


def asked(*items: JSON, **fields: Any) -> JSON:
    return {"model": "m", "input": [*items, HELLO], **fields}


@pytest.mark.parametrize(
    "request_type", [ResponseCreateParamsNonStreaming, ResponseCreateParamsStreaming]
)
def test_whatever_a_request_can_hold_comes_back(request_type):
    count = 0
    for body in SAMPLES.of(request_type):
        try:
            decode_request(body)
        except Refused:
            continue
        count += 1
        comes_back(body)
    assert count > 150


def test_whatever_item_the_sdk_knows_comes_back_in_its_place():
    call = {"type": "function_call", "call_id": "c0", "name": "g", "arguments": "{}"}
    for item in SAMPLES.of(ResponseInputItemParam):
        for body in (asked(item), asked(HELLO, item, call), asked(call, item)):
            try:
                decode_request(body)
            except Refused:
                continue
            comes_back(body)


def test_whatever_tool_the_sdk_knows_comes_back():
    for tool in SAMPLES.of(ToolParam):
        comes_back(asked(tools=[tool]))
        comes_back(asked({"type": "additional_tools", "role": "developer", "tools": [tool]}))


@pytest.mark.parametrize(
    "body",
    [
        {"model": "m", "input": "Hello"},
        {"model": "m", "input": "", "instructions": "Be brief."},
        {"model": "m", "input": [], "instructions": "Be brief."},
        asked(instructions="Be brief.", stream=False, tools=[], store=True),
        asked({"role": "system", "content": "One."}, {"role": "developer", "content": "Two."}),
        asked({"role": "developer", "content": [{"type": "input_text", "text": "One."}]}),
        asked({"role": "user", "content": []}, {"role": "assistant", "content": ""}),
        asked({"role": "assistant", "content": [], "id": "msg_1", "type": "message"}),
        asked(
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"role": "assistant", "content": "One."},
            {"role": "assistant", "content": "Two.", "phase": "commentary"},
        ),
        asked(
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "a\n\nb"}],
                "content": [{"type": "reasoning_text", "text": "c"}],
                "encrypted_content": "gAAA",
                "status": "completed",
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{\"a\": 1.00}"},
            {"type": "function_call_output", "call_id": "c", "output": ""},
        ),
        asked(
            {
                "type": "function_call",
                "call_id": "c",
                "name": "f",
                "namespace": "n",
                "arguments": "not JSON",
                "id": "fc_1",
                "status": "completed",
                "mood": 1,
            },
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [
                    {"type": "input_text", "text": "a"},
                    {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
                    {"type": "input_file", "file_url": "https://a.example/a.pdf"},
                ],
            },
        ),
        asked(
            {
                "role": "user",
                "content": [
                    {"type": "input_image", "file_id": "file-1", "detail": "original"},
                    {"type": "input_file", "file_data": "JVBERi0=", "filename": "a.pdf"},
                    {
                        "type": "input_text",
                        "text": "x",
                        "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"},
                    },
                ],
            }
        ),
        asked(
            tools=[
                {"type": "function", "name": "f", "parameters": SCHEMA, "strict": None},
                {
                    "type": "namespace",
                    "name": "n",
                    "description": "N.",
                    "tools": [
                        {"type": "function", "name": "f", "parameters": SCHEMA},
                        {"type": "custom", "name": "g"},
                    ],
                },
                {"type": "namespace", "name": "n2", "description": "", "tools": []},
                {"type": "web_search", "filters": {"allowed_domains": ["a.example"]}},
            ],
            tool_choice={
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "f"}],
            },
        ),
        asked(
            {"type": "item_reference", "id": "rs_1"},
            {"type": "configuration_update", "reasoning": {"effort": "low"}},
            {"type": "additional_tools", "role": "developer", "tools": []},
            {"role": "developer", "content": "One."},
            {"type": "compaction", "encrypted_content": "gAAA"},
        ),
        {"model": "m", "input": [HELLO, {"type": "compaction_trigger"}]},
    ],
)  # fmt: skip
def test_a_request_comes_back(body):
    comes_back(body)
