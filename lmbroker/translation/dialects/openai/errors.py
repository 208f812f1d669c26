"""Errors of OpenAI's dialects, both ways (translation.md 5.1 and 5.2)."""

from collections.abc import Mapping

from lmbroker.errors import ErrorInfo, Kind
from lmbroker.json_text import JSON
from lmbroker.translation.refusals import error_bodies, error_kinds

CONTEXT_LENGTH = "context_length_exceeded"

KINDS: dict[Kind, tuple[int, str, str | None]] = {
    "invalid_request": (400, "invalid_request_error", None),
    "context_length": (400, "invalid_request_error", CONTEXT_LENGTH),
    "unsupported": (400, "invalid_request_error", "unsupported_parameter"),
    "too_large": (413, "invalid_request_error", "request_too_large"),
    "auth": (401, "invalid_request_error", "invalid_api_key"),
    "billing": (429, "insufficient_quota", "insufficient_quota"),
    "permission": (403, "permission_error", None),
    "not_found": (404, "invalid_request_error", "not_found"),
    "conflict": (409, "invalid_request_error", "conflict"),
    "rate_limit": (429, "rate_limit_error", "rate_limit_exceeded"),
    "timeout": (504, "server_error", "timeout"),
    "overloaded": (503, "service_unavailable_error", "server_is_overloaded"),
    "server": (500, "server_error", None),
    "bad_upstream": (502, "server_error", "bad_upstream_response"),
    "unreachable": (502, "server_error", "upstream_unreachable"),
    "truncated": (502, "server_error", "upstream_stream_truncated"),
    "cancelled": (499, "server_error", "cancelled"),
}
"""Kind -> HTTP status, type, code."""


def decode_error(status: int, headers: Mapping[str, str], body: bytes) -> ErrorInfo:
    """Return the meaning of a backend's HTTP error; names of ``headers`` are in lower case."""
    said = error_bodies.read(status, body)
    kind = error_kinds.kind_of(status, said)
    return error_kinds.http_error(status, headers, said, kind, headers.get("x-request-id"))


def encode_error(error: ErrorInfo, request_id: str) -> tuple[int, JSON]:
    """Return the HTTP status and body of ``error``; the request's id goes into a header."""
    return KINDS[error.kind][0], body(error)


def reworded_overflow(value: JSON, error: ErrorInfo, request_id: str) -> JSON | None:
    """Return ``value``, a backend's body for a context overflow, with the code that clients know.

    It is None where the body has that code already.
    """
    held = value.get("error")
    if not isinstance(held, dict):
        return body(error)
    if held.get("code") == CONTEXT_LENGTH:
        return None
    return {**value, "error": {**held, "code": CONTEXT_LENGTH}}


def _reason(error: ErrorInfo) -> str | None:
    """Return the more specific reason that Anthropic gives beside an error's type."""
    reason = (error.details or {}).get("error_code")
    return reason if isinstance(reason, str) and reason else None


def body(error: ErrorInfo) -> JSON:
    """Return the error object, which is the same in a body and inside a stream."""
    _, kind, code = KINDS[error.kind]
    param = error.param
    if error.kind == "context_length":
        param = param or "messages"
    elif error.kind == "not_found" and error.code is None and "model" in error.message.lower():
        code = "model_not_found"
    elif error.kind != "billing":
        code = error.code or code or _reason(error)
    return {
        "error": {
            "message": error_bodies.limited(error.message),
            "type": kind,
            "param": param,
            "code": code,
        }
    }
