"""Stop reason and usage of an answer, both ways (translation.md 3.2 and 3.3)."""

from collections.abc import Mapping
from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.shared import stop_words
from lmbroker.translation.unified.response import Stop, StopReason
from lmbroker.usage import Usage, count_of

_STOP_REASONS: dict[StopReason, str] = {
    "end": "end_turn",
    "stop_sequence": "stop_sequence",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "refusal": "refusal",
    "paused": "pause_turn",
    "context_full": "model_context_window_exceeded",
    "compaction": "compaction",
    "other": "max_tokens",
}

NO_USAGE: JSON = {
    "input_tokens": 0,
    "cache_creation_input_tokens": 0,
    "cache_read_input_tokens": 0,
    "output_tokens": 0,
}


def decode_stop(reason: Any, sequence: Any, details: Any, *, calls: bool) -> Stop:
    """Return the stop of an answer; ``reason`` is None where it gave none.

    Servers that only nearly speak the dialect have other stop reasons than Anthropic, and end their
    turn although the answer holds a call.
    """
    means = stop_words.meaning(reason) or "other"
    if reason == "stop_sequence":
        means = "stop_sequence"
    elif calls and means in ("end", "other"):
        means = "tool_calls"
    if not isinstance(reason, str):
        return Stop(reason=means)
    return Stop(
        reason=means,
        sequence=sequence if isinstance(sequence, str) else None,
        details=details if isinstance(details, dict) else None,
        raw=reason,
    )


def encode_stop(stop: Stop, asked: tuple[str, ...]) -> JSON:
    """Return ``stop_reason``, ``stop_sequence`` and, where there are any, ``stop_details``.

    A stop string that an OpenAI-compatible backend names counts only if the client ``asked`` for
    it.
    """
    reason, sequence = _STOP_REASONS[stop.reason], stop.sequence
    if reason == "stop_sequence" and stop.raw != reason and sequence not in asked:
        reason = "end_turn"
    if reason != "stop_sequence":
        sequence = None
    body: JSON = {"stop_reason": reason, "stop_sequence": sequence}
    if stop.details is not None:
        body["stop_details"] = stop.details
    return body


def decode_usage(usage: Any, *, billed: bool = False) -> Usage | None:
    """Return the token counts of a ``usage`` object, None where it has none.

    ``billed``: those of steps that wrote no part of the message are added.
    """
    if not isinstance(usage, dict):
        return None
    new, written, cached, output = map(count_of, map(usage.get, NO_USAGE))
    if new is written is cached is output is None:
        return None
    besides = usage.get("iterations") if billed else None
    if isinstance(besides, list):
        new, written, cached, output = _with(besides, (new, written, cached, output))
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
    """Return all four token counters; ``tier`` only for a client that asked for one."""
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


_BESIDES = ("compaction", "advisor_message")
"""Types of iterations that Anthropic bills but leaves out of its sums."""


def _with(iterations: list[Any], counts: tuple[int | None, ...]) -> tuple[int | None, ...]:
    """Return ``counts`` plus those of the iterations that wrote no part of the message."""
    for each in iterations:
        if isinstance(each, dict) and each.get("type") in _BESIDES:
            more = [count_of(each.get(name)) or 0 for name in NO_USAGE]
            counts = tuple((count or 0) + add for count, add in zip(counts, more, strict=True))
    return counts


def tier_of(tier: str | None) -> str | None:
    """Return the service tier in this dialect's words, None where it has none."""
    return tier if tier in ("standard", "priority", "batch") else None


_CACHED = ("cache_creation_input_tokens", "cache_read_input_tokens")


def merged(usage: JSON, update: Any) -> JSON:
    """Return ``usage`` updated by the counters of a later event.

    Null changes nothing, nor does a prompt of 0 tokens after a real one, together with the counters
    of the same event, unless the whole prompt turns out to have gone through the cache. ``usage``
    is changed in place, so that many events that each report something new stay cheap.
    """
    if not isinstance(update, Mapping):
        return usage
    forgot = (
        update.get("input_tokens") == 0
        and bool(usage.get("input_tokens"))
        and not any(update.get(key) and update[key] != usage.get(key) for key in _CACHED)
    )
    for key, value in update.items():
        if value is None or (forgot and value == 0 and key in NO_USAGE):
            continue
        usage[key] = value
    return usage


def _by_ttl(creation: JSON) -> dict[str, int]:
    counts = {}
    for key, value in creation.items():
        count = count_of(value)
        if count is not None and key.startswith("ephemeral_"):
            counts[key.removeprefix("ephemeral_").removesuffix("_input_tokens")] = count
    return counts
