"""The chunk that nearly all chunks of a stream are: it tells a piece of text, and nothing else that
anybody looks at. msgspec finds that text without making what stands beside it, nor judging it: an
id that is no UTF-8 would be an error in any other chunk."""

from typing import Any, Literal

import msgspec


class _Delta(msgspec.Struct, forbid_unknown_fields=True):
    content: str
    role: Any = None
    refusal: None = None
    tool_calls: None = None
    function_call: None = None
    reasoning: None = None
    reasoning_content: None = None


class _Choice(msgspec.Struct):
    delta: _Delta
    index: Literal[0] | None = 0
    finish_reason: None = None


class _Chunk(msgspec.Struct):
    choices: tuple[_Choice]
    error: None = None
    usage: None = None
    x_groq: None = None


_decode = msgspec.json.Decoder(_Chunk).decode


def plain_text(data: bytes) -> str:
    """The text of a plain chunk, "" for any other."""
    try:
        return _decode(data).choices[0].delta.content
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
