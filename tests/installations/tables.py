"""Configurations of a broker whose backends are all one scripted backend."""

import json
import re
from typing import Any

from installations.samples import DIALECTS, JSON

MODELS = {
    "openai": (
        "gpt-4.1-mini",
        "gpt-5.2",
        "o3",
        "deepseek-reasoner",
        "mistral-large-latest",
        "Qwen/Qwen3-8B",
        "gemini-3-pro",
        "grok-4",
        "kimi-k2-thinking",
    ),
    "anthropic": ("claude-opus-5-5", "claude-sonnet-4-6", "claude-3-haiku-20240307", "glm-4.6"),
}
PROFILE: JSON = {
    "max_output": 50,
    "context": 300,
    "thinking_default": "always",
    "reasoning_control": "template_kwargs",
    "never_think": True,
    "reasoning_replay": "none",
    "replay_required": True,
    "signed_calls": True,
    "replay_signed": False,
    "think_tags": "open",
    "sampling": "none",
    "temp_xor_top_p": True,
    "forced_tools": False,
    "prefill": "vllm",
    "mid_system": False,
    "system_first_only": True,
    "alternate_roles": True,
    "after_tool": "merge",
    "system_role": "user",
    "structured_outputs": False,
    "json_object": False,
    "strict_tools": False,
    "omit_schema_keywords": ["pattern"],
    "vision": False,
    "pdf": False,
    "tool_result_images": False,
    "cache_breakpoints": True,
    "cache_marks": "cache_control",
    "max_tokens_field": "max_completion_tokens",
    "content_lists": False,
    "stop_max": 1,
    "stop": False,
    "tool_max": 1,
    "tool_id": "^[a-z0-9]{9}$",
    "ext": ["top_k", "store"],
    "user_field": "safety_identifier",
    "service_tier": True,
    "stream_options": False,
    "tools_with_reasoning": False,
    "map_fast": True,
    "server_tools": True,
    "show_reasoning": True,
    "ask_usage": True,
    "matryoshka": True,
    "omit": ["temperature", "messages[].name"],
}
"""A value of each key of a profile that is not its default, each tried alone."""
BACKEND = "http://127.0.0.1:BACKEND"
SERVER: JSON = {"host": "127.0.0.1", "port": "PORT"}
BACKENDS: list[JSON] = [
    {"name": "openai", "type": "openai", "url": BACKEND, "api_key": "env:OPENAI_KEY"},
    {"name": "anthropic", "type": "anthropic", "url": BACKEND, "api_key": "env:ANTHROPIC_KEY"},
    {"name": "other", "type": "openai", "root": f"{BACKEND}/x", "query": {"api-version": "1"}},
    {"name": "own", "type": "anthropic", "url": BACKEND, "api_key": "client"},
    {"name": "as-is", "type": "openai", "url": BACKEND, "passthrough_errors": "as-is"},
    {
        "name": "extra",
        "type": "anthropic",
        "url": f"{BACKEND}/v1beta/",
        "headers": {"x-extra": "env:OPENAI_KEY", "x-plain": "plain"},
        "omit_attribution": True,
    },
]
MORE_BACKENDS = ("other", "own", "as-is", "extra")
PATIENCE: JSON = {"failures": 1000000, "least": 1000000}
"""No breaker opens: what a call gets does not hang on how the calls before it went."""


def main_tables(**server: Any) -> JSON:
    models = []
    for each in DIALECTS:
        models.append(model(each, each, name=f"model-of-{each}"))
        models.append(model(f"failing-{each}-*", each, name="*"))
        models += [model(f"{each}:{name}", each, name=name) for name in MODELS[each]]
        models += [model(f"{each}+{k}", each, name="m", profile={k: v}) for k, v in PROFILE.items()]
        models.append(model(f"{each}-limits", each, name="m", expose_limits=True))
        models.append(model(f"{each}-thinks", each, name="m", profile={"think_tags": True}))
        models.append(model(f"{each}-asks", each, name="m", profile={"ask_usage": True}))
    models += [model(name, name, name="m") for name in MORE_BACKENDS]
    both = model("two", "openai", "anthropic", fallback_on=["context_length", "500"])
    again = model("again", "openai", retries={"same_target": 1, "longest_pause": 0.02})
    return {
        "default": "openai",
        "server": {**SERVER, **server},
        "breaker": PATIENCE,
        "backends": BACKENDS,
        "models": [*models, both, again],
    }


def model(alias: str, *backends: str, name: str | None = None, **more: Any) -> JSON:
    named = {} if name is None else {"model": name}
    return {"alias": alias, "targets": [{"backend": each, **named} for each in backends], **more}


def toml(tables: JSON) -> str:
    """The text of ``tables``: tables and arrays of tables, whose values stand in one line each."""
    lines = [f"{key} = {_inline(value)}" for key, value in tables.items() if not _is_table(value)]
    for key, value in tables.items():
        if _is_table(value):
            for table in value if isinstance(value, list) else [value]:
                lines.append(f"[[{key}]]" if isinstance(value, list) else f"[{key}]")
                lines += [f"{_key(name)} = {_inline(each)}" for name, each in table.items()]
    return "\n".join(lines) + "\n"


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) or (
        isinstance(value, list) and bool(value) and isinstance(value[0], dict)
    )


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


def _inline(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return value if value == "PORT" else json.dumps(value)
