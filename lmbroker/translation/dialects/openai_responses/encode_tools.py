"""Tools and tool choice -> those of a Responses request (translation.md 2.5, 8.1)."""

from collections.abc import Sequence
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_tools import (
    Choice,
    encode_choice,
    encode_description,
    encode_schema,
)
from lmbroker.translation.dialects.openai_responses.encode_parts import Parts
from lmbroker.translation.shared.names import wire_name
from lmbroker.translation.unified.request import Tool, ToolChoice, WebSearch

WEB_SEARCH = "web_search"


def encode_tool(parts: Parts, tool: Tool) -> JSON:
    """Return the object of one tool.

    A function says whether its schema is enforced strictly, since the default is that it is.
    """
    if tool.search is not None:
        return web_search(parts, tool.search)
    written: JSON = {"type": tool.kind, "name": wire_name(tool.name)}
    description = encode_description(parts, tool)
    if description is not None:
        written["description"] = description
    if tool.kind == "custom":
        if tool.grammar is not None:
            written["format"] = _grammar(tool.grammar)
        return written
    written["parameters"], written["strict"] = encode_schema(parts, tool)
    return written


def _grammar(form: Any) -> Any:
    """Return the format of a custom tool's input.

    Other formats hold a grammar in an object of its own.
    """
    held = form.get("grammar") if isinstance(form, dict) else None
    return {"type": "grammar", **held} if isinstance(held, dict) else form


def web_search(parts: Parts, asked: WebSearch) -> JSON:
    """Return the tool for a web search that the backend runs."""
    written: JSON = {"type": WEB_SEARCH}
    if asked.allowed_domains:
        written["filters"] = {"allowed_domains": list(asked.allowed_domains)}
    if asked.location is not None:
        written["user_location"] = {"type": "approximate", **asked.location}
    if asked.context_size is not None:
        written["search_context_size"] = asked.context_size
    if asked.blocked_domains:
        parts.losses.drop("tools[].blocked_domains")
    if asked.max_uses is not None:
        parts.losses.drop("tools[].max_uses")
    return written


def encode_tool_choice(parts: Parts, tools: Sequence[Tool]) -> tuple[JSON, Choice]:
    """Return the field for the choice among ``tools``, and the ``Choice`` behind it."""
    if not tools:
        return {}, Choice()
    chosen = encode_choice(parts, tools)
    wire: JSON = {}
    if chosen.choice is not None:
        wire["tool_choice"] = _choice(chosen.choice, tools)
    if parts.request.parallel_tools is False:
        wire["parallel_tool_calls"] = False
    return wire, chosen


def _choice(choice: ToolChoice, tools: Sequence[Tool]) -> Any:
    if choice.mode == "named":
        return {"type": choice.kind, "name": wire_name(choice.name or "")}
    if choice.allowed is None:
        return choice.mode
    allowed = frozenset(choice.allowed)
    named = [tool for tool in tools if tool.name in allowed and tool.kind != "server"]
    if len(named) == len(tools):
        return choice.mode
    return {
        "type": "allowed_tools",
        "mode": choice.mode,
        "tools": [{"type": tool.kind, "name": wire_name(tool.name)} for tool in named],
    }
