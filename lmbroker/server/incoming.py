"""A client's request as the routes see it, whichever class of ``twisted.web`` it has.

``Incoming`` is the interface. The requests of our own site's lean engine offer it themselves
(``http.lean_request``), at no cost; ``TwistedRequest`` offers it for any request of
``twisted.web``, so that the routes can be embedded in any site.
"""

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import IO, Any, Protocol

from twisted.internet.interfaces import IConsumer
from twisted.web.http import Request as HTTPRequest

from lmbroker.headers import Pairs, ReceivedHeaders, first_values
from lmbroker.server.http.request import Request
from lmbroker.server.http.transport import host_of


class Incoming(Protocol):
    """A client's request, of which the answer is written to ``consumer``."""

    route_path: str
    """The path by which it is routed: below the resource, with common mistakes of base URLs
    corrected."""
    cors: Pairs
    """The headers that let a web page read the answer."""
    uri: bytes
    """The target of the request, with its query."""

    @property
    def consumer(self) -> IConsumer:
        """What the bytes of the answer are written to, after ``set_head``."""
        ...

    @property
    def started(self) -> bool:
        """Whether bytes of the answer were written."""
        ...

    @property
    def client_host(self) -> str:
        """The client's IP address; "" where it has none."""
        ...

    def received_headers(self) -> ReceivedHeaders:
        """Return the headers of the request."""
        ...

    def take_body(self) -> bytes:
        """Return the body, for its only reader: the request does not hold it any longer."""
        ...

    def grow_body(self, size: int) -> bool:
        """Count ``size`` more bytes of the body, which was decoded.

        False where all bodies together would take more memory than they may.
        """
        ...

    def release_body(self) -> None:
        """Count the body no longer: it is in memory no more."""
        ...

    def when_left(self, left: Callable[[], None]) -> None:
        """Call ``left`` where the client leaves before its answer has ended."""
        ...

    def set_head(self, status: int, reason: bytes, headers: Sequence[tuple[str, str]]) -> None:
        """Set status and headers of the answer, at most once; the first write sends them."""
        ...

    def abort(self) -> None:
        """Cut the connection, so that an answer which is not whole does not look whole."""
        ...


class TwistedRequest:
    """An ``Incoming`` over any request of ``twisted.web``."""

    route_path = ""
    cors: Pairs = ()

    def __init__(self, request: HTTPRequest) -> None:
        self._request = request
        self.uri: bytes = request.uri

    @property
    def consumer(self) -> IConsumer:
        """The request of ``twisted.web``."""
        consumer: IConsumer = self._request
        return consumer

    @property
    def started(self) -> bool:
        """Whether bytes of the answer were written."""
        return bool(self._request.startedWriting)

    @property
    def client_host(self) -> str:
        """The client's IP address; "" where it has none."""
        return host_of(self._request.getClientAddress())

    def received_headers(self) -> ReceivedHeaders:
        """Return the headers of the request."""
        return first_values(self._request.requestHeaders.getAllRawHeaders())

    def take_body(self) -> bytes:
        """Return the body, for its only reader."""
        request = self._request
        content: IO[bytes] | None = request.content
        assert content is not None, "a request that is served has come whole"
        body = content.read()
        content.close()
        request.content = BytesIO()
        return body

    def grow_body(self, size: int) -> bool:
        """Return True: only our own site counts bodies."""
        return True

    def release_body(self) -> None:
        """Do nothing: only our own site counts bodies."""

    def when_left(self, left: Callable[[], None]) -> None:
        """Call ``left`` where the client leaves before its answer has ended."""
        self._request.notifyFinish().addErrback(lambda _: left())

    def set_head(self, status: int, reason: bytes, headers: Sequence[tuple[str, str]]) -> None:
        """Set status and headers of the answer."""
        request = self._request
        request.setResponseCode(status, reason)
        for name, value in headers:
            request.setHeader(name, value)

    def abort(self) -> None:
        """Cut the connection."""
        transport: Any = self._request.transport
        transport.abortConnection()


class StockRequest(TwistedRequest):
    """An ``Incoming`` over a request of our own site's stock engine, which counts bodies."""

    _request: Request

    def grow_body(self, size: int) -> bool:
        """Count ``size`` more bytes of the body; False where there is no memory for them."""
        grown: bool = self._request.grow_body(size)
        return grown

    def release_body(self) -> None:
        """Count the body no longer."""
        self._request.release_body()
