"""Fast paths for the most common items, parts and events of this dialect.

Each function recognises one common form and returns exactly what the general code would make of it,
or says that the input is of another form; then the general code reads it.

A plain event (translation.md 8.3) carries one more piece of the part that is open already, and
nothing else that the broker reads. msgspec finds that piece without decoding what stands beside it,
and without checking it: an id that is no UTF-8 would be an error in any other event.

``ResponsesEncoder`` has its own fast path, since a call would cost what it saves: the bytes around
the text of a delta are made when a part opens.
"""

from typing import Any, Literal

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.unified.parts import Extra, TextPart

_TEXT = {"user": "input_text", "tool": "input_text", "assistant": "output_text"}
_ONLY = 2
"""The number of keys of a part that is a text without other fields."""
_NO_SOURCES = (
    Extra(
        origin="responses",
        name="annotations",
        path="input[].content[].annotations",
        value=[],
        loss="none",
    ),
)


class Piece(msgspec.Struct, gc=False):
    """A plain event; few servers leave out to which item it belongs."""

    type: Literal[
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.custom_tool_call_input.delta",
    ]
    delta: str
    output_index: int
    summary_index: int | None = None
    logprobs: tuple[()] | None = None
    error: None = None


_read = msgspec.json.Decoder(Piece).decode
_NOT_PLAIN: Any = (msgspec.DecodeError, UnicodeDecodeError)


def plain_piece(data: bytes) -> Piece | None:
    """Return the piece in a plain event, None for any other event."""
    try:
        return _read(data)
    except _NOT_PLAIN:
        return None


def plain_question(item: JSON) -> str:
    """Return the text of a user's message that has nothing else, "" for any other item."""
    text = item.get("content")
    if len(item) == 2 and type(text) is str and item.get("role") == "user":
        return text
    return ""


def plain_part(value: Any, role: str) -> TextPart | None:
    """Return the part of a text of ``role`` without other fields, None for any other part."""
    if type(value) is not dict:
        return None
    text, size = value.get("text"), len(value)
    if type(text) is not str or value.get("type") != _TEXT.get(role):
        return None
    if size == _ONLY:
        return TextPart(text=text)
    if size == _ONLY + 1 and role == "assistant" and value.get("annotations") == []:
        return TextPart(text=text, extras=_NO_SOURCES)
    return None
