"""A backend's response: its head, and the way by which its body comes."""

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from lmbroker.backends.client.connection import Connection


class Received(Headers):
    """The headers of a response: the few that treq asks for are found without making Twisted's
    form of all of them. ``fields``: lower-case name -> first value; ``repeated``: all values of
    those that have several."""

    def __init__(self, fields: dict[str, str], repeated: dict[str, list[bytes]]) -> None:
        self.fields = fields
        self._repeated = repeated
        self._made: dict[bytes, list[bytes]] | None = None

    @property
    def _rawHeaders(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        made = self._made
        if made is None:
            headers = Headers()
            for name in self.fields:
                headers.setRawHeaders(name, self._values(name))
            made = self._made = headers._rawHeaders
        return made

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        if self._made is None and isinstance(name, bytes):
            key = name.decode("latin-1").lower()
            return self._values(key) if key in self.fields else default
        return super().getRawHeaders(name, default)

    def setRawHeaders(self, name: Any, values: Any) -> None:
        if self._made is None and isinstance(name, bytes):
            key = name.decode("latin-1").lower()
            self.fields[key] = values[0].decode("latin-1")
            self._repeated[key] = values
        else:
            super().setRawHeaders(name, values)

    def removeHeader(self, name: Any) -> None:
        if self._made is None and isinstance(name, bytes):
            self.fields.pop(name.decode("latin-1").lower(), None)
        else:
            super().removeHeader(name)

    def _values(self, key: str) -> list[bytes]:
        return self._repeated.get(key) or [self.fields[key].encode("latin-1")]


@implementer(IResponse, IPushProducer)
class Response:
    """Also the transport of whoever takes the body. What its head says stands here once it has
    come. ``connection`` is None before, and once the response has ended: the connection may carry
    another one by then."""

    phrase = b""
    """Nobody may go by it, so it is not kept."""
    request = None
    previousResponse = None

    version: tuple[bytes, int, int]
    code: int
    headers: Headers
    length: Any

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self._taken = False

    def deliverBody(self, protocol: Any) -> None:
        """Give the body to ``protocol``: each read in one piece, then how it ended."""
        if self._taken or self.connection is None:
            raise RuntimeError("the body of a response is given away once")
        self._taken = True
        protocol.makeConnection(self)
        self.connection.taken(self, protocol)

    def whole(self) -> bytes | None:
        """Take the body, where all of it is here already; None where it has to be delivered."""
        return None if self.connection is None or self._taken else self.connection.whole(self)

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
