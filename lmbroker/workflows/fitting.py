"""Fits a translated request to what its profile says of any field.

It says which fields are left out, and between which numbers others must lie.
"""

from typing import Any

from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.unified.request import Request

_FIELDS = {
    "chat_template_kwargs": "reasoning",
    "enable_thinking": "reasoning",
    "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
    "metadata": "user_id",
    "output_config": "effort",
    "parallel_tool_calls": "parallel_tools",
    "prompt_cache_key": "cache_key",
    "prompt_cache_options": "cache",
    "prompt_cache_retention": "cache_retention",
    "reasoning": "reasoning",
    "reasoning_effort": "effort",
    "response_format": "output",
    "safety_identifier": "user_id",
    "service_tier": "tier",
    "speed": "tier",
    "stop_sequences": "stop",
    "text": "output",
    "text.verbosity": "verbosity",
    "thinking": "reasoning",
    "user": "user_id",
}
"""Keys of a backend's request -> the fields of the Unified Model from which they are made. Other
keys have the name of their field."""


_PLACED = frozenset({"include", "input[].id", "store", "stream_options", "tools[].strict"})
"""Fields of a backend's request that the broker adds by itself."""


def fit(body: dict[str, Any], request: Request, profile: Profile, losses: Losses) -> None:
    """Leave fields out of ``body`` and bring numbers into their ranges.

    ``losses`` gets a report of each, by the client's names in ``request``.
    """
    for path in profile.omit:
        if left_out(body, path):
            top = path.partition(".")[0]
            field = _FIELDS.get(path) or _FIELDS.get(top, path)
            if _asked(request, field):
                losses.drop(request.path(field))
    for name, low, high in profile.ranges:
        value = body.get(name)
        if isinstance(value, (int, float)) and not low <= value <= high:
            body[name] = max(low, min(high, value))
            field = _FIELDS.get(name, name)
            if _asked(request, field):
                losses.change(request.path(field))


def _asked(request: Request, field: str) -> bool:
    """Return whether the client said anything of ``field`` of the Unified Model.

    What the broker put there itself is no loss.
    """
    if field in ("reasoning", "effort"):
        return request.reasoning is not None or request.later_effort is not None
    if field in _PLACED:
        return False
    for held in (request, request.sampling):
        if hasattr(held, field):
            return getattr(held, field) not in (None, (), False)
    return True


def left_out(body: dict[str, Any], path: str) -> bool:
    """Take the field at ``path`` out of ``body``; return whether something was there.

    ``[]`` stands for each place of a list (``messages[].name``). An object that is empty without
    the field goes, too.
    """
    first, _, rest = path.partition(".")
    name = first.removesuffix("[]")
    if name not in body:
        return False
    if not rest:
        return body.pop(name) is not None
    held = body[name]
    if isinstance(held, dict):
        gone = left_out(held, rest)
        if gone and not held:
            del body[name]
        return gone
    if not isinstance(held, list):
        return False
    found = [left_out(each, rest) for each in held if isinstance(each, dict)]
    return any(found)
