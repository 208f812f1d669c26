"""The other end of a TCP connection, which may vanish without a word: its machine loses power, or
something between forgets the connection. The kernel is asked to notice."""

import socket
from typing import Any

from twisted.internet import interfaces

PROBE_SECONDS = (60, 15, 4)
"""TCP keep-alive: idle, interval, count. A peer that vanished is noticed after two minutes of
silence; the system's default is two hours, for which a call would be waited for, or paid for."""


def watch_peer(transport: Any, seconds: float) -> None:
    """Let the kernel notice a peer that vanished: silently, or with data that it has not
    acknowledged for ``seconds``."""
    if not interfaces.ITCPTransport.providedBy(transport):
        return
    transport.setTcpKeepAlive(True)
    if not hasattr(socket, "TCP_USER_TIMEOUT"):  # not Linux
        return
    handle = innermost(transport).getHandle()
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    for name, value in zip(names, PROBE_SECONDS, strict=True):
        handle.setsockopt(socket.IPPROTO_TCP, name, value)
    handle.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(seconds * 1000))


def innermost(transport: Any) -> Any:
    """The transport under TLS."""
    while (below := getattr(transport, "__dict__", {}).get("transport")) is not None:
        transport = below
    return transport
