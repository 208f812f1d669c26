"""How an answer ended and what it cost, both ways (translation.md 3.2 and 3.3)."""

from collections.abc import Mapping
from typing import Any

from lmbroker.unified.response import Stop, StopReason, Usage, count_of

JSON = dict[str, Any]

_REASONS: dict[str, StopReason] = {
    "end_turn": "end",
    "stop_sequence": "stop_sequence",
    "max_tokens": "max_tokens",
    "tool_use": "tool_calls",
    "refusal": "refusal",
    "pause_turn": "paused",
    "model_context_window_exceeded": "context_full",
    "compaction": "compaction",
}
_STOP_REASONS: dict[StopReason, str] = {
    **{reason: word for word, reason in _REASONS.items()},
    "other": "end_turn",
}

NO_USAGE: JSON = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}


def decode_stop(reason: Any, sequence: Any, details: Any, *, calls: bool) -> Stop:
    """``reason`` None: the answer ended without a word."""
    if not isinstance(reason, str):
        return Stop(reason="tool_calls" if calls else "end")
    return Stop(
        reason=_REASONS.get(reason, "other"),
        sequence=sequence if isinstance(sequence, str) else None,
        details=details if isinstance(details, dict) else None,
        raw=reason,
    )


def encode_stop(stop: Stop, asked: tuple[str, ...]) -> JSON:
    """stop_reason, stop_sequence and, where there are any, stop_details. A stop string that an
    OpenAI-compatible backend names counts only if it is one of those that were ``asked`` for."""
    reason, sequence = _STOP_REASONS[stop.reason], stop.sequence
    if reason == "stop_sequence" and stop.raw != reason and sequence not in asked:
        reason = "end_turn"
    if reason != "stop_sequence":
        sequence = None
    body: JSON = {"stop_reason": reason, "stop_sequence": sequence}
    if stop.details is not None:
        body["stop_details"] = stop.details
    return body


def decode_usage(usage: Any) -> Usage | None:
    """None where no tokens were counted at all."""
    if not isinstance(usage, dict):
        return None
    new, written, cached, output = map(count_of, map(usage.get, NO_USAGE))
    if new is written is cached is output is None:
        return None
    creation = usage.get("cache_creation")
    by_ttl = _by_ttl(creation) if isinstance(creation, dict) else None
    details = usage.get("output_tokens_details")
    tools, tier = usage.get("server_tool_use"), usage.get("service_tier")
    return Usage(
        input=new or 0,
        cache_read=cached or 0,
        cache_write=written or (sum(by_ttl.values()) if by_ttl else 0),
        output=output or 0,
        reasoning=count_of(details.get("thinking_tokens")) if isinstance(details, dict) else None,
        cache_write_by_ttl=by_ttl,
        server_tools=tools if isinstance(tools, dict) else None,
        tier=tier if isinstance(tier, str) else None,
    )


def encode_usage(usage: Usage, tier: str | None = None) -> JSON:
    """All four counters, always; ``tier`` only for a client that asked for one."""
    body: JSON = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning is not None:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.cache_write_by_ttl is not None:
        body["cache_creation"] = {
            f"ephemeral_{ttl}_input_tokens": count
            for ttl, count in usage.cache_write_by_ttl.items()
        }
    if usage.server_tools is not None:
        body["server_tool_use"] = usage.server_tools
    if tier is not None:
        body["service_tier"] = tier
    return body


def tier_of(tier: str | None) -> str | None:
    """The service tier in this dialect's words, None where it has none."""
    return tier if tier in ("standard", "priority", "batch") else None


def merged(usage: JSON, update: Any) -> JSON:
    """``usage`` with the counters of a later event, which overwrite those told before; null tells
    nothing. It is changed in place, lest many events that each tell something new cost more and
    more."""
    if isinstance(update, Mapping):
        usage.update((key, value) for key, value in update.items() if value is not None)
    return usage


def _by_ttl(creation: JSON) -> dict[str, int]:
    counts = {}
    for key, value in creation.items():
        count = count_of(value)
        if count is not None and key.startswith("ephemeral_"):
            counts[key.removeprefix("ephemeral_").removesuffix("_input_tokens")] = count
    return counts
