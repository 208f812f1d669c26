"""Reasoning items as a backend sends them (translation.md 4.6 and 8.3)."""

from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.shared.signature import compact
from lmbroker.translation.unified.parts import Signature

BETWEEN = "\n\n"
"""What stands between texts of reasoning that become one."""
ORIGIN = "responses"
"""The form of signature that is such an item."""


def summary_of(item: JSON) -> list[str]:
    """The texts of the summary that say something."""
    return _texts(item.get("summary"))


def content_of(item: JSON) -> list[str]:
    """The texts of the reasoning itself, which local servers and some models give."""
    return _texts(item.get("content"))


def signature_of(item: JSON, *, content: bool) -> Signature:
    """What brings the item back: its id, what its backend encrypted, and how its text was made:
    the lengths in code points of several texts, and whether it was ``content`` or summary."""
    held: JSON = {}
    id, encrypted = item.get("id"), item.get("encrypted_content")
    if id and isinstance(id, str):
        held["id"] = id
    if encrypted and isinstance(encrypted, str):
        held["enc"] = encrypted
    texts = content_of(item) if content else summary_of(item)
    if len(texts) > 1:
        held["n"] = [len(text) for text in texts]
    if content:
        held["c"] = 1
    return Signature(origin=ORIGIN, value=compact(held))


def _texts(pieces: Any) -> list[str]:
    if isinstance(pieces, str):
        pieces = [pieces]
    texts = []
    for piece in pieces if isinstance(pieces, list) else ():
        text = piece.get("text") if isinstance(piece, dict) else piece
        if text and isinstance(text, str):
            texts.append(text)
    return texts
