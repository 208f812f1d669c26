"""The other end of a TCP connection, which may vanish without a word: its machine loses power, or
something between forgets the connection. The kernel is asked to notice."""

import select
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


def lookout(wire: Any) -> Any:
    """What tells by ``poll(0)`` whether something of the peer, or its end, waits in the kernel,
    where the reactor has not come to it yet; None where there is no socket. A quarter of what it
    costs to peek, which raises where there is nothing."""
    handle = getattr(wire, "socket", None)
    if handle is None:
        return None
    poller = select.poll()
    poller.register(handle, select.POLLIN | getattr(select, "POLLRDHUP", 0))
    return poller


def first_words(wire: Any) -> bytes:
    """What waits in the kernel, without taking it; nothing where the peer is gone."""
    try:
        said: bytes = wire.socket.recv(32, socket.MSG_PEEK)
    except OSError:
        return b""
    return said


def innermost(transport: Any) -> Any:
    """The transport under TLS."""
    while (below := getattr(transport, "__dict__", {}).get("transport")) is not None:
        transport = below
    return transport
