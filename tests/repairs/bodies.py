"""Requests that are refused, as the encoders write them, with all that may be blamed."""

from typing import Any

PNG = "data:image/png;base64,iVBORw0KGgo="

SCHEMA = {
    "type": "object",
    "properties": {
        "a": {"type": "string", "pattern": "^x", "format": "uri", "const": "b"},
        "temperature": {"$ref": "#/$defs/t"},
    },
    "$defs": {"t": {"type": "number"}},
    "additionalProperties": False,
    "$schema": "s",
}

CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def openai(**more: Any) -> dict[str, Any]:
    """A chat completion request; ``more`` replaces fields, None leaves one out."""
    body = {
        "model": "m",
        "messages": [
            {"role": "system", "content": "s"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x"},
                    {"type": "image_url", "image_url": {"url": PNG}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "d"}},
                ],
            },
            {"role": "assistant", "content": None, "reasoning_content": "r", "tool_calls": [CALL]},
            {"role": "tool", "tool_call_id": "c", "content": "t"},
            {"role": "system", "content": "later"},
            {"role": "user", "content": "go"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "f", "description": "d", "strict": True, "parameters": SCHEMA},
            }
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_tokens": 32000,
        "reasoning_effort": "high",
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "o", "schema": {"type": "object"}, "strict": True},
        },
        "temperature": 0.5,
        "top_p": 0.9,
        "top_k": 5,
        "frequency_penalty": 0.1,
        "presence_penalty": 0.2,
        "seed": 1,
        "stop": ["a", "b"],
        "user": "u",
        "service_tier": "auto",
        "stream": True,
        "stream_options": {"include_usage": True},
        "store": False,
        "verbosity": "low",
        **more,
    }
    return {key: value for key, value in body.items() if value is not None}


def anthropic(**more: Any) -> dict[str, Any]:
    """A Messages request; ``more`` replaces fields, None leaves one out."""
    mark = {"type": "ephemeral"}
    body = {
        "model": "m",
        "max_tokens": 32000,
        "system": [{"type": "text", "text": "s", "cache_control": mark}],
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "x", "cache_control": mark},
                    {"type": "image", "source": {"type": "url", "url": "u"}},
                    {"type": "document", "source": {"type": "url", "url": "u"}},
                ],
            }
        ],
        "tools": [{"name": "f", "input_schema": SCHEMA, "strict": True, "cache_control": mark}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "enabled", "budget_tokens": 2000, "display": "summarized"},
        "output_config": {"effort": "high", "format": {"type": "json_schema", "schema": {}}},
        "temperature": 0.5,
        "top_p": 0.9,
        "stop_sequences": ["a"],
        "metadata": {"user_id": "u"},
        "stream": True,
        **more,
    }
    return {key: value for key, value in body.items() if value is not None}


def responses(**more: Any) -> dict[str, Any]:
    """A Responses request; ``more`` replaces fields, None leaves one out."""
    image = {"type": "input_image", "detail": "auto", "image_url": PNG}
    body = {
        "model": "m",
        "instructions": "s",
        "input": [
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "x"},
                    image,
                    {"type": "input_file", "filename": "a.pdf", "file_data": "d"},
                ],
            },
            {
                "type": "reasoning",
                "id": "rs_1",
                "summary": [{"type": "summary_text", "text": "r"}],
                "encrypted_content": "gAAA",
            },
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_text", "text": "t"}, image],
            },
            {"type": "message", "role": "developer", "content": "later"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "a", "annotations": []}],
            },
            {"type": "message", "role": "user", "content": "go"},
        ],
        "tools": [
            {
                "type": "function",
                "name": "f",
                "description": "d",
                "strict": True,
                "parameters": SCHEMA,
            },
            {"type": "custom", "name": "g"},
        ],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "max_output_tokens": 32000,
        "reasoning": {"effort": "high", "summary": "auto"},
        "text": {
            "format": {
                "type": "json_schema",
                "name": "o",
                "schema": {"type": "object"},
                "strict": True,
            },
            "verbosity": "low",
        },
        "temperature": 0.5,
        "top_p": 0.9,
        "user": "u",
        "service_tier": "flex",
        "metadata": {"a": "b"},
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "stream": True,
    }
    body.update(more)
    return {name: value for name, value in body.items() if value is not None}
