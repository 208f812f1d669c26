"""A backend's response: its head, and how its body is received.

``BackendResponse`` is what ``backends.sending`` needs of one. The responses of our own client offer
it themselves, at no cost; ``TwistedResponse`` offers it for any other ``IResponse``, as treq's is
that decompresses a body.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.interfaces import IProtocol, IPushProducer
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse
from zope.interface import implementer

if TYPE_CHECKING:
    from lmbroker.backends.client.connection import Connection


class BackendResponse(Protocol):
    """A response whose head has come."""

    code: int
    """The HTTP status."""

    @property
    def fields(self) -> Mapping[str, str]:
        """The first value of each header, by its name in lower case."""
        ...

    def whole(self) -> bytes | None:
        """Take the body where all of it has come; None where it has to be delivered."""
        ...

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give the body to ``protocol`` in pieces as they come, then how it ended."""
        ...


class TwistedResponse:
    """A ``BackendResponse`` over any ``IResponse``."""

    def __init__(self, response: IResponse) -> None:
        self._response: Any = response
        self.code: int = response.code

    @property
    def fields(self) -> Mapping[str, str]:
        """The first value of each header, by its name in lower case."""
        return {
            name.decode("ascii").lower(): values[0].decode("latin-1")
            for name, values in self._response.headers.getAllRawHeaders()
        }

    def whole(self) -> bytes | None:
        """Return None: the body has to be delivered."""
        return None

    def deliverBody(self, protocol: IProtocol) -> None:
        """Give the body to ``protocol``."""
        self._response.deliverBody(protocol)


class Received(Headers):
    """The headers of a response, which become Twisted's ``Headers`` only for those who ask.

    The few that treq asks for are found without that. ``fields``: lower-case name -> first value;
    ``repeated``: all values of those that have several.
    """

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
        """Return all values of the header ``name``, or ``default``."""
        if self._made is None and isinstance(name, bytes):
            key = name.decode("latin-1").lower()
            return self._values(key) if key in self.fields else default
        return super().getRawHeaders(name, default)

    def setRawHeaders(self, name: Any, values: Any) -> None:
        """Replace the values of the header ``name``."""
        if self._made is None and isinstance(name, bytes):
            key = name.decode("latin-1").lower()
            self.fields[key] = values[0].decode("latin-1")
            self._repeated[key] = values
        else:
            super().setRawHeaders(name, values)

    def removeHeader(self, name: Any) -> None:
        """Remove the header ``name``."""
        if self._made is None and isinstance(name, bytes):
            self.fields.pop(name.decode("latin-1").lower(), None)
        else:
            super().removeHeader(name)

    def _values(self, key: str) -> list[bytes]:
        return self._repeated.get(key) or [self.fields[key].encode("latin-1")]


@implementer(IResponse, IPushProducer)
class Response:
    """A response of our own client, and the transport of the protocol that receives its body.

    Its attributes are set when its head has come. ``connection`` is None before that, and again
    once the response has ended: the connection may carry another one by then.
    """

    phrase = b""
    """The reason phrase, which nobody may go by, so it is not kept."""
    request = None
    previousResponse = None

    version: tuple[bytes, int, int]
    code: int
    fields: Mapping[str, str]
    """The first value of each header, by its name in lower case."""
    headers: Headers
    length: Any
    """The length of the body in bytes, or ``UNKNOWN_LENGTH``."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self._body_taken = False

    def deliverBody(self, protocol: Any) -> None:
        """Give the body to ``protocol``: each read in one piece, then how it ended.

        Raises RuntimeError for a body that was given away already.
        """
        if self._body_taken or self.connection is None:
            raise RuntimeError("the body of a response is given away once")
        self._body_taken = True
        protocol.makeConnection(self)
        self.connection.deliver_body(self, protocol)

    def whole(self) -> bytes | None:
        """Take the body where all of it has come; None where it has to be delivered."""
        return None if self.connection is None or self._body_taken else self.connection.whole(self)

    def setPreviousResponse(self, response: Any) -> None:
        """Note the response that led here (``IResponse``)."""
        self.previousResponse = response

    def pauseProducing(self) -> None:
        """Stop reading from the connection."""
        if self.connection is not None:
            self.connection.pause()

    def resumeProducing(self) -> None:
        """Read from the connection again."""
        if self.connection is not None:
            self.connection.resume()

    def stopProducing(self) -> None:
        """Close the connection now, unless the response has ended."""
        if self.connection is not None:
            self.connection.abort()

    loseConnection = stopProducing
