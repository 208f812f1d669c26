"""Estimates of token counts, for where no backend counts (translation.md 7.3).

An estimate is always marked as one. It is not rounded up or down for safety: coding agents decide
by these numbers when to compact a conversation. A test compares the constants with the counts of
recorded requests.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from lmbroker.json_text import encode
from lmbroker.translation.unified.image_size import LOOKED_AT, image_size
from lmbroker.translation.unified.parts import (
    AudioPart,
    Base64,
    DocumentPart,
    ImagePart,
    OpaquePart,
    Part,
    PlainText,
    ReasoningPart,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Request, Turn
from lmbroker.usage import Usage

BYTES_PER_TOKEN = 3.6
"""Bytes of UTF-8 that a token stands for in a body of which nothing else is known."""
ANSWER_BYTES = 4.4
"""The same of the texts of an answer: what the model wrote for people, its reasoning, arguments."""
ANSWER_FRAME = 3
"""Tokens of an answer besides its texts."""
TEXT_BYTES = 4.2
"""Bytes of UTF-8 per token of a request's text."""


class Rates(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens that a family of models counts for the pieces of a request.

    The numbers are fitted to recorded counts; those of images are what the vendors document.
    ``tools_bytes`` are bytes of tool definitions per token; all other fields are tokens. ``tools``
    is the hidden prompt that comes with the first tool, ``per_tool`` what each tool adds,
    ``forced`` what a forced tool adds; ``message`` is for each turn, ``call`` for each call and
    each result, ``schema`` for an output schema, ``image`` for an image of unknown size and
    ``page`` for each page of a PDF. ``answer_call`` is for a call in an answer, besides its name
    and arguments: so many bytes of text would take as many tokens.
    """

    tools_bytes: float
    tools: int
    per_tool: int
    forced: int
    message: int
    call: int
    schema: int
    image: int
    page: int
    answer_call: int


CLAUDE = Rates(
    tools_bytes=3.0,
    tools=470,
    per_tool=16,
    forced=90,
    message=9,
    call=18,
    schema=125,
    image=1500,
    page=1800,
    answer_call=200,
)
OTHERS = Rates(
    tools_bytes=5.4,
    tools=10,
    per_tool=2,
    forced=10,
    message=6,
    call=3,
    schema=5,
    image=765,
    page=1000,
    answer_call=60,
)
"""The rates of OpenAI's models; those of other vendors are nearest to these."""

PATCH = 28
"""Width and height in pixels of a token in Claude's images."""
CLAUDE_IMAGE = (1568, 1568)
"""The longest edge in pixels and the most tokens of an image, which is shrunk to fit."""
NEW_CLAUDE_IMAGE = (2576, 4784)
TILE, SHORT_EDGE, LONG_EDGE = 512, 768, 2048
"""OpenAI shrinks an image to fit a square of ``LONG_EDGE``, then its shorter edge to
``SHORT_EDGE``, and counts tiles."""
TILE_TOKENS, IMAGE_TOKENS = 170, 85
"""Tokens of each tile, and of each image; with low ``detail`` the latter only."""
PDF_BYTES_PER_TOKEN = 20
"""For PDFs whose pages cannot be counted, and for other files."""

_NEW_CLAUDE = re.compile(r"claude-(?:opus-4[-.][7-9]|[a-z]+-[5-9])")
DATA_BYTES = 2048
"""The least bytes of a run of base64 characters that is taken for data."""
_DATA = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=_-"
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


def so_far(known: Usage | None, estimate_input: Callable[[], int], sent: int) -> Usage:
    """Return the token counts of an answer that was cut off.

    They are those that the backend sent, with at least the estimate of ``sent`` bytes of text for
    the output.
    """
    output = tokens_of_answer(sent)
    if known is None:
        return Usage(input=estimate_input(), output=output, estimated=True)
    if not (known.input or known.cache_read or known.cache_write):
        known = msgspec.structs.replace(known, input=estimate_input())
    return msgspec.structs.replace(known, output=max(known.output, output), estimated=True)


def tokens_of_bytes(size: int) -> int:
    """Return the estimated tokens of ``size`` bytes of UTF-8 text, rounded up."""
    return math.ceil(size / BYTES_PER_TOKEN)


def tokens_of_answer(size: int) -> int:
    """Return the estimated tokens of ``size`` bytes of an answer's texts, rounded up.

    A tool call counts as so many bytes more as ``call_bytes`` says.
    """
    return math.ceil(size / ANSWER_BYTES) + ANSWER_FRAME if size else 0


def call_bytes(model: str) -> int:
    """Return what a tool call of ``model`` counts in an answer besides its texts, in bytes."""
    return _rates(model).answer_call


def _rates(model: str) -> Rates:
    return CLAUDE if "claude" in model.lower() else OTHERS


def estimate_body(body: bytes) -> int:
    """Return the estimated input tokens of a request that was not parsed.

    Long runs without a space are base64 of images and files, and count as one image each.
    """
    size, images = len(body), 0
    if size > DATA_BYTES and b"base64" in body:
        for length in _data_in(body):
            size -= length
            images += 1
    return tokens_of_bytes(size) + images * OTHERS.image


def _data_in(body: bytes) -> Iterator[int]:
    """Yield the lengths of the runs of at least ``DATA_BYTES`` that may be base64.

    Such a run covers a whole block of half that length, so only blocks are examined: a regular
    expression would scan each byte several times.
    """
    step = DATA_BYTES // 2
    run = 0
    before = b""
    for at in range(0, len(body), step):
        block = body[at : at + step]
        if len(block) == step and b" " not in block and not block.translate(None, _DATA):
            if not run:
                run = len(before) - len(before.rstrip(_DATA))
            run += step
        elif run:
            run += len(block) - len(block.lstrip(_DATA))
            if run >= DATA_BYTES:
                yield run
            run = 0
        before = block
    if run >= DATA_BYTES:
        yield run


def estimate_input(request: Request, model: str = "", before: tuple[int, int] = (0, 0)) -> int:
    """Return the estimated input tokens of ``request`` when it is sent to ``model``.

    ``before`` is what ``count_turns`` makes of turns that stand before those of ``request``.
    """
    count = _count(model)
    count.tokens, count.size = before
    for part in request.system:
        count.text(part.text)
    count.turns(request.turns)
    if request.tools:
        count.tools(request)
    if request.output is not None and request.output.schema is not None:
        count.tokens += count.rates.schema
        count.tools_size += len(encode(request.output.schema))
    return count.total()


def count_turns(turns: Sequence[Turn], model: str = "") -> tuple[int, int]:
    """Return the estimated tokens of ``turns`` but for their texts, and the bytes of these."""
    count = _count(model)
    count.turns(turns)
    return count.tokens, count.size


def _count(model: str) -> "_Count":
    newest = _NEW_CLAUDE.search(model.lower())
    return _Count(_rates(model), NEW_CLAUDE_IMAGE if newest else CLAUDE_IMAGE)


class _Count:
    """Adds up the tokens of one request; sizes of texts are rounded once, at the end."""

    def __init__(self, rates: Rates, image: tuple[int, int]) -> None:
        self.rates = rates
        self.tokens = 0
        self.size = 0
        self.tools_size = 0
        self._image_limits = image

    def total(self) -> int:
        return (
            self.tokens
            + math.ceil(self.size / TEXT_BYTES)
            + math.ceil(self.tools_size / self.rates.tools_bytes)
        )

    def text(self, text: str) -> None:
        self.size += _bytes_of(text)

    def turns(self, turns: Sequence[Turn]) -> None:
        self.tokens += self.rates.message * len(turns)
        for turn in turns:
            for each in turn.parts:
                self.part(each)

    def tools(self, request: Request) -> None:
        self.tokens += self.rates.tools + self.rates.per_tool * len(request.tools)
        choice = request.tool_choice
        if choice is not None and choice.mode in ("required", "named"):
            self.tokens += self.rates.forced
        for tool in request.tools:
            self.tools_size += _bytes_of(tool.name) + _bytes_of(tool.description or "")
            self.tools_size += len(encode(tool.schema or tool.raw or tool.grammar or {}))

    def part(self, part: Part) -> None:
        if isinstance(part, TextPart | ReasoningPart):
            self.text(part.text)
        elif isinstance(part, ToolCallPart):
            self.tokens += self.rates.call
            self.text(part.name)
            if part.raw_args is not None:
                self.text(part.raw_args)
            else:
                self.size += len(encode(part.args))
        elif isinstance(part, ToolResultPart):
            self.tokens += self.rates.call
            for each in part.parts or ():
                self.part(each)
        elif isinstance(part, ImagePart):
            self.tokens += self._image(part)
        elif isinstance(part, DocumentPart):
            self.text(part.title or "")
            self.text(part.context or "")
            self._document(part)
        elif isinstance(part, AudioPart):
            self.tokens += len(part.data) * 3 // 4 // PDF_BYTES_PER_TOKEN
        elif isinstance(part, OpaquePart):
            self.size += len(encode(part.raw))

    def _image(self, part: ImagePart) -> int:
        claude = self.rates is CLAUDE
        if part.detail == "low" and not claude:
            return IMAGE_TOKENS
        if not isinstance(part.source, Base64):
            return self.rates.image
        size = image_size(_decoded(part.source.data[: LOOKED_AT // 3 * 4]))
        if size is None:
            return self.rates.image
        return claude_image(size, *self._image_limits) if claude else openai_image(size)

    def _document(self, part: DocumentPart) -> None:
        source = part.source
        if isinstance(source, tuple):
            for each in source:
                self.part(each)
        elif isinstance(source, PlainText):
            self.text(source.text)
        elif not isinstance(source, Base64):
            self.tokens += self.rates.page
        else:
            data = _decoded(source.data)
            pages = len(_PAGE.findall(data)) * self.rates.page
            self.tokens += pages or math.ceil(len(data) / PDF_BYTES_PER_TOKEN)


def claude_image(size: tuple[int, int], edge: int, most: int) -> int:
    """Return the tokens of an image at Anthropic, at most ``most``.

    They are its patches, once its longer edge has at most ``edge`` pixels.
    """
    shrunk = min(1.0, edge / max(size))
    width, height = (max(1.0, side * shrunk) for side in size)
    return min(most, math.ceil(width / PATCH) * math.ceil(height / PATCH))


def openai_image(size: tuple[int, int]) -> int:
    """Return the tokens of an image at OpenAI, which counts tiles."""
    shrunk = min(1.0, LONG_EDGE / max(size))
    width, height = (side * shrunk for side in size)
    shrunk = min(1.0, SHORT_EDGE / min(width, height))
    tiles = math.ceil(width * shrunk / TILE) * math.ceil(height * shrunk / TILE)
    return IMAGE_TOKENS + TILE_TOKENS * tiles


def _bytes_of(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode("utf-8", "replace"))


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""
