"""Cuts reasoning items of the broker's own out of a passed-through Responses request.

Their encrypted content is a token of the broker (``lmb1.``). No vendor can decrypt that, and OpenAI
refuses such a request, and every later one of its conversation. Every other byte stays where it
was.
"""

from collections.abc import Iterator

import msgspec

from lmbroker.translation.shared import cuts
from lmbroker.translation.shared.cuts import Span
from lmbroker.translation.shared.signature import PREFIX

_ANY = msgspec.json.Decoder()
_OURS = PREFIX.encode()

REASONING = "input[].reasoning"
"""The path that is reported."""


def may_concern(body: bytes, attribution: bool) -> bool:
    """Return whether there may be anything to cut out of ``body``.

    No client of this dialect writes the line of ``attribution``.
    """
    return _OURS in body


def cut(body: bytes, attribution: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return ``body`` without such items, and the paths to report as dropped."""
    kept = cuts.cut(body, _own_reasoning) if _OURS in body else body
    return kept, () if kept == body else (REASONING,)


def _own_reasoning(body: bytes) -> Iterator[tuple[Span, bytes]]:
    items = cuts.items_of(body, "input")
    ours = [_is_own(body[start:end]) for start, end in items]
    for span in cuts.with_commas(items, ours):
        yield span, b""


def _is_own(item: bytes) -> bool:
    if _OURS not in item:
        return False
    held = _ANY.decode(item)
    if not isinstance(held, dict) or held.get("type") != "reasoning":
        return False
    value = held.get("encrypted_content")
    return isinstance(value, str) and value.startswith(PREFIX)
