"""What we ask of the transport under a channel that no interface of Twisted offers."""

import fcntl
import sys
import termios
from typing import Any

from twisted.internet import interfaces
from twisted.internet.address import IPv4Address, IPv6Address

from lmbroker.backends.peer import innermost


def outstanding(transport: Any) -> int:
    """Bytes that were written and that the client's kernel has not taken yet, in our buffers and
    in the kernel's. The kernel's count: it asks for more only when a third of its buffer has
    become free, which can be megabytes, and a slow reader would look like one that has stalled.
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
    """The host of a peer's address; "" for one that has none, as of a UNIX socket."""
    return address.host if isinstance(address, IPv4Address | IPv6Address) else ""


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
