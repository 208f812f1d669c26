"""A Redis server on a socket of its own, for tests, and a client that waits for its answers."""

import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
MISSING = "neither redis-server nor valkey-server is installed"


class RedisServer:
    """A server that is started and stopped as often as a test wants."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "redis.sock")
        self.url = f"unix://{self.path}"
        self._process = None

    def start(self, *options: str) -> None:
        """Start it, and wait until it answers."""
        command = [PROGRAM, "--port", "0", "--unixsocket", self.path, "--save", "", *options]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        for _ in range(500):
            try:
                self.ask("PING")
            except OSError:
                time.sleep(0.01)
            else:
                return
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        """Kill it; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            Path(self.path).unlink(missing_ok=True)

    def freeze(self) -> None:
        """Let it answer nothing until ``thaw``."""
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it answer again."""
        self._process.send_signal(signal.SIGCONT)

    def ask(self, *command: str) -> object:
        """Return the answer to one command."""
        with self.talk() as talk:
            return talk(*command)

    def talk(self) -> "Talk":
        """Return a connection for many commands."""
        return Talk(self.path)


class Talk:
    """A connection: called with a command, it returns the answer."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.connect(path)
        except OSError:
            self._socket.close()
            raise
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def __call__(self, *command: str) -> object:
        words = [str(word).encode() for word in command]
        out = b"*%d\r\n" % len(words)
        out += b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)
        self._socket.sendall(out)
        return self._answer()

    def _answer(self) -> object:
        line = self._file.readline().rstrip(b"\r\n")
        kind, rest = line[:1], line[1:]
        if kind == b"-":
            raise ValueError(rest.decode())
        if kind == b"*":
            return [self._answer() for _ in range(int(rest))]
        if kind == b"$":
            size = int(rest)
            return None if size < 0 else self._file.read(size + 2)[:-2].decode()
        return int(rest) if kind == b":" else rest.decode()
