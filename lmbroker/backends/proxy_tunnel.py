"""Connects to a backend through a tunnel of an HTTP proxy, opened by CONNECT (RFC 9110, 9.3.6).

What goes through the tunnel, TLS included, is between the broker and the backend. Twisted has no
such endpoint. The proxy resolves the backend's name; the broker resolves the proxy's only.
"""

import re
from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import (
    ConnectError,
    ConnectionRefusedError,
    DNSLookupError,
    TimeoutError,
)
from twisted.internet.interfaces import IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from lmbroker.backends.resolver import SHORTAGES
from lmbroker.call import Proxy

SAID_LIMIT = 16 * 1024
"""The maximum of bytes that a proxy may send before the tunnel is open."""

_STATUS = re.compile(rb"HTTP/1\.[01] ([1-9]\d\d)[ \r\n]")
_END = re.compile(rb"\r?\n\r?\n")


class ProxyFailed(Exception):
    """The proxy did not open a tunnel, so nothing has reached the backend.

    ``code`` is an error code of ``reliability.md`` B; ``reason`` is a text of ours that says why.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def _not_http() -> ProxyFailed:
    return ProxyFailed("proxy_bad_answer", "what it says is not HTTP")


@implementer(IStreamClientEndpoint)
class Tunnel:
    """Connects to ``host`` and ``port`` through a proxy, within ``seconds`` in all.

    ``endpoint`` leads to the proxy. Fails with ProxyFailed, or with ConnectError where the system
    has no descriptors or buffers left.
    """

    __slots__ = ("_endpoint", "_proxy", "_reactor", "_seconds", "_wanted")

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        proxy: Proxy,
        host: str,
        port: int,
        seconds: float,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._proxy = proxy
        self._wanted = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._seconds = seconds

    def connect(self, factory: Any) -> "Deferred[Any]":
        """Open a tunnel; fires with the protocol of ``factory`` at our end of it."""
        until = self._reactor.seconds() + self._seconds

        def connected(opening: _Opening) -> Deferred[Any]:
            return opening.ask(self._request(), max(until - self._reactor.seconds(), 0.001))

        made: Deferred[Any] = self._endpoint.connect(_Openings(self._reactor, factory))
        return made.addCallbacks(connected, _not_reached)

    def _request(self) -> bytes:
        lines = [f"CONNECT {self._wanted} HTTP/1.1", f"Host: {self._wanted}"]
        password = self._proxy.password
        if self._proxy.user or password is not None:
            pair = f"{self._proxy.user}:{password.reveal() if password is not None else ''}"
            lines.append(f"Proxy-Authorization: Basic {b64encode(pair.encode()).decode()}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _not_reached(reason: Failure) -> Failure:
    """Return the failure of a connection to the proxy, as ProxyFailed if the proxy is the cause."""
    error: Any = reason.value
    if isinstance(error, TimeoutError):
        return Failure(ProxyFailed("timeout_connect", "connecting to it took too long"))
    if isinstance(error, DNSLookupError):
        return Failure(ProxyFailed("proxy_unreachable", "its host name was not found"))
    if isinstance(error, ConnectionRefusedError):
        return Failure(ProxyFailed("proxy_unreachable", "it refused the connection"))
    if isinstance(error, ConnectError) and error.osError not in SHORTAGES:
        return Failure(ProxyFailed("proxy_unreachable", "it cannot be reached"))
    return reason


def _refused(status: int) -> ProxyFailed:
    """Return the error for a proxy that answers CONNECT with ``status``."""
    if status in (401, 407):
        # tinyproxy says 401 of credentials that are wrong, and 407 of those that are missing.
        return ProxyFailed("proxy_auth", f"it wants other credentials ({status})")
    if status >= 500 or status in (408, 429):
        return ProxyFailed("proxy_failed", f"it did not get through to the backend ({status})")
    return ProxyFailed("proxy_refused", f"it does not let us through to the backend ({status})")


class _Openings(Factory):
    """Makes the protocols that ask the proxy; ``factory`` makes those at the tunnel's end."""

    noisy = False

    def __init__(self, reactor: IReactorTime, factory: Any) -> None:
        self._reactor = reactor
        self._factory = factory

    def buildProtocol(self, addr: Any) -> "_Opening":
        return _Opening(self._reactor, self._factory, addr)


class _Opening(Protocol):
    """A connection to the proxy until the tunnel is open; then another protocol takes it over."""

    transport: Any

    def __init__(self, reactor: IReactorTime, factory: Any, addr: Any) -> None:
        self._reactor = reactor
        self._factory = factory
        self._addr = addr
        self._said = b""
        self._waiter: Deferred[Any] | None = None
        self._timer: Any = None

    def ask(self, request: bytes, seconds: float) -> "Deferred[Any]":
        """Send CONNECT; fires with the protocol at our end of the tunnel once that is open."""
        waiter: Deferred[Any] = Deferred(self._unwanted)
        self._waiter = waiter
        self._timer = self._reactor.callLater(seconds, self._too_late)
        self.transport.write(request)
        return waiter

    def dataReceived(self, data: bytes) -> None:
        if self._waiter is None:
            return
        self._said += data
        begin = 0
        while (end := _END.search(self._said, begin)) is not None:
            status = _STATUS.match(self._said, begin)
            begin = end.end()
            if status is None:
                self._fail(_not_http())
            elif status[1] < b"200":
                continue
            elif status[1] >= b"300":
                self._fail(_refused(int(status[1])))
            elif begin < len(self._said):
                # Nobody has asked the backend for anything yet.
                self._fail(ProxyFailed("proxy_bad_answer", "it says more than that we may pass"))
            else:
                self._tunnel_open()
            return
        if not b"HTTP/1.".startswith(self._said[:7]) or len(self._said) > SAID_LIMIT:
            self._fail(_not_http())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._fail(ProxyFailed("proxy_failed", "it closed the connection"))

    def _tunnel_open(self) -> None:
        waiter = self._over(keep=True)
        protocol = self._factory.buildProtocol(self._addr)
        # The transport calls it directly, without this protocol or Twisted's wrapper in between.
        self.transport.protocol = protocol
        protocol.makeConnection(self.transport)
        if waiter is not None:
            waiter.callback(protocol)

    def _unwanted(self, _: Any) -> None:
        self._over()

    def _too_late(self) -> None:
        self._fail(ProxyFailed("timeout_connect", "it did not answer in time"))

    def _fail(self, error: ProxyFailed) -> None:
        waiter = self._over()
        if waiter is not None:
            waiter.errback(Failure(error))

    def _over(self, *, keep: bool = False) -> "Deferred[Any] | None":
        """Stop waiting for the proxy; returns who waited. Without ``keep`` the connection ends."""
        waiter, self._waiter = self._waiter, None
        if waiter is not None and self._timer.active():
            self._timer.cancel()
        if waiter is not None and not keep:
            self.transport.abortConnection()
        return waiter
