# mypy: disable-error-code="no-untyped-call"
# (twisted.web has no annotations on most of its methods)
"""A request of our site: its body is in memory, and each of its errors is JSON."""

from io import BytesIO
from typing import Any

from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web import server
from twisted.web.http import datetimeToString
from twisted.web.http_headers import Headers

from lmbroker.errors import ErrorInfo
from lmbroker.server.error_answers import error_answer

FAULT = ErrorInfo(kind="server", message="the broker failed to serve this request")
NO_PATH = ErrorInfo(
    kind="not_found",
    message="the request's target must be a path: this is not a proxy",
    code="unknown_url",
)
METHODS = "GET, HEAD, POST"
NO_METHOD = ErrorInfo(
    kind="invalid_request",
    message=f"this target takes no such method; paths take {METHODS}",
    code="method_not_allowed",
)


class Request(server.Request):
    """Twisted's request; the docstring of each method says what the stock method does instead."""

    defaultContentType = b"application/json"
    log = Logger()
    channel: Any
    content: Any

    def gotLength(self, length: int | None) -> None:
        """Keep the body in memory.

        The stock method makes a temporary file for a chunked body, and for one of more than 100 kB.
        """
        self.content = BytesIO()

    def handleContentChunk(self, data: bytes) -> None:
        """Take a piece of the body within its limit; the stock method takes any length."""
        if self.channel.hold(len(data)):
            self.content.write(data)

    def grow_body(self, size: int) -> bool:
        """Count ``size`` more bytes of its decoded body; False where there is no memory for it."""
        return self.channel is None or bool(self.channel.grow(size))

    def release_body(self) -> None:
        """Count its body no longer: it is in memory no more."""
        if self.channel is not None:
            self.channel.release()

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Trim the buffer of the body, so that reading all of it makes no copy."""
        # Trims the buffer to its size; a read() of all of it is then no copy.
        self.content.getvalue()
        super().requestReceived(command, path, version)

    def process(self) -> None:
        """Serve the request, or refuse a target that is no path.

        The stock method answers ``OPTIONS *`` with 200, and looks for a resource under a mangled
        path for ``CONNECT host:443`` or ``GET http://...``.
        """
        if self.path.startswith(b"/"):
            super().process()
            return
        self.setHeader(b"date", datetimeToString())
        if self.path == b"*" or self.method == b"CONNECT":
            self.setHeader("allow", METHODS)
            self._send_error(NO_METHOD, 405)
        else:
            self._send_error(NO_PATH)

    def getRequestHostname(self) -> bytes:
        """Return a fixed name.

        The stock method takes the Host header, on which nothing may depend.
        """
        return b"localhost"

    def processingFailed(self, reason: Failure) -> Failure:
        """Answer 500, or cut an answer that has begun.

        The stock method writes an HTML page, also after a part of an answer, and ends it as if
        whole.
        """
        self.log.failure("A resource failed", failure=reason)
        channel = getattr(self, "channel", None)
        if channel is None or self.finished:
            return reason
        if self.startedWriting:
            channel.abort()
            return reason
        if self.producer:
            self.unregisterProducer()
        self.responseHeaders = Headers()
        self.cookies.clear()
        self.setHeader(b"date", datetimeToString())
        if not channel.persistent:
            self.setHeader(b"connection", b"close")
        self._send_error(FAULT)
        return reason

    def _send_error(self, info: ErrorInfo, status: int | None = None) -> None:
        path = self.path.decode("latin-1")
        names = {
            name.decode("latin-1").lower() for name, _ in self.requestHeaders.getAllRawHeaders()
        }
        answer = error_answer(path, names, info, status)
        self.setResponseCode(answer.status)
        for name, value in answer.headers:
            self.setHeader(name, value)
        self.write(answer.body)
        self.finish()
