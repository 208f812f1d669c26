"""The pool of idle connections."""

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker.backends import connections
from lmbroker.backends.client.sessions import Sessions
from lmbroker.backends.turn_end import ITurnEnd

if TYPE_CHECKING:
    from lmbroker.backends.client.connection import Connection

Key = tuple[bytes, bytes, int, str, str, str, str]
"""Scheme, host, port, the backend's name, the trusted authorities, the client certificate and the
proxy: two backends at one address may differ in the last four."""


class Pool:
    """Idle connections by their key; the one that was used last is used next.

    Bytes that came over an idle connection would be taken for the answer to its next request, which
    may be another client's. So each connection is checked when it is used again. Where bytes came,
    all connections to that backend are aborted, and for a while none is used twice.
    """

    log = Logger()
    rest = connections.REST_SECONDS

    def __init__(
        self, reactor: IReactorTime, dropped: connections.Dropped = lambda backend, why: None
    ):
        self.seconds = reactor.seconds
        self.sessions = Sessions(reactor.seconds)
        self._reactor = reactor
        self._dropped = dropped
        self._idle: dict[Key, list[Connection]] = {}
        self._distrusted: dict[Key, float] = {}
        """Key -> until when no connection with it is used twice."""
        self._proven: set[Key] = set()
        """Backends whose connections need no rest before they are used again."""
        self._proofs: dict[Key, int] = {}
        """How many rested connections were used again, of each backend that is not proven."""
        self._closing: dict[Connection, Any] = {}
        """Connections that are being closed, each with the timer that would abort it."""
        self._timer: Any = None
        self._posted: list[Connection] = []
        self._at_end = reactor.at_end_of_turn if ITurnEnd.providedBy(reactor) else None

    def take(self, key: Key) -> "Connection | None":
        """Return an idle connection with the key, which belongs to the caller from now on.

        It is None where there is none that may be used now.
        """
        idle = self._idle.get(key)
        if not idle:
            return None
        return idle.pop() if key in self._proven else self._take_rested(key, idle)

    def _take_rested(self, key: Key, idle: "list[Connection]") -> "Connection | None":
        """Return the connection used last among those that have rested for ``rest`` seconds.

        What a backend sends behind its answer has come by then. After ``PROOFS`` of them no more
        need to rest.
        """
        latest = self._reactor.seconds() - self.rest
        place = next((n for n in reversed(range(len(idle))) if idle[n].idle_since <= latest), None)
        if place is None:
            return None
        proofs = self._proofs[key] = self._proofs.get(key, 0) + 1
        if proofs == connections.PROOFS:
            del self._proofs[key]
            self._proven.add(key)
        return idle.pop(place)

    def post(self, connection: "Connection") -> None:
        """Have a connection of this pool ``deliver`` its request at the end of the turn.

        Requests that are sent together wake the other side once: that saves 15 µs of a call of 160.
        """
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
        """Keep a connection for its next request."""
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
        """Remove a connection that is closed."""
        idle = self._idle.get(connection.key)
        if idle is not None and connection in idle:
            idle.remove(connection)
        cut = self._closing.pop(connection, None)
        if cut is not None and cut.active():
            cut.cancel()

    def stray(self, connection: "Connection", why: str, said: bytes) -> None:
        """Give up a connection over which bytes came that answer no request.

        ``said`` is how they begin, ``why`` is a reason of ``connections.Dropped``.
        """
        key = connection.key
        self.forget(connection)
        connection.abort()
        self._dropped(key[3], why)
        if why == "unasked" and _closes_idle(said):
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
        self._proven.discard(key)
        self._proofs.pop(key, None)
        for each in self._idle.pop(key, ()):
            each.abort()

    def close(self, connection: "Connection") -> None:
        """Close a connection in an orderly way, and abort it where that takes too long."""
        transport, connection.transport = connection.transport, None
        transport.loseConnection()
        cut = self._reactor.callLater(connections.CLOSE_SECONDS, _cut, transport)
        self._closing[connection] = cut

    def drop_idle(self) -> None:
        """Abort all idle connections, since calls need their descriptors."""
        waiting = [connection for idle in self._idle.values() for connection in idle]
        self._idle.clear()
        for connection in waiting:
            connection.abort()

    def close_all(self) -> "Deferred[Any]":
        """Close all idle connections; fires when they are closed."""
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
        """Close the connections that were idle for too long, and set the timer for the next."""
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
    """Abort a transport that is not closed yet: TLS cannot be aborted after its end."""
    if transport.connected:
        transport.abortConnection()


def _closes_idle(said: bytes) -> bool:
    """Return whether a server says that it closes an idle connection, which is harmless."""
    return said.startswith((b"HTTP/1.1 408", b"HTTP/1.0 408"))
