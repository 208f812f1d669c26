"""Estimates of token counts, for where no backend counts (translation.md 7.3).

An estimate is always marked as one. It errs on no side on purpose: coding agents decide by
these numbers when to compact a conversation.
"""

import base64
import binascii
import math
import re
from collections.abc import Callable

import msgspec

from lmbroker.unified.image_size import LOOKED_AT, image_size
from lmbroker.unified.json_text import encode
from lmbroker.unified.parts import (
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
from lmbroker.unified.request import Request
from lmbroker.unified.response import Usage

BYTES_PER_TOKEN = 3.6
PER_MESSAGE = 4
PER_TOOL = 12
IMAGE = 1500
"""Tokens of an image whose size is not readable."""
PATCH = 28
"""Pixels that an image's token is wide and high."""
PDF_PAGE = 1800
PDF_BYTES_PER_TOKEN = 20
"""For a PDF whose pages cannot be counted, and for other files."""

DATA_BYTES = 2048
"""Base64 of at least so many bytes is no text."""
_DATA = re.compile(rb"[A-Za-z0-9+/=_-]{2048,}")
_PAGE = re.compile(rb"/Type\s*/Page(?![A-Za-z])")


def so_far(known: Usage | None, estimate_input: Callable[[], int], told: int) -> Usage:
    """The counts of an answer that is not whole: what the backend told of them, and of ``told``
    bytes of text what they are worth."""
    output = tokens_of_bytes(told)
    if known is None:
        return Usage(input=estimate_input(), output=output, estimated=True)
    if not (known.input or known.cache_read or known.cache_write):
        known = msgspec.structs.replace(known, input=estimate_input())
    return msgspec.structs.replace(known, output=max(known.output, output), estimated=True)


def tokens_of_bytes(size: int) -> int:
    """The tokens of ``size`` bytes of UTF-8 text."""
    return math.ceil(size / BYTES_PER_TOKEN)


def estimate_body(body: bytes) -> int:
    """The tokens of a request of which only the bytes are at hand: long runs without any space are
    data of images and files, and count as an image each."""
    size, images = len(body), 0
    if size > DATA_BYTES and b"base64" in body:
        for run in _DATA.finditer(body):
            size -= run.end() - run.start()
            images += 1
    return tokens_of_bytes(size) + images * IMAGE


def estimate_input(request: Request) -> int:
    """The input tokens of a whole request."""
    text = _Text()
    for part in request.system:
        text.add(part.text)
    fixed = PER_MESSAGE * len(request.turns)
    for turn in request.turns:
        for each in turn.parts:
            fixed += _part(each, text)
    for tool in request.tools:
        fixed += PER_TOOL
        text.add(tool.name)
        text.add(tool.description or "")
        text.value(tool.schema or tool.raw or tool.grammar or {})
    if request.output is not None and request.output.schema is not None:
        text.value(request.output.schema)
    return fixed + tokens_of_bytes(text.size)


class _Text:
    """Adds up UTF-8 sizes; rounding happens once, at the end."""

    def __init__(self) -> None:
        self.size = 0

    def add(self, text: str) -> None:
        self.size += len(text) if text.isascii() else len(text.encode("utf-8", "replace"))

    def value(self, value: object) -> None:
        self.size += len(encode(value))


def _part(part: Part, text: _Text) -> int:
    """Adds what is text to ``text``; returns the tokens of what is none."""
    if isinstance(part, TextPart | ReasoningPart):
        text.add(part.text)
    elif isinstance(part, ToolCallPart):
        text.add(part.name)
        if part.raw_args is not None:
            text.add(part.raw_args)
        else:
            text.value(part.args)
    elif isinstance(part, ToolResultPart):
        return sum(_part(each, text) for each in part.parts or ())
    elif isinstance(part, ImagePart):
        return _image(part)
    elif isinstance(part, DocumentPart):
        text.add(part.title or "")
        text.add(part.context or "")
        return _document(part, text)
    elif isinstance(part, AudioPart):
        return len(part.data) * 3 // 4 // PDF_BYTES_PER_TOKEN
    elif isinstance(part, OpaquePart):
        text.value(part.raw)
    return 0


def _image(part: ImagePart) -> int:
    if not isinstance(part.source, Base64):
        return IMAGE
    size = image_size(_bytes(part.source.data[: LOOKED_AT // 3 * 4]))
    if size is None:
        return IMAGE
    return math.ceil(size[0] / PATCH) * math.ceil(size[1] / PATCH)


def _document(part: DocumentPart, text: _Text) -> int:
    source = part.source
    if isinstance(source, tuple):
        return sum(_part(each, text) for each in source)
    if isinstance(source, PlainText):
        text.add(source.text)
        return 0
    if not isinstance(source, Base64):
        return PDF_PAGE
    data = _bytes(source.data)
    pages = len(_PAGE.findall(data))
    return pages * PDF_PAGE or math.ceil(len(data) / PDF_BYTES_PER_TOKEN)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text[: len(text) // 4 * 4])
    except (binascii.Error, ValueError):
        return b""
