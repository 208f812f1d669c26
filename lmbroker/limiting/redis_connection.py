"""One connection to Redis or Valkey, which comes back by itself."""

from importlib import import_module
from typing import Any

from twisted.application.internet import ClientService
from twisted.internet.defer import Deferred, TimeoutError
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint, wrapClientTLS
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS

from lmbroker.config.limit_store import PACKAGE, RedisAddress

CONNECT_SECONDS = 5.0
LONGEST_PAUSE = 2.0
"""Seconds between two attempts to connect, at most."""


class RedisAway(Exception):
    """Redis does not answer, or not in time. ``reason`` holds no credential."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class RedisConnection:
    """Runs scripts over one connection, several at once. It needs the extra ``redis``."""

    def __init__(self, address: RedisAddress, reactor: Any) -> None:
        # Not above: few configurations need it.
        txredisapi: Any = import_module(PACKAGE)
        self._txredisapi = txredisapi
        self._reactor = reactor
        self._protocol: Any = None
        self._reason = "not connected yet"
        self._service = ClientService(
            _endpoint(address, reactor, txredisapi),
            _Protocols(self, address, txredisapi),
            retryPolicy=lambda failures: min(LONGEST_PAUSE, 0.1 * 2 ** min(failures, 10)),
            clock=reactor,
        )

    def start(self) -> None:
        """Connect, and again whenever the connection is lost."""
        self._service.startService()

    async def stop(self) -> None:
        """Close the connection for good."""
        self._protocol = None
        await self._service.stopService()

    async def run(self, script: str, key: str, arguments: list[str], seconds: float) -> str:
        """Return the answer of a script. Raises RedisAway."""
        protocol = self._protocol
        if protocol is None:
            raise RedisAway(self._reason)
        asked: Deferred[Any] = protocol.eval(script, [key], arguments)
        asked.addTimeout(seconds, self._reactor)
        try:
            answer = await asked
        except TimeoutError:
            raise RedisAway("no answer in time") from None
        except self._txredisapi.ResponseError as error:
            # The first word of an error is its kind: NOAUTH, LOADING, READONLY, OOM.
            raise RedisAway(f"it answered {str(error)[:100].partition(' ')[0]}") from None
        except self._txredisapi.RedisError:
            raise RedisAway("the connection was lost") from None
        if isinstance(answer, bytes):
            answer = answer.decode()
        return str(answer)

    def connected(self, protocol: Any) -> None:
        """Use ``protocol`` from now on."""
        self._protocol = protocol
        protocol.whenDisconnected().addCallback(self._lost)

    def refused(self, reason: str) -> None:
        """Note why there is no connection."""
        self._reason = reason

    def _lost(self, protocol: Any) -> None:
        if self._protocol is protocol:
            self._protocol, self._reason = None, "the connection was lost"


class _Protocols(Factory):
    """Makes the protocol of each connection, which logs in and chooses the database."""

    noisy = False
    isLazy = False

    def __init__(self, of: RedisConnection, address: RedisAddress, txredisapi: Any) -> None:
        self._of = of
        self._address = address
        self._protocol = txredisapi.RedisProtocol

    def buildProtocol(self, addr: Any) -> Any:
        """Return a protocol that reports to the connection when it is ready."""
        address = self._address
        protocol = self._protocol(
            password=None if address.password is None else address.password.reveal(),
            username=address.user or None,
            dbid=address.database or None,
            convertNumbers=False,
        )
        protocol.factory = self
        protocol.whenConnected().addCallback(self._of.connected)
        return protocol

    # Called by a protocol that cannot log in. It closes its connection, and the next one tries.

    def stopTrying(self) -> None:
        """Do nothing: a password may be set later."""

    def connectionError(self, why: str) -> None:
        """Note that Redis lets nobody in."""
        self._of.refused("it refused the password or the database")


class _MasterEndpoint:
    """The endpoint of the server that Sentinels name when a connection is made."""

    def __init__(self, address: RedisAddress, reactor: Any, txredisapi: Any) -> None:
        self._sentinel = txredisapi.Sentinel(list(address.hosts))
        self._service = address.service
        self._reactor = reactor

    def connect(self, factory: Any) -> "Deferred[Any]":
        """Connect to the server that is the master now."""
        found: Deferred[Any] = self._sentinel.discover_master(self._service)
        return found.addCallback(self._connect, factory)

    def _connect(self, place: tuple[str, int], factory: Any) -> "Deferred[Any]":
        return HostnameEndpoint(self._reactor, *place, CONNECT_SECONDS).connect(factory)


def _endpoint(address: RedisAddress, reactor: Any, txredisapi: Any) -> Any:
    if address.path:
        return UNIXClientEndpoint(reactor, address.path, CONNECT_SECONDS)
    if address.service:
        return _MasterEndpoint(address, reactor, txredisapi)
    host, port = address.hosts[0]
    plain = HostnameEndpoint(reactor, host, port, CONNECT_SECONDS)
    return wrapClientTLS(optionsForClientTLS(host), plain) if address.secure else plain
