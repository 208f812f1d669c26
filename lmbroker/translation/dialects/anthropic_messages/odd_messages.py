"""Repairs earlier messages of a Messages request that break its format (translation.md 2.3).

``shared.odd_messages`` says what becomes of them.
"""

from collections.abc import Callable
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.shared.left_out import NO_CALL
from lmbroker.translation.shared.odd_messages import Mended, Mending, written

ROLES = ("user", "assistant", "system")


def mended(message: Mending, read: Callable[[Any, str, str], Any]) -> Mended:
    """Return ``message`` repaired, so that it can be read.

    ``read`` reads a block (its path, the role of its message).
    """
    role = message.role((*ROLES, "tool", "developer"))
    if role == "tool" and not isinstance(message.held.get("tool_call_id"), str):
        words = message.held.get("content")
        message.held["role"] = role = "user"
        message.report_inside("role", "change")
        if isinstance(words, str):
            message.held["content"] = f"{NO_CALL}\n{words}"
    message.kind("output_config", dict)
    message.kind("tool_calls", list)
    place = "result" if role == "tool" else "system" if role == "developer" else role
    message.content(lambda block, path: read(block, path, place), _block)
    return message.fields()


def _block(block: JSON) -> list[JSON]:
    """Return the possible meanings of a block that cannot be read as it is."""
    kept = {key: value for key, value in block.items() if value is not None}
    if not isinstance(kept.get("cache_control", {}), dict):
        del kept["cache_control"]
    kind = kept.get("type")
    if kind == "tool_use":
        given = kept.get("input")
        name = kept.get("name")
        kept["name"] = name if isinstance(name, str) and name else "unknown"
        kept["id"] = _id(kept.get("id"))
        kept["input"] = given if isinstance(given, dict | str | None) else written(given)
        return [kept]
    if kind == "tool_result":
        result = _result(kept)
        texts = [piece.get("text") for piece in _pieces(result.get("content"))]
        said = [NO_CALL, *(text for text in texts if isinstance(text, str))]
        return [result, {"type": "text", "text": "\n".join(said)}]
    source = kept.get("source")
    if kind == "document" and isinstance(source, dict) and source.get("type") == "text":
        return [{**kept, "source": {"media_type": "text/plain", **source}}]
    return [kept]


def _pieces(content: Any) -> list[JSON]:
    return content if isinstance(content, list) else [{"text": content}]


def _id(id: Any) -> str:
    return str(id) if isinstance(id, str | int) else ""


def _result(result: JSON) -> JSON:
    content = result.get("content")
    if isinstance(content, list):
        pieces = [
            {"type": "text", "text": piece} if isinstance(piece, str) else piece
            for piece in content
            if piece is not None
        ]
        result["content"] = [piece for piece in pieces if _may_stand_in_result(piece)]
    elif content is not None:
        result["content"] = written(content)
    if not isinstance(result.get("is_error", False), bool):
        del result["is_error"]
    return {**result, "tool_use_id": _id(result.get("tool_use_id"))}


def _may_stand_in_result(piece: Any) -> bool:
    return isinstance(piece, dict) and piece.get("type") not in (
        "tool_use",
        "tool_result",
        "thinking",
        "redacted_thinking",
        None,
    )
