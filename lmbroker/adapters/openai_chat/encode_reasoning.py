"""Reasoning: how much of it is asked for, and past reasoning that goes back (translation.md 2.7
and 4.6).

Backends of this dialect are told in five ways (``Profile.reasoning_control``) and want past
reasoning in one of three fields, or not at all (``Profile.reasoning_replay``).
"""

import json
from collections.abc import Sequence

import msgspec

from lmbroker.adapters.base import JSON
from lmbroker.adapters.openai_chat.encode_parts import Parts
from lmbroker.adapters.reasoning import clip, effort_of
from lmbroker.adapters.signature import FOREIGN_FORMAT
from lmbroker.unified.parts import ReasoningPart
from lmbroker.unified.request import Effort, Reasoning

_DEEPSEEK: dict[Effort, Effort] = {"minimal": "low", "medium": "high", "xhigh": "high"}
"""DeepSeek has low, high and max; what lies between them rises (or falls) to high."""


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that say how much to reason; ``on``: the model will reason."""

    wire: JSON
    on: bool


def encode_control(parts: Parts, *, tools: bool) -> Control:
    """The reasoning that was asked for, in the backend's own way; ``tools``: some are offered."""
    profile, asked = parts.profile, parts.request.reasoning or Reasoning()
    said_off = asked.mode in ("off", "between_tools") or (
        asked.mode is None and asked.effort == "none"
    )
    if said_off:
        if asked.mode == "between_tools":
            parts.drop("reasoning")
        if asked.effort not in (None, "none"):
            parts.drop("effort")
    if tools and not profile.tools_with_reasoning:
        if not said_off:
            _drop_all(parts, asked)
        return Control(wire=_off(parts, {"reasoning_effort": "none"}), on=False)
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


def _off(parts: Parts, effort: JSON) -> JSON:
    """The field that turns reasoning off; ``effort`` where effort is what controls it."""
    kind = parts.profile.reasoning_control
    if kind == "deepseek":
        return {"thinking": {"type": "disabled"}}
    if kind == "template_kwargs":
        return {"chat_template_kwargs": {"enable_thinking": False}}
    if kind == "openrouter":
        return {"reasoning": {"enabled": False}}
    return effort if kind == "effort" else {}


def _turned_off(parts: Parts) -> Control:
    profile = parts.profile
    if profile.reasoning_control == "none":
        if profile.thinking_default != "off":
            parts.drop("reasoning")
        return Control(wire={}, on=_by_default(parts))
    if profile.reasoning_control != "effort":
        return Control(wire=_off(parts, {}), on=False)
    least = clip("none", profile.effort)
    if least != "none":
        parts.drop("reasoning")
    if least is None:
        return Control(wire={}, on=_by_default(parts))
    return Control(wire={"reasoning_effort": least}, on=least != "none")


def _turned_on(parts: Parts, asked: Reasoning) -> Control:
    kind = parts.profile.reasoning_control
    if kind == "openrouter":
        return Control(wire={"reasoning": _openrouter(parts, asked)}, on=True)
    if asked.budget is not None:
        parts.drop("reasoning")
    if kind == "effort":
        wanted = asked.effort
        if wanted is None and asked.budget is not None:
            wanted = effort_of(asked.budget)
        level = _level(parts, asked, wanted)
        if level is None:
            return Control(wire={}, on=_by_default(parts))
        return Control(wire={"reasoning_effort": level}, on=level != "none")
    if kind == "deepseek":
        wire: JSON = {"thinking": {"type": "enabled"}}
        meant = None if asked.effort is None else _DEEPSEEK.get(asked.effort, asked.effort)
        level = _level(parts, asked, meant)
        if level is not None:
            wire["reasoning_effort"] = level
        return Control(wire=wire, on=True)
    if asked.effort is not None:
        parts.drop("effort")
    if kind == "template_kwargs":
        return Control(wire={"chat_template_kwargs": {"enable_thinking": True}}, on=True)
    return Control(wire={}, on=_by_default(parts))


def _level(parts: Parts, asked: Reasoning, meant: Effort | None) -> Effort | None:
    """The model's level for ``meant``; another one than was asked for is a loss."""
    level = None if meant is None else clip(meant, parts.profile.effort)
    if asked.effort is not None and level != asked.effort:
        parts.drop("effort")
    return level


def _openrouter(parts: Parts, asked: Reasoning) -> JSON:
    if asked.budget is not None:
        if asked.effort is not None:
            parts.drop("effort")
        return {"max_tokens": asked.budget}
    return {"enabled": True} if asked.effort is None else {"effort": asked.effort}


def encode_replay(parts: Parts, thoughts: Sequence[ReasoningPart], *, calls: bool) -> JSON:
    """The field with which past reasoning goes back in a message of the model; ``calls``: the
    message calls tools. Reasoning that only another vendor can check stays out."""
    profile, asked = parts.profile, parts.request.reasoning
    field = profile.reasoning_replay
    wanted = calls or (asked is not None and asked.replay_all is True)
    texts: list[str] = []
    details: list[JSON] = []
    for part in thoughts:
        parts.lost(part.extras)
        origin = part.signature.origin if part.signature is not None else "openai"
        if part.redacted is not None or origin not in ("openai", "details"):
            parts.drop("reasoning_part")
        elif not wanted or field == "none":
            continue
        elif origin == "openai":
            texts.append(part.text)
            entry = {"type": "reasoning.text", "format": FOREIGN_FORMAT, "text": part.text}
            details.append({"index": len(details), **entry})
        elif field == "reasoning_details" and part.signature is not None:
            details += [each for each in json.loads(part.signature.value) if isinstance(each, dict)]
        else:
            parts.drop("reasoning_part")
    if field == "reasoning_details":
        return {field: details} if details else {}
    required = profile.replay_required and calls
    text = "\n\n".join(each for each in texts if each)
    return {field: text} if field != "none" and (text or required) else {}
