"""Reasoning items as a backend sends them (translation.md 4.6 and 8.3)."""

import json
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.shared.signature import compact
from lmbroker.translation.unified.parts import Signature

BETWEEN = "\n\n"
"""The separator of texts of reasoning that become one."""
ORIGIN = "responses"
"""``Signature.origin`` of such an item."""


def summary_of(item: JSON) -> list[str]:
    """Return the texts of the summary that are not empty."""
    return _texts(item.get("summary"))


def content_of(item: JSON) -> list[str]:
    """Return the texts of the reasoning itself, which local servers and some models give."""
    return _texts(item.get("content"))


def signature_of(item: JSON, *, content: bool) -> Signature:
    """Return the signature that brings a backend's item back.

    ``content``: its text is no summary.
    """
    texts = content_of(item) if content else summary_of(item)
    id, encrypted = item.get("id"), item.get("encrypted_content")
    return signed(
        id if id and isinstance(id, str) else None,
        encrypted if isinstance(encrypted, str) else None,
        texts,
        content=content,
    )


def signed(id: str | None, encrypted: str | None, texts: list[str], *, content: bool) -> Signature:
    """Return the signature that brings an item back.

    It holds the item's id, what its backend encrypted, the lengths in code points of several
    ``texts``, and whether they were ``content`` or a summary.
    """
    held: JSON = {}
    if id is not None:
        held["id"] = id
    if encrypted is not None:
        held["enc"] = encrypted
    if len(texts) > 1:
        held["n"] = [len(text) for text in texts]
    if content:
        held["c"] = 1
    return Signature(origin=ORIGIN, value=compact(held))


def own_item(signature: Signature | None) -> dict[str, Any]:
    """Return what a signature holds of an R backend's item, {} for reasoning of other backends.

    That is ``id``, ``enc``, ``n`` (lengths of its summaries) and ``c`` (its text is content).
    """
    if signature is None or signature.origin != ORIGIN or not signature.value:
        return {}
    held = json.loads(signature.value)
    return held if isinstance(held, dict) else {}


def is_content(signature: Signature | None) -> bool:
    """Return whether an R backend gave its reasoning as content and not as a summary."""
    return bool(own_item(signature).get("c"))


def lengths(signature: Signature | None) -> list[int]:
    """Return the lengths of an R backend's texts in code points, none where it gave one text."""
    held = own_item(signature).get("n")
    if not isinstance(held, list) or not all(type(each) is int and each > 0 for each in held):
        return []
    return held


def texts_of(text: str, signature: Signature | None) -> list[str]:
    """Return the texts that were joined to ``text`` with an empty line between them.

    It is ``text`` alone where there was one only.
    """
    if not text:
        return []
    texts, at = [], 0
    for length in lengths(signature):
        texts.append(text[at : at + length])
        at += length + len(BETWEEN)
    return texts if BETWEEN.join(texts) == text else [text]


def _texts(pieces: Any) -> list[str]:
    if isinstance(pieces, str):
        pieces = [pieces]
    texts = []
    for piece in pieces if isinstance(pieces, list) else ():
        text = piece.get("text") if isinstance(piece, dict) else piece
        if text and isinstance(text, str):
            texts.append(text)
    return texts
