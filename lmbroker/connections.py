"""What sends requests to backends, as the door sees it, and how their connections are made
(reliability.md A2, A5, A9). ``client`` holds what sends."""

import errno
from collections.abc import Callable, Iterator
from typing import Any

import treq.cookies
from twisted.internet import defer
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import AcceptableCiphers, TLSVersion, optionsForClientTLS
from twisted.web.http_headers import Headers
from twisted.web.iweb import (
    IAgentEndpointFactory,
    IBodyProducer,
    IPolicyForHTTPS,
)
from zope.interface import implementer

from lmbroker.ciphers import CIPHERS
from lmbroker.peer import watch_peer
from lmbroker.resolver import NamedEndpoint, Names

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


SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
"""Of these the system has no more for us: it is nobody's fault at the other end."""

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


@implementer(IPolicyForHTTPS)
class Policy:
    """TLS 1.2 with forward secrecy or 1.3, to a backend whose certificate is the host's.
    ``trusted``: the authorities that may have signed it; None for the system's."""

    def __init__(self, trusted: Any = None) -> None:
        self._trusted = trusted
        self._options = {
            "acceptableCiphers": AcceptableCiphers.fromOpenSSLCipherString(CIPHERS),
            "raiseMinimumTo": TLSVersion.TLSv1_2,
        }

    def creatorForNetloc(self, hostname: bytes, port: int) -> Any:
        name = hostname.decode("ascii")
        return optionsForClientTLS(
            name, trustRoot=self._trusted, extraCertificateOptions=self._options
        )


@implementer(IAgentEndpointFactory)
class Endpoints:
    """IP literals connect without a resolver; names race their addresses."""

    def __init__(self, reactor: Any, names: Names, policy: Any, connect_timeout: float) -> None:
        self._reactor = reactor
        self._names = names
        self._policy = policy
        self._timeout = connect_timeout
        self._creators: dict[tuple[bytes, int], Any] = {}

    def endpointForURI(self, uri: Any) -> IStreamClientEndpoint:
        host = uri.host.decode("ascii").strip("[]")
        endpoint: Any
        if ":" in host:
            endpoint = TCP6ClientEndpoint(self._reactor, host, uri.port, self._timeout)
        elif host.replace(".", "").isdigit():
            endpoint = TCP4ClientEndpoint(self._reactor, host, uri.port, self._timeout)
        else:
            endpoint = NamedEndpoint(self._reactor, self._names, host, uri.port, self._timeout)
        endpoint = _Guarded(endpoint)
        if uri.scheme == b"https":
            # One context per host: loading the trust store costs milliseconds of the reactor.
            key = (uri.host, uri.port)
            creator = self._creators.get(key)
            if creator is None:
                creator = self._creators[key] = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return endpoint  # type: ignore[no-any-return]


EndpointsOf = Callable[[float, str], Endpoints]
"""By the seconds that connecting may take and whom to trust (``Backend.ca``)."""


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
