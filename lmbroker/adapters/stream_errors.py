"""Errors inside a stream, in the shapes that backends give them (translation.md 4.4)."""

from typing import Any

from lmbroker.adapters import error_bodies
from lmbroker.errors import ErrorInfo
from lmbroker.sse import Frame
from lmbroker.unified import json_text

JSON = dict[str, Any]

HALF_CALL = ErrorInfo(
    kind="truncated",
    message="the backend ended its answer inside a tool call",
    code="upstream_stream_truncated",
)
"""Of a stream that was ended, without a reason, before the arguments of a call were whole."""

_SIGNS = ("error", "errors", "detail", "message", "msg", "error_msg", "error_message")
"""Keys of an event that is no part of an answer, and so tells an error."""


def told_error(name: str, event: JSON) -> ErrorInfo | None:
    """The error that an event tells, None where it tells none. ``name`` is the event's.

    Besides ``{"error": ...}`` there is what FastAPI and others say (``{"detail": ...}``,
    ``{"code": ..., "message": ...}``, ``{"object": "error", ...}``) in an event that holds no part
    of an answer.
    """
    if event.get("error") or name == "error" or event.get("object") == "error":
        return error_bodies.stream_error(event)
    if event.get("choices") or not any(_says(event.get(sign)) for sign in _SIGNS):
        return None
    return error_bodies.stream_error(event)


def raw_error(name: str, data: bytes) -> ErrorInfo | None:
    """The error that an event tells whose data is no JSON object, None where it tells none."""
    if name != "error":
        return None
    return error_bodies.stream_error(data.decode("utf-8", "replace").strip())


def error_in(frame: Frame) -> ErrorInfo | None:
    """The error that a frame tells, None where it tells none."""
    data = frame.data or b""
    try:
        event = json_text.decode(data)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        return raw_error(frame.event, data)
    return told_error(frame.event, event)


def _says(value: Any) -> bool:
    """A message with a role is a part of an answer."""
    if isinstance(value, dict):
        return bool(value) and "role" not in value
    return bool(value) and isinstance(value, str | list)
