"""Fast paths for the most common messages and blocks of this dialect.

Each function recognises one common form and returns exactly what the general code would make of it,
or None for any other form; then the general code reads it.

Streams have theirs where it is used, since a call would cost what it saves: ``AnthropicDecoder``
looks for text in the open block first, and ``AnthropicEncoder`` makes the bytes around the text of
a delta when a block opens.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from lmbroker.translation.unified.parts import Extra, TextPart
from lmbroker.translation.unified.request import Turn

_ROLES = ("user", "assistant", "system")


def content_as_text(content: str) -> Extra:
    """Return the extra for content that came as a plain string instead of a list of blocks."""
    return Extra(
        origin="anthropic", name="content", path="messages[].content", value=content, loss="none"
    )


def plain_turn(item: Any) -> Turn | None:
    """Return the turn of a message that is a role and a text, None for any other message."""
    if isinstance(item, dict) and len(item) == 2:
        role, text = item.get("role"), item.get("content")
        if isinstance(text, str) and role in _ROLES:
            return Turn(role=role, parts=(TextPart(text=text),), extras=(content_as_text(text),))
    return None


def plain_text_block(block: Any) -> TextPart | None:
    """Return the part of a text block without any other field, None for any other block."""
    if isinstance(block, dict) and len(block) == 2 and block.get("type") == "text":
        text = block.get("text")
        if isinstance(text, str):
            return TextPart(text=text)
    return None


def _reader(kind: str, key: str) -> Callable[[bytes], Any]:
    """Return the decoder of the events whose delta is of type ``kind``, with its text at ``key``.

    It finds that text without decoding what stands beside it, and without checking it.
    """
    delta = msgspec.defstruct(
        "_Delta",
        [("type", Literal[kind]), ("text", str, msgspec.field(name=key))],
        gc=False,
    )
    event = msgspec.defstruct(
        "_Event",
        [("type", Literal["content_block_delta"]), ("delta", delta), ("index", Any, None)],
        gc=False,
    )
    return msgspec.json.Decoder(event).decode


DELTAS = {
    "text": _reader("text_delta", "text"),
    "reasoning": _reader("thinking_delta", "thinking"),
    "args": _reader("input_json_delta", "partial_json"),
}
"""Kind of a delta of the Unified Model -> the decoder of plain events that carry one."""

NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What these raise for any other event."""
