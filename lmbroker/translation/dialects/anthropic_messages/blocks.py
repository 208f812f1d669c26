"""Content blocks of an answer <-> parts (translation.md 3.1 and 4.5)."""

from typing import Any

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.shared.signature import from_wire
from lmbroker.translation.unified.parts import (
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    TextPart,
    ToolCallPart,
)

_CITATION_KINDS: dict[str, Any] = {
    "web_search_result_location": "url",
    "char_location": "char",
    "page_location": "page",
    "content_block_location": "block",
    "search_result_location": "search_result",
}


def decode_block(block: Any) -> Part | None:
    """Return the part of a whole block, None for what is no block at all.

    Only Anthropic understands blocks of types that are not listed here: they stay as they are, as
    does a call without a name.
    """
    if not isinstance(block, dict) or not isinstance(block.get("type"), str):
        return None
    kind = block["type"]
    if kind == "text":
        text, cited = text_at(block, "text"), block.get("citations")
        if not cited or not isinstance(cited, list):
            return TextPart(text=text)
        citations = tuple(decode_citation(c) for c in cited if isinstance(c, dict))
        return TextPart(text=text, citations=citations)
    if kind == "thinking":
        signature = text_at(block, "signature")
        return ReasoningPart(
            text=text_at(block, "thinking"),
            signature=from_wire(signature) if signature else None,
        )
    if kind == "redacted_thinking":
        return ReasoningPart(redacted=text_at(block, "data"))
    if kind == "tool_use" and text_at(block, "name"):
        args, raw = block.get("input"), None
        if args is not None and not isinstance(args, dict):
            # Servers that only nearly speak the dialect send a text, or something else than an
            # object.
            raw = args if isinstance(args, str) else json_text.encode(args).decode()
            args = json_text.arguments(raw)
            raw = raw if args is None else None
        return ToolCallPart(
            id=text_at(block, "id"),
            name=text_at(block, "name"),
            args={} if args is None and raw is None else args,
            raw_args=raw,
        )
    return OpaquePart(origin="anthropic", type=kind, raw=block)


def decode_citation(citation: JSON) -> Citation:
    """Return the Unified Model of a citation.

    Its positions are positions in the source; they stay in ``raw``.
    """
    url, title = citation.get("url"), citation.get("title")
    cited = citation.get("cited_text")
    return Citation(
        kind=_CITATION_KINDS.get(str(citation.get("type")), "other"),
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        cited_text=cited if isinstance(cited, str) else None,
        origin="anthropic",
        raw=citation,
    )


def text_at(block: JSON, key: str) -> str:
    """Return the text under ``key``, "" where there is none."""
    value = block.get(key)
    return value if isinstance(value, str) else ""
