"""Past reasoning -> reasoning items (translation.md 4.6, 8.1)."""

from typing import Any

from lmbroker import json_text
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_responses.reasoning_items import BETWEEN, ORIGIN
from lmbroker.translation.unified.parts import ReasoningPart


def reasoning_item(part: ReasoningPart) -> JSON | None:
    """The item that ``part`` came in, as its backend wrote it; None for reasoning of another form,
    and for an item that holds nothing."""
    signature = part.signature
    if signature is None or signature.origin != ORIGIN or part.redacted is not None:
        return None
    item = whole_item(part)
    return item if part.text or "encrypted_content" in item else None


def whole_item(part: ReasoningPart) -> JSON:
    """The item that ``part`` came in, whatever it holds."""
    held = _held(part)
    item: JSON = {"type": "reasoning"}
    if isinstance(held.get("id"), str):
        item["id"] = held["id"]
    texts = _texts(part.text, held.get("n"))
    content = bool(held.get("c"))
    item["summary"] = [] if content else [{"type": "summary_text", "text": t} for t in texts]
    if content:
        item["content"] = [{"type": "reasoning_text", "text": text} for text in texts]
    if isinstance(held.get("enc"), str):
        item["encrypted_content"] = held["enc"]
    return item


def _held(part: ReasoningPart) -> JSON:
    """What the signature of ``part`` holds, which clients may have changed."""
    try:
        held = json_text.decode(part.signature.value) if part.signature else None
    except ValueError:
        return {}
    return held if isinstance(held, dict) else {}


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
