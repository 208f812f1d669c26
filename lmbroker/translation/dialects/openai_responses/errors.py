"""Errors for clients of Responses (translation.md 5.1 and 5.2)."""

import re

from lmbroker.errors import ErrorInfo, Kind
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai import errors

_CODES: dict[Kind, str] = {
    "rate_limit": "rate_limit_exceeded",
    "billing": "insufficient_quota",
    "context_length": errors.CONTEXT_LENGTH,
    **dict.fromkeys(
        ("invalid_request", "unsupported", "too_large", "auth", "permission", "not_found"),
        "invalid_prompt",
    ),
}
"""Kind -> code of a failed response. Others get ``server_error``, at which clients try again."""

REQUEST_CODES = frozenset(
    (
        "invalid_prompt",
        "data_residency_mismatch",
        "bio_policy",
        "misalignment_policy_violation",
        "vector_store_timeout",
        "invalid_image",
        "invalid_image_format",
        "invalid_base64_image",
        "invalid_image_url",
        "image_too_large",
        "image_too_small",
        "image_parse_error",
        "image_content_policy_violation",
        "invalid_image_mode",
        "image_file_too_large",
        "unsupported_image_media_type",
        "empty_image_file",
        "failed_to_download_image",
        "image_file_not_found",
    )
)
"""The codes of OpenAI that say what is wrong with a request."""

GIVEN_UP = frozenset(("server_is_overloaded", "slow_down"))
"""Codes at which Codex gives up at once, although another try may help."""
UNAVAILABLE = "service_unavailable"
_AGAIN = "try again in"
_SECONDS = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6})?")


def encode_error(error: ErrorInfo, request_id: str) -> tuple[int, JSON]:
    """Return the HTTP status and body of ``error``; the request's id goes into a header."""
    status, body = errors.encode_error(error, request_id)
    if body["error"]["code"] in GIVEN_UP:
        body["error"]["code"] = UNAVAILABLE
    if error.kind == "context_length" and error.param is None:
        body["error"]["param"] = "input"
    return status, body


def failure(error: ErrorInfo) -> JSON:
    """Return the ``error`` object of a failed response; clients act on its code."""
    encoded = encode_error(error, "")[1]["error"]
    code = _CODES.get(error.kind, "server_error")
    if code == "invalid_prompt" and error.code in REQUEST_CODES:
        code = error.code
    message = encoded["message"]
    delay = error.retry_after or ""
    if error.kind == "rate_limit" and _SECONDS.fullmatch(delay) and _AGAIN not in message.lower():
        message = f"{message} Please {_AGAIN} {delay}s.".lstrip()
    return {"code": code, "message": message, "param": encoded["param"], "type": encoded["type"]}
