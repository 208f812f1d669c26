# mypy: disable-error-code="no-untyped-call"
# (twisted.web.http has no annotations on most of its methods)
"""One connection of our site: framing, deadlines, and one JSON answer for a refused request.

A connection is in one phase at a time. Each phase but ``serving`` has a deadline, which the site
checks. The stall deadline is independent of the phase, since the bytes of an answer may still be in
the transport when its request is done.

    waiting  no request: before the first one, or between two            idle_seconds
    head     the first byte of a request has come                        header_seconds, absolute
    body     its headers are whole                                       body_seconds, absolute
    serving  the request is whole, and its answer is not
    closing  closed or refused by us; what still comes is discarded      linger_seconds
"""

from functools import cached_property
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import http
from twisted.web.http import Request
from twisted.web.http_headers import Headers

from lmbroker.backends.peer import watch_peer
from lmbroker.errors import ErrorInfo
from lmbroker.limits import Limits
from lmbroker.server.error_answers import REASONS, error_answer
from lmbroker.server.http import framing, refusals
from lmbroker.server.http.transport import finish_writing, host_of, outstanding

NEVER = float("inf")

EARLY_BYTES = 16 * 1024
"""The maximum of bytes that a client may send before its answer is whole. They are read, so that
the end of the connection is noticed, and discarded."""

WIRE_FACTOR = 2
"""A chunked body may take this many times its limit on the wire: chunk extensions and tiny chunks
cost work without content."""


class Chunks(http._ChunkedTransferDecoder):
    """Twisted's decoder of a chunked body, with a bound on the digits of a chunk's size."""

    length = 0
    """The bytes of the chunk that are still to come."""

    def _dataReceived_CHUNK_LENGTH(self) -> bool:
        if framing.chunk_size_is_long(self._buffer):
            raise http._MalformedChunkedDataError("a chunk's size has too many digits")
        return super()._dataReceived_CHUNK_LENGTH()


class Channel(http.HTTPChannel):
    """Twisted's channel with bounds and deadlines.

    The docstring of each method says what the stock method does instead; ``tests/test_site.py``
    checks that the stock methods still have these names and signatures. ``phase`` is a phase of the
    module's docstring, ``deadline`` is when it ends, in seconds of the reactor's clock.
    """

    site: Any
    transport: Any
    _networkProducer: Any
    log = Logger()

    # Few connections change these, so they stand on the class: with over 30 attributes of an
    # instance CPython makes a larger, slower dictionary.
    stall_deadline = NEVER
    _bytes_left = 0
    _lines_left = 0
    _wire_bytes = 0
    _discarded = 0
    _outstanding = 0

    client_host: Any = cached_property(lambda self: host_of(self.getPeer()))
    """The client's IP address; "" where it has none."""

    def __init__(self) -> None:
        super().__init__()
        self.phase = "waiting"
        self.deadline = NEVER
        self._turned_away: ErrorInfo | None = None
        self._request_line = b""
        self._body_limit = 0
        self._body_bytes = 0
        self._early_bytes = 0

    # The life of the connection.

    def connectionMade(self) -> None:
        """Begin a connection with limits and a deadline; the stock one has an idle timer.

        Each byte starts that timer anew.
        """
        limits: Limits = self.site.limits
        self.MAX_LENGTH = limits.line
        # A second bound, of Twisted's: ours come first and answer 431.
        self.maxHeaders = limits.header_count
        self.totalHeadersSize = limits.header_bytes
        super().connectionMade()
        watch_peer(self.transport, limits.stall_seconds)
        self._turned_away = self.site.enter(self)
        patience = limits.linger_seconds if self._turned_away else limits.idle_seconds
        self.deadline = self._in(patience)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """Release the body and leave the site; the stock method counts neither."""
        self.phase = "closing"
        self.release()
        self.site.leave(self)
        super().connectionLost(reason)

    def look(self, now: float) -> None:
        """Act on a deadline that has passed; the site calls this twice a second."""
        if now >= self.stall_deadline:
            if self._moved():
                self.stall_deadline = self._in(self.site.limits.stall_seconds)
            else:
                self.abort()
        elif now >= self.deadline:
            self._expire(self.site.limits)

    def _expire(self, limits: Limits) -> None:
        if self.phase == "waiting":
            if self._waitingForTransport:
                self.deadline = self._in(limits.idle_seconds)
            else:
                self.loseConnection()
        elif self._turned_away is not None and self.phase == "head":
            self.refuse(self._turned_away)
        elif self.phase == "head":
            self.refuse(*refusals.slow("headers", limits.header_seconds))
        elif self.phase == "body":
            self.refuse(*refusals.slow("body", limits.body_seconds))
        elif self._moved():
            self.deadline = self._in(limits.linger_seconds)
        else:
            self.abort()

    def drain(self) -> None:
        """Accept no further request on this connection."""
        if self.phase == "waiting":
            self.loseConnection()
        else:
            self._answer_is_last()

    def abort(self) -> None:
        """Cut the connection, so that an answer which is not whole does not look whole."""
        self.phase = "closing"
        self.stall_deadline = self.deadline = NEVER
        self.transport.abortConnection()

    def loseConnection(self) -> None:
        """Close with a deadline, or abort a partial answer.

        The stock method waits for ever for a client that reads no more, or does not finish TLS, and
        ends a partial answer as if it were whole.
        """
        if self.phase == "closing":
            return
        if self.requests and self.requests[0].startedWriting:
            self.abort()
        else:
            self._stop(keep_reading=self._early_bytes > 0)

    def _stop(self, *, keep_reading: bool) -> None:
        """Close the connection once all answers are written."""
        self.phase = "closing"
        self.stall_deadline = NEVER
        self.deadline = self._in(self.site.limits.linger_seconds)
        self._outstanding = outstanding(self.transport)
        self._networkProducer.resumeProducing()
        self._networkProducer.unregisterProducer()
        if keep_reading:
            finish_writing(self.transport, secure=self.isSecure())
        else:
            self.transport.loseConnection()

    # What comes in.

    def dataReceived(self, data: bytes) -> None:
        """Discard bytes on a connection that is being closed; the stock method parses them."""
        if self.phase == "waiting" and not data.isspace():
            self._begin()
        if self.phase == "closing":
            self._discard(len(data))
        else:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> bool:
        """Check a line of the head, and return whether the rest of the head is refused.

        ``LineReceiver`` reads no more lines then. The stock method takes folded headers and some
        bare LF, and answers 400 for what is too large.
        """
        if line:
            if self.phase == "waiting":
                self._begin()
            size = len(line)
            self._bytes_left -= size + 2
            self._lines_left -= 1
            # Most lines pass these conditions, which are quick to check.
            if (
                self._bytes_left < 0
                or self._lines_left < 0
                or not self._request_line
                or line[0] in framing.INITIALS
                or size != len(line.translate(None, framing.CONTROLS))
            ):
                self._judge(line)
        if self.phase != "closing":
            super().lineReceived(line)
        return self.phase == "closing"

    def _begin(self) -> None:
        """Begin a request, of which the first byte has come."""
        if self._waitingForTransport:
            # The client has not read the previous answer: it sends without reading.
            self._stop(keep_reading=True)
            return
        self.phase = "head"
        limits: Limits = self.site.limits
        if self._turned_away is None:
            self.deadline = self._in(limits.header_seconds)
        self._bytes_left = limits.header_bytes
        self._lines_left = limits.header_count + 1
        self._body_bytes = self._wire_bytes = self._early_bytes = 0

    def _judge(self, line: bytes) -> None:
        limits: Limits = self.site.limits
        problem = None
        if not self._request_line:
            self._request_line = line
            problem = framing.request_line_problem(line)
        elif self._lines_left < 0:
            self.refuse(*refusals.too_many_headers(limits.header_count))
        else:
            problem = framing.header_problem(line, self._request_line)
        if problem is not None:
            self.refuse(*refusals.malformed(problem))
        elif self._bytes_left < 0:
            self.refuse(*refusals.headers_too_large(limits.header_bytes))

    def lineLengthExceeded(self, line: bytes) -> bool:
        """Refuse a line that is too long.

        The stock method closes the connection without an answer.
        """
        limit: int = self.site.limits.line
        if self._request_line:
            self.refuse(*refusals.header_too_long(limit))
        else:
            self._request_line = line[:limit]
            self.refuse(*refusals.request_line_too_long(limit))
        return True

    def allHeadersReceived(self) -> None:
        """Check the Host header and the length of the body before the client may send it.

        The stock method takes any number and any length, and sends ``100 Continue`` before.
        """
        limits: Limits = self.site.limits
        self._body_limit = limits.body_limit(self._target())
        hosts = self.requests[-1].requestHeaders.getRawHeaders(b"host") or ()
        problem = framing.hosts_problem(len(hosts), self._request_line)
        if problem is not None:
            self.refuse(*refusals.malformed(problem))
        elif self._turned_away is not None:
            self.refuse(self._turned_away)
        elif self.length is not None and self.length > self._body_limit:
            self.refuse(*refusals.body_too_large(self._body_limit))
        else:
            self.phase = "body"
            self.deadline = self._in(limits.body_seconds)
            if self.length is None:
                self._transferDecoder = Chunks(
                    self.requests[-1].handleContentChunk, self._finishRequestBody
                )
            super().allHeadersReceived()

    def checkPersistence(self, request: Request, version: bytes) -> bool:
        """Find ``close`` among several options of Connection; the stock method misses it."""
        options = b",".join(request.requestHeaders.getRawHeaders(b"connection") or ())
        closes = b"close" in [option.strip() for option in options.lower().split(b",")]
        if version == b"HTTP/1.1" and not closes and not self.site.draining:
            return True
        request.responseHeaders.setRawHeaders(b"connection", [b"close"])
        return False

    def rawDataReceived(self, data: bytes) -> None:
        """Bound the bytes of a body, and those that come during an answer.

        The stock method keeps the latter and stops reading after 16 KiB of them, so it does not
        notice when the client leaves.
        """
        if self.phase == "serving":
            self._early(data)
            return
        self._wire_bytes += len(data)
        super().rawDataReceived(data)
        decoder = self._transferDecoder
        if self.phase == "body" and (
            # The length of a chunk is known before its bytes come.
            (isinstance(decoder, Chunks) and decoder.length > self._body_limit)
            or self._wire_bytes > WIRE_FACTOR * self._body_limit + EARLY_BYTES
        ):
            self.refuse(*refusals.body_too_large(self._body_limit))

    def hold(self, size: int) -> bool:
        """Count ``size`` more bytes of the body; return False where it was refused.

        It must not be kept then.
        """
        if self.phase == "closing":
            return False
        self._body_bytes += size
        self.site.body_bytes += size
        if self._body_bytes > self._body_limit:
            self.refuse(*refusals.body_too_large(self._body_limit))
        elif self.site.body_bytes > self.site.limits.bodies:
            self.refuse(refusals.BUSY)
        return self.phase != "closing"

    def grow(self, size: int) -> bool:
        """Count ``size`` more bytes of a body that was decoded.

        False where all bodies together would take more than they may.
        """
        if self.site.body_bytes + size > self.site.limits.bodies:
            return False
        self._body_bytes += size
        self.site.body_bytes += size
        return True

    def release(self) -> None:
        """Count the body no longer: it is in memory no more."""
        self.site.body_bytes -= self._body_bytes
        self._body_bytes = 0

    def _finishRequestBody(self, data: bytes) -> None:
        """End the body, after which ``data`` came.

        The stock method does not check trailer fields.
        """
        decoder = self._transferDecoder
        for line in decoder._trailerHeaders if isinstance(decoder, Chunks) else ():
            problem = framing.trailer_problem(bytes(line))
            if problem is not None:
                self.refuse(*refusals.malformed(problem))
                return
        if data:
            self._early(data)
        super()._finishRequestBody(b"")

    def allContentReceived(self) -> None:
        """Serve the request, unless it was refused; the stock method serves one without a body."""
        if self.phase != "closing":
            self.phase = "serving"
            self.deadline = NEVER
            super().allContentReceived()

    def _early(self, data: bytes) -> None:
        """Count bytes that belong to no request: empty lines of old clients, or pipelining."""
        self._early_bytes += len(data)
        if self._early_bytes > EARLY_BYTES:
            self.abort()
        elif data.strip(b"\r\n"):
            self._answer_is_last()

    def _answer_is_last(self) -> None:
        self.persistent = False
        for request in self.requests:
            if not request.startedWriting:
                request.responseHeaders.setRawHeaders(b"connection", [b"close"])

    def _discard(self, size: int) -> None:
        self._discarded += size
        if self._discarded > self.site.limits.linger_bytes:
            self.abort()

    # What goes out.

    def requestDone(self, request: Any) -> None:
        """Release the body and wait for the next request; the stock method has no phases."""
        self.release()
        if self.phase != "closing":
            self.phase = "waiting"
            self.deadline = self._in(self.site.limits.idle_seconds)
            self._request_line = b""
        super().requestDone(request)

    def pauseProducing(self) -> None:
        """Set the deadline for a client that reads nothing; the stock method has none."""
        if self.stall_deadline == NEVER:
            self._outstanding = outstanding(self.transport)
            self.stall_deadline = self._in(self.site.limits.stall_seconds)
        super().pauseProducing()

    def resumeProducing(self) -> None:
        """Clear the deadline for a client that reads nothing; the stock method has none."""
        self.stall_deadline = NEVER
        if self.phase == "waiting":
            self.deadline = self._in(self.site.limits.idle_seconds)
        super().resumeProducing()

    def _moved(self) -> bool:
        """Return whether the client has taken any bytes since the last check."""
        before, self._outstanding = self._outstanding, outstanding(self.transport)
        return self._outstanding < before

    # Refusals.

    def refuse(self, info: ErrorInfo, status: int | None = None) -> None:
        """Answer a request that is not read to its end, and close; only the first call counts."""
        if self.phase == "closing":
            return
        headers = Headers()
        for request in self.requests:
            headers, request.content = request.requestHeaders, None
        names = {name.decode("latin-1").lower() for name, _ in headers.getAllRawHeaders()}
        answer = error_answer(self._target(), names, info, status)
        sent = Headers({"connection": ["close"], "date": [http.datetimeToString()]})
        for name, value in answer.headers:
            sent.setRawHeaders(name, [value])
        code = b"%d" % answer.status
        self.writeHeaders(b"HTTP/1.1", code, REASONS[answer.status], sent)
        if not self._request_line.startswith(b"HEAD "):
            self.write(answer.body)
        self.release()
        self.site.refused[answer.status] += 1
        self.log.info(
            "Refused a request with {status}: {code}",
            status=answer.status,
            code=info.code or info.kind,
            fields={"request_id": answer.request_id},
        )
        self._stop(keep_reading=True)
        self._discard(len(self.clearLineBuffer()))

    def _respondToBadRequestAndDisconnect(self) -> None:
        """Refuse malformed HTTP with a body; the stock answer has none."""
        self.refuse(*refusals.malformed("the request is not valid HTTP/1.1"))

    def _target(self) -> str:
        """Return the path of the request, "" before its request line has come."""
        target = self._request_line.partition(b" ")[2].partition(b" ")[0]
        return target.partition(b"?")[0].decode("latin-1")

    def _in(self, seconds: float) -> float:
        return float(self.site.reactor.seconds() + seconds)
