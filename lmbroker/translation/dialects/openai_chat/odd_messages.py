"""Repairs earlier messages of a chat completion request that break its format.

See translation.md 2.3; ``shared.odd_messages`` says what becomes of them.
"""

from collections.abc import Callable
from typing import Any

from lmbroker.json_text import JSON, arguments
from lmbroker.translation.shared.odd_messages import Mended, Mending, written

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
_TEXTS = ("name", "refusal")
_KNOWN_CALLS = ("function", "custom")


def mended(
    message: Mending,
    number: int,
    read: Callable[[Any, str, str], Any],
    first_open: Callable[[str | None], str | None],
) -> Mended:
    """Return ``message`` repaired, so that it can be read.

    ``read`` reads a content part (its path, the role of its message), and ``first_open`` gives the
    id of the oldest call (of a tool, if it is named) that nobody has answered.
    """
    role = message.role(ROLES)
    for name in _TEXTS:
        message.text(name)
    message.kind("prompt_cache_breakpoint", dict)
    message.kind("cache_control", dict)
    if role in ("tool", "function"):
        role = _result(message, role, first_open)
    message.content(lambda part, path: read(part, path, role), _part)
    if role == "assistant":
        _calls(message, number)
        _reasoning(message)
    return message.fields()


def _part(part: JSON) -> list[JSON]:
    """Return the possible meanings of a part that cannot be read as it is.

    It may do without an invalid cache mark, or be a call whose input is an object.
    """
    kept = {k: v for k, v in part.items() if k not in ("cache_control", "prompt_cache_breakpoint")}
    given = kept.get("input")
    if kept.get("type") == "tool_use" and not isinstance(given, dict | None):
        found = arguments(written(given))
        kept["input"] = {"input": given} if found is None else found
    return [kept]


def _result(message: Mending, role: str, first_open: Callable[[str | None], str | None]) -> str:
    """Assign a result that names no call to the oldest open one, and return its role.

    Where no call is open, the result becomes a message of the user.
    """
    id, name = message.held.get("tool_call_id"), message.held.get("name")
    if role == "function" and isinstance(name, str):
        return role
    if isinstance(id, int) and not isinstance(id, bool):
        message.change("tool_call_id", str(id))
    elif not isinstance(id, str):
        message.held.pop("tool_call_id", None)
        answer_oldest(message, first_open)
        if "tool_call_id" not in message.held:
            message.change("role", "user")
            return "user"
    message.held["role"] = "tool"
    return "tool"


def answer_oldest(message: Mending, first_open: Callable[[str | None], str | None]) -> None:
    """Give a result that names no call the id of the oldest open call.

    The call must be one of the result's tool, where that is named. Without such a call nothing
    changes.
    """
    if message.held.get("tool_call_id") is not None:
        return
    name = message.held.get("name")
    found = first_open(name if isinstance(name, str) else None)
    if found is not None:
        message.held["tool_call_id"] = found
        message.report_inside("role", "change")


def _calls(message: Mending, number: int) -> None:
    calls = message.held.get("tool_calls")
    if calls is not None:
        listed = calls if isinstance(calls, list) else [calls]
        kept = [
            _call(call, f"call_{number}_{place}")
            for place, call in enumerate(listed)
            if isinstance(call, dict) and call
        ]
        if kept != calls:
            message.change("tool_calls", kept)
    legacy = message.held.get("function_call")
    if legacy is not None and not (
        isinstance(legacy, dict) and isinstance(legacy.get("name"), str)
    ):
        message.drop("function_call")
    elif legacy is not None and not isinstance(legacy.get("arguments"), str | dict | None):
        message.change("function_call", {**legacy, "arguments": written(legacy["arguments"])})


def _call(call: JSON, made: str) -> JSON:
    """Return a call of any kind as a call of a function or of a custom tool.

    So its result keeps its call.
    """
    id, kind = call.get("id"), call.get("type")
    named = kind if isinstance(kind, str) and kind else "function"
    held = call.get(named)
    held = held if isinstance(held, dict) else {}
    out: JSON = {"id": str(id) if isinstance(id, int | str) and str(id) else made}
    if named == "custom" and isinstance(held.get("name"), str):
        return {**out, "type": "custom", "custom": {**held, "input": written(held.get("input"))}}
    name = held.get("name") or call.get("name")
    if not isinstance(name, str) or not name:
        name = named if named not in _KNOWN_CALLS else "unknown"
    if named in _KNOWN_CALLS:
        value = held.get("arguments", call.get("arguments"))
    else:
        value = held
    arguments = value if isinstance(value, str | dict) else written(value)
    function = {"name": name, "arguments": arguments}
    return {**out, "type": "function", "function": function}


def _reasoning(message: Mending) -> None:
    for name in ("reasoning_content", "reasoning"):
        value = message.held.get(name)
        words = value.get("text") if isinstance(value, dict) else None
        if isinstance(words, str):
            message.change(name, words)
        elif value is not None and not isinstance(value, str):
            message.drop(name)
    details = message.held.get("reasoning_details")
    if details is not None and not isinstance(details, list):
        message.drop("reasoning_details")
    elif details is not None and not all(isinstance(entry, dict) for entry in details):
        kept = [entry for entry in details if isinstance(entry, dict)]
        message.change("reasoning_details", kept)
    blocks = message.held.get("thinking_blocks")
    if blocks is not None:
        listed = blocks if isinstance(blocks, list) else []
        good = [block for block in listed if _readable(block)]
        if good != blocks:
            message.change("thinking_blocks", good)


def _readable(block: Any) -> bool:
    if not isinstance(block, dict):
        return False
    if block.get("type") == "redacted_thinking":
        return isinstance(block.get("data"), str)
    texts = (block.get("thinking"), block.get("signature"))
    return isinstance(block.get("type"), str) and all(isinstance(t, str | None) for t in texts)
