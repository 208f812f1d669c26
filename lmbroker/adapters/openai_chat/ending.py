"""How an answer ended and what it cost, both ways (translation.md 3.2 and 3.3)."""

from typing import Any

from lmbroker.errors import ErrorInfo
from lmbroker.unified.response import Stop, StopReason, Usage, count_of

JSON = dict[str, Any]

_REASONS: dict[str, StopReason] = {
    "stop": "end",
    "length": "max_tokens",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "refusal",
}

CALLED = ("tool_calls", "function_call")
"""What a backend says when its answer calls something, today and formerly."""

_FINISH_REASONS: dict[StopReason, str] = {
    "end": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "tool_calls": "tool_calls",
    "refusal": "content_filter",
    "paused": "length",
    "context_full": "length",
    "compaction": "length",
    "other": "stop",
}

_TIERS = {"default": "standard"}
_SERVICE_TIERS = {"standard": "default", "batch": "default"}


def decode_stop(finish: Any, *, calls: bool, refusal: str = "", matched: Any = None) -> Stop:
    """``finish`` is the backend's word, None where it gave none; ``matched`` what vLLM and
    SGLang add: the stop string that was met, which counts if the client asked for it (the
    encoder knows)."""
    raw = finish if isinstance(finish, str) else None
    if refusal:
        return Stop(reason="refusal", details=_refusal(refusal), raw=raw)
    reason = _REASONS.get(raw or "", "end")
    if reason == "refusal":
        return Stop(reason="refusal", details=_refusal(None), raw=raw)
    if reason in ("end", "tool_calls"):
        reason = "tool_calls" if calls else "end"
    if reason == "end" and raw == "stop" and isinstance(matched, str) and matched:
        return Stop(reason="stop_sequence", sequence=matched, raw=raw)
    return Stop(reason=reason, raw=raw)


def finish_error(finish: Any) -> ErrorInfo | None:
    """The error that some backends tell as a finish reason."""
    if finish == "insufficient_system_resource":
        return ErrorInfo(
            kind="overloaded",
            message="the backend ran out of resources",
            code="server_is_overloaded",
        )
    if finish in ("error", "network_error", "abort"):
        return ErrorInfo(kind="server", message="the backend broke its answer off with an error")
    return None


def encode_stop(stop: Stop, *, legacy: bool) -> str:
    """The finish_reason; ``legacy``: the client offered ``functions``."""
    reason = _FINISH_REASONS[stop.reason]
    return "function_call" if legacy and reason == "tool_calls" else reason


def explanation(stop: Stop) -> str:
    """Why a refusal refused, "" where nobody said."""
    text = (stop.details or {}).get("explanation") if stop.reason == "refusal" else None
    return text if isinstance(text, str) else ""


def decode_usage(usage: Any) -> Usage | None:
    """None where no tokens were counted at all.

    OpenAI's prompt includes what was cached, ours does not. Some backends (xAI) leave reasoning
    out of ``completion_tokens``, which shows in the total.
    """
    if not isinstance(usage, dict):
        return None
    prompt = count_of(usage.get("prompt_tokens"))
    completion = count_of(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        return None
    prompt, completion = prompt or 0, completion or 0
    cached = written = 0
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        cached = count_of(details.get("cached_tokens")) or 0
        if "cache_write_tokens" in details:
            written = count_of(details["cache_write_tokens"]) or 0
    if not cached and "prompt_cache_hit_tokens" in usage:
        cached = count_of(usage["prompt_cache_hit_tokens"]) or 0
    reasoning = None
    out = usage.get("completion_tokens_details")
    if isinstance(out, dict):
        reasoning = count_of(out.get("reasoning_tokens"))
    if reasoning is None and "reasoning_tokens" in usage:
        reasoning = count_of(usage["reasoning_tokens"])
    if reasoning and usage.get("total_tokens") == prompt + completion + reasoning:
        completion += reasoning
    return Usage(
        input=max(0, prompt - cached - written),
        cache_read=cached,
        cache_write=written,
        output=completion,
        reasoning=reasoning,
    )


def encode_usage(usage: Usage) -> JSON:
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


def decode_tier(tier: Any) -> str | None:
    return _TIERS.get(tier, tier) if isinstance(tier, str) else None


def encode_tier(tier: str | None) -> str | None:
    return _SERVICE_TIERS.get(tier, tier) if tier else None


def _refusal(text: str | None) -> JSON:
    return {"type": "refusal", "category": None, "explanation": text}
