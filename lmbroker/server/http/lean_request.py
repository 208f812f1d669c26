# mypy: disable-error-code="no-untyped-call"
# (twisted.web has no annotations on most of its methods)
"""A request of the lean engine.

Attributes are made when they are used, and each write is one write of the transport.
"""

from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache
from io import BytesIO
from time import time
from typing import Any
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IConsumer
from twisted.python.failure import Failure
from twisted.web.http import NO_BODY_CODES, datetimeToString, parse_qs
from twisted.web.http_headers import Headers
from twisted.web.resource import getChildForRequest

from lmbroker.headers import Pairs, ReceivedHeaders, first_values
from lmbroker.server.http.request import Request

_UNMADE = object()

LARGE_WRITE = 64 * 1024
"""Bytes from which a chunk is not copied into one piece with its frame."""


class LeanRequest(Request):
    """A ``twisted.web.server.Request``, which is an ``Incoming`` as well.

    The docstring of each method says what the stock method does instead. A resource is not asked
    for an encoder: answers are sent as they are. ``body`` is a body that came in one piece with its
    head.
    """

    __slots__ = (
        "_file",
        "_framed",
        "_left",
        "_lines",
        "_sent_headers",
        "_wire",
        "body",
        "cors",
        "route_path",
    )

    route_path: str
    cors: Pairs

    # Made when they are used.
    client: Any = cached_property(lambda self: self.transport.getPeer())
    host: Any = cached_property(lambda self: self.transport.getHost())
    requestHeaders: Any = cached_property(lambda self: _headers(self.received or {}))
    received_cookies: Any = cached_property(lambda self: {})
    args: Any = cached_property(lambda self: parse_qs(self.uri.partition(b"?")[2], True))
    cookies: Any = cached_property(lambda self: [])
    _adapterCache: Any = cached_property(lambda self: {})
    postpath: Any = cached_property(lambda self: _segments(self.path))
    sitepath: Any = cached_property(lambda self: [])
    clientproto = b"HTTP/1.1"
    transport: Any
    queued = False
    _parsePOSTFormSubmission = False

    received: dict[str, str] | None = None
    """The headers of a request that ``LeanChannel`` has read: name in lower case -> value."""

    def __init__(self, channel: Any, queued: object = None) -> None:
        """Make the attributes that usual requests need; the stock method makes all of the above."""
        self.channel = channel
        self.transport = channel.transport
        self.notifications = []
        self._sent_headers: Headers | None = None
        self._wire: Any = None
        """The transport for more of the body, while there may be more; ``_framed``: in chunks."""
        self._framed = False
        self._lines = b""
        self.body = b""
        self._file: Any = _UNMADE
        self._left: Callable[[], None] | None = None

    @property
    def content(self) -> Any:
        """The body as a file."""
        if self._file is _UNMADE:
            self._file = BytesIO(self.body)
        return self._file

    @content.setter
    def content(self, file: Any) -> None:
        self._file = file

    @content.deleter
    def content(self) -> None:
        self._file = None

    @property
    def responseHeaders(self) -> Headers:
        """The headers of the answer that are not set by ``set_head``."""
        if self._sent_headers is None:
            self._sent_headers = Headers()
        return self._sent_headers

    @responseHeaders.setter
    def responseHeaders(self, headers: Headers) -> None:
        self._sent_headers = headers

    # What ``lmbroker.server.incoming.Incoming`` asks for.

    @property
    def consumer(self) -> IConsumer:
        """The request itself."""
        return self

    @property
    def started(self) -> bool:
        """Whether bytes of the answer were written."""
        return bool(self.startedWriting)

    @property
    def client_host(self) -> str:
        """The client's IP address; "" where it has none."""
        return self.channel.client_host  # type: ignore[no-any-return]

    def received_headers(self) -> ReceivedHeaders:
        """Return the first value of each header, and the names that came repeatedly."""
        received = self.received
        if received is not None:
            return received, ()
        return first_values(self.requestHeaders.getAllRawHeaders())

    def take_body(self) -> bytes:
        """Return the body, for its only reader: a stream may last for minutes."""
        body, file = self.body, self._file
        self.body, self._file = b"", _UNMADE
        if file is not _UNMADE:
            body = file.read()
        return body

    def when_left(self, left: Callable[[], None]) -> None:
        """Call ``left`` where the client leaves before its answer has ended.

        This is what the routes need of ``notifyFinish``, without a Deferred for each request.
        """
        self._left = left

    def abort(self) -> None:
        """Cut the connection, so that an answer which is not whole does not look whole."""
        self.transport.abortConnection()

    def process(self) -> None:
        """Find the resource and render it.

        The stock method formats each date anew, names the server, and looks for encoders.
        """
        if not self.path.startswith(b"/"):
            super().process()
            return
        site = self.site = self.channel.site
        self.prepath = []
        resource = site.resource
        try:
            if not resource.isLeaf:
                resource = getChildForRequest(resource, self)
            self.render(resource)
        except Exception:
            self.processingFailed(Failure())

    def set_head(self, status: int, reason: bytes, headers: Sequence[tuple[str, str]]) -> None:
        """Set status and headers of the answer, at most once.

        This is ``setResponseCode`` and a ``setHeader`` for each, with names in lower case. The
        headers are written as they are where no value could be taken for two lines. They are all
        headers of the answer but date and those of the connection.
        """
        self.code, self.code_message = status, reason
        lines = "\r\n".join(("", *map(": ".join, headers)))
        if lines.isascii() and len(lines.splitlines()) == len(headers) + 1:
            self._lines = lines.encode()
        else:
            for name, value in headers:
                self.setHeader(name, value)

    def write(self, data: bytes) -> None:
        """Write a chunk in one piece, the first one with the head.

        The stock method writes the head by itself, and each chunk in three pieces through five
        layers.
        """
        wire = self._wire
        if wire is None:
            self._first(data)
        elif not data:
            pass
        elif self._framed:
            size = len(data)
            if size < LARGE_WRITE:
                wire.write(b"%x\r\n%b\r\n" % (size, data))
            else:
                wire.writeSequence((b"%x\r\n" % size, data, b"\r\n"))
        else:
            wire.write(data)

    def _first(self, data: bytes) -> None:
        """Write the head and ``data`` in one piece."""
        if self.finished:
            raise RuntimeError("write() after finish()")
        if self._disconnected or self._inFakeHead or self.startedWriting:
            return  # The client is gone, or the answer has no body.
        self.startedWriting = 1
        date = _date(int(time()))
        parts = [b"%b %d %b" % (self.clientproto, self.code, self.code_message)]
        lines = self._lines
        if lines:
            parts += (b"\r\ndate: ", date, lines)
            if b"\r\ncontent-length: " not in lines and self._may_be_chunked():
                self.chunked = 1
                parts.append(b"\r\ntransfer-encoding: chunked")
        else:
            self._complete(date)
        if self._sent_headers is not None:
            for name, values in self._sent_headers.getAllRawHeaders():
                for value in values:
                    parts += (b"\r\n", name, b": ", value)
        parts.append(b"\r\n\r\n")
        if self.method != b"HEAD" and self.code not in NO_BODY_CODES:
            self._wire, self._framed = self.transport, bool(self.chunked)
            if self._framed and data:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            parts.append(data)
        self.transport.write(b"".join(parts))

    def _may_be_chunked(self) -> bool:
        bodiless = self.method == b"HEAD" or self.code in NO_BODY_CODES
        return not bodiless and self.clientproto == b"HTTP/1.1"

    def _complete(self, date: bytes) -> None:
        """Add the headers that the resource did not set."""
        headers = self.responseHeaders
        if not headers.hasHeader(b"date"):
            headers.setRawHeaders(b"date", [date])
        length = headers.getRawHeaders(b"content-length")
        if (
            self.code not in NO_BODY_CODES
            and length != [b"0"]
            and not headers.hasHeader(b"content-type")
        ):
            headers.setRawHeaders(b"content-type", [self.defaultContentType])
        if length is None and self._may_be_chunked():
            headers.setRawHeaders(b"transfer-encoding", [b"chunked"])
            self.chunked = 1
        if self.lastModified is not None and not headers.hasHeader(b"last-modified"):
            headers.setRawHeaders(b"last-modified", [datetimeToString(self.lastModified)])
        if self.etag is not None:
            headers.setRawHeaders(b"etag", [self.etag])
        if self.cookies:
            headers.setRawHeaders(b"set-cookie", self.cookies)

    def finish(self) -> None:
        """End the answer.

        The stock method has its site write an access line, looks for a producer that is still
        registered, and closes a file.
        """
        if self.finished or self._disconnected:
            super().finish()  # It raises, or logs the mistake.
            return
        if not self.startedWriting:
            self._first(b"")
        if self._wire is not None and self._framed:
            self._wire.write(b"0\r\n\r\n")
        self._wire = self._left = None
        self.finished = 1
        if self.notifications or self.producer or self._file is not _UNMADE:
            self._cleanup()
            return
        self.body, self._file = b"", None
        self.channel.requestDone(self)
        del self.channel

    def connectionLost(self, reason: Failure) -> None:
        """Stop writing; the stock class checks at each write whether the connection was lost."""
        self._wire = None
        super().connectionLost(reason)
        left, self._left = self._left, None
        if left is not None:
            left()


@lru_cache(maxsize=1)
def _date(second: int) -> bytes:
    date: bytes = datetimeToString(second)
    return date


def _headers(received: dict[str, str]) -> Headers:
    headers = Headers()
    for name, value in received.items():
        headers.setRawHeaders(name, [value.encode("latin-1")])
    return headers


def _segments(path: bytes) -> list[bytes]:
    return [unquote_to_bytes(each) for each in path[1:].split(b"/")]
