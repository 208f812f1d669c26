"""Reads and writes ``reasoning_details``, in which answers carry reasoning for later requests.

The form is OpenRouter's (translation.md 4.6).
"""

from typing import Any

from lmbroker.json_text import JSON, joined
from lmbroker.translation.shared.signature import ANTHROPIC_FORMAT, FOREIGN_FORMAT, compact, to_wire
from lmbroker.translation.unified.parts import ReasoningPart, Signature

TEXT_FIELDS = ("reasoning_content", "reasoning", "reasoning_text", "thinking")
"""Fields in which backends send reasoning as text (the third is GitHub Copilot's, the last that of
Ollama's own format); the first one that is not empty counts."""

_GROWING = ("reasoning.text", "reasoning.summary")
"""Types of entries that come in fragments; each of the others comes whole."""


class _Fragments(list[str]):
    """A text that arrives in pieces."""


class Collected:
    """Collects what a backend sends of one reasoning part: its field, and what is to be sent back.

    Fragments are joined. Everything else is kept verbatim, to be sent back as it came.
    """

    __slots__ = ("_blocks", "_entries", "_field", "_growing", "_held")

    def __init__(self) -> None:
        self._entries: list[JSON] = []
        self._growing: dict[tuple[int, str], JSON] = {}
        """Entries that may grow: index (position where there is none) and type -> entry."""
        self._blocks: list[JSON] = []
        self._held: JSON = {}
        self._field = ""

    def take(self, said: JSON) -> bool:
        """Add the reasoning in one message or delta.

        Returns False where its text has come before, in a field of its own: entries that come at
        the end repeat it.
        """
        field = _field_of(said)
        new = bool(field) or not self._field
        self._field = self._field or field
        held = said.get("reasoning_content")
        if isinstance(held, dict):
            _grow(self._held, held)
        if "reasoning_details" in said:
            self.add(entries_of(said))
        if "thinking_blocks" in said:
            for block in blocks_of(said):
                self._block(block)
        return new

    def _block(self, block: JSON) -> None:
        """Join the fragments of one block, which end with its signature."""
        last = self._blocks[-1] if self._blocks else None
        if (
            last is None
            or last.get("type") != "thinking"
            or block.get("type") != "thinking"
            or last.get("signature")
        ):
            last = {}
            self._blocks.append(last)
        _grow(last, block)

    def add(self, entries: list[JSON]) -> None:
        """Add the entries of one message or delta."""
        for position, entry in enumerate(entries):
            self._add(position, entry)

    def _add(self, position: int, entry: JSON) -> None:
        index, kind = entry.get("index"), entry.get("type")
        if kind not in _GROWING:
            self._entries.append(entry)
            return
        key = (index if isinstance(index, int) else position, kind)
        known = self._growing.get(key)
        if known is None or (known.get("signature") and _text(entry)):
            known = self._growing[key] = {}
            self._entries.append(known)
        for name, value in entry.items():
            if name in ("text", "summary") and isinstance(value, str):
                before = known.get(name)
                if isinstance(before, _Fragments):
                    before.append(value)
                else:
                    known[name] = _Fragments([value])
            elif value is not None or name not in known:
                known[name] = value

    def signature(self) -> Signature:
        """Return the signature of the part: its entries, or that it was plain text only."""
        if self._entries:
            value = compact(list(map(_whole, self._entries)))
            return Signature(origin="details", value=value, field=self._field)
        if self._blocks:
            value = compact(list(map(_whole, self._blocks)))
            return Signature(origin="blocks", value=value, field=self._field)
        held = compact(_whole(self._held)) if self._held else ""
        # "" stands for the usual field, as in tokens of earlier versions.
        field = "" if self._field == "reasoning_content" else self._field
        return Signature(origin="text", value=held, field=field)


def _grow(known: JSON, more: JSON) -> None:
    """Append a fragment of an object: its texts grow, and so do those of the objects in it."""
    for name, value in more.items():
        before = known.get(name)
        if name != "type" and isinstance(value, str):
            if isinstance(before, _Fragments):
                before.append(value)
            else:
                known[name] = _Fragments([value])
        elif isinstance(value, dict) and isinstance(before, dict | None):
            _grow(known.setdefault(name, {}), value)
        elif value is not None or name not in known:
            known[name] = value


def _whole(known: JSON) -> JSON:
    return {
        name: joined(value)
        if isinstance(value, _Fragments)
        else _whole(value)
        if isinstance(value, dict)
        else value
        for name, value in known.items()
    }


def entries_of(said: JSON) -> list[JSON]:
    """Return the entries in a message or a delta."""
    return _objects(said.get("reasoning_details"))


def blocks_of(said: JSON) -> list[JSON]:
    """Return the ``thinking_blocks`` (LiteLLM's field) in a message or a delta."""
    return _objects(said.get("thinking_blocks"))


def _objects(value: Any) -> list[JSON]:
    if not value or not isinstance(value, list):
        return []
    return [each for each in value if isinstance(each, dict)]


def _field_of(said: JSON) -> str:
    """Return the name of the field that holds the text of the reasoning, "" where none does."""
    for name in TEXT_FIELDS:
        if said.get(name) and isinstance(said[name], str | dict):
            return name
    content = said.get("content")
    kinds = [piece.get("type") for piece in _objects(content)]
    return "content" if "thinking" in kinds else ""


def signs(said: JSON) -> bool:
    """Return whether a message or a delta holds something that the backend wants back."""
    return bool(entries_of(said) or blocks_of(said)) or isinstance(
        said.get("reasoning_content"), dict
    )


def text_of(entries: list[JSON]) -> str:
    """Return the readable text of ``entries``."""
    return "".join(map(_text, entries))


def _text(entry: JSON) -> str:
    text = entry.get("text") or entry.get("summary")
    return text if isinstance(text, str) else ""


def format_of(part: ReasoningPart) -> str:
    """Return the format of an entry, which says who can read the signature of the part.

    In a stream the signature is not there yet when the part opens; no signature so far means
    Anthropic's, since the others come with the opening of the part.
    """
    foreign = part.signature is not None and part.signature.origin != "signable"
    return FOREIGN_FORMAT if foreign else ANTHROPIC_FORMAT


def entry(index: int, part: ReasoningPart, at: str | None, *, hidden: bool) -> JSON | None:
    """Return one whole part as an entry, None where nothing of it may be shown."""
    place = {"lmb_at": at} if at else {}
    head = {"index": index, "type": "reasoning.text", "format": format_of(part), **place}
    if part.redacted is not None:
        return {**head, "type": "reasoning.encrypted", "data": part.redacted}
    if hidden and part.text:
        return None
    if part.text:
        head["text"] = part.text
    if part.signature is not None:
        head["signature"] = to_wire(part.signature)
    elif not part.text:
        return None
    return head
