"""The readable text of blocks that only their own dialect understands (translation.md 2.4, 2.8).

Results of tools that a provider ran, search results and the like become text for another provider;
what is encrypted for their own vendor is left out.
"""

from typing import Any

from lmbroker.translation.shared.names import wire_name
from lmbroker.translation.unified.parts import OpaquePart

MAX_DEPTH = 20
"""The maximum depth to which a nested result is read."""

_RESULT = "_tool_result"
_TEXTS = ("text", "stdout", "stderr")
_HOLDERS = ("content", "source", "tool_references")


def readable(part: OpaquePart) -> str:
    """Return the text that stands in for ``part``, "" where nothing of it is readable."""
    kind, raw = part.type, part.raw
    if kind == "search_result":
        body = "\n".join(_lines(raw.get("content"), 0))
        return f"[{_text(raw, 'title')}]({_text(raw, 'source')})\n{body}"
    if kind == "tool_reference":
        return _available(raw) if _text(raw, "tool_name") else ""
    if kind.endswith(_RESULT):
        body = "\n".join(_lines(raw.get("content"), 0))
        return f"[{kind.removesuffix(_RESULT)} result] {body}".rstrip()
    return ""


def summary(part: OpaquePart) -> str:
    """Return the summary of the earlier conversation in a compaction block."""
    return "\n".join(_lines(part.raw.get("content"), 0))


def _lines(value: Any, depth: int) -> list[str]:
    if isinstance(value, str):
        return [value] if value else []
    if depth > MAX_DEPTH:
        return []
    if isinstance(value, list):
        return [line for each in value for line in _lines(each, depth + 1)]
    if not isinstance(value, dict):
        return []
    named = [_text(value, "title"), _text(value, "url")]
    lines = [" - ".join(name for name in named if name)]
    if _text(value, "error_code"):
        lines.append(f"error: {value['error_code']}")
    if _text(value, "tool_name"):
        lines.append(_available(value))
    if value.get("type") == "text":
        lines.append(_text(value, "data"))
    lines += [_text(value, key) for key in _TEXTS]
    for key in _HOLDERS:
        if value.get("type") != "base64":
            lines += _lines(value.get(key), depth + 1)
    return [line for line in lines if line]


def _available(reference: dict[str, Any]) -> str:
    """Return the line for a tool that a search found, under the name by which it is offered."""
    return f'Tool "{wire_name(_text(reference, "tool_name"))}" is available.'


def _text(held: dict[str, Any], key: str) -> str:
    value = held.get(key)
    return value if isinstance(value, str) else ""
