"""The parent's listeners: they accept connections, and leave them to somebody else."""

import socket
from collections.abc import Callable
from typing import Any

from twisted.application import service
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer

from lmbroker.backends.interfaces import IReactor
from lmbroker.config.endpoints import with_backlog
from lmbroker.server.descriptors import Shortage, is_shortage

AT_ONCE = 64
"""The maximum of connections that are accepted in one turn."""

PAUSE_SECONDS = 0.1
"""Seconds without accepting after the system had no more descriptors."""

Hand = Callable[[str, socket.socket], bool]
"""Takes an endpoint and a connection that came there; False where nobody takes it now."""


class Accepting(service.Service):
    """Listens on ``endpoint``, in all as Twisted would, and lets ``hand`` take what comes.

    Raises what Twisted raises for an endpoint that cannot be.
    """

    def __init__(
        self, endpoint: str, reactor: IReactor, hand: Hand, shortage: Shortage | None = None
    ) -> None:
        self._name = endpoint
        self._reactor = reactor
        self._hand = hand
        self._shortage = shortage or Shortage(reactor)
        self._endpoint = serverFromString(reactor, with_backlog(endpoint))
        self._port: Any = None
        self._acceptor: _Acceptor | None = None

    def privilegedStartService(self) -> None:
        """Listen, and accept from now on."""
        found: list[Any] = []
        self._endpoint.listen(ServerFactory()).addBoth(found.append)
        [port] = found
        if not hasattr(port, "stopListening"):
            port.raiseException()
        self._port = port
        # The port only holds the socket, from which the acceptor reads.
        port.stopReading()
        self._acceptor = _Acceptor(port, self._name, self._reactor, self._hand, self._shortage)

    def startService(self) -> None:
        """Listen unless that was done before."""
        super().startService()
        if self._port is None:
            self.privilegedStartService()

    def stopService(self) -> Any:
        """Accept nothing more and close the port."""
        super().stopService()
        if self._acceptor is not None:
            self._acceptor.stop()
            return self._port.stopListening()
        return None

    def go_on(self) -> None:
        """Accept again: a worker takes connections."""
        if self._acceptor is not None:
            self._acceptor.go_on()


@implementer(IReadDescriptor)
class _Acceptor:
    """Accepts on the socket of a port.

    A connection that nobody takes is kept, and no other is accepted: those wait in the system's
    queue.
    """

    def __init__(
        self, port: Any, name: str, reactor: IReactor, hand: Hand, shortage: Shortage
    ) -> None:
        self._port = port
        self._socket = port.socket
        self._name = name
        self._reactor = reactor
        self._hand = hand
        self._shortage = shortage
        self._kept: socket.socket | None = None
        self._retry: Any = None
        self._stopped = False
        reactor.addReader(self)

    def fileno(self) -> int:
        """Return the descriptor of the listening socket."""
        return int(self._socket.fileno())

    def logPrefix(self) -> str:
        """Return the endpoint, which names the socket in Twisted's log."""
        return self._name

    def connectionLost(self, reason: Any) -> None:
        """Accept nothing more: the socket is closed."""
        self.stop()

    def doRead(self) -> None:
        """Accept the connections that wait, up to a bound, and hand them over."""
        for _ in range(AT_ONCE):
            if self._kept is not None:
                return
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except (ConnectionError, InterruptedError):
                continue
            except OSError as error:
                if is_shortage(error):
                    self._shortage.report()
                self._pause()
                return
            self._give(connection)

    def _give(self, connection: socket.socket) -> None:
        if self._hand(self._name, connection):
            connection.close()
        else:
            self._kept = connection
            self._pause()

    def _pause(self) -> None:
        self._reactor.removeReader(self)
        if self._retry is None or not self._retry.active():
            self._retry = self._reactor.callLater(PAUSE_SECONDS, self.go_on)

    def go_on(self) -> None:
        """Accept again, and offer the kept connection first."""
        if self._stopped:
            return
        self._reactor.addReader(self)
        if self._kept is not None:
            kept, self._kept = self._kept, None
            self._give(kept)

    def stop(self) -> None:
        """Accept nothing more; what nobody has taken is closed."""
        if self._stopped:
            return
        self._stopped = True
        self._reactor.removeReader(self)
        if self._kept is not None:
            self._kept.close()
