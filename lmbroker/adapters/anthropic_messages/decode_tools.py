"""Tools and tool choice of a Messages request (translation.md 2.5)."""

from typing import Any

from lmbroker.adapters.anthropic_messages.extra_fields import (
    ORIGIN,
    cache_of,
    take_cache,
    take_extras,
)
from lmbroker.adapters.fields import Fields, missing
from lmbroker.unified.parts import Extra
from lmbroker.unified.request import Tool, ToolChoice

_MODES = {"auto": "auto", "any": "required", "tool": "named", "none": "none"}


def decode_tools(items: list[Any]) -> tuple[Tool, ...]:
    """The ``tools`` array. Of a tool whose type is not ``custom`` only the vendor knows what it
    takes: it is kept whole and goes nowhere but back. Raises Refused."""
    return tuple(_tool(Fields(item, f"tools[{n}]", ORIGIN), item) for n, item in enumerate(items))


def _tool(tool: Fields, raw: dict[str, Any]) -> Tool:
    kind = tool.text("type")
    if kind not in (None, "custom"):
        mark = tool.any("cache_control")
        return Tool(
            kind="server",
            name=tool.text("name") or kind,
            cache=cache_of(mark) if isinstance(mark, dict) else None,
            raw=raw,
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


def decode_tool_choice(body: Fields) -> tuple[ToolChoice | None, bool | None, list[Extra]]:
    """The choice, whether tools may be called in parallel (None: nothing was said), and what is
    left: a choice that is not known is an extra of class ``refuse``. Raises Refused."""
    choice = body.inside("tool_choice")
    if choice is None:
        return None, None, []
    raw = dict(choice.left)
    kind = choice.need_text("type")
    if kind not in _MODES:
        return None, None, [body.extra("tool_choice", raw, "refuse")]
    name = choice.need_text("name") if kind == "tool" else None
    alone = choice.boolean("disable_parallel_tool_use")
    return (
        ToolChoice(mode=_MODES[kind], name=name, raw=raw),  # type: ignore[arg-type]
        None if alone is None else not alone,
        list(choice.rest("tool_choice.")),
    )
