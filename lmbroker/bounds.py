"""The bounds of bodies and events: keys, messages, tools, values, lines.

A body is checked whole, against the ``[limits]`` that are configured. Each check is one pass in C,
and none is made of a body that is too short to break the bound.

An event of a stream is counted as it comes, against bounds that are fixed, so that each read of a
large one costs a little, and none pays for all of it.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from lmbroker.envelope import JSON_ERRORS
from lmbroker.errors import Refused
from lmbroker.limits import Limits

_LIST = msgspec.json.Decoder(list[msgspec.Raw])

BYTES_EACH = 8
"""Keys and values are not counted in a body that has fewer bytes for each that it may hold: by
default in 8 MB, which a helper process reads."""

LEAST_EACH = 2
"""Bytes that a key, a message or a tool takes at least, with its comma."""

LARGE_EVENT = 256 * 1024
"""Bytes above which an event is counted."""

EVENT_VALUES = 100_000
"""The maximum of values, strings and opening brackets of one event that is longer than LARGE_EVENT.
Parsing an event of 8 MiB that is made of nothing else would delay all other calls by most of a
second. An honest large event is one long text."""

EVENT_LINES = 20_000
"""The maximum of lines of one event that is not in one of the usual forms: each takes a
microsecond."""

_MANY_LINES = 4 * EVENT_LINES + LARGE_EVENT // 4
"""The maximum of lines of what is counted. Events in front of a large one, of the same chunk, may
have some of these."""

LONG_TEXT = 1024
"""Bytes of a text that ``without_texts`` keeps. Keys, ids and reasons are shorter."""

FEW_QUOTES = 4_000
"""``without_texts`` finds the strings of an event that has no more."""

_BACKSLASH = ord("\\")


def check_body(
    body: bytes, fields: Mapping[str, Any], limits: Limits, messages: str = "messages"
) -> None:
    """Raise Refused for a body with more of something than ``limits`` allow.

    ``fields`` are those of its envelope, and ``messages`` is the name of the one that holds its
    conversation.
    """
    size = len(body)
    fewest = min(limits.top_level_keys, limits.messages, limits.tools)
    if size < LEAST_EACH * fewest and size <= BYTES_EACH * limits.json_values:
        return  # it has no room for so many of anything
    if len(fields) > limits.top_level_keys:
        raise _too_many("keys at its top level", "top_level_keys", limits.top_level_keys)
    counted = ((messages, "messages", limits.messages), ("tools", "tools", limits.tools))
    for name, key, most in counted:
        if _items(fields.get(name), most) > most:
            raise _too_many(key, key, most, param=name)
    if has_more_values(body, limits.json_values):
        raise _too_many("JSON keys and values", "json_values", limits.json_values)


def _items(raw: Any, most: int) -> int:
    """Return how many items a list has; 0 where it cannot have more than ``most`` of them."""
    # Each takes a byte and a comma.
    if raw is None or len(memoryview(raw)) < 2 * most:
        return 0
    try:
        return len(_LIST.decode(raw))
    except JSON_ERRORS:
        return 0


def has_more_values(body: bytes, most: int) -> bool:
    """Return whether ``body`` holds more than ``most`` keys and values.

    ``body`` is JSON, and has ``BYTES_EACH`` bytes for each of them.
    """
    if len(body) <= BYTES_EACH * most or _separators(body) <= most:
        return False
    # Many of them may stand inside of texts. What is left of the body without escapes are texts
    # and what is between them, by turns.
    plain = body
    if b"\\" in body:
        plain = body.replace(b"\\\\", b"").replace(b'\\"', b"")
    if plain.count(b'"') > 2 * most:
        return True
    return _separators(b"".join(plain.split(b'"')[::2])) > most


def has_more_of(body: bytes, byte: bytes, most: int) -> bool:
    """Return whether ``byte`` stands in ``body`` more than ``most`` times.

    ``bytes.count`` looks at each byte, ``replace`` goes from one place to the next: that takes an
    eighth to two thirds of the time for bodies as they are sent.
    """
    return len(body) - len(body.replace(byte, b"", most + 1)) > most


def _separators(text: bytes) -> int:
    """Return the number of keys and values in ``text``, counted by what stands before each.

    The first of an object or a list stands behind a bracket, others behind a comma, and a value of
    an object behind a colon.
    """
    return sum(map(text.count, (b",", b":", b"[", b"{")))


def _too_many(what: str, key: str, most: int, param: str | None = None) -> Refused:
    return Refused(
        "invalid_request",
        f"the request body has more {what} than the {most} that limits.{key} of this broker allows",
        param=param,
        code="too_many_" + key,
    )


class EventCount:
    """Counts the values and the lines of what comes in pieces.

    Backslashes are what they are in JSON. A string is counted where it begins.
    """

    __slots__ = ("_backslash", "_in_string", "_seen", "lines", "values")

    def __init__(self) -> None:
        self.values = 0
        self.lines = 0
        self._seen = 0
        """The bytes that were counted."""
        self._in_string = False
        self._backslash = b""
        """A backslash at the end of the last piece: what it escapes begins the next one."""

    @property
    def too_many(self) -> bool:
        """Whether no honest event has so many."""
        return self.values >= EVENT_VALUES or self.lines >= _MANY_LINES

    def see(self, held: bytes | bytearray) -> None:
        """Count the bytes of ``held`` that were not counted yet; it has only grown since."""
        piece = bytes(memoryview(held)[self._seen :])
        self._seen = len(held)
        self.lines += piece.count(b"\n") + piece.count(b"\r")
        if self._backslash or b"\\" in piece:
            piece = (self._backslash + piece).replace(b"\\\\", b"")
            self._backslash = piece[-1:] if piece.endswith(b"\\") else b""
            piece = piece.removesuffix(b"\\").replace(b'\\"', b"")
        texts = piece.split(b'"')
        outside = b"".join(texts[self._in_string :: 2])
        self.values += (len(texts) - self._in_string) // 2
        self.values += sum(map(outside.count, (b",", b"[", b"{")))
        self._in_string ^= len(texts) % 2 == 0


def is_dense(event: bytes | bytearray) -> bool:
    """Return whether an event has more values or lines than any honest one."""
    if len(event) <= LARGE_EVENT:
        return False
    count = EventCount()
    count.see(event)
    return count.too_many


def without_texts(event: bytes, *, quick: bool = False) -> bytes:
    """Return ``event`` with its long strings emptied, so that it is parsed quickly.

    The result is JSON where ``event`` is. Where many quotes are escaped, other strings lose their
    escaped quotes and backslashes, and it takes a few milliseconds: with ``quick`` such an event is
    returned as it is. One of many strings always is.
    """
    short = _without_texts(event)
    if short is None and not quick and b"\\" in event:
        short = _without_texts(event.replace(b"\\\\", b"").replace(b'\\"', b""))
    return event if short is None else short


def _without_texts(event: bytes) -> bytes | None:
    """Return the same; None for an event with many quotes."""
    pieces: list[bytes] = []
    kept = begin = end = quotes = 0
    while (begin := event.find(b'"', end)) >= 0:
        end = before = begin
        while (end := event.find(b'"', end + 1)) >= 0:
            quotes += 1
            if quotes > FEW_QUOTES:
                return None
            if event[end - 1] != _BACKSLASH or not _ends_in_escape(event[before + 1 : end]):
                break
            before = end
        if end < 0:
            break
        if end - begin > LONG_TEXT:
            pieces.append(event[kept : begin + 1])
            kept = end
        end += 1
    pieces.append(event[kept:])
    return b"".join(pieces)


def _ends_in_escape(text: bytes) -> bool:
    """Return whether what follows ``text`` is escaped: it ends in an odd number of backslashes."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1
