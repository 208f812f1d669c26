"""Instructions and messages of a Messages request -> parts and turns (translation.md 2.4).

Every message is a turn of its own, its parts in the order in which they came: a user turn may
hold tool results anywhere among its other parts. Content that came as a string stands on the
turn a second time, as an extra of class ``none``, for a backend of this dialect.
"""

from typing import Any

from lmbroker.adapters.anthropic_messages.decode_blocks import decode_content
from lmbroker.adapters.anthropic_messages.extra_fields import ORIGIN, take_extras
from lmbroker.adapters.fields import Fields, bad_value, missing
from lmbroker.unified.parts import Extra, TextPart
from lmbroker.unified.request import Turn

_ROLES = ("user", "assistant", "system")


def decode_system(body: Fields) -> tuple[tuple[TextPart, ...], list[Extra]]:
    """The top-level instructions (an empty text is none), and how they came where that is no
    list of blocks. Raises Refused."""
    value = body.any("system")
    if value is None:
        return (), []
    if isinstance(value, str):
        parts = (TextPart(text=value),) if value else ()
        return parts, [body.extra("system", value, "none")]
    parts = decode_content(value, body.at("system"), "instructions")
    return parts, [] if value else [body.extra("system", value, "none")]


def decode_messages(items: list[Any]) -> tuple[Turn, ...]:
    """The turns. Raises Refused."""
    turns: list[Turn] = []
    for number, item in enumerate(items):
        if isinstance(item, dict) and len(item) == 2:
            # Most messages are a role and a plain text: they become here what they would below.
            role, text = item.get("role"), item.get("content")
            if isinstance(text, str) and role in _ROLES:
                turns.append(Turn(role=role, parts=(TextPart(text=text),), extras=(_came(text),)))
                continue
        turns.append(_turn(Fields(item, f"messages[{number}]", ORIGIN)))
    return tuple(turns)


def _turn(message: Fields) -> Turn:
    role = message.need_text("role")
    if role not in _ROLES:
        raise bad_value(message.at("role"), "there is no such role")
    configures = role == "system" and "output_config" in message.left
    content = message.any("content")
    if content is None and not configures:
        raise missing(message.at("content"))
    extras = [_came(content)] if isinstance(content, str) else []
    return Turn(
        role=role,  # type: ignore[arg-type]
        parts=() if content is None else decode_content(content, message.at("content"), role),
        extras=(*extras, *take_extras(message, "message"), *message.rest()),
    )


def _came(content: str) -> Extra:
    """How the content of a message came that is no list of blocks."""
    path = "messages[].content"
    return Extra(origin=ORIGIN, name="content", path=path, value=content, loss="none")
