"""What is below a connection: looked into, and written to, now and not at the end of the turn.

What the reactor has not read yet is in the kernel, and under TLS in OpenSSL as well. Between the
look and the write nothing may come, so each of the two is as close to the socket as it can be.
"""

import select
import socket
from typing import Any

from OpenSSL.SSL import Error as OpenSSLError
from OpenSSL.SSL import WantReadError
from twisted.internet.tcp import Connection as TCPConnection
from twisted.protocols.tls import TLSMemoryBIOProtocol

from lmbroker.backends.peer import innermost

TLS_READS = 8
"""So many times what TLS has to say of its own may go on before a connection is given up."""

_STIRS = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class Wire:
    """The way to the kernel of ``transport``."""

    __slots__ = ("_poller", "_secure", "_tcp", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._tcp = innermost(transport)
        self._secure = isinstance(transport, TLSMemoryBIOProtocol)
        self._poller: Any = None
        """A quarter of what it costs to peek, which raises where there is nothing."""
        handle = getattr(self._tcp, "socket", None)
        if handle is not None:
            self._poller = select.poll()
            self._poller.register(handle, _STIRS)

    def look(self, *, reading: bool) -> bytes | None:
        """None where nothing has come that the reactor has not read. Else how it begins, which is
        nothing where the peer has closed the connection, or what it said was read here.
        ``reading``: a read of this connection may be under way."""
        stirs = self._poller is not None and self._poller.poll(0)
        if self._secure and (stirs or reading):
            return self._within(stirs)
        return self._peeked() if stirs else None

    def _peeked(self) -> bytes:
        try:
            said: bytes = self._tcp.socket.recv(32, socket.MSG_PEEK)
        except OSError:
            return b""
        return said

    def _within(self, stirs: Any) -> bytes | None:
        """The same of TLS, which has things to say of its own, such as tickets for sessions. These
        are read here; what else is read goes the usual way, to the protocol."""
        reads = 0
        while stirs:
            reads += 1
            if reads > TLS_READS or self._tcp.doRead() is not None:
                return b""
            if not self._transport.connected or self._transport.disconnecting:
                return b""
            stirs = self._poller.poll(0)
        try:
            # Of the read that is under way, where the last answer was part of it.
            said: bytes = self._transport.getHandle().recv(32, socket.MSG_PEEK)
        except WantReadError:
            return None
        except OpenSSLError:
            return b""
        return said

    def write(self, data: bytes) -> None:
        """Give ``data`` to the kernel, as much of it as there is room for."""
        transport = self._transport
        if isinstance(transport, TCPConnection):
            try:
                count = transport.socket.send(data[: transport.SEND_LIMIT])
            except OSError:
                # There is no room, or no peer: the reactor will see.
                count = 0
            if count < len(data):
                transport.write(data[count:])
        elif self._secure:
            # Not what puts small writes together, a turn later.
            TLSMemoryBIOProtocol.write(transport, data)
            if isinstance(self._tcp, TCPConnection):
                self._tcp.doWrite()
        else:
            transport.write(data)
