"""Looks into a connection and writes to it at once, not at the end of the reactor's turn.

Bytes that the reactor has not read yet are in the kernel, and with TLS in OpenSSL as well. No byte
may come between the look and the write, so both are as close to the socket as possible.
"""

import select
import socket
from typing import Any

from twisted.internet.tcp import Connection as TCPConnection

from lmbroker.backends.peer import innermost
from lmbroker.tls.connection import SecureConnection

TLS_READS = 8
"""The maximum of reads of TLS messages without data before a connection is given up."""

_STIRS = select.POLLIN | getattr(select, "POLLRDHUP", 0)


class Wire:
    """Direct access to the socket of ``transport``."""

    __slots__ = ("_poller", "_secure", "_tcp", "_transport")

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._tcp = innermost(transport)
        self._secure = isinstance(transport, SecureConnection)
        self._poller: Any = None
        """Polling costs a quarter of what peeking costs, which raises where there is nothing."""
        handle = getattr(self._tcp, "socket", None)
        if handle is not None:
            self._poller = select.poll()
            self._poller.register(handle, _STIRS)

    def look(self, *, reading: bool) -> bytes | None:
        """Return the beginning of what has come and was not read yet; None where nothing has come.

        It is empty where the peer has closed the connection, or where the bytes were read here.
        ``reading``: a read of this connection may be under way.
        """
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
        """Return ``look`` for TLS, whose messages may carry no data, such as session tickets.

        Those are read here; data that is read goes to the protocol as usual.
        """
        reads = 0
        while stirs:
            reads += 1
            if reads > TLS_READS or self._tcp.doRead() is not None:
                return b""
            if self._transport.state != "open":
                return b""
            stirs = self._poller.poll(0)
        # A read that is under way may have brought a part of it along with the last answer.
        return b"" if self._transport.unfinished else None

    def write(self, data: bytes, rest: bytes = b"") -> None:
        """Give ``data`` and ``rest`` to the kernel at once, as far as the kernel takes them."""
        tcp = self._tcp
        plain = isinstance(tcp, TCPConnection)
        if rest:
            if plain and not self._secure:
                self._write_both(data, rest)
                return
            data += rest
        if not plain:
            self._transport.write(data)
            return
        if self._secure:
            data = self._transport.sealed(data)
        try:
            count = tcp.socket.send(data[: tcp.SEND_LIMIT])
        except OSError:
            # The buffer is full, or the peer is gone: the reactor will notice.
            count = 0
        if count < len(data):
            tcp.write(data[count:])

    def _write_both(self, data: bytes, rest: bytes) -> None:
        """Write as ``write`` does, where ``rest`` is long.

        Of it only what the kernel does not take is copied.
        """
        tcp = self._tcp
        try:
            count = tcp.socket.sendmsg((data, rest))
        except OSError:
            count = 0
        if count < len(data):
            tcp.writeSequence((data[count:], rest))
        elif count < len(data) + len(rest):
            tcp.write(rest[count - len(data) :])
