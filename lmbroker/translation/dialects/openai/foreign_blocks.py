"""Reads blocks of the Messages format in requests of OpenAI's formats.

Some clients send one format's blocks on another's path. Their meaning is in no doubt, so they are
read for what they are.
"""

from collections.abc import Callable
from typing import Any

from lmbroker.translation.shared.fields import Fields
from lmbroker.translation.shared.signature import from_wire
from lmbroker.translation.unified.parts import (
    Base64,
    DocumentPart,
    ImagePart,
    Part,
    PlainText,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Url,
)


def read_block(part: Fields, kind: str, role: str) -> Part | None:
    """Return the part for a block of type ``kind`` in a message of ``role``.

    It is None for what is no such block, or has no meaning in such a message. The keys are taken
    out of ``part``. Raises Refused.
    """
    reader = _READERS.get((kind, role))
    return None if reader is None else reader(part)


def _image(part: Fields) -> Part | None:
    source = _source(part)
    if source is None or isinstance(source, PlainText):
        return None
    return ImagePart(source=source, extras=part.rest())


def _document(part: Fields) -> Part | None:
    source = _source(part)
    if source is None:
        return None
    return DocumentPart(source=source, title=part.text("title"), extras=part.rest())


def _source(part: Fields) -> Base64 | Url | PlainText | None:
    held = part.left.get("source")
    if not isinstance(held, dict):
        return None
    kind, data, url = held.get("type"), held.get("data"), held.get("url")
    media = held.get("media_type")
    source: Base64 | Url | PlainText
    if kind == "base64" and isinstance(data, str) and isinstance(media, str):
        source = Base64(media_type=media, data=data)
    elif kind == "url" and isinstance(url, str):
        source = Url(url=url)
    elif kind == "text" and isinstance(data, str):
        source = PlainText(text=data)
    else:
        return None
    part.any("source")
    return source


def _call(part: Fields) -> Part | None:
    args = part.mapping("input")
    id, name = part.need_text("id"), part.need_text("name")
    return ToolCallPart(id=id, name=name, args=args or {}, extras=part.rest())


def _result(part: Fields) -> Part | None:
    id, content = part.need_text("tool_use_id"), part.any("content")
    parts: list[Any] = []
    for number, value in enumerate(content if isinstance(content, list) else ()):
        held = Fields(value, f"{part.at('content')}[{number}]", part.origin)
        kind = held.need_text("type")
        if kind == "text":
            parts.append(TextPart(text=held.need_text("text"), extras=held.rest()))
            continue
        read = read_block(held, kind, "user")
        if isinstance(read, ImagePart | DocumentPart):
            parts.append(read)
    if isinstance(content, str) and content:
        parts.append(TextPart(text=content))
    return ToolResultPart(
        call_id=id,
        parts=None if content is None else tuple(parts),
        as_text=isinstance(content, str),
        is_error=part.boolean("is_error"),
        extras=part.rest(),
    )


def _inner_result(part: Fields) -> Part | None:
    """Return the text of a result that stands inside the message for it."""
    content = part.left.get("content")
    pieces = content if isinstance(content, list) else [{"type": "text", "text": content}]
    texts = [piece.get("text") for piece in pieces if isinstance(piece, dict)]
    if len(texts) != len(pieces) or not all(isinstance(text, str) for text in texts):
        return None
    for key in ("content", "tool_use_id", "is_error"):
        part.any(key)
    return TextPart(text="\n".join(map(str, texts)), extras=part.rest())


def _thinking(part: Fields) -> Part | None:
    signed = part.left.get("signature")
    if not isinstance(part.left.get("thinking"), str) or not isinstance(signed, str):
        return None
    part.any("signature")
    return ReasoningPart(
        text=part.need_text("thinking"),
        signature=from_wire(signed) if signed else Signature(origin="text"),
        extras=part.rest(),
    )


def _redacted(part: Fields) -> Part | None:
    return ReasoningPart(redacted=part.need_text("data"), extras=part.rest())


_READERS: dict[tuple[str, str], Callable[[Fields], Part | None]] = {
    ("image", "user"): _image,
    ("document", "user"): _document,
    ("image", "tool"): _image,
    ("document", "tool"): _document,
    ("tool_use", "assistant"): _call,
    ("tool_result", "user"): _result,
    ("thinking", "assistant"): _thinking,
    ("tool_result", "tool"): _inner_result,
    ("redacted_thinking", "assistant"): _redacted,
}
"""(type of a block, role of the message in which it stands) -> its reader."""
