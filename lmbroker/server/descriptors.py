"""File descriptors: how many the process needs and may have, and what happens when none is left.

The soft limit is raised at the start. A quarter of the descriptors is reserved for connections to
backends: a client that connects when all others are in use is refused with 503, as where
``limits.connections`` is reached. Where no descriptor is left at all, a spare one is closed, which
allows the process to accept a connection, answer it with 503 and close it.
"""

import os
import resource
import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE
from typing import Any

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker.backends.connections import IDLE_CONNECTIONS
from lmbroker.backends.interfaces import IReactor
from lmbroker.config.config import Config
from lmbroker.errors import ErrorInfo
from lmbroker.server.error_answers import REASONS, error_answer, own_headers

MOST = 65536
"""The soft limit is raised to this, or to what the configuration needs, and no further: some
systems allow a thousand million, and some programs visit every possible descriptor."""

OTHERS = 64
"""The descriptors for everything but connections: the log, listeners, the reactor, files."""

AT_ONCE = 64
"""The maximum of connections that are refused in one turn of the reactor."""

SILENT_SECONDS = 10.0
"""The minimum of seconds between two log lines about a shortage."""

PAUSE_SECONDS = 0.1
"""How long no connection is accepted where none can even be refused."""

NEAR = 256
"""With fewer descriptors left than this, connections are accepted one by one."""

NONE_LEFT = ErrorInfo(
    kind="overloaded",
    message="the broker is out of descriptors for connections",
    code="too_many_connections",
    retry_after="1",
)


def needed(config: Config) -> int:
    """Return the maximum of descriptors that one process needs by its limits."""
    limits, server = config.limits, config.server
    names = {target.backend.name for route in config.aliases.values() for target in route.targets}
    sites = 1 + bool(server.metrics_listen)
    return sites * limits.connections + limits.calls + IDLE_CONNECTIONS * len(names) + OTHERS


def allowed() -> int:
    """Return the number of descriptors that this process may have now."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if soft == resource.RLIM_INFINITY else soft


def raise_limit(config: Config) -> None:
    """Raise the soft limit of this process, and of those that it starts, as far as is useful."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(MOST, needed(config))
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def warnings(config: Config) -> tuple[str, ...]:
    """Return the warnings about a configuration that may need more descriptors than are allowed."""
    wanted, may = needed(config), allowed()
    if wanted <= may:
        return ()
    return (
        f"limits.connections and limits.calls may need {wanted} descriptors, and a process may "
        f"have {may} here: lower them, or raise LimitNOFILE (systemd) or ulimit -n",
    )


def for_clients() -> int:
    """Return the first descriptor that no client's connection may have.

    The higher ones are reserved.
    """
    may = allowed()
    return may - may // 4


class Shortage:
    """Counts connections for which no descriptor was left, and logs them now and then.

    ``count`` is called with the number of each report.
    """

    log = Logger()

    def __init__(
        self, clock: IReactorTime, count: Callable[[int], object] = lambda count: None
    ) -> None:
        self._clock = clock
        self._count = count
        self._unlogged = 0
        self._silent_until = float("-inf")

    def report(self, count: int = 1) -> None:
        """Count ``count`` more connections that were refused or had to wait."""
        self._count(count)
        self._unlogged += count
        now = self._clock.seconds()
        if now >= self._silent_until:
            self._silent_until = now + SILENT_SECONDS
            unlogged, self._unlogged = self._unlogged, 0
            self.log.error(
                "Out of descriptors ({allowed}): {count} connections were refused or had to wait",
                allowed=allowed(),
                count=unlogged,
            )


def is_shortage(error: OSError) -> bool:
    """Return whether ``error`` means that the process or the system has no descriptors left."""
    return error.errno in (EMFILE, ENFILE)


def refuse(connection: socket.socket, *, secure: bool = False) -> None:
    """Answer a connection with 503 because no descriptor is left, and close it.

    The answer is in the dialect of the request, as far as that has come already. A TLS connection
    is closed without an answer.
    """
    try:
        connection.setblocking(False)
        if not secure:
            connection.send(_refusal(_read(connection)))
            connection.shutdown(socket.SHUT_WR)
            _read(connection)
    except OSError:
        pass  # The client is gone, or takes nothing.
    finally:
        connection.close()


def _read(connection: socket.socket) -> bytes:
    try:
        return connection.recv(65536)
    except BlockingIOError:
        return b""


def _refusal(request: bytes) -> bytes:
    _, _, target = request.partition(b"\r\n")[0].partition(b" ")
    path = target.partition(b" ")[0].partition(b"?")[0].decode("latin-1")
    head = request.partition(b"\r\n\r\n")[0].lower()
    names = {name for name in own_headers() if b"\r\n%s:" % name.encode() in head}
    answer = error_answer(path, names, NONE_LEFT)
    lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status].decode()}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body


class Guard:
    """Replaces a port's ``doRead``, so that connections are answered where no descriptor is left.

    Twisted's own ``doRead`` closes them without an answer.
    """

    def __init__(self, port: Any, reactor: IReactor, shortage: Shortage, *, secure: bool) -> None:
        self._port = port
        self._reactor = reactor
        self._shortage = shortage
        self._secure = secure
        self._accept: Callable[[], None] = port.doRead
        self._kept: int | None = None
        self._keep()
        port.doRead = self.doRead

    def doRead(self) -> None:
        """Accept connections, or refuse them where no descriptor is left."""
        try:
            free = os.dup(self._port.fileno())
        except OSError as error:
            if is_shortage(error):
                self._refuse()
                return
            raise
        os.close(free)
        if free > allowed() - NEAR:
            self._port.numberAccepts = 1
        self._accept()

    def _keep(self) -> None:
        try:
            self._kept = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._kept = None

    def _refuse(self) -> None:
        refused = 0
        try:
            for _ in range(AT_ONCE):
                if self._kept is None:
                    self._keep()
                    if self._kept is None:
                        self._pause()
                        return
                os.close(self._kept)
                self._kept = None
                try:
                    connection, _ = self._port.socket.accept()
                except BlockingIOError:
                    return
                except OSError:
                    self._pause()
                    return
                refuse(connection, secure=self._secure)
                refused += 1
                self._keep()
        finally:
            if self._kept is None:
                self._keep()
            if refused:
                self._shortage.report(refused)

    def _pause(self) -> None:
        self._shortage.report()
        self._port.stopReading()
        self._reactor.callLater(PAUSE_SECONDS, self._go_on)

    def _go_on(self) -> None:
        if self._port.connected and not self._port.disconnecting:
            self._port.startReading()
