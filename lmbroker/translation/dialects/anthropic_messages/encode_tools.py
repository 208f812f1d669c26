"""Tools and tool choice -> Anthropic's (translation.md 2.5)."""

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.anthropic_messages.encode_blocks import Blocks
from lmbroker.translation.shared import custom_tools
from lmbroker.translation.shared.instructions import must_call
from lmbroker.translation.shared.names import wire_name
from lmbroker.translation.shared.namespaces import introduced
from lmbroker.translation.shared.schemas import MAX_OPTIONAL, MAX_UNIONS, Subset, anthropic_subset
from lmbroker.translation.shared.tool_schemas import completed_tool
from lmbroker.translation.unified.request import Tool, ToolChoice, WebSearch

MAX_STRICT = 20
"""The maximum of strict tools in one request (vendor documentation)."""

WEB_SEARCH = "web_search_20250305"


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    """What the backend gets for the client's tool choice.

    ``instruction`` stands in for a choice that the model does not take; ``forced``: the model must
    call a tool.
    """

    wire: JSON | None = None
    forced: bool = False
    instruction: str = ""


def encode_tools(blocks: Blocks) -> list[JSON]:
    """Return the objects of the tools; where the choice allows only some, only of those."""
    request, choice = blocks.request, blocks.request.tool_choice
    named = None if choice is None or blocks.native else choice.allowed
    allowed = None if named is None else frozenset(named)
    tools = [
        (place, tool)
        for place, tool in enumerate(request.tools)
        if (allowed is None or tool.name in allowed) and _is_sent(blocks, tool)
    ]
    if not blocks.native:
        named_tools = introduced([tool for _, tool in tools])
        tools = [(place, tool) for (place, _), tool in zip(tools, named_tools, strict=True)]
    strict = {} if blocks.native else _strict(blocks, [tool for _, tool in tools])
    written = (_tool(blocks, tool, place, strict) for place, tool in tools)
    return [tool for tool in written if tool is not None]


def _is_sent(blocks: Blocks, tool: Tool) -> bool:
    """Return whether ``tool`` goes into ``tools``, and not into the message that defines it."""
    return tool.standing == "offered" or (tool.standing == "inline") != blocks.native


def _strict(blocks: Blocks, tools: list[Tool]) -> dict[int, Subset]:
    """Return the schemas of the tools that stay strict, by the identity of the tool.

    The limits hold for a whole request: beyond them no tool is strict, so that an added tool does
    not make others strict or not.
    """
    wanted = [tool for tool in tools if tool.strict and tool.kind == "function"]
    if not wanted:
        return {}
    found = {}
    if blocks.profile.strict_tools and len(wanted) <= MAX_STRICT:
        for tool in wanted:
            schema = anthropic_subset(_schema(blocks, tool)[0])
            if schema.schema is not None:
                found[id(tool)] = schema
    if sum(each.optional for each in found.values()) > MAX_OPTIONAL:
        found = {}
    if sum(each.unions for each in found.values()) > MAX_UNIONS:
        found = {}
    if len(found) < len(wanted):
        blocks.drop("strict")
    return found


def _tool(blocks: Blocks, tool: Tool, place: int, strict: dict[int, Subset]) -> JSON | None:
    if tool.kind == "server":
        if blocks.native and tool.raw is not None:
            return tool.raw
        if tool.search is not None and blocks.profile.server_tools:
            return encode_web_search(blocks, tool.search, "tools[]")
        if tool.optional:
            blocks.losses.drop("tools[].type")
            return None
        reason = "the provider would have to run this tool"
        blocks.losses.refuse(f"tools[{place}]", reason, soft=True)
        return None
    wire: JSON = {"name": tool.name if blocks.native else wire_name(tool.name)}
    description = tool.description
    schema: JSON
    if tool.kind == "custom":
        if custom_tools.has_grammar(tool):
            blocks.change("grammar")
        function = custom_tools.as_function(tool)
        schema, description = custom_tools.SCHEMA, function.description
    elif blocks.native:
        schema = tool.schema if tool.schema is not None else {"type": "object"}
    else:
        schema, merged = _schema(blocks, tool)
        narrowed = strict.get(id(tool))
        if narrowed is not None and narrowed.schema is not None:
            schema = narrowed.schema
        if merged or (narrowed is not None and narrowed.moved):
            blocks.change("tool")
    if description is not None:
        wire["description"] = description
    wire["input_schema"] = schema
    if id(tool) in strict or (blocks.native and tool.strict is not None):
        wire["strict"] = tool.strict
    if tool.deferred and blocks.native:
        wire["defer_loading"] = True
    elif tool.deferred:
        # No search would find it: the vendor's search is a tool of its own.
        blocks.change("deferred")
    if tool.cache is not None:
        blocks.mark(wire, tool.cache)
    if tool.extras:
        blocks.extras(wire, tool.extras)
    return wire


def _schema(blocks: Blocks, tool: Tool) -> tuple[JSON, bool]:
    return completed_tool(tool.schema, blocks.profile.omit_schema_keywords, filled=False)


def encode_choice(blocks: Blocks, tools: list[JSON]) -> Choice:
    """Return the choice among ``tools``, an empty one where there are none."""
    request, profile = blocks.request, blocks.profile
    choice = request.tool_choice
    if blocks.native:
        return _native_choice(blocks)
    if not tools:
        return Choice()
    one_at_a_time = request.parallel_tools is False
    wire: JSON | None = None
    instruction = ""
    if choice is not None and choice.mode == "named" and _left_alone(blocks, choice, tools):
        blocks.drop("tool_choice")
        choice = None
    forced = choice is not None and choice.mode in ("required", "named")
    taken = profile.forced_tools and (profile.forced_tools_with_reasoning or not _thinks(blocks))
    if choice is not None and forced and not taken:
        if profile.forced_tools_fallback == "refuse":
            blocks.refuse("tool_choice", "the model cannot be made to call a tool")
        blocks.change("tool_choice")
        instruction = must_call(wire_name(choice.name) if choice.name is not None else None)
        forced, wire = False, {"type": "auto"}
    elif choice is not None and choice.mode == "named":
        wire = {"type": "tool", "name": wire_name(choice.name or "")}
    elif choice is not None:
        kinds = {"auto": "auto", "none": "none", "required": "any"}
        wire = {"type": kinds[choice.mode]}
    elif one_at_a_time:
        wire = {"type": "auto"}
    if wire is not None and one_at_a_time and wire["type"] != "none":
        wire["disable_parallel_tool_use"] = True
    return Choice(wire=wire, forced=forced, instruction=instruction)


def _thinks(blocks: Blocks) -> bool:
    """Return whether the client wants the model to reason."""
    asked = blocks.request.reasoning
    if asked is None or not blocks.profile.thinking_types:
        return False
    return asked.mode not in (None, "off") or asked.effort not in (None, "none")


def _left_alone(blocks: Blocks, choice: ToolChoice, tools: list[JSON]) -> bool:
    """Return whether the chosen tool is one of those that were left out."""
    name = choice.name or ""
    if not any(tool.name == name for tool in blocks.request.tools):
        return False
    return all(tool["name"] != wire_name(name) for tool in tools)


def _native_choice(blocks: Blocks) -> Choice:
    choice, parallel = blocks.request.tool_choice, blocks.request.parallel_tools
    if choice is None:
        return Choice()
    if isinstance(choice.raw, dict):
        return Choice(wire=choice.raw)
    kinds = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}
    wire: JSON = {"type": kinds[choice.mode]}
    if choice.mode == "named":
        wire["name"] = choice.name
    if parallel is not None:
        wire["disable_parallel_tool_use"] = not parallel
    return Choice(wire=wire)


def encode_web_search(blocks: Blocks, search: WebSearch, place: str) -> JSON:
    """Return Anthropic's tool for a web search of another vendor, which stood at ``place``."""
    if search.context_size is not None:
        blocks.losses.drop(f"{place}.search_context_size")
    wire: JSON = {"type": WEB_SEARCH, "name": "web_search"}
    if search.location is not None:
        wire["user_location"] = {"type": "approximate", **search.location}
    if search.allowed_domains:
        wire["allowed_domains"] = list(search.allowed_domains)
    elif search.blocked_domains:
        wire["blocked_domains"] = list(search.blocked_domains)
    if search.max_uses is not None:
        wire["max_uses"] = search.max_uses
    return wire
