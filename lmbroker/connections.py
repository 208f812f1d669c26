"""How a request to a backend gets its connection: made or used again, over TCP or TLS, and
watched so that it can be aborted in every phase (reliability.md A2, A5, A9)."""

from typing import Any

import treq.cookies
from twisted.internet import defer
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    wrapClientTLS,
)
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.client import HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from lmbroker.call import Backend

HEADER_LIMIT = 256 * 1024
"""Most bytes before a backend's response headers are whole, what is read with them included."""

IDLE_CONNECTIONS = 64
"""Kept-alive connections per backend; concurrency is not bounded by it."""

IDLE_SECONDS = 3.0
"""Shorter than the keep-alive of common inference servers (5 s), so that few have died."""

CLOSE_SECONDS = 1.0
"""An orderly close waits for a backend that does not read, and over TLS for one that does not
close its side: for ever, unless the connection is aborted after so long."""


class Pool(HTTPConnectionPool):
    """Twisted's, never retrying; what each method does otherwise stands there. The names are held
    in place by ``tests/test_backends.py``."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, persistent=True)
        self.maxPersistentPerHost = IDLE_CONNECTIONS
        self.cachedConnectionTimeout = IDLE_SECONDS  # type: ignore[assignment]
        self.retryAutomatically = False

    def fresh(self, key: Any, endpoint: IStreamClientEndpoint) -> "defer.Deferred[Any]":
        """A connection that was not used before; kept afterwards like any other."""
        return self._newConnection(key, endpoint)

    def keeps(self, connection: Any) -> bool:
        """Whether a connection waits here for its next request."""
        return connection in self._timeouts

    def close_soon(self, transport: Any) -> None:
        """Abort a connection that is being closed, if that takes too long."""
        self._reactor.callLater(CLOSE_SECONDS, transport.abortConnection)

    def _removeConnection(self, key: Any, connection: Any) -> None:
        """Stock: an orderly close only."""
        super()._removeConnection(key, connection)
        self.close_soon(connection.transport)


@implementer(IStreamClientEndpoint)
class _Watched:
    """An endpoint that tells when a connection had to be made."""

    __slots__ = ("_endpoint", "_tap")

    def __init__(self, tap: "Tap", endpoint: IStreamClientEndpoint) -> None:
        self._tap = tap
        self._endpoint = endpoint

    def connect(self, factory: Any) -> "defer.Deferred[Any]":
        self._tap.reused = False
        made: defer.Deferred[Any] = self._endpoint.connect(factory)
        return made


class Tap:
    """Stands between one request and the pool: knows whether the connection was used before,
    and keeps its protocol, so that it can be aborted in every phase."""

    def __init__(self, pool: Pool, backend: Backend, *, fresh: bool) -> None:
        self.persistent = backend.keepalive
        self.reused = True
        self.flooded = False
        self._pool = pool
        self._backend = backend
        self._fresh = fresh
        self._protocol: Any = None

    def getConnection(self, key: Any, endpoint: IStreamClientEndpoint) -> "defer.Deferred[Any]":
        def connected(protocol: Any) -> Any:
            self._protocol = protocol
            self._bound(protocol)
            return protocol

        get = self._pool.fresh if self._fresh else self._pool.getConnection
        # Two backends at one address may trust different authorities.
        wanted = (*key, self._backend.name)
        return get(wanted, _Watched(self, endpoint)).addCallback(connected)

    def _bound(self, protocol: Any) -> None:
        """Look at how much comes before the response headers are whole: Twisted bounds each of
        their lines only."""
        seen = 0
        receive = protocol.dataReceived

        def watched(data: bytes) -> None:
            nonlocal seen
            seen += len(data)
            if seen > HEADER_LIMIT:
                self.flooded = True
                self.abort()
            else:
                receive(data)

        protocol.dataReceived = watched

    def answered(self) -> None:
        """The response headers are here."""
        vars(self._protocol).pop("dataReceived", None)

    def over(self) -> None:
        """The answer has ended, whole or not, and its connection is in the pool or being closed."""
        protocol, self._protocol = self._protocol, None
        if protocol is None:
            return
        if not self._pool.keeps(protocol):
            self._pool.close_soon(protocol.transport)
        elif _unsent(protocol.transport):
            # It answered before it had our request, and may never read the rest.
            protocol.transport.abortConnection()

    def abort(self) -> None:
        """Close the connection now, in whatever phase it is; not one that is over."""
        protocol, self._protocol = self._protocol, None
        transport = getattr(protocol, "transport", None)
        if transport is not None:
            transport.abortConnection()


def _unsent(transport: Any) -> bool:
    """Whether some of what was written has not reached the kernel yet."""
    wire = getattr(transport, "transport", transport)  # under TLS
    return bool(getattr(wire, "dataBuffer", b"") or getattr(wire, "_tempDataBuffer", ()))


@implementer(IAgent)
class Pinned:
    """Wins over what treq adds: identity encoding, no cookies in either direction."""

    def __init__(self, agent: IAgent) -> None:
        self._agent = agent

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> "defer.Deferred[IResponse]":
        headers = headers or Headers()
        headers.removeHeader(b"cookie")
        headers.setRawHeaders(b"accept-encoding", [b"identity"])

        def strip(response: Any) -> Any:
            response.headers.removeHeader(b"set-cookie")
            return response

        return self._agent.request(method, uri, headers, bodyProducer).addCallback(strip)


@implementer(IAgentEndpointFactory)
class Endpoints:
    """IP literals connect without the resolver's thread pool; names race their addresses."""

    def __init__(self, reactor: Any, policy: Any, connect_timeout: float) -> None:
        self._reactor = reactor
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
            endpoint = HostnameEndpoint(
                self._reactor, host, uri.port, self._timeout, attemptDelay=0.05
            )
        if uri.scheme == b"https":
            # One context per host: loading the trust store costs milliseconds of the reactor.
            key = (uri.host, uri.port)
            creator = self._creators.get(key)
            if creator is None:
                creator = self._creators[key] = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return endpoint  # type: ignore[no-any-return]


class _NoCookies(treq.cookies.IndexableCookieJar):
    """Keeps and sends nothing: treq would carry one client's cookies over to another's call."""

    def add_cookie_header(self, request: Any) -> None: ...

    def extract_cookies(self, response: Any, request: Any) -> None: ...


NO_COOKIES = _NoCookies()
