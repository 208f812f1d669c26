"""What a backend's error says, whatever its shape (translation.md 5.1 and 5.2).

Backends that claim a dialect still answer errors in a dozen forms: ``{"error": {...}}``,
``{"error": "text"}``, FastAPI's ``detail``, a bare ``message``, Gemini's list, HTML of a proxy
in between, nothing at all. ``read`` finds the words in all of them, ``kind_of`` decides what
they mean.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import msgspec

from lmbroker.adapters import context_overflow
from lmbroker.errors import ErrorInfo, Kind
from lmbroker.unified import json_text

MESSAGE_BYTES = 4096
"""Longest message that is passed on, in bytes of UTF-8."""

_STATUS_KINDS: dict[int, Kind] = {
    401: "auth",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    429: "rate_limit",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}

_WORD_KINDS: dict[str, Kind] = {
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "model_context_window_exceeded": "context_length",
    "insufficient_quota": "billing",
    "exceeded_current_quota_error": "billing",
    "credit_balance_exhausted": "billing",
    "billing_error": "billing",
    "server_is_overloaded": "overloaded",
    "overloaded_error": "overloaded",
    "service_unavailable_error": "overloaded",
    "insufficient_system_resource": "overloaded",
    "slow_down": "rate_limit",
    "content_filter": "invalid_request",
}
"""Types and codes that say more than the HTTP status."""

_TYPE_KINDS: dict[str, Kind] = {
    "invalid_request_error": "invalid_request",
    "authentication_error": "auth",
    "invalid_api_key": "auth",
    "permission_error": "permission",
    "not_found_error": "not_found",
    "model_not_found": "not_found",
    "conflict_error": "conflict",
    "request_too_large": "too_large",
    "rate_limit_error": "rate_limit",
    "rate_limit_exceeded": "rate_limit",
    "timeout_error": "timeout",
    "timeout": "timeout",
    "api_error": "server",
    "server_error": "server",
}
"""Types and codes that only count where there is no HTTP status: inside a stream."""

_NO_CREDIT = re.compile(
    r"credit balance is too low|insufficient (?:balance|credits)", re.IGNORECASE
)
_BAD_KEY = re.compile(
    r"\s*(?:(?:incorrect|invalid) (?:x-)?api[ -]?key|api key not valid)", re.IGNORECASE
)
"""xAI and Gemini answer a wrong key with 400. Only at the start: further on, a text may tell of
somebody else's key."""
_MARKUP = re.compile(r"\s*(?:<!doctype|<html|<\?xml|<head|<body)", re.IGNORECASE)

NOT_LET_IN = ErrorInfo(
    kind="bad_upstream", message="backend authentication failed", code="backend_auth"
)
"""What a client hears when a backend does not take the broker's own credential: nothing of what
the backend said, and no status that would blame the client's key (translation.md 5.2)."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The words of an error body. ``status``: a number that the body itself gives as code."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None
    status: int = 0
    details: dict[str, Any] | None = None
    request_id: str | None = None


def read(status: int, body: bytes) -> Said:
    """What the body of an HTTP error says; its message is never empty."""
    try:
        said = read_value(json_text.decode(body))
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        said = Said(message="" if _MARKUP.match(text) else limited(text))
    if said.message:
        return said
    return msgspec.structs.replace(said, message=status_text(status))


def read_value(value: Any) -> Said:
    """What a decoded error body says, or an error object inside a stream."""
    while isinstance(value, list) and value:
        value = value[0]
    if isinstance(value, str):
        return Said(message=limited(value))
    if not isinstance(value, dict):
        return Said()
    error = value.get("error")
    if isinstance(error, dict):
        said = _object(error)
    elif isinstance(error, str):
        said = msgspec.structs.replace(_object(value), message=limited(error))
    elif "detail" in value:
        said = _detail(value["detail"])
    else:
        said = _object(value)
    request_id = value.get("request_id")
    if isinstance(request_id, str):
        said = msgspec.structs.replace(said, request_id=request_id)
    return said


def kind_of(status: int, said: Said) -> Kind:
    """The kind of an error with HTTP ``status``, 0 inside a stream."""
    status = status or said.status
    words = [word.lower() for word in (said.code, said.type) if word]
    kinds = [_WORD_KINDS[word] for word in words if word in _WORD_KINDS]
    if kinds:
        return kinds[0]
    if any(word.startswith("billing_") for word in words):
        return "billing"
    if status in (0, 400, 413, 422, 500) and context_overflow.told(said.message):
        return "context_length"
    if status in (0, 400) and _BAD_KEY.match(said.message):
        return "auth"
    if status in (0, 400, 402, 403, 429) and _NO_CREDIT.search(said.message):
        return "billing"
    if status in _STATUS_KINDS:
        return _STATUS_KINDS[status]
    if 400 <= status < 500:
        return "invalid_request"
    if status == 0:
        for word in words:
            if word in _TYPE_KINDS:
                return _TYPE_KINDS[word]
    return "bad_upstream" if 0 < status < 400 else "server"


def http_error(
    status: int, headers: Mapping[str, str], said: Said, kind: Kind, request_id: str | None
) -> ErrorInfo:
    """The error of an HTTP answer; the retry headers are relayed as they came."""
    return ErrorInfo(
        kind=kind,
        message=said.message,
        status=status,
        param=said.param,
        code=said.code or None,
        retry_after=headers.get("retry-after"),
        retry_after_ms=headers.get("retry-after-ms"),
        should_retry=headers.get("x-should-retry"),
        backend_request_id=request_id or said.request_id,
        details=said.details,
        quoted=True,
    )


def stream_error(value: Any) -> ErrorInfo:
    """The error that a backend told inside a stream or with status 200; ``value`` is the decoded
    event or body."""
    said = read_value(value)
    kind = kind_of(0, said)
    if kind in ("auth", "permission"):
        return NOT_LET_IN
    return ErrorInfo(
        kind=kind,
        message=said.message or "the backend broke the stream off with an error",
        status=said.status,
        param=said.param,
        code=said.code or None,
        backend_request_id=said.request_id,
        details=said.details,
        quoted=True,
    )


def limited(message: str) -> str:
    """At most 4 KiB of ``message``, cut between characters."""
    data = message.encode("utf-8", "replace")
    return data[:MESSAGE_BYTES].decode("utf-8", "ignore")


def status_text(status: int) -> str:
    """The meaning of an HTTP status in words."""
    try:
        return f"HTTP {status} {HTTPStatus(status).phrase}"
    except ValueError:
        return f"HTTP {status}" if status else "the backend reported an error"


def _object(error: dict[str, Any]) -> Said:
    code = error.get("code")
    numeric = code if isinstance(code, int) and not isinstance(code, bool) else 0
    if isinstance(code, str) and code.isdecimal() and len(code) == 3:
        numeric = int(code)
    message = error.get("message")
    text = message if isinstance(message, str) else ""
    prompt, limit = error.get("n_prompt_tokens"), error.get("n_ctx")
    if isinstance(prompt, int) and isinstance(limit, int) and not context_overflow.numbers(text):
        text = f"{text} ({prompt} tokens > {limit} maximum)".lstrip()
    text = _passed_on(error) or text
    kind = error.get("type")
    param = error.get("param")
    details = error.get("details")
    return Said(
        message=limited(text),
        type=kind if isinstance(kind, str) else "",
        code=code if isinstance(code, str) and not numeric else "",
        param=param if isinstance(param, str) else None,
        status=numeric if 400 <= numeric < 600 else 0,
        details=details if isinstance(details, dict) else None,
    )


def _passed_on(error: dict[str, Any]) -> str:
    """The words of a context overflow that OpenRouter wraps: its own message says no more than
    that a provider returned an error."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str) or not context_overflow.told(raw):
        return ""
    return read(0, raw.encode("utf-8", "replace")).message


def _detail(detail: Any) -> Said:
    """FastAPI: a text, or a list of what is wrong where."""
    if isinstance(detail, str):
        return Said(message=limited(detail))
    if isinstance(detail, dict):
        return _object(detail)
    if not isinstance(detail, list):
        return Said()
    texts = []
    places = []
    for entry in detail:
        if not isinstance(entry, dict):
            continue
        loc = entry.get("loc")
        place = ".".join(str(step) for step in loc) if isinstance(loc, list) else ""
        places.append(place.removeprefix("body."))
        texts.append(f"{place}: {entry.get('msg', '')}".removeprefix(": "))
    return Said(message=limited("; ".join(texts)), param=next(iter(places), None) or None)
