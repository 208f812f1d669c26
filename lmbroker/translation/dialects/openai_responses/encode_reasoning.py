"""Past reasoning -> reasoning items (translation.md 4.6, 8.1)."""

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_responses.reasoning_items import (
    ORIGIN,
    is_content,
    own_item,
    texts_of,
)
from lmbroker.translation.unified.parts import ReasoningPart


def reasoning_item(part: ReasoningPart) -> JSON | None:
    """Return the reasoning item from which ``part`` was decoded.

    It is None for reasoning of another form, and for an item that holds nothing.
    """
    signature = part.signature
    if signature is None or signature.origin != ORIGIN or part.redacted is not None:
        return None
    item = whole_item(part)
    return item if part.text or item.get("encrypted_content") else None


def whole_item(part: ReasoningPart) -> JSON:
    """Return the reasoning item from which ``part`` was decoded, even an empty one."""
    held = own_item(part.signature)
    item: JSON = {"type": "reasoning"}
    if isinstance(held.get("id"), str):
        item["id"] = held["id"]
    texts = texts_of(part.text, part.signature)
    content = is_content(part.signature)
    item["summary"] = [] if content else [{"type": "summary_text", "text": t} for t in texts]
    if content:
        item["content"] = [{"type": "reasoning_text", "text": text} for text in texts]
    if isinstance(held.get("enc"), str):
        item["encrypted_content"] = held["enc"]
    return item
