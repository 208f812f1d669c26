"""Stop reasons and usage of answers in OpenAI's dialects (translation.md 3.2 and 3.3)."""

from typing import Any

from lmbroker.json_text import JSON
from lmbroker.translation.shared import stop_words
from lmbroker.translation.unified.response import Stop, StopReason
from lmbroker.usage import MOST, Usage, count_of

_CUT = ("max_tokens", "context_full")
"""Stop reasons that take precedence over a refusal: the answer was cut off."""

_TIERS = {"default": "standard"}
_SERVICE_TIERS = {"standard": "default", "batch": "default"}


def decode_stop(
    finish: Any,
    *,
    calls: bool,
    refusal: str = "",
    matched: Any = None,
    means: StopReason | None = None,
) -> Stop:
    """Return the stop of an answer whose finish reason is ``finish``, None where there was none.

    ``means`` is the meaning of ``finish`` where the caller knows it already. ``matched`` is what
    vLLM and SGLang add: the stop string that was met, which counts if the client asked for it (the
    encoder checks that). An answer that failed (``stop_words.failure``) has no reason to stop: it
    counts as ``other``.
    """
    raw = finish if isinstance(finish, str) else None
    reason = means or stop_words.meaning(finish) or "other"
    if refusal and reason not in _CUT:
        return Stop(reason="refusal", details=_refusal(refusal), raw=raw)
    if reason == "refusal":
        return Stop(reason="refusal", details=_refusal(None), raw=raw)
    if calls and reason in ("end", "other"):
        reason = "tool_calls"
    elif reason == "tool_calls" and not calls:
        reason = "end"
    if reason == "end" and raw == "stop" and isinstance(matched, str) and matched:
        return Stop(reason="stop_sequence", sequence=matched, raw=raw)
    return Stop(reason=reason, raw=raw)


def explanation(stop: Stop) -> str:
    """Return the explanation of a refusal, "" where there is none."""
    text = (stop.details or {}).get("explanation") if stop.reason == "refusal" else None
    return text if isinstance(text, str) else ""


def decode_usage(usage: Any) -> Usage | None:
    """Return the token counts of a ``usage`` object, None where it has none.

    OpenAI's prompt count includes cached tokens, ours does not. Some backends (xAI) leave reasoning
    out of ``completion_tokens``, others (Mistral) leave audio out of ``prompt_tokens``; the total
    shows both. Gemini's endpoint leaves its thinking out and has no field for it: what the total
    has beyond the two counts is charged as output. The parts of the prompt never exceed it,
    whatever a backend counts twice.
    """
    if not isinstance(usage, dict):
        return None
    prompt = count_of(usage.get("prompt_tokens"))
    completion = count_of(usage.get("completion_tokens"))
    if prompt is None and completion is None:
        completion = count_of(usage.get("output_tokens"))
        prompt = count_of(usage.get("input_tokens"))
        if prompt is None and completion is None:
            return None
        if "cache_read_input_tokens" in usage or "cache_creation_input_tokens" in usage:
            # Gateways in front of Claude that keep Claude's names also count cached tokens
            # separately.
            apart = (usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens"))
            prompt = (prompt or 0) + sum(count_of(each) or 0 for each in apart)
    prompt, completion = prompt or 0, completion or 0
    inside = _details(usage, _INSIDE)
    cached = written = 0
    if any(inside.values()) or not _OF_CACHES.isdisjoint(usage):
        cached = _first_count(inside, ("cached_tokens",)) or _first_count(usage, _CACHED)
        written = _first_count(inside, _WRITTEN) or _first_count(usage, _WRITTEN)
    outside = _details(usage, _OUTSIDE)
    reasoning = count_of(outside.get("reasoning_tokens"))
    if reasoning is None and "reasoning_tokens" in usage:
        reasoning = count_of(usage["reasoning_tokens"])
    total = usage.get("total_tokens")
    if total != prompt + completion:
        audio = count_of(inside.get("audio_tokens"))
        if reasoning and total == prompt + completion + reasoning:
            completion += reasoning
        elif audio and total == prompt + completion + audio:
            prompt += audio
        elif isinstance(total, int) and total > prompt + completion and not reasoning:
            completion = min(total - prompt, MOST)
    if cached or written:
        written = min(written, prompt)
        if cached + written > prompt:
            # Some backends that write a cache count what was written as cached, too (OpenRouter's
            # Gemini); Azure's Grok counts more as cached than the prompt has.
            cached = min(max(0, cached - written), prompt - written)
    return Usage(
        input=prompt - cached - written,
        cache_read=cached,
        cache_write=written,
        output=completion,
        reasoning=reasoning,
    )


_CACHED = (
    "prompt_cache_hit_tokens",
    "cached_tokens",
    "num_cached_tokens",
    "cache_read_input_tokens",
)
"""The fields in which DeepSeek, Moonshot, Mistral and gateways in front of Claude count what was
cached."""
_WRITTEN = (
    "cache_write_tokens",
    "cache_creation_tokens",
    "created_cache_tokens",
    "cache_creation_input_tokens",
)
"""The fields in which OpenAI, LiteLLM, vLLM and gateways in front of Claude count what was
written."""


_OF_CACHES = frozenset((*_CACHED, *_WRITTEN))


_INSIDE = ("prompt_tokens_details", "input_tokens_details", "prompt_token_details")
_OUTSIDE = ("completion_tokens_details", "output_tokens_details", "completion_token_details")
"""The fields that split the counts of a prompt and of a completion, in Chat Completions, in
Responses, and at Writer, which spells them without the plural."""


def _details(usage: JSON, names: tuple[str, ...]) -> JSON:
    """Return the object that splits the count of the prompt or of the completion."""
    for name in names:
        details = usage.get(name)
        if details:
            return details if isinstance(details, dict) else {}
    return {}


def _first_count(counts: JSON, names: tuple[str, ...]) -> int:
    """Return the first of the counts under ``names`` that is present and not 0, else 0."""
    for name in names:
        if name in counts:
            count = count_of(counts[name])
            if count:
                return count
    return 0


def decode_tier(tier: Any) -> str | None:
    """Return the service tier in the terms of the Unified Model, None where ``tier`` is no text."""
    return _TIERS.get(tier, tier) if isinstance(tier, str) else None


def encode_tier(tier: str | None) -> str | None:
    """Return the service tier in OpenAI's terms, None where there is none."""
    return _SERVICE_TIERS.get(tier, tier) if tier else None


def _refusal(text: str | None) -> JSON:
    return {"type": "refusal", "category": None, "explanation": text}
