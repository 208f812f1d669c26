"""Tools that take free text, for backends that have only functions (translation.md 2.5).

Such a tool is a function of one text, ``input``.
"""

from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.unified.parts import ToolCallPart
from lmbroker.translation.unified.request import Tool

SCHEMA: JSON = {
    "type": "object",
    "properties": {"input": {"type": "string"}},
    "required": ["input"],
}
"""The schema of such a function's arguments."""


def has_grammar(tool: Tool) -> bool:
    """Return whether the text that ``tool`` takes must follow a grammar.

    No function can demand that.
    """
    return isinstance(tool.grammar, dict) and tool.grammar.get("type") not in (None, "text")


def as_function(tool: Tool) -> Tool:
    """Return a custom tool as a function; its description explains its grammar."""
    return msgspec.structs.replace(
        tool, kind="function", schema=SCHEMA, description=_description(tool), grammar=None
    )


def _description(tool: Tool) -> str | None:
    if not has_grammar(tool):
        return tool.description
    held: Any = tool.grammar
    grammar = held.get("grammar")
    text = grammar.get("definition") if isinstance(grammar, dict) else None
    syntax = grammar.get("syntax") if isinstance(grammar, dict) else None
    if not isinstance(text, str):
        text = json_text.encode(held).decode()
    line = f"The input must follow this {syntax or 'given'} grammar:\n{text}"
    return f"{tool.description}\n\n{line}" if tool.description else line


def as_function_call(part: ToolCallPart) -> ToolCallPart:
    """Return the call of a custom tool as the call of the function that stands in for it."""
    args = {"input": part.raw_args or ""}
    return msgspec.structs.replace(part, kind="function", args=args, raw_args=None)
