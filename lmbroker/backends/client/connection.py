"""One connection to a backend: one request at a time, its response parsed by llhttp.

llhttp is strict by default: it refuses folded headers, bare line ends and control characters,
lengths that contradict each other or the transfer coding, and malformed chunk sizes. What it
accepts although we do not is refused here: other protocols and versions, ``101``, transfer codings
besides ``chunked``, a head without end.
"""

import re
from typing import TYPE_CHECKING, Any

from httptools import HttpResponseParser
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from lmbroker.backends import connections
from lmbroker.backends.client.failures import StaleConnection
from lmbroker.backends.client.response import Received, Response
from lmbroker.backends.client.wire import Wire
from lmbroker.backends.connections import HEADER_LIMIT, TooLong, unsent
from lmbroker.backends.pieces import Pieces

if TYPE_CHECKING:
    from lmbroker.backends.client.pool import Key, Pool

HEADERS = 500
"""The maximum of headers of a response."""

_DONE = Failure(ResponseDone())
_CLOSE_DELIMITED = Failure(PotentialDataLoss())
_NO_BODY = (204, 304)

_came: list[bytes] = []
"""The pieces of a body that a parser finds in one read, until ``dataReceived`` takes them. All
connections share this list: it is empty again before other code runs."""


_EMPTY_LINE = b"\r\n\r\n\r\n"
"""The end of a read in which an empty line follows a response: no chunked response ends so."""

_CHUNK = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,6})\r\n")


def _only_chunk(data: bytes) -> bytes:
    """The content of a chunk where ``data`` is exactly one chunk in the plainest form, as servers
    write each event of a stream; b"" for everything else."""
    size = _CHUNK.match(data)
    if size is None or size.end() + int(size[1], 16) + 2 != len(data) or data[-2:] != b"\r\n":
        return b""
    return data[size.end() : -2]


class Connection(Protocol):
    """A connection that is idle, or carries one request.

    Until the head of the response has come, ``_waiter`` waits for it and ``_coming`` is the object
    that it will fill; after that ``_response`` is the response. ``transport`` is None once the
    connection is closed or being closed. ``idle_since`` and ``sent_at`` are times of the reactor's
    clock; ``gone`` fires at the end of the connection, where the pool waits for that.
    """

    # Few and small objects for each event, as in ``relay.Relay``.
    __slots__ = (
        "_aligned",
        "_bare",
        "_body",
        "_chunked",
        "_coming",
        "_end",
        "_fields",
        "_keep",
        "_looked_at",
        "_parser",
        "_paused",
        "_pool",
        "_receiver",
        "_request",
        "_response",
        "_rest",
        "_sending",
        "_waiter",
        "_wire",
        "gone",
        "idle_since",
        "key",
        "sent_at",
        "transport",
    )

    transport: Any

    def __init__(self, pool: "Pool", key: "Key") -> None:
        self.key = key
        self.idle_since = self.sent_at = 0.0
        self.gone: Deferred[None] | None = None
        self.transport = None
        self._wire: Wire | None = None
        """Set once the connection has carried an answer."""
        self._request: bytes | None = None
        """What is sent at the end of the turn, before ``_rest``."""
        self._rest = b""
        self._sending: Pieces | None = None
        self._pool = pool
        self._waiter: Deferred[Response] | None = None
        self._response: Response | None = None
        self._receiver: Any = None
        """The protocol that receives the body of ``_response``."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._body = b""
        """The bytes of the body that came and were not given away yet."""
        self._chunked = False
        self._aligned = False
        """Whether llhttp is at the beginning of a chunk."""
        self._parser: Any = HttpResponseParser(self)

    @property
    def answered(self) -> bool:
        """Whether the connection has carried a whole answer."""
        return self._wire is not None

    def connectionMade(self) -> None:
        """Prepare a new connection; with TLS, offer a session."""
        if isinstance(self.transport, TCPConnection):
            # The transport calls this protocol directly, without Twisted's wrapper in between.
            self.transport.protocol = self
        self._looked_at = self._pool.sessions.offer(self.key, self.transport)

    def send(
        self, request: bytes, keep: bool, response: Response, rest: bytes = b""
    ) -> "Deferred[Any]":
        """Send a request; fires with ``response`` when its head has come.

        ``rest`` is a large body, which is sent after ``request`` in pieces. ``keep``: another
        request may use the connection later. Fails with ResponseNeverReceived where no byte of a
        response came, with ResponseFailed where the response is cut or malformed.
        """
        self._coming: Response | None = response
        self._keep = keep
        self._bare = 0
        self._paused = False
        self._end: Failure | None = None
        self._waiter = Deferred(self._unwanted)
        waiter = self._waiter
        if self._wire is None:
            self.transport.write(request)
            if rest:
                self._sending = Pieces(rest, self.transport)
        else:
            self._request = request
            self._rest = rest
            self._pool.post(self)
        return waiter

    def deliver(self, *, reading: bool) -> None:
        """Send the request that waits, unless bytes have come since the last answer.

        Those bytes cannot answer this request, so the connection is given up. ``reading``: this is
        called within a read, maybe of this connection, and not at the end of a turn.
        """
        request, wire = self._request, self._wire
        if request is None or wire is None:
            return
        said = wire.look(reading=reading)
        if said is None:
            self._request = None
            self.sent_at = self._pool.seconds()
            wire.write(request)
            if self._rest:
                rest, self._rest = self._rest, b""
                self._sending = Pieces(rest, self.transport)
            return
        if said:
            self._pool.stray(self, "unasked", said)
        self._unsent()

    def _unsent(self) -> None:
        """Abort the connection, and fail the request that was not sent over it."""
        self.abort()
        self._request, self._rest = None, b""
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.errback(Failure(StaleConnection()))

    def _unwanted(self, _: Any) -> None:
        self._waiter = self._request = None
        self._rest = b""
        self.abort()

    def abort(self) -> None:
        """Abort the connection, whatever is in flight."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abortConnection()

    # Called by the transport.

    def dataReceived(self, data: bytes) -> None:
        """Parse what came, and give away the pieces of a body."""
        waiter = self._waiter
        if self._request is not None or (
            waiter is None and (self._response is None or self._end is not None)
        ):
            # Nothing was asked for.
            if self.transport is not None:
                self._pool.stray(self, "unasked" if self._response is None else "surplus", data)
            if self._request is not None:
                self._unsent()
            return
        chunk = _only_chunk(data) if self._chunked else b""
        if chunk and self._aligned and self._response is not None:
            # llhttp would find the same content, and be in the same state as now.
            self._body += chunk
            self._hand_over(self._response)
            return
        self._aligned = False
        try:
            if waiter is not None and not self._bare and not data.startswith(b"H"):
                raise ValueError("not HTTP")
            self._bare += len(data)
            self._parser.feed_data(data)
            if _came:
                self._bare = 0
            elif self._bare > HEADER_LIMIT:
                raise TooLong
        except Exception as error:
            if self._end is _DONE:
                self._pool.stray(self, "surplus", b"")
            else:
                # llhttp wraps what we raise within it.
                cause = error.__context__ if isinstance(error.__context__, TooLong) else error
                self._end = Failure(ResponseFailed([Failure(cause)]))
                self.abort()
        body = b""
        if _came:
            body = b"".join(_came)
            _came.clear()
            self._body += body
            # Within a chunk the content would have begun with the very first byte.
            self._aligned = body == chunk and chunk[0] != data[0]
        if self._end is _DONE and self.transport is not None and self._line_behind(data, body):
            # llhttp skips an empty line: the next response may begin after it.
            self._pool.stray(self, "surplus", b"")
        response = self._response
        if waiter is not None:
            if response is not None:
                self._waiter = None
                waiter.callback(response)
            elif self._end is not None:
                self._waiter = None
                waiter.errback(self._end)
        if response is not None and response is self._response:
            # The response has not ended while the waiter was called.
            self._hand_over(response)

    def _line_behind(self, data: bytes, body: bytes) -> bool:
        """Whether an empty line follows a whole response.

        ``data`` is the last read of the response, ``body`` the piece of its body in that.
        """
        if body and not self._chunked:
            return not data.endswith(body)
        return data.endswith(_EMPTY_LINE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the request or the response of a connection that is closed."""
        waiter, self._waiter = self._waiter, None
        without_answer = None if waiter is None else self._without_answer(reason)
        self.transport = self._parser = self._wire = self._request = self._sending = None
        self._rest = b""
        if waiter is not None:
            waiter.errback(Failure(without_answer))
        elif self._response is None:
            self._pool.forget(self)
        else:
            if self._end is None:
                delimited = self._response.length is UNKNOWN_LENGTH and not self._chunked
                self._end = _CLOSE_DELIMITED if delimited else Failure(ResponseFailed([reason]))
            self._hand_over(self._response)
        if self.gone is not None:
            self.gone.callback(None)

    def _without_answer(self, reason: Failure) -> Exception:
        """The error for a connection that closed before the head of a response had come."""
        if self._bare:
            return ResponseFailed([reason])
        unsent = self._request is not None
        quick = self._pool.seconds() - self.sent_at <= connections.STALE_SECONDS
        if unsent or (self._wire is not None and quick):
            return StaleConnection()
        return ResponseNeverReceived([reason])

    # Called by llhttp's parser.

    def on_message_begin(self) -> None:
        """Refuse a second response."""
        if self._response is not None:
            raise ValueError("more than one response")

    def on_status(self, reason: bytes) -> None:
        """Refuse a reason phrase with NUL."""
        if b"\0" in reason:
            raise ValueError("a reason with NUL")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a header; a trailer is ignored."""
        if self._response is not None:
            # A trailer.
            return
        if len(self._fields) == HEADERS:
            raise TooLong
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Fill the response from its head; ignore an interim response."""
        code = self._parser.get_status_code()
        fields, self._fields = self._fields, []
        if 102 <= code < 200 or code == 100:
            return
        version = self._parser.get_http_version()
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
        self._chunked = coding is not None
        given = headers.get("content-length")
        length: Any = int(given) if given is not None else UNKNOWN_LENGTH
        if code in _NO_BODY:
            length = 0
        # No client gets a cookie of a backend, and treq would look for them.
        headers.pop("set-cookie", None)
        self._keep = self._keep and self._parser.should_keep_alive()
        response: Any = self._coming
        response.connection = self
        response.version = (b"HTTP", 1, int(version[2]))
        response.code = code
        response.fields = headers
        response.headers = Received(headers, repeated)
        response.length = length
        self._response, self._coming = response, None

    on_body = _came.append

    def on_message_complete(self) -> None:
        """Note that the response is whole."""
        if self._response is not None:
            self._end = _DONE

    # Called by the response.

    def deliver_body(self, response: Response, receiver: Any) -> None:
        """Give the body of the response to ``receiver`` from now on."""
        self._receiver = receiver
        if self._paused:
            self.resume()
        self._hand_over(response)

    def whole(self, response: Response) -> bytes | None:
        """End a response whose body has all come, and return the body; None where it has not."""
        if self._end is not _DONE:
            return None
        if self._paused:
            self.resume()
        body, self._body = self._body, b""
        self._finish(response)
        return body

    def pause(self) -> None:
        """Stop reading."""
        self._paused = True
        if self.transport is not None:
            self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        self._paused = False
        if self.transport is not None:
            self.transport.resumeProducing()

    def _hand_over(self, response: Response) -> None:
        """Give the receiver of the body what has come of it, and its end."""
        receiver = self._receiver
        if receiver is None:
            if self._end is None:
                self.pause()
            return
        data = self._body
        if data:
            self._body = b""
            try:
                receiver.dataReceived(data)
            except Exception:
                # Twisted's decoder of compressed bodies raises for one that is malformed.
                self._end = Failure(ResponseFailed([Failure()]))
                self.abort()
        end = self._end
        if end is not None:
            # When the receiver learns of the end, it may send another request over this connection.
            self._finish(response)
            receiver.connectionLost(end)

    def _still_sending(self) -> bool:
        sending, self._sending = self._sending, None
        return sending is not None and not sending.done.called

    def _finish(self, response: Response) -> None:
        # No cycle is left, so the memory is freed at once, while it is in the processor's cache.
        self._receiver = self._response = self._end = response.connection = None
        self._chunked = self._aligned = False
        transport = self.transport
        if transport is not None:
            if self._wire is None:
                self._pool.sessions.keep(self.key, transport, self._looked_at)
            if not self._keep:
                self._pool.close(self)
            elif unsent(transport) or self._still_sending():
                # The backend answered before it had the whole request, and may never read the rest.
                self.abort()
            else:
                if self._paused:
                    # The receiver of the body cannot resume it any more.
                    self.resume()
                if self._wire is None:
                    self._wire = Wire(transport)
                self._pool.keep(self)
