"""Server-sent events: chunks -> frames, frames -> bytes. Bytes throughout.

Reading follows the WHATWG rules (HTML Standard, 9.2.6) with four exceptions that providers make
necessary: a comment is a frame without data, an unterminated last event counts if its data is
complete JSON, a field ``error`` is an event of that name (llama.cpp), and JSON outside of
any field is an event, too. Lines end at LF, CR or CRLF and nowhere else: U+2028 and U+0085 are
content. Chunks may cut anywhere, also inside a code point; the fields ``id`` and ``retry`` mean
nothing here.
"""

import json
import re
from collections.abc import Iterator
from itertools import repeat
from typing import NoReturn

import msgspec

from lmbroker.bounds import EVENT_LINES, LARGE_EVENT, EventCount, is_dense

EVENT_LIMIT = 8 * 1024 * 1024
"""Longest event in bytes, by default."""

COMMENT_PING = b": ping\n\n"
DONE = b"[DONE]"

_BOM = b"\xef\xbb\xbf"
_EVENT_END = re.compile(rb"(\r\n(?>\r\n?|\n)|\r(?!\n)\r\n?|\n(?>\r\n?|\n))((?:\r\n?|\n)*)")
"""Two line ends, and any more, none of them half a CRLF. Each branch begins with a letter, which is
what makes the search quick."""
_MANY = 1024
"""Bytes of events that are taken apart all at once where they are alike."""
_KNOWN_NAMES = 64
_LONGEST_KNOWN_NAME = 64


class SSEError(Exception):
    """An event is longer than the limit, or made of too many values.

    It says no more: contents are not for logs.
    """


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

    __slots__ = (
        "_after_cr",
        "_begun",
        "_count",
        "_held",
        "_large",
        "_limit",
        "_names",
        "_over",
        "_searched",
    )

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._large = min(limit, LARGE_EVENT)
        self._held = bytearray()
        """The unfinished event; before anything else, the beginning of what may be a BOM."""
        self._count: EventCount | None = None
        """Of the unfinished event, where that is large."""
        self._searched = 0
        """No event ends in ``_held`` before this place."""
        self._begun = False
        self._after_cr = False
        self._over = False
        self._names: dict[bytes, str] = {}
        """Whole ``event:`` lines and the names in them: a stream repeats the same few."""

    @property
    def pending(self) -> bool:
        """Whether an unfinished event is held."""
        return bool(self._held.strip(b"\n"))

    def feed(self, chunk: bytes) -> list[Frame]:
        """Return the frames that ``chunk`` completes.

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
            whole = bytes(memoryview(held)[:end])
            del held[: end + 2]
            frames = self._frames(whole)
        size = len(held)
        self._searched = max(0, size - 1)
        if size > self._large and (self._is_too_long(held) or self._has_too_many(held)):
            self._too_long(frames)
        return frames

    def close(self) -> list[Frame]:
        """Return the unterminated last event, if it is complete; never one above the limit.

        It is so if its data is complete JSON or ``[DONE]``, or if it is an error.
        """
        if self._over:
            return []
        frames: list[Frame] = []
        if self._held.count(b"\n") < EVENT_LINES:
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
        """Return ``chunk`` with LF as its only line end.

        A CR ends its line at once; should an LF follow in the next chunk, it belongs to that CR and
        is dropped there.
        """
        if not chunk:
            return chunk
        start = 1 if self._after_cr and chunk[:1] == b"\n" else 0
        self._after_cr = chunk[-1:] == b"\r"
        return chunk[start:].replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _frames(self, whole: bytes) -> list[Frame]:
        """Return the frames of whole events.

        The two forms that providers send are taken apart here; all others go line by line.
        """
        frames: list[Frame] = []
        names = self._names
        large = len(whole) > self._large
        if len(whole) > _MANY and not large:
            alike = self._alike(whole)
            if alike:
                self._count = None
                return alike
        dense = large and self._has_too_many(whole)
        self._count = None
        for block in _blocks(whole) if large else whole.split(b"\n\n"):
            if large and (self._is_too_long(block) or (dense and is_dense(block))):
                self._too_long(frames)
                break
            if block[:6] == b"data: ":
                if b"\n" not in block:
                    frames.append(Frame("", block[6:]))
                    continue
            else:
                end = block.find(b"\n")
                first = block[: max(end, 0)]
                event = names.get(first)
                if event is None and first[:7] == b"event: ":
                    event = self._name(first, first[7:])
                if event is not None:
                    data = end + 7
                    if block[end + 1 : data] == b"data: " and block.find(b"\n", data) < 0:
                        frames.append(Frame(event, block[data:]))
                        continue
            if not block:
                continue
            if len(block) >= EVENT_LINES and block.count(b"\n") >= EVENT_LINES:
                self._too_long(frames)
                break
            self._parse(block, frames)
        return frames

    def _alike(self, whole: bytes) -> list[Frame]:
        """Return the frames of events of which all have one line of data, and all or none a name.

        There are none where an event is of another form. All lines are found at once, which takes
        half the time.
        """
        lines = whole.rstrip(b"\n").split(b"\n")
        if lines[0][:6] == b"data: ":
            names, data, blank = None, lines[::2], lines[1::2]
        else:
            names, data, blank = lines[::3], lines[1::3], lines[2::3]
        if not set(blank) <= {b""} or {line[:6] for line in data} != {b"data: "}:
            return []
        texts = [line[6:] for line in data]
        if names is None:
            return list(map(Frame, repeat(""), texts))
        if len(names) != len(texts):
            return []
        known = {}
        for name in set(names):
            if name[:7] != b"event: ":
                return []
            known[name] = self._names.get(name) or self._name(name, name[7:])
        return list(map(Frame, map(known.__getitem__, names), texts))

    def _has_too_many(self, held: bytes | bytearray) -> bool:
        """Return whether a large event, or all events that came with its end, have too many values.

        Lines count as well.
        """
        if len(held) <= LARGE_EVENT:
            return False
        count = self._count = self._count or EventCount()
        count.see(held)
        return count.too_many

    def _parse(self, block: bytes, frames: list[Frame]) -> None:
        """Parse one event, line by line."""
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
        """Return whether an event is too long, without the LFs around it.

        These may be halves of blank lines and are no part of it.
        """
        return len(block) > self._limit and len(block.strip(b"\n")) > self._limit

    def _too_long(self, frames: list[Frame]) -> None:
        self._over = True
        self._held.clear()
        if not frames:
            raise SSEError


class Boundary:
    """Cuts a stream after whole events, without touching a byte.

    ``feed`` returns what is whole, ``tail`` is what is held: all that was returned plus the tail
    is all that was fed. Events of one's own may be inserted after anything that was returned.
    A CR at the end of a chunk may be half of a CRLF, so nothing is cut right after it: with bare
    CRs for line ends, an event is whole when the first byte of the next one is there. Line ends
    before an event are no part of it, and leave at once.
    """

    __slots__ = ("_count", "_has_cr", "_held", "_limit")

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._count: EventCount | None = None
        """Of what is held, where that is large."""
        self._has_cr = False

    @property
    def tail(self) -> bytes:
        """The unfinished event."""
        return bytes(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """Return the events that ``chunk`` completes.

        Raises SSEError while an unfinished one is above the limit; events before it have been
        returned by then.
        """
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
            if len(held) > LARGE_EVENT and self._has_too_many(held):
                raise SSEError
            return b""
        whole = bytes(memoryview(held)[:end])
        del held[:end]
        if end > LARGE_EVENT and self._has_too_many(whole):
            raise SSEError
        self._count = None
        # It began in an earlier chunk, with which all that was before it has been returned.
        if end > self._limit and len(next(split(whole)).rstrip(b"\r\n")) > self._limit:
            raise SSEError
        self._has_cr = b"\r" in held
        return whole

    def _end(self, searched: int) -> int:
        """Return where the last whole event in ``_held`` ends, 0 if none does.

        Its line ends may be of any kind.
        """
        self._has_cr = True
        held = self._held
        until = len(held) - (held[-1:] == b"\r")
        end = 0
        for blank in _EVENT_END.finditer(held, searched, until):
            end = blank.end()
        return end

    def _has_too_many(self, held: bytes | bytearray) -> bool:
        """Return whether ``held`` has too many values; it has only grown since the last look."""
        count = self._count = self._count or EventCount()
        count.see(held)
        return count.too_many

    def _before_event(self) -> int:
        """Return how many bytes of line ends ``_held`` begins with, but for a CR at its end."""
        held = self._held
        end = len(held) - len(held.lstrip(b"\r\n"))
        return end - (end == len(held) and held[-1:] == b"\r")


def split(block: bytes) -> Iterator[bytes]:
    """Return the events of ``block``, which a ``Boundary`` gave, one by one and byte for byte.

    Line ends between two events stand for themselves, as if they had come alone.
    """
    start = 0
    if b"\r" in block:
        for blank in _EVENT_END.finditer(block):
            yield block[start : blank.end(1)]
            if blank[2]:
                yield blank[2]
            start = blank.end()
    else:
        while (end := _blank_line(block, start)) > 0:
            yield block[start:end]
            start = end
            while block[end : end + 1] == b"\n":
                end += 1
            if end > start:
                yield block[start:end]
                start = end
    if start < len(block):
        yield block[start:]


def _blank_line(block: bytes, start: int) -> int:
    """Return where the next blank line ends, 0 if there is none."""
    at = block.find(b"\n", start)
    while at >= 0 and block[at + 1 : at + 2] != b"\n":
        at = block.find(b"\n", at + 1)
    return at + 2 if at >= 0 else 0


def _blocks(whole: bytes) -> Iterator[bytes]:
    """Yield the parts of ``whole`` between empty lines.

    It gives what ``whole.split(b"\\n\\n")`` does, and is faster where lines are long.
    """
    start = 0
    while (end := _blank_line(whole, start)) > 0:
        yield whole[start : end - 2]
        start = end
    yield whole[start:]


def last_words(tail: bytes) -> bytes:
    """Return the tail of a stream that has ended, as a whole event.

    An unterminated last event counts if it is complete (see ``Reader.close``); b"" where it is not,
    as where an error breaks off in its JSON, which no client could read.
    """
    reader = Reader(len(tail))
    if reader.feed(tail):
        return tail
    found = [frame.data or b"" for frame in reader.close()]
    whole = found and all(_complete(data) or _words(data) for data in found)
    return tail.rstrip(b"\r\n") + b"\n\n" if whole else b""


def encode_event(event: str | bytes, data: bytes) -> bytes:
    """Return an event with a name (Anthropic, Responses).

    ``data`` is one line, as compact JSON is.
    """
    name = event.encode() if isinstance(event, str) else event
    return b"".join((b"event: ", name, b"\ndata: ", data, b"\n\n"))


def encode_data(data: bytes) -> bytes:
    """Return an event without a name (OpenAI). ``data`` is one line, as compact JSON is."""
    return b"".join((b"data: ", data, b"\n\n"))


def _words(data: bytes) -> bool:
    """Return whether ``data`` is text and not the beginning of an object."""
    return bool(data.strip()) and not data.lstrip().startswith((b"{", b"["))


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
