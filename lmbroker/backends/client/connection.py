"""One connection to a backend, which carries one request at a time."""

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.tcp import Connection as TCPConnection
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone, ResponseFailed, ResponseNeverReceived
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH

from lmbroker.backends import connections
from lmbroker.backends.client.failures import StaleConnection
from lmbroker.backends.client.response import Response
from lmbroker.backends.client.response_parser import ResponseParser
from lmbroker.backends.client.wire import Wire
from lmbroker.backends.connections import unsent
from lmbroker.backends.pieces import PIECE, Pieces

if TYPE_CHECKING:
    from lmbroker.backends.client.pool import Key, Pool

_DONE = Failure(ResponseDone())
_CLOSE_DELIMITED = Failure(PotentialDataLoss())


class Connection(Protocol):
    """A connection that is idle, or carries one request.

    Until the head of the response has come, ``_waiter`` waits for it; after that ``_response`` is
    the response. ``transport`` is None once the
    connection is closed or being closed. ``idle_since`` and ``sent_at`` are times of the reactor's
    clock; ``gone`` fires at the end of the connection, where the pool waits for that.
    """

    # Few and small objects for each event, as in ``relay.Relay``.
    __slots__ = (
        "_body",
        "_end",
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
        self._body = b""
        """The bytes of the body that came and were not given away yet."""
        self._parser = ResponseParser()

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

        ``rest`` is a large body, which is sent after ``request``. ``keep``: another
        request may use the connection later. Fails with ResponseNeverReceived where no byte of a
        response came, with ResponseFailed where the response is cut or malformed.
        """
        self._parser.expect(response)
        self._keep = keep
        self._paused = False
        self._end: Failure | None = None
        self._waiter = Deferred(self._unwanted)
        waiter = self._waiter
        if self._wire is None:
            self.sent_at = self._pool.seconds()
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
            rest, self._rest = self._rest, b""
            if len(rest) <= PIECE:
                wire.write(request, rest)
            else:
                wire.write(request)
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
        parser = self._parser
        body = parser.feed(data)
        if body:
            self._body += body
        if parser.whole:
            self._end = _DONE
            if self.transport is not None and (
                parser.error is not None or parser.line_behind(data, body)
            ):
                # The next response may begin after what came too much.
                self._pool.stray(self, "surplus", b"")
        elif parser.error is not None:
            self._end = Failure(ResponseFailed([Failure(parser.error)]))
            self.abort()
        if waiter is not None and parser.response is not None:
            self._response = parser.response
            self._response.connection = self
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

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the request or the response of a connection that is closed."""
        waiter, self._waiter = self._waiter, None
        without_answer = None if waiter is None else self._without_answer(reason)
        self.transport = self._wire = self._request = self._sending = None
        self._parser.close()
        self._rest = b""
        if waiter is not None:
            waiter.errback(Failure(without_answer))
        elif self._response is None:
            self._pool.forget(self)
        else:
            if self._end is None:
                chunked = self._parser.chunked
                delimited = self._response.length is UNKNOWN_LENGTH and not chunked
                self._end = _CLOSE_DELIMITED if delimited else Failure(ResponseFailed([reason]))
            self._hand_over(self._response)
        if self.gone is not None:
            self.gone.callback(None)

    def _without_answer(self, reason: Failure) -> Exception:
        """Return the error for a connection that closed before the head of a response had come."""
        if self._parser.bare:
            return ResponseFailed([reason])
        unsent = self._request is not None
        quick = self._pool.seconds() - self.sent_at <= connections.STALE_SECONDS
        if unsent or (self._wire is not None and quick):
            return StaleConnection()
        return ResponseNeverReceived([reason])

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
        transport = self.transport
        if transport is not None:
            if self._wire is None:
                self._pool.sessions.keep(self.key, transport, self._looked_at)
            if not (self._keep and self._parser.keeps):
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
