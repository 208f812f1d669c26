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

from lmbroker import json_text
from lmbroker.errors import ErrorInfo, Kind
from lmbroker.translation.refusals import context_overflow
from lmbroker.translation.refusals.wordings import about_the_operation, about_the_request

MESSAGE_BYTES = 4096
"""Longest message that is passed on, in bytes of UTF-8."""

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
"""Types and codes that say more than the HTTP status. The numbers are Zhipu's,
``tokens_limit_reached`` GitHub's, ``too_many_prompt_tokens`` Perplexity's."""

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
"""Types and codes that only count where there is no HTTP status: inside a stream."""

_OF_THE_REQUEST = re.compile(
    r"invalid_(?:prompt|image|base64)|image_|unsupported_image|empty_image|failed_to_download"
    r"|data_residency|\w+_policy"
)
"""Codes of OpenAI's Responses that tell, inside a stream, what is wrong with the request."""

_INSIDE = ("external_model_message", "error", "errors", "base_resp")
"""Keys under which an error body holds its error: that of the model behind Databricks, everybody's,
Cloudflare's, MiniMax's."""

_WORDS = ("message", "Message", "detail", "issues", "error_message", "status_msg", "msg", "error")
"""Keys under which an error object holds its words."""

_LISTS = ("detail", "details", "issues")
"""Keys under which validators list what is wrong where: FastAPI's, Azure's, Zod's."""

_PLACES = ("loc", "path")
"""Keys under which an entry of such a list holds its place."""

_CODES = ("code", "error_code", "status_code")

ERRORS = 50
"""Most errors of one body that are read."""

DEPTH = 8
"""How deep an error body is looked into."""

_NO_CREDIT = re.compile(
    r"credit balance is too low|insufficient (?:balance|credits)", re.IGNORECASE
)
_BAD_KEY = re.compile(
    r"\s*(?:(?:incorrect|invalid) (?:x-)?api[ -]?key|api key not valid)", re.IGNORECASE
)
"""xAI and Gemini answer a wrong key with 400. Only at the start: further on, a text may tell of
somebody else's key."""
_PHRASES = frozenset(status.phrase.lower() for status in HTTPStatus)
"""What some put under ``error``, beside their words."""

_MARKUP = re.compile(r"\s*(?:<!doctype|<html|<\?xml|<head|<body)", re.IGNORECASE)

NOT_LET_IN = ErrorInfo(
    kind="bad_upstream", message="backend authentication failed", code="backend_auth"
)
"""What a client hears when a backend does not take the broker's own credential: nothing of what
the backend said, and no status that would blame the client's key (translation.md 5.2)."""


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
"""Codes of MiniMax's ``base_resp``, which other vendors give other meanings."""


class Said(msgspec.Struct, frozen=True, kw_only=True):
    """The words of an error body. ``status``: a number that the body itself gives as code;
    ``kind``: what it means by the place where it stood, None where that says nothing."""

    message: str = ""
    type: str = ""
    code: str = ""
    param: str | None = None
    status: int = 0
    details: dict[str, Any] | None = None
    request_id: str | None = None
    kind: Kind | None = None


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


def kind_of(status: int, said: Said) -> Kind:
    """The kind of an error with HTTP ``status``, 0 inside a stream."""
    told_in_band = status == 0
    status = status or said.status
    if said.kind is not None and told_in_band:
        return said.kind
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
    if status in (0, 400, 404, 422, 500) and about_the_operation(said.message):
        return "unsupported"
    if status in _STATUS_KINDS:
        return _STATUS_KINDS[status]
    if status == 500 and about_the_request(said.message):
        return "invalid_request"
    if 400 <= status < 500:
        return "invalid_request"
    if told_in_band:
        for word in words:
            if _TYPE_KINDS.get(word, "server") != "server":
                return _TYPE_KINDS[word]
            if _OF_THE_REQUEST.match(word):
                return "invalid_request"
        return _by_words(said.message)
    return "bad_upstream" if 0 < status < 400 else "server"


def _by_words(message: str) -> Kind:
    """The kind of an error that nothing but its words tells."""
    if _TOO_OFTEN.search(message):
        return "rate_limit"
    return "overloaded" if _BUSY.search(message) else "server"


def http_error(
    status: int, headers: Mapping[str, str], said: Said, kind: Kind, request_id: str | None
) -> ErrorInfo:
    """The error of an HTTP answer; the retry headers are relayed as they came."""
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
        code=said.code or _code_of(kind),
        should_retry=_should_retry(kind),
        backend_request_id=said.request_id,
        details=said.details,
        quoted=True,
    )


def _code_of(kind: Kind) -> str | None:
    """The code of an error to which the backend gives none."""
    return "unsupported_operation" if kind == "unsupported" else None


def _should_retry(kind: Kind) -> str | None:
    """Clients try each 5xx again: an operation that a backend lacks it lacks the next time, too."""
    return "false" if kind == "unsupported" else None


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
    """The words of an error object. Mistral puts an object in their place, others a list."""
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
    """``text`` and the violations that Google lists beside it, as far as it does not tell them."""
    told = [text] if text else []
    for detail in details[:ERRORS] if isinstance(details, list) else ():
        listed = detail.get("fieldViolations") if isinstance(detail, dict) else None
        for each in listed[:ERRORS] if isinstance(listed, list) else ():
            words = each.get("description") if isinstance(each, dict) else None
            if not isinstance(words, str) or not words or words in text:
                continue
            field = each.get("field")
            named = isinstance(field, str) and field and field not in words
            told.append(f"{field}: {words}" if named else words)
    return "\n".join(told)


def _together(said: list[Said]) -> Said:
    """Several errors as one: the first one, with the words of all."""
    if not said:
        return Said()
    texts = dict.fromkeys(each.message for each in said if each.message)
    return msgspec.structs.replace(said[0], message=limited("; ".join(texts)))


def _or_outside(said: Said, value: dict[str, Any], depth: int) -> Said:
    """``said`` with what stands around it: its code, and its words where it has none itself."""
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
    """``text`` with the words of the provider behind OpenRouter, whose own message says no more
    than that a provider returned an error; those of a context overflow stand alone."""
    metadata = error.get("metadata")
    raw = metadata.get("raw") if isinstance(metadata, dict) else None
    if not isinstance(raw, str) or not raw:
        return text
    said = read(0, raw.encode("utf-8", "replace"))
    if context_overflow.told(said.message) or not text:
        return said.message
    return text if said.message in text else f"{text}: {said.message}"


def _place(entry: Any) -> str:
    """Where a validator's entry says that something is wrong."""
    if not isinstance(entry, dict):
        return ""
    place = next((entry[key] for key in _PLACES if entry.get(key)), None)
    if isinstance(place, list):
        place = ".".join(str(step) for step in place)
    return place if isinstance(place, str) else ""


def _detail(detail: Any, depth: int) -> Said:
    """FastAPI: a text, or a list of what is wrong where."""
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
