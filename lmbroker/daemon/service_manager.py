"""Reports the daemon's state to systemd, or to another service manager with such a socket.

The messages are those of sd_notify(3): ``READY=1``, ``RELOADING=1``, ``STOPPING=1``,
``WATCHDOG=1``, each a datagram.
"""

import os
import socket
import time
from collections.abc import Mapping

from twisted.internet.task import LoopingCall

from lmbroker.backends.interfaces import IReactor

MICRO = 1_000_000


class ServiceManager:
    """Sends messages to the socket that ``NOTIFY_SOCKET`` names; none where there is none.

    Where ``WATCHDOG_USEC`` asks for watchdog messages, ``reactor`` sends two of them in that time:
    a reactor that is blocked sends none.
    """

    def __init__(self, reactor: IReactor, environ: Mapping[str, str]) -> None:
        self._address = environ.get("NOTIFY_SOCKET", "")
        self._living = LoopingCall(self._send, "WATCHDOG=1")
        self._living.clock = reactor
        self._every = self._watchdog_seconds(environ) / 2

    @staticmethod
    def _watchdog_seconds(environ: Mapping[str, str]) -> float:
        """Return the seconds within which a watchdog message is due, 0 where none is wanted."""
        microseconds = environ.get("WATCHDOG_USEC", "")
        meant = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        return int(microseconds) / MICRO if meant and microseconds.isdecimal() else 0.0

    def ready(self, status: str) -> None:
        """Report that the daemon serves, or still does; ``status`` is a line for people."""
        self._send(f"READY=1\nSTATUS={status}")
        if self._every and self._address and not self._living.running:
            self._living.start(self._every)

    def reloading(self) -> None:
        """Report that a reload begins; ``ready`` reports its end."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._send(f"RELOADING=1\nMONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """Report that the daemon begins to stop; watchdog messages go on until ``stopped``."""
        self._send("STOPPING=1\nSTATUS=Draining")

    def stopped(self) -> None:
        """Send nothing more."""
        if self._living.running:
            self._living.stop()

    def _send(self, message: str) -> None:
        if not self._address:
            return
        # "@" begins the name of an abstract socket, whose first byte is 0.
        address = f"\0{self._address[1:]}" if self._address[0] == "@" else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
                channel.setblocking(False)
                channel.sendto(message.encode(), address)
        except OSError:
            # Nobody listens any more: the daemon serves on.
            return
