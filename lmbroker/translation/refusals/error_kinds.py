"""Says what a backend's error means: its kind, and what clients and logs get of it.

The words and the codes come from ``error_bodies``, the status from HTTP where there is one
(translation.md 5.1 and 5.2).
"""

import re
from collections.abc import Mapping
from typing import Any

from lmbroker.errors import ErrorInfo, Kind
from lmbroker.translation.refusals import context_overflow
from lmbroker.translation.refusals.error_bodies import Said, read_value
from lmbroker.translation.refusals.wordings import about_the_operation, about_the_request

_STATUS_KINDS: dict[int, Kind] = {
    401: "auth",
    402: "billing",
    403: "permission",
    404: "not_found",
    405: "unsupported",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    429: "rate_limit",
    501: "unsupported",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}

_WORD_KINDS: dict[str, Kind] = {
    "context_length_exceeded": "context_length",
    "exceed_context_size_error": "context_length",
    "too_many_prompt_tokens": "context_length",
    "tokens_limit_reached": "context_length",
    "1261": "context_length",
    "1302": "rate_limit",
    "1303": "rate_limit",
    "1305": "overloaded",
    "1113": "billing",
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
"""Types and codes that are more exact than the HTTP status. The numbers are Zhipu's,
``tokens_limit_reached`` is GitHub's and ``too_many_prompt_tokens`` Perplexity's."""

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
    "vector_store_timeout": "timeout",
    "api_error": "server",
    "server_error": "server",
}
"""Types and codes that count only inside a stream, where there is no HTTP status."""

_OF_THE_REQUEST = re.compile(
    r"invalid_(?:prompt|image|base64)|image_|unsupported_image|empty_image|failed_to_download"
    r"|data_residency|\w+_policy"
)
"""Codes of OpenAI's Responses for what is wrong with the request, inside a stream."""

_NO_CREDIT = re.compile(
    r"credit balance is too low|insufficient (?:balance|credits)", re.IGNORECASE
)
_BAD_KEY = re.compile(
    r"\s*(?:(?:incorrect|invalid) (?:x-)?api[ -]?key|api key not valid)", re.IGNORECASE
)
"""xAI and Gemini answer a wrong key with 400. Only the beginning of a message counts: what follows
may be about somebody else's key."""

NOT_LET_IN = ErrorInfo(
    kind="bad_upstream", message="backend authentication failed", code="backend_auth"
)
"""The error for a client when a backend refuses the broker's own credential (translation.md 5.2).

It repeats nothing of the backend's message, and its status does not blame the client's key."""


_BUSY = re.compile(
    r"\boverload|\b(?:too busy|is busy|server busy|at (?:full |max(?:imum)? )?capacity)\b"
    r"|\bout of capacity\b|\bno capacity\b|capacity exceeded"
    r"|(?:temporarily|currently|service|server|model) (?:is )?(?:temporarily )?unavailable"
    r"|访问量过大|负载(?:过高|已达上限)|服务(?:器)?(?:繁忙|过载)|系统繁忙|模型过载",
    re.IGNORECASE,
)
_TOO_OFTEN = re.compile(
    r"\brate[ _-]?limit|\btoo many (?:concurrent )?requests\b|\bthrottl"
    r"|\b(?:requests|tokens) per (?:second|minute|day)\b|\bslow down\b|\b[rt]p[md] limit"
    r"|速率限制|频率(?:过高|限制)|请求过(?:多|于频繁)|并发(?:数)?(?:过高|超限|限制)",
    re.IGNORECASE,
)
"""Words that count only where there is no HTTP status, and no type or code that says more."""


def kind_of(status: int, said: Said) -> Kind:
    """Return the kind of an error with HTTP ``status``, 0 inside a stream."""
    in_band = status == 0
    status = status or said.status
    if said.kind is not None and in_band:
        return said.kind
    words = [word.lower() for word in (said.code, said.type) if word]
    kinds = [_WORD_KINDS[word] for word in words if word in _WORD_KINDS]
    if kinds:
        return kinds[0]
    if any(word.startswith("billing_") for word in words):
        return "billing"
    if status in (0, 400, 413, 422, 500) and context_overflow.is_overflow(said.message):
        return "context_length"
    if status in (0, 400) and _BAD_KEY.match(said.message):
        return "auth"
    if status in (0, 400, 402, 403, 429) and _NO_CREDIT.search(said.message):
        return "billing"
    if status in (0, 400, 404, 422, 500) and about_the_operation(said.message):
        return "unsupported"
    if status in _STATUS_KINDS:
        return _STATUS_KINDS[status]
    if status == 500 and about_the_request(said.message):
        return "invalid_request"
    if 400 <= status < 500:
        return "invalid_request"
    if in_band:
        for word in words:
            if _TYPE_KINDS.get(word, "server") != "server":
                return _TYPE_KINDS[word]
            if _OF_THE_REQUEST.match(word):
                return "invalid_request"
        return _by_words(said.message)
    return "bad_upstream" if 0 < status < 400 else "server"


def _by_words(message: str) -> Kind:
    """Return the kind of an error for which there is nothing but its message."""
    if _TOO_OFTEN.search(message):
        return "rate_limit"
    return "overloaded" if _BUSY.search(message) else "server"


def http_error(
    status: int, headers: Mapping[str, str], said: Said, kind: Kind, request_id: str | None
) -> ErrorInfo:
    """Return the error of an HTTP answer. Its retry headers are passed on as they came."""
    return ErrorInfo(
        kind=kind,
        message=said.message,
        status=status,
        param=said.param,
        code=said.code or _code_of(kind),
        retry_after=headers.get("retry-after"),
        retry_after_ms=headers.get("retry-after-ms"),
        should_retry=headers.get("x-should-retry") or _should_retry(kind),
        backend_request_id=request_id or said.request_id,
        details=said.details,
        quoted=True,
    )


def stream_error(value: Any) -> ErrorInfo:
    """Return the error that a backend sent inside a stream or with status 200.

    ``value`` is the decoded event or body.
    """
    said = read_value(value)
    kind = kind_of(0, said)
    if kind in ("auth", "permission"):
        return NOT_LET_IN
    return ErrorInfo(
        kind=kind,
        message=said.message or "the backend broke the stream off with an error",
        status=said.status,
        param=said.param,
        code=said.code or _code_of(kind),
        should_retry=_should_retry(kind),
        backend_request_id=said.request_id,
        details=said.details,
        quoted=True,
    )


def _code_of(kind: Kind) -> str | None:
    """Return the code of an error for which the backend gives none."""
    return "unsupported_operation" if kind == "unsupported" else None


def _should_retry(kind: Kind) -> str | None:
    """Return the header that keeps clients from retrying an operation that a backend lacks.

    They retry every 5xx.
    """
    return "false" if kind == "unsupported" else None
