"""Tools and tool choice -> OpenAI's (translation.md 2.5)."""

from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_chat.encode_parts import Parts
from lmbroker.translation.shared.instructions import must_call
from lmbroker.translation.shared.names import wire_name
from lmbroker.translation.shared.schemas import meets_openai_strict
from lmbroker.translation.shared.tool_schemas import completed_tool
from lmbroker.translation.unified.parts import OpaquePart, ToolCallPart, ToolResultPart
from lmbroker.translation.unified.request import Tool, ToolChoice

TOOL_SEARCH = "tool_search_tool_"
"""Type of the tools that find others; here all tools are there from the start."""

EXAMPLES = "input_examples"
EXAMPLES_LINE = "Examples of its input, one a line:"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What became of the tool choice; ``instruction`` stands in for one that the model does not
    take."""

    wire: JSON
    instruction: str = ""


def encode_tools(parts: Parts) -> list[JSON]:
    """The tools; where the choice allows only some, only those. Beyond what the backend takes,
    those that could wait are left out."""
    choice = parts.request.tool_choice
    allowed = None if choice is None or choice.allowed is None else frozenset(choice.allowed)
    tools = []
    for place, tool in enumerate(parts.request.tools):
        if tool.standing == "withdrawn":
            continue
        if tool.kind == "server":
            _server(parts, tool, place)
        elif allowed is None or tool.name in allowed:
            tools.append(tool)
    if any(tool.deferred for tool in tools):
        parts.change("deferred")
        left_out = _left_out(parts, tools)
        tools = [tool for place, tool in enumerate(tools) if place not in left_out]
    return [_tool(parts, tool) for tool in tools]


def _server(parts: Parts, tool: Tool, place: int) -> None:
    kind = (tool.raw or {}).get("type")
    if isinstance(kind, str) and kind.startswith(TOOL_SEARCH):
        parts.losses.drop("tools[].type")
        return
    reason = "only the client's own vendor knows this tool"
    parts.losses.refuse(f"tools[{place}]", reason, soft=True)


def _left_out(parts: Parts, tools: list[Tool]) -> set[int]:
    """Which of ``tools`` are too many: deferred ones, the last first, and those that the
    conversation speaks of only after all others."""
    excess = len(tools) - parts.profile.tool_max
    if excess <= 0:
        return set()
    known = _spoken_of(parts)
    places = [place for place, tool in enumerate(tools) if tool.deferred]
    places.sort(key=lambda place: (tools[place].name in known, -place))
    return set(places[:excess])


def _spoken_of(parts: Parts) -> set[str]:
    """Names of the tools that were called, or found by a search."""
    names = set()
    for turn in parts.request.turns:
        for part in turn.parts:
            for each in (part.parts or ()) if isinstance(part, ToolResultPart) else (part,):
                if isinstance(each, ToolCallPart):
                    names.add(each.name)
                elif isinstance(each, OpaquePart) and isinstance(each.raw.get("tool_name"), str):
                    names.add(each.raw["tool_name"])
    return names


def _tool(parts: Parts, tool: Tool) -> JSON:
    held: JSON = {"name": wire_name(tool.name)}
    description = _description(parts, tool)
    if description is not None:
        held["description"] = description
    if tool.kind == "custom":
        if tool.grammar is not None:
            held["format"] = tool.grammar
        return {"type": "custom", "custom": held}
    held["parameters"], changed = completed_tool(tool.schema, parts.profile.omit_schema_keywords)
    if changed:
        parts.change("tool")
    if tool.strict:
        if parts.profile.strict_tools and meets_openai_strict(held["parameters"]):
            held["strict"] = True
        else:
            parts.drop("strict")
    return {"type": "function", "function": held}


def _description(parts: Parts, tool: Tool) -> str | None:
    """The description, and examples that have no place of their own."""
    examples_of = next((extra for extra in tool.extras if extra.name == EXAMPLES), None)
    told: Any = None if examples_of is None else examples_of.value
    if examples_of is None or not isinstance(told, list) or not told:
        parts.lost(tool.extras)
        return tool.description
    parts.lost(extra for extra in tool.extras if extra is not examples_of)
    parts.losses.change(examples_of.path)
    lines = (json_text.encode(each).decode() for each in told)
    examples = "\n".join([EXAMPLES_LINE, *lines])
    return f"{tool.description}\n\n{examples}" if tool.description else examples


def encode_choice(parts: Parts, tools: list[JSON]) -> Choice:
    """How tools are chosen; nothing where there are none."""
    request, profile = parts.request, parts.profile
    choice = request.tool_choice
    wire: JSON = {}
    if not tools:
        return Choice(wire=wire)
    instruction = ""
    if choice is not None and choice.mode == "named" and _left_alone(parts, choice, tools):
        parts.drop("tool_choice")
        choice = None
    forced = profile.forced_tools and (profile.forced_tools_with_reasoning or not _thinks(parts))
    if choice is not None and choice.mode in ("required", "named") and not forced:
        if profile.forced_tools_fallback == "refuse":
            parts.refuse("tool_choice", "the model cannot be made to call a tool")
        parts.change("tool_choice")
        instruction = must_call(wire_name(choice.name) if choice.name is not None else None)
    elif choice is not None and choice.mode == "named":
        kind, name = choice.kind, wire_name(choice.name or "")
        wire["tool_choice"] = {"type": kind, kind: {"name": name}}
    elif choice is not None:
        wire["tool_choice"] = choice.mode
    if request.parallel_tools is False:
        wire["parallel_tool_calls"] = False
    return Choice(wire=wire, instruction=instruction)


def _left_alone(parts: Parts, choice: ToolChoice, tools: list[JSON]) -> bool:
    """Whether the tool that was chosen is one of those that were left out."""
    name = choice.name or ""
    if not any(tool.name == name for tool in parts.request.tools):
        return False
    return all(tool[tool["type"]]["name"] != wire_name(name) for tool in tools)


def _thinks(parts: Parts) -> bool:
    """Whether the client wants the model to reason."""
    asked = parts.request.reasoning
    if asked is None or parts.profile.never_think:
        return False
    return asked.mode not in (None, "off") or asked.effort not in (None, "none")
