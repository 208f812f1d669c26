"""Past reasoning -> fields of a message of the model (translation.md 4.6).

Backends of this dialect want it in one of three fields, or not at all
(``Profile.reasoning_replay``).
"""

import json
from collections.abc import Sequence
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_parts import Parts
from lmbroker.translation.dialects.openai_chat.encode_parts import text
from lmbroker.translation.shared.names import carried_id, wire_id
from lmbroker.translation.shared.signature import FOREIGN_FORMAT, THINK_TAGS
from lmbroker.translation.shared.think_tags import CLOSE, OPEN
from lmbroker.translation.unified.parts import ReasoningPart, Signature

FILLER = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""The value that Google's documentation recommends for a call that Gemini 3 did not sign."""


def add_replay(parts: Parts, message: JSON, thoughts: Sequence[ReasoningPart]) -> None:
    """Put past reasoning into a whole ``message`` of the model.

    It goes into the field that the profile names; ``origin`` is the one in which it came. What is
    left out is reported.
    """
    profile, asked = parts.profile, parts.request.reasoning
    calls: list[JSON] = message.get("tool_calls") or []
    origin = profile.reasoning_replay == "origin"
    wanted = origin or bool(calls) or (asked is not None and asked.replay_all is True)
    replay = _Replay(parts, message)
    for part in thoughts:
        parts.lost(part.extras)
        signature = part.signature
        if signature is None or (signature.origin == "signable" and not signature.value):
            signature = Signature(origin="text")
        if (
            part.redacted is not None
            or signature.origin not in _OURS
            or not wanted
            or profile.reasoning_replay == "none"
        ):
            parts.drop(path_of(part))
        elif origin or signature.origin == "extra":
            replay.as_it_came(part, signature)
        else:
            replay.in_field(part, signature, profile.reasoning_replay)
    replay.write()
    if profile.replay_required and calls and profile.reasoning_replay != "none":
        field = "reasoning_content" if origin else profile.reasoning_replay
        if message.keys().isdisjoint(_FIELDS):
            message[field] = UNKNOWN
    if profile.signed_calls and calls:
        google = calls[0].get("extra_content", {}).get("google")
        if not isinstance(google, dict) or not google.get("thought_signature"):
            calls[0]["extra_content"] = FILLER


_FIELDS = ("reasoning_content", "reasoning", "reasoning_details")

UNKNOWN = " "
"""The text in the place of reasoning that a backend demands back and that nobody has: some take an
empty text for none."""


def path_of(part: ReasoningPart) -> str:
    """Return the name by which the client knows the field that holds a part."""
    return "reasoning_part" if part.redacted is None else "redacted"


_OURS = ("text", "details", "blocks", "extra")
"""Origins of reasoning that a backend of this dialect sent."""


class _Replay:
    """Collects the reasoning fields of one message."""

    def __init__(self, parts: Parts, message: JSON) -> None:
        self._parts = parts
        self._message = message
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[str, JSON] | None = None
        """The calls by id, made when the first one is looked up."""
        self._lists: dict[str, list[JSON]] = {}

    def as_it_came(self, part: ReasoningPart, signature: Signature) -> None:
        held: Any = json.loads(signature.value) if signature.value else None
        if signature.origin == "extra":
            self._extra(held)
            return
        field = signature.field
        if signature.origin == "text":
            field = field or "reasoning_content"
            if held is not None:
                self._message.setdefault(field, held)
                return
        else:
            name = "reasoning_details" if signature.origin == "details" else "thinking_blocks"
            self._list(name, held)
        if field and part.text:
            # Parts of one message whose field is known were one text.
            self._text(field, part.text, "" if signature.field else "\n\n")

    def in_field(self, part: ReasoningPart, signature: Signature, field: str) -> None:
        if field == "reasoning_details":
            if signature.origin == "details":
                self._list(field, json.loads(signature.value))
                return
            entries = self._lists.setdefault(field, [])
            entry = {"type": "reasoning.text", "format": FOREIGN_FORMAT, "text": part.text}
            entries.append({"index": len(entries), **entry})
        elif part.text:
            self._text(field, part.text, "" if signature.field else "\n\n")
        elif signature.origin != "text":
            self._parts.drop("reasoning_part")
            return
        if signature.origin != "text":
            self._parts.change("reasoning_part")

    def _text(self, field: str, words: str, gap: str) -> None:
        texts = self._texts.setdefault(field, [])
        if texts and gap:
            texts.append(gap)
        texts.append(words)

    def _list(self, field: str, entries: list[JSON]) -> None:
        kept = [entry for entry in entries if isinstance(entry, dict)]
        self._lists.setdefault(field, []).extend(kept)

    def _extra(self, held: JSON) -> None:
        """Put ``extra_content`` back into its calls and its message."""
        whole = held.get("m")
        if isinstance(whole, dict):
            self._message["extra_content"] = whole
        calls = self._message.get("tool_calls") or []
        for entry in held.get("c") or ():
            call = self._call(calls, entry)
            if call is None:
                self._parts.drop("reasoning_part")
            else:
                call["extra_content"] = entry[2]

    def _call(self, calls: list[JSON], entry: Any) -> JSON | None:
        """Return the call to which an entry belongs, by its id or else by its number."""
        if not isinstance(entry, list) or len(entry) != 3 or not isinstance(entry[2], dict):
            return None
        id, number, _ = entry
        if isinstance(id, str) and id:
            pattern = self._parts.profile.tool_id
            wanted = wire_id(carried_id(id, pattern), pattern)
            if self._calls is None:
                self._calls = {call["id"]: call for call in reversed(calls)}
            if wanted in self._calls:
                return self._calls[wanted]
        return calls[number] if type(number) is int and 0 <= number < len(calls) else None

    def write(self) -> None:
        message = self._message
        for field, texts in self._texts.items():
            words = "".join(texts)
            if field == THINK_TAGS:
                self._tags(words)
                continue
            if field != "content":
                message[field] = words
                continue
            content = message["content"]
            said = content if isinstance(content, list) else [text(content)] if content else []
            thinking = {"type": "thinking", "thinking": [text(words)]}
            message["content"] = [thinking, *said]
        message.update(self._lists)

    def _tags(self, words: str) -> None:
        """Put reasoning between its tags at the head of the text."""
        head, content = f"{OPEN}{words}{CLOSE}\n\n", self._message.get("content")
        if isinstance(content, list):
            self._message["content"] = [text(head), *content]
        else:
            self._message["content"] = head + (content or "")
