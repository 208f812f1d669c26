"""Tools and tool choice -> those of a chat completion request (translation.md 2.5)."""

from collections.abc import Sequence

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_parts import Parts
from lmbroker.translation.dialects.openai.encode_tools import (
    NO_CHOICE,
    Choice,
    encode_choice,
    encode_description,
    encode_schema,
)
from lmbroker.translation.shared.names import wire_name
from lmbroker.translation.unified.request import Tool


def encode_tool(parts: Parts, tool: Tool) -> JSON:
    """Return the object of one tool."""
    held: JSON = {"name": wire_name(tool.name)}
    description = encode_description(parts, tool)
    if description is not None:
        held["description"] = description
    if tool.kind == "custom":
        if tool.grammar is not None:
            held["format"] = tool.grammar
        return {"type": "custom", "custom": held}
    held["parameters"], strict = encode_schema(parts, tool)
    if strict:
        held["strict"] = True
    return {"type": "function", "function": held}


def encode_tool_choice(parts: Parts, tools: Sequence[Tool]) -> tuple[JSON, Choice]:
    """Return the fields for the choice among ``tools``, and the ``Choice`` behind them."""
    if not tools:
        return {}, NO_CHOICE
    chosen = encode_choice(parts, tools)
    wire: JSON = {}
    if chosen.choice is not None:
        wire["tool_choice"] = chosen.choice.mode
        if chosen.choice.mode == "named":
            kind, name = chosen.choice.kind, wire_name(chosen.choice.name or "")
            wire["tool_choice"] = {"type": kind, kind: {"name": name}}
    if parts.request.parallel_tools is False:
        wire["parallel_tool_calls"] = False
    return wire, chosen
