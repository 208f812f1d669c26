"""Estimates of tokens: images as vendors document them, files, and what is no text."""

import base64
import re
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmbroker.translation.unified import counting
from lmbroker.translation.unified.counting import estimate_body, estimate_input
from lmbroker.translation.unified.parts import (
    AudioPart,
    Base64,
    DocumentPart,
    ImagePart,
    PlainText,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Url,
)
from lmbroker.translation.unified.request import OutputFormat, Request, Tool, ToolChoice, Turn

CLAUDE, NEW, GPT = "claude-sonnet-4-5", "claude-opus-5-5", "gpt-5"


def png(width: int, height: int) -> ImagePart:
    head = b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + bytes(5)
    return ImagePart(source=Base64(media_type="image/png", data=base64.b64encode(head).decode()))


def tokens(model: str, *parts: Any, **more: Any) -> int:
    """What ``parts`` add to an empty request."""

    def whole(*parts: Any, **more: Any) -> int:
        turns = (Turn(role="user", parts=parts),)
        request = Request(dialect="openai", model="m", turns=turns, **more)
        return estimate_input(request, model)

    return whole(*parts, **more) - whole()


@pytest.mark.parametrize(
    ("size", "claude", "new", "gpt"),
    [
        ((28, 28), 1, 1, 255),
        ((200, 200), 64, 64, 255),
        ((1092, 1092), 1521, 1521, 765),
        ((1568, 1568), 1568, 3136, 765),
        ((3000, 3000), 1568, 4784, 765),
        ((2000, 1500), 1568, 3888, 765),
        ((10_000, 100), 56, 92, 765),
        ((2048, 4096), 1568, 4232, 1105),
        ((512, 512), 361, 361, 255),
        ((513, 512), 361, 361, 425),
        ((1_000_000, 1), 56, 92, 765),
    ],
)
def test_images_count_what_vendors_document(
    size: tuple[int, int], claude: int, new: int, gpt: int
) -> None:
    image = png(*size)
    found = tokens(CLAUDE, image), tokens(NEW, image), tokens(GPT, image)
    assert found == (claude, new, gpt)


def test_an_image_that_nobody_can_read_has_a_usual_size() -> None:
    for source in (Url(url="https://example.org/a.png"), Base64(media_type="a", data="AAAA")):
        image = ImagePart(source=source)
        assert (tokens(CLAUDE, image), tokens(GPT, image)) == (1500, 765)


def test_an_image_of_low_detail_is_small_at_openai() -> None:
    image = ImagePart(source=png(2000, 2000).source, detail="low")
    assert (tokens(GPT, image), tokens(CLAUDE, image)) == (85, 1568)


@pytest.mark.parametrize(
    ("model", "most"),
    [
        ("claude-3-5-sonnet-20241022", 1568),
        ("claude-haiku-4-5", 1568),
        ("anthropic/claude-opus-4.6", 1568),
        ("anthropic/claude-opus-4.7", 4784),
        ("claude-opus-4-8", 4784),
        ("claude-sonnet-5", 4784),
        ("eu.anthropic.claude-fable-5-1", 4784),
    ],
)
def test_the_newest_claude_models_see_more(model: str, most: int) -> None:
    assert tokens(model, png(4000, 4000)) == most


def pdf(pages: int) -> DocumentPart:
    data = b"%PDF-1.4\n" + b"<< /Type /Page >>\n" * pages + b"<< /Type /Pages >>"
    source = Base64(media_type="application/pdf", data=base64.b64encode(data).decode())
    return DocumentPart(source=source)


def test_documents_count_by_their_pages_or_their_text() -> None:
    assert (tokens(CLAUDE, pdf(3)), tokens(GPT, pdf(3))) == (5400, 3000)
    assert tokens(CLAUDE, DocumentPart(source=Url(url="https://example.org/a.pdf"))) == 1800
    assert tokens(CLAUDE, pdf(0)) == 2, "bytes, where no page can be counted"
    assert tokens(CLAUDE, DocumentPart(source=PlainText(text="x" * 420))) == 100
    inner = (TextPart(text="x" * 420), png(28, 28))
    assert tokens(CLAUDE, DocumentPart(source=inner)) == 101
    assert tokens(CLAUDE, DocumentPart(source=PlainText(text=""), title="x" * 42)) == 10


def test_results_count_with_what_is_in_them() -> None:
    result = ToolResultPart(call_id="c", parts=(TextPart(text="x" * 420), png(28, 28)))
    assert tokens(CLAUDE, result) == 18 + 100 + 1
    call = ToolCallPart(id="c", name="ab", raw_args="x" * 40)
    assert tokens(CLAUDE, call) == 18 + 10


def test_audio_counts_by_its_bytes() -> None:
    assert tokens(GPT, AudioPart(format="wav", data="A" * 8000)) == 300


def test_tools_bring_a_hidden_prompt() -> None:
    tool = Tool(kind="function", name="abc", schema={})
    one = tokens(CLAUDE, tools=(tool,))
    assert one == 470 + 16 + 2
    assert tokens(CLAUDE, tools=(tool, tool)) == one + 16 + 2
    assert tokens(CLAUDE, tools=(tool,), tool_choice=ToolChoice(mode="required")) == one + 90
    assert tokens(GPT, tools=(tool,)) == 10 + 2 + 1


def test_the_words_of_tools_count_by_family() -> None:
    def of(model: str, description: str) -> int:
        tool = Tool(kind="function", name="abc", description=description, schema={})
        return tokens(model, tools=(tool,))

    assert of(CLAUDE, "x" * 3000) - of(CLAUDE, "") == 1000
    assert of(GPT, "x" * 5400) - of(GPT, "") == 1000


def test_the_text_of_answers_counts_by_its_bytes() -> None:
    assert counting.tokens_of_bytes(3600) == 1000
    assert counting.tokens_of_answer(4400) == 1000 + counting.ANSWER_FRAME
    assert counting.tokens_of_answer(0) == 0
    assert counting.call_bytes("anthropic/Claude-X") > counting.call_bytes("gpt")


def test_the_size_of_an_image_is_found_behind_its_metadata() -> None:
    metadata = (b"\xff\xe1\xff\xff" + bytes(0xFFFD)) * 3
    frame = b"\xff\xc0" + struct.pack(">HBHH", 17, 8, 200, 200)
    data = base64.b64encode(b"\xff\xd8" + metadata + frame + bytes(12)).decode()
    assert tokens(CLAUDE, ImagePart(source=Base64(media_type="image/jpeg", data=data))) == 64


def test_data_of_a_body_is_no_text() -> None:
    text = b'{"messages":[{"content":"' + b"a few words " * 400 + b'"}]}'
    data = b'{"data":"data:image/png;base64,' + b"QUJD" * 50_000 + b'"}'
    assert estimate_body(text) == counting.tokens_of_bytes(len(text)), "of which nothing is known"
    assert estimate_body(text + data) < estimate_body(text) + 900


@given(
    st.lists(
        st.tuples(
            st.sampled_from([b"a", b"=", b" ", b'"', b"\n"]),
            st.sampled_from([1, 2, 1023, 1024, 1025, 2047, 2048, 2049, 5000]),
        )
    )
)
def test_runs_of_data_are_found_wherever_they_stand(pieces: list[tuple[bytes, int]]) -> None:
    body = b"".join(letter * count for letter, count in pieces)
    runs = [len(run[0]) for run in re.finditer(rb"[a=]{2048,}", body)]
    assert list(counting._data_in(body)) == runs


@pytest.mark.parametrize(
    ("model", "message", "call", "forced", "schema"), [(CLAUDE, 9, 18, 90, 125), (GPT, 6, 3, 10, 5)]
)
def test_what_is_around_the_text_counts(
    model: str, message: int, call: int, forced: int, schema: int
) -> None:
    empty = Request(dialect="openai", model="m", turns=())
    turn = Turn(role="user", parts=())

    def more(**fields: Any) -> int:
        return estimate_input(msgspec.structs.replace(empty, **fields), model)

    assert more(turns=(turn, turn)) == 2 * message
    result = ToolResultPart(call_id="c", parts=())
    assert more(turns=(Turn(role="user", parts=(result, result)),)) == message + 2 * call
    tools = (Tool(kind="function", name="abc", schema={}),)
    choice = ToolChoice(mode="named", name="abc")
    assert more(tools=tools, tool_choice=choice) == more(tools=tools) + forced
    output = OutputFormat(kind="json_schema", schema={})
    assert more(output=output) == schema + 1
