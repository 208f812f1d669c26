"""What a passed-through Anthropic stream is looked at for, whatever the size of its events."""

import json
import random
from typing import Any

import pytest

from lmbroker import bounds
from lmbroker.sse import split
from lmbroker.translation.dialects.anthropic_messages import tap as tap_module
from lmbroker.translation.dialects.anthropic_messages.tap import AnthropicTap

JSON = dict[str, Any]
TEXTS = ("word ", "", 'a "quote"', "back\\", "error", "für 🙂", "event: message_stop\n\n", "x" * 90)
ODD: tuple[bytes, ...] = (
    b": ping\n\n",
    b'event: ping\ndata: {"type": "ping"}\n\n',
    b"event: content_block_delta\ndata: no JSON, but long enough for a look at it: here it is\n\n",
    b'data: {"message": "out of memory, and no type that would say what this event is"}\n\n',
    b'data: {"type":"error","error":{"type":"api_error","message":"no, and this at length"}}\n\n',
)
LONG = "a, " * 200_000


def event(kind: str, end: bytes = b"\n", **said: Any) -> bytes:
    body = json.dumps({"type": kind, **said}, ensure_ascii=False).encode()
    return b"event: " + kind.encode() + end + b"data: " + body + end + end


def started(**more: Any) -> bytes:
    usage = {"input_tokens": 7, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "content": [], "usage": usage}
    return event("message_start", message={**message, **more})


def stopped(**more: Any) -> bytes:
    usage = {"output_tokens": 9, **more}
    return event("message_delta", delta={"stop_reason": "end_turn"}, usage=usage)


def text(said: str, end: bytes = b"\n") -> bytes:
    delta = {"type": "text_delta", "text": said}
    return event("content_block_delta", end, index=0, delta=delta)


def a_stream(chance: random.Random) -> list[bytes]:
    blocks = [started(content=[{"type": "text", "text": chance.choice(TEXTS)}])]
    for _ in range(chance.randrange(12)):
        blocks.append(text(chance.choice(TEXTS), chance.choice((b"\n", b"\n", b"\r\n"))))
        if chance.random() < 0.1:
            blocks.append(chance.choice(ODD))
    blocks += [stopped(note=chance.choice(TEXTS)), event("message_stop")]
    if chance.random() < 0.3:
        blocks = [b"".join(blocks[at : at + 3]) for at in range(0, len(blocks), 3)]
    return blocks


def learned(blocks: list[bytes]) -> list[Any]:
    tap = AnthropicTap()
    said: list[Any] = []
    for block in blocks:
        said += (tap.see(block), tap.started, tap.stopped, tap.complete, tap.error, tap.usage)
        if tap.complete or tap.error is not None:
            break
    return [*said, tap.stop, tap.recognised, tap.close()]


def test_the_look_at_large_events_learns_what_that_at_small_ones_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seeds = map(random.Random, range(300))
    streams = [list(split(b"".join(a_stream(chance)))) for chance in seeds]
    small = list(map(learned, streams))
    monkeypatch.setattr(tap_module, "LARGE_EVENT", 60)
    monkeypatch.setattr(bounds, "LONG_TEXT", 24)
    assert small == list(map(learned, streams))


@pytest.mark.parametrize("seed", range(300))
def test_the_look_at_many_events_learns_what_that_at_each_of_them_does(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)

    def at_the_end(blocks: list[bytes]) -> list[Any]:
        tap = AnthropicTap()
        seen = 0
        for block in blocks:
            seen += tap.see(block)
            if tap.complete or tap.error is not None:
                break
        said = [tap.started, tap.stopped, tap.complete, tap.error, tap.usage, tap.stop]
        return [seen, tap.tool_calls, tap.text_bytes, *said, tap.recognised, tap.close()]

    first, *rest = a_stream(chance)
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {}}
    deltas = [text(chance.choice(TEXTS)) for _ in range(chance.randrange(30))]
    if chance.random() < 0.5:
        deltas.insert(len(deltas) // 2, event("content_block_start", content_block=use, index=1))
    whole = b"".join([first, *deltas, chance.choice((*ODD, b"")), *deltas, *rest])
    monkeypatch.setattr(tap_module, "_SEVERAL", chance.choice((0, 400, 1024)))
    assert at_the_end([whole]) == at_the_end(list(split(whole)))


def test_large_events_at_the_beginning_and_the_end_of_an_answer_are_known() -> None:
    tap = AnthropicTap()
    for block in (started(content=[{"type": "text", "text": LONG}]), text(LONG), stopped(x=LONG)):
        assert tap.see(block) == len(block)
    assert (tap.started, tap.stopped, tap.stop, tap.error) == (True, True, "end", None)
    assert tap.usage is not None
    assert (tap.usage.input, tap.usage.output) == (7, 9)
    assert abs(tap.text_bytes - len(LONG)) < 200


def test_a_large_error_keeps_its_words() -> None:
    tap = AnthropicTap()
    words = "no more memory for the cache of this long conversation: " + LONG
    tap.see(started() + event("error", error={"type": "api_error", "message": words}))
    assert tap.error is not None
    assert tap.error.message.startswith("no more memory")
