"""Past reasoning in an assistant message (translation.md 4.6).

Three spellings are read, the first that is there: ``reasoning_details`` (OpenRouter's),
``thinking_blocks`` (LiteLLM's: Anthropic's own blocks), ``reasoning_content``/``reasoning``
(text only, signed by nobody).
"""

import re
from typing import Any

from lmbroker.translation.shared.fields import Fields, wrong_type
from lmbroker.translation.shared.signature import ANTHROPIC_FORMAT, PREFIX, compact, from_wire
from lmbroker.translation.unified.parts import Extra, ReasoningPart, Signature

REASONING_FIELDS = ("reasoning_details", "thinking_blocks", "reasoning_content", "reasoning")
"""Fields of a message that hold reasoning; the first one that is present counts."""

_FIELDS = frozenset(REASONING_FIELDS)
_AT = re.compile(r"(\d{1,9}):(\d{1,9})")


def decode_reasoning(message: Fields) -> tuple[list[ReasoningPart], list[Extra]]:
    """Return the reasoning before the text of a message, and the fields as they came."""
    if _FIELDS.isdisjoint(message.left):
        return [], []
    extras: list[Extra] = []
    details = message.items("reasoning_details")
    blocks = message.items("thinking_blocks")
    plain = {name: message.any(name) for name in ("reasoning_content", "reasoning")}
    spelled = {"reasoning_details": details, "thinking_blocks": blocks, **plain}
    for name, value in spelled.items():
        if value is not None:
            extras.append(message.extra(name, value, "none"))
    if details:
        parts = from_details(details, message.at("reasoning_details"))
        if parts:
            return parts, extras
    if blocks:
        return _from_blocks(blocks, message.at("thinking_blocks")), extras
    for name, value in plain.items():
        if value is not None and not isinstance(value, str):
            raise wrong_type(message.at(name), "a string", value)
        if value:
            return [ReasoningPart(text=value, signature=Signature(origin="text"))], extras
    return [], extras


def from_details(details: list[Any], path: str = "reasoning_details") -> list[ReasoningPart]:
    """Return the reasoning parts of a ``reasoning_details`` list.

    Pieces of one entry that a client kept as they streamed (same ``index``) are put together again.
    Entries that other vendors made are kept whole in a signature of origin ``details``.
    """
    parts = []
    for entry in _joined(details, path):
        kind, data = entry.get("type"), entry.get("data")
        text = entry.get("text") or entry.get("summary") or ""
        text = text if isinstance(text, str) else ""
        signed = entry.get("signature")
        signed = signed if isinstance(signed, str) else ""
        form = entry.get("format")
        anthropic = form in (ANTHROPIC_FORMAT, None)
        at = _place(entry.get("lmb_at"))
        if kind == "reasoning.encrypted" and isinstance(data, str) and form == ANTHROPIC_FORMAT:
            parts.append(ReasoningPart(redacted=data, at=at))
        elif kind == "reasoning.text" and signed.startswith(PREFIX):
            parts.append(ReasoningPart(text=text, signature=from_wire(signed), at=at))
        elif kind == "reasoning.text" and signed and anthropic:
            signature = Signature(origin="signable", value=signed)
            parts.append(ReasoningPart(text=text, signature=signature, at=at))
        elif kind == "reasoning.text" and not signed and anthropic:
            # Servers that only nearly speak Anthropic's dialect sign nothing.
            origin = "text" if form is None else "signable"
            parts.append(ReasoningPart(text=text, signature=Signature(origin=origin), at=at))
        else:
            signature = Signature(origin="details", value=compact([entry]))
            parts.append(ReasoningPart(text=text, signature=signature, at=at))
    return parts


def _joined(details: list[Any], path: str) -> list[dict[str, Any]]:
    whole: list[dict[str, Any]] = []
    pieces: dict[str, list[str]] = {}
    for number, entry in enumerate(details):
        if not isinstance(entry, dict):
            raise wrong_type(f"{path}[{number}]", "an object", entry)
        last = whole[-1] if whole else None
        if last is None or not _continues(last, entry):
            _join(last, pieces)
            pieces = {}
            whole.append(dict(entry))
            continue
        for key in ("text", "summary", "data"):
            if isinstance(entry.get(key), str):
                pieces.setdefault(key, []).append(entry[key])
        for key in ("signature", "format"):
            if entry.get(key) and not last.get(key):
                last[key] = entry[key]
    _join(whole[-1] if whole else None, pieces)
    return whole


def _join(entry: dict[str, Any] | None, pieces: dict[str, list[str]]) -> None:
    """Append the pieces that followed ``entry`` to its texts."""
    if entry is not None:
        for key, texts in pieces.items():
            before = entry.get(key)
            entry[key] = "".join([before if isinstance(before, str) else "", *texts])


def _continues(last: dict[str, Any], entry: dict[str, Any]) -> bool:
    return (
        entry.get("index") is not None
        and entry.get("index") == last.get("index")
        and entry.get("type") == last.get("type")
        and entry.get("type") in ("reasoning.text", "reasoning.summary")
        and not last.get("signature")
        and all(isinstance(last.get(key, ""), str | None) for key in ("text", "summary"))
    )


def _from_blocks(blocks: list[Any], path: str) -> list[ReasoningPart]:
    parts = []
    for number, value in enumerate(blocks):
        block = Fields(value, f"{path}[{number}]", "openai")
        kind = block.need_text("type")
        if kind == "redacted_thinking":
            parts.append(ReasoningPart(redacted=block.need_text("data")))
        elif kind == "thinking":
            text, signed = block.text("thinking") or "", block.text("signature")
            signature = from_wire(signed) if signed else Signature(origin="text")
            parts.append(ReasoningPart(text=text, signature=signature))
    return parts


def reasoning_chunk(chunk: Fields, raw: Any) -> ReasoningPart:
    """Return the reasoning in a piece of a message's content, as Mistral writes it."""
    held = chunk.any("thinking")
    pieces = held if isinstance(held, list) else [{"text": held}]
    texts = [piece.get("text") for piece in pieces if isinstance(piece, dict)]
    return ReasoningPart(
        text="".join(text for text in texts if isinstance(text, str)),
        signature=Signature(origin="text"),
        extras=(Extra(origin="openai", name="part", path=chunk.path, value=raw, loss="none"),),
    )


def _place(value: Any) -> tuple[int, int] | None:
    found = _AT.fullmatch(value) if isinstance(value, str) else None
    return (int(found[1]), int(found[2])) if found else None
