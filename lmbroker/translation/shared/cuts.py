"""Cutting or replacing spans of a client's body while every other byte stays where it was.

Requests that are passed through are changed in this way only (``base.CutRules``).
"""

import re
from collections.abc import Callable, Iterable, Iterator

import msgspec

from lmbroker import envelope, json_text

_LIST = msgspec.json.Decoder(list[msgspec.Raw])
_BETWEEN = re.compile(rb"[\s,]*")

Span = tuple[int, int]
"""The place of something in a body: (start, end), in bytes."""

Find = Callable[[bytes], Iterable[tuple[Span, bytes]]]
"""Finds spans of a body in their order, each with its replacement: (body) -> (span, bytes)."""


def cut(body: bytes, find: Find) -> bytes:
    """Return ``body`` with the spans that ``find`` yields replaced.

    Unchanged where it cannot be read.
    """
    try:
        found = list(find(body))
    except envelope.JSON_ERRORS:
        # It may hold half a surrogate pair, which the search cannot read.
        other = json_text.mended(body)
        try:
            found = [] if other is None else list(find(other))
        except envelope.JSON_ERRORS:
            found = []
    pieces: list[bytes] = []
    at = 0
    for (start, end), instead in found:
        pieces += (body[at:start], instead)
        at = end
    return b"".join((*pieces, body[at:]))


def span_of(body: bytes, place: Span, key: str) -> Span | None:
    """Return the span of the value of ``key`` in the object at ``place``.

    It is None where the object does not have the key exactly once.
    """
    found = envelope.place_of(body[slice(*place)], key)
    return None if found is None else (place[0] + found[0], place[0] + found[1])


def items_of(body: bytes, key: str) -> list[Span]:
    """Return the spans of the items of the top-level array ``key``; none where it is no array."""
    place = span_of(body, (0, len(body)), key)
    if place is None or body[place[0] : place[0] + 1] != b"[":
        return []
    return list(elements(body, place))


def elements(body: bytes, place: Span) -> Iterator[Span]:
    """Yield the spans of the elements of the array at ``place``."""
    at = place[0] + 1
    for raw in _LIST.decode(body[slice(*place)]):
        between = _BETWEEN.match(body, at)
        start = at if between is None else between.end()
        at = start + len(memoryview(raw))
        yield start, at


def with_commas(spans: list[Span], gone: list[bool]) -> list[Span]:
    """Return the spans to cut so that what is left of an array is an array.

    ``gone`` says of each element whether it is cut. Each span includes the comma between it and the
    next element that stays, or the one before it.
    """
    cuts: list[Span] = []
    kept_before = False
    for number, (start, end) in enumerate(spans):
        if not gone[number]:
            kept_before = True
            continue
        following = number + 1 < len(spans)
        if kept_before:
            cuts.append((spans[number - 1][1], end))
        elif following:
            cuts.append((start, spans[number + 1][0]))
        else:
            cuts.append((start, end))
    return cuts
