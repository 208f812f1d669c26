"""Recognises errors that backends send with status 200 (translation.md 4.4).

They come inside a stream, or in the place of an answer, in many shapes.
"""

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
"""The error of a stream that ended without a stop reason before a call's arguments were whole."""

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
"""Keys of an event that is no part of an answer, and therefore reports an error."""


def reported_error(name: str, event: JSON) -> ErrorInfo | None:
    """Return the error that an event reports, None where it reports none.

    ``name`` is the event's name.

    Besides ``{"error": ...}`` these are the forms of FastAPI and others, in an event that holds no
    part of an answer: ``{"detail": ...}``, ``{"code": ..., "message": ...}``, ``{"object": "error",
    ...}``.
    """
    if event.get("error") or name == "error" or event.get("object") == "error":
        return error_kinds.stream_error(event)
    if event.get("choices"):
        return None
    if not _fails(event.get("base_resp")) and not any(_says(event.get(sign)) for sign in _SIGNS):
        return None
    return error_kinds.stream_error(event)


def error_instead(body: Any) -> ErrorInfo | None:
    """Return the error that a backend sent in the place of a whole answer, None for an answer.

    ``body`` is the decoded JSON. It is an answer as soon as it holds a piece of one, even with an
    error beside it, and also where nothing in it is known to be an error.
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
    return reported_error("", {key: each for key, each in body.items() if key not in _ANSWERS})


def error_instead_of_json(body: bytes) -> ErrorInfo | None:
    """Return the error in a body that need not be JSON, None where none is recognised.

    A body that is no JSON is an error only where its words are those of an overload or of a rate
    limit.
    """
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
"""The keys under which bodies hold an answer."""

_FINE = (0, 200, "0", "200")
"""The codes that some gateways send with a successful answer."""


def _holds(value: Any) -> bool:
    """Return whether a value under one of ``_ANSWERS`` holds a piece of an answer.

    Some errors come with choices in which nothing is said.
    """
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
    """Return whether MiniMax's ``base_resp`` reports a failure.

    Successful answers have one as well.
    """
    return isinstance(value, dict) and value.get("status_code") not in (None, 0, "0")


def raw_error(name: str, data: bytes) -> ErrorInfo | None:
    """Return the error in an event whose data is no JSON object, None where it is no error."""
    if name != "error":
        return None
    return error_kinds.stream_error(data.decode("utf-8", "replace").strip())


def error_in(frame: Frame) -> ErrorInfo | None:
    """Return the error that a frame reports, None where it reports none."""
    data = frame.data or b""
    try:
        event = json_text.decode(data)
    except ValueError:
        event = None
    if not isinstance(event, dict):
        return raw_error(frame.event, data)
    return reported_error(frame.event, event)


def _says(value: Any) -> bool:
    """Return whether a value under one of ``_SIGNS`` is an error.

    A message with a role belongs to an answer.
    """
    if isinstance(value, dict):
        return bool(value) and "role" not in value
    return bool(value) and isinstance(value, str | list)
