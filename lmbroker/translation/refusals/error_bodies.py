"""Reads what a backend's error says, whatever its shape (translation.md 5.1 and 5.2).

Backends that claim a dialect still answer errors in a dozen forms: ``{"error": {...}}``,
``{"error": "text"}``, FastAPI's ``detail``, a bare ``message``, Gemini's list, HTML of a proxy
in between, nothing at all. ``read`` finds the words in all of them; ``error_kinds`` says what they
mean.
"""

import re
from http import HTTPStatus
from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.errors import Kind
from lmbroker.translation.refusals import context_overflow

MESSAGE_BYTES = 4096
"""The maximum length of a message that is passed on, in bytes of UTF-8."""

_INSIDE = ("external_model_message", "error", "errors", "base_resp")
"""Keys under which an error body holds its error: that of the model behind Databricks, the usual
one, Cloudflare's, MiniMax's."""

_WORDS = ("message", "Message", "detail", "issues", "error_message", "status_msg", "msg", "error")
"""Keys under which an error object holds its message."""

_LISTS = ("detail", "details", "issues")
"""Keys under which validators list what is wrong and where: FastAPI's, Azure's, Zod's."""

_PLACES = ("loc", "path")
"""Keys under which an entry of such a list names the place in the request."""

_CODES = ("code", "error_code", "status_code")

ERRORS = 50
"""The maximum of errors of one body that are read."""

DEPTH = 8
"""The maximum depth to which an error body is read."""

_PHRASES = frozenset(status.phrase.lower() for status in HTTPStatus)
"""What some backends put under ``error``, with the message beside it."""

_MARKUP = re.compile(r"\s*(?:<!doctype|<html|<\?xml|<head|<body)", re.IGNORECASE)

_MINIMAX: dict[str, Kind] = {
    "1001": "timeout",
    "1002": "rate_limit",
    "1004": "auth",
    "1008": "billing",
    "1039": "rate_limit",
    "1041": "rate_limit",
    "2013": "invalid_request",
    "2049": "auth",
}
"""The codes of MiniMax's ``base_resp``. Other vendors use the same numbers for other errors."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """What an error body says.

    ``status`` is an HTTP status that the body itself gives as a code, 0 where it gives none.
    ``kind`` is the kind that follows from the place of the code, None where that decides nothing.
    """

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None
    status: int = 0
    details: dict[str, Any] | None = None
    request_id: str | None = None
    kind: Kind | None = None


def read(status: int, body: bytes) -> Said:
    """Return what the body of an HTTP error says. The message is never empty."""
    try:
        said = read_value(json_text.decode(body))
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        said = Said(message="" if _MARKUP.match(text) else limited(text))
    if said.message:
        return said
    return msgspec.structs.replace(said, message=status_text(status))


def read_value(value: Any) -> Said:
    """Return what a decoded error body says, or an error object inside a stream."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return _read(value, DEPTH)


def _read(value: Any, depth: int) -> Said:
    if depth == 0:
        return Said()
    if isinstance(value, list):
        return _together([_read(each, depth - 1) for each in value[:ERRORS]])
    if isinstance(value, str):
        return Said(message=limited(value))
    if not isinstance(value, dict):
        return Said()
    error = next((value[key] for key in _INSIDE if value.get(key)), None)
    if isinstance(error, dict):
        said = _object(error, depth)
        if error is value.get("base_resp") and said.code in _MINIMAX:
            said = msgspec.structs.replace(said, kind=_MINIMAX[said.code])
    elif isinstance(error, list):
        said = _or_outside(_read(error, depth - 1), value, depth)
    elif isinstance(error, str):
        said = _object(value, depth)
        if error.lower() not in _PHRASES or not said.message:
            said = msgspec.structs.replace(said, message=limited(error))
    elif "detail" in value:
        said = _or_outside(_detail(value["detail"], depth), value, depth)
    else:
        said = _object(value, depth)
    request_id = value.get("request_id")
    if isinstance(request_id, str):
        said = msgspec.structs.replace(said, request_id=request_id)
    return said


def limited(message: str) -> str:
    """Return ``message``, cut between characters to at most ``MESSAGE_BYTES``."""
    data = message.encode("utf-8", "replace")
    return data[:MESSAGE_BYTES].decode("utf-8", "ignore")


def status_text(status: int) -> str:
    """Return the meaning of an HTTP status in words."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}" if status else "the backend reported an error"


def _object(error: dict[str, Any], depth: int) -> Said:
    code = next((error[key] for key in _CODES if error.get(key) is not None), None)
    numeric = code if isinstance(code, int) and not isinstance(code, bool) else 0
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        numeric = int(code)
    if 1000 <= numeric < 10_000:
        # No status: a number of the vendor's own.
        code, numeric = str(numeric), 0
    inner = _message(error, depth)
    text = inner.message
    prompt, limit = error.get("n_prompt_tokens"), error.get("n_ctx")
    if isinstance(prompt, int) and isinstance(limit, int) and not context_overflow.numbers(text):
        text = f"{text} ({prompt} tokens > {limit} maximum)".lstrip()
    details = error.get("details")
    if isinstance(details, list) and any(_place(each) for each in details[:ERRORS]):
        listed = _detail(details, depth)
        inner = Said(code=inner.code, param=inner.param or listed.param)
        text = f"{text}: {listed.message}" if text else listed.message
    text = _with_violations(_passed_on(error, text), details)
    kind = error.get("type") or error.get("error_type") or error.get("status")
    param = error.get("param")
    if isinstance(param, str) and " " in param:
        # Some put the words there, and no more than that something is wrong into the message.
        text, param = f"{text}: {param}" if text else param, None
    return Said(
        message=limited(text),
        type=kind if isinstance(kind, str) else "",
        code=code if isinstance(code, str) and not numeric else inner.code,
        param=param if isinstance(param, str) else inner.param,
        status=numeric if 400 <= numeric < 600 else 0,
        details=details if isinstance(details, dict) else None,
    )


def _message(error: dict[str, Any], depth: int) -> Said:
    """Return the message of an error object. Mistral puts an object in its place, others a list."""
    for key in _WORDS:
        value = error.get(key)
        if isinstance(value, str) and value:
            return Said(message=value)
        if isinstance(value, list) and key in _LISTS:
            return _detail(value, depth)
        if isinstance(value, (dict, list)):
            said = _read(value, depth - 1)
            if said.message:
                return said
    return Said()


def _with_violations(text: str, details: Any) -> str:
    """Return ``text`` with those of the violations in ``details`` that it does not mention.

    Google lists them beside the message.
    """
    lines = [text] if text else []
    for detail in details[:ERRORS] if isinstance(details, list) else ():
        listed = detail.get("fieldViolations") if isinstance(detail, dict) else None
        for each in listed[:ERRORS] if isinstance(listed, list) else ():
            words = each.get("description") if isinstance(each, dict) else None
            if not isinstance(words, str) or not words or words in text:
                continue
            field = each.get("field")
            named = isinstance(field, str) and field and field not in words
            lines.append(f"{field}: {words}" if named else words)
    return "\n".join(lines)


def _together(said: list[Said]) -> Said:
    """Return several errors as one: the first one, with the messages of all."""
    if not said:
        return Said()
    texts = dict.fromkeys(each.message for each in said if each.message)
    return msgspec.structs.replace(said[0], message=limited("; ".join(texts)))


def _or_outside(said: Said, value: dict[str, Any], depth: int) -> Said:
    """Return ``said``, with what it lacks itself taken from the fields around it."""
    around = _object({key: each for key, each in value.items() if key != "detail"}, depth)
    return Said(
        message=said.message or around.message,
        type=said.type or around.type,
        code=said.code or around.code,
        param=said.param or around.param,
        status=said.status or around.status,
        details=said.details or around.details,
    )


def _passed_on(error: dict[str, Any], text: str) -> str:
    """Return ``text`` with the message of the provider behind OpenRouter.

    OpenRouter's own message says only that a provider returned an error. The provider's message of
    a context overflow replaces it, so that clients recognise the overflow.
    """
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str) or not raw:
        return text
    said = read(0, raw.encode("utf-8", "replace"))
    if context_overflow.is_overflow(said.message) or not text:
        return said.message
    return text if said.message in text else f"{text}: {said.message}"


def _place(entry: Any) -> str:
    """Return the place in the request that a validator's entry names, "" where it names none."""
    if not isinstance(entry, dict):
        return ""
    place = next((entry[key] for key in _PLACES if entry.get(key)), None)
    if isinstance(place, list):
        place = ".".join(str(step) for step in place)
    return place if isinstance(place, str) else ""


def _detail(detail: Any, depth: int) -> Said:
    """Return what FastAPI's ``detail`` says: a text, or a list of what is wrong and where."""
    if isinstance(detail, str):
        return Said(message=limited(detail))
    if isinstance(detail, dict):
        return _read(detail, depth - 1)
    if not isinstance(detail, list):
        return Said()
    texts = []
    places = []
    for entry in detail[:ERRORS]:
        if isinstance(entry, str):
            texts.append(entry)
        if not isinstance(entry, dict):
            continue
        place = _place(entry)
        places.append(place.removeprefix("body."))
        words = entry.get("msg") or entry.get("message") or entry.get("detail") or ""
        texts.append(f"{place}: {words}".removeprefix(": "))
    return Said(message=limited("; ".join(texts)), param=next(iter(places), None) or None)
