"""What ``Wire.write`` does not get the kernel to take follows in its order."""

import socket

import pytest
from twisted.internet.tcp import Connection
from twisted.internet.testing import MemoryReactor

from lmbroker.backends.client.wire import Wire

HEAD = b"POST / HTTP/1.1\r\n\r\n"
BODY = bytes(range(256)) * 2048


@pytest.mark.sockets
@pytest.mark.parametrize("taken_before", [0, 1, 1 << 22])
@pytest.mark.parametrize("size", [0, 1, 20_000, len(BODY)])
def test_a_request_and_its_body_arrive_whole_however_much_the_kernel_takes(size, taken_before):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        connection = Connection(ours, None, MemoryReactor())
        connection.connected = True
        wire = Wire(connection)
        filled = 0
        while taken_before and filled < taken_before:
            try:
                filled += ours.send(b"-" * min(65536, taken_before - filled))
            except BlockingIOError:
                break  # from here on the kernel takes nothing
        wire.write(HEAD, BODY[:size])
        received = bytearray()
        while len(received) < filled + len(HEAD) + size:
            try:
                received += theirs.recv(65536)
            except BlockingIOError:
                connection.doWrite()
        assert received[filled:] == HEAD + BODY[:size]
