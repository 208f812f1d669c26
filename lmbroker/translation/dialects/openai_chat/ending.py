"""Stop reason and usage of an answer, as clients of this dialect get them.

See translation.md 3.2 and 3.3.
"""

from lmbroker.json_text import JSON
from lmbroker.translation.unified.response import Stop, StopReason
from lmbroker.usage import Usage

CALLED = ("tool_calls", "function_call")
"""Finish reasons of an answer that calls tools: the current one and the legacy one."""

_FINISH_REASONS: dict[StopReason, str] = {
    "end": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "paused": "length",
    "context_full": "length",
    "compaction": "length",
    "other": "length",
}


def encode_stop(stop: Stop, *, legacy: bool) -> str:
    """Return the ``finish_reason`` for ``stop``; ``legacy``: the client offered ``functions``."""
    reason = _FINISH_REASONS[stop.reason]
    return "function_call" if legacy and reason == "tool_calls" else reason


def encode_usage(usage: Usage) -> JSON:
    """Return the ``usage`` object of an answer, whose prompt count includes cached tokens."""
    prompt = usage.input + usage.cache_read + usage.cache_write
    body: JSON = {
        "prompt_tokens": prompt,
        "completion_tokens": usage.output,
        "total_tokens": prompt + usage.output,
        "prompt_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
    }
    if usage.reasoning is not None:
        body["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return body
