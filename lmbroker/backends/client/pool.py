"""The connections that wait for their next request."""

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from lmbroker.backends import connections
from lmbroker.backends.client.sessions import Sessions
from lmbroker.backends.turn_end import ITurnEnd

if TYPE_CHECKING:
    from lmbroker.backends.client.connection import Connection

Key = tuple[bytes, bytes, int, str, str, str, str]
"""Scheme, host, port, the backend's name, the authorities trusted and the certificate shown there,
the proxy on the way: two backends at one address may differ in all of these."""


class Pool:
    """Idle connections, by what they lead to. The one used last is used next.

    What came over a connection that nobody had asked for would be taken for the answer to the next
    request, which may be another client's. So each is looked into when it is used again, and where
    something came, all connections to that backend are given up, and none is used again for a
    while.
    """

    log = Logger()

    def __init__(self, reactor: Any, dropped: connections.Dropped = lambda backend, why: None):
        self.seconds = reactor.seconds
        self.sessions = Sessions(reactor.seconds)
        self._reactor = reactor
        self._dropped = dropped
        self._idle: dict[Key, list[Connection]] = {}
        self._distrusted: dict[Key, float] = {}
        """Until when."""
        self._timer: Any = None
        self._posted: list[Connection] = []
        self._at_end = reactor.at_end_of_turn if ITurnEnd.providedBy(reactor) else None

    def take(self, key: Key) -> "Connection | None":
        """A connection that leads there, and is nobody else's from now on."""
        idle = self._idle.get(key)
        return idle.pop() if idle else None

    def post(self, connection: "Connection") -> None:
        """Have a connection that was taken here ``deliver`` its request, at the end of the turn:
        sent each for itself, requests wake the other side as often (15 µs of a call of 160)."""
        if self._at_end is None:
            connection.deliver(reading=True)
            return
        if not self._posted:
            self._at_end(self._deliver)
        self._posted.append(connection)

    def _deliver(self) -> None:
        posted, self._posted = self._posted, []
        for connection in posted:
            try:
                connection.deliver(reading=False)
            except Exception:
                self.log.failure("A request was not sent")
                connection.abort()

    def keep(self, connection: "Connection") -> None:
        """Hold a connection for its next request."""
        now = self._reactor.seconds()
        if self._distrusted and self._distrusted.get(connection.key, 0.0) > now:
            self.close(connection)
            return
        idle = self._idle.setdefault(connection.key, [])
        if len(idle) == connections.IDLE_CONNECTIONS:
            self.close(idle.pop(0))
        connection.idle_since = now
        idle.append(connection)
        if self._timer is None:
            self._timer = self._reactor.callLater(connections.IDLE_SECONDS, self._sweep)

    def forget(self, connection: "Connection") -> None:
        """A connection is gone."""
        idle = self._idle.get(connection.key)
        if idle is not None and connection in idle:
            idle.remove(connection)

    def stray(self, connection: "Connection", why: str, said: bytes) -> None:
        """Over this connection came what nobody had asked for; ``said`` is how it begins.
        ``why``: see ``connections.Dropped``."""
        key = connection.key
        self.forget(connection)
        connection.abort()
        self._dropped(key[3], why)
        if why == "unasked" and _tired(said):
            return
        now = self._reactor.seconds()
        self._distrusted = {each: until for each, until in self._distrusted.items() if until > now}
        if key not in self._distrusted:
            self.log.warn(
                "Backend {backend} sent what nobody had asked for: for {seconds:g} s none of its "
                "connections is used twice",
                backend=key[3],
                seconds=connections.DISTRUST_SECONDS,
            )
        self._distrusted[key] = now + connections.DISTRUST_SECONDS
        for each in self._idle.pop(key, ()):
            each.abort()

    def close(self, connection: "Connection") -> None:
        """Close a connection in an orderly way, for as long as its peer takes part."""
        transport, connection.transport = connection.transport, None
        transport.loseConnection()
        self._reactor.callLater(connections.CLOSE_SECONDS, _cut, transport)

    def drop_idle(self) -> None:
        """Let go of all that waits: its descriptors are needed for calls."""
        waiting = [connection for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        for connection in waiting:
            connection.abort()

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


def _cut(transport: Any) -> None:
    """Close it now, if it is not closed yet: TLS cannot be aborted after its end."""
    if transport.connected:
        transport.abortConnection()


def _tired(said: bytes) -> bool:
    """Whether these are the words of a server that gives up an idle connection. Some say so, and
    mean no harm."""
    return said.startswith((b"HTTP/1.1 408", b"HTTP/1.0 408"))
