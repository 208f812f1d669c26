"""What a backend teaches by refusing (translation.md 0.4). Pure: the time is an argument.

On the translated path a 400 that blames one parameter which the broker itself placed is
repaired once: what was wrong becomes a change of the model's profile, and the request is
encoded anew. The lesson holds for an hour for that backend and model.
"""

import re
from typing import Any

import msgspec

from lmbroker.adapters.reasoning import EFFORTS
from lmbroker.call import Target
from lmbroker.errors import ErrorInfo
from lmbroker.profiles import Profile

SECONDS = 3600.0
"""How long a lesson holds."""

MODELS = 1000
"""Models of which lessons are kept: where an alias ends with ``*``, clients make up their names."""

_KEPT = frozenset({"model", "messages", "system", "tools", "stream", "input"})
"""Never left out: without them it would be another request."""

_SIGNATURE = re.compile(
    r"invalid `(?:signature|data)` in `(?:redacted_)?thinking`|bound to a different conversation",
    re.IGNORECASE,
)
_THINKING_TYPE = re.compile(r"[\"'`]?thinking\.type\.(\w+)[\"'`]? is not supported", re.IGNORECASE)
_SUPPORTED = re.compile(r"supported (?:values|levels)(?: are)?:? (.*)", re.IGNORECASE | re.DOTALL)
_BLAMED = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<p>[a-z_][\w.]*): extra inputs are not permitted",
        r"unsupported (?:parameter|value):? ['\"`]?(?P<p>[a-z_][\w.]*)",
        r"(?:unrecognized|unknown) (?:request )?(?:argument|parameter|field|name)"
        r"(?: supplied)?:? ['\"`]?(?P<p>[a-z_][\w.]*)",
        r"(?:parameter|property|argument|field) ['\"`](?P<p>[a-z_][\w.]*)['\"`] is "
        r"(?:unsupported|not (?:supported|allowed|permitted))",
        r"['\"`](?P<p>[a-z_][\w.]*)['\"`](?: parameter)? is not supported",
    )
)


class Lesson(msgspec.Struct, frozen=True, kw_only=True):
    """A change of the profile. ``parameter`` is the backend's name for what it refused;
    ``lasting`` is false for what was wrong with one conversation only."""

    parameter: str
    overrides: dict[str, Any]
    lasting: bool = True


def lesson_of(error: ErrorInfo, body: dict[str, Any], profile: Profile) -> Lesson | None:
    """What a refusal of ``body`` teaches about the model; None where it teaches nothing that
    could be repaired."""
    if error.status not in (400, 422) or error.kind == "context_length":
        return None
    text = error.message
    if _SIGNATURE.search(text):
        if not profile.replay_signed:
            return None
        return Lesson(parameter="signature", overrides={"replay_signed": False}, lasting=False)
    lesson = _by_wording(text, profile)
    if lesson is None:
        parameter = _blamed(error)
        lesson = _by_name(parameter, text, body, profile) if parameter else None
    if lesson is None or all(getattr(profile, k) == v for k, v in lesson.overrides.items()):
        return None
    return lesson


def _by_wording(text: str, profile: Profile) -> Lesson | None:
    """Refusals that are known by their sentence."""
    lower = text.lower()
    if "function tools with reasoning_effort are not supported" in lower:
        return Lesson(parameter="reasoning_effort", overrides={"tools_with_reasoning": False})
    if "does not support assistant message prefill" in lower:
        return Lesson(parameter="prefill", overrides={"prefill": "no"})
    kind = _THINKING_TYPE.search(text)
    refused = (
        kind[1] if kind else "adaptive" if "adaptive thinking is not supported" in lower else ""
    )
    if not refused:
        return None
    types = tuple(each for each in profile.thinking_types if each != refused)
    if refused in ("adaptive", "enabled"):
        other = "enabled" if refused == "adaptive" else "adaptive"
        types = (other, *(each for each in types if each != other))
    return Lesson(parameter="thinking", overrides={"thinking_types": types})


def _blamed(error: ErrorInfo) -> str:
    """The parameter that an error blames, "" where it blames none."""
    for pattern in _BLAMED:
        found = pattern.search(error.message)
        if found:
            return found["p"].rstrip(".")
    if error.code in ("unsupported_parameter", "unsupported_value") and error.param:
        return error.param
    return ""


def _by_name(parameter: str, text: str, body: dict[str, Any], profile: Profile) -> Lesson | None:
    top, last = parameter.partition(".")[0], parameter.rpartition(".")[2]
    overrides: dict[str, Any] | None = None
    if last == "strict":
        overrides = {"strict_tools": False}
    elif last in ("cache_control", "prompt_cache_breakpoint"):
        overrides = {"cache_breakpoints": False}
    elif parameter == "output_config.format" or top == "response_format":
        overrides = {"structured_outputs": False}
    elif top in ("max_tokens", "max_completion_tokens"):
        other = {"max_tokens": "max_completion_tokens"}.get(top, "max_tokens")
        overrides = {"max_tokens_field": other} if profile.max_tokens_field == top else None
    elif top == "stop":
        overrides = {"stop": False}
    elif top == "stream_options":
        overrides = {"stream_options": False}
    elif top == "reasoning_effort" or parameter == "output_config.effort":
        levels = _levels(text)
        overrides = {"effort": levels} if levels else {"omit": _with(profile, top)}
        if parameter == "output_config.effort" and not levels:
            overrides = {"effort": ()}
    elif top == "tool_choice":
        overrides = {"forced_tools": False}
    elif top in body and top not in _KEPT:
        overrides = {"omit": _with(profile, top)}
    return None if overrides is None else Lesson(parameter=top, overrides=overrides)


def _levels(text: str) -> tuple[str, ...]:
    """The effort levels that a refusal lists as supported."""
    found = _SUPPORTED.search(text)
    words = re.findall(r"['\"`](\w+)['\"`]", found[1]) if found else []
    return tuple(level for level in EFFORTS if level in words)


def _with(profile: Profile, key: str) -> tuple[str, ...]:
    return profile.omit if key in profile.omit else (*profile.omit, key)


class Lessons:
    """The lessons that hold now, per backend and model. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], list[tuple[float, Lesson]]] = {}

    def learn(self, target: Target, lesson: Lesson, now: float) -> None:
        """Remember ``lesson`` if it is one to remember."""
        if not lesson.lasting:
            return
        key = (target.backend.name, target.model)
        if key not in self._known and len(self._known) >= MODELS:
            del self._known[next(iter(self._known))]
        self._known.setdefault(key, []).append((now + SECONDS, lesson))

    def overrides(self, target: Target, now: float) -> dict[str, Any]:
        """What the profile of ``target`` should be changed by."""
        if not self._known:
            return {}
        key = (target.backend.name, target.model)
        known = self._known.get(key)
        if known is None:
            return {}
        known[:] = [(until, lesson) for until, lesson in known if until > now]
        if not known:
            del self._known[key]
        merged: dict[str, Any] = {}
        for _, lesson in known:
            for name, value in lesson.overrides.items():
                if name == "omit":
                    value = tuple(dict.fromkeys((*merged.get("omit", ()), *value)))
                merged[name] = value
        return merged
