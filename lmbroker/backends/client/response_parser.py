"""Parses the responses that come over one connection, with llhttp.

A short response of the plainest kind, which comes in one read, is read without llhttp.

llhttp is strict by default: it refuses folded headers, bare line ends and control characters,
lengths that contradict each other or the transfer coding, and malformed chunk sizes. What it
accepts although we do not is refused here: other protocols and versions, ``101``, transfer codings
besides ``chunked``, a head without end, line ends between an interim response and the next one.
"""

import re
from typing import Any

from httptools import HttpResponseParser
from twisted.web.iweb import UNKNOWN_LENGTH

from lmbroker.backends.client.response import Received, Response
from lmbroker.backends.connections import HEADER_LIMIT, TooLong
from lmbroker.backends.header_lines import FIELDS, LINES

HEADERS = 500
"""The maximum of headers of a response."""

_NO_BODY = (204, 304)

_PLAIN_HEAD = re.compile(rb"HTTP/1\.1 (200|[45][0-9][0-9]) [\t -~\x80-\xff]*+" + LINES)
"""Status and header lines of a response that may be read without llhttp."""

_FRAMING = frozenset({"connection", "transfer-encoding", "upgrade"})
"""Headers that change how a response ends or what comes after it."""

_LENGTH = re.compile(r"[0-9]{1,9}").fullmatch

_came: list[bytes] = []
"""The pieces of a body that llhttp finds in one read, until ``feed`` takes them. All connections
share this list: it is empty again before other code runs."""

_HEAD_END = b"\r\n\r\n"

_EMPTY_LINE = b"\r\n\r\n\r\n"
"""The end of a read in which an empty line follows a response: no chunked response ends so."""

_CHUNK = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,6})\r\n")


def _only_chunk(data: bytes) -> bytes:
    """Return the content where ``data`` is exactly one chunk in the plainest form, else b"".

    So servers write each event of a stream.
    """
    size = _CHUNK.match(data)
    if size is None or size.end() + int(size[1], 16) + 2 != len(data) or data[-2:] != b"\r\n":
        return b""
    return data[size.end() : -2]


class ResponseParser:
    """Parses one response after the other.

    ``response`` is the one whose head has come, None before. ``whole``: all of it has come.
    ``error`` is set for what is no response; nothing may be fed after that.
    """

    # Few and small objects for each event, as in ``relay.Relay``.
    __slots__ = (
        "_aligned",
        "_begins",
        "_coming",
        "_fields",
        "_llhttp",
        "_tail",
        "bare",
        "chunked",
        "error",
        "keeps",
        "response",
        "whole",
    )

    def __init__(self) -> None:
        self.response: Response | None = None
        self.whole = False
        self.error: Exception | None = None
        self.chunked = False
        self.keeps = False
        """Whether the backend keeps the connection after this response."""
        self.bare = 0
        """The bytes that have come since the last ones of a body."""
        self._coming: Any = None
        """The object that becomes the response."""
        self._begins = True
        """Whether the next byte is the first one of a response."""
        self._tail = b""
        """The last bytes of a head that goes on in the next read."""
        self._aligned = False
        """Whether llhttp is at the beginning of a chunk."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._llhttp: Any = HttpResponseParser(self)

    def expect(self, response: Response) -> None:
        """Fill ``response`` with what comes next."""
        self.response, self._coming = None, response
        self.whole = self.chunked = self._aligned = False
        self.bare = 0
        self._begins, self._tail = True, b""

    def close(self) -> None:
        """Break the cycle with llhttp's object."""
        self._llhttp = None

    def feed(self, data: bytes) -> bytes:
        """Parse what came, and return the piece of the body in it."""
        if self._begins and self.response is None:
            short = self._short_response(data)
            if short is not None:
                return short
        chunk = _only_chunk(data) if self.chunked else b""
        if chunk and self._aligned:
            # llhttp would find the same content, and be in the same state as now.
            return chunk
        self._aligned = False
        try:
            if self.response is None:
                self._feed_heads(data)
            else:
                self._llhttp.feed_data(data)
        except Exception as error:
            # llhttp wraps what we raise within it.
            self.error = error.__context__ if isinstance(error.__context__, TooLong) else error
        if not _came:
            self.bare += len(data)
            if self.bare > HEADER_LIMIT:
                self.error = self.error or TooLong()
            return b""
        self.bare = 0
        body = b"".join(_came)
        _came.clear()
        # Within a chunk the content would have begun with the very first byte.
        self._aligned = body == chunk and chunk[0] != data[0]
        return body

    def _short_response(self, data: bytes) -> bytes | None:
        """Take a whole response of the plainest kind, and return its body.

        It is None where ``data`` is anything else: then nothing was done.
        """
        found = _PLAIN_HEAD.match(data)
        if found is None:
            return None
        code, lines = found.groups()
        fields = FIELDS.findall(lines.decode("latin-1"))
        headers: dict[str, str] = {}
        for name, value in fields:
            headers[name.lower()] = value
        end = found.end()
        length = headers.get("content-length", "")
        if (
            len(headers) != len(fields)
            or len(fields) > HEADERS
            or end > HEADER_LIMIT
            or not _LENGTH(length)
            or int(length) != len(data) - end
            or not _FRAMING.isdisjoint(headers)
        ):
            return None
        headers.pop("set-cookie", None)
        self.keeps = self.whole = True
        self._begins = False
        self._respond(int(code), (b"HTTP", 1, 1), headers, {}, int(length))
        return data[end:]

    def _respond(
        self,
        code: int,
        version: tuple[bytes, int, int],
        headers: dict[str, str],
        repeated: dict[str, list[bytes]],
        length: Any,
    ) -> None:
        """Fill the response that is expected."""
        response = self._coming
        response.version = version
        response.code = code
        response.fields = headers
        response.headers = Received(headers, repeated)
        response.length = length
        self.response, self._coming = response, None

    def _feed_heads(self, data: bytes) -> None:
        """Parse heads up to that of the response, and what follows that.

        Each must begin where the interim response before it ends. llhttp would skip line ends
        there, which only servers may do with requests (RFC 9112, 2.2).
        """
        if self._begins and data[9:10] != b"1":
            self._check_begin(data, 0)
            self._llhttp.feed_data(data)
            self._begins, self._tail = False, data[-3:]
            return
        at = 0
        while at < len(data) and self.response is None:
            if self._begins:
                self._check_begin(data, at)
                self._begins, self._tail = False, b""
            end = self._head_end(data, at)
            self._tail = (self._tail + data[at:end][-3:])[-3:]
            self._llhttp.feed_data(data[at:end])
            at = end
        if at < len(data):
            self._llhttp.feed_data(data[at:])

    def _head_end(self, data: bytes, at: int) -> int:
        """Return where the head ends that goes on at ``at``.

        The end of ``data`` where that is later.
        """
        tail = self._tail
        seam = (tail + data[at : at + 3]).find(_HEAD_END)
        if seam >= 0:
            return at + seam - len(tail) + len(_HEAD_END)
        found = data.find(_HEAD_END, at)
        return found + len(_HEAD_END) if found >= 0 else len(data)

    def _check_begin(self, data: bytes, at: int) -> None:
        if data[at : at + 1] != b"H":
            raise ValueError("not HTTP")

    def line_behind(self, data: bytes, body: bytes) -> bool:
        """Return whether an empty line follows a whole response, which llhttp skips.

        ``data`` is the last read of the response, ``body`` the piece of its body in that.
        """
        if body and not self.chunked:
            return not data.endswith(body)
        return data.endswith(_EMPTY_LINE)

    # Called by llhttp.

    def on_message_begin(self) -> None:
        """Refuse a second response."""
        if self.response is not None:
            raise ValueError("more than one response")

    def on_status(self, reason: bytes) -> None:
        """Refuse a reason phrase with NUL."""
        if b"\0" in reason:
            raise ValueError("a reason with NUL")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; a trailer is ignored."""
        if self.response is not None:
            # A trailer.
            return
        if len(self._fields) == HEADERS:
            raise TooLong
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Fill the response from its head; ignore an interim response."""
        code = self._llhttp.get_status_code()
        fields, self._fields = self._fields, []
        if 102 <= code < 200 or code == 100:
            self._begins = True
            return
        version = self._llhttp.get_http_version()
        if code < 200 or version not in ("1.1", "1.0"):
            raise ValueError("not a response that we can ask for")
        headers: dict[str, str] = {}
        repeated: dict[str, list[bytes]] = {}
        for raw, value in fields:
            name, value = raw.decode("latin-1").lower(), value.rstrip()
            if name not in headers:
                headers[name] = value.decode("latin-1")
            elif name in repeated:
                repeated[name].append(value)
            else:
                repeated[name] = [headers[name].encode("latin-1"), value]
        coding = headers.get("transfer-encoding")
        if coding is not None and (coding.lower() != "chunked" or "transfer-encoding" in repeated):
            raise ValueError("an unknown coding")
        self.chunked = coding is not None
        given = headers.get("content-length")
        length: Any = int(given) if given is not None else UNKNOWN_LENGTH
        if code in _NO_BODY:
            length = 0
        # No client gets a cookie of a backend, and treq would look for them.
        headers.pop("set-cookie", None)
        self.keeps = self._llhttp.should_keep_alive()
        self._respond(code, (b"HTTP", 1, int(version[2])), headers, repeated, length)

    on_body = _came.append

    def on_message_complete(self) -> None:
        """Note that the response is whole."""
        self.whole = self.response is not None
