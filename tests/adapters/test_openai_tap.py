"""What a passed-through OpenAI stream is looked at for, by the short way and by the long one."""

import json
import random
from typing import Any

import pytest

from lmbroker import bounds
from lmbroker.sse import split
from lmbroker.translation.dialects.openai_chat import tap as tap_module
from lmbroker.translation.dialects.openai_chat.tap import OpenAITap

JSON = dict[str, Any]
TEXTS = (
    *("word ", "", 'a "quote"', "a\nline", "back\\", 'end\\"', "error", "für 🙂", "[DONE]"),
    *('"finish_reason":"stop"', '"usage":{"prompt_tokens":9}', "data: [DONE]"),
)
ODD: tuple[bytes, ...] = (
    b"data: [DONE]\n\n",
    b": ping\n\n",
    b'data: {"error":{"message":"no"}}\n\n',
    b'data: {"message":"out of memory"}\n\n',
    b"error: no\n\n",
    b'data: {"choices":[{"delta":{"content":"x"},"finish_reason":"stop"}]}\n\n',
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n',
    b'data: {"choices":[{"delta":{"content":"a"}}]}\r\n\r\n',
    b'data: {"choices":[{"delta":{"content":"a\ndata: [DONE]\n\n',
)


def chunk(said: JSON, **more: Any) -> bytes:
    choice = {"index": 0, "delta": said, "finish_reason": None}
    body = {"id": "c", "choices": [choice], **more}
    return (
        b"data: " + json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"
    )


def a_stream(chance: random.Random) -> list[bytes]:
    called = {"tool_calls": [{"index": 0, "id": "c", "function": {"name": "f", "arguments": ""}}]}
    blocks = [chunk({"role": "assistant", "content": ""}), chunk(called)]
    for _ in range(chance.randrange(12)):
        text = chance.choice(TEXTS)
        said: JSON = {chance.choice(("content", "reasoning_content")): text}
        if chance.random() < 0.3:
            said = {"tool_calls": [{"index": 0, "function": {"arguments": text}}]}
        more = {"obfuscation": text} if chance.random() < 0.1 else {}
        blocks.append(chunk(said, **more))
        if chance.random() < 0.15:
            blocks.append(chance.choice(ODD))
    if chance.random() < 0.3:
        blocks = [b"".join(blocks[at : at + 3]) for at in range(0, len(blocks), 3)]
    return blocks


def learned(blocks: list[bytes]) -> list[Any]:
    """All that a tap says of a stream, but for what it estimates."""
    tap = OpenAITap()
    said: list[Any] = []
    for block in blocks:
        said += (tap.see(block), tap.started, tap.stopped, tap.complete, tap.error, tap.usage)
        if tap.complete or tap.error is not None:
            break
    return [*said, tap.stop, tap.recognised, tap.close()]


STREAMS = [a_stream(random.Random(seed)) for seed in range(500)]


def test_the_short_look_learns_what_the_long_one_does(monkeypatch: pytest.MonkeyPatch) -> None:
    short = list(map(learned, STREAMS))
    monkeypatch.setattr(tap_module, "_SHAPES", 0)
    assert short == list(map(learned, STREAMS))


def test_the_look_at_large_events_learns_what_that_at_small_ones_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = [list(split(b"".join(blocks))) for blocks in STREAMS]
    small = list(map(learned, streams))
    monkeypatch.setattr(tap_module, "LARGE_EVENT", 60)
    monkeypatch.setattr(bounds, "LONG_TEXT", 24)
    assert small == list(map(learned, streams))


def at_the_end(blocks: list[bytes]) -> list[Any]:
    tap = OpenAITap()
    seen = 0
    for block in blocks:
        seen += tap.see(block)
        if tap.complete or tap.error is not None:
            break
    said = [tap.started, tap.stopped, tap.complete, tap.error, tap.usage, tap.stop, tap.recognised]
    return [seen, *said, tap.close()]


@pytest.mark.parametrize("seed", range(300))
def test_the_look_at_many_events_learns_what_that_at_each_of_them_does(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    alike = [chunk({"content": chance.choice(TEXTS)}) for _ in range(chance.randrange(20))]
    whole = b"".join([*a_stream(chance), *alike, chance.choice((*ODD, b"")), *alike])
    one_by_one = at_the_end(list(split(whole)))
    monkeypatch.setattr(tap_module, "_FEW", 0)
    assert at_the_end([whole]) == one_by_one


LONG = "a, " * 200_000


def test_an_answer_that_comes_in_one_large_event_is_known() -> None:
    choice = {"index": 0, "delta": {"content": LONG}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 7, "completion_tokens": 9, "total_tokens": 16}
    event = b"data: " + json.dumps({"id": "c", "choices": [choice], "usage": usage}).encode()
    tap = OpenAITap()
    assert tap.see(event + b"\n\n") == len(event) + 2
    assert (tap.started, tap.stopped, tap.stop) == (True, True, "end")
    assert tap.usage is not None
    assert (tap.usage.input, tap.usage.output) == (7, 9)


@pytest.mark.parametrize("begun", [True, False])
def test_a_large_error_keeps_its_words(begun: bool) -> None:
    tap = OpenAITap()
    if begun:
        tap.see(chunk({"content": "a"}))
    words = "no more memory for the cache of this long conversation: " + LONG
    tap.see(b"data: " + json.dumps({"error": {"message": words}}).encode() + b"\n\n")
    assert tap.error is not None
    assert tap.error.message.startswith("no more memory")


@pytest.mark.parametrize(("end", "half"), [("}", False), ("", True)])
def test_a_call_whose_arguments_are_large_is_half_where_these_are(end: str, half: bool) -> None:
    arguments = '{"a": [' + "1," * 200_000 + "1]" + end
    function = {"name": "f", "arguments": arguments}
    call = chunk({"tool_calls": [{"index": 0, "id": "c", "function": function}]})
    for before in ([], [chunk({"role": "assistant", "content": ""})]):
        tap = OpenAITap()
        for block in (*before, call, b"data: [DONE]\n\n"):
            tap.see(block)
        assert (tap.error is not None) is half


def test_what_a_large_event_carried_is_estimated_by_its_bytes() -> None:
    tap = OpenAITap()
    for block in (chunk({"content": ""}), chunk({"content": LONG})):
        tap.see(block)
    assert abs(tap.text_bytes - len(LONG)) < 200


@pytest.mark.parametrize(
    "said",
    [
        {"content": "TEXT"},
        {"reasoning_content": "TEXT"},
        {"content": "", "reasoning": "TEXT"},
        {"tool_calls": [{"index": 0, "function": {"arguments": "TEXT"}}]},
    ],
)
def test_chunks_that_differ_in_their_text_alone_take_the_short_look(
    said: JSON, monkeypatch: pytest.MonkeyPatch
) -> None:
    def long_look(tap: OpenAITap, block: bytes, size: int) -> bool:
        raise AssertionError

    tap = OpenAITap()
    tap.see(chunk({"role": "assistant", "content": ""}))
    for text in (b"first", b"second"):
        tap.see(chunk(said).replace(b"TEXT", text))
    monkeypatch.setattr(OpenAITap, "_worth_a_look", long_look)
    for text in (b"more", b"", rb"\"quotes\"", rb"\\", "für".encode()):
        block = chunk(said).replace(b"TEXT", text)
        assert tap.see(block) == len(block)
