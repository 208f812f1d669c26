"""Reasoning between tags at the head of a text."""

import random

import pytest
from streams import a_stream, check, cuts, message, o_chunk, o_stream, run  # noqa: F401

from lmbroker.translation.dialects.base import Reading, Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.shared.think_tags import ThinkTags, separated
from lmbroker.translation.unified.parts import ReasoningPart, Signature, TextPart
from lmbroker.workflows import conversion
from lmbroker.workflows.transforms import TranslatedStream

CASES = [
    ("<think>I should greet.</think>\n\nHello", "I should greet.", "Hello"),
    ("\n <think>\nHm.\n</think>\nHello\n", "\nHm.\n", "Hello\n"),
    ("<think></think>Hello", "", "Hello"),
    ("</think>\n\nHello", "", "Hello"),
    ("\n</think>Hello", "", "Hello"),
    ("<think>a < b </ c </thin </think>Hello", "a < b </ c </thin ", "Hello"),
    ("<think>a</think>Say <think>b</think>.", "a", "Say <think>b</think>."),
    ("Say <think>b</think>.", "", "Say <think>b</think>."),
    ("The end tag is </think>.", "", "The end tag is </think>."),
    ("<thinking>b</thinking>", "", "<thinking>b</thinking>"),
    (" Hello", "", " Hello"),
    ("<thi", "", "<thi"),
    ("  ", "", "  "),
    ("<think>cut in the mid</thi", "cut in the mid</thi", ""),
    ("<think>only", "only", ""),
    ("", "", ""),
]
every = pytest.mark.parametrize(("text", "reasoning", "said"), CASES)


OPENED = [
    ("I should greet.</think>\n\nHello", "I should greet.", "Hello"),
    ("\nHm.\n</think>\n\nHello\n", "\nHm.\n", "Hello\n"),
    ("<think>Hm.</think>Hello", "Hm.", "Hello"),
    ("</think>Hello", "", "Hello"),
    ("a < b </thin </think>Say </think>.", "a < b </thin ", "Say </think>."),
    ("never closed", "never closed", ""),
    ("<thi", "<thi", ""),
    ("  ", "", "  "),
    ("", "", ""),
]
opened = pytest.mark.parametrize(("text", "reasoning", "said"), OPENED)


@opened
def test_an_answer_that_begins_inside_its_reasoning(text: str, reasoning: str, said: str) -> None:
    assert separated(text, opened=True) == (reasoning, said)
    for size in (1, 3, 7):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        assert told(pieces, opened=True) == (reasoning, said)


@opened
def test_such_an_answer_streamed_and_whole(text: str, reasoning: str, said: str) -> None:
    reading = Reading(think_tags="open")
    deltas = [{"content": text[at : at + 3]} for at in range(0, len(text), 3)]
    stream = o_stream({"role": "assistant", "content": ""}, *deltas, o_chunk(finish="stop"))
    whole = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    for parts in (
        ADAPTERS["openai"].decode_response(whole, reading).parts,
        conversion.fold_stream(ADAPTERS["openai"], stream, reading).parts,
    ):
        thought = [part for part in parts if isinstance(part, ReasoningPart)]
        assert "".join(part.text for part in thought) == reasoning
        assert "".join(part.text for part in parts if isinstance(part, TextPart)) == said
        for part in thought:
            assert part.signature == Signature(origin="text", field="think")


def test_reasoning_of_an_answer_that_begins_inside_it_is_told_as_it_comes() -> None:
    tags = ThinkTags(opened=True)
    assert tags.feed("Hm") == [("reasoning", "Hm")]
    assert tags.feed(", yes") == [("reasoning", ", yes")]


def told(pieces: list[str], *, opened: bool = False) -> tuple[str, str]:
    tags = ThinkTags(opened=opened)
    found = [piece for text in pieces for piece in tags.feed(text)] + tags.close()
    reasoning = "".join(text for kind, text in found if kind == "reasoning")
    return reasoning, "".join(text for kind, text in found if kind == "text")


@every
def test_the_head_of_a_text_is_told_apart_however_it_is_cut(
    text: str, reasoning: str, said: str
) -> None:
    assert separated(text) == (reasoning, said)
    assert told(list(text)) == (reasoning, said)
    for seed in range(20):
        places = sorted(random.Random(seed).sample(range(len(text) + 1), min(4, len(text))))
        ends = [*places, len(text)]
        assert told([text[a:b] for a, b in zip([0, *ends], ends, strict=False)]) == (
            reasoning,
            said,
        )


@every
def test_a_stream_and_a_whole_answer_say_the_same(text: str, reasoning: str, said: str) -> None:
    deltas = [{"content": text[at : at + 3]} for at in range(0, len(text), 3)]
    stream = o_stream({"role": "assistant", "content": ""}, *deltas, o_chunk(finish="stop"))
    whole = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    parts = ADAPTERS["openai"].decode_response(whole, Reading(think_tags=True)).parts
    thought = [part.text for part in parts if isinstance(part, ReasoningPart)]
    spoken = [part.text for part in parts if isinstance(part, TextPart)]
    assert ("".join(thought), "".join(spoken)) == (reasoning, said)
    for chunks in cuts(stream):
        client = ADAPTERS["anthropic"]
        transform = TranslatedStream(
            ADAPTERS["openai"].decoder(Reading(think_tags=True)),
            client.encoder(Reply(model="m", request_id="r")),
            client,
            lambda: 0,
        )
        out = run(transform, chunks)
        check("anthropic", out)
        content = message(out).content
        assert "".join(b.thinking for b in content if b.type == "thinking") == reasoning
        assert "".join(b.text for b in content if b.type == "text") == said


def test_tags_are_text_where_nobody_expects_them() -> None:
    text = CASES[0][0]
    whole = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]}
    assert ADAPTERS["openai"].decode_response(whole).parts == (TextPart(text=text),)


def test_the_reasoning_says_where_it_stood() -> None:
    whole = {"choices": [{"message": {"content": CASES[0][0]}, "finish_reason": "stop"}]}
    part = ADAPTERS["openai"].decode_response(whole, Reading(think_tags=True)).parts[0]
    assert isinstance(part, ReasoningPart)
    assert part.signature == Signature(origin="text", field="think")


def test_the_work_is_linear() -> None:
    for text in (" " * 100_000, "<think>" + "<" * 100_000, "<think>" + "</think" * 20_000):
        assert sum(map(len, told(list(text)))) > 90_000
