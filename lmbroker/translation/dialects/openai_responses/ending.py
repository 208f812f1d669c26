"""Stop reasons and usage of Responses (translation.md 3.2 and 8.3)."""

from typing import Any

import msgspec

from lmbroker.errors import ErrorInfo
from lmbroker.json_text import JSON
from lmbroker.translation.dialects.openai import ending
from lmbroker.translation.refusals import error_kinds
from lmbroker.translation.shared import stop_words
from lmbroker.translation.unified.response import Stop
from lmbroker.usage import Usage, count_of

EVENTS = {
    "response.completed": "",
    "response.done": "",
    "response.incomplete": "incomplete",
    "response.failed": "failed",
    "response.cancelled": "cancelled",
}
"""Terminal events -> the status that each stands for."""
_GOES_ON = ("queued", "in_progress")
"""Statuses of an answer that is still to come."""


def word_of(response: JSON, status: str = "") -> str:
    """Return the reason why an answer ended: its status, or why it is incomplete.

    ``status`` is the status of the event that carried the answer.
    """
    status = status or _text(response.get("status"))
    if status != "incomplete":
        return "completed" if status in _GOES_ON else status
    details = response.get("incomplete_details")
    reason = _text(details.get("reason")) if isinstance(details, dict) else ""
    return reason or status


def usage_of(response: JSON) -> Usage | None:
    """Return the token counts of an answer, and the number of its provider's web searches."""
    usage = ending.decode_usage(response.get("usage"))
    tools = response.get("tool_usage")
    searched = tools.get("web_search") if isinstance(tools, dict) else None
    count = count_of(searched.get("num_requests")) if isinstance(searched, dict) else None
    if usage is None or not count:
        return usage
    counts = {"web_search_requests": count, "web_fetch_requests": 0}
    return msgspec.structs.replace(usage, server_tools=counts)


def decode_stop(word: str, *, calls: bool, refusal: str = "") -> Stop:
    """Return the stop of an answer that ended for the reason ``word``.

    ``refusal`` is what the model said instead of an answer, ``calls``: it calls the client's tools.
    """
    return ending.decode_stop(word or None, calls=calls, refusal=refusal)


def is_unknown(word: str) -> bool:
    """Return whether ``word`` is an unknown reason for an answer's end."""
    return stop_words.meaning(word) == "other"


def failure(response: JSON, word: str) -> ErrorInfo | None:
    """Return the error that an answer reports, None where it did not fail."""
    error = response.get("error")
    if error:
        return error_kinds.stream_error({"error": error})
    return stop_words.failure(word)


def is_pending(response: JSON) -> bool:
    """Return whether an answer was put off: it has no output yet, and nobody will ask for it."""
    return response.get("status") in _GOES_ON and not response.get("output")


def created_of(response: JSON) -> int | None:
    """Return when the answer began, in unix seconds, None where it does not say.

    Some servers give fractions of a second.
    """
    created = response.get("created_at")
    if isinstance(created, bool) or not isinstance(created, int | float):
        return None
    return int(created) if abs(created) < 1e15 else None


def tier_of(response: JSON) -> str | None:
    """Return the service tier of the answer, None for ``auto``, which only repeats the request."""
    tier = response.get("service_tier")
    return None if tier == "auto" else ending.decode_tier(tier)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
