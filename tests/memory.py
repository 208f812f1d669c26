"""What streams take in the daemon's memory, on loopback: slow readers and idle ones.

``make memory`` runs it. 200 streams of 50 MB each go to readers of 10 kB/s for some seconds: the
daemon must stop to read rather than keep what they do not take. 1,000 streams stand idle after
their first event: what one of them costs. Each is done for a backend of the client's dialect (the
bytes pass) and of the other (they are translated). Prints figures; exit code 1 where a bound is
broken.
"""

import argparse
import json
import re
import resource
import socket
import tempfile
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from rig import EVENTS, PATHS, chunk, sse_head
from running import Daemon
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import LoopingCall, deferLater, react
from twisted.internet.threads import deferToThread

STREAM_BYTES = 50_000_000
READ_BYTES = 10_000
"""Of each slow reader, in a second."""
READER_BUFFER = 64 * 1024
"""What the kernel holds for a reader: that of somebody far away, not of loopback."""

SLOW_BOUND = 512
"""KiB that the daemon may hold for a slow reader: what was read before it stopped to read."""
IDLE_BOUND = 40
"""KiB that an idle stream may take (docs/performance.md)."""

CONFIG = """
log_level = "warning"
[server]
host = "127.0.0.1"
port = PORT
[limits]
calls = 5000
connections = 5000
[[models]]
alias = "flood"
type = "anthropic"
target = { url = "URL", model = "flood" }
[[models]]
alias = "idle"
type = "anthropic"
target = { url = "URL", model = "idle" }
"""

FIRST, LAST = EVENTS["a"]
DELTA = (
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"' + b"word " * 12 + b'"}}\n\n'
)
EVENTS_AT_ONCE = chunk(DELTA * 100)


class Backend(Protocol):
    """``flood``: events for as long as they are read, to so many bytes; ``idle``: one event."""

    def connectionMade(self):
        self._data = b""
        self._left = STREAM_BYTES

    def dataReceived(self, data):
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
        if not end or len(body) < int(length):
            return
        self.transport.write(sse_head() + chunk(FIRST))
        if json.loads(body)["model"] == "flood":
            self.transport.registerProducer(self, False)

    def resumeProducing(self):
        self.transport.write(EVENTS_AT_ONCE)
        self._left -= len(EVENTS_AT_ONCE)
        self.factory.written += len(EVENTS_AT_ONCE)
        if self._left <= 0:
            self.transport.unregisterProducer()
            self.transport.write(chunk(LAST) + b"0\r\n\r\n")

    def stopProducing(self): ...

    def connectionLost(self, reason): ...


class Backends(Factory):
    protocol = Backend
    noisy = False
    written = 0


class Readers:
    """Clients by the hundred, over blocking sockets that are read now and then."""

    def __init__(self, port, dialect, alias, count):
        self.taken = 0
        self.begun = 0
        body = json.dumps(
            {
                "model": alias,
                "max_tokens": 9,
                "messages": [{"role": "user", "content": "hi"}],
                "stream": True,
            }
        ).encode()
        head = f"POST {PATHS[dialect]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self._request = head.encode() + body
        self._port = port
        self._sockets = []
        self._count = count

    async def open(self):
        """All of them, with the first bytes of their answers."""
        for number in range(self._count):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, READER_BUFFER)
            client.connect(("127.0.0.1", self._port))
            client.setblocking(False)
            client.sendall(self._request)
            self._sockets.append(client)
            if number % 20 == 0:
                await deferLater(reactor, 0.02)
        for client in self._sockets:
            while not _take(client, READ_BYTES):
                await deferLater(reactor, 0.01)
            self.begun += 1

    def read(self):
        """So much of each."""
        for client in self._sockets:
            self.taken += _take(client, READ_BYTES)

    def close(self):
        for client in self._sockets:
            client.close()


def _take(client, size):
    with suppress(BlockingIOError):
        return len(client.recv(size))
    return 0


def memory(daemon):
    """KiB."""
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


async def slow(daemon, backends, dialect, options):
    """KiB that a slow reader takes, at the most that was seen."""
    backends.written = 0
    before = memory(daemon)
    readers = Readers(daemon.port, dialect, "flood", options.slow)
    await readers.open()
    reading = LoopingCall(readers.read)
    reading.start(1)
    highest = before
    for _ in range(int(options.seconds / 0.25)):
        await deferLater(reactor, 0.25)
        highest = max(highest, memory(daemon))
    reading.stop()
    each = (highest - before) / options.slow
    print(
        f"slow, {way(dialect)}: {options.slow} streams, memory {before} -> {highest} KiB, "
        f"{each:.1f} KiB each; of {STREAM_BYTES / 1e6:.0f} MB the backend could write "
        f"{backends.written / options.slow / 1e6:.1f} MB, the reader took "
        f"{readers.taken / options.slow / 1e6:.2f} MB",
        flush=True,
    )
    readers.close()
    return each


async def idle(daemon, dialect, options):
    """KiB that an idle stream takes."""
    before = memory(daemon)
    readers = Readers(daemon.port, dialect, "idle", options.idle)
    await readers.open()
    await deferLater(reactor, 1)
    after = memory(daemon)
    each = (after - before) / options.idle
    print(
        f"idle, {way(dialect)}: {options.idle} streams, memory {before} -> {after} KiB, "
        f"{each:.1f} KiB each",
        flush=True,
    )
    readers.close()
    return each


def way(dialect):
    return "passed" if dialect == "anthropic" else "translated"


async def measured(options, folder):
    """What is wrong, as lines."""
    backends = Backends()
    listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(backends)
    config = CONFIG.replace("URL", f"http://127.0.0.1:{listening.getHost().port}")
    problems = []
    for dialect in PATHS:
        async with a_daemon(folder, config, dialect) as daemon:
            each = await idle(daemon, dialect, options)
        if each > IDLE_BOUND:
            problems.append(f"an idle stream takes {each:.1f} KiB, more than {IDLE_BOUND}")
        async with a_daemon(folder, config, dialect) as daemon:
            each = await slow(daemon, backends, dialect, options)
        if each > SLOW_BOUND:
            problems.append(f"a slow reader takes {each:.1f} KiB, more than {SLOW_BOUND}")
    await listening.stopListening()
    return problems


@asynccontextmanager
async def a_daemon(folder, config, dialect):
    """A fresh one for each measurement, lest one fill what another has freed. What its first
    streams leave is no stream's: imports, counters, the heap itself."""
    daemon = await deferToThread(Daemon(folder, config).wait)
    try:
        warm = Readers(daemon.port, dialect, "idle", 20)
        await warm.open()
        warm.close()
        await deferLater(reactor, 0.2)
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.wait()


async def told(options, folder):
    problems = await measured(options, folder)
    print("\n".join(problems) or "within the bounds", flush=True)
    if problems:
        raise SystemExit(1)


def main():
    parser = argparse.ArgumentParser(description="The memory that streams take in the daemon.")
    parser.add_argument("--slow", type=int, default=200, help="streams with slow readers")
    parser.add_argument("--seconds", type=float, default=10, help="for which they read")
    parser.add_argument("--idle", type=int, default=1000, help="streams that stand idle")
    options = parser.parse_args()
    # Four descriptors for each stream in the two processes.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as folder:
        react(lambda _: ensureDeferred(told(options, Path(folder))))


if __name__ == "__main__":
    main()
