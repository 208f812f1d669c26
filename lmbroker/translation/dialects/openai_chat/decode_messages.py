"""Messages of a chat completion request -> turns (translation.md 2.3).

What the encoder of another dialect must know:

- A run of ``tool`` and ``function`` messages is one user turn, one ToolResultPart each; what
  else those messages say stands in the part's extras. Every other message is a turn of its own.
- A leading system message's own keys stand on its first part as ``message.<key>``;
  ``message.role`` is always there, so it also marks where a message begins.
- Content that is one plain string and content that is one plain text part are the same parts; the
  latter, and content that says nothing, is also an extra ``content`` of class ``none``.
- A part that came from a field of its message (``refusal``, the legacy ``function_call``) has
  an extra ``message.<field>``.
- A reasoning part that stood in the content (Mistral's) has its whole self as extra ``part``.
- Extras of class ``none`` that repeat a field (``reasoning_details``) hold it as it came, for a
  backend of this dialect; other dialects read the parts.
"""

from typing import Any

import msgspec

from lmbroker.errors import Refused
from lmbroker.translation.dialects.openai.call_arguments import read_arguments
from lmbroker.translation.dialects.openai.content_parts import (
    cache_mark,
    read_part,
    without_place,
)
from lmbroker.translation.dialects.openai.foreign_blocks import read_block
from lmbroker.translation.dialects.openai.open_calls import OpenCalls
from lmbroker.translation.dialects.openai_chat.decode_reasoning import (
    decode_reasoning,
    reasoning_chunk,
)
from lmbroker.translation.dialects.openai_chat.fast_paths import plain_instruction, plain_turn
from lmbroker.translation.dialects.openai_chat.odd_messages import ROLES, answer_oldest, mended
from lmbroker.translation.shared.fields import Fields, bad_value, missing, wrong_type
from lmbroker.translation.shared.left_out import UNKNOWN_PART, left_out
from lmbroker.translation.shared.odd_messages import MOST, Mending, called_else
from lmbroker.translation.unified.parts import (
    Cache,
    Extra,
    OpaquePart,
    Part,
    TextPart,
    ToolCallPart,
    ToolResultPart,
)
from lmbroker.translation.unified.request import Turn

ORIGIN = "openai"

_LEADING = {
    role: (
        Extra(origin=ORIGIN, name="message.role", path="messages[].role", value=role, loss="none"),
    )
    for role in ("system", "developer")
}
"""The extras of a leading instruction that is a plain text without other fields."""


def decode_messages(items: list[Any]) -> tuple[tuple[TextPart, ...], tuple[Turn, ...], int]:
    """Return leading instructions, the turns after them, and how many messages were mended.

    Raises Refused.
    """
    system: list[TextPart] = []
    turns: list[Turn] = []
    results: list[ToolResultPart] = []
    reader = _Reader(system, turns, results)
    odd = 0
    for number, item in enumerate(items):
        if isinstance(item, dict) and len(item) == 2:
            turn = plain_turn(item)
            if turn is not None:
                if results:
                    _flush(results, turns)
                turns.append(turn)
                continue
            text = "" if turns or results else plain_instruction(item)
            if text:
                system.append(TextPart(text=text, extras=_LEADING[item["role"]]))
                continue
        path = f"messages[{number}]"
        try:
            reader.take(Fields(item, path, ORIGIN), number)
        except Refused:
            last = number == len(items) - 1
            odd += 1
            if odd > MOST or (last and not (isinstance(item, dict) and _plain_enough(item))):
                raise
            reader.take_odd(item, path, number, last=last)
    if results:
        _flush(results, turns)
    return tuple(system), tuple(turns), odd


def _plain_enough(item: dict[str, Any]) -> bool:
    """Return whether the last message lacks only a valid role name or the id of its call."""
    role = item.get("role")
    return called_else(role, ROLES) or (role == "tool" and item.get("tool_call_id") is None)


class _Reader:
    """Reads messages one by one into the lists that it was given."""

    def __init__(
        self, system: list[TextPart], turns: list[Turn], results: list[ToolResultPart]
    ) -> None:
        self._system = system
        self._turns = turns
        self._results = results
        self._calls = OpenCalls()

    def take(self, message: Fields, number: int) -> None:
        """Read one message. Raises Refused."""
        role = message.need_text("role")
        if role in ("tool", "function"):
            self._results.append(_result(message, role, number, self._calls))
            return
        turns = self._turns
        if self._results:
            _flush(self._results, turns)
        if role in ("system", "developer"):
            if turns:
                turns.append(_later_system(message, role))
            else:
                self._system += _leading_system(message, role)
        elif role == "user":
            turns.append(_user(message))
        elif role == "assistant":
            turn = _assistant(message, number)
            for part in turn.parts:
                if isinstance(part, ToolCallPart):
                    self._calls.add(part)
            turns.append(turn)
        else:
            raise bad_value(message.at("role"), "there is no such role")

    def take_odd(self, item: Any, path: str, number: int, *, last: bool) -> None:
        """Read a message that breaks the rules of its format. Raises Refused.

        Of the ``last`` one nothing is repaired but the name of its role and the id of the call that
        it answers.
        """
        message = Mending(item, path, ORIGIN)
        if last:
            if message.role(ROLES) == "tool":
                answer_oldest(message, self._calls.first)
            self.take(message.fields(), number)
            return
        try:
            self.take(mended(message, number, _part, self._calls.first), number)
        except Refused:
            self.take(message.nothing("user"), number)


def _flush(results: list[ToolResultPart], turns: list[Turn]) -> None:
    turns.append(Turn(role="user", parts=tuple(results)))
    results.clear()


def _leading_system(message: Fields, role: str) -> list[TextPart]:
    parts, spelled = _texts(message)
    parts, marks = _message_cache(message, parts or [TextPart(text="")])
    name = message.text("name")
    named = [] if name is None else [message.extra("name", name, "drop")]
    role_is = message.extra("role", role, "none")
    extras = (role_is, *spelled, *named, *marks, *message.rest())
    own = tuple(
        Extra(origin=e.origin, name=f"message.{e.name}", path=e.path, value=e.value, loss=e.loss)
        for e in extras
    )
    first = parts[0]
    return [_with_extras(first, own), *parts[1:]]


def _with_extras(part: TextPart, extras: tuple[Extra, ...]) -> TextPart:
    return msgspec.structs.replace(part, extras=(*extras, *part.extras))


def _later_system(message: Fields, role: str) -> Turn:
    texts, spelled = _texts(message)
    parts, marks = _message_cache(message, texts)
    name = message.text("name")
    extras = [*spelled, *marks]
    if role != "system":
        extras.append(message.extra("role", role, "none"))
    return Turn(role="system", parts=tuple(parts), name=name, extras=(*extras, *message.rest()))


def _user(message: Fields) -> Turn:
    content = message.any("content")
    if content is None:
        raise missing(message.at("content"))
    held = _content(content, message.at("content"), "user")
    parts, marks = _message_cache(message, held)
    name = message.text("name")
    extras = (*_spelled(message, content, held), *marks, *message.rest())
    return Turn(role="user", parts=tuple(parts), name=name, extras=extras)


def _assistant(message: Fields, number: int) -> Turn:
    reasoning, extras = decode_reasoning(message)
    parts: list[Part] = list(reasoning)
    content = message.any("content")
    if content is not None:
        held = _content(content, message.at("content"), "assistant")
        extras += _spelled(message, content, held)
        parts += held
    refusal = message.text("refusal")
    if refusal is not None:
        own = (message.extra("refusal", refusal, "none", "message."),)
        parts.append(TextPart(text=refusal, refusal=True, extras=own))
    calls = message.items("tool_calls")
    for place, value in enumerate(calls or ()):
        parts.append(_call(Fields(value, f"{message.at('tool_calls')}[{place}]", ORIGIN)))
    if calls is not None and not calls:
        extras.append(message.extra("tool_calls", calls, "none"))
    legacy = message.inside("function_call")
    if legacy is not None:
        whole = message.extra("function_call", dict(legacy.left), "none", "message.")
        parts.append(_function(legacy, f"call_fc_{number}", "function_call.", (whole,)))
    audio = message.any("audio")
    if audio is not None:
        extras.append(message.extra("audio", audio, "drop"))
    annotations = message.any("annotations")
    if annotations is not None:
        extras.append(message.extra("annotations", annotations, "none"))
    marked, marks = _message_cache(message, parts)
    name = message.text("name")
    return Turn(
        role="assistant", parts=tuple(marked), name=name, extras=(*extras, *marks, *message.rest())
    )


def _call(call: Fields) -> ToolCallPart:
    id, kind = call.need_text("id"), call.text("type") or "function"
    extras: list[Extra] = []
    index = call.any("index")
    if index is not None:
        extras.append(call.extra("index", index, "none"))
    if kind == "function":
        return _function(call.need_inside("function"), id, "function.", (*extras, *call.rest()))
    if kind != "custom":
        raise bad_value(call.at("type"), "there is no such kind of tool call")
    custom = call.need_inside("custom")
    name, text = custom.need_text("name"), custom.text("input") or ""
    return ToolCallPart(
        id=id,
        name=name,
        raw_args=text,
        kind="custom",
        extras=(*extras, *call.rest(), *custom.rest("custom.")),
    )


def _function(
    function: Fields, id: str, prefix: str, extras: tuple[Extra, ...] = ()
) -> ToolCallPart:
    name, value = function.need_text("name"), function.any("arguments")
    extras = (*extras, *function.rest(prefix))
    given = read_arguments(value, function.at("arguments"))
    if given.altered:
        extras = (*extras, function.extra("arguments", value, "change", prefix))
    return ToolCallPart(id=id, name=name, args=given.args, raw_args=given.raw, extras=extras)


def _result(message: Fields, role: str, number: int, calls: OpenCalls) -> ToolResultPart:
    extras: list[Extra] = []
    if role == "function":
        name = message.need_text("name")
        id = calls.first(name)
        if id is None:
            id = f"call_fc_{number}"
        extras += [message.extra("role", role, "none"), message.extra("name", name, "none")]
    else:
        id = message.need_text("tool_call_id")
        calls.answer(id)
    content = message.any("content")
    parts = None if content is None else _content(content, message.at("content"), "tool")
    cache = cache_mark(message)
    return ToolResultPart(
        call_id=id,
        parts=None if parts is None else tuple(parts),
        as_text=isinstance(content, str),
        cache=cache,
        extras=(*extras, *message.rest()),
    )


def _texts(message: Fields) -> tuple[list[TextPart], list[Extra]]:
    """Return the texts of an instruction, and extras for what they do not show.

    An extra holds the content as it came, where the texts do not show its form.
    """
    content = message.any("content")
    if content is None:
        raise missing(message.at("content"))
    if isinstance(content, str):
        return [TextPart(text=content)], []
    if not isinstance(content, list):
        raise wrong_type(message.at("content"), "a string or an array", content)
    parts = []
    for number, value in enumerate(content):
        part = Fields(value, f"{message.at('content')}[{number}]", ORIGIN)
        kind = part.need_text("type")
        if kind == "text" or (kind == "input_text" and isinstance(part.left.get("text"), str)):
            words, cache = part.need_text("text"), cache_mark(part)
            parts.append(TextPart(text=words, cache=cache, extras=part.rest()))
            continue
        lost = part.extra("type", kind, "drop")
        parts.append(TextPart(text=left_out(kind, UNKNOWN_PART), extras=(lost,)))
    return parts, _spelled(message, content, parts)


def _content(content: Any, path: str, role: str) -> list[Any]:
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if not isinstance(content, list):
        raise wrong_type(path, "a string or an array", content)
    return [_part(value, f"{path}[{number}]", role) for number, value in enumerate(content)]


def _spelled(message: Fields, content: Any, parts: list[Any]) -> list[Extra]:
    """Return the content as an extra where its parts do not show its form.

    That is so for a list of one plain text, and for empty content.
    """
    if parts:
        plain = isinstance(parts[0], TextPart) and parts == [TextPart(text=parts[0].text)]
        if isinstance(content, str) or not plain:
            return []
    return [message.extra("content", content, "none")]


def _part(value: Any, path: str, role: str) -> Part:
    part = Fields(value, path, ORIGIN)
    kind = part.need_text("type")
    read = read_part(part, kind, role)
    if read is not None:
        return read
    if kind == "refusal" and role == "assistant":
        text = part.need_text("refusal")
        return TextPart(text=text, refusal=True, cache=cache_mark(part), extras=part.rest())
    foreign = read_block(part, kind, role)
    if foreign is not None:
        return foreign
    if kind == "thinking" and role == "assistant":
        return reasoning_chunk(part, value)
    return OpaquePart(origin=ORIGIN, type=kind, raw=value)


def _message_cache(message: Fields, parts: list[Any]) -> tuple[list[Any], list[Extra]]:
    """Move a cache mark on a message to its last part."""
    cache = cache_mark(message)
    if cache is None:
        return parts, []
    extras = without_place(message, cache)
    if not parts or getattr(parts[-1], "cache", extras) is not None:
        return parts, extras
    last = msgspec.structs.replace(parts[-1], cache=Cache(ttl=cache.ttl, raw={}))
    return [*parts[:-1], last], extras
