"""Twisted's client, with what it gets wrong for a broker put right: no cookies, no compression, a
connection that can be aborted in every phase (reliability.md A2, A5, A9)."""

from collections.abc import Mapping
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from lmbroker import connections
from lmbroker.call import Backend
from lmbroker.connections import Endpoints, EndpointsOf, TooLong, unsent


class Stock:
    """Sends requests over Twisted's ``Agent``."""

    def __init__(self, reactor: Any, endpoints: EndpointsOf) -> None:
        self._reactor = reactor
        self._pool = Pool(reactor)
        self._endpoints = endpoints

    def exchange(
        self,
        backend: Backend,
        fields: Mapping[str, str],
        connect_timeout: float,
        *,
        fresh: bool,
    ) -> "Tap":
        endpoints = self._endpoints(connect_timeout, backend.ca)
        return Tap(self._reactor, self._pool, backend, fields, endpoints, fresh=fresh)

    def close(self) -> "defer.Deferred[Any]":
        closed: defer.Deferred[Any] = self._pool.closeCachedConnections()
        return closed


class Pool(HTTPConnectionPool):
    """Twisted's, never retrying; what each method does otherwise stands there. The names are held
    in place by ``tests/test_backends.py``."""

    def __init__(self, reactor: Any) -> None:
        super().__init__(reactor, persistent=True)
        self.maxPersistentPerHost = connections.IDLE_CONNECTIONS
        self.cachedConnectionTimeout = connections.IDLE_SECONDS  # type: ignore[assignment]
        self.retryAutomatically = False

    def fresh(self, key: Any, endpoint: IStreamClientEndpoint) -> "defer.Deferred[Any]":
        """A connection that was not used before; kept afterwards like any other."""
        return self._newConnection(key, endpoint)

    def keeps(self, connection: Any) -> bool:
        """Whether a connection waits here for its next request."""
        return connection in self._timeouts

    def close_soon(self, transport: Any) -> None:
        """Abort a connection that is being closed, if that takes too long."""
        self._reactor.callLater(connections.CLOSE_SECONDS, transport.abortConnection)

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


@implementer(IAgent)
class Tap:
    """One request over Twisted's client. Stands between it and the pool, too: knows whether the
    connection was used before, and keeps its protocol, so that it can be aborted in every
    phase."""

    def __init__(
        self,
        reactor: Any,
        pool: Pool,
        backend: Backend,
        fields: Mapping[str, str],
        endpoints: Endpoints,
        *,
        fresh: bool,
    ) -> None:
        self.persistent = backend.keepalive
        self.reused = True
        self._reactor = reactor
        self._pool = pool
        self._backend = backend
        self._fields = fields
        self._endpoints = endpoints
        self._fresh = fresh
        self._flooded = False
        self._left = False
        self._protocol: Any = None

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> "defer.Deferred[IResponse]":
        headers = Headers()
        for name, value in self._fields.items():
            headers.setRawHeaders(name, [value])
        headers.removeHeader(b"cookie")
        headers.setRawHeaders(b"accept-encoding", [b"identity"])
        agent = Agent.usingEndpointFactory(self._reactor, self._endpoints, pool=self)
        request: defer.Deferred[Any] = agent.request(method, uri, headers, bodyProducer)

        def leave(_: Any) -> None:
            self._left = True
            request.cancel()

        answer: defer.Deferred[Any] = defer.Deferred(leave)
        request.addCallbacks(self._answered, self._failed).chainDeferred(answer)
        return answer

    def _answered(self, response: Any) -> Any:
        vars(self._protocol).pop("dataReceived", None)
        response.headers.removeHeader(b"set-cookie")
        return response

    def _failed(self, reason: Any) -> Any:
        if self._left:
            # It fails with one of several exceptions, by its phase.
            raise defer.CancelledError
        if self._flooded:
            raise ResponseFailed([Failure(TooLong())])
        return reason

    def getConnection(self, key: Any, endpoint: IStreamClientEndpoint) -> "defer.Deferred[Any]":
        def connected(protocol: Any) -> Any:
            self._protocol = protocol
            self._bound(protocol)
            return protocol

        get = self._pool.fresh if self._fresh else self._pool.getConnection
        # Two backends at one address may trust different authorities.
        wanted = (*key, self._backend.name, self._backend.ca)
        return get(wanted, _Watched(self, endpoint)).addCallback(connected)

    def _bound(self, protocol: Any) -> None:
        """Look at how much comes before the response headers are whole: Twisted bounds each of
        their lines only."""
        seen = 0
        receive = protocol.dataReceived

        def watched(data: bytes) -> None:
            nonlocal seen
            seen += len(data)
            if seen > connections.HEADER_LIMIT:
                self._flooded = True
                self.abort()
            else:
                receive(data)

        protocol.dataReceived = watched

    def over(self) -> None:
        """The answer has ended, whole or not, and its connection is in the pool or being closed."""
        protocol, self._protocol = self._protocol, None
        if protocol is None:
            return
        if not self._pool.keeps(protocol):
            self._pool.close_soon(protocol.transport)
        elif unsent(protocol.transport):
            # It answered before it had our request, and may never read the rest.
            protocol.transport.abortConnection()

    def abort(self) -> None:
        """Close the connection now, in whatever phase it is; not one that is over."""
        protocol, self._protocol = self._protocol, None
        transport = getattr(protocol, "transport", None)
        if transport is not None:
            transport.abortConnection()
