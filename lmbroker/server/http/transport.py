"""Properties of transports and addresses that no interface of Twisted offers."""

import fcntl
import sys
import termios
from typing import Any

from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address

from lmbroker.backends.peer import innermost


def outstanding(transport: Any) -> int:
    """Return the number of written bytes that the client's kernel has not acknowledged.

    They are in the transport's buffers and in our kernel's. The latter count too: a socket becomes
    writable only when a third of its buffer is free, which can be megabytes, and until then a slow
    reader would look like one that has stalled.
    """
    wire = innermost(transport)
    ours = len(getattr(wire, "dataBuffer", b"")) + getattr(wire, "_tempDataLen", 0)
    return int(ours - getattr(wire, "offset", 0)) + _in_kernel(wire)


def _in_kernel(wire: Any) -> int:
    try:
        answer = fcntl.ioctl(wire.fileno(), termios.TIOCOUTQ, bytes(4))
    except (AttributeError, OSError):  # closed, or no socket
        return 0
    return int.from_bytes(answer, sys.byteorder)


def host_of(address: Any) -> str:
    """Return the host of a peer's address; "" for one that has none, as of a UNIX socket."""
    return address.host if isinstance(address, IPv4Address | IPv6Address) else ""


def finish_writing(transport: Any, *, secure: bool) -> None:
    """Send what was written, then half-close the connection, and go on reading where possible.

    With unread bytes in the kernel a plain close becomes a reset, which may discard the answer
    before the client has read it.
    """
    # TLS has no half-close of its own: its close waits for the peer's, and reads meanwhile.
    halves: bool = interfaces.IHalfCloseableDescriptor.providedBy(transport)
    if halves and not secure:
        transport.loseWriteConnection()
    else:
        transport.loseConnection()
