"""What we ask of the transport under a channel that no interface of Twisted offers."""

import socket
from typing import Any

from twisted.internet import interfaces

PROBE_SECONDS = (60, 15, 4)
"""TCP keep-alive: idle, interval, count. A client that vanished is noticed after two minutes of
silence; the system's default is two hours, which a backend would go on being paid for."""


def unsent(transport: Any) -> int:
    """Bytes that were written and that the kernel has not taken yet; 0 where there is no way to
    know, which makes a slow reader look like one that has stalled."""
    wire = _wire(transport)
    whole = len(getattr(wire, "dataBuffer", b"")) + getattr(wire, "_tempDataLen", 0)
    return int(whole - getattr(wire, "offset", 0))


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
