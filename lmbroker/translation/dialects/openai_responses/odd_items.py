"""Repairs items of a Responses request that break its format (translation.md 8.1 and 2.3).

``shared.odd_messages`` says what becomes of them. Messages of Chat Completions, which some clients
put among the items, are read for what they are, wherever they stand.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lmbroker.errors import Refused
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai_responses.decode_content import ORIGIN, content_part
from lmbroker.translation.shared.fields import Fields
from lmbroker.translation.shared.odd_messages import Mending, called_else, written
from lmbroker.translation.unified.parts import Signature

OF_CHAT = "reasoning_content"
"""The type of the item that stands for reasoning in a message of Chat Completions."""

CHAT_REASONING = Signature(origin="text")
"""The signature of such reasoning, which nobody has signed."""

ANSWERS = ("_output", "_result", "_response")
"""The ends of the types of items that answer another one."""

_MESSAGES = ("system", "developer", "user", "assistant")
_CALLS = {
    "function_call": "function_call",
    "custom_tool_call": "custom_tool_call",
    "function": "function_call",
    "tool_call": "function_call",
    "tool_use": "function_call",
}
_RESULTS = {
    "function_call_output": "function_call_output",
    "custom_tool_call_output": "custom_tool_call_output",
    "tool_result": "function_call_output",
    "tool_output": "function_call_output",
    "function_call_result": "function_call_output",
}
_GIVEN = (
    "input_text",
    "input_image",
    "input_file",
    "input_audio",
    "image_url",
    "image",
    "document",
)
_SAID = ("output_text", "text", "refusal")

FirstOpen = Callable[[str | None], str | None]


def meanings(
    raw: Any, path: str, number: int, first_open: FirstOpen, *, last: bool
) -> Iterator[Fields]:
    """Yield the items that ``raw`` stands for, in a form that can be read.

    Of the ``last`` item nothing is repaired but the name of its role. ``first_open`` gives the id
    of the oldest call (of a tool, if it is named) that nobody has answered.
    """
    if isinstance(raw, dict) and of_chat(raw):
        yield from _chat(raw, path, number, first_open)
        return
    kind = raw.get("type") if isinstance(raw, dict) else None
    kind = kind if isinstance(kind, str) else None
    if kind in _GIVEN or (kind in _SAID and not last):
        role = "user" if kind in _GIVEN else "assistant"
        yield _message({"type": "message", "role": role, "content": [raw]}, path)
    elif last:
        if kind in (None, "message") and isinstance(raw, dict):
            yield from _renamed(raw, path)
    elif kind in _CALLS or (kind is None and isinstance(raw, dict) and "arguments" in raw):
        yield _call(raw, path, number)
    elif kind in _RESULTS or (kind is None and isinstance(raw, dict) and "output" in raw):
        yield _result(raw, path, number, first_open)
    elif kind == "reasoning":
        yield _reasoning(raw, path)
    elif kind not in (None, "message") and "role" not in raw:
        yield Fields(raw, path, ORIGIN)
    else:
        yield _message(raw, path)


def _renamed(raw: JSON, path: str) -> Iterator[Fields]:
    """Yield the message where only the name of its role was wrong."""
    if called_else(raw.get("role"), _MESSAGES):
        mending = Mending(raw, path, ORIGIN)
        mending.role(_MESSAGES)
        yield mending.fields()


def of_chat(raw: JSON) -> bool:
    """Return whether ``raw`` can only be a message of Chat Completions."""
    return (
        raw.get("role") in ("tool", "function")
        or isinstance(raw.get("tool_calls"), list)
        or isinstance(raw.get("reasoning_content"), str)
    )


def _chat(raw: JSON, path: str, number: int, first_open: FirstOpen) -> Iterator[Fields]:
    """Yield the items for a message of Chat Completions: a result, or an answer and its calls."""
    if raw.get("role") in ("tool", "function"):
        id, name = raw.get("tool_call_id"), raw.get("name")
        said = {"call_id": id, "name": name, "output": raw.get("content")}
        yield _result(said, path, number, first_open)
        return
    said = {key: value for key, value in raw.items() if key != "tool_calls"}
    reasoned = said.pop("reasoning_content", None)
    if isinstance(reasoned, str) and reasoned:
        yield Fields({"type": OF_CHAT, "text": reasoned}, path, ORIGIN)
    if said.get("content"):
        yield _message({"role": "assistant", **said}, path)
    for place, call in enumerate(raw.get("tool_calls") or ()):
        if isinstance(call, dict) and call:
            held = call.get(str(call.get("type") or "function"))
            inner = held if isinstance(held, dict) else call
            kind = "custom_tool_call" if call.get("type") == "custom" else "function_call"
            whole = {**inner, "type": kind, "call_id": call.get("id")}
            yield _call(whole, path, f"{number}_{place}")


def _call(raw: JSON, path: str, number: Any) -> Fields:
    """Return a call of any kind as a call of a function or of a custom tool.

    So its result keeps its call.
    """
    item = Mending(raw, path, ORIGIN)
    held = item.held
    kind = _meant(held, _CALLS) or "function_call"
    id = held.get("call_id") or held.get("id")
    whole = id if isinstance(id, str | int) and str(id) else f"call_{number}"
    name = held.get("name")
    given = held.get("arguments", held.get("input", held.get("parameters")))
    out: JSON = {"type": kind, "call_id": str(whole)}
    out["name"] = name if isinstance(name, str) and name else "unknown"
    if isinstance(held.get("namespace"), str):
        out["namespace"] = held["namespace"]
    if kind == "custom_tool_call":
        out["input"] = written(given)
    else:
        out["arguments"] = given if isinstance(given, str | dict) else written(given)
    return _with_raw(item, out, raw, "input[].type")


def _result(raw: JSON, path: str, number: int, first_open: FirstOpen) -> Fields:
    """Return a result; one that names no call answers the oldest open one."""
    item = Mending(raw, path, ORIGIN)
    held = item.held
    kind = _meant(held, _RESULTS) or "function_call_output"
    id, name = held.get("call_id") or held.get("tool_use_id"), held.get("name")
    if not isinstance(id, str | int) or isinstance(id, bool):
        id = first_open(name if isinstance(name, str) else None) or f"call_{number}"
    output = held.get("output", held.get("content"))
    if isinstance(output, list):
        at = f"{path}.output"
        output = [_part(part, f"{at}[{place}]", "tool") for place, part in enumerate(output)]
    elif output is not None:
        output = written(output)
    out: JSON = {"type": kind, "call_id": str(id), "output": output}
    return _with_raw(item, out, raw, "input[].output")


def _meant(held: JSON, names: Mapping[str, str]) -> str | None:
    """Return the usual name for the type of an item, None where its type is unknown."""
    kind = held.get("type")
    return names.get(kind) if isinstance(kind, str) else None


def _part(part: Any, path: str, role: str) -> JSON:
    """Return a part of content unchanged where it can be read, else as a text."""
    if isinstance(part, dict):
        try:
            content_part(part, path, role)
        except Refused:
            pass
        else:
            return part
    words = part.get("text") if isinstance(part, dict) else part
    return {"type": "input_text", "text": written(words if words is not None else part)}


def _reasoning(raw: JSON, path: str) -> Fields:
    """Return the readable texts of reasoning, and what its vendor encrypted."""
    item = Mending(raw, path, ORIGIN)
    sealed, id = item.held.get("encrypted_content"), item.held.get("id")
    out: JSON = {"type": "reasoning"}
    for name, value in (("id", id), ("encrypted_content", sealed)):
        if isinstance(value, str):
            out[name] = value
    for name, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        pieces = item.held.get(name)
        pieces = [pieces] if isinstance(pieces, str | dict) else pieces
        texts = [
            piece.get("text") if isinstance(piece, dict) else piece
            for piece in (pieces if isinstance(pieces, list) else ())
        ]
        out[name] = [{"type": kind, "text": text} for text in texts if isinstance(text, str)]
    return _with_raw(item, out, raw, "input[].summary")


def _message(raw: Any, path: str) -> Fields:
    """Return a message whose role or content was repaired."""
    message = Mending(raw, path, ORIGIN)
    role = message.role(_MESSAGES)
    message.text("name")
    message.content(lambda part, at: content_part(part, at, role), lambda part: [])
    return message.fields()


def _with_raw(item: Mending, out: JSON, raw: JSON, path: str) -> Fields:
    """Return ``out``, with a report that it stands in the place of ``raw``."""
    item.held = out
    for name in ("type", "output", "summary"):
        if path.endswith(name):
            item.report_inside(name, "change")
    return item.fields()
