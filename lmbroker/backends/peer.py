"""Has the kernel notice a TCP peer that vanished without closing its connection.

That happens where the peer's machine loses power, or a router on the way forgets the connection.
"""

import socket
from typing import Any

from twisted.internet import interfaces

PROBE_SECONDS = (60, 15, 4)
"""TCP keep-alive: idle seconds, interval, count. A peer that vanished is noticed after two minutes
of silence. The system's default is two hours, for which a call would wait and be paid for."""


def watch_peer(transport: Any, seconds: float) -> None:
    """Have the kernel close ``transport`` once its peer has vanished.

    It does so after ``PROBE_SECONDS`` of silence, or where sent data is not acknowledged for
    ``seconds``. Nothing happens for a transport that is no TCP connection.
    """
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
    """Return the transport below all layers of TLS; ``transport`` itself where there are none."""
    while (below := getattr(transport, "__dict__", {}).get("transport")) is not None:
        transport = below
    return transport
