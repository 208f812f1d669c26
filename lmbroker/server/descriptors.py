"""Descriptors: how many this process may have, what it needs, and what is said when there are none.

At the start the soft limit is raised. Clients get all descriptors but a quarter, which is kept for
connections to backends; who comes then is told so, like one too many. If there is none left at all,
a descriptor that was kept for this lets us accept a connection, answer 503 and close it.
"""

import os
import resource
import socket
from collections.abc import Callable
from errno import EMFILE, ENFILE
from typing import Any

from twisted.logger import Logger

from lmbroker.backends.connections import IDLE_CONNECTIONS
from lmbroker.config.config import Config
from lmbroker.errors import ErrorInfo
from lmbroker.server.error_answers import REASONS, error_answer

MOST = 65536
"""The soft limit is raised so far, or as far as the configuration needs: some systems allow a
thousand million, and there are programs that look at each."""

OTHERS = 64
"""Descriptors for all that is no connection: the log, listeners, the reactor, files."""

AT_ONCE = 64
"""Connections that are refused in one turn."""

SILENT_SECONDS = 10.0
"""How long nothing more is logged about a shortage that was told."""

PAUSE_SECONDS = 0.1
"""How long nothing is accepted where not even a refusal can be given."""

NEAR = 256
"""With fewer left than this, connections are accepted one by one."""

NONE_LEFT = ErrorInfo(
    kind="overloaded",
    message="the broker is out of descriptors for connections",
    code="too_many_connections",
    retry_after="1",
)


def needed(config: Config) -> int:
    """How many descriptors one process may come to need by its limits."""
    limits, server = config.limits, config.server
    names = {target.backend.name for route in config.aliases.values() for target in route.targets}
    doors = 1 + bool(server.metrics_listen)
    return doors * limits.connections + limits.calls + IDLE_CONNECTIONS * len(names) + OTHERS


def allowed() -> int:
    """How many this process may have now."""
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return MOST if soft == resource.RLIM_INFINITY else soft


def raise_limit(config: Config) -> None:
    """Let this process, and those that it starts, have as many as it may ask for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = max(MOST, needed(config))
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def warnings(config: Config) -> tuple[str, ...]:
    """What to say where the limits of a configuration do not fit."""
    wanted, may = needed(config), allowed()
    if wanted <= may:
        return ()
    return (
        f"limits.connections and limits.calls may need {wanted} descriptors, and a process may "
        f"have {may} here: lower them, or raise LimitNOFILE (systemd) or ulimit -n",
    )


def for_clients() -> int:
    """A client's connection with this descriptor, or a higher one, is one too many."""
    may = allowed()
    return may - may // 4


class Shortage:
    """Counts connections that came when there were too few descriptors, and logs it now and then.
    ``count`` is told how many."""

    log = Logger()

    def __init__(self, clock: Any, count: Callable[[int], object] = lambda count: None) -> None:
        self._clock = clock
        self._count = count
        self._untold = 0
        self._silent_until = float("-inf")

    def report(self, count: int = 1) -> None:
        """So many more."""
        self._count(count)
        self._untold += count
        now = self._clock.seconds()
        if now >= self._silent_until:
            self._silent_until = now + SILENT_SECONDS
            untold, self._untold = self._untold, 0
            self.log.error(
                "Out of descriptors ({allowed}): {count} connections were refused or had to wait",
                allowed=allowed(),
                count=untold,
            )


def is_shortage(error: OSError) -> bool:
    """Whether there are no descriptors, for this process or for the system."""
    return error.errno in (EMFILE, ENFILE)


def refuse(connection: socket.socket, *, secure: bool = False) -> None:
    """Say that there are no descriptors, in the dialect of a request that has come already, and
    close. A TLS connection is only closed."""
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
    names = {"anthropic-version"} if b"\r\nanthropic-version:" in head else set()
    answer = error_answer(path, names, NONE_LEFT)
    lines = [f"HTTP/1.1 {answer.status} {REASONS[answer.status].decode()}", "connection: close"]
    lines += [f"{name}: {value}" for name, value in answer.headers]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + answer.body


class Guard:
    """Stands before a port's ``doRead``: Twisted's closes connections without a word where there
    is no descriptor for them."""

    def __init__(self, port: Any, reactor: Any, shortage: Shortage, *, secure: bool) -> None:
        self._port = port
        self._reactor = reactor
        self._shortage = shortage
        self._secure = secure
        self._accept: Callable[[], None] = port.doRead
        self._kept: int | None = None
        self._keep()
        port.doRead = self.doRead

    def doRead(self) -> None:
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
