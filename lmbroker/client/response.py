"""A backend's response: its head, and the way by which its body comes."""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from lmbroker.client.connection import Connection


@implementer(IResponse, IPushProducer)
class Response:
    """Also the transport of whoever takes the body. ``connection`` is None once the response has
    ended: the connection may carry another one by then."""

    phrase = b""
    """Nobody may go by it, so it is not kept."""
    request = None
    previousResponse = None

    def __init__(
        self,
        connection: "Connection",
        version: tuple[bytes, int, int],
        code: int,
        headers: Headers,
        length: Any,
    ) -> None:
        self.connection: Connection | None = connection
        self.version = version
        self.code = code
        self.headers = headers
        self.length = length
        self.taker: Any = None

    def deliverBody(self, protocol: Any) -> None:
        """Give the body to ``protocol``: each read in one piece, then how it ended."""
        if self.taker is not None or self.connection is None:
            raise RuntimeError("the body of a response is given away once")
        self.taker = protocol
        protocol.makeConnection(self)
        self.connection.taken(self)

    def setPreviousResponse(self, response: Any) -> None:
        self.previousResponse = response

    def pauseProducing(self) -> None:
        if self.connection is not None:
            self.connection.pause()

    def resumeProducing(self) -> None:
        if self.connection is not None:
            self.connection.resume()

    def stopProducing(self) -> None:
        """Close the connection now, unless the response has ended."""
        if self.connection is not None:
            self.connection.abort()

    loseConnection = stopProducing
