"""Reasoning goes out to a client and comes back in its next request as it was: Anthropic refuses
what is changed, lost or put elsewhere (translation.md 4.6)."""

from pathlib import Path
from typing import Any

import pytest
from streams import (
    A_END,
    JSON,
    REPLY,
    a_call,
    a_ending,
    a_open,
    a_start,
    a_stop,
    a_stream,
    a_text,
    a_thought,
    completion,
    message,
    run,
    translated,
)

from lmbroker.translation.dialects.anthropic_messages.encode_request import encode_request
from lmbroker.translation.dialects.anthropic_messages.response import decode_response
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request
from lmbroker.translation.dialects.openai_chat.response import encode_response
from lmbroker.translation.losses import Losses, listed
from lmbroker.translation.profiles.lookup import profile

MODEL = "claude-opus-5-5"
TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
REDACTED = [a_open(1, "redacted_thinking", data="b3BhcXVl"), a_stop(1)]


def blocks_of(stream: bytes) -> list[JSON]:
    """The blocks of an answer, as a client of Anthropic's own would send them back."""
    return [block.to_dict(exclude_none=True) for block in message(stream).content]


def asked_again(said: Any) -> tuple[list[JSON], str]:
    """The blocks of the assistant's message in the next request to Anthropic, and what is lost;
    ``said`` is the assistant's message as an OpenAI client keeps it."""
    keep = ("role", "content", "tool_calls", "reasoning_content", "reasoning_details")
    kept = {key: said[key] for key in keep if said.get(key) is not None}
    for call in kept.get("tool_calls", []):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": "Done."}
        for call in kept.get("tool_calls", [])
    ]
    question = {"role": "user", "content": "Go."}
    body = {"model": MODEL, "messages": [question, kept, *(results or [question])]}
    losses = Losses("default", model="alias", dialect="anthropic")
    request = encode_request(decode_request(body), profile("anthropic", MODEL, None), losses)
    (blocks,) = [each["content"] for each in request["messages"] if each["role"] == "assistant"]
    return blocks, listed(losses.paths)


def streamed(stream: bytes) -> Any:
    """What OpenAI's SDK keeps of the translated stream."""
    out = run(translated("anthropic", "openai"), [stream])
    return completion(out).choices[0].message.to_dict()


def whole(stream: bytes) -> Any:
    """The same answer, had it not been streamed."""
    body = {**message(stream).to_dict(), "content": blocks_of(stream)}
    return encode_response(decode_response(body), REPLY)["choices"][0]["message"]


ANSWERS = {
    "first": [*a_thought(0, "Hm.", "c2ln"), *a_text(1, "Hello")],
    "omitted": [*a_thought(0, "", "c2ln"), *a_text(1, "Hello")],
    "redacted": [*a_thought(0, "Hm.", "c2ln"), *REDACTED, *a_text(2, "Hello")],
    "redacted-first": [
        a_open(0, "redacted_thinking", data="b3BhcXVl"),
        a_stop(0),
        *a_thought(1, "Hm.", "c2ln"),
        *a_text(2, "Hello"),
    ],
    "interleaved": [
        *a_thought(0, "First.", "c2ln"),
        *a_text(1, "Grüße 🙂, "),
        *a_thought(2, "Second.", "c2lo"),
        *a_text(3, "Welt."),
        *a_call(4, "toolu_1", "f", '{"a":1}'),
        *a_thought(5, "", "c2lp"),
        *a_call(6, "toolu_2", "f", '{"a":2}'),
    ],
    "last": [*a_text(0, "Hello"), *a_thought(1, "Hm.", "c2ln"), *a_call(2, "toolu_1", "f", "{}")],
}


@pytest.mark.parametrize("name", ANSWERS)
@pytest.mark.parametrize("kept", [streamed, whole])
def test_case_58_next_request_has_the_original_order_of_blocks(name: str, kept: Any) -> None:
    stream = a_stream(a_start(), *ANSWERS[name], a_ending("tool_use"), A_END)
    assert asked_again(kept(stream)) == (blocks_of(stream), "")


@pytest.mark.parametrize("name", ["thinking", "redacted", "interleaved"])
def test_case_58_next_request_after_a_transcript(name: str) -> None:
    stream = (TRANSCRIPTS / f"{name}.a2o.in.sse").read_bytes()
    assert asked_again(streamed(stream)) == (blocks_of(stream), "")
