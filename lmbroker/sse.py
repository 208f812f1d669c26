"""Server-sent events: chunks -> frames, frames -> bytes. Bytes throughout.

Reading follows the WHATWG rules (HTML Standard, 9.2.6) with two exceptions that providers make
necessary: a comment is told as a sign of life, and an unterminated last event counts if its
data is complete JSON. Lines end at LF, CR or CRLF and nowhere else: U+2028 and U+0085 are
content. Chunks may cut anywhere, also inside a code point.
"""

import re

import msgspec

EVENT_LIMIT = 8 * 1024 * 1024
"""Longest unfinished event that is held, in bytes; signatures and whole arguments are long."""

COMMENT_PING = b": ping\n\n"
DONE = b"[DONE]"

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n?|\n")
_BLANK_LINE = re.compile(rb"(?>\r\n?|\n){2,}")
_KNOWN_NAMES = 64
_is_json = msgspec.json.Decoder(msgspec.Raw).decode


class SSEError(Exception):
    """An event is longer than the reader may hold."""


class Frame(msgspec.Struct, frozen=True):
    """One event as it stands on the wire.

    ``event`` is its name, "" where none was given. ``data`` is its data lines joined with LF;
    None for a comment, which says only that the other end lives.
    """

    event: str
    data: bytes | None


_COMMENT = Frame("", None)


class Reader:
    """Chunks -> frames, in time linear in the bytes however they are cut.

    As long as a stream ends its lines with LF alone, as nearly all do, events are cut out whole;
    from the first CR on it is read line by line.
    """

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()
        self._searched = 0
        self._begun = False
        self._lines: _Lines | None = None
        self._names: dict[bytes, str] = {}
        self._over = False

    @property
    def pending(self) -> bool:
        """An unfinished event is held."""
        return bool(self._held) or (self._lines is not None and self._lines.pending)

    def feed(self, chunk: bytes) -> list[Frame]:
        """The frames that ``chunk`` completes.

        Raises SSEError in the call after the one that went over the limit, so that no frame is
        lost; after that for ever.
        """
        if self._over:
            raise SSEError
        if not self._begun:
            chunk = self._without_bom(chunk)
        frames: list[Frame] = []
        if self._lines is None and b"\r" not in chunk:
            if not self._held and chunk[-2:] == b"\n\n":
                for block in chunk.split(b"\n\n"):
                    if block:
                        self._block(block, frames)
                return frames
            self._cut(chunk, frames)
        else:
            if self._lines is None:
                self._lines = _Lines(self)
                chunk = bytes(self._held) + chunk
                self._held.clear()
            self._lines.feed(chunk, frames)
        size = len(self._held) if self._lines is None else self._lines.size
        self._over = size > self._limit
        return frames

    def close(self) -> list[Frame]:
        """The unterminated last event, if its data is complete JSON or ``[DONE]``."""
        frames: list[Frame] = []
        if self._lines is not None:
            self._lines.end(frames)
        elif self._held:
            self._block(bytes(self._held), frames)
        self._held.clear()
        self._lines = None
        return [frame for frame in frames if frame.data is not None and _complete(frame.data)]

    def _without_bom(self, chunk: bytes) -> bytes:
        start = bytes(self._held) + chunk
        self._held.clear()
        if len(start) < len(_BOM) and _BOM.startswith(start):
            self._held += start
            return b""
        self._begun = True
        return start.removeprefix(_BOM)

    def _cut(self, chunk: bytes, frames: list[Frame]) -> None:
        held = self._held
        held += chunk
        if not self._begun:
            return
        end = held.rfind(b"\n\n", self._searched)
        if end < 0:
            self._searched = max(0, len(held) - 1)
            return
        whole = bytes(held[:end])
        del held[: end + 2]
        self._searched = max(0, len(held) - 1)
        for block in whole.split(b"\n\n"):
            if block:
                self._block(block, frames)

    def _block(self, block: bytes, frames: list[Frame]) -> None:
        """One event, its lines separated by LF."""
        if b"\n" not in block:
            if block[:6] == b"data: ":
                frames.append(Frame("", block[6:]))
                return
        elif block[:7] == b"event: ":
            name, _, rest = block[7:].partition(b"\n")
            if rest[:6] == b"data: " and b"\n" not in rest:
                frames.append(Frame(self.name(name), rest[6:]))
                return
        parser = _Event(self)
        for line in block.split(b"\n"):
            parser.line(line, frames)
        parser.line(b"", frames)

    def name(self, name: bytes) -> str:
        """An event's name as text; the few that a stream repeats are decoded once."""
        text = self._names.get(name)
        if text is None:
            text = name.decode("utf-8", "replace")
            if len(self._names) < _KNOWN_NAMES:
                self._names[name] = text
        return text


class _Event:
    """The event that is being read, line by line."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.event = b""
        self.data: list[bytes] = []
        self.size = 0

    def line(self, line: bytes, frames: list[Frame]) -> None:
        if not line:
            if self.data:
                frames.append(Frame(self._reader.name(self.event), b"\n".join(self.data)))
            self.event, self.data, self.size = b"", [], 0
            return
        field, _, value = line.partition(b":")
        if not field:
            frames.append(_COMMENT)
            return
        value = value.removeprefix(b" ")
        if field == b"data":
            self.data.append(value)
            self.size += len(value)
        elif field == b"event":
            self.event = value


class _Lines:
    """The general case: any line end, lines finished as soon as their end is there."""

    def __init__(self, reader: Reader) -> None:
        self._event = _Event(reader)
        self._line = bytearray()
        self._after_cr = False

    @property
    def size(self) -> int:
        return len(self._line) + self._event.size

    @property
    def pending(self) -> bool:
        return bool(self._line or self._event.data or self._event.event)

    def feed(self, chunk: bytes, frames: list[Frame]) -> None:
        start = 1 if self._after_cr and chunk[:1] == b"\n" else 0
        if chunk:
            self._after_cr = chunk[-1:] == b"\r"
        for end in _LINE_END.finditer(chunk, start):
            line = chunk[start : end.start()]
            if self._line:
                line = bytes(self._line) + line
                self._line.clear()
            self._event.line(line, frames)
            start = end.end()
        self._line += chunk[start:]

    def end(self, frames: list[Frame]) -> None:
        self._event.line(bytes(self._line), frames) if self._line else None
        self._event.line(b"", frames)


class Boundary:
    """Cuts a stream after whole events, without touching a byte.

    ``feed`` returns what is whole, ``tail`` is what is held: all that was returned plus the tail
    is all that was fed. Something may be inserted after what was returned.
    """

    def __init__(self, limit: int = EVENT_LIMIT) -> None:
        self._limit = limit
        self._held = bytearray()

    @property
    def tail(self) -> bytes:
        return bytes(self._held)

    def feed(self, chunk: bytes) -> bytes:
        """The whole events so far. Raises SSEError when an unfinished one is over the limit."""
        held = self._held
        if not held and chunk[-2:] == b"\n\n":
            return chunk
        searched = max(0, len(held) - 3)
        held += chunk
        end = -1
        if b"\r" in held:
            for end_of_event in _BLANK_LINE.finditer(held, searched):
                end = end_of_event.end()
        else:
            at = held.rfind(b"\n\n", searched)
            end = at + 2 if at >= 0 else -1
        if end < 0:
            if len(held) > self._limit:
                raise SSEError
            return b""
        whole = bytes(held[:end])
        del held[:end]
        return whole


def encode_event(event: bytes, data: bytes) -> bytes:
    """An event with a name (Anthropic, Responses)."""
    return b"".join((b"event: ", event, b"\ndata: ", data, b"\n\n"))


def encode_data(data: bytes) -> bytes:
    """An event without a name (OpenAI)."""
    return b"".join((b"data: ", data, b"\n\n"))


def _complete(data: bytes) -> bool:
    if data == DONE:
        return True
    try:
        _is_json(data)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True
