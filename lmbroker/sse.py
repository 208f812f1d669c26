"""Server-sent events: chunks -> frames, frames -> bytes. Bytes throughout.

Reading follows the WHATWG rules (HTML Standard, 9.2.6) with four exceptions that providers make
necessary: a comment is a frame without data, an unterminated last event counts if its data is
complete JSON, a field ``error`` is an event of that name (llama.cpp), and JSON that stands in no
field at all is an event, too. Lines end at LF, CR or CRLF and nowhere else: U+2028 and U+0085 are
content. Chunks may cut anywhere, also inside a code point; the fields ``id`` and ``retry`` mean
nothing here.
"""

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import NoReturn

import msgspec

EVENT_LIMIT = 8 * 1024 * 1024
"""Longest event in bytes, by default."""

EVENT_VALUES = 100_000
"""Most values, strings and opening brackets of one event that is longer than LARGE_EVENT. Parsing
an event of 8 MiB that is made of nothing else would delay all other calls by most of a second. An
honest large event is one long text."""

LARGE_EVENT = 256 * 1024

EVENT_LINES = 20_000
"""Most lines of one event that is not in one of the usual forms: each takes a microsecond."""

FEW_QUOTES = 10_000
"""An event with fewer is looked at string by string."""

_VALUE = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)|[\[{,]', re.DOTALL)
"""What is counted; a string that does not end goes to the end."""

COMMENT_PING = b": ping\n\n"
DONE = b"[DONE]"

_BOM = b"\xef\xbb\xbf"
_EVENT_END = re.compile(rb"(\r\n(?>\r\n?|\n)|\r(?!\n)\r\n?|\n(?>\r\n?|\n))((?:\r\n?|\n)*)")
"""Two line ends, and any more, none of them half a CRLF. Each branch begins with a letter, which is
what makes the search quick."""
_KNOWN_NAMES = 64
_LONGEST_KNOWN_NAME = 64


class SSEError(Exception):
    """An event is longer than the limit, or made of too many values. It says no more: contents are
    not for logs."""


class Frame(msgspec.Struct, frozen=True):
    """One event as it stands on the wire.

    ``event`` is its name, "" where none was given. ``data`` is its data lines joined with LF;
    None for a comment, which says only that the other end lives.
    """

    event: str
    data: bytes | None

    def __repr__(self) -> str:
        data = "comment" if self.data is None else f"{len(self.data)} bytes"
        return f"Frame({self.event!r}, {data})"


_COMMENT = Frame("", None)


class Reader:
    """Chunks -> frames, in time linear in the bytes however they are cut.

    The law: the frames do not depend on the cuts. All line ends become LF as they come in (no
    line can hold a CR), so whatever a stream uses, events are whole blocks between two LFs.
    A comment becomes a frame together with the block in which it stands.
    """

    __slots__ = ("_after_cr", "_begun", "_held", "_large", "_limit", "_names", "_over", "_searched")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._large = min(limit, LARGE_EVENT)
        self._held = bytearray()
        """The unfinished event; before anything else, the beginning of what may be a BOM."""
        self._searched = 0
        """No event ends in ``_held`` before this place."""
        self._begun = False
        self._after_cr = False
        self._over = False
        self._names: dict[bytes, str] = {}
        """Whole ``event:`` lines and the names in them: a stream repeats the same few."""

    @property
    def pending(self) -> bool:
        """An unfinished event is held."""
        return bool(self._held.strip(b"\n"))

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that ``chunk`` completes.

        Raises SSEError for an event above the limit: at once, or in the next call where frames
        before it are returned first. From then on every call raises.
        """
        if self._over:
            raise SSEError
        if not self._begun:
            chunk = self._without_bom(chunk)
        if self._after_cr or b"\r" in chunk:
            chunk = self._with_lf(chunk)
        if not self._held and chunk[-2:] == b"\n\n":
            return self._frames(chunk)
        held = self._held
        held += chunk
        if not self._begun:
            return []
        frames: list[Frame] = []
        end = held.rfind(b"\n\n", self._searched)
        if end >= 0:
            whole = bytes(held[:end])
            del held[: end + 2]
            frames = self._frames(whole)
        self._searched = max(0, len(held) - 1)
        if len(held) > self._limit and self._is_too_long(held):
            self._too_long(frames)
        return frames

    def close(self) -> list[Frame]:
        """The unterminated last event, if its data is complete JSON or ``[DONE]``, or if it is an
        error; never one above the limit."""
        if self._over:
            return []
        frames: list[Frame] = []
        if not is_dense(self._held) and self._held.count(b"\n") < EVENT_LINES:
            self._parse(bytes(self._held), frames)
        self._held.clear()
        self._searched = 0
        return [
            frame
            for frame in frames
            if frame.data is not None and (frame.event == "error" or _complete(frame.data))
        ]

    def _without_bom(self, chunk: bytes) -> bytes:
        start = bytes(self._held) + chunk
        self._held.clear()
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._held += start
            return b""
        self._begun = True
        return start.removeprefix(_BOM)

    def _with_lf(self, chunk: bytes) -> bytes:
        """``chunk`` with LF as its only line end. A CR ends its line at once; should an LF
        follow in the next chunk, it belongs to that CR and is dropped there."""
        if not chunk:
            return chunk
        start = 1 if self._after_cr and chunk[:1] == b"\n" else 0
        self._after_cr = chunk[-1:] == b"\r"
        return chunk[start:].replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _frames(self, whole: bytes) -> list[Frame]:
        """The frames of whole events. The two forms that providers send are taken apart here;
        all others go line by line."""
        frames: list[Frame] = []
        names = self._names
        large = len(whole) > self._large
        for block in whole.split(b"\n\n"):
            if large and (self._is_too_long(block) or is_dense(block)):
                self._too_long(frames)
                break
            if block[:6] == b"data: ":
                if b"\n" not in block:
                    frames.append(Frame("", block[6:]))
                    continue
            else:
                first, _, rest = block.partition(b"\n")
                event = names.get(first)
                if event is not None and rest[:6] == b"data: " and b"\n" not in rest:
                    frames.append(Frame(event, rest[6:]))
                    continue
            if not block:
                continue
            if len(block) >= EVENT_LINES and block.count(b"\n") >= EVENT_LINES:
                self._too_long(frames)
                break
            self._parse(block, frames)
        return frames

    def _parse(self, block: bytes, frames: list[Frame]) -> None:
        """One event, line by line."""
        event = ""
        data: list[bytes] = []
        bare: list[bytes] = []
        errors: list[bytes] = []
        for line in block.split(b"\n"):
            field, colon, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if field == b"data":
                data.append(value)
            elif field == b"event":
                event = self._name(line, value)
            elif colon and not field:
                frames.append(_COMMENT)
            elif field == b"error" and colon:
                errors.append(value)
            elif bare or line[:1] == b"{" or line[:2] == b"[{":
                bare.append(line)
        if data:
            frames.append(Frame(event, b"\n".join(data)))
        frames += [Frame("error", error) for error in errors]
        if bare and _complete(b"\n".join(bare)):
            frames.append(Frame(event, b"\n".join(bare)))

    def _name(self, line: bytes, name: bytes) -> str:
        text = name.decode("utf-8", "replace")
        if len(line) <= _LONGEST_KNOWN_NAME and len(self._names) < _KNOWN_NAMES:
            self._names[line] = text
        return text

    def _is_too_long(self, block: bytes | bytearray) -> bool:
        """The LFs around an event may be halves of blank lines and are no part of it."""
        return len(block.strip(b"\n")) > self._limit

    def _too_long(self, frames: list[Frame]) -> None:
        self._over = True
        self._held.clear()
        if not frames:
            raise SSEError


def is_dense(block: bytes | bytearray) -> bool:
    """Whether an event has more values or lines than any honest one."""
    if len(block) <= LARGE_EVENT:
        return False
    # Events in front of it, of the same chunk, may have some of these.
    if block.count(b"\n") + block.count(b"\r") >= 4 * EVENT_LINES + LARGE_EVENT // 4:
        return True
    few = EVENT_VALUES // 4
    if block.count(b",") < few:
        return False
    # Long texts have commas, too: those outside of strings count. Quotes inside them are escaped.
    plain = block.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in block else block
    if plain.count(b'"') < FEW_QUOTES:
        outside = plain.split(b'"')[::2]
        if sum(piece.count(b",") for piece in outside) < few:
            return False
    return sum(map(bool, islice(_VALUE.finditer(block), EVENT_VALUES))) == EVENT_VALUES


class Boundary:
    """Cuts a stream after whole events, without touching a byte.

    ``feed`` returns what is whole, ``tail`` is what is held: all that was returned plus the tail
    is all that was fed. Events of one's own may be inserted after anything that was returned.
    A CR at the end of a chunk may be half of a CRLF, so nothing is cut right after it: with bare
    CRs for line ends, an event is whole when the first byte of the next one is there. Line ends
    before an event are no part of it, and leave at once.
    """

    __slots__ = ("_has_cr", "_held", "_limit")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._has_cr = False

    @property
    def tail(self) -> bytes:
        """The unfinished event."""
        return bytes(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """The events that ``chunk`` completes. Raises SSEError while an unfinished one is above
        the limit; events before it have been returned by then."""
        held = self._held
        if not held and chunk[-2:] == b"\n\n":
            return chunk
        # An event's end that is not there yet has at most three bytes: CR, LF, CR.
        searched = max(0, len(held) - 3)
        held += chunk
        if self._has_cr or b"\r" in chunk:
            end = self._end(searched)
        else:
            end = held.rfind(b"\n\n", searched) + 2
            if end == 1:
                end = 0
        if not end and held.startswith((b"\n", b"\r")):
            end = self._before_event()
        if not end:
            if len(held) > self._limit:
                raise SSEError
            return b""
        whole = bytes(held[:end])
        del held[:end]
        # It began in an earlier chunk, with which all that was before it has been returned.
        if end > self._limit and len(next(split(whole)).rstrip(b"\r\n")) > self._limit:
            raise SSEError
        if end > LARGE_EVENT and is_dense(whole):
            raise SSEError
        self._has_cr = b"\r" in held
        return whole

    def _end(self, searched: int) -> int:
        """Where the last whole event in ``_held`` ends, 0 if none does. Any line ends."""
        self._has_cr = True
        held = self._held
        until = len(held) - (held[-1:] == b"\r")
        end = 0
        for blank in _EVENT_END.finditer(held, searched, until):
            end = blank.end()
        return end

    def _before_event(self) -> int:
        """How many bytes of line ends ``_held`` begins with, but for a CR at its end."""
        held = self._held
        end = len(held) - len(held.lstrip(b"\r\n"))
        return end - (end == len(held) and held[-1:] == b"\r")


def split(block: bytes) -> Iterator[bytes]:
    """The events of ``block``, which a ``Boundary`` gave, one by one and byte for byte; line ends
    between two events stand for themselves, as if they had come alone."""
    start = 0
    if b"\r" in block:
        for blank in _EVENT_END.finditer(block):
            yield block[start : blank.end(1)]
            if blank[2]:
                yield blank[2]
            start = blank.end()
    else:
        while (end := block.find(b"\n\n", start) + 2) > 1:
            yield block[start:end]
            start = end
            while block[end : end + 1] == b"\n":
                end += 1
            if end > start:
                yield block[start:end]
                start = end
    if start < len(block):
        yield block[start:]


def last_words(tail: bytes) -> bytes:
    """The tail of a stream that has ended as a whole event: an unterminated last event counts if
    it is complete (see ``Reader.close``); b"" where it is not."""
    reader = Reader(len(tail))
    if reader.feed(tail):
        return tail
    return tail.rstrip(b"\r\n") + b"\n\n" if reader.close() else b""


def encode_event(event: str | bytes, data: bytes) -> bytes:
    """An event with a name (Anthropic, Responses). ``data`` is one line, as compact JSON is."""
    name = event.encode() if isinstance(event, str) else event
    return b"".join((b"event: ", name, b"\ndata: ", data, b"\n\n"))


def encode_data(data: bytes) -> bytes:
    """An event without a name (OpenAI). ``data`` is one line, as compact JSON is."""
    return b"".join((b"data: ", data, b"\n\n"))


def _complete(data: bytes) -> bool:
    if data.strip() == DONE:
        return True
    try:
        # Not msgspec: half a surrogate pair is legal here (translation.md 0.6).
        json.loads(data.decode("utf-8", "surrogatepass"), parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")
