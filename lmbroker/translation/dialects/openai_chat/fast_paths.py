"""Fast paths for the most common chunks, messages and answers of this dialect.

Each function recognises one common form and returns exactly what the general code would make of it,
or says that the input is of another form; then the general code reads it.

A plain chunk carries one more piece of the part that is open already, and nothing else that the
broker reads. msgspec finds that piece without decoding what stands beside it, and without checking
it: an id that is no UTF-8 would be an error in any other chunk.

``OpenAIEncoder`` has its own fast path, since a call would cost what it saves: the bytes around the
text of a delta are made when a part opens.
"""

from collections.abc import Callable
from typing import Any, Literal

import msgspec

from lmbroker.json_text import JSON
from lmbroker.translation.unified.parts import TextPart
from lmbroker.translation.unified.request import Turn
from lmbroker.translation.unified.response import Response


class _TextDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    content: str
    role: Any = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class _ReasoningDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    reasoning_content: str | None = None
    reasoning: str | None = None
    content: Literal[""] | None = None
    role: Any = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _Function(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    arguments: str
    name: Literal[""] | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    function: _Function
    index: int | None = None
    id: str | None = None
    type: Any = None


class _CallDelta(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    tool_calls: tuple[_Call]
    content: Literal[""] | None = None
    role: Any = None
    refusal: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


def _reader(delta: type[msgspec.Struct]) -> Callable[[bytes], Any]:
    """Return the decoder of chunks whose delta is of type ``delta``."""
    choice = msgspec.defstruct(
        "_Choice",
        [("delta", delta), ("index", Literal[0] | None, 0), ("finish_reason", None, None)],
        gc=False,
    )
    chunk = msgspec.defstruct(
        "_Chunk",
        [
            ("choices", tuple[choice]),  # type: ignore[valid-type]
            ("error", None, None),
            ("usage", None, None),
            ("x_groq", None, None),
        ],
        gc=False,
    )
    return msgspec.json.Decoder(chunk).decode


_text = _reader(_TextDelta)
_reasoning = _reader(_ReasoningDelta)
_call = _reader(_CallDelta)
_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def plain_text(data: bytes) -> str:
    """Return the text of a plain chunk, "" for any other chunk."""
    try:
        return _text(data).choices[0].delta.content  # type: ignore[no-any-return]
    except _NOT_PLAIN:
        return ""


def plain_reasoning(data: bytes) -> str:
    """Return the reasoning of a plain chunk, "" for any other chunk."""
    try:
        delta = _reasoning(data).choices[0].delta
    except _NOT_PLAIN:
        return ""
    text, other = delta.reasoning_content, delta.reasoning
    return (text or other or "") if not (text and other) else ""


def plain_call(data: bytes) -> _Call | None:
    """Return the piece of a tool call in a plain chunk, None for any other chunk."""
    try:
        return _call(data).choices[0].delta.tool_calls[0]  # type: ignore[no-any-return]
    except _NOT_PLAIN:
        return None


def only_text(delta: dict[str, Any], keys: tuple[str, ...]) -> str:
    """Return the text under one of ``keys`` of a decoded delta, "" where it holds anything else.

    It serves chunks that carry more than a delta, such as usage in every chunk.
    """
    text = ""
    for key, value in delta.items():
        if value and key != "role":
            if text or key not in keys or type(value) is not str:
                return ""
            text = value
    return text


def plain_turn(item: JSON) -> Turn | None:
    """Return the turn of a message that is a role and a text, None for any other message.

    Instructions count as other messages: their place in the conversation matters.
    """
    text, role = item.get("content"), item.get("role")
    if len(item) == 2 and isinstance(text, str) and text and role in ("user", "assistant"):
        return Turn(role=role, parts=(TextPart(text=text),))
    return None


def plain_instruction(item: JSON) -> str:
    """Return the text of a system or developer message, "" where it has other fields."""
    text = item.get("content")
    if len(item) == 2 and isinstance(text, str) and item.get("role") in ("system", "developer"):
        return text
    return ""


def plain_answer(response: Response, explanation: str) -> JSON | None:
    """Return the message of an answer that is one text, None for any other answer.

    ``explanation`` says why the answer was refused, "" where it was not.
    """
    only = response.parts[0] if len(response.parts) == 1 else None
    if isinstance(only, TextPart) and not only.citations and not only.refusal:
        return {"role": "assistant", "content": only.text, "refusal": explanation or None}
    return None


def plain_message(message: JSON, besides: tuple[str, ...]) -> list[TextPart] | None:
    """Return the parts of a backend's message that is one text, None for any other message.

    The message must have none of the fields ``besides``.
    """
    content = message.get("content")
    if isinstance(content, str) and not any(map(message.get, besides)):
        return [TextPart(text=content)] if content else []
    return None
