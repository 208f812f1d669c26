"""Reasoning items of a request -> reasoning parts (translation.md 4.6 and 8.1)."""

from typing import Any

from lmbroker.translation.dialects.openai_responses.decode_content import ORIGIN
from lmbroker.translation.dialects.openai_responses.reasoning_items import BETWEEN, signed
from lmbroker.translation.shared.fields import Fields, wrong_type
from lmbroker.translation.shared.signature import PREFIX, from_wire, unseal
from lmbroker.translation.unified.parts import ReasoningPart


def decode_reasoning(item: Fields, raw: dict[str, Any]) -> ReasoningPart:
    """Return the part of a reasoning item. Raises Refused.

    An item of another vendor has a token of ours in the place of the encrypted content, and becomes
    what it was at that vendor.
    """
    sealed = item.text("encrypted_content")
    id, status = item.text("id"), item.any("status")
    summary, content = item.items("summary"), item.items("content")
    texts = _texts(summary, item.at("summary"))
    as_content = not texts and bool(content)
    if as_content:
        texts = _texts(content, item.at("content"))
    text = BETWEEN.join(texts)
    if sealed is not None and sealed.startswith(PREFIX):
        whole = item.extra("item", raw, "none")
        kind = unseal(sealed) or {}
        hidden = kind.get("t")
        if not text and isinstance(hidden, str):
            text = hidden
        if kind.get("k") == "ar" and isinstance(kind.get("d"), str):
            return ReasoningPart(redacted=kind["d"], extras=(whole, *item.rest()))
        return ReasoningPart(text=text, signature=from_wire(sealed), extras=(whole, *item.rest()))
    extras = []
    if status is not None:
        extras.append(item.extra("status", status, "none"))
    if not as_content and content is not None:
        extras.append(item.extra("content", content, "none"))
    plain = _are_only(summary, "summary_text")
    if not plain or (as_content and not _are_only(content, "reasoning_text")):
        extras.append(item.extra("item", raw, "none"))
    return ReasoningPart(
        text=text,
        signature=signed(id, sealed, texts, content=as_content),
        extras=(*extras, *item.rest()),
    )


def _texts(pieces: list[Any] | None, path: str) -> list[str]:
    texts = []
    for number, piece in enumerate(pieces or ()):
        held = Fields(piece, f"{path}[{number}]", ORIGIN)
        if "text" not in held.left:
            raise wrong_type(f"{path}[{number}]", "an object with a text", piece)
        texts.append(held.need_text("text"))
    return texts


def _are_only(pieces: list[Any] | None, kind: str) -> bool:
    """Return whether ``pieces`` are texts of the type ``kind`` only."""
    return all(piece.keys() == {"type", "text"} and piece["type"] == kind for piece in pieces or ())
