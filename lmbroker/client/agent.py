"""The ``IAgent`` of one request, which treq calls."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from lmbroker.call import Backend
from lmbroker.client.connection import Connection
from lmbroker.client.pool import Key, Pool
from lmbroker.client.response import Response
from lmbroker.connections import Body, Endpoints

_OURS = frozenset(
    {
        b"Accept-Encoding",
        b"Connection",
        b"Content-Length",
        b"Cookie",
        b"Host",
        b"Transfer-Encoding",
    }
)
"""What the connection, the target or nobody has to say: neither a client nor treq."""

_CONTROLS = dict.fromkeys((*range(32), 127), " ")

_DEFAULT_PORTS = {(b"http", 80), (b"https", 443)}


class Lean:
    """Sends requests over connections of our own."""

    def __init__(self, reactor: Any) -> None:
        self._pool = Pool(reactor)

    def exchange(
        self,
        backend: Backend,
        fields: Mapping[str, str],
        endpoints: Endpoints,
        *,
        fresh: bool,
    ) -> "Exchange":
        return Exchange(self._pool, backend, fields, endpoints, fresh=fresh)

    def close(self) -> "Deferred[Any]":
        return self._pool.close_all()


@implementer(IAgent)
class Exchange:
    """One request to a backend; see ``connections.Exchange``."""

    def __init__(
        self,
        pool: Pool,
        backend: Backend,
        fields: Mapping[str, str],
        endpoints: Endpoints,
        *,
        fresh: bool,
    ) -> None:
        self.reused = False
        self._pool = pool
        self._backend = backend
        self._fields = fields
        self._endpoints = endpoints
        self._fresh = fresh
        self._response: Response | None = None

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> "Deferred[IResponse]":
        backend = self._backend
        keep = backend.keepalive
        target, before = _target(uri)
        head = [method, before, _lines(self._fields)]
        if not keep:
            head.append(b"Connection: close\r\n")
        if headers is not None:
            for name, values in headers.getAllRawHeaders():
                if name not in _OURS:
                    head += (b"%b: %b\r\n" % (name, value) for value in values)
        content = b"" if bodyProducer is None else cast(Body, bodyProducer).content
        if bodyProducer is not None:
            head.append(b"Content-Length: %d\r\n" % len(content))
        head += (b"\r\n", content)
        request = b"".join(head)
        key = (target.scheme, target.host, target.port, backend.name, backend.ca)
        connection = None if self._fresh or not keep else self._pool.take(key)
        answer: Deferred[Any]
        if connection is None:
            made: Deferred[Any] = self._endpoints.endpointForURI(target).connect(
                _Opening(self._pool, key)
            )
            answer = made.addCallbacks(Connection.send, _not_made, (request, keep))
        else:
            self.reused = True
            answer = connection.send(request, keep)
        return answer.addCallback(self._answered)

    def _answered(self, response: Response) -> Response:
        response.headers.removeHeader(b"set-cookie")
        self._response = response
        return response

    def over(self) -> None:
        """The answer was taken; its connection knows by itself."""

    def abort(self) -> None:
        """Close the connection now, unless the response has ended."""
        if self._response is not None:
            self._response.stopProducing()


def _not_made(reason: Failure) -> Failure:
    """Who asked for it has left."""
    return Failure(CancelledError()) if reason.check(ConnectingCancelledError) else reason


def _lines(fields: Mapping[str, str]) -> bytes:
    """Header lines; values with a blank in the place of each control character."""
    if not "".join(fields.values()).isprintable():
        fields = {name: value.translate(_CONTROLS) for name, value in fields.items()}
    return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode()


class _Opening(Factory):
    """Makes the connection of one attempt to connect."""

    noisy = False

    def __init__(self, pool: Pool, key: Key) -> None:
        self._pool = pool
        self._key = key

    def buildProtocol(self, addr: Any) -> Connection:
        return Connection(self._pool, self._key)


@lru_cache(maxsize=1024)
def _target(uri: bytes) -> tuple[URI, bytes]:
    """Where a URI leads, and what a request to it begins with, but for its method."""
    target = URI.fromBytes(uri)
    host = b"[%b]" % target.host if b":" in target.host else target.host
    if (target.scheme, target.port) not in _DEFAULT_PORTS:
        host = b"%b:%d" % (host, target.port)
    line = b" %b HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n" % (target.originForm, host)
    return target, line
