"""The fields that control how much the model reasons (translation.md 2.7).

Servers of OpenAI's dialects have several ways (``Profile.reasoning_control``).
"""

from collections.abc import Callable, Mapping

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai.encode_parts import Parts
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.shared.reasoning import clip, effort_of
from lmbroker.translation.unified.request import Effort, Reasoning

EFFORT = "reasoning_effort"
"""The field of the effort in Chat Completions; a dialect in which it stands elsewhere moves it."""

_DEEPSEEK: dict[Effort, Effort] = {"minimal": "low", "medium": "high", "xhigh": "high"}
"""DeepSeek has low, high and max; the levels between become high."""


_NOTHING = Reasoning()


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that control reasoning; ``on``: the model will reason."""

    wire: JSON
    on: bool


def encode_control(parts: Parts, *, tools: bool) -> Control:
    """Return the fields for the requested reasoning, in the way of the backend.

    ``tools``: tools are offered.
    """
    profile, asked = parts.profile, parts.request.reasoning
    if asked is None:
        asked = _NOTHING
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
        return Control(wire=_off(parts) or {EFFORT: "none"}, on=False)
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
    "effort": lambda profile, on: {} if on else {EFFORT: "none"},
    "deepseek": lambda profile, on: {"thinking": {"type": "enabled" if on else "disabled"}},
    "template_kwargs": lambda profile, on: {
        "chat_template_kwargs": dict.fromkeys(profile.template_switches, on)
    },
    "enable_thinking": lambda profile, on: {"enable_thinking": on},
    "openrouter": lambda profile, on: {"reasoning": {"enabled": on}},
    "none": lambda profile, on: {},
}
"""Way of control -> the fields that turn reasoning on, and those that turn it off."""


def _off(parts: Parts) -> JSON:
    """Return the fields that turn reasoning off, in every way that the backend may obey."""
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
        wire={} if least is None else {EFFORT: least},
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
            wire[EFFORT] = level
    elif asked.effort is not None:
        parts.drop("effort")
    return Control(wire=wire, on=bool(wire) or _by_default(parts))


def _level(parts: Parts, asked: Reasoning, kind: str) -> Effort | None:
    """Return the model's level nearest to the requested one; a different level is reported."""
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
