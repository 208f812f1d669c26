"""``reasoning_details``: the list in which OpenAI-dialect answers carry reasoning for replay
(OpenRouter's form; translation.md 4.6)."""

from typing import Any

from lmbroker.adapters.signature import ANTHROPIC_FORMAT, FOREIGN_FORMAT, compact, to_wire
from lmbroker.unified.json_text import joined
from lmbroker.unified.parts import ReasoningPart, Signature

JSON = dict[str, Any]

_GROWING = ("reasoning.text", "reasoning.summary")
"""Types of entries that come in fragments; each of the others comes whole."""


class _Fragments(list[str]):
    """A text that is still coming."""


class Collected:
    """The entries that a backend sent for one reasoning part, fragments of one entry joined.

    They are a foreign vendor's: kept verbatim, to be sent back as they came.
    """

    __slots__ = ("_entries", "_growing")

    def __init__(self) -> None:
        self._entries: list[JSON] = []
        self._growing: dict[tuple[int, str], JSON] = {}
        """Entries that may get more: index (position where there is none) and type -> entry."""

    def add(self, entries: list[JSON]) -> None:
        """Take what one message or delta tells in."""
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
        """The proof that goes with the part: the entries, or that there was but plain text."""
        if not self._entries:
            return Signature(origin="openai")
        entries = [
            {
                name: joined(value) if isinstance(value, _Fragments) else value
                for name, value in entry.items()
            }
            for entry in self._entries
        ]
        return Signature(origin="details", value=compact(entries))


def entries_of(said: JSON) -> list[JSON]:
    """The entries that a message or a delta tells."""
    details = said.get("reasoning_details")
    if not details or not isinstance(details, list):
        return []
    return [entry for entry in details if isinstance(entry, dict)]


def text_of(entries: list[JSON]) -> str:
    """What can be read of them."""
    return "".join(map(_text, entries))


def _text(entry: JSON) -> str:
    text = entry.get("text") or entry.get("summary")
    return text if isinstance(text, str) else ""


def format_of(part: ReasoningPart) -> str:
    """Who must be able to read the part's signature. In a stream it is not there yet when the
    part opens; no signature so far means Anthropic's, others say so at once."""
    foreign = part.signature is not None and part.signature.origin != "anthropic"
    return FOREIGN_FORMAT if foreign else ANTHROPIC_FORMAT


def entry(index: int, part: ReasoningPart, at: str | None, *, hidden: bool) -> JSON | None:
    """One whole part as an entry, None where nothing of it may or can be told."""
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
