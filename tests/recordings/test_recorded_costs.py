"""What recorded answers cost is their own token counts times the price, to the last digit."""

import json

import pytest
from batches import in_batches
from captures import answers

from lmbroker.sse import Reader
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.usage import Price, cost_of

pytestmark = pytest.mark.recordings

FLAT = Price(input=1, output=1, cache_read=1, cache_write=1, cache_write_1h=1)
CACHED = Price(input=0, output=0, cache_read=0.1, cache_write=0)
MICRO = 1_000_000
"""A millionth of a dollar, in the unit of costs."""

BILLED = ("compaction", "advisor_message")
"""The iterations of Anthropic's that its sums leave out."""


def of_openai(usage):
    """All tokens, and those from a cache, by the provider's own words."""
    prompt = usage.get("prompt_tokens", usage.get("input_tokens")) or 0
    answer = usage.get("completion_tokens", usage.get("output_tokens")) or 0
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    cached = next(
        (
            count
            for count in (
                details.get("cached_tokens"),
                usage.get("prompt_cache_hit_tokens"),
                usage.get("cached_tokens"),
                usage.get("num_cached_tokens"),
            )
            if count
        ),
        0,
    )
    return max(usage.get("total_tokens") or 0, prompt + answer), cached


def of_anthropic(usage):
    names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    parts = [usage, *(x for x in usage.get("iterations") or () if x.get("type") in BILLED)]
    prompt = sum(part.get(name) or 0 for part in parts for name in names)
    cached = sum(part.get("cache_read_input_tokens") or 0 for part in parts)
    return prompt + sum(part.get("output_tokens") or 0 for part in parts), cached


def compare(recording, usage, told):
    if not told:
        return
    total, cached = (of_anthropic if recording.dialect == "anthropic" else of_openai)(told)
    assert usage is not None
    assert cost_of(usage, FLAT) == total * MICRO
    prompt = told.get("prompt_tokens")
    if prompt is not None and cached > prompt:
        # Azure's Grok: nobody can have read more from a cache than the prompt has.
        cached = prompt
    assert cost_of(usage, CACHED) == cached * MICRO // 10


@in_batches(answers("response.json"))
def test_a_whole_answer(recording):
    body = json.loads(recording.body)
    usage, _ = ADAPTERS[recording.dialect].gist(body)
    compare(recording, usage, body.get("usage"))


@in_batches(answers("response.sse"))
def test_a_stream(recording):
    told = {}
    reader = Reader()
    for frame in [*reader.feed(recording.stream), *reader.close()]:
        if not frame.data or frame.data in (b"[DONE]", "[DONE]"):
            continue
        try:
            value = json.loads(frame.data)
        except ValueError:
            continue
        for place in (value, value.get("message") or {}, value.get("response") or {}):
            if isinstance(place, dict) and place.get("usage"):
                told |= {k: v for k, v in place["usage"].items() if v is not None}
    tap = ADAPTERS[recording.dialect].tap()
    tap.see(recording.stream)
    compare(recording, tap.usage, told)
