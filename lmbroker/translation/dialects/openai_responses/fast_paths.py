"""Fast paths for what most events of a stream are (translation.md 8.3).

A plain event carries one more piece of the part that is open already, and nothing else that the
broker reads. msgspec finds that piece without decoding what stands beside it, and without checking
it: an id that is no UTF-8 would be an error in any other event.
"""

from typing import Any

import msgspec

_NO_LOGPROBS = tuple[()] | None


class Piece(msgspec.Struct):
    """A plain event."""

    type: str
    delta: str
    output_index: int | None = None
    item_id: str | None = None
    summary_index: int | None = None
    logprobs: _NO_LOGPROBS = None
    error: None = None


_read = msgspec.json.Decoder(Piece).decode
_NOT_PLAIN: Any = (msgspec.DecodeError, UnicodeDecodeError)


def plain_piece(data: bytes) -> Piece | None:
    """The piece in a plain event, None for any other event."""
    try:
        return _read(data)
    except _NOT_PLAIN:
        return None
