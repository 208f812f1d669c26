"""Inputs of a size that somebody chose to make us work: one function per shape, of size ``n``.

Each is about ``n`` times as large as for 1, and none is honest. ``REQUESTS`` are bodies by the
client's dialect, ``ANSWERS`` unary answers and ``STREAMS`` streams by the backend's, ``ERRORS``
the bodies of HTTP errors, ``TEXTS`` what may stand wherever a text may.
"""

import base64
import json
from collections.abc import Callable, Iterable
from math import isqrt
from typing import Any

from streams import o_call, o_chunk, o_usage

from lmbroker.translation.shared.signature import seal

JSON = dict[str, Any]
Shapes = dict[str, Callable[[int], Any]]

TEXTS: Shapes = {
    "backslashes": lambda n: "\\" * 8 * n,
    "quotes": lambda n: '"' * 8 * n,
    "brackets": lambda n: "{[" * 4 * n,
    "spaces": lambda n: " \n" * 4 * n,
    "wide letters": lambda n: "ü€🙂" * 2 * n,
    "half characters": lambda n: "\ud83d" * 4 * n,
    "keys": lambda n: "sk-sk_sk-eyJeyJAIza" * n,
    "tokens": lambda n: "eyJaaaaaaaa.aaaaaaaa." * n,
    "bearer": lambda n: "Bearer a" * n,
    "tags": lambda n: "<think><thi</think" * n,
    "numbers": lambda n: "1,1.1e1" * n,
    "json": lambda n: json.dumps(json.dumps([{"a": "\\"}] * n)),
    "overflow": lambda n: "maximum context length is 1 tokens. you requested 1 tokens (" * n,
    "sums": lambda n: "prompt 1 + 1 input length 1 exceeds limit of 1 contains 1 tokens " * n,
    "marks": lambda n: "Unsupported parameter: a.a.a 'a' is not supported `a` " * n,
    "locations": lambda n: "messages.0.content: parameter=a, value=" * n,
}


def schemas(n: int) -> dict[str, JSON]:
    """Schemas of size ``n``, by what is bad about them."""
    leaf = {"type": "object", "properties": {"op": {"type": "string"}}}
    names = [f"p{each}" for each in range(n)]
    nested: JSON = {"type": "string"}
    refs, path = [], "#/properties/a"
    levels = min(4 * isqrt(n), 80)
    for each in range(levels):
        nested = {"type": "object", "properties": {"a": nested, f"l{each}": {"type": "null"}}}
    for _ in range(levels):
        refs.append({"$ref": path})
        path += "/properties/a"
    return {
        "wide": {"type": "object", "properties": {name: {"type": "null"} for name in names}},
        "required": {
            "type": "object",
            "properties": {name: {"type": "null"} for name in names},
            "required": names,
            "additionalProperties": False,
        },
        "branches": {
            "anyOf": [{"properties": {"x": {"const": each}}} for each in range(n)],
        },
        "unions": {
            "anyOf": [{"properties": {"x": {"anyOf": [{"const": each}]}}} for each in range(n)],
        },
        "twice itself": {
            "anyOf": [{"$ref": "#/$defs/n"}] * n,
            "$defs": {"n": {"anyOf": [leaf, {"$ref": "#/$defs/n"}, {"$ref": "#/$defs/n"}]}},
        },
        "doubling": {
            "anyOf": [{"$ref": "#/$defs/n0"}],
            "$defs": {
                f"n{each}": {"anyOf": [{"$ref": f"#/$defs/n{each + 1}"}] * 2} for each in range(n)
            },
        },
        "chain": {
            "type": "object",
            "properties": {"a": {"$ref": "#/$defs/n0"}},
            "$defs": {
                **{
                    f"n{each}": {"type": "array", "items": {"$ref": f"#/$defs/n{each + 1}"}}
                    for each in range(n)
                },
                f"n{n}": {"type": "null"},
            },
        },
        "all to all": {
            "type": "object",
            "properties": {name: {"$ref": "#/$defs/a"} for name in names},
            "$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}] * n}, "b": {"type": "null"}},
        },
        "into properties": {**nested, "anyOf": refs, "description": "d" * 20 * n},
        "enum": {"type": "object", "properties": {"a": {"enum": list(range(n))}}},
        "moved": {"type": "object", "properties": {"a": {"type": "null", **dict.fromkeys(names)}}},
    }


def _both(messages: list[JSON], **more: Any) -> JSON:
    return {"model": "m", "max_tokens": 100, "messages": messages, **more}


def _ask(content: Any, role: str = "user") -> JSON:
    return _both([{"role": role, "content": content}])


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _png(n: int) -> str:
    return _base64(b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\x08" * n)


def _jpeg(n: int) -> str:
    return _base64(b"\xff\xd8" + b"\xff" * 3 * n + b"\xff\xe0\x00\x00" * n + b"\xff\xd0" * n)


def _pdf(n: int) -> str:
    return _base64(b"%PDF" + b"/Type   /Page/Type/Pages" * n)


def _o_calls(n: int) -> list[JSON]:
    return [
        {"id": f"c{each}", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        for each in range(n)
    ]


def _o_tool(schema: JSON, name: str = "f", strict: bool = True) -> JSON:
    function = {"name": name, "parameters": schema, "strict": strict}
    return {"type": "function", "function": function}


def _o_entry(each: int, **more: Any) -> JSON:
    return {"type": "reasoning.text", "text": "t", "index": each, **more}


def _o_content(part: JSON) -> Callable[[int], JSON]:
    return lambda n: _ask([part] * n)


def _names(n: int) -> list[str]:
    return [f"n{each}" for each in range(n)]


def _a_uses(n: int) -> list[JSON]:
    return [{"type": "tool_use", "id": f"c{each}", "name": "f", "input": {}} for each in range(n)]


def _a_results(n: int) -> list[JSON]:
    return [{"type": "tool_result", "tool_use_id": f"c{each}", "content": "r"} for each in range(n)]


def _openai() -> Shapes:
    said = {"role": "assistant", "content": None}
    user = {"role": "user", "content": "hi"}
    names = _names
    shapes: Shapes = {
        "messages": lambda n: _both([user, {"role": "assistant", "content": "a"}] * n),
        "of one speaker": lambda n: _both([user] * n),
        "said on and on": lambda n: _both([user, *[{"role": "assistant", "content": "a"}] * n]),
        "instructions": lambda n: _both([{"role": "system", "content": "a"}] * n),
        "instructions later": lambda n: _both([user, *[{"role": "system", "content": "a"}] * n]),
        "instructions between": lambda n: _both([user, {"role": "developer", "content": "a"}] * n),
        "listed": lambda n: _both(
            [{"role": "user", "content": [{"type": "text", "text": "a"}]}] * n
        ),
        "texts": _o_content({"type": "text", "text": "a"}),
        "images": _o_content(
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
        ),
        "links": _o_content({"type": "image_url", "image_url": "https://example.com/a.png"}),
        "files": _o_content(
            {"type": "file", "file": {"file_data": "JVBERi0x", "filename": "a.pdf"}}
        ),
        "sounds": _o_content(
            {"type": "input_audio", "input_audio": {"format": "wav", "data": "AAAA"}}
        ),
        "unknown": _o_content({"type": "new", "text": "a"}),
        "a long image": lambda n: _ask(
            [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_png(n)}"}}]
        ),
        "a slow image": lambda n: _ask(
            [{"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{_jpeg(n)}"}}]
        ),
        "an escaped image": lambda n: _ask(
            [{"type": "image_url", "image_url": {"url": "data:image/png;;;;," + "%41;" * n}}]
        ),
        "parameters of an image": lambda n: _ask(
            [{"type": "image_url", "image_url": {"url": "data:a" + ";a" * n}}]
        ),
        "a long file": lambda n: _ask([{"type": "file", "file": {"file_data": _pdf(n)}}]),
        "a text file": lambda n: _ask(
            [{"type": "file", "file": {"filename": "a.txt", "file_data": _base64(b"a\n" * n)}}]
        ),
        "calls": lambda n: _both(
            [
                user,
                {**said, "tool_calls": _o_calls(n)},
                *(
                    {"role": "tool", "tool_call_id": f"c{each}", "content": "r"}
                    for each in range(n)
                ),
            ]
        ),
        "results nobody asked for": lambda n: _both(
            [
                user,
                {**said, "tool_calls": _o_calls(n)},
                *(
                    {"role": "tool", "tool_call_id": f"x{each}", "content": "r"}
                    for each in range(n)
                ),
            ]
        ),
        "calls again": lambda n: _both(
            [
                user,
                *[
                    {**said, "tool_calls": _o_calls(1)},
                    {"role": "tool", "tool_call_id": "c0", "content": "r"},
                ]
                * n,
            ]
        ),
        "functions of old": lambda n: _both(
            [
                user,
                *[{**said, "function_call": {"name": "f", "arguments": "{}"}}] * n,
                *[{"role": "function", "name": "f", "content": "r"}] * n,
            ]
        ),
        "calls by many names": lambda n: _both(
            [
                user,
                {
                    **said,
                    "tool_calls": [
                        {
                            "id": f"c{e}",
                            "type": "function",
                            "function": {"name": f"ü{e}", "arguments": {}},
                        }
                        for e in range(n)
                    ],
                },
                *({"role": "tool", "tool_call_id": f"c{e}", "content": "r"} for e in range(n)),
            ]
        ),
        "pieces of reasoning": lambda n: _both(
            [user, {**said, "content": "a", "reasoning_details": [_o_entry(0)] * n}, user]
        ),
        "reasoning here and there": lambda n: _both(
            [
                user,
                {
                    **said,
                    "content": "a" * n,
                    "reasoning_details": [
                        _o_entry(e, signature="s", format="anthropic-claude-v1", lmb_at=f"{e}:0")
                        for e in range(n)
                    ],
                },
                user,
            ]
        ),
        "tokens of ours": lambda n: _both(
            [
                user,
                {
                    **said,
                    "content": "a",
                    "reasoning_details": [
                        _o_entry(0, signature=seal({"k": "rd", "d": [{"a": 1}] * n}))
                    ],
                },
                user,
            ]
        ),
        "thinking blocks": lambda n: _both(
            [
                user,
                {
                    **said,
                    "thinking_blocks": [{"type": "thinking", "thinking": "t", "signature": "s"}]
                    * n,
                },
                user,
            ]
        ),
        "refusals": lambda n: _both(
            [
                user,
                {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}] * n},
                user,
            ]
        ),
        "keys": lambda n: _both([user], **dict.fromkeys(names(n), 1)),
        "dotted keys": lambda n: _both([user], **{"a" + ".a" * n: 1}),
        "keys of a message": lambda n: _both([{**user, **dict.fromkeys(names(n), 1)}]),
        "keys of options": lambda n: _both([user], stream_options=dict.fromkeys(names(n), 1)),
        "keys of a function": lambda n: _both(
            [user],
            tools=[{"type": "function", "function": {"name": "f", **dict.fromkeys(names(n), 1)}}],
        ),
        "tools": lambda n: _both(
            [user], tools=[_o_tool({"type": "object"}, name) for name in names(n)]
        ),
        "tools allowed": lambda n: _both(
            [user],
            tools=[_o_tool({"type": "object"}, name) for name in names(n)],
            tool_choice={
                "type": "allowed_tools",
                "allowed_tools": {
                    "mode": "auto",
                    "tools": [
                        {"type": "function", "function": {"name": name}} for name in names(n)
                    ],
                },
            },
        ),
        "functions": lambda n: _both([user], functions=[{"name": name} for name in names(n)]),
        "a grammar": lambda n: _both(
            [user],
            tools=[
                {
                    "type": "custom",
                    "custom": {
                        "name": "c",
                        "format": {"type": "grammar", "grammar": {"definition": "a: b\n" * n}},
                    },
                }
            ],
        ),
        "stops": lambda n: _both([user], stop=names(n)),
        "thoughts in the content": lambda n: _both(
            [
                user,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "t"}] * n}
                    ],
                },
                user,
            ]
        ),
        "extra content": lambda n: _both(
            [
                user,
                {
                    "role": "assistant",
                    "content": "a",
                    "extra_content": {"a": [1] * n},
                    "tool_calls": [{**each, "extra_content": {"a": 1}} for each in _o_calls(n)],
                },
                user,
            ]
        ),
        "reasoning in fields": lambda n: _both(
            [
                user,
                *[{**said, "content": "a", "reasoning_content": "t", "reasoning": "t"}] * n,
                user,
            ]
        ),
        "controls": lambda n: _both(
            [user],
            tools=[_o_tool({"type": "object"})],
            tool_choice={"type": "function", "function": {"name": "f"}},
            temperature=1.5,
            top_p=0.5,
            service_tier="priority",
            reasoning_effort="high",
            reasoning={"effort": "low", "max_tokens": 5, **dict.fromkeys(names(n), 1)},
            thinking={"type": "enabled", "budget_tokens": 5000, **dict.fromkeys(names(n), 1)},
            web_search_options={"user_location": {"approximate": dict.fromkeys(names(n), "x")}},
            prompt_cache_options={"mode": "explicit", **dict.fromkeys(names(n), 1)},
        ),
        "efforts": lambda n: _both([user], reasoning_effort="xhigh", metadata={"user_id": "u" * n}),
        "no texts": lambda n: _both([{"role": "user"}] * n),
        "a bad number": lambda n: _both([user], temperature=-1, x="a" * n),
        "biases": lambda n: _both([user], logit_bias=dict.fromkeys(names(n), 1)),
        "metadata": lambda n: _both([user], metadata=dict.fromkeys(names(n), "v")),
        "numbers": lambda n: _both([user], seed=[1] * n),
        "marks": lambda n: _both(
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}
                    ]
                    * n,
                }
            ]
        ),
        "a bad text": lambda n: _both([{"role": "user", "content": 7, "x": "a" * n}]),
        "odd messages": lambda n: _both([{"role": "x" * 70, "content": "a"}, 7] * n + [user]),
        "an odd message": lambda n: _both(
            [
                {"role": "user", "content": [{"type": "text"}, 7, "a", {"type": "image_url"}] * n},
                user,
            ]
        ),
        "odd calls": lambda n: _both(
            [
                user,
                {**said, "tool_calls": [{"name": "f"}, 7, {"type": "x"}] * n},
                *[{"role": "tool", "content": {"a": 1}}] * n,
                user,
            ]
        ),
        "odd reasoning": lambda n: _both(
            [
                {
                    **said,
                    "reasoning": [7] * n,
                    "reasoning_details": [7] * n,
                    "thinking_blocks": [7, {"type": "thinking", "thinking": "a"}] * n,
                },
                user,
            ]
        ),
        "calls without results": lambda n: _both([user, {**said, "tool_calls": _o_calls(n)}, user]),
        "results without calls": lambda n: _both(
            [{"role": "tool", "tool_call_id": f"c{e}", "content": "a"} for e in range(n)] + [user]
        ),
    }
    for name, text in TEXTS.items():
        shapes[f"text of {name}"] = lambda n, t=text: _ask(t(n))
        shapes[f"arguments of {name}"] = lambda n, t=text: _both(
            [
                user,
                {
                    **said,
                    "tool_calls": [{"id": t(n), "function": {"name": t(n), "arguments": t(n)}}],
                },
            ]
        )
    for name in schemas(1):
        shapes[f"tool {name}"] = lambda n, s=name: _both([user], tools=[_o_tool(schemas(n)[s])])
        shapes[f"output {name}"] = lambda n, s=name: _both(
            [user],
            response_format={
                "type": "json_schema",
                "json_schema": {"name": "o", "schema": {"type": "object", **schemas(n)[s]}},
            },
        )
    return shapes


def _a_content(block: JSON, role: str = "user") -> Callable[[int], JSON]:
    user = {"role": "user", "content": "hi"}
    return lambda n: _both([user, {"role": role, "content": [block] * n}, user])


def _anthropic() -> Shapes:
    user = {"role": "user", "content": "hi"}
    names = _names
    uses, results = _a_uses, _a_results
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    found = {"type": "search_result", "title": "t", "source": "s"}
    shapes: Shapes = {
        "messages": lambda n: _both([user, {"role": "assistant", "content": "a"}] * n),
        "of one speaker": lambda n: _both([user] * n),
        "said on and on": lambda n: _both([user, *[{"role": "assistant", "content": "a"}] * n]),
        "instructions": lambda n: _both([user], system=[{"type": "text", "text": "a"}] * n),
        "instructions later": lambda n: _both([user, *[{"role": "system", "content": "a"}] * n]),
        "instructions between": lambda n: _both([user, {"role": "system", "content": "a"}] * n),
        "texts": _a_content({"type": "text", "text": "a"}),
        "texts said": _a_content({"type": "text", "text": "a"}, "assistant"),
        "marks": _a_content({"type": "text", "text": "a", **mark}),
        "images": _a_content(
            {
                "type": "image",
                "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"},
            }
        ),
        "images elsewhere": _a_content(
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
        ),
        "documents": _a_content(
            {
                "type": "document",
                "source": {"type": "text", "media_type": "text/plain", "data": "d"},
            }
        ),
        "a long document": lambda n: _ask(
            [
                {
                    "type": "document",
                    "source": {"type": "base64", "media_type": "application/pdf", "data": _pdf(n)},
                }
            ]
        ),
        "a slow image": lambda n: _ask(
            [
                {
                    "type": "image",
                    "source": {"type": "base64", "media_type": "image/jpeg", "data": _jpeg(n)},
                }
            ]
        ),
        "a document of parts": lambda n: _ask(
            [
                {
                    "type": "document",
                    "source": {"type": "content", "content": [{"type": "text", "text": "a"}] * n},
                }
            ]
        ),
        "thinking": _a_content(
            {"type": "thinking", "thinking": "t", "signature": "s"}, "assistant"
        ),
        "our thinking": _a_content(
            {"type": "thinking", "thinking": "t", "signature": seal({"k": "rc"})}, "assistant"
        ),
        "searches of others": _a_content(
            {"type": "server_tool_use", "id": "srvtoolu_lmb1a", "name": "web_search", "input": {}},
            "assistant",
        ),
        "pages of others": _a_content(
            {
                "type": "text",
                "text": "a",
                "citations": [
                    {
                        "type": "web_search_result_location",
                        "cited_text": "",
                        "encrypted_index": seal({"k": "ws"}),
                        "title": "t",
                        "url": "u",
                    }
                ]
                * 2,
            },
            "assistant",
        ),
        "thinking before calls": lambda n: _both(
            [
                user,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": seal({"k": "rc"})},
                        *_a_uses(1),
                    ]
                    * n,
                },
                {"role": "user", "content": _a_results(n)},
            ]
        ),
        "hidden thinking": lambda n: _both(
            [
                user,
                {
                    "role": "assistant",
                    "content": [
                        {
                            "type": "thinking",
                            "thinking": "",
                            "signature": seal({"k": "rd", "d": [{"a": 1}] * n, "t": "t" * n}),
                        }
                    ],
                },
            ]
        ),
        "redacted": _a_content({"type": "redacted_thinking", "data": "d"}, "assistant"),
        "calls": lambda n: _both(
            [
                user,
                {"role": "assistant", "content": uses(n)},
                {"role": "user", "content": results(n)},
            ]
        ),
        "calls one by one": lambda n: _both(
            [
                user,
                *[
                    {"role": "assistant", "content": uses(1)},
                    {"role": "user", "content": results(1)},
                ]
                * n,
            ]
        ),
        "results of many parts": lambda n: _both(
            [
                user,
                {"role": "assistant", "content": uses(1)},
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "c0",
                            "is_error": True,
                            "content": [{"type": "text", "text": "a"}, {**found, "content": []}]
                            * n,
                        }
                    ],
                },
            ]
        ),
        "results of searches": _a_content(
            {"type": "web_search_tool_result", "content": [{"title": "t", "url": "u"}] * 3},
            "assistant",
        ),
        "a search result": lambda n: _ask(
            [{**found, "content": [{"type": "text", "text": "a"}] * n}]
        ),
        "a compaction": lambda n: _both(
            [
                user,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "compaction", "content": [{"type": "text", "text": "a"}] * n}
                    ],
                },
                user,
            ]
        ),
        "citations": lambda n: _both(
            [
                user,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "a", "citations": [{"type": "char_location"}] * n}
                    ],
                },
                user,
            ]
        ),
        "keys": lambda n: _both([user], **dict.fromkeys(names(n), 1)),
        "keys of a block": lambda n: _ask(
            [{"type": "text", "text": "a", **dict.fromkeys(names(n), 1)}]
        ),
        "keys of a message": lambda n: _both([{**user, **dict.fromkeys(names(n), 1)}]),
        "tools": lambda n: _both(
            [user], tools=[{"name": name, "input_schema": {}} for name in names(n)]
        ),
        "tools that wait": lambda n: _both(
            [user, {"role": "assistant", "content": uses(n)}],
            tools=[{"name": name, "input_schema": {}, "defer_loading": True} for name in names(n)],
        ),
        "examples": lambda n: _both(
            [user], tools=[{"name": "f", "input_schema": {}, "input_examples": [{"a": 1}] * n}]
        ),
        "servers": lambda n: _both(
            [user], tools=[{"type": "tool_search_tool_1", "name": name} for name in names(n)]
        ),
        "stops": lambda n: _both([user], stop_sequences=names(n)),
        "metadata": lambda n: _both([user], metadata={"user_id": "u" * n}),
        "a thread": lambda n: _both([user], thread={"id": "t", **dict.fromkeys(names(n), 1)}),
        "controls": lambda n: _both(
            [user],
            temperature=0.5,
            top_k=5,
            service_tier="auto",
            thinking={"type": "enabled", "budget_tokens": 5000, **dict.fromkeys(names(n), 1)},
            output_config={"effort": "high", **dict.fromkeys(names(n), 1)},
            tools=[{"name": "f", "input_schema": {}}],
            tool_choice={"type": "any", **dict.fromkeys(names(n), 1)},
        ),
        "efforts": lambda n: _both([user], output_config={"effort": "max"}, x="a" * n),
        "betas": lambda n: _both([user], anthropic_beta=names(n), mcp_servers=[{}] * n),
        "what nobody can read": lambda n: _both(
            [{"role": "assistant", "tool_calls": [7] * n}] * 2 + [user]
        ),
        "odd messages": lambda n: _both([{"role": "x" * 70, "content": "a"}, 7] * n + [user]),
        "an odd message": lambda n: _both(
            [
                {
                    "role": "user",
                    "content": [{"type": "text"}, 7, "a", {"type": "image"}, {"type": "tool_use"}]
                    * n,
                },
                user,
            ]
        ),
        "searches of the web": lambda n: _both(
            [user],
            tools=[
                {"type": "web_search_20250305", "name": "w", "allowed_domains": ["a"] * n},
                *[{"type": "web_search_20250305", "name": "w", "blocked_domains": ["a"]}] * n,
            ],
        ),
        "odd results": lambda n: _both(
            [
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "content": [7, {"type": "tool_use"}, "a"]}]
                    * n,
                },
                user,
            ]
        ),
        "an odd result": lambda n: _both(
            [{"role": "user", "content": [{"type": "tool_result", "content": [7, "a"] * n}]}, user]
        ),
        "calls without results": lambda n: _both(
            [user, {"role": "assistant", "content": _a_uses(n)}, user]
        ),
        "results without calls": lambda n: _both(
            [{"role": "user", "content": _a_results(n)}, user]
        ),
    }
    for name, text in TEXTS.items():
        shapes[f"text of {name}"] = lambda n, t=text: _ask(t(n))
        shapes[f"names of {name}"] = lambda n, t=text: _both(
            [
                user,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "tool_use", "id": t(n), "name": t(n), "input": {t(n): t(n)}}
                    ],
                },
            ]
        )
    for name in schemas(1):
        shapes[f"tool {name}"] = lambda n, s=name: _both(
            [user], tools=[{"name": "f", "input_schema": schemas(n)[s], "strict": True}]
        )
        shapes[f"output {name}"] = lambda n, s=name: _both(
            [user], output_config={"format": {"type": "json_schema", "schema": schemas(n)[s]}}
        )
    return shapes


REQUESTS: dict[str, Shapes] = {"openai": _openai(), "anthropic": _anthropic()}


# What backends answer.


def _o_answer(message: JSON, **more: Any) -> JSON:
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "i", "model": "m", "choices": [choice], **more}


def _a_answer(content: list[JSON], **more: Any) -> JSON:
    return {"id": "i", "type": "message", "content": content, "stop_reason": "end_turn", **more}


_CITED = {"type": "web_search_result_location", "url": "https://a", "title": "t", "cited_text": "c"}

ANSWERS: dict[str, Shapes] = {
    "openai": {
        "text": lambda n: _o_answer({"content": "ü\\" * n}),
        "extra content": lambda n: _o_answer(
            {
                "content": "a",
                "extra_content": {"google": {"thought_signature": "s" * n}},
                "tool_calls": [{**each, "extra_content": {"a": 1}} for each in _o_calls(n)],
            }
        ),
        "pieces": lambda n: _o_answer({"content": [{"type": "text", "text": "a"}] * n}),
        "calls": lambda n: _o_answer({"content": None, "tool_calls": _o_calls(n)}),
        "calls of one id": lambda n: _o_answer({"content": None, "tool_calls": _o_calls(1) * n}),
        "calls without ids": lambda n: _o_answer(
            {"tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}] * n}
        ),
        "reasoning": lambda n: _o_answer({"content": "a", "reasoning_details": [_o_entry(0)] * n}),
        "reasonings": lambda n: _o_answer(
            {"content": "a", "reasoning_details": [_o_entry(each) for each in range(n)]}
        ),
        "signed": lambda n: _o_answer(
            {"content": "a", "reasoning_details": [_o_entry(0, signature="s")] * n}
        ),
        "thinking pieces": lambda n: _o_answer(
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}] * n}
        ),
        "think tags": lambda n: _o_answer({"content": "<think>" * n}),
        "choices": lambda n: {"choices": [{"index": 1, "message": {}}] * n},
        "choices of one": lambda n: {"choices": [{"index": 0, "message": {"content": "a"}}] * n},
        "counters": lambda n: _o_answer(
            {"content": "a"}, usage={"prompt_tokens": 1, **{f"k{each}": 1 for each in range(n)}}
        ),
        "annotations": lambda n: _o_answer(
            {"content": "a", "annotations": [{"type": "url_citation", "url_citation": {}}] * n}
        ),
        "arguments": lambda n: _o_answer(
            {"tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{}" * n}}]}
        ),
        "an error": lambda n: {"error": {"message": "a" * n, "details": {"a": ["sk-" * 9] * n}}},
        "no error": lambda n: _o_answer({"content": "a" * n}, error={"code": "b" * n}),
    },
    "anthropic": {
        "text": lambda n: _a_answer([{"type": "text", "text": "ü\\" * n}]),
        "texts": lambda n: _a_answer([{"type": "text", "text": "a"}] * n),
        "calls": lambda n: _a_answer(
            [{"type": "tool_use", "id": f"c{each}", "name": "f", "input": {}} for each in range(n)]
        ),
        "thinking": lambda n: _a_answer(
            [{"type": "thinking", "thinking": "t", "signature": "s"}, {"type": "text", "text": "a"}]
            * n
        ),
        "citations": lambda n: _a_answer(
            [
                {
                    "type": "text",
                    "text": "a",
                    "citations": [{**_CITED, "url": f"u{e}"} for e in range(n)],
                }
            ]
        ),
        "server tools": lambda n: _a_answer(
            [{"type": "server_tool_use", "id": "s", "name": "w", "input": {}}] * n
        ),
        "counters": lambda n: _a_answer(
            [{"type": "text", "text": "a"}],
            usage={"input_tokens": 1, "cache_creation": {f"ephemeral_{e}": 1 for e in range(n)}},
        ),
        "an error": lambda n: {"type": "error", "error": {"message": "a" * n}},
    },
}


# Streams.


def _o_events(items: Iterable[JSON], end: bool = True) -> bytes:
    lines = [b"data: " + json.dumps(item).encode() + b"\n\n" for item in items]
    return b"".join([*lines, b"data: [DONE]\n\n" if end else b""])


def _o_deltas(deltas: Iterable[JSON], end: bool = True) -> bytes:
    return _o_events([*map(o_chunk, deltas), o_chunk({}, "stop", usage=o_usage())], end)


def _fragments(text: str) -> bytes:
    return _o_deltas([o_call(id="c", name="f"), *(o_call(each) for each in text)])


def _a_events(items: Iterable[JSON]) -> bytes:
    return b"".join(
        b"event: %s\ndata: %s\n\n" % (item["type"].encode(), json.dumps(item).encode())
        for item in items
    )


def _a_stream(items: Iterable[JSON], start: JSON | None = None) -> bytes:
    message = {
        "id": "i",
        "model": "m",
        "content": [],
        "usage": {"input_tokens": 1},
        **(start or {}),
    }
    ending = {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1}}
    return _a_events(
        [
            {"type": "message_start", "message": message},
            *items,
            {"type": "message_delta", **ending},
            {"type": "message_stop"},
        ]
    )


def _a_block(block: JSON, deltas: Iterable[JSON], index: int = 0) -> list[JSON]:
    return [
        {"type": "content_block_start", "index": index, "content_block": block},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


_TEXT = {"type": "text", "text": ""}
_THINKING = {"type": "thinking", "thinking": ""}
_USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}

STREAMS: dict[str, Shapes] = {
    "openai": {
        "texts": lambda n: _o_deltas([{"content": "a"}] * n),
        "half characters": lambda n: _o_deltas([{"content": "\ud83d"}] * n),
        "text and reasoning": lambda n: _o_deltas([{"content": "a"}, {"reasoning": "b"}] * n),
        "all at once": lambda n: _o_deltas([{"content": "a", "reasoning_content": "b"}] * n),
        "extra content": lambda n: _o_deltas(
            [
                {"tool_calls": [{**each, "index": place, "extra_content": {"a": 1}}]}
                for place, each in enumerate(_o_calls(n))
            ]
        ),
        "events in one": lambda n: (
            b"data: "
            + b"\ndata: ".join([json.dumps(o_chunk({"content": "a"})).encode()] * n)
            + b"\n\n"
        ),
        "repeated fields": lambda n: b"data: " * n + b"{\n\n",
        "no text": lambda n: (
            b'data: {"choices":[{"delta":{"content":"' + b"\xff" * n + b'"}}]}\n\n'
        ),
        "lone halves": lambda n: _o_deltas([{"content": "\ud83da\ude42" * n}] * 2),
        "numbers of their own": lambda n: _o_deltas(
            [
                {
                    "tool_calls": [
                        {
                            "index": e,
                            **(
                                {"id": "c", "function": {"name": "f", "arguments": "{"}}
                                if not e
                                else {"function": {"arguments": " "}}
                            ),
                        }
                    ]
                }
                for e in range(n)
            ]
        ),
        "a message": lambda n: _o_events([{"choices": [{"message": {"content": "a" * n}}]}] * 2),
        "one call": lambda n: _o_deltas([{"tool_calls": {"name": "f", "arguments": "a"}}] * n),
        "think tags": lambda n: _o_deltas([{"content": each} for each in "<think>a</thin" * n]),
        "refusals": lambda n: _o_deltas([{"refusal": "a"}] * n),
        "reasoning details": lambda n: _o_deltas([{"reasoning_details": [_o_entry(0)]}] * n),
        "many details": lambda n: _o_deltas(
            [{"reasoning_details": [_o_entry(e)]} for e in range(n)]
        ),
        "arguments": lambda n: _fragments('{"a":"' + "b" * n + '"}'),
        "arguments of escapes": lambda n: _fragments('{"a":"' + '\\"' * n + '"}'),
        "arguments of digits": lambda n: _fragments('{"a":' + "1" * n + "}"),
        "arguments of brackets": lambda n: _fragments('{"a":' + "[" * n),
        "blank arguments": lambda n: _fragments(" " * n + "{}"),
        "arguments after arguments": lambda n: _fragments("{}" * n),
        "calls in turn": lambda n: _o_deltas(
            [o_call("{}", index=each, id=f"c{each}", name="f") for each in range(n)]
        ),
        "calls at once": lambda n: _o_deltas(
            [
                *(o_call("", index=each, id=f"c{each}", name="f") for each in range(n)),
                *(o_call("{}", index=each) for each in reversed(range(n))),
            ]
        ),
        "calls by ids": lambda n: _o_deltas(
            [o_call("{}", index=0, id=f"c{each}", name="f") for each in range(n)]
        ),
        "calls without names": lambda n: _o_deltas(
            [o_call("{}", index=each, id=f"c{each}") for each in range(n)]
        ),
        "calls in one delta": lambda n: _o_deltas([{"content": "a", "tool_calls": _o_calls(n)}]),
        "choices": lambda n: _o_events([{"choices": [{"index": 1, "delta": {}}] * n}] * 2),
        "empty": lambda n: _o_events([{"choices": []}] * n),
        "usages": lambda n: _o_events([o_chunk({"content": "a"}, usage=o_usage())] * n),
        "finishes": lambda n: _o_events([o_chunk({"content": "a"}, "stop")] * n),
        "citations": lambda n: _o_deltas([{"content": "a", "annotations": [{}]}] * n),
        "comments": lambda n: _o_deltas([{"content": "a"}]) + b": c\n\n" * n,
        "comments before": lambda n: b": c\n\n" * n + _o_deltas([{"content": "a"}]),
        "empty lines": lambda n: b"\n" * n + _o_deltas([{"content": "a"}]),
        "returns": lambda n: _o_deltas([{"content": "a"}] * n).replace(b"\n", b"\r"),
        "names": lambda n: b"".join(b"event: e%d\ndata: {}\n\n" % each for each in range(n)),
        "lines of data": lambda n: b"data: 1\n" * n + b"\n",
        "no end": lambda n: b"data: " + b"a" * n,
        "an error": lambda n: _o_events(
            [{"error": {"message": "sk-" * n, "details": {"a": [1] * n}}}]
        ),
        "errors that are none": lambda n: _o_deltas([{"content": "error usage finish_reason"}] * n),
        "spaces": lambda n: b'data: {"finish_reason"' + b" " * n + b'"usage"' + b" " * n + b"}\n\n",
    },
    "anthropic": {
        "inputs of a custom tool": lambda n: _a_stream(
            _a_block(
                _USE,
                [
                    {"type": "input_json_delta", "partial_json": c}
                    for c in ('{"input":"', *("\\\\" * n), '"', ',"b":1' * n, "}")
                ],
            )
        ),
        "searches for tools": lambda n: _a_stream(
            [
                each
                for number in range(n)
                for each in _a_block(
                    {**_USE, "name": "tool_search", "id": f"c{number}"},
                    [{"type": "input_json_delta", "partial_json": '{"a":[' + "1," * n + "1]}"}]
                    if number == 0
                    else [],
                    number,
                )
            ]
        ),
        "searches of the web": lambda n: _a_stream(
            [
                each
                for number in range(n)
                for each in (
                    *_a_block(
                        {
                            "type": "server_tool_use",
                            "name": "web_search",
                            "id": f"s{number}",
                            "input": {"query": "q"},
                        },
                        [],
                        2 * number,
                    ),
                    *_a_block(
                        {
                            "type": "web_search_tool_result",
                            "tool_use_id": f"s{number}",
                            "content": [{"type": "web_search_result", "url": "https://a"}],
                        },
                        [],
                        2 * number + 1,
                    ),
                )
            ]
        ),
        "texts": lambda n: _a_stream(_a_block(_TEXT, [{"type": "text_delta", "text": "a"}] * n)),
        "blocks": lambda n: _a_stream(
            [event for each in range(n) for event in _a_block(_TEXT, [], each)]
        ),
        "blocks at the start": lambda n: _a_stream(
            [], {"content": [{"type": "text", "text": "a"}] * n}
        ),
        "thinking": lambda n: _a_stream(
            _a_block(_THINKING, [{"type": "thinking_delta", "thinking": "a"}] * n)
        ),
        "signatures": lambda n: _a_stream(
            _a_block(_THINKING, [{"type": "signature_delta", "signature": "s"}] * n)
        ),
        "late signatures": lambda n: _a_stream(
            [
                *(event for each in range(n) for event in _a_block(_THINKING, [], each)),
                *(
                    {
                        "type": "content_block_delta",
                        "index": each,
                        "delta": {"type": "signature_delta"},
                    }
                    for each in reversed(range(n))
                ),
            ]
        ),
        "arguments": lambda n: _a_stream(
            _a_block(
                _USE, [{"type": "input_json_delta", "partial_json": c} for c in '{"a":1' + "1" * n]
            )
        ),
        "blanks in an empty object": lambda n: _a_stream(
            _a_block(_USE, [{"type": "input_json_delta", "partial_json": c} for c in "{" + " " * n])
        ),
        "deltas of the other kind": lambda n: _a_stream(
            _a_block(
                _TEXT,
                [{"type": "text_delta", "text": "a"}, {"type": "thinking_delta", "thinking": "b"}]
                * n,
            )
        ),
        "citations": lambda n: _a_stream(
            _a_block(
                _TEXT,
                [
                    {"type": "citations_delta", "citation": {**_CITED, "url": f"u{e}"}}
                    for e in range(n)
                ],
            )
        ),
        "server tools": lambda n: _a_stream(
            _a_block(
                {"type": "server_tool_use", "id": "s", "name": "w", "input": {}},
                [{"type": "input_json_delta", "partial_json": "1"}] * n,
            )
        ),
        "compactions": lambda n: _a_stream(
            _a_block(
                {"type": "compaction", "content": ""},
                [{"type": "compaction_delta", f"k{each}": 1} for each in range(n)],
            )
        ),
        "counters": lambda n: _a_stream(
            [
                {"type": "message_delta", "delta": {f"d{e}": 1}, "usage": {f"u{e}": 1}}
                for e in range(n)
            ]
        ),
        "pings": lambda n: _a_stream([{"type": "ping"}] * n),
        "an error": lambda n: _a_events([{"type": "error", "error": {"message": "a" * n}}]),
        "errors that are none": lambda n: _a_stream(
            _a_block(_TEXT, [{"type": "text_delta", "text": '"type": "error" "message_'}] * n)
        ),
    },
}


def _nested(levels: int) -> Any:
    text = "maximum context length is 5 tokens"
    for _ in range(levels):
        text = json.dumps({"error": {"message": "x", "metadata": {"raw": text}}})
    return json.loads(text)


ERRORS: Shapes = {
    "details": lambda n: {"detail": [{"loc": ["body", "a", 1], "msg": "m"}] * n},
    "locations": lambda n: {"detail": [{"loc": ["a"] * n, "msg": "m"}]},
    "lists": lambda n: [{"error": {"message": "m"}}] * n,
    "lists in lists": lambda n: json.loads("[" * min(n, 400) + "1" + "]" * min(n, 400)),
    "fields": lambda n: {"error": {"message": "m", "details": [{"fieldViolations": [{}] * n}] * 2}},
    "keys": lambda n: {f"k{each}": "sk-aaaaaaaaaaaaaaaa" for each in range(n)},
    "keys of the error": lambda n: {"error": {f"k{each}": 1 for each in range(n)}},
    "more words": lambda n: {"error": {"message": "m" * n, "n_prompt_tokens": 5, "n_ctx": 4}},
    "nested": lambda n: _nested(4) | {"pad": "a" * n},
    **{
        f"a message of {name}": lambda n, t=t: {"error": {"message": t(n)}}
        for name, t in TEXTS.items()
    },
    **{
        f"a text of {name}": lambda n, t=t: {
            "error": {"message": "Provider returned error", "metadata": {"raw": t(n)}}
        }
        for name, t in TEXTS.items()
    },
    **{
        f"sizes of {name}": lambda n, t=t: {
            "error": {"message": t(n), "n_prompt_tokens": 5, "n_ctx": 4, "code": 400}
        }
        for name, t in TEXTS.items()
    },
}
