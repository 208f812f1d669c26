"""Makes the connections to backends: TCP, TLS and proxies, with their limits.

See reliability.md A2, A5 and A9. The HTTP client that uses the connections is in ``client/``.
"""

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import treq.cookies
from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.tcp import Connection as TCPConnection
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from lmbroker.backends.interfaces import IReactor
from lmbroker.backends.peer import watch_peer
from lmbroker.backends.proxy_tunnel import Tunnel
from lmbroker.backends.resolver import NamedEndpoint, Names
from lmbroker.call import Backend
from lmbroker.tls.connection import SecureConnection
from lmbroker.tls.contexts import identity

HEADER_LIMIT = 256 * 1024
"""The maximum of bytes before a backend's response headers are whole, including what is read with
them."""

IDLE_CONNECTIONS = 64
"""The maximum of idle connections of one backend; it does not bound the calls."""

IDLE_SECONDS = 90.0
"""How long a connection is kept for its next request, as in Go's client. Many servers close it
earlier (most inference servers after 5 s); that is noticed, and a request that crosses the close is
sent again."""

STALE_SECONDS = 1.0
"""A kept-alive connection that dies so soon after a request was sent, without a byte of an answer,
was closed by the backend meanwhile, and the request may be sent again. Later than that the backend
may have worked on the request, which costs money."""

DISTRUST_SECONDS = 600.0
"""How long no connection is used twice to a backend that sent bytes that answer no request. No look
into a connection shows what is still on its way: without this, 21 of 4,000 answers of such a
backend still reached the wrong client."""

REST_SECONDS = 0.005
"""How long a connection rests before it is used again, to a backend that is not proven yet. What is
still on its way cannot be seen; without the rest, a backend that sends bytes behind each answer
could reach one call with them before it is distrusted."""

PROOFS = 20
"""How many connections of a backend are used again after a rest, without bytes that answer no
request, until its connections need no rest."""

CLOSE_SECONDS = 1.0
"""The time after which an orderly close becomes an abort. It would wait for ever for a backend that
does not read, and over TLS for one that does not close its side."""

UNHEARD_SECONDS = 120
"""The seconds without an acknowledgement after which a backend is taken for gone."""


CONTEXTS = 256
"""The maximum of TLS contexts that are kept. There is one for each pair of trusted authorities and
client certificate, and a reload may change both."""

Dropped = Callable[[str, str], None]
"""Called with the backend's name and a reason when a connection is given up that the backend left
open. The reasons: ``unasked``, bytes came while it was idle; ``surplus``, bytes came after a whole
answer."""


class TooLong(Exception):
    """The head of a response, or other bytes outside of its body, exceed their limit."""


@implementer(IBodyProducer)
class Body:
    """The body of a request, which is in memory already: ``length`` bytes of ``content``."""

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self.content = content

    def startProducing(self, consumer: Any) -> "defer.Deferred[None]":
        """Write the body to ``consumer`` at once."""
        consumer.write(self.content)
        self.content = b""
        return defer.succeed(None)

    def pauseProducing(self) -> None:
        """Do nothing: the body was written at once."""

    def resumeProducing(self) -> None:
        """Do nothing: the body was written at once."""

    def stopProducing(self) -> None:
        """Do nothing: the body was written at once."""


def unsent(transport: Any) -> bool:
    """Return whether bytes that were written to ``transport`` have not reached the kernel yet."""
    wire = getattr(transport, "transport", transport)  # under TLS
    return bool(getattr(wire, "dataBuffer", b"") or getattr(wire, "_tempDataBuffer", ()))


@implementer(IStreamClientEndpoint)
class _Guarded:
    """A TCP endpoint whose connections notice a backend that vanishes."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, factory: Any) -> "defer.Deferred[Any]":
        def connected(protocol: Any) -> Any:
            watch_peer(protocol.transport, UNHEARD_SECONDS)
            return protocol

        made: defer.Deferred[Any] = self._endpoint.connect(factory)
        return made.addCallback(connected)


@implementer(IStreamClientEndpoint)
class _Secured:
    """TLS to ``host`` over a connection of ``endpoint``, from its first byte on."""

    __slots__ = ("_context", "_endpoint", "_host")

    def __init__(self, context: ssl.SSLContext, host: str, endpoint: IStreamClientEndpoint) -> None:
        self._context = context
        self._host = host
        self._endpoint = endpoint

    def connect(self, factory: Any) -> "defer.Deferred[Any]":
        made: defer.Deferred[Any] = self._endpoint.connect(
            _Securing(self._context, self._host, factory)
        )
        return made.addCallback(self._connected)

    @staticmethod
    def _connected(secure: SecureConnection) -> Any:
        tcp = secure.transport
        if isinstance(tcp, TCPConnection):
            # It calls the connection directly, without Twisted's wrapper in between.
            tcp.protocol = secure  # type: ignore[assignment]
        return secure.protocol


class _Securing(Factory):
    """Makes the protocol of one TCP connection, under the protocol of ``factory``."""

    noisy = False

    def __init__(self, context: ssl.SSLContext, host: str, factory: Any) -> None:
        self._context = context
        self._host = host
        self._factory = factory

    def buildProtocol(self, addr: Any) -> Any:
        """Return the TLS connection to the host."""
        protocol = self._factory.buildProtocol(addr)
        return SecureConnection(self._context, protocol, self._host, identity(self._host))


class Endpoints:
    """Gives the endpoints of backends.

    IP literals are connected without a resolver; the addresses of a name are tried in a race.
    ``context_for`` returns the TLS context of a backend.
    """

    def __init__(
        self, reactor: IReactor, names: Names, context_for: Callable[[Backend], ssl.SSLContext]
    ) -> None:
        self._reactor = reactor
        self._names = names
        self._context_for = context_for
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}

    def to(self, backend: Backend, uri: Any, seconds: float) -> IStreamClientEndpoint:
        """Return the endpoint of ``uri``, a URI of ``backend``.

        Connecting may take ``seconds``, which include the answer of a proxy.
        """
        host = uri.host.decode("ascii").strip("[]")
        endpoint: Any
        if backend.proxy is None:
            endpoint = self._tcp(host, uri.port, seconds)
        else:
            proxy = backend.proxy
            endpoint = self._tcp(proxy.host, proxy.port, seconds)
            endpoint = Tunnel(self._reactor, endpoint, proxy, host, uri.port, seconds)
        if uri.scheme == b"https":
            endpoint = _Secured(self._context(backend), host, endpoint)
        return endpoint  # type: ignore[no-any-return]

    def _tcp(self, host: str, port: int, seconds: float) -> IStreamClientEndpoint:
        endpoint: Any
        if ":" in host:
            endpoint = TCP6ClientEndpoint(self._reactor, host, port, seconds)
        elif host.replace(".", "").isdigit():
            endpoint = TCP4ClientEndpoint(self._reactor, host, port, seconds)
        else:
            endpoint = NamedEndpoint(self._reactor, self._names, host, port, seconds)
        return _Guarded(endpoint)

    def _context(self, backend: Backend) -> ssl.SSLContext:
        """Return the TLS context of a backend, the same one each time.

        Loading the trust store blocks the reactor for milliseconds, and sessions can be resumed
        within one context only.
        """
        key = (backend.ca, backend.client_cert)
        context = self._contexts.get(key)
        if context is None:
            context = self._context_for(backend)
            if len(self._contexts) >= CONTEXTS:
                self._contexts.pop(next(iter(self._contexts)))
            self._contexts[key] = context
        return context


EndpointTo = Callable[[Backend, Any, float], IStreamClientEndpoint]
"""The type of ``Endpoints.to``."""


class _NoHeaders(Headers):
    """Headers that take no additions: those that treq would add are not sent."""

    def copy(self) -> "_NoHeaders":
        return self

    def addRawHeader(self, name: Any, value: Any) -> None: ...

    def hasHeader(self, name: Any) -> bool:
        """Return True, so that treq adds no cookie."""
        return True


class _NoCookies(treq.cookies.IndexableCookieJar):
    """A cookie jar that keeps and sends nothing.

    treq would send the cookies of one client's call with another's.
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def add_cookie_header(self, request: Any) -> None: ...

    def extract_cookies(self, response: Any, request: Any) -> None: ...


NO_HEADERS = _NoHeaders()
NO_COOKIES = _NoCookies()
