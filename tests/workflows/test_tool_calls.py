"""How many tools an answer calls is known of every answer, passed through or translated."""

import json
import random
from pathlib import Path

import pytest

from lmbroker.errors import BackendRefused, Broken
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows.conversion import calls_in, fold_stream
from lmbroker.workflows.transforms import PassedStream, TranslatedStream

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"
LETTERS = {name[0]: name for name in ADAPTERS}
STREAMS = sorted(path.name for path in TRANSCRIPTS.glob("*.in.sse"))


def response_of(name):
    """The answer that a transcript holds, with the adapter of its dialect; None where it breaks."""
    adapter = ADAPTERS[LETTERS[name.split(".")[1][0]]]
    body = (TRANSCRIPTS / name).read_bytes()
    try:
        return adapter, body, fold_stream(adapter, body)
    except (Broken, BackendRefused):
        return adapter, body, None


WHOLE = [name for name in STREAMS if response_of(name)[2] is not None]


def cuts(body, seed):
    """The stream as it may come: whole, byte by byte, cut at random."""
    yield [body]
    yield [body[at : at + 1] for at in range(len(body))]
    places = sorted(random.Random(seed).sample(range(len(body)), 9))
    yield [body[one:other] for one, other in zip([0, *places], [*places, len(body)], strict=True)]


def test_there_are_streams_with_calls_in_each_dialect():
    found = {}
    for name in WHOLE:
        adapter, _, response = response_of(name)
        found.setdefault(adapter.facts.name, set()).add(calls_in(response))
    assert set(found) == set(ADAPTERS)
    assert all({0, 1, 2} <= counts for counts in found.values()), found


@pytest.mark.parametrize("name", WHOLE)
def test_of_a_stream_that_is_passed_through(name):
    adapter, body, response = response_of(name)
    for pieces in cuts(body, name):
        stream = PassedStream(adapter.tap(1), adapter, "r")
        for piece in pieces:
            stream.feed(piece)
        stream.close()
        assert stream.tool_calls == calls_in(response)


@pytest.mark.parametrize("client", list(ADAPTERS))
@pytest.mark.parametrize("name", WHOLE)
def test_of_a_stream_that_is_translated(name, client):
    adapter, body, response = response_of(name)
    encoder = ADAPTERS[client].encoder(Reply(model="m"))
    stream = TranslatedStream(adapter.decoder(None), encoder, ADAPTERS[client], lambda: 0)
    stream.feed(body)
    stream.close()
    assert stream.tool_calls == calls_in(response)


@pytest.mark.parametrize("client", list(ADAPTERS))
@pytest.mark.parametrize("name", WHOLE)
def test_of_a_whole_answer(name, client):
    _, _, response = response_of(name)
    answer = ADAPTERS[client].encode_response(response, Reply(model="m"))
    assert ADAPTERS[client].tool_calls(answer) == calls_in(response)


@pytest.mark.parametrize("dialect", list(ADAPTERS))
@pytest.mark.parametrize("field", ["choices", "content", "output"])
@pytest.mark.parametrize("value", [None, 1, {}, [1], [None], [{}], [{"message": 1, "type": []}]])
def test_what_is_no_answer_calls_nothing(dialect, field, value):
    assert ADAPTERS[dialect].tool_calls({field: value}) == 0


SPOKEN = json.dumps({"type": "tool_use", "tool_calls": [{"function": {"name": "f"}}]})


@pytest.mark.parametrize("dialect", list(ADAPTERS))
def test_a_text_about_calls_is_none(dialect):
    """The words of a stream may look like a call, and like the fields of one."""
    name = next(each for each in WHOLE if each.startswith(f"text.{dialect[0]}"))
    adapter, body, response = response_of(name)
    words = json.dumps(SPOKEN)[1:-1].encode()
    spoken = body.replace(b'"text":"', b'"text":"' + words).replace(
        b'"content":"', b'"content":"' + words
    )
    for each in (spoken, spoken.replace(b'"delta":"', b'"delta":"' + words)):
        stream = PassedStream(adapter.tap(1), adapter, "r")
        stream.feed(each)
        stream.close()
        assert stream.tool_calls == calls_in(response)
