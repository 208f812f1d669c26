"""Items that only the vendor understands: it ran, stores or encrypted what they are about.

See translation.md 8.1.
"""

from typing import Any

from lmbroker.translation.dialects.openai_responses.decode_content import ORIGIN
from lmbroker.translation.shared.left_out import UNKNOWN_PART, left_out
from lmbroker.translation.unified.parts import OpaquePart

KEPT_NOWHERE = "only its id was sent, and this broker keeps no responses"

_NOTHING = (
    "web_search_call",
    "mcp_list_tools",
    "mcp_approval_request",
    "mcp_approval_response",
    "program",
    "tool_search_call",
    "tool_search_output",
)
"""Items that another vendor's model does not need, or gets elsewhere."""

OF_CLIENT = frozenset(("compaction", "mcp_approval_response"))
"""Items that are no part of an answer."""

OPAQUE = frozenset(
    (
        *_NOTHING,
        *OF_CLIENT,
        "item_reference",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "program_output",
    )
)
"""The types of these items."""


def opaque(kind: str, raw: dict[str, Any]) -> OpaquePart:
    """Return the opaque part of an item of type ``kind``."""
    return OpaquePart(origin=ORIGIN, type=kind, raw=raw, text=_text(kind, raw))


def _text(kind: str, raw: dict[str, Any]) -> str | None:
    """Return the text that another vendor's model gets for the item.

    "" means that it needs none, None that nothing of the item is readable.
    """
    if kind in _NOTHING:
        return ""
    if kind == "item_reference":
        return left_out("earlier message", KEPT_NOWHERE)
    if kind == "file_search_call":
        return _result("file_search", _found(raw.get("results")))
    if kind == "code_interpreter_call":
        return _result("code_interpreter", _logs(raw.get("outputs")))
    if kind == "mcp_call":
        return _result("mcp", [raw.get("output")])
    if kind == "program_output":
        return _result("program", [raw.get("result")])
    if kind in OPAQUE:
        return left_out(kind, UNKNOWN_PART)
    return None


def _result(name: str, lines: list[Any]) -> str:
    body = "\n".join(line for line in lines if isinstance(line, str) and line)
    return f"[{name} result] {body}" if body else ""


def _found(results: Any) -> list[Any]:
    return [line for each in _objects(results) for line in (each.get("filename"), each.get("text"))]


def _logs(outputs: Any) -> list[Any]:
    return [each.get("logs") for each in _objects(outputs)]


def _objects(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
