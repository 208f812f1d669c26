"""One connection to a backend: a request at a time, parsed by llhttp.

llhttp is strict by default: it refuses folded, bare and control characters, lengths that
contradict each other or the coding, and chunk sizes that are none. What it lets pass and we do
not is refused here: other protocols and versions, ``101``, codings beside ``chunked``, a head
without end.
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
"""Most headers of a response."""

_DONE = Failure(ResponseDone())
_CLOSE_DELIMITED = Failure(PotentialDataLoss())
_NO_BODY = (204, 304)

_came: list[bytes] = []
"""What a parser finds of a body in one read, until ``dataReceived`` has it: one list for all, and
empty again before anybody else may run."""


_EMPTY_LINE = b"\r\n\r\n\r\n"
"""How a read ends where an empty line follows a response: no chunked one ends so."""

_CHUNK = re.compile(rb"([1-9A-Fa-f][0-9A-Fa-f]{0,6})\r\n")


def _only_chunk(data: bytes) -> bytes:
    """What the chunk holds that ``data`` is, where it is one and nothing else, and was written as
    nobody could misread it: as servers write each event of a stream."""
    size = _CHUNK.match(data)
    if size is None or size.end() + int(size[1], 16) + 2 != len(data) or data[-2:] != b"\r\n":
        return b""
    return data[size.end() : -2]


class Connection(Protocol):
    """Idle, or with one request on it: until its head is here ``_waiter`` waits for the response,
    which ``_coming`` is to be, then ``_response`` is it.

    ``transport`` is None from the moment on from which the connection is closed or being closed.
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
        "_request",
        "_response",
        "_rest",
        "_sending",
        "_taker",
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
        """There once it has carried an answer."""
        self._request: bytes | None = None
        """What is to be sent at the end of the turn, and ``_rest`` behind it."""
        self._rest = b""
        self._sending: Pieces | None = None
        self._pool = pool
        self._waiter: Deferred[Response] | None = None
        self._response: Response | None = None
        self._taker: Any = None
        """Of the body of ``_response``."""
        self._fields: list[tuple[bytes, bytes]] = []
        self._body = b""
        """What came of it and is nobody's yet."""
        self._chunked = False
        self._aligned = False
        """llhttp waits for the next chunk of the body."""
        self._parser: Any = HttpResponseParser(self)

    @property
    def answered(self) -> bool:
        """Whether it has carried a whole answer."""
        return self._wire is not None

    def connectionMade(self) -> None:
        if isinstance(self.transport, TCPConnection):
            # Straight here, past what waited for the connection to be made.
            self.transport.protocol = self
        self._looked_at = self._pool.sessions.offer(self.key, self.transport)

    def send(
        self, request: bytes, keep: bool, response: Response, rest: bytes = b""
    ) -> "Deferred[Any]":
        """Send a request; fires with ``response`` when its head is here.

        ``rest`` is the body that goes behind it in pieces, where it is a large one. ``keep``: the
        connection may be used again. Fails with ResponseNeverReceived where nothing of a response
        came, ResponseFailed where it is none.
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
        """Send the request that waits; ``reading``: within a read, maybe of this connection, and
        not at the end of a turn. Whatever has come since the last answer is not the answer
        to it: the reactor has read what came before its last turn, and who knows how long ago that
        was."""
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
        """The connection is of no use, and the request that waits for it has not been sent."""
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
        """Close the connection now, whatever is in flight."""
        transport, self.transport = self.transport, None
        if transport is not None:
            transport.abortConnection()

    # The wire's side.

    def dataReceived(self, data: bytes) -> None:
        waiter = self._waiter
        if self._request is not None or (
            waiter is None and (self._response is None or self._end is not None)
        ):
            # An answer to nothing.
            if self.transport is not None:
                self._pool.stray(self, "unasked" if self._response is None else "surplus", data)
            if self._request is not None:
                self._unsent()
            return
        chunk = _only_chunk(data) if self._chunked else b""
        if chunk and self._aligned and self._response is not None:
            # llhttp would find the same, and be where it is now.
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
            # Within a chunk it would have begun with the very first byte.
            self._aligned = body == chunk and chunk[0] != data[0]
        if self._end is _DONE and self.transport is not None and self._line_behind(data, body):
            # llhttp passes over it: the next response may begin behind it.
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
            # It has not ended while its taker was found.
            self._hand_over(response)

    def _line_behind(self, data: bytes, body: bytes) -> bool:
        """Whether the last read of a whole response, of whose body it had ``body``, has an empty
        line behind it."""
        if body and not self._chunked:
            return not data.endswith(body)
        return data.endswith(_EMPTY_LINE)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
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
        """What it means that the connection is gone before a response came."""
        if self._bare:
            return ResponseFailed([reason])
        unsent = self._request is not None
        quick = self._pool.seconds() - self.sent_at <= connections.STALE_SECONDS
        if unsent or (self._wire is not None and quick):
            return StaleConnection()
        return ResponseNeverReceived([reason])

    # What llhttp found.

    def on_message_begin(self) -> None:
        if self._response is not None:
            raise ValueError("more than one response")

    def on_status(self, reason: bytes) -> None:
        if b"\0" in reason:
            raise ValueError("a reason with NUL")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._response is not None:
            # A trailer, which nobody asked for.
            return
        if len(self._fields) == HEADERS:
            raise TooLong
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
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
        # Cookies are nobody's: treq would look for them.
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
        if self._response is not None:
            self._end = _DONE

    # The taker's side.

    def taken(self, response: Response, taker: Any) -> None:
        """The response has a taker for its body now."""
        self._taker = taker
        if self._paused:
            self.resume()
        self._hand_over(response)

    def whole(self, response: Response) -> bytes | None:
        """The body of the response, which ends with this, where all of it has come."""
        if self._end is not _DONE:
            return None
        if self._paused:
            self.resume()
        body, self._body = self._body, b""
        self._finish(response)
        return body

    def pause(self) -> None:
        self._paused = True
        if self.transport is not None:
            self.transport.pauseProducing()

    def resume(self) -> None:
        self._paused = False
        if self.transport is not None:
            self.transport.resumeProducing()

    def _hand_over(self, response: Response) -> None:
        """Give the taker of the body what has come of it."""
        taker = self._taker
        if taker is None:
            if self._end is None:
                self.pause()
            return
        data = self._body
        if data:
            self._body = b""
            try:
                taker.dataReceived(data)
            except Exception:
                # Twisted's decoder of compressed bodies says so that one is none.
                self._end = Failure(ResponseFailed([Failure()]))
                self.abort()
        end = self._end
        if end is not None:
            # Once the end is told, this connection may carry another request already.
            self._finish(response)
            taker.connectionLost(end)

    def _still_sending(self) -> bool:
        sending, self._sending = self._sending, None
        return sending is not None and not sending.done.called

    def _finish(self, response: Response) -> None:
        # No cycle stays behind: what is freed at once is memory that is still in the processor's
        # cache.
        self._taker = self._response = self._end = response.connection = None
        self._chunked = self._aligned = False
        transport = self.transport
        if transport is not None:
            if self._wire is None:
                self._pool.sessions.keep(self.key, transport, self._looked_at)
            if not self._keep:
                self._pool.close(self)
            elif unsent(transport) or self._still_sending():
                # It answered before it had our request, and may never read the rest.
                self.abort()
            else:
                if self._paused:
                    # Its taker has no power over it any more.
                    self.resume()
                if self._wire is None:
                    self._wire = Wire(transport)
                self._pool.keep(self)
