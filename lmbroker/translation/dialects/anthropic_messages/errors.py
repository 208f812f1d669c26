"""Errors of the Anthropic dialect, both ways (translation.md 5.1 and 5.2)."""

from collections.abc import Mapping

from lmbroker.errors import ErrorInfo, Kind
from lmbroker.json_text import JSON
from lmbroker.translation.refusals import context_overflow, error_bodies, error_kinds

KINDS: dict[Kind, tuple[int, str]] = {
    "invalid_request": (400, "invalid_request_error"),
    "context_length": (400, "invalid_request_error"),
    "unsupported": (400, "invalid_request_error"),
    "too_large": (413, "request_too_large"),
    "auth": (401, "authentication_error"),
    "billing": (402, "billing_error"),
    "permission": (403, "permission_error"),
    "not_found": (404, "not_found_error"),
    "conflict": (409, "conflict_error"),
    "rate_limit": (429, "rate_limit_error"),
    "timeout": (504, "timeout_error"),
    "overloaded": (529, "overloaded_error"),
    "server": (500, "api_error"),
    "bad_upstream": (502, "api_error"),
    "unreachable": (502, "api_error"),
    "truncated": (502, "api_error"),
    "cancelled": (499, "api_error"),
}
"""Kind -> HTTP status, type."""

PROMPT_TOO_LONG = "prompt is too long: "
LIMIT_EXCEEDED = "input length and `max_tokens` exceed context limit: "


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorInfo:
    """Return the meaning of a backend's HTTP error; names of ``headers`` are in lower case."""
    said = error_bodies.read(status, body)
    kind = error_kinds.kind_of(status, said)
    reason = (said.details or {}).get("error_code")
    if (
        kind == "rate_limit"
        and "retry-after" not in headers
        and isinstance(reason, str)
        and reason.endswith("spend_limit_reached")
    ):
        kind = "billing"
    return error_kinds.http_error(status, headers, said, kind, headers.get("request-id"))


def encode_error(error: ErrorInfo, request_id: str) -> tuple[int, JSON]:
    """Return the HTTP status and body of ``error``."""
    return KINDS[error.kind][0], body(error, request_id)


def body(error: ErrorInfo, request_id: str) -> JSON:
    """Return the error object, which is the same in a body and inside a stream.

    Its ``request_id`` is the one in the header: the backend's where there is one, else the
    broker's.
    """
    inner: JSON = {"type": KINDS[error.kind][1], "message": message(error)}
    if error.details:
        inner["details"] = error.details
    return {"type": "error", "error": inner, "request_id": error.backend_request_id or request_id}


def reworded_overflow(value: JSON, error: ErrorInfo, request_id: str) -> JSON | None:
    """Return ``value``, a backend's body for a context overflow, in the words that clients know.

    It is None where the body has them already.
    """
    held = value.get("error")
    if value.get("type") != "error" or not isinstance(held, dict):
        return body(error, request_id)
    words, kind = message(error), KINDS[error.kind][1]
    if held.get("message") == words and held.get("type") == kind:
        return None
    return {**value, "error": {**held, "type": kind, "message": words}}


def message(error: ErrorInfo) -> str:
    """Return the message of ``error``.

    A context overflow gets the form that coding agents parse.
    """
    text = error_bodies.limited(error.message)
    if error.kind != "context_length":
        return text
    numbers = context_overflow.numbers(text)
    if numbers is None:
        known = text.startswith((PROMPT_TOO_LONG, LIMIT_EXCEEDED))
        return text if known else error_bodies.limited(PROMPT_TOO_LONG + text)
    if numbers.output is None:
        return f"{PROMPT_TOO_LONG}{numbers.prompt} tokens > {numbers.limit} maximum"
    return (
        f"{LIMIT_EXCEEDED}{numbers.prompt} + {numbers.output} > {numbers.limit}, "
        "decrease input length or `max_tokens` and try again"
    )
