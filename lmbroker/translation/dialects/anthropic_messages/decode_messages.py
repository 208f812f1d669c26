"""Instructions and messages of a Messages request -> parts and turns (translation.md 2.4).

Every message is a turn of its own, its parts in the order in which they came: a user turn may hold
tool results anywhere among its other parts. Content that came as a string is kept once more in an
extra of the turn, of class ``none``, for a backend of this dialect.
"""

from typing import Any

from lmbroker import json_text
from lmbroker.errors import Refused
from lmbroker.translation.dialects.anthropic_messages.decode_blocks import (
    decode_content,
    read_block,
)
from lmbroker.translation.dialects.anthropic_messages.extra_fields import (
    EFFORTS,
    ORIGIN,
    take_extras,
)
from lmbroker.translation.dialects.anthropic_messages.fast_paths import content_as_text, plain_turn
from lmbroker.translation.dialects.anthropic_messages.odd_messages import mended
from lmbroker.translation.shared.fields import Fields, bad_value, missing
from lmbroker.translation.shared.odd_messages import MOST, Mending, called_else
from lmbroker.translation.unified.parts import Extra, TextPart, ToolCallPart, ToolResultPart
from lmbroker.translation.unified.request import Effort, Turn

_ROLES = ("user", "assistant", "system")


def decode_system(body: Fields) -> tuple[tuple[TextPart, ...], list[Extra]]:
    """Return the top-level instructions, and extras where they came in another form than blocks.

    An empty text is no instruction. Raises Refused.
    """
    value = body.any("system")
    if value is None:
        return (), []
    if isinstance(value, str):
        parts = (TextPart(text=value),) if value else ()
        return parts, [body.extra("system", value, "none")]
    parts = decode_content(value, body.at("system"), "instructions")
    return parts, [] if value else [body.extra("system", value, "none")]


def decode_messages(items: list[Any]) -> tuple[tuple[Turn, ...], int]:
    """Return the turns, and how many messages were mended. Raises Refused."""
    turns: list[Turn] = []
    odd = 0
    for number, item in enumerate(items):
        turn = plain_turn(item)
        if turn is not None:
            turns.append(turn)
            continue
        path = f"messages[{number}]"
        try:
            turns.append(_turn(Fields(item, path, ORIGIN)))
        except Refused:
            last = number == len(items) - 1
            renamed = isinstance(item, dict) and called_else(item.get("role"), _ROLES)
            odd += 1
            if odd > MOST or (last and not renamed):
                raise
            turns.append(_odd_turn(item, path, last=last))
    return tuple(turns), odd


def _odd_turn(item: Any, path: str, *, last: bool) -> Turn:
    """Return the turn of a message that breaks the rules of its format. Raises Refused.

    Of the ``last`` message nothing is repaired but the name of its role.
    """
    message = Mending(item, path, ORIGIN)
    if last:
        message.role(_ROLES)
        return _turn(message.fields())
    try:
        return _turn(mended(message, read_block))
    except Refused:
        return _turn(message.nothing("user"))


def later_effort(turns: tuple[Turn, ...]) -> Effort | None:
    """Return the effort that the last instruction inside the conversation demands.

    It is None where none does.
    """
    for turn in reversed(turns):
        for extra in turn.extras:
            if extra.name == "output_config" and isinstance(extra.value, dict):
                level = extra.value.get("effort")
                if level in EFFORTS:
                    return level
    return None


def _turn(message: Fields) -> Turn:
    role = message.need_text("role")
    if role == "tool" and "tool_call_id" in message.left:
        return _result(message)
    calls = message.items("tool_calls") if role == "assistant" else None
    if role == "developer":
        role = "system"
    if role not in _ROLES:
        raise bad_value(message.at("role"), "there is no such role")
    configures = role == "system" and "output_config" in message.left
    content = message.any("content")
    if content is None and not configures and not calls:
        raise missing(message.at("content"))
    parts = () if content is None else decode_content(content, message.at("content"), role)
    for number, call in enumerate(calls or ()):
        parts += (_call(Fields(call, f"{message.at('tool_calls')}[{number}]", ORIGIN)),)
    extras = [content_as_text(content)] if isinstance(content, str) else []
    return Turn(
        role=role,  # type: ignore[arg-type]
        parts=parts,
        extras=(*extras, *take_extras(message, "message"), *message.rest()),
    )


def _result(message: Fields) -> Turn:
    """Return a result in the Chat Completions format, which some clients send on this path."""
    id, content = message.need_text("tool_call_id"), message.any("content")
    path = message.at("content")
    part = ToolResultPart(
        call_id=id,
        parts=None if content is None else decode_content(content, path, "result"),
        as_text=isinstance(content, str),
    )
    return Turn(role="user", parts=(part,), extras=message.rest())


def _call(call: Fields) -> ToolCallPart:
    """Return a call in the Chat Completions format."""
    function = call.need_inside("function")
    text = function.text("arguments")
    call.any("type")
    return ToolCallPart(
        id=call.need_text("id"),
        name=function.need_text("name"),
        args=json_text.arguments(text or ""),
        raw_args=text,
        extras=(*call.rest(), *function.rest("function.")),
    )
