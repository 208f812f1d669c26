"""A backend's response: its head, and the way by which its body comes."""

from functools import cached_property
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from lmbroker.client.connection import Connection


class Received(Headers):
    """The headers of a response: the few that treq asks for are found without making Twisted's
    form of all of them. ``fields``: lower-case name -> values."""

    def __init__(self, fields: dict[bytes, list[bytes]]) -> None:
        self.fields = fields

    @cached_property
    def _rawHeaders(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        made = Headers()
        for name, values in self.fields.items():
            made.setRawHeaders(name, values)
        raw: dict[bytes, list[bytes]] = made._rawHeaders
        return raw

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        if self._others(name):
            return super().getRawHeaders(name, default)
        return self.fields.get(name.lower(), default)

    def setRawHeaders(self, name: Any, values: Any) -> None:
        if self._others(name):
            super().setRawHeaders(name, values)
        else:
            self.fields[name.lower()] = list(values)

    def removeHeader(self, name: Any) -> None:
        if self._others(name):
            super().removeHeader(name)
        else:
            self.fields.pop(name.lower(), None)

    def _others(self, name: Any) -> bool:
        """Twisted's form is asked for, or was made already."""
        return "_rawHeaders" in vars(self) or not isinstance(name, bytes)


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
        self._taken = False

    def deliverBody(self, protocol: Any) -> None:
        """Give the body to ``protocol``: each read in one piece, then how it ended."""
        if self._taken or self.connection is None:
            raise RuntimeError("the body of a response is given away once")
        self._taken = True
        protocol.makeConnection(self)
        self.connection.taken(self, protocol)

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
