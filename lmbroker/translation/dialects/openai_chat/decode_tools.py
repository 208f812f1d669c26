"""Tools and tool choice of a chat completion request (translation.md 2.5)."""

from typing import Any

from lmbroker.translation.shared.fields import Fields, missing, once
from lmbroker.translation.unified.parts import Cache, Extra
from lmbroker.translation.unified.request import Tool, ToolChoice

ORIGIN = "openai"
_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}


def decode_tools(items: list[Any]) -> tuple[Tool, ...]:
    """Return the ``tools`` array.

    A kind that this dialect does not know is a tool that the provider runs: it goes nowhere but
    back to the same dialect. Raises Refused.
    """
    return tuple(_tool(Fields(item, f"tools[{n}]", ORIGIN)) for n, item in once(items))


def decode_functions(items: list[Any]) -> tuple[Tool, ...]:
    """Return the legacy ``functions`` array. Raises Refused."""
    return tuple(
        _function(Fields(item, f"functions[{n}]", ORIGIN), "") for n, item in enumerate(items)
    )


def _foreign(tool: Fields) -> Tool:
    """Return a tool in the Messages format, which some clients send on this path."""
    kind = tool.text("type")
    if kind not in (None, "custom", "function"):
        return Tool(kind="server", name=tool.text("name") or kind, raw={"type": kind, **tool.left})
    mark = tool.mapping("cache_control")
    return Tool(
        kind="function",
        name=tool.need_text("name"),
        description=tool.text("description"),
        schema=tool.mapping("input_schema"),
        strict=tool.boolean("strict"),
        cache=None if mark is None else Cache(raw={"cache_control": mark}),
        extras=tool.rest(),
    )


def _tool(tool: Fields) -> Tool:
    if isinstance(tool.left.get("input_schema"), dict) and "function" not in tool.left:
        return _foreign(tool)
    kind = tool.text("type")
    if kind is None and "function" not in tool.left:
        raise missing(tool.at("type"))
    if kind not in (None, "function", "custom"):
        raw = {"type": kind, **tool.left}
        return Tool(kind="server", name=tool.text("name") or str(kind), raw=raw)
    mark = tool.mapping("cache_control")
    cache = None
    if mark is not None:
        ttl = mark.get("ttl")
        cache = Cache(ttl=ttl if ttl in ("5m", "1h") else None, raw={"cache_control": mark})
    flat = kind not in tool.left and isinstance(tool.left.get("name"), str)
    if kind == "custom":
        return _custom(tool, tool if flat else tool.need_inside("custom"), cache)
    if flat and "function" not in tool.left:  # the form of the Responses format
        return _function(tool, "", cache)
    return _function(tool.need_inside("function"), "function.", cache, tool)


def _function(
    function: Fields, prefix: str, cache: Cache | None = None, tool: Fields | None = None
) -> Tool:
    return Tool(
        kind="function",
        name=function.need_text("name"),
        description=function.text("description"),
        schema=function.mapping("parameters"),
        strict=function.boolean("strict"),
        cache=cache,
        extras=(*(tool.rest() if tool else ()), *function.rest(prefix)),
    )


def _custom(tool: Fields, custom: Fields, cache: Cache | None) -> Tool:
    return Tool(
        kind="custom",
        name=custom.need_text("name"),
        description=custom.text("description"),
        grammar=custom.mapping("format"),
        cache=cache,
        extras=tool.rest() if custom is tool else (*tool.rest(), *custom.rest("custom.")),
    )


def decode_tool_choice(body: Fields) -> tuple[ToolChoice | None, list[Extra]]:
    """Return ``tool_choice``, else the legacy ``function_call``.

    A choice that is not known comes back as an extra of class ``refuse``. Raises Refused.
    """
    value, legacy = body.any("tool_choice"), body.any("function_call")
    if value is None and legacy is not None:
        return _legacy_choice(body, legacy)
    kept = [] if legacy is None else [body.extra("function_call", legacy, "drop")]
    if value is None:
        return None, kept
    if isinstance(value, str):
        if value not in _CHOICES:
            return None, [*kept, body.extra("tool_choice", value, "drop")]
        return ToolChoice(mode=_CHOICES[value], raw=value), kept  # type: ignore[arg-type]
    choice = Fields(value, body.at("tool_choice"), ORIGIN)
    said = choice.left.get("type")
    mode = _CHOICES.get(said) if isinstance(said, str) else None
    if mode is not None:
        return ToolChoice(mode=mode, raw=mode), kept  # type: ignore[arg-type]
    if said == "tool":
        return ToolChoice(mode="named", name=choice.need_text("name"), raw=value), kept
    kind = "function" if set(choice.left) == {"function"} else choice.need_text("type")
    if kind in ("function", "custom") and isinstance(choice.left.get("name"), str):
        name = choice.need_text("name")  # the form of the Responses format
        if kind == "custom":
            return ToolChoice(mode="named", name=name, kind="custom", raw=value), kept
        return ToolChoice(mode="named", name=name, raw=value), kept
    if kind == "function":
        name = choice.need_inside(kind).need_text("name")
        return ToolChoice(mode="named", name=name, raw=value), kept
    if kind == "custom":
        name = choice.need_inside(kind).need_text("name")
        return ToolChoice(mode="named", name=name, kind="custom", raw=value), kept
    if kind == "allowed_tools":
        return _allowed(choice.need_inside("allowed_tools"), value), kept
    return None, [*kept, body.extra("tool_choice", value, "drop")]


def _legacy_choice(body: Fields, value: Any) -> tuple[ToolChoice | None, list[Extra]]:
    if isinstance(value, str):
        if value not in ("auto", "none"):
            return None, [body.extra("function_call", value, "drop")]
        return ToolChoice(mode="auto" if value == "auto" else "none", raw=value), []
    name = Fields(value, body.at("function_call"), ORIGIN).need_text("name")
    return ToolChoice(mode="named", name=name, raw=value), []


def _allowed(allowed: Fields, raw: dict[str, Any]) -> ToolChoice:
    mode = allowed.text("mode")
    names = []
    for number, item in enumerate(allowed.items("tools") or ()):
        tool = Fields(item, f"{allowed.at('tools')}[{number}]", ORIGIN)
        kind = tool.text("type") or "function"
        held = tool.inside(kind)
        names.append(held.need_text("name") if held else tool.need_text("name"))
    required = mode == "required"
    return ToolChoice(mode="required" if required else "auto", allowed=tuple(names), raw=raw)
