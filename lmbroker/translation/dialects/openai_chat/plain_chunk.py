"""The chunk that nearly all chunks of a stream are: it tells one more piece of the part that is
told already, and nothing else that anybody looks at. msgspec finds that piece without making what
stands beside it, nor judging it: an id that is no UTF-8 would be an error in any other chunk."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec


class _TextDelta(msgspec.Struct, forbid_unknown_fields=True):
    content: str
    role: Any = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class _ReasoningDelta(msgspec.Struct, forbid_unknown_fields=True):
    reasoning_content: str | None = None
    reasoning: str | None = None
    content: Literal[""] | None = None
    role: Any = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None


class _Function(msgspec.Struct, forbid_unknown_fields=True):
    arguments: str
    name: Literal[""] | None = None


class _Call(msgspec.Struct, forbid_unknown_fields=True):
    function: _Function
    index: int | None = None
    id: str | None = None
    type: Any = None


class _CallDelta(msgspec.Struct, forbid_unknown_fields=True):
    tool_calls: tuple[_Call]
    content: Literal[""] | None = None
    role: Any = None
    refusal: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


def _reader(delta: type[msgspec.Struct]) -> Callable[[bytes], Any]:
    """What takes a chunk apart that holds such a ``delta``."""
    choice = msgspec.defstruct(
        "_Choice",
        [("delta", delta), ("index", Literal[0] | None, 0), ("finish_reason", None, None)],
    )
    chunk = msgspec.defstruct(
        "_Chunk",
        [
            ("choices", tuple[choice]),  # type: ignore[valid-type]
            ("error", None, None),
            ("usage", None, None),
            ("x_groq", None, None),
        ],
    )
    return msgspec.json.Decoder(chunk).decode


_text = _reader(_TextDelta)
_reasoning = _reader(_ReasoningDelta)
_call = _reader(_CallDelta)
_NOT_PLAIN = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


def plain_text(data: bytes) -> str:
    """The text of a plain chunk, "" for any other."""
    try:
        return _text(data).choices[0].delta.content  # type: ignore[no-any-return]
    except _NOT_PLAIN:
        return ""


def plain_reasoning(data: bytes) -> str:
    """The reasoning of a plain chunk, "" for any other."""
    try:
        delta = _reasoning(data).choices[0].delta
    except _NOT_PLAIN:
        return ""
    text, other = delta.reasoning_content, delta.reasoning
    return (text or other or "") if not (text and other) else ""


def plain_call(data: bytes) -> _Call | None:
    """The piece of a call that a plain chunk tells, None for any other."""
    try:
        return _call(data).choices[0].delta.tool_calls[0]  # type: ignore[no-any-return]
    except _NOT_PLAIN:
        return None


def only_text(delta: dict[str, Any], keys: tuple[str, ...]) -> str:
    """The text under one of ``keys``, "" where ``delta`` says anything else, or nothing."""
    text = ""
    for key, value in delta.items():
        if value and key != "role":
            if text or key not in keys or type(value) is not str:
                return ""
            text = value
    return text
