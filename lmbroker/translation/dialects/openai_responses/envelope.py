"""The ``response`` object around an answer (translation.md 8.2)."""

import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.shared.names import base62
from lmbroker.translation.unified.response import Stop, StopReason
from lmbroker.usage import Usage

_ECHOED: dict[str, Any] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "prompt_cache_key": None,
    "prompt_cache_retention": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "temperature": None,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": None,
    "truncation": "disabled",
    "user": None,
}
"""The fields of its request that an answer repeats, with the values where the request had none."""
_PARTLY_ECHOED: dict[str, JSON] = {name: _ECHOED[name] for name in ("reasoning", "text")}
"""Objects of which the answer repeats the fields that the request has."""
_ECHOED_IF_SENT = ("prompt", "prompt_cache_options")

_REASONS: dict[StopReason, str] = {
    "max_tokens": "max_output_tokens",
    "refusal": "content_filter",
    "paused": "max_output_tokens",
    "context_full": "max_output_tokens",
    "compaction": "max_output_tokens",
    "other": "max_output_tokens",
}
"""Stop reason -> why the answer is incomplete; after others it is complete."""
_NO_IMAGES: JSON = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}
"""The type of ``tool_usage`` demands counts of all kinds of tools."""
_LIFETIMES = ("30m", "12h")

_SUFFIX = re.compile(r"[A-Za-z0-9_-]{1,48}")
"""What may follow the prefix of an item's id: OpenAI takes 64 characters, and no others."""
_MADE_UP_DIGITS = 24


def echoed(echo: Mapping[str, Any]) -> JSON:
    """Return the fields of an answer that repeat its request."""
    body: JSON = dict(_ECHOED)
    for key, given in echo.items():
        usual = _PARTLY_ECHOED.get(key)
        if given is None:
            continue
        if usual is not None:
            body[key] = {**usual, **given} if isinstance(given, Mapping) else usual
        elif key in _ECHOED or key in _ECHOED_IF_SENT:
            body[key] = given
    return body


def head(id: str, reply: Reply, status: str, **ends: Any) -> JSON:
    """Return the fields of an answer before its output.

    ``ends``: ``error`` or ``incomplete_details``.
    """
    return {
        "id": id,
        "object": "response",
        "created_at": reply.created,
        "status": status,
        "background": False,
        "error": None,
        "incomplete_details": None,
        **ends,
        "model": reply.model,
        "previous_response_id": None,
        "store": False,
    }


def incomplete(stop: Stop, *, refused: bool) -> str | None:
    """Return the reason why an answer with this stop is incomplete, None where it is complete.

    ``refused``: it holds a refusal in the model's own words.
    """
    if refused and stop.reason == "refusal":
        return None
    return _REASONS.get(stop.reason)


def encode_usage(usage: Usage) -> JSON:
    """Return the ``usage`` object of an answer with all counters that its type demands."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    inside: JSON = {
        "cached_tokens": usage.cache_read,
        "cache_write_tokens": usage.cache_write,
    }
    written = usage.cache_write_by_ttl or {}
    if any(written.get(ttl) for ttl in _LIFETIMES):
        inside["cache_write_tokens_details"] = {
            f"ttl_{ttl}_tokens": written.get(ttl, 0) for ttl in _LIFETIMES
        }
    return {
        "input_tokens": prompt,
        "input_tokens_details": inside,
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": prompt + usage.output,
    }


def last_fields(usage: Usage, tier: str | None) -> JSON:
    """Return the fields that are known only when the answer ends.

    ``tier`` in OpenAI's terms, None where the client did not ask for one.
    """
    body: JSON = {"usage": encode_usage(usage)}
    searches = (usage.server_tools or {}).get("web_search_requests")
    if isinstance(searches, int) and searches:
        body["tool_usage"] = {"image_gen": _NO_IMAGES, "web_search": {"num_requests": searches}}
    if tier:
        body["service_tier"] = tier
    return body


def item_suffix(id: str, prefix: str) -> str:
    """Return the end that the ids of all items of the answer ``id`` share."""
    suffix = id.removeprefix(prefix)
    if _SUFFIX.fullmatch(suffix):
        return suffix
    return base62(sha256(suffix.encode("utf-8", "surrogatepass")).digest(), _MADE_UP_DIGITS)
