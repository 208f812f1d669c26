"""Reasoning: how much of it is asked for, and past reasoning that goes back (translation.md 2.7
and 4.6).

Backends of this dialect are told in several ways (``Profile.reasoning_control``) and want past
reasoning in one of three fields, or not at all (``Profile.reasoning_replay``).
"""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_chat.encode_parts import Parts, text
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.names import carried_id, wire_id
from lmbroker.translation.shared.reasoning import clip, effort_of
from lmbroker.translation.shared.signature import FOREIGN_FORMAT, THINK_TAGS
from lmbroker.translation.shared.think_tags import CLOSE, OPEN
from lmbroker.translation.unified.parts import ReasoningPart, Signature
from lmbroker.translation.unified.request import Effort, Reasoning

_DEEPSEEK: dict[Effort, Effort] = {"minimal": "low", "medium": "high", "xhigh": "high"}
"""DeepSeek has low, high and max; what lies between them rises (or falls) to high."""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that say how much to reason; ``on``: the model will reason."""

    wire: JSON
    on: bool


def encode_control(parts: Parts, *, tools: bool) -> Control:
    """The reasoning that was asked for, in the backend's own way; ``tools``: some are offered."""
    profile, asked = parts.profile, parts.request.reasoning or Reasoning()
    if parts.request.later_effort is not None:
        asked = msgspec.structs.replace(asked, effort=parts.request.later_effort)
    said_off = asked.mode in ("off", "between_tools") or (
        asked.mode is None and asked.effort == "none"
    )
    if profile.never_think and not said_off:
        said_off = True
        if (asked.mode, asked.effort, asked.budget) != (None, None, None):
            parts.losses.change(parts.request.path("reasoning"))
        asked = Reasoning(mode="off")
    if said_off:
        if asked.mode == "between_tools":
            parts.change("reasoning")
        if asked.effort not in (None, "none"):
            parts.drop("effort")
    if tools and not profile.tools_with_reasoning:
        if not said_off:
            _drop_all(parts, asked)
        return Control(wire=_off(parts) or {"reasoning_effort": "none"}, on=False)
    if said_off:
        return _turned_off(parts)
    if (asked.mode, asked.effort, asked.budget) == (None, None, None):
        return Control(wire={}, on=_by_default(parts))
    return _turned_on(parts, asked)


def _drop_all(parts: Parts, asked: Reasoning) -> None:
    if asked.effort is not None:
        parts.drop("effort")
    elif asked.mode is not None or asked.budget is not None:
        parts.drop("reasoning")


def _by_default(parts: Parts) -> bool:
    profile = parts.profile
    return profile.thinking_default != "off" or profile.default_effort not in (None, "none")


_SAYS: Mapping[str, Callable[[Profile, bool], JSON]] = {
    "effort": lambda profile, on: {} if on else {"reasoning_effort": "none"},
    "deepseek": lambda profile, on: {"thinking": {"type": "enabled" if on else "disabled"}},
    "template_kwargs": lambda profile, on: {
        "chat_template_kwargs": dict.fromkeys(profile.template_switches, on)
    },
    "enable_thinking": lambda profile, on: {"enable_thinking": on},
    "openrouter": lambda profile, on: {"reasoning": {"enabled": on}},
    "none": lambda profile, on: {},
}
"""Way of control -> the fields that say that the model shall reason, or shall not."""


def _off(parts: Parts) -> JSON:
    """The fields that turn reasoning off, in all words that may be obeyed."""
    profile = parts.profile
    wire: JSON = {}
    for way in profile.reasoning_off or (profile.reasoning_control,):
        if way != "effort" or "none" in profile.effort:
            wire |= _SAYS[way](profile, False)
    return wire


def _turned_off(parts: Parts) -> Control:
    profile = parts.profile
    never = profile.thinking_default == "always"
    wire = {} if never else _off(parts)
    if wire:
        return Control(wire=wire, on=False)
    if profile.reasoning_control == "none" and profile.thinking_default == "off":
        return Control(wire={}, on=_by_default(parts))
    parts.change("reasoning")
    least = clip("minimal", profile.effort) if profile.reasoning_control == "effort" else None
    return Control(
        wire={} if least is None else {"reasoning_effort": least},
        on=never or least is not None or _by_default(parts),
    )


def _turned_on(parts: Parts, asked: Reasoning) -> Control:
    profile, kind = parts.profile, parts.profile.reasoning_control
    if kind == "openrouter":
        return Control(wire={"reasoning": _openrouter(parts, asked)}, on=True)
    wire = _SAYS[kind](profile, True)
    if kind == "enable_thinking" and asked.budget is not None:
        return Control(wire={**wire, "thinking_budget": asked.budget}, on=True)
    if asked.budget is not None:
        parts.change("reasoning")
    if kind in ("effort", "deepseek"):
        level = _level(parts, asked, kind)
        if level is not None:
            wire["reasoning_effort"] = level
    elif asked.effort is not None:
        parts.drop("effort")
    return Control(wire=wire, on=bool(wire) or _by_default(parts))


def _level(parts: Parts, asked: Reasoning, kind: str) -> Effort | None:
    """The model's level for what was asked; another one than that is a loss."""
    levels, wanted = parts.profile.effort, asked.effort
    if wanted is None and asked.budget is not None and kind == "effort":
        wanted = effort_of(asked.budget)
    if wanted is None:
        return None
    meant = wanted
    if kind == "deepseek" and wanted not in levels:
        meant = _DEEPSEEK.get(wanted, wanted)
    level = clip(meant, levels)
    if asked.effort is not None and level is None:
        parts.drop("effort")
    elif asked.effort is not None and level != asked.effort:
        parts.change("effort")
    return level


def _openrouter(parts: Parts, asked: Reasoning) -> JSON:
    if asked.budget is not None:
        if asked.effort is not None:
            parts.drop("effort")
        return {"max_tokens": asked.budget}
    return {"enabled": True} if asked.effort is None else {"effort": asked.effort}


FILLER = {"google": {"thought_signature": "skip_thought_signature_validator"}}
"""What Google's documentation says to send with a call that Gemini 3 did not sign."""


def add_replay(parts: Parts, message: JSON, thoughts: Sequence[ReasoningPart]) -> None:
    """Put past reasoning into a whole ``message`` of the model, in the field that the profile
    names: ``origin`` is the one in which it came. What stays out is reported."""
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
"""What stands for reasoning that a backend demands back and that nobody has: some take an empty
text for none."""


def path_of(part: ReasoningPart) -> str:
    """By which name the client knows the field that holds a part."""
    return "reasoning_part" if part.redacted is None else "redacted"


_OURS = ("text", "details", "blocks", "extra")
"""Origins of reasoning that a backend of this dialect sent."""


class _Replay:
    """Collects what goes into the fields of one message."""

    def __init__(self, parts: Parts, message: JSON) -> None:
        self._parts = parts
        self._message = message
        self._texts: dict[str, list[str]] = {}
        self._calls: dict[str, JSON] | None = None
        """By id, once somebody looks for one."""
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
        """``extra_content`` goes back to its calls, and to the message."""
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
        """The call that an entry is about: by its id, else by its number."""
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
        """Reasoning goes back to the head of the text, between its tags."""
        head, content = f"{OPEN}{words}{CLOSE}\n\n", self._message.get("content")
        if isinstance(content, list):
            self._message["content"] = [text(head), *content]
        else:
            self._message["content"] = head + (content or "")
