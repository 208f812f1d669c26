"""What sends requests to backends, as the door sees it, and how their connections are made
(reliability.md A2, A5, A9). ``client`` holds what sends."""

from collections.abc import Callable, Iterator
from typing import Any

import treq.cookies
from OpenSSL.SSL import RECEIVED_SHUTDOWN
from twisted.internet import defer
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import AcceptableCiphers, TLSVersion, optionsForClientTLS
from twisted.protocols.tls import BufferingTLSTransport, TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.web.http_headers import Headers
from twisted.web.iweb import IBodyProducer, IPolicyForHTTPS
from zope.interface import implementer

from lmbroker.backends.peer import watch_peer
from lmbroker.backends.proxy_tunnel import Tunnel
from lmbroker.backends.resolver import NamedEndpoint, Names
from lmbroker.call import Backend
from lmbroker.config.cipher_suites import CIPHERS
from lmbroker.config.client_certificate import ClientCertificate

HEADER_LIMIT = 256 * 1024
"""Most bytes before a backend's response headers are whole, what is read with them included."""

IDLE_CONNECTIONS = 64
"""Kept-alive connections per backend; concurrency is not bounded by it."""

IDLE_SECONDS = 90.0
"""How long a connection waits for its next request, as in Go's client. Many servers give it up
earlier (after 5 s, most inference servers); that is noticed, and what crosses it is sent anew."""

STALE_SECONDS = 1.0
"""A kept connection that dies so soon after a request went out, without a byte of an answer, was
given up by the backend meanwhile. Later, the backend may have worked on it: that costs."""

DISTRUST_SECONDS = 600.0
"""A backend that said what nobody had asked for gets no connection twice for so long: no look into
a connection shows what is still on its way. Without that, 21 of 4,000 answers of such a backend
still reached the wrong client."""

CLOSE_SECONDS = 1.0
"""An orderly close waits for a backend that does not read, and over TLS for one that does not
close its side: for ever, unless the connection is aborted after so long."""

UNHEARD_SECONDS = 120
"""A backend that acknowledges nothing for so long has vanished."""


CONTEXTS = 256
"""Most TLS contexts that are kept: one per host and what is trusted and shown there, which a reload
may change."""

Dropped = Callable[[str, str], None]
"""Told of a connection that was not used again although the backend had left it open: the name of
the backend, and why. ``unasked``: something came while it was idle; ``surplus``: something came
behind a whole answer."""


class TooLong(Exception):
    """Of a response's head, or what else is no body, there is no end."""


@implementer(IBodyProducer)
class Body:
    """The body of a request, which is in memory already."""

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self.content = content

    def startProducing(self, consumer: Any) -> "defer.Deferred[None]":
        consumer.write(self.content)
        self.content = b""
        return defer.succeed(None)

    def pauseProducing(self) -> None: ...

    def resumeProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


def unsent(transport: Any) -> bool:
    """Whether some of what was written has not reached the kernel yet."""
    wire = getattr(transport, "transport", transport)  # under TLS
    return bool(getattr(wire, "dataBuffer", b"") or getattr(wire, "_tempDataBuffer", ()))


@implementer(IStreamClientEndpoint)
class _Guarded:
    """A TCP endpoint whose connections are watched for a backend that vanishes."""

    __slots__ = ("_endpoint",)

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, factory: Any) -> "defer.Deferred[Any]":
        def connected(protocol: Any) -> Any:
            watch_peer(protocol.transport, UNHEARD_SECONDS)
            return protocol

        made: defer.Deferred[Any] = self._endpoint.connect(factory)
        return made.addCallback(connected)


class _TLS(BufferingTLSTransport):
    """TLS whose session may be resumed although the peer ended the connection and not its TLS, as
    many servers do: OpenSSL would never use it again. Whether an answer is whole its framing
    tells."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        connection: Any = self.wrappedProtocol
        if connection.answered:
            handle = self.getHandle()
            handle.set_shutdown(handle.get_shutdown() | RECEIVED_SHUTDOWN)
        super().connectionLost(reason)


class _TLSFactory(TLSMemoryBIOFactory):
    protocol = _TLS


@implementer(IStreamClientEndpoint)
class _Secured:
    """TLS over what ``endpoint`` connects to, from its first byte on."""

    __slots__ = ("_creator", "_endpoint")

    def __init__(self, creator: Any, endpoint: IStreamClientEndpoint) -> None:
        self._creator = creator
        self._endpoint = endpoint

    def connect(self, factory: Any) -> "defer.Deferred[Any]":
        made: defer.Deferred[Any] = self._endpoint.connect(
            _TLSFactory(self._creator, True, factory)
        )
        return made.addCallback(lambda tls: tls.wrappedProtocol)


@implementer(IPolicyForHTTPS)
class Policy:
    """TLS 1.2 with forward secrecy or 1.3, to a backend whose certificate is the host's.
    ``trusted``: the authorities that may have signed it; None for the system's. ``own``: the
    certificate that we show where we are asked for one, with its key and its chain."""

    def __init__(self, trusted: Any = None, own: ClientCertificate | None = None) -> None:
        self._trusted = trusted
        self._options: dict[str, object] = {
            "acceptableCiphers": AcceptableCiphers.fromOpenSSLCipherString(CIPHERS),
            "raiseMinimumTo": TLSVersion.TLSv1_2,
            "enableSessionTickets": True,
        }
        if own is not None:
            self._options |= {
                "privateKey": own.key,
                "certificate": own.certificate,
                "extraCertChain": list(own.chain),
            }

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        name = hostname.decode("ascii")
        return optionsForClientTLS(
            name, trustRoot=self._trusted, extraCertificateOptions=self._options
        )


class Endpoints:
    """Where backends are reached. IP literals connect without a resolver; names race their
    addresses. ``policy`` gives a backend's ``IPolicyForHTTPS``."""

    def __init__(self, reactor: Any, names: Names, policy: Callable[[Backend], Any]) -> None:
        self._reactor = reactor
        self._names = names
        self._policy = policy
        self._creators: dict[tuple[Any, ...], Any] = {}

    def to(self, backend: Backend, uri: Any, seconds: float) -> IStreamClientEndpoint:
        """The endpoint of ``uri``, which is of ``backend``; connecting may take ``seconds``, the
        proxy's answer where there is one among them."""
        host = uri.host.decode("ascii").strip("[]")
        endpoint: Any
        if backend.proxy is None:
            endpoint = self._tcp(host, uri.port, seconds)
        else:
            proxy = backend.proxy
            endpoint = self._tcp(proxy.host, proxy.port, seconds)
            endpoint = Tunnel(self._reactor, endpoint, proxy, host, uri.port, seconds)
        if uri.scheme == b"https":
            endpoint = _Secured(self._creator(backend, uri), endpoint)
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

    def _creator(self, backend: Backend, uri: Any) -> Any:
        """One context per host: loading the trust store costs milliseconds of the reactor, and
        sessions are resumed within one only."""
        key = (uri.host, uri.port, backend.ca, backend.client_cert)
        creator = self._creators.get(key)
        if creator is None:
            creator = self._policy(backend).creatorForNetloc(uri.host, uri.port)
            if len(self._creators) >= CONTEXTS:
                self._creators.pop(next(iter(self._creators)))
            self._creators[key] = creator
        return creator


EndpointTo = Callable[[Backend, Any, float], IStreamClientEndpoint]
"""As ``Endpoints.to``."""


class _NoHeaders(Headers):
    """What treq would add to a request's headers goes nowhere; so it need not be made."""

    def copy(self) -> "_NoHeaders":
        return self

    def addRawHeader(self, name: Any, value: Any) -> None: ...

    def hasHeader(self, name: Any) -> bool:
        """What treq asks for is its own business already: it does not ask the jar for a cookie."""
        return True


class _NoCookies(treq.cookies.IndexableCookieJar):
    """Keeps and sends nothing: treq would carry one client's cookies over to another's call."""

    def __iter__(self) -> Iterator[Any]:
        return iter(())

    def add_cookie_header(self, request: Any) -> None: ...

    def extract_cookies(self, response: Any, request: Any) -> None: ...


NO_HEADERS = _NoHeaders()
NO_COOKIES = _NoCookies()
