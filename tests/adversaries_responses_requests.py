"""Requests of Responses in which each size can be as large as one likes."""

import json
from collections.abc import Callable
from typing import Any

JSON = dict[str, Any]
Shapes = dict[str, Callable[[int], Any]]

USER = {"type": "message", "role": "user", "content": "hi"}


def _ask(*items: JSON, **more: Any) -> JSON:
    return {"model": "m", "input": [*items, USER], **more}


def _content(part: JSON, role: str = "user") -> Callable[[int], JSON]:
    return lambda n: _ask({"type": "message", "role": role, "content": [part] * n})


def _said(text: str = "a", **more: Any) -> JSON:
    content = [{"type": "output_text", "text": text, **more}]
    return {"type": "message", "role": "assistant", "content": content}


def _call(number: int, **more: Any) -> JSON:
    call = {"type": "function_call", "call_id": f"c{number}", "name": "f", "arguments": "{}"}
    return {**call, **more}


def _output(number: int, output: Any = "r", **more: Any) -> JSON:
    return {"type": "function_call_output", "call_id": f"c{number}", "output": output, **more}


def _reasoning(number: int = 0, **more: Any) -> JSON:
    summary = [{"type": "summary_text", "text": "s"}]
    item = {"type": "reasoning", "id": f"rs_{number}", "summary": summary}
    return {**item, "encrypted_content": "gAAA", **more}


def _tool(name: str = "f", schema: JSON | None = None, **more: Any) -> JSON:
    return {"type": "function", "name": name, "parameters": schema or {}, "strict": True, **more}


def _many(item: Callable[[int], JSON]) -> Callable[[int], JSON]:
    return lambda n: _ask(*(item(each) for each in range(n)))


def _names(n: int) -> list[str]:
    return [f"n{each}" for each in range(n)]


def _keys(n: int) -> JSON:
    return dict.fromkeys(_names(n), 1)


REQUESTS: Shapes = {
    "a text": lambda n: {"model": "m", "input": "a" * n, "instructions": "a" * n},
    "messages": lambda n: _ask(*[USER, _said()] * n),
    "of one speaker": lambda n: _ask(*[USER] * n),
    "questions": lambda n: _ask(*[{"role": "user", "content": "hi"}] * n),
    "said on and on": lambda n: _ask(*[_said()] * n),
    "phases": lambda n: _ask(*[{**_said(), "id": "msg_1", "phase": "commentary"}] * n),
    "instructions": lambda n: _ask(*[{"role": "developer", "content": "a"}] * n),
    "instructions later": lambda n: _ask(USER, *[{"role": "developer", "content": "a"}] * n),
    "instructions between": lambda n: _ask(*[USER, {"role": "system", "content": "a"}] * n),
    "instructions of images": _content({"type": "input_image", "image_url": "u"}, "developer"),
    "nothing": lambda n: _ask(*[{"role": "assistant", "content": ""}] * n),
    "texts": _content({"type": "input_text", "text": "a"}),
    "texts of the model": _content({"type": "output_text", "text": "a"}, "assistant"),
    "refusals": _content({"type": "refusal", "refusal": "a"}, "assistant"),
    "marks": _content(
        {"type": "input_text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit"}}
    ),
    "images": _content({"type": "input_image", "image_url": "data:image/png;base64,AAAA"}),
    "images by id": _content({"type": "input_image", "file_id": "file-1"}),
    "files": _content({"type": "input_file", "file_data": "JVBERi0x", "filename": "a.pdf"}),
    "images of the model": _content({"type": "input_image", "image_url": "u"}, "assistant"),
    "files by address": _content({"type": "input_file", "file_url": "https://a.example/a"}),
    "files of any type": _content({"type": "input_file", "file_data": "AAAA", "filename": "a"}),
    "sounds": _content({"type": "input_audio", "input_audio": {"format": "wav", "data": "AA"}}),
    "unknown parts": _content({"type": "new", "text": "a"}),
    "odd parts": _content({"type": "input_text"}),
    "blocks of others": _content({"type": "tool_result", "tool_use_id": "a", "content": "b"}),
    "citations": lambda n: _ask(
        USER,
        _said(
            annotations=[
                {"type": "url_citation", "url": f"u{e}", "start_index": 0, "end_index": 1}
                for e in range(n)
            ]
        ),
    ),
    "calls": lambda n: _ask(USER, *(_call(e) for e in range(n)), *(_output(e) for e in range(n))),
    "calls in turn": lambda n: _ask(*(i for e in range(n) for i in (_call(e), _output(e)))),
    "calls again": lambda n: _ask(USER, *[_call(0), _output(0)] * n),
    "calls without results": _many(_call),
    "results without calls": _many(_output),
    "results without names": lambda n: _ask(
        *(_call(e) for e in range(n)),
        *[{"type": "function_call_output", "output": "a"}] * n,
    ),
    "results of parts": lambda n: _ask(
        _call(0), _output(0, [{"type": "input_text", "text": "a"}] * n)
    ),
    "results of images": lambda n: _ask(
        _call(0), _output(0, [{"type": "input_image", "image_url": "u"}] * n)
    ),
    "calls of namespaces": lambda n: _ask(*(_call(e, namespace=f"n{e}") for e in range(n))),
    "custom calls": lambda n: _ask(
        *(
            {"type": "custom_tool_call", "call_id": f"c{e}", "name": "g", "input": "a"}
            for e in range(n)
        ),
        *({"type": "custom_tool_call_output", "call_id": f"c{e}", "output": "a"} for e in range(n)),
    ),
    "arguments": lambda n: _ask(_call(0, arguments=json.dumps({"a": [1] * n}))),
    "arguments that are none": lambda n: _ask(_call(0, arguments="{" * n)),
    "keys of a call": lambda n: _ask(_call(0, **_keys(n)), _output(0, **_keys(n))),
    "reasonings": lambda n: _ask(*(i for e in range(n) for i in (_reasoning(e), _said()))),
    "reasonings on and on": lambda n: _ask(*[_reasoning()] * n, _call(0), _output(0)),
    "reasonings that nothing follows": _many(_reasoning),
    "summaries": lambda n: _ask(
        _reasoning(summary=[{"type": "summary_text", "text": "a"}] * n), _said()
    ),
    "contents": lambda n: _ask(
        _reasoning(summary=[], content=[{"type": "reasoning_text", "text": "a"}] * n), _said()
    ),
    "a sealed text": lambda n: _ask(_reasoning(encrypted_content="a" * n), _said()),
    "a token of ours": lambda n: _ask(_reasoning(encrypted_content="lmb1." + "A" * n), _said()),
    "calls of a shell": lambda n: _ask(
        *(
            {"type": "shell_call", "call_id": f"c{e}", "action": {"commands": ["a"]}}
            for e in range(n)
        ),
        *(
            {
                "type": "shell_call_output",
                "call_id": f"c{e}",
                "output": [{"stdout": "a", "stderr": "b", "outcome": {"type": "timeout"}}],
            }
            for e in range(n)
        ),
    ),
    "patches": lambda n: _ask(
        *(
            {"type": "apply_patch_call", "call_id": f"c{e}", "operation": {"a": 1}}
            for e in range(n)
        ),
        *(
            {"type": "apply_patch_call_output", "call_id": f"c{e}", "status": "failed"}
            for e in range(n)
        ),
    ),
    "screenshots": lambda n: _ask(
        *({"type": "computer_call", "call_id": f"c{e}", "actions": []} for e in range(n)),
        *(
            {
                "type": "computer_call_output",
                "call_id": f"c{e}",
                "output": {"type": "computer_screenshot", "image_url": "u"},
            }
            for e in range(n)
        ),
    ),
    "searches of the web": _many(lambda e: {"type": "web_search_call", "id": f"w{e}"}),
    "searches of files": lambda n: _ask(
        {"type": "file_search_call", "id": "f", "results": [{"text": "a"}] * n}
    ),
    "what a program wrote": lambda n: _ask(
        {"type": "code_interpreter_call", "id": "f", "outputs": [{"logs": "a"}] * n}
    ),
    "references": _many(lambda e: {"type": "item_reference", "id": f"rs_{e}"}),
    "references to messages": _many(lambda e: {"type": "item_reference", "id": f"msg_{e}"}),
    "compactions": lambda n: _ask(*[{"type": "compaction", "encrypted_content": "a"}] * n),
    "triggers": lambda n: _ask(*[{"type": "compaction_trigger"}] * n),
    "tools that are added": lambda n: _ask(
        *({"type": "additional_tools", "tools": [_tool(name)]} for name in _names(n))
    ),
    "many tools that are added": lambda n: _ask(
        {"type": "additional_tools", "tools": [_tool(name) for name in _names(n)]}
    ),
    "tools that are found": lambda n: _ask(
        {"type": "tool_search_call", "call_id": "c", "execution": "client", "arguments": {}},
        {
            "type": "tool_search_output",
            "call_id": "c",
            "execution": "client",
            "tools": [_tool(name) for name in _names(n)],
        },
        tools=[{"type": "tool_search", "execution": "client", "parameters": {}}],
    ),
    "updates": lambda n: _ask(
        *[{"type": "configuration_update", "reasoning": {"effort": "low"}}] * n
    ),
    "odd items": lambda n: _ask(*[7, "a", {"type": "x"}, {"role": "bot", "content": 7}] * n),
    "messages of chat": lambda n: _ask(
        *[
            {"role": "assistant", "content": "a", "tool_calls": [{"id": "c", "function": {}}]},
            {"role": "tool", "tool_call_id": "c", "content": "a"},
        ]
        * n
    ),
    "keys": lambda n: _ask(**_keys(n)),
    "keys of a message": lambda n: _ask({**USER, **_keys(n)}),
    "keys of options": lambda n: _ask(reasoning=_keys(n), text=_keys(n)),
    "keys of a tool": lambda n: _ask(tools=[_tool(**_keys(n))]),
    "tools": lambda n: _ask(tools=[_tool(name) for name in _names(n)]),
    "tools later": lambda n: _ask(tools=[_tool(name, defer_loading=True) for name in _names(n)]),
    "tools allowed": lambda n: _ask(
        tools=[_tool(name) for name in _names(n)],
        tool_choice={
            "type": "allowed_tools",
            "mode": "auto",
            "tools": [{"type": "function", "name": name} for name in _names(n)],
        },
    ),
    "namespaces": lambda n: _ask(
        tools=[
            {"type": "namespace", "name": name, "description": "d", "tools": [_tool()]}
            for name in _names(n)
        ]
    ),
    "tools of a namespace": lambda n: _ask(
        tools=[
            {
                "type": "namespace",
                "name": "n",
                "description": "d",
                "tools": [_tool(name) for name in _names(n)],
            }
        ],
        tool_choice={
            "type": "allowed_tools",
            "mode": "required",
            "tools": [{"type": "namespace", "name": "n"}],
        },
    ),
    "grammars": lambda n: _ask(
        tools=[
            {
                "type": "custom",
                "name": name,
                "format": {"type": "grammar", "syntax": "lark", "definition": "a"},
            }
            for name in _names(n)
        ]
    ),
    "searches": lambda n: _ask(
        tools=[
            {"type": "web_search", "filters": {"allowed_domains": ["a"] * n}},
            *[{"type": "web_search", "search_context_size": "low"}] * n,
        ]
    ),
    "tools of the provider": lambda n: _ask(tools=[{"type": "mcp", "server_label": "a"}] * n),
    "a key of a cache": lambda n: _ask(
        prompt_cache_key="a" * n,
        prompt_cache_retention="24h",
        prompt_cache_options={"mode": "explicit", "ttl": "12h"},
        include=["reasoning.encrypted_content"] * n,
        metadata=_keys(n),
        safety_identifier="a" * n,
    ),
}


def with_texts(texts: Shapes, schemas: Callable[[int], dict[str, JSON]]) -> Shapes:
    """All requests: with each of ``texts`` in what stands for a text, and with each schema."""
    shapes = dict(REQUESTS)
    for name, text in texts.items():
        shapes[f"text of {name}"] = lambda n, t=text: _ask(_said(t(n)), instructions=t(n))
        shapes[f"call of {name}"] = lambda n, t=text: _ask(
            _reasoning(id=t(n), encrypted_content=t(n)),
            {"type": "function_call", "call_id": t(n), "name": t(n), "arguments": t(n)},
            {"type": "function_call_output", "call_id": t(n), "output": t(n)},
        )
    for name in schemas(1):
        shapes[f"tool {name}"] = lambda n, s=name: _ask(tools=[_tool("f", schemas(n)[s])])
        shapes[f"output {name}"] = lambda n, s=name: _ask(
            text={
                "format": {
                    "type": "json_schema",
                    "name": "o",
                    "schema": {"type": "object", **schemas(n)[s]},
                }
            }
        )
    return shapes
