"""Custom tools: their input is free text where a function's is JSON.

Other dialects carry it as an object with the one key ``input`` (translation.md 2.5).
"""

from lmbroker import json_text
from lmbroker.translation.unified.parts import ToolCallPart


def custom_input(part: ToolCallPart, text: str) -> str:
    """Return the input of ``part``, whose arguments came as ``text`` ("" where none came)."""
    if part.kind == "custom":
        return text
    args = json_text.arguments(text) if text else part.args
    value = (args or {}).get("input")
    if isinstance(value, str):
        return value
    return text or (json_text.encode(args).decode() if args else "")
