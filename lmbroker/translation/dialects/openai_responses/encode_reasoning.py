"""Past reasoning -> reasoning items (translation.md 4.6, 8.1)."""

from typing import Any

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.unified.parts import ReasoningPart

ORIGIN = "responses"
"""The form of reasoning that is such an item."""

BETWEEN = "\n\n"
"""What stands between texts of reasoning that became one."""


def reasoning_item(part: ReasoningPart) -> JSON | None:
    """The item that ``part`` came in, as its backend wrote it; None for reasoning of another form,
    and for an item that holds nothing."""
    signature = part.signature
    if signature is None or signature.origin != ORIGIN or part.redacted is not None:
        return None
    try:
        held = json_text.decode(signature.value) if signature.value else {}
    except ValueError:
        return None
    if not isinstance(held, dict):
        return None
    encrypted = held.get("enc")
    if not part.text and not isinstance(encrypted, str):
        return None
    item: JSON = {"type": "reasoning"}
    if isinstance(held.get("id"), str):
        item["id"] = held["id"]
    texts = _texts(part.text, held.get("n"))
    content = bool(held.get("c"))
    item["summary"] = [] if content else [{"type": "summary_text", "text": t} for t in texts]
    if content:
        item["content"] = [{"type": "reasoning_text", "text": text} for text in texts]
    if isinstance(encrypted, str):
        item["encrypted_content"] = encrypted
    return item


def _texts(text: str, lengths: Any) -> list[str]:
    """The texts that became ``text``, by their lengths in code points; that itself where they do
    not fit."""
    if not text:
        return []
    if not isinstance(lengths, list) or not all(type(length) is int for length in lengths):
        return [text]
    texts, start = [], 0
    for length in lengths:
        texts.append(text[start : start + max(0, length)])
        start += len(texts[-1]) + len(BETWEEN)
    return texts if BETWEEN.join(texts) == text else [text]
