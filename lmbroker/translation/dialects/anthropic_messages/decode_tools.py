"""Tools and tool choice of a Messages request (translation.md 2.5)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from lmbroker.translation.dialects.anthropic_messages.extra_fields import (
    ORIGIN,
    cache_of,
    take_cache,
    take_extras,
)
from lmbroker.translation.shared.fields import Fields, missing, once
from lmbroker.translation.shared.web_searches import asked_of
from lmbroker.translation.unified.parts import Extra, OpaquePart
from lmbroker.translation.unified.request import Tool, ToolChoice, Turn

_FOREIGN_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
"""The tool choices of the Chat Completions format."""
_CHANGES = ("tool_addition", "tool_removal")
"""Blocks by which the conversation offers another tool, or takes one back."""
_SEARCH = "web_search_"
"""The prefix of the types of web searches."""
_MODES = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}


def decode_tools(items: list[Any]) -> tuple[Tool, ...]:
    """Return the tools of the ``tools`` array. Raises Refused.

    Of a tool whose type is not ``custom`` only the vendor knows the arguments: it is kept whole and
    goes back to this dialect only.
    """
    return tuple(_tool(Fields(item, f"tools[{n}]", ORIGIN), item) for n, item in once(items))


def _tool(tool: Fields, raw: dict[str, Any]) -> Tool:
    kind = tool.text("type")
    if kind == "function" and isinstance(tool.left.get("function"), dict):
        return _foreign(tool, tool.need_inside("function"), "function.")
    if kind == "function" and "parameters" in tool.left:  # the form of the Responses format
        return _foreign(tool, tool, "")
    if kind not in (None, "custom"):
        mark = tool.any("cache_control")
        return Tool(
            kind="server",
            name=tool.text("name") or kind,
            cache=cache_of(mark) if isinstance(mark, dict) else None,
            raw=raw,
            search=asked_of(raw) if kind.startswith(_SEARCH) else None,
        )
    name, schema = tool.need_text("name"), tool.mapping("input_schema")
    if schema is None:
        raise missing(tool.at("input_schema"))
    extras = [] if kind is None else [tool.extra("type", kind, "none")]
    deferred = tool.boolean("defer_loading")
    if deferred is False:
        extras.append(tool.extra("defer_loading", False, "none"))
    return Tool(
        kind="function",
        name=name,
        description=tool.text("description"),
        schema=schema,
        strict=tool.boolean("strict"),
        cache=take_cache(tool),
        deferred=bool(deferred),
        extras=(*extras, *take_extras(tool, "tool"), *tool.rest()),
    )


def as_changed(tools: tuple[Tool, ...], turns: Sequence[Turn]) -> tuple[Tool, ...]:
    """Return ``tools`` as the conversation has changed them; the last change of each counts."""
    changes = [
        part
        for turn in turns
        for part in turn.parts
        if type(part) is OpaquePart and part.type in _CHANGES
    ]
    if not changes:
        return tools
    standing: dict[str, bool] = {}
    inline: dict[str, Tool] = {}
    for part in changes:
        held = part.raw.get("tool")
        change = held if isinstance(held, dict) else {}
        defined = change.get("definition")
        if isinstance(defined, dict) and isinstance(defined.get("name"), str):
            (tool,) = decode_tools([defined])
            inline[tool.name] = msgspec.structs.replace(tool, standing="inline")
            standing[tool.name] = True
        elif isinstance(change.get("name"), str):
            standing[change["name"]] = part.type == "tool_addition"
    known = {tool.name for tool in tools}
    every = (*tools, *(tool for name, tool in inline.items() if name not in known))
    return tuple(
        tool
        if standing.get(tool.name, True)
        else msgspec.structs.replace(tool, standing="withdrawn")
        for tool in every
    )


def _foreign(tool: Fields, function: Fields, prefix: str) -> Tool:
    """Return a tool in one of OpenAI's formats, which some clients send on this path."""
    cache = take_cache(tool)
    return Tool(
        kind="function",
        name=function.need_text("name"),
        description=function.text("description"),
        schema=function.mapping("parameters"),
        strict=function.boolean("strict"),
        cache=cache,
        extras=function.rest(prefix)
        if function is tool
        else (*tool.rest(), *function.rest(prefix)),
    )


def decode_tool_choice(body: Fields) -> tuple[ToolChoice | None, bool | None, list[Extra]]:
    """Return the tool choice, whether parallel calls are allowed, and extras. Raises Refused.

    The second value is None where the request does not say. A choice that is not known is an extra
    of class ``refuse``.
    """
    said = body.left.get("tool_choice")
    if isinstance(said, str) and said in _FOREIGN_CHOICES:
        body.any("tool_choice")
        return ToolChoice(mode=_FOREIGN_CHOICES[said], raw={"type": said}), None, []  # type: ignore[arg-type]
    choice = body.inside("tool_choice")
    if choice is None:
        return None, None, []
    raw = dict(choice.left)
    kind = choice.need_text("type")
    if kind not in _MODES:
        return None, None, [body.extra("tool_choice", raw, "drop")]
    name = choice.need_text("name") if kind == "tool" else None
    alone = choice.boolean("disable_parallel_tool_use")
    return (
        ToolChoice(mode=_MODES[kind], name=name, raw=raw),  # type: ignore[arg-type]
        None if alone is None else not alone,
        list(choice.rest("tool_choice.")),
    )
