"""What else a request may hold: fields, messages, parts and tools of each dialect, one at a time in
a request that is short otherwise."""

from collections.abc import Iterator
from typing import Any

from installations.samples import DIALECTS, JSON, Sample, fitting, post, question

PNG = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJ"
    "RU5ErkJggg=="
)
PDF = "JVBERi0xLjQK"
SCHEMAS: tuple[Any, ...] = (
    {"type": "object", "properties": {"a": {"type": ["string", "null"]}}, "required": ["a"]},
    {"type": "object", "additionalProperties": True, "properties": {}},
    {"$ref": "#/$defs/x", "$defs": {"x": {"type": "object", "properties": {"x": {"$ref": "#"}}}}},
    {"type": "object", "properties": {"a": {"const": {"b": 1}}, "c": {"enum": [[1], {"d": 2}]}}},
    {"type": "object", "properties": {"a": True, "b": 7}, "required": "a"},
    {"anyOf": [{"type": "object"}, {"type": "null"}]},
    {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(40)}},
    {"$ref": "https://example.com/schema.json"},
    [],
)


def field_samples() -> Iterator[Sample]:
    """Each of them for backends of both dialects, in each mode."""
    for client in DIALECTS:
        for number, fields in enumerate({"openai": openai, "anthropic": anthropic}[client]()):
            for backend in (*DIALECTS, "openai:gpt-5.2", "anthropic:claude-opus-5-5"):
                for mode in ("default", "strict", "lenient"):
                    asked = {**question(client, backend), **fields}
                    request = post(client, asked, {"x-lmbroker-mode": mode})
                    name = f"field {number} of {client} for {backend}, {mode}: {', '.join(fields)}"
                    yield Sample(name, request, (fitting(backend.partition(":")[0], asked),))


def _told(content: Any, role: str = "user", **more: Any) -> JSON:
    first = {"role": "user", "content": "What is this?"}
    last = {"role": "user", "content": "And now?"}
    return {"messages": [first, {"role": role, "content": content, **more}, last]}


def openai() -> Iterator[JSON]:
    """Further fields of a Chat Completions request."""
    function = {"name": "f", "description": "d", "parameters": SCHEMAS[0], "strict": True}
    tools = [{"type": "function", "function": function}]
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    data = f"data:image/png;base64,{PNG}"
    for part in (
        {"type": "image_url", "image_url": {"url": data, "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"type": "image_url", "image_url": {"url": "data:image/tiff;base64,AAAA"}},
        {"type": "image_url", "image_url": "no object"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": f"data:x/pdf;base64,{PDF}"}},
        {"type": "file", "file": {"file_data": f"data:application/pdf;base64,{PDF}"}},
        {"type": "video_url", "video_url": {"url": "https://example.com/a.mp4"}},
        {"type": "text", "text": "", "cache_control": {"type": "ephemeral"}},
        {"type": "refusal", "refusal": "No."},
    ):
        yield _told([part])
        yield {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]}
    for role in ("system", "developer", "assistant", "function", "tool", "unknown"):
        yield _told("text", role, name="f")
        yield _told(None, role, tool_call_id="unknown")
    for calls in ([call], [call, call], [{**call, "type": "custom"}], [{**call, "id": ""}], [7]):
        yield _told(None, "assistant", tool_calls=calls) | {"tools": tools}
        yield _told("text", "assistant", tool_calls=calls)
    bad = {"name": "f", "arguments": "{"}
    yield _told(None, "assistant", tool_calls=[{**call, "function": bad}])
    yield _told(None, "assistant", function_call=bad)
    yield _told("text", "assistant", reasoning="a", reasoning_content="b", audio={"id": "a"})
    yield {"messages": []}
    yield {"messages": [{"role": "assistant", "content": "It is"}]}
    yield {"messages": [{"role": "system", "content": "Be brief."}]}
    for choice in (
        "auto",
        "none",
        "required",
        "unknown",
        {"type": "function", "function": {"name": "f"}},
    ):
        yield {"tools": tools, "tool_choice": choice}
        yield {"tools": tools, "tool_choice": choice, "reasoning_effort": "high"}
        yield {"tool_choice": choice}
    allowed = {"mode": "required", "tools": [{"type": "function", "function": {"name": "f"}}]}
    yield {"tools": tools, "tool_choice": {"type": "allowed_tools", "allowed_tools": allowed}}
    yield {"tools": [{"type": "custom", "custom": {"name": "g", "format": {"type": "text"}}}]}
    yield {"tools": [{"type": "web_search"}, *tools, *tools]}
    yield {"functions": [function], "function_call": {"name": "f"}}
    for schema in SCHEMAS:
        yield {"tools": [{"type": "function", "function": {**function, "parameters": schema}}]}
        named = {"name": "o", "schema": schema, "strict": True}
        yield {"response_format": {"type": "json_schema", "json_schema": named}}
    for kind in ("text", "json_object", "grammar"):
        yield {"response_format": {"type": kind}}
    for effort in ("none", "minimal", "low", "medium", "high", "xhigh", "max", "unknown"):
        yield {"reasoning_effort": effort, "temperature": 1.5, "max_tokens": 5000}
    for name, value in {
        "logprobs": True,
        "top_logprobs": 3,
        "logit_bias": {"7": 1},
        "n": 2,
        "seed": 2**60,
        "stop": ["a", "b", "c", "d", "e", " "],
        "prediction": {"type": "content", "content": "x"},
        "modalities": ["text", "audio"],
        "audio": {"voice": "alloy", "format": "wav"},
        "web_search_options": {"search_context_size": "low"},
        "metadata": {"a": "b", "user_id": "u"},
        "service_tier": "flex",
        "store": True,
        "verbosity": "low",
        "prompt_cache_key": "k",
        "safety_identifier": "s",
        "max_completion_tokens": 0,
        "temperature": 3,
        "top_p": 2,
        "top_k": 5,
        "min_p": 0.1,
        "chat_template_kwargs": {"enable_thinking": False},
        "thinking": {"type": "disabled"},
        "reasoning": {"effort": "high", "exclude": True},
        "extra_body": {"a": 1},
        "stream_options": {"include_usage": True},
    }.items():
        yield {name: value}


def anthropic() -> Iterator[JSON]:
    """Further fields of a Messages request."""
    tool = {"name": "f", "description": "d", "input_schema": SCHEMAS[0]}
    tools: JSON = {"tools": [tool]}
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    mark = {"type": "ephemeral", "ttl": "1h"}
    image = {"type": "base64", "media_type": "image/png", "data": PNG}
    blocks: tuple[JSON, ...] = (
        {"type": "text", "text": "a", "cache_control": mark},
        {"type": "text", "text": "", "citations": [{"type": "char_location", "cited_text": "a"}]},
        {"type": "image", "source": image},
        {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "image", "source": {"type": "unknown"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "a"}},
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "a"}]},
        },
        {
            "type": "document",
            "source": {"type": "file", "file_id": "f"},
            "title": "t",
            "context": "c",
        },
        {
            "type": "document",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
            "citations": {"enabled": True},
        },
        {
            "type": "search_result",
            "source": "s",
            "title": "t",
            "content": [{"type": "text", "text": "a"}],
        },
        {"type": "container_upload", "file_id": "f"},
        {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"},
        {"type": "redacted_thinking", "data": "EqQB"},
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "a"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "unknown"},
        use,
    )
    for block in blocks:
        yield _told([block])
        yield _told([block], "assistant")
        yield _told([block, {"type": "text", "text": "b"}], "assistant")
        yield {"system": [block]}
        result = {"type": "tool_result", "tool_use_id": "c", "content": [block], "is_error": True}
        asked = {"role": "user", "content": "Call it."}
        called = {"role": "assistant", "content": [use]}
        yield {"messages": [asked, called, {"role": "user", "content": [result]}], **tools}
    yield _told([use, use], "assistant") | tools
    yield _told("text", "system")
    yield {"messages": []}
    yield {"messages": [{"role": "assistant", "content": "It is "}]}
    for kind in ("auto", "any", "none", "tool", "unknown"):
        for thinking in ({}, {"thinking": {"type": "adaptive"}}):
            choice = {"type": kind, "name": "f", "disable_parallel_tool_use": True}
            yield {**tools, "tool_choice": choice, **thinking}
        yield {"tool_choice": {"type": kind}}
    for kind in ("web_search_20250305", "bash_20250124", "code_execution_20250522", "custom"):
        yield {
            "tools": [{"type": kind, "name": "g", "max_uses": 3, "allowed_domains": ["a"]}, tool]
        }
    for more in ({"strict": True}, {"defer_loading": True}, {"input_examples": [{"a": 1}]}):
        yield {"tools": [{**tool, **more}]}
    for schema in SCHEMAS:
        yield {"tools": [{**tool, "input_schema": schema}]}
        yield {"output_config": {"format": {"type": "json_schema", "schema": schema}}}
    for thinking in (
        {"type": "enabled", "budget_tokens": 1024},
        {"type": "enabled", "budget_tokens": 1},
        {"type": "enabled"},
        {"type": "adaptive", "display": "omitted"},
        {"type": "disabled"},
        {"type": "unknown"},
    ):
        yield {"thinking": thinking, "max_tokens": 5000, "temperature": 1}
        yield {"thinking": thinking, "output_config": {"effort": "max"}}
    for name, value in {
        "max_tokens": 0,
        "temperature": 1.5,
        "top_k": 5,
        "top_p": 0.5,
        "stop_sequences": ["a", " ", "b", "c", "d", "e"],
        "metadata": {"user_id": "u", "other": 1},
        "service_tier": "standard_only",
        "speed": "fast",
        "inference_geo": "us",
        "container": "c",
        "mcp_servers": [{"type": "url", "url": "https://example.com", "name": "n"}],
        "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
        "cache_control": mark,
        "system": "Be brief.",
        "output_format": {"type": "json_schema", "schema": {"type": "object"}},
        "betas": ["b"],
    }.items():
        yield {name: value}
