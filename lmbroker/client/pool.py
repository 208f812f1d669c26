"""The connections that wait for their next request."""

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList

from lmbroker import connections
from lmbroker.peer import stirs

if TYPE_CHECKING:
    from lmbroker.client.connection import Connection

Key = tuple[bytes, bytes, int, str, str]
"""Scheme, host, port, the backend's name, whom it trusts: two backends at one address may trust
different authorities."""

RESTED_SECONDS = 0.5
"""No server gives a connection up sooner. The reactor has read what came before its last turn, so
what a look can find is a few milliseconds old."""


class Pool:
    """Idle connections, by what they lead to. The one used last is used next."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._idle: dict[Key, list[Connection]] = {}
        self._timer: Any = None

    def take(self, key: Key) -> "Connection | None":
        """A connection that leads there, and is nobody else's from now on. What has come over it
        meanwhile would be taken for the answer to the next request: one that has waited for a
        while is looked at, since servers that tire of waiting say so."""
        idle = self._idle.get(key)
        rested = self._reactor.seconds() - RESTED_SECONDS
        while idle:
            connection = idle.pop()
            if connection.idle_since > rested or not stirs(connection.transport):
                return connection
            connection.abort()
        return None

    def keep(self, connection: "Connection") -> None:
        """Hold a connection for its next request."""
        idle = self._idle.setdefault(connection.key, [])
        if len(idle) == connections.IDLE_CONNECTIONS:
            self.close(idle.pop(0))
        connection.idle_since = self._reactor.seconds()
        idle.append(connection)
        if self._timer is None:
            self._timer = self._reactor.callLater(connections.IDLE_SECONDS, self._sweep)

    def forget(self, connection: "Connection") -> None:
        """A connection is gone, or does not behave."""
        idle = self._idle.get(connection.key)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def close(self, connection: "Connection") -> None:
        """Close a connection in an orderly way, for as long as its peer takes part."""
        transport, connection.transport = connection.transport, None
        transport.loseConnection()
        self._reactor.callLater(connections.CLOSE_SECONDS, transport.abortConnection)

    def close_all(self) -> "Deferred[Any]":
        """Close what waits; fires when all of it is closed."""
        waiting = [connection for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        gone = []
        for connection in waiting:
            connection.gone = Deferred()
            gone.append(connection.gone)
            self.close(connection)
        return DeferredList(gone)

    def _sweep(self) -> None:
        """Close what has waited too long, and come back when the next has."""
        self._timer = None
        now = self._reactor.seconds()
        began = now - connections.IDLE_SECONDS
        for key, idle in list(self._idle.items()):
            while idle and idle[0].idle_since <= began:
                self.close(idle.pop(0))
            if not idle:
                del self._idle[key]
        if self._idle:
            oldest = min(idle[0].idle_since for idle in self._idle.values())
            self._timer = self._reactor.callLater(oldest - began, self._sweep)
