"""What we ask of the transport under a channel that no interface of Twisted offers."""

import fcntl
import socket
import sys
import termios
from typing import Any

from twisted.internet import interfaces

PROBE_SECONDS = (60, 15, 4)
"""TCP keep-alive: idle, interval, count. A client that vanished is noticed after two minutes of
silence; the system's default is two hours, which a backend would go on being paid for."""


def outstanding(transport: Any) -> int:
    """Bytes that were written and that the client's kernel has not taken yet, in our buffers and
    in the kernel's. The kernel's count: it asks for more only when a third of its buffer has
    become free, which can be megabytes, and a slow reader would look like one that has stalled.
    """
    wire = _wire(transport)
    ours = len(getattr(wire, "dataBuffer", b"")) + getattr(wire, "_tempDataLen", 0)
    return int(ours - getattr(wire, "offset", 0)) + _in_kernel(wire)


def _in_kernel(wire: Any) -> int:
    try:
        answer = fcntl.ioctl(wire.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError):  # closed, or no socket
        return 0
    return int.from_bytes(answer, sys.byteorder)


def watch_peer(transport: Any, seconds: float) -> None:
    """Let the kernel notice a client that vanished: silently, or with data that it has not
    acknowledged for ``seconds``."""
    if not interfaces.ITCPTransport.providedBy(transport):
        return
    transport.setTcpKeepAlive(True)
    if not hasattr(socket, "TCP_USER_TIMEOUT"):  # not Linux
        return
    handle = _wire(transport).getHandle()
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    for name, value in zip(names, PROBE_SECONDS, strict=True):
        handle.setsockopt(socket.IPPROTO_TCP, name, value)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def finish_writing(transport: Any, *, secure: bool) -> None:
    """Send what was written, then say that no more comes, and go on reading where that can be
    done. With unread bytes in the kernel a plain close is a reset, and a reset may take the
    answer away from the client."""
    # TLS has no half-close of its own: its close waits for the peer's, and reads meanwhile.
    halves: bool = interfaces.IHalfCloseableDescriptor.providedBy(transport)
    if halves and not secure:
        transport.loseWriteConnection()
    else:
        transport.loseConnection()


def _wire(transport: Any) -> Any:
    """The transport under TLS."""
    while (below := getattr(transport, "__dict__", {}).get("transport")) is not None:
        transport = below
    return transport
