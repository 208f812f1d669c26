"""Tools and tool choice of a Responses request (translation.md 8.1 and 2.5)."""

from typing import Any, Literal

import msgspec

from lmbroker.translation.dialects.openai.request_fields import call_kept
from lmbroker.translation.dialects.openai_responses.decode_calls import TOOL_SEARCH
from lmbroker.translation.dialects.openai_responses.decode_content import ORIGIN
from lmbroker.translation.shared.fields import Fields, missing, once
from lmbroker.translation.shared.web_searches import asked_of
from lmbroker.translation.unified.parts import Extra, joined_name, own_name
from lmbroker.translation.unified.request import Namespace, Tool, ToolChoice

Standing = Literal["offered", "inline"]

_CHOICES = {"auto": "auto", "none": "none", "required": "required", "any": "required"}
_SEARCH = "web_search"


def decode_tools(items: list[Any]) -> tuple[Tool, ...]:
    """Return the tools of the ``tools`` array, those of a namespace one after the other.

    A tool of an unknown type is one that the provider runs: it goes back to this dialect only.
    Raises Refused.
    """
    return tuple(
        tool for number, item in once(items) for tool in decode_tool(item, f"tools[{number}]")
    )


def decode_tool(item: Any, path: str, standing: Standing = "offered") -> list[Tool]:
    """Return the tool at ``path``, or the tools of the namespace at ``path``. Raises Refused."""
    tool = Fields(item, path, ORIGIN)
    if tool.left.get("type") == "namespace" and isinstance(tool.left.get("tools"), list):
        return _namespace(tool, item, standing)
    return [_tool(tool, item, standing)]


def _namespace(held: Fields, raw: dict[str, Any], standing: Standing) -> list[Tool]:
    name, description = held.need_text("name"), held.text("description")
    held.any("type")
    inner = held.items("tools") or []
    if not inner:
        return [Tool(kind="server", name=name, raw=raw, standing=standing, optional=True)]
    namespace = Namespace(name=name, description=description)
    own = {key: value for key, value in raw.items() if key not in ("type", "name", "tools")}
    first = (held.extra("namespace", own, "none"), *held.rest())
    tools = []
    for number, item in enumerate(inner):
        tool = _tool(Fields(item, f"{held.at('tools')}[{number}]", ORIGIN), item, standing)
        extras = tool.extras if number else (*first, *tool.extras)
        joined = joined_name(name, tool.name)
        tools.append(msgspec.structs.replace(tool, name=joined, namespace=namespace, extras=extras))
    return tools


def _tool(tool: Fields, raw: dict[str, Any], standing: Standing) -> Tool:
    kind = tool.text("type")
    whole = tool.extra("tool", raw, "none")
    if isinstance(tool.left.get("input_schema"), dict) and kind in (None, "custom", "function"):
        schema = tool.mapping("input_schema")
        return _function(tool, tool, standing, schema, (whole,))
    if kind in ("function", None) and isinstance(tool.left.get("function"), dict):
        held = tool.need_inside("function")
        return _function(held, tool, standing, held.mapping("parameters"), (whole,))
    if kind == "function":
        return _function(tool, tool, standing, tool.mapping("parameters"), ())
    if kind == "custom":
        nested = isinstance(tool.left.get("custom"), dict)
        held = tool.need_inside("custom") if nested else tool
        return _custom(held, tool, standing, (whole,) if nested else ())
    if kind is None:
        raise missing(tool.at("type"))
    if kind == TOOL_SEARCH and tool.left.get("execution") == "client":
        return Tool(
            kind="function",
            name=TOOL_SEARCH,
            description=tool.text("description"),
            schema=tool.mapping("parameters"),
            standing=standing,
            extras=(whole,),
        )
    return Tool(
        kind="server",
        name=tool.text("name") or tool.text("server_label") or kind,
        raw=raw,
        standing=standing,
        optional=kind == TOOL_SEARCH,
        search=asked_of(raw) if kind.startswith(_SEARCH) else None,
    )


def _function(
    held: Fields,
    tool: Fields,
    standing: Standing,
    schema: dict[str, Any] | None,
    extras: tuple[Extra, ...],
) -> Tool:
    """Return the function that ``held`` describes, which is ``tool`` itself or stands in it."""
    deferred, kept = _deferred(tool)
    output = tool.any("output_schema")
    if output is not None:
        kept.append(tool.extra("output_schema", output, "drop"))
    return Tool(
        kind="function",
        name=held.need_text("name"),
        description=held.text("description"),
        schema=schema,
        strict=held.boolean("strict"),
        deferred=deferred,
        standing=standing,
        extras=(*extras, *kept, *tool.rest(), *held.rest()),
    )


def _custom(held: Fields, tool: Fields, standing: Standing, extras: tuple[Extra, ...]) -> Tool:
    deferred, kept = _deferred(tool)
    said = held.mapping("format")
    if said is not None:
        kept.append(tool.extra("format", said, "none"))
    return Tool(
        kind="custom",
        name=held.need_text("name"),
        description=held.text("description"),
        grammar=_grammar(said),
        deferred=deferred,
        standing=standing,
        extras=(*extras, *kept, *tool.rest(), *held.rest()),
    )


def _grammar(said: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return the format of a custom tool's input, with its grammar in an object of its own."""
    if said is None or said.get("type") != "grammar" or "grammar" in said:
        return said
    held = {key: value for key, value in said.items() if key != "type"}
    return {"type": "grammar", "grammar": held}


def _deferred(tool: Fields) -> tuple[bool, list[Extra]]:
    deferred, kept = tool.boolean("defer_loading"), call_kept(tool)
    if deferred is False:
        kept.append(tool.extra("defer_loading", False, "none"))
    return bool(deferred), kept


def decode_tool_choice(
    fields: Fields, tools: tuple[Tool, ...]
) -> tuple[ToolChoice | None, list[Extra]]:
    """Return the tool choice and extras, among them one for an unknown choice. Raises Refused."""
    value = fields.any("tool_choice")
    if value is None:
        return None, []
    unknown = [fields.extra("tool_choice", value, "drop")]
    if isinstance(value, str):
        if value not in _CHOICES:
            return None, unknown
        return ToolChoice(mode=_CHOICES[value], raw=value), []  # type: ignore[arg-type]
    choice = Fields(value, fields.at("tool_choice"), ORIGIN)
    kind = choice.text("type")
    mode = _CHOICES.get(kind or "")
    if mode is not None:
        return ToolChoice(mode=mode, raw=value), []  # type: ignore[arg-type]
    names = _Names(tools)
    held = choice.left.get(kind or "function")
    inside = choice if not isinstance(held, dict) else choice.need_inside(kind or "function")
    if kind == "allowed_tools":
        required = inside.text("mode") == "required"
        listed = inside.items("tools") or []
        allowed = [
            name
            for number, each in enumerate(listed)
            for name in names.of(Fields(each, f"{inside.at('tools')}[{number}]", ORIGIN))
        ]
        mode = "required" if required else "auto"
        return ToolChoice(mode=mode, allowed=tuple(allowed), raw=value), []  # type: ignore[arg-type]
    if kind in (None, "function", "custom", "tool"):
        name = names.known(inside.need_text("name"), inside.text("namespace"))
        custom = kind == "custom"
        return ToolChoice(
            mode="named", name=name, kind="custom" if custom else "function", raw=value
        ), []
    offered = names.of(choice, kind)
    if not offered:
        return None, unknown
    return ToolChoice(mode="named", name=offered[0], raw=value), []


class _Names:
    """Finds the tools of a request to which a choice refers."""

    def __init__(self, tools: tuple[Tool, ...]) -> None:
        self._names = {tool.name for tool in tools}
        self._own: dict[str, list[str]] = {}
        self._groups: dict[str, list[str]] = {}
        self._run: dict[str, list[str]] = {}
        """The tools that the provider runs, by their kind."""
        for tool in tools:
            raw = tool.raw or {}
            if tool.kind == "server" and isinstance(raw.get("type"), str):
                self._run.setdefault(_kind_of(raw["type"]), []).append(tool.name)
            if tool.namespace is not None:
                space = tool.namespace.name
                self._own.setdefault(own_name(space, tool.name), []).append(tool.name)
                self._groups.setdefault(space, []).append(tool.name)

    def known(self, name: str, namespace: str | None) -> str:
        """Return the full name of the tool ``name`` in ``namespace``.

        Where ``namespace`` is None, it may be in any that has a tool of that name.
        """
        if namespace is not None:
            return joined_name(namespace, name)
        found = self._own.get(name, [])
        return found[0] if name not in self._names and len(found) == 1 else name

    def of(self, said: Fields, kind: str | None = None) -> list[str]:
        """Return the names of the tools to which ``said``, a reference of type ``kind``, refers."""
        kind = kind or said.text("type") or "function"
        name, inner = said.left.get("name"), said.left.get(kind)
        if isinstance(inner, dict) and isinstance(inner.get("name"), str):
            name = inner["name"]
        if kind in ("function", "custom"):
            if not isinstance(name, str):
                raise missing(said.at("name"))
            return [self.known(name, said.text("namespace"))]
        if kind == "namespace":
            return self._groups.pop(name, []) if isinstance(name, str) else []
        label = said.left.get("server_label")
        if label is None:
            return self._run.pop(_kind_of(kind), [])
        return [label] if isinstance(label, str) and label in self._names else []


def _kind_of(type: str) -> str:
    """Return the type of a tool that the provider runs, without date and variant."""
    return next((kind for kind in (_SEARCH, "computer") if type.startswith(kind)), type)


def as_chosen(tools: tuple[Tool, ...], choice: ToolChoice | None) -> tuple[Tool, ...]:
    """Return ``tools``, where those that the provider runs are optional unless they must be called.

    Clients declare a web search in each request, and the choice may rule it out.
    """
    if all(tool.kind != "server" for tool in tools):
        return tools
    named = choice.name if choice is not None and choice.mode == "named" else None
    never = choice is not None and choice.mode == "none"
    allowed = None if choice is None or choice.allowed is None else frozenset(choice.allowed)
    alone = all(tool.kind == "server" for tool in tools)
    out = []
    for tool in tools:
        if tool.kind == "server" and not tool.optional:
            ruled_out = never or (allowed is not None and tool.name not in allowed)
            ruled_out = ruled_out or (named is not None and tool.name != named)
            spare = tool.search is not None and not alone and tool.name != named
            tool = msgspec.structs.replace(tool, optional=ruled_out or spare)
        out.append(tool)
    return tuple(out)
