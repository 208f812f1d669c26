"""Calls of functions, whose arguments are JSON as text (translation.md 0.6)."""

from typing import Any

from lmbroker.json_text import arguments, encode
from lmbroker.translation.unified.parts import ToolCallPart


def function_call(id: str, name: str, text: str) -> ToolCallPart:
    """Return a call of a whole answer, with its arguments parsed from ``text``."""
    if not text or text.isspace():
        return ToolCallPart(id=id, name=name, args={})
    found = arguments(text)
    if found is not None and not text.lstrip().startswith("{"):
        return ToolCallPart(id=id, name=name, args=found)  # null, or an object inside a JSON string
    return ToolCallPart(id=id, name=name, args=found, raw_args=text)


def text_of(value: Any) -> str:
    """Return arguments as text, although a server may send an object; "" where there are none."""
    if isinstance(value, str):
        return value
    return "" if value is None else encode(value).decode()
