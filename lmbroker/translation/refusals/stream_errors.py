"""Errors that backends tell with status 200, inside a stream or in the place of an answer, in the
shapes that they give them (translation.md 4.4)."""

from typing import Any

from lmbroker import json_text
from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON
from lmbroker.sse import Frame
from lmbroker.translation.refusals import error_bodies, error_kinds

HALF_CALL = ErrorInfo(
    kind="truncated",
    message="the backend ended its answer inside a tool call",
    code="upstream_stream_truncated",
)
"""Of a stream that was ended, without a reason, before the arguments of a call were whole."""

LATE_ARGUMENTS = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent tool call arguments that go on after their end",
    code="bad_upstream_response",
)
NO_ANSWER = ErrorInfo(
    kind="bad_upstream",
    message="the backend sent a stream without an answer",
    code="bad_upstream_response",
)

_SIGNS = ("error", "errors", "detail", "message", "msg", "error_msg", "error_message")
"""Keys of an event that is no part of an answer, and so tells an error."""


def told_error(name: str, event: JSON) -> ErrorInfo | None:
    """The error that an event tells, None where it tells none. ``name`` is the event's.

    Besides ``{"error": ...}`` there is what FastAPI and others say (``{"detail": ...}``,
    ``{"code": ..., "message": ...}``, ``{"object": "error", ...}``) in an event that holds no part
    of an answer.
    """
    if event.get("error") or name == "error" or event.get("object") == "error":
        return error_kinds.stream_error(event)
    if event.get("choices"):
        return None
    if not _fails(event.get("base_resp")) and not any(_says(event.get(sign)) for sign in _SIGNS):
        return None
    return error_kinds.stream_error(event)


def error_instead(body: Any) -> ErrorInfo | None:
    """The error that stands in the place of a whole answer, None where ``body`` is an answer, or
    says nothing that is known for an error. ``body`` is the decoded JSON.

    Whatever holds a piece of an answer is one, even with an error beside it.
    """
    if type(body) is dict:
        for key in _ANSWERS:  # most bodies are answers
            value = body.get(key)
            if value and (type(value) is not list or _said(value[0])):
                return None
    if isinstance(body, list) and len(body) == 1:
        body = body[0]  # Gemini's errors stand in a list.
    if isinstance(body, str):
        return _of_busy_words(body)
    if not isinstance(body, dict) or any(_holds(body.get(key)) for key in _ANSWERS):
        return None
    if body.get("code") in _FINE and not body.get("error"):
        return None
    return told_error("", {key: each for key, each in body.items() if key not in _ANSWERS})


def error_instead_of_json(body: bytes) -> ErrorInfo | None:
    """The same for a body that is no JSON object; only the words that are known for an overload or
    a rate limit make it an error that a backend told."""
    try:
        return error_instead(json_text.decode(body))
    except ValueError:
        pass
    if len(body) > error_bodies.MESSAGE_BYTES:
        return None
    return _of_busy_words(error_bodies.read(0, body).message)


def _of_busy_words(text: str) -> ErrorInfo | None:
    error = error_kinds.stream_error(text)
    return error if error.kind in ("rate_limit", "overloaded") else None


_ANSWERS = ("choices", "content", "data", "output", "embeddings")
"""Keys of which one holds the answer."""

_FINE = (0, 200, "0", "200")
"""Codes with which some gateways say that all is well."""


def _holds(value: Any) -> bool:
    """Whether a value under one of ``_ANSWERS`` holds a piece of an answer: choices of which none
    says anything stand beside some errors."""
    if not isinstance(value, list):
        return bool(value)
    return any(_said(each) for each in value)


def _said(choice: Any) -> bool:
    message = choice.get("message") if isinstance(choice, dict) else None
    if not isinstance(message, dict):
        return bool(choice)
    if message.get("content"):
        return True
    return any(each for key, each in message.items() if key != "role")


def _fails(value: Any) -> bool:
    """MiniMax's account of how a call went stands in good answers, too."""
    return isinstance(value, dict) and value.get("status_code") not in (None, 0, "0")


def raw_error(name: str, data: bytes) -> ErrorInfo | None:
    """The error that an event tells whose data is no JSON object, None where it tells none."""
    if name != "error":
        return None
    return error_kinds.stream_error(data.decode("utf-8", "replace").strip())


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
