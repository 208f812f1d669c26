"""Fast paths for what most events of a stream are (translation.md 8.3).

A plain event carries one more piece of the part that is open already, and nothing else that the
broker reads. msgspec finds that piece without decoding what stands beside it, and without checking
it: an id that is no UTF-8 would be an error in any other event.
"""

from typing import Any, Literal

import msgspec


class Piece(msgspec.Struct, gc=False):
    """A plain event. Servers that do not say to which item it belongs are not many."""

    type: Literal[
        "response.output_text.delta",
        "response.function_call_arguments.delta",
        "response.reasoning_summary_text.delta",
        "response.reasoning_text.delta",
        "response.custom_tool_call_input.delta",
    ]
    delta: str
    output_index: int
    summary_index: int | None = None
    logprobs: tuple[()] | None = None
    error: None = None


_read = msgspec.json.Decoder(Piece).decode
_NOT_PLAIN: Any = (msgspec.DecodeError, UnicodeDecodeError)


def plain_piece(data: bytes) -> Piece | None:
    """Return the piece in a plain event, None for any other event."""
    try:
        return _read(data)
    except _NOT_PLAIN:
        return None
