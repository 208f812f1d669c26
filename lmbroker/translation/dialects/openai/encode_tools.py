"""Tools and tool choice -> OpenAI's (translation.md 2.5).

All of OpenAI's dialects decide alike which tools are offered and how they are chosen, but write the
objects differently.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_parts import Parts
from lmbroker.translation.shared.custom_tools import as_function, has_grammar
from lmbroker.translation.shared.instructions import must_call
from lmbroker.translation.shared.names import wire_name
from lmbroker.translation.shared.schemas import meets_openai_strict
from lmbroker.translation.shared.tool_schemas import completed_tool
from lmbroker.translation.unified.parts import OpaquePart, ToolCallPart, ToolResultPart
from lmbroker.translation.unified.request import Tool, ToolChoice

TOOL_SEARCH = "tool_search_tool_"
"""Type of the tools that find other tools; here all tools are offered from the start."""

EXAMPLES = "input_examples"
EXAMPLES_LINE = "Examples of its input, one a line:"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the backend gets for the client's tool choice.

    ``choice`` is None where it gets none. ``instruction`` is then the sentence for the model that
    stands in for a choice that the backend does not take.
    """

    choice: ToolChoice | None = None
    instruction: str = ""


NO_CHOICE = Choice()


def offered(parts: Parts) -> list[Tool]:
    """Return the tools that the backend gets.

    Where the choice allows only some, only those are sent. Deferred tools beyond the backend's
    limit are left out.
    """
    choice = parts.request.tool_choice
    all_of_them = choice is None or choice.allowed is None or parts.names_allowed()
    allowed = None if all_of_them or choice is None else frozenset(choice.allowed or ())
    tools = []
    for place, tool in enumerate(parts.request.tools):
        if tool.standing == "withdrawn":
            continue
        if tool.kind == "server" and not parts.runs(tool):
            _server(parts, tool, place)
        elif allowed is None or tool.name in allowed:
            tools.append(tool)
    if any(tool.deferred for tool in tools):
        parts.change("deferred")
        left_out = _left_out(parts, tools)
        tools = [tool for place, tool in enumerate(tools) if place not in left_out]
    if not parts.profile.custom_tools:
        tools = [_function(parts, tool) for tool in tools]
    return tools


def _function(parts: Parts, tool: Tool) -> Tool:
    """Return ``tool`` as a function, whatever kind it is of."""
    if tool.kind != "custom":
        return tool
    if has_grammar(tool):
        parts.change("grammar")
    return as_function(tool)


def _server(parts: Parts, tool: Tool, place: int) -> None:
    kind = (tool.raw or {}).get("type")
    if tool.optional or (isinstance(kind, str) and kind.startswith(TOOL_SEARCH)):
        parts.losses.drop("tools[].type")
        return
    reason = "only the client's own vendor knows this tool"
    parts.losses.refuse(f"tools[{place}]", reason, soft=True)


def _left_out(parts: Parts, tools: list[Tool]) -> set[int]:
    """Return the indices of those of ``tools`` that are beyond the backend's limit.

    Deferred tools are left out first, from the last one on; tools that the conversation mentions
    are left out only after all others.
    """
    excess = len(tools) - parts.profile.tool_max
    if excess <= 0:
        return set()
    known = _spoken_of(parts)
    places = [place for place, tool in enumerate(tools) if tool.deferred]
    places.sort(key=lambda place: (tools[place].name in known, -place))
    return set(places[:excess])


def _spoken_of(parts: Parts) -> set[str]:
    """Return the names of the tools that were called, or found by a search."""
    names = set()
    for turn in parts.request.turns:
        for part in turn.parts:
            for each in (part.parts or ()) if isinstance(part, ToolResultPart) else (part,):
                if isinstance(each, ToolCallPart):
                    names.add(each.name)
                elif isinstance(each, OpaquePart) and isinstance(each.raw.get("tool_name"), str):
                    names.add(each.raw["tool_name"])
    return names


def encode_schema(parts: Parts, tool: Tool) -> tuple[JSON, bool]:
    """Return the schema of a function's arguments, and whether the backend enforces it strictly."""
    schema, changed = completed_tool(tool.schema, parts.profile.omit_schema_keywords)
    if changed:
        parts.change("tool")
    strict = bool(tool.strict) and parts.profile.strict_tools and meets_openai_strict(schema)
    if tool.strict and not strict:
        parts.drop("strict")
    return schema, strict


def encode_description(parts: Parts, tool: Tool) -> str | None:
    """Return the description of a tool, with the examples for which the dialect has no field."""
    examples_of = next((extra for extra in tool.extras if extra.name == EXAMPLES), None)
    examples: Any = None if examples_of is None else examples_of.value
    if examples_of is None or not isinstance(examples, list) or not examples:
        parts.lost(tool.extras)
        return tool.description
    parts.lost(extra for extra in tool.extras if extra is not examples_of)
    parts.losses.change(examples_of.path)
    lines = (json_text.encode(each).decode() for each in examples)
    examples = "\n".join([EXAMPLES_LINE, *lines])
    return f"{tool.description}\n\n{examples}" if tool.description else examples


def encode_choice(parts: Parts, tools: Sequence[Tool]) -> Choice:
    """Return the choice among ``tools``, the tools that the backend gets."""
    profile, choice = parts.profile, parts.request.tool_choice
    if not tools or choice is None:
        return NO_CHOICE
    if choice.mode == "named" and _left_alone(parts, choice, tools):
        parts.drop("tool_choice")
        return NO_CHOICE
    forced = profile.forced_tools and (profile.forced_tools_with_reasoning or not _thinks(parts))
    if choice.mode not in ("required", "named") or forced:
        if not profile.custom_tools:
            choice = msgspec.structs.replace(choice, kind="function")
        return Choice(choice=choice)
    if profile.forced_tools_fallback == "refuse":
        parts.refuse("tool_choice", "the model cannot be made to call a tool")
    parts.change("tool_choice")
    name = wire_name(choice.name) if choice.name is not None else None
    return Choice(instruction=must_call(name))


def _left_alone(parts: Parts, choice: ToolChoice, tools: Sequence[Tool]) -> bool:
    """Return whether the chosen tool is one of those that were left out."""
    name = choice.name or ""
    if not any(tool.name == name for tool in parts.request.tools):
        return False
    return all(wire_name(tool.name) != wire_name(name) for tool in tools)


def _thinks(parts: Parts) -> bool:
    """Return whether the client wants the model to reason."""
    asked = parts.request.reasoning
    if asked is None or parts.profile.never_think:
        return False
    return asked.mode not in (None, "off") or asked.effort not in (None, "none")
