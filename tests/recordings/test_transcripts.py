"""The worked transcripts of the translation specification, byte for byte (section 4.7).

They live beside the project; ``LMBROKER_SHARED`` says where, ``../shared`` is the default.
"""

import json
import os
import random
from pathlib import Path

import pytest

from lmbroker.adapters.anthropic_messages import response as anthropic_response
from lmbroker.adapters.anthropic_messages.stream_decode import AnthropicDecoder
from lmbroker.adapters.anthropic_messages.stream_encode import AnthropicEncoder
from lmbroker.adapters.base import Reply
from lmbroker.adapters.openai_chat import response as openai_response
from lmbroker.adapters.openai_chat.stream_decode import OpenAIDecoder
from lmbroker.adapters.openai_chat.stream_encode import OpenAIEncoder
from lmbroker.sse import Reader

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("LMBROKER_SHARED", ROOT.parent / "shared"))
TRANSCRIPTS = SHARED / "design" / "transcripts"
TO_OPENAI = Reply(model="claude", created=1795000000, stream_usage=True, request_id="req_lmb_0001")
TO_ANTHROPIC = Reply(model="fast", request_id="req_lmb_0001")

pytestmark = pytest.mark.skipif(
    not TRANSCRIPTS.is_dir(), reason=f"no transcripts at {TRANSCRIPTS}; set LMBROKER_SHARED"
)


def names(direction: str) -> list[str]:
    return sorted(path.name.split(".")[0] for path in TRANSCRIPTS.glob(f"*.{direction}.in.sse"))


def cut(data: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [data]
    if how == "random":
        chance = random.Random(data)
        places = sorted(chance.sample(range(1, len(data)), 40))
        return [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    size = int(how)
    return [data[at : at + size] for at in range(0, len(data), size)]


def translate(data: bytes, direction: str, how: str) -> bytes:
    a2o = direction == "a2o"
    decoder = AnthropicDecoder() if a2o else OpenAIDecoder()
    encoder = OpenAIEncoder(TO_OPENAI) if a2o else AnthropicEncoder(TO_ANTHROPIC)
    reader, out = Reader(), []
    for chunk in cut(data, how):
        for frame in reader.feed(chunk):
            out += [encoder.feed(event) for event in decoder.feed(frame)]
    for frame in reader.close():
        out += [encoder.feed(event) for event in decoder.feed(frame)]
    out += [encoder.feed(event) for event in decoder.close()]
    return b"".join(out)


@pytest.mark.parametrize("how", ["whole", "1", "7", "random"])
@pytest.mark.parametrize(
    ("direction", "name"), [(way, name) for way in ("a2o", "o2a") for name in names(way)]
)
def test_stream_transcript(direction: str, name: str, how: str) -> None:
    backend = (TRANSCRIPTS / f"{name}.{direction}.in.sse").read_bytes()
    client = (TRANSCRIPTS / f"{name}.{direction}.out.sse").read_bytes()
    assert translate(backend, direction, how).decode() == client.decode()


def test_there_are_transcripts_of_both_directions() -> None:
    assert len(names("a2o")) >= 8
    assert len(names("o2a")) >= 7


def load(name: str) -> dict[str, object]:
    value = json.loads((TRANSCRIPTS / name).read_bytes())
    assert isinstance(value, dict)
    return value


def test_case_44_whole_anthropic_answer_for_an_openai_client() -> None:
    answer = anthropic_response.decode_response(load("response.anthropic-to-openai.in.json"))
    told = openai_response.encode_response(answer, TO_OPENAI)
    expected = load("response.anthropic-to-openai.out.json")
    assert json.dumps(told) == json.dumps(expected)


def test_case_45_whole_openai_answer_for_an_anthropic_client() -> None:
    answer = openai_response.decode_response(load("response.openai-to-anthropic.in.json"))
    told = anthropic_response.encode_response(answer, TO_ANTHROPIC)
    expected = load("response.openai-to-anthropic.out.json")
    assert json.dumps(told) == json.dumps(expected)
