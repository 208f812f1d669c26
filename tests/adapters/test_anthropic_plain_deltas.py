"""Plain deltas are decoded by a short way, and become what they become by the long one."""

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import msgspec
import pytest

from lmbroker.sse import Frame, Reader
from lmbroker.translation.dialects.anthropic_messages import stream_decode
from lmbroker.translation.dialects.anthropic_messages.stream_decode import AnthropicDecoder

WIRE = sorted((Path(__file__).parent.parent / "wire" / "anthropic").glob("*.sse"))


def never(data: bytes) -> NoReturn:
    raise msgspec.DecodeError


def told(frames: list[Frame]) -> list[Any]:
    decoder = AnthropicDecoder()
    events = [(decoder.feed(frame), decoder.stopped) for frame in frames]
    return [*events, decoder.close()]


@pytest.fixture
def both_ways(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[Frame]], None]:
    def compare(frames: list[Frame]) -> None:
        short = told(frames)
        with monkeypatch.context() as patched:
            patched.setattr(stream_decode, "DELTAS", dict.fromkeys(stream_decode.DELTAS, never))
            assert short == told(frames)

    return compare


@pytest.mark.parametrize("path", WIRE, ids=lambda path: path.stem)
def test_samples(path: Path, both_ways: Callable[[list[Frame]], None]) -> None:
    both_ways(Reader().feed(path.read_bytes()))


TEXTS = ("a", "", "für", '"', "\\", "\n", "\ud83d", "{}", "{", ' {"a": 1', "}", None, 1, ["a"])
BLOCKS: tuple[dict[str, Any], ...] = (
    {"type": "text", "text": ""},
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "tool_use", "id": "c", "name": "f", "input": {}},
    {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}},
)
KEYS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def odd_stream(chance: random.Random) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"type": "message_start", "message": {"id": "m"}}]
    kind, index = "text_delta", 0
    for _ in range(40):
        what = chance.random()
        if what < 0.15:
            index = chance.choice((index, index + 1))
            block = chance.choice(BLOCKS)
            events.append({"type": "content_block_start", "index": index, "content_block": block})
            kind = list(KEYS)[min(BLOCKS.index(block), 2)]
        elif what < 0.2:
            events.append({"type": "content_block_stop", "index": index})
        elif what < 0.25:
            delta = {"type": "signature_delta", "signature": "c2ln"}
            events.append({"type": "content_block_delta", "index": index, "delta": delta})
        else:
            said = kind if chance.random() < 0.95 else chance.choice(list(KEYS))
            text = chance.choice(TEXTS) if chance.random() < 0.3 else "word "
            event = {"type": "content_block_delta", "delta": {"type": said, KEYS[said]: text}}
            if chance.random() < 0.97:
                event["index"] = index if chance.random() < 0.97 else chance.choice((9, None, "0"))
            events.append(event)
    return events


@pytest.mark.parametrize("seed", range(200))
def test_odd_streams(seed: int, both_ways: Callable[[list[Frame]], None]) -> None:
    events = odd_stream(random.Random(seed))
    both_ways([Frame(str(each["type"]), json.dumps(each).encode()) for each in events])
