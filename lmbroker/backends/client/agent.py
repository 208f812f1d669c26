"""The HTTP client, and the ``IAgent`` of one request, which treq calls."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent, IBodyProducer, IResponse
from zope.interface import implementer

from lmbroker.backends.client.connection import Connection
from lmbroker.backends.client.pool import Key, Pool
from lmbroker.backends.client.response import Response
from lmbroker.backends.connections import Dropped, EndpointTo
from lmbroker.backends.interfaces import IReactor
from lmbroker.call import Backend

COPIED = 16 * 1024
"""Bytes of the largest body that is copied into one piece with its head."""

_CONTROLS = dict.fromkeys((*range(32), 127), " ")

_DEFAULT_PORTS = {(b"http", 80), (b"https", 443)}


def _ignored(backend: str, why: str) -> None: ...


class LeanClient:
    """Sends requests, and holds the idle connections; ``dropped`` is called for those given up."""

    def __init__(
        self, reactor: IReactor, endpoint_to: EndpointTo, dropped: Dropped = _ignored
    ) -> None:
        self._pool = Pool(reactor, dropped)
        self._endpoint_to = endpoint_to

    def exchange(
        self,
        backend: Backend,
        fields: Mapping[str, str],
        connect_timeout: float,
        *,
        fresh: bool,
    ) -> "Exchange":
        """Return the ``IAgent`` of one request.

        ``fields`` are the request's headers, ``connect_timeout`` is in seconds. ``fresh``: the
        request goes over a new connection.
        """
        return Exchange(self._pool, self._endpoint_to, backend, fields, connect_timeout, fresh)

    def drop_idle(self) -> None:
        """Abort the idle connections, since their descriptors are needed."""
        self._pool.drop_idle()

    def close(self) -> "Deferred[Any]":
        """Close the idle connections; fires when they are closed."""
        return self._pool.close_all()


@implementer(IAgent)
class Exchange:
    """The ``IAgent`` of one request to one backend.

    It holds the request's headers. The headers that treq gives to ``request`` are not sent: they
    are about cookies and compression. Until the head of the response has come, the request is
    stopped by cancelling the Deferred of ``request``, which then fails with CancelledError in every
    phase; after that by ``abort``. The body's producer is a ``Body``. ``reused`` says whether the
    connection was used before.
    """

    __slots__ = (
        "_backend",
        "_connect_timeout",
        "_endpoint_to",
        "_fields",
        "_fresh",
        "_pool",
        "_response",
        "reused",
    )

    def __init__(
        self,
        pool: Pool,
        endpoint_to: EndpointTo,
        backend: Backend,
        fields: Mapping[str, str],
        connect_timeout: float,
        fresh: bool,
    ) -> None:
        self.reused = False
        self._pool = pool
        self._endpoint_to = endpoint_to
        self._backend = backend
        self._fields = fields
        self._connect_timeout = connect_timeout
        self._fresh = fresh
        self._response = Response()

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> "Deferred[IResponse]":
        """Send the request; fires with the response when its head has come."""
        backend = self._backend
        keep = backend.keepalive
        proxy = backend.proxy.shown if backend.proxy is not None else ""
        target, before, key = _target(uri, backend.name, backend.ca, backend.client_cert, proxy)
        body: Any = bodyProducer
        content = b"" if body is None else body.content
        length = b"" if body is None else b"Content-Length: %d\r\n" % len(content)
        close = b"" if keep else b"Connection: close\r\n"
        rest = content if len(content) > COPIED else b""
        head = (method, before, _lines(self._fields), close, length, b"\r\n")
        request = b"".join(head if rest else (*head, content))
        connection = None if self._fresh or not keep else self._pool.take(key)
        if connection is None:
            endpoint = self._endpoint_to(backend, target, self._connect_timeout)
            made: Deferred[Any] = endpoint.connect(_Opening(self._pool, key))
            return made.addCallbacks(
                Connection.send, _not_made, (request, keep, self._response, rest)
            )
        self.reused = True
        return connection.send(request, keep, self._response, rest)

    @property
    def sent_at(self) -> float | None:
        """When the request was written; None before and after the response."""
        connection = self._response.connection
        return None if connection is None else connection.sent_at

    def abort(self) -> None:
        """Close the connection now, unless the response has ended."""
        self._response.stopProducing()


def _not_made(reason: Failure) -> Failure:
    """Return the failure of a connection attempt: CancelledError where its caller cancelled it."""
    return Failure(CancelledError()) if reason.check(ConnectingCancelledError) else reason


def _lines(fields: Mapping[str, str]) -> bytes:
    """Return the header lines, with a blank in place of each control character of a value."""
    if not "".join(fields.values()).isprintable():
        fields = {name: value.translate(_CONTROLS) for name, value in fields.items()}
    return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode()


class _Opening(Factory):
    """Makes the protocol of one new connection."""

    noisy = False

    def __init__(self, pool: Pool, key: Key) -> None:
        self._pool = pool
        self._key = key

    def buildProtocol(self, addr: Any) -> Connection:
        """Return the protocol of the connection."""
        return Connection(self._pool, self._key)


@lru_cache(maxsize=1024)
def _target(
    uri: bytes, backend: str, ca: str, client_cert: str, proxy: str
) -> tuple[URI, bytes, Key]:
    """Return what a request to ``uri`` needs: the target, the first lines, and the key of the pool.

    The first lines lack the method; under the key the pool keeps the connections.
    """
    target = URI.fromBytes(uri)
    host = b"[%b]" % target.host if b":" in target.host else target.host
    if (target.scheme, target.port) not in _DEFAULT_PORTS:
        host = b"%b:%d" % (host, target.port)
    line = b" %b HTTP/1.1\r\nHost: %b\r\nAccept-Encoding: identity\r\n" % (target.originForm, host)
    key = (target.scheme, target.host, target.port, backend, ca, client_cert, proxy)
    return target, line, key
