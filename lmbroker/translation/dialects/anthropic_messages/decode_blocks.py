"""Content blocks of a Messages request -> parts (translation.md 2.4, 2.8, 4.6).

What another encoder must know:

- Content that is one plain string and content that is one plain text block are the same parts.
- A block that only Anthropic understands is an OpaquePart that holds it whole.
- An image or a document whose source is of an unknown kind has an empty URL as its source and an
  extra ``source``.
- Reasoning without a signature counts as plain text that nobody signed (origin ``openai``), as
  do tokens of ours for such reasoning; a text that was hidden in a token is the part's text.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from lmbroker import json_text
from lmbroker.translation.dialects.anthropic_messages.blocks import decode_citation
from lmbroker.translation.dialects.anthropic_messages.extra_fields import (
    ORIGIN,
    cache_of,
    take_cache,
    take_extras,
)
from lmbroker.translation.dialects.anthropic_messages.fast_paths import plain_text_block
from lmbroker.translation.shared.fields import Fields, bad_value, missing, wrong_type
from lmbroker.translation.shared.media import parse_data_url
from lmbroker.translation.shared.signature import from_wire, unseal
from lmbroker.translation.unified.parts import (
    Base64,
    DocumentPart,
    Extra,
    FileRef,
    ImagePart,
    OpaquePart,
    Part,
    PlainText,
    ReasoningPart,
    Signature,
    TextPart,
    ToolCallPart,
    ToolResultPart,
    Url,
)

_PLACES = {
    "text": ("user", "assistant", "system", "instructions", "result", "document"),
    "image": ("user", "assistant", "result", "document"),
    "document": ("user", "assistant", "result"),
    "thinking": ("assistant",),
    "redacted_thinking": ("assistant",),
    "tool_use": ("assistant",),
    "tool_result": ("user",),
}
"""The places in which a block is allowed: a turn of a role, the top-level instructions, a tool's
result, a document. Blocks of other types are allowed wherever the Unified Model can hold them."""

_CLOSED = ("instructions", "document")

_NOWHERE = Url(url="")


def decode_content(content: Any, path: str, place: str) -> tuple[Any, ...]:
    """Return the parts of a string or a list of blocks that stands at ``path``.

    ``place`` is one of the places in ``_PLACES``. Raises Refused.
    """
    if isinstance(content, str):
        return (TextPart(text=content),)
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array", content)
    parts: list[Part] = []
    for number, value in enumerate(content):
        # A text block is allowed anywhere.
        plain = plain_text_block(value)
        parts.append(plain or read_block(value, f"{path}[{number}]", place))
    return tuple(parts)


def read_block(value: Any, path: str, place: str) -> Part:
    """Return the part of the block at ``path``, which stands in ``place``. Raises Refused."""
    block = Fields(value, path, ORIGIN)
    kind = block.need_text("type")
    if kind == "image_url" and place in _PLACES["image"]:
        image = _foreign_image(block)
        if image is not None:
            return image
    if kind in _PLACES:
        if place not in _PLACES[kind]:
            raise bad_value(block.at("type"), "such a block cannot stand here")
        return _READERS[kind](block)
    if place in _CLOSED:
        raise bad_value(block.at("type"), "such a block cannot stand here")
    mark = block.any("cache_control")
    cache = cache_of(mark) if isinstance(mark, dict) else None
    return OpaquePart(origin=ORIGIN, type=kind, raw=value, cache=cache)


def _text(block: Fields) -> TextPart:
    text, cited = block.need_text("text"), block.items("citations")
    extras = []
    if cited is not None and not cited:
        extras.append(block.extra("citations", cited, "none"))
    for number, each in enumerate(cited or ()):
        if not isinstance(each, dict):
            raise wrong_type(f"{block.at('citations')}[{number}]", "an object", each)
    return TextPart(
        text=text,
        citations=tuple(decode_citation(each) for each in cited or ()),
        cache=take_cache(block),
        extras=(*extras, *block.rest()),
    )


def _image(block: Fields) -> ImagePart:
    raw, source = block.left.get("source"), block.need_inside("source")
    kind, extras = source.need_text("type"), list[Extra]()
    held: Base64 | Url | FileRef
    if kind == "base64":
        held = Base64(media_type=source.need_text("media_type"), data=source.need_text("data"))
    elif kind == "url":
        held = Url(url=source.need_text("url"))
    elif kind == "file":
        held = FileRef(id=source.need_text("file_id"), origin=ORIGIN)
    else:
        held = _NOWHERE
        extras.append(_unknown(block, source, raw))
    return ImagePart(
        source=held,
        cache=take_cache(block),
        extras=(*extras, *take_extras(block, "image"), *block.rest(), *source.rest("source.")),
    )


def _foreign_image(block: Fields) -> ImagePart | None:
    """Return an image in the Chat Completions format, which some clients send on this path."""
    held = block.left.get("image_url")
    url = held.get("url") if isinstance(held, dict) else held
    if not isinstance(url, str):
        return None
    block.any("image_url")
    detail = held.get("detail") if isinstance(held, dict) else None
    return ImagePart(
        source=parse_data_url(url) or Url(url=url),
        detail=detail if isinstance(detail, str) else None,
        cache=take_cache(block),
        extras=block.rest(),
    )


def _document(block: Fields) -> DocumentPart:
    raw, source = block.left.get("source"), block.need_inside("source")
    kind, extras = source.need_text("type"), list[Extra]()
    held: Base64 | Url | FileRef | PlainText | tuple[TextPart | ImagePart, ...]
    if kind == "base64":
        held = Base64(media_type=source.need_text("media_type"), data=source.need_text("data"))
    elif kind == "text":
        held = PlainText(text=source.need_text("data"), media_type=source.need_text("media_type"))
    elif kind == "url":
        held = Url(url=source.need_text("url"))
    elif kind == "file":
        held = FileRef(id=source.need_text("file_id"), origin=ORIGIN)
    elif kind == "content":
        content = source.any("content")
        if content is None:
            raise missing(source.at("content"))
        held = decode_content(content, source.at("content"), "document")
        if isinstance(content, str):
            extras.append(source.extra("content", content, "none", "source."))
    else:
        held = _NOWHERE
        extras.append(_unknown(block, source, raw))
    citations = block.inside("citations")
    on = False if citations is None else _citations_on(block, citations, extras)
    return DocumentPart(
        source=held,
        title=block.text("title"),
        context=block.text("context"),
        citations_on=on,
        cache=take_cache(block),
        extras=(*extras, *block.rest(), *source.rest("source.")),
    )


def _unknown(block: Fields, source: Fields, raw: Any) -> Extra:
    """Return the extra for a source of an unknown kind, its other keys included."""
    source.left.clear()
    path = source.extra("type", raw, "drop").path
    return msgspec.structs.replace(block.extra("source", raw, "drop"), path=path)


def _citations_on(block: Fields, citations: Fields, extras: list[Extra]) -> bool:
    raw = dict(citations.left)
    on = citations.boolean("enabled")
    if not on:
        extras.append(block.extra("citations", raw, "none"))
    extras += citations.rest("citations.")
    return bool(on)


def _thinking(block: Fields) -> ReasoningPart:
    text, signed = block.need_text("thinking"), block.text("signature")
    if signed and not text:
        hidden = (unseal(signed) or {}).get("t")
        text = hidden if isinstance(hidden, str) else ""
    return ReasoningPart(
        text=text,
        signature=from_wire(signed) if signed else Signature(origin="text"),
        extras=block.rest(),
    )


def _redacted(block: Fields) -> ReasoningPart:
    data = block.need_text("data")
    return ReasoningPart(redacted=data, extras=block.rest())


def _call(block: Fields) -> ToolCallPart:
    id, name, given = block.need_text("id"), block.need_text("name"), block.any("input")
    text = given if isinstance(given, str) else None
    if text is None and not isinstance(given, dict | None):
        raise wrong_type(block.at("input"), "an object", given)
    return ToolCallPart(
        id=id,
        name=name,
        args=(given or {}) if text is None else json_text.arguments(text),
        raw_args=text,
        cache=take_cache(block),
        extras=(*take_extras(block, "tool_use"), *block.rest()),
    )


def _result(block: Fields) -> ToolResultPart:
    id, content = block.need_text("tool_use_id"), block.any("content")
    parts = None
    if content is not None:
        parts = decode_content(content, block.at("content"), "result")
    return ToolResultPart(
        call_id=id,
        parts=parts,
        as_text=isinstance(content, str),
        is_error=block.boolean("is_error"),
        cache=take_cache(block),
        extras=(*take_extras(block, "tool_result"), *block.rest()),
    )


_READERS: dict[str, Callable[[Fields], Part]] = {
    "text": _text,
    "image": _image,
    "document": _document,
    "thinking": _thinking,
    "redacted_thinking": _redacted,
    "tool_use": _call,
    "tool_result": _result,
}
