"""Stop reasons of all vendors, and what they mean (translation.md 3.2).

A reason that is not listed is classified by the words that it contains. One without any known word
is ``other``, which clients get as cut off: an answer that was cut off must never look finished,
while a finished one may safely be asked to go on.
"""

import re

from lmbroker.errors import ErrorInfo
from lmbroker.translation.unified.response import StopReason

_WORDS: dict[StopReason, str] = {
    "end": (
        "stop end end_turn eos eos_token eos_found end_of_sequence end_of_text endoftext complete"
        " completed finish finished done normal natural success stop_sequence stop_token"
        " stop_criteria_met"
    ),
    "tool_calls": "tool_calls tool_call tool_use function_call function_calls",
    "max_tokens": (
        "length max_tokens max_token max_length max_output_tokens max_completion_tokens"
        " max_new_tokens token_limit output_limit time_limit repetition repetition_detected"
        " repetition_truncation incomplete truncated budget_exceeded max_messages"
    ),
    "context_full": (
        "model_context_window_exceeded context_window_exceeded context_length_exceeded"
        " context_length context_window max_context_length model_length exceed_context_size"
        " error_limit"
    ),
    "refusal": (
        "content_filter content_filtered content_filter_error safety sensitive refusal recitation"
        " blocklist prohibited_content spii image_safety guardrail_intervened moderation blocked"
        " policy_violation error_toxic"
    ),
    "paused": "pause_turn pause steered",
    "compaction": "compaction",
}
"""The stop reasons of Anthropic and OpenAI, and those of Azure, Bedrock, Cohere, DeepSeek, Gemini,
Mistral, SGLang, TGI, vLLM, watsonx and Zhipu."""

_REASONS: dict[str, StopReason] = {
    word: reason for reason, words in _WORDS.items() for word in words.split()
}

_FAILED = frozenset(
    (
        "error",
        "network_error",
        "abort",
        "aborted",
        "cancelled",
        "canceled",
        "insufficient_system_resource",
        "failed",
        "failure",
        "server_error",
        "internal_error",
        "engine_error",
        "malformed_function_call",
        "unexpected_tool_call",
        "preempted",
        "disconnected",
    )
)
"""Stop reasons of an answer that failed."""

_PARTS: tuple[tuple[re.Pattern[str], StopReason | None], ...] = (
    (re.compile(r"error|abort|cancel|fail|network|unavailable|disconnect|malformed"), None),
    (re.compile(r"filter|safety|sensitive|block|policy|prohibit|moderat|refus|risk"), "refusal"),
    (re.compile(r"context"), "context_full"),
    (re.compile(r"length|limit|max|exceed|trunc|timeout|time_out|repeti|budget"), "max_tokens"),
    (re.compile(r"tool|function"), "tool_calls"),
    (re.compile(r"(?:^|_)(?:stop|stopped|end|eos|done|complete|completed|finished)(?:_|$)"), "end"),
)
"""Pattern -> meaning of a reason that is not listed; the first match counts, so the most serious
meaning comes first. None: the answer failed."""

NONE = ("", "null", "none", "not_finished", "finish_reason_unspecified")
"""Values that mean that the answer goes on."""


def word_of(said: object) -> str:
    """Return a stop reason in normal spelling, "" where ``said`` is none."""
    if not isinstance(said, str):
        return ""
    if said in _REASONS:
        return said
    word = said.strip().lower().replace("-", "_").replace(" ", "_")
    return "" if word in NONE else word


def meaning(said: object) -> StopReason | None:
    """Return the meaning of a stop reason, None where it says that the answer failed.

    An unknown reason means ``other``, no reason at all ``end``.
    """
    reason = _REASONS.get(said) if isinstance(said, str) else None
    if reason is not None:
        return reason
    word = word_of(said)
    if not word:
        return "end"
    reason = _REASONS.get(word)
    if reason is not None:
        return reason
    if word in _FAILED:
        return None
    return next((means for part, means in _PARTS if part.search(word[:64])), "other")


def failure(said: object) -> ErrorInfo | None:
    """Return the error that a stop reason stands for, None for an answer that did not fail."""
    if meaning(said) is not None:
        return None
    word = word_of(said)
    if "resource" in word or "unavailable" in word:
        return ErrorInfo(
            kind="overloaded",
            message="the backend ran out of resources",
            code="server_is_overloaded",
        )
    return ErrorInfo(kind="server", message="the backend broke its answer off with an error")
