"""The line between two of our processes: whole messages, each with at most one open file.

A socket pair that keeps the bounds of messages. It is also how each notices that the other is
gone, however it went.
"""

import os
import socket
from collections import deque
from collections.abc import Callable
from errno import EAGAIN, ENOBUFS, ETOOMANYREFS
from typing import Any

import msgspec
from twisted.internet.interfaces import IReadWriteDescriptor
from zope.interface import implementer

from lmbroker.backends.interfaces import IReactor

MESSAGE_BYTES = 65536
TEXT = 4000
"""The maximum of characters of a message; what may be longer goes as a file."""

AT_ONCE = 64
"""The maximum of messages that are received in one iteration of the reactor."""

_FULL = (EAGAIN, ENOBUFS, ETOOMANYREFS)


class Message(msgspec.Struct, frozen=True, array_like=True):
    """``kind`` says what to do, or what was done; ``text`` with what."""

    kind: str
    text: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode

Received = Callable[[Message, int | None], None]
"""Takes a message and the descriptor that came with it, which the taker must close."""


def pair() -> tuple[socket.socket, socket.socket]:
    """Return the two ends of a line."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def take(end: socket.socket) -> tuple[Message, int | None]:
    """Return the next message; waits for it where ``end`` does.

    Raises OSError where there is none, and EOFError where the other is gone.
    """
    data, files, _, _ = socket.recv_fds(end, MESSAGE_BYTES, 1)
    if not data:
        raise EOFError
    return _decode(data), files[0] if files else None


def send(end: socket.socket, message: Message, file: int | None = None) -> None:
    """Send a message; waits where ``end`` does. Raises OSError."""
    socket.send_fds(end, [_encode(message)], [] if file is None else [file])


@implementer(IReadWriteDescriptor)
class Line:
    """One end of a line in ``reactor``. ``gone`` is called once, when the other end is closed."""

    def __init__(
        self, end: socket.socket, reactor: IReactor, received: Received, gone: Callable[[], None]
    ) -> None:
        end.setblocking(False)
        self._end = end
        self._reactor = reactor
        self._received = received
        self._gone = gone
        self._unsent: deque[tuple[bytes, int | None]] = deque()
        self._closed = False
        reactor.addReader(self)

    def send(self, kind: str, text: str = "", file: int | None = None) -> None:
        """Send a message, later if it must be; ``file`` is the caller's to close."""
        data = _encode(Message(kind, text[:TEXT]))
        if self._closed or (not self._unsent and self._sent(data, file)):
            return
        self._unsent.append((data, None if file is None else os.dup(file)))
        self._reactor.addWriter(self)

    def hand(self, kind: str, text: str, file: int) -> bool:
        """Send a message now or not at all; return whether it was sent."""
        if self._closed or self._unsent:
            return False
        return self._sent(_encode(Message(kind, text)), file)

    def _sent(self, data: bytes, file: int | None) -> bool:
        """Send ``data``; returns whether it was sent. ``gone`` reports a process that has ended."""
        try:
            socket.send_fds(self._end, [data], [] if file is None else [file])
        except OSError as error:
            if error.errno not in _FULL:
                self._forget()
            return False
        return True

    def close(self) -> None:
        """Hang up."""
        if self._closed:
            return
        self._closed = True
        self._forget()
        self._reactor.removeReader(self)
        self._reactor.removeWriter(self)
        self._end.close()

    def _forget(self) -> None:
        while self._unsent:
            _, file = self._unsent.popleft()
            if file is not None:
                os.close(file)

    # What the reactor calls.

    def fileno(self) -> int:
        """Return the socket's file descriptor, for the reactor."""
        return self._end.fileno()

    def logPrefix(self) -> str:
        """Return the name under which the reactor logs errors of this socket."""
        return "line"

    def doRead(self) -> None:
        """Receive the messages that have come, a bounded number of them."""
        for _ in range(AT_ONCE):
            if self._closed:
                return
            try:
                message, file = take(self._end)
            except BlockingIOError:
                return
            except (OSError, EOFError):
                self.close()
                self._gone()
                return
            self._received(message, file)

    def doWrite(self) -> None:
        """Send what waits, as far as the socket takes it."""
        while self._unsent:
            data, file = self._unsent[0]
            if not self._sent(data, file):
                return
            self._unsent.popleft()
            if file is not None:
                os.close(file)
        self._reactor.removeWriter(self)

    def connectionLost(self, reason: Any) -> None:
        """Close the line: the socket broke, or the reactor ends."""
        if not self._closed:
            self.close()
            if self._reactor.running:
                self._gone()
