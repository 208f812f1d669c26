"""A backend's response: its head, and the way by which its body comes."""

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

    def __init__(self, fields: dict[str, list[str]]) -> None:
        self.fields = fields
        self._made: dict[bytes, list[bytes]] | None = None

    @property
    def _rawHeaders(self) -> dict[bytes, list[bytes]]:  # type: ignore[override]
        made = self._made
        if made is None:
            headers = Headers()
            for name, values in self.fields.items():
                headers.setRawHeaders(name, [value.encode("latin-1") for value in values])
            made = self._made = headers._rawHeaders
        return made

    def getRawHeaders(self, name: Any, default: Any = None) -> Any:
        if self._others(name):
            return super().getRawHeaders(name, default)
        values = self.fields.get(_key(name))
        return default if values is None else [value.encode("latin-1") for value in values]

    def setRawHeaders(self, name: Any, values: Any) -> None:
        if self._others(name):
            super().setRawHeaders(name, values)
        else:
            self.fields[_key(name)] = [value.decode("latin-1") for value in values]

    def removeHeader(self, name: Any) -> None:
        if self._others(name):
            super().removeHeader(name)
        else:
            self.fields.pop(_key(name), None)

    def _others(self, name: Any) -> bool:
        """Twisted's form is asked for, or was made already."""
        return self._made is not None or not isinstance(name, bytes)


def _key(name: bytes) -> str:
    return name.decode("latin-1").lower()


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
