"""The content of messages and results -> parts (translation.md 8.1).

A part that the native encoder would write differently keeps its original form in the extra
``part``.
"""

from typing import Any

import msgspec

from lmbroker.translation.dialects.openai.content_parts import cache_mark, read_part
from lmbroker.translation.dialects.openai.foreign_blocks import read_block
from lmbroker.translation.dialects.openai_responses.fast_paths import plain_part
from lmbroker.translation.shared.fields import Fields, wrong_type
from lmbroker.translation.shared.left_out import UNKNOWN_PART, left_out
from lmbroker.translation.unified.parts import Extra, OpaquePart, Part, TextPart

ORIGIN = "responses"

_USUAL = frozenset(
    (
        ("user", "input_text"),
        ("user", "input_image"),
        ("user", "input_file"),
        ("user", "input_audio"),
        ("tool", "input_text"),
        ("tool", "input_image"),
        ("tool", "input_file"),
        ("assistant", "output_text"),
        ("assistant", "refusal"),
    )
)
"""The types of parts that a message of a role (``tool``: a result) usually has."""


def read_content(content: Any, path: str, role: str) -> list[Any]:
    """Return the parts of the content at ``path`` in a message of ``role``. Raises Refused.

    The role ``tool`` stands for a result.
    """
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array", content)
    return [content_part(value, f"{path}[{number}]", role) for number, value in enumerate(content)]


def content_part(value: Any, path: str, role: str) -> Part:
    """Return the part of one piece of content. Raises Refused.

    A piece of an unknown type has a meaning for the vendor only.
    """
    plain = plain_part(value, role)
    if plain is not None:
        return plain
    part = Fields(value, path, ORIGIN)
    kind = part.need_text("type")
    if kind == "refusal" and role == "assistant":
        text = part.need_text("refusal")
        return TextPart(text=text, refusal=True, cache=cache_mark(part), extras=part.rest())
    read = read_part(part, kind, role)
    if read is None:
        read = read_block(part, kind, role)
    if read is None:
        return OpaquePart(origin=ORIGIN, type=kind, raw=value)
    if (role, kind) in _USUAL and not isinstance(value.get("image_url"), dict):
        return read
    whole: Part = with_extras(read, (part.extra("part", value, "none"),))
    return whole


def instructions(content: Any, path: str) -> list[TextPart]:
    """Return the texts of an instruction. Raises Refused.

    A text says what was left out where it holds anything else.
    """
    if isinstance(content, str):
        return [TextPart(text=content)]
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array", content)
    texts = []
    for number, value in enumerate(content):
        part = Fields(value, f"{path}[{number}]", ORIGIN)
        kind = part.need_text("type")
        if kind in ("input_text", "output_text", "text"):
            read = content_part(value, part.path, "user")
            if isinstance(read, TextPart):
                texts.append(read)
                continue
        lost = (part.extra("type", kind, "drop"), part.extra("part", value, "none"))
        texts.append(TextPart(text=left_out(kind, UNKNOWN_PART), extras=lost))
    return texts


def spelled(item: Fields, content: Any, parts: list[Any]) -> list[Extra]:
    """Return an extra with the content as it came, where the parts do not show its form.

    That is so where it was a text, or absent.
    """
    if isinstance(content, str) or not parts:
        return [item.extra("content", content, "none")]
    return []


def with_extras(part: Any, extras: tuple[Extra, ...]) -> Any:
    """Return ``part`` with further ``extras`` before its own."""
    return msgspec.structs.replace(part, extras=(*extras, *part.extras)) if extras else part
