"""Plays samples through one installation of LMBroker: a scripted backend, the daemon as a process,
and a client that keeps what it was told, byte for byte.

Samples go one after another, so that whatever the broker learns of its backends it learns in the
same order in each installation.
"""

import json
import re
import socket
import subprocess
import tempfile
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from installations.samples import Answer, Command, Sample, Setting
from running import Daemon

CLIENT_SECONDS = 20
QUIET_SECONDS = 0.25
"""A connection of a sample that is no single request is read until so long nothing came."""
BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
CALLS = 40
"""Tool calls of one answer whose ids may have been made up."""
TRACE = re.compile(
    rb"(?<=traceparent: 00-)[0-9a-f]{32}-[0-9a-f]{16}"
    rb'|(?<="trace_id": ")[0-9a-f]{32}|(?<="span_id": ")[0-9a-f]{16}'
)
"""The names of a trace and a span that the broker begins."""
REQUEST_ID = re.compile(rb"req_[0-9a-f]{24}(?![0-9A-Za-z])")
ACCESS = "lmbroker.accesslog.AccessLog"
TWISTED_FACTORIES = ("Starting factory", "Stopping factory")
"""These lines of Twisted's name the module of a class, which may move."""
PASSING = re.compile(rb"_seconds|_created|^process_|^python_")
"""Metrics whose values are times, or belong to the process."""

Parts = Mapping[str, bytes]


@dataclass
class Outcome:
    """What came of a sample: each part that is compared, by its name."""

    group: str
    name: str
    parts: dict[str, bytes] = field(default_factory=dict)

    def keep(self, parts: Parts) -> "Outcome":
        """Keeps ``parts`` too, compressed: there are many, and they are long."""
        self.parts |= {name: zlib.compress(data, 1) for name, data in parts.items()}
        return self

    def part(self, name: str) -> bytes | None:
        data = self.parts.get(name)
        return None if data is None else zlib.decompress(data)


class ScriptedBackend:
    """Answers each request with the next of ``answers``, the last one again and again, and keeps
    the bytes of each request."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self._answers: tuple[Answer, ...] = ()
        self._lock = threading.Lock()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def script(self, answers: tuple[Answer, ...]) -> None:
        """From now on these are given."""
        with self._lock:
            self._answers, self.received = answers, []

    def close(self) -> None:
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            data = b""
            while True:
                request, data = _request(connection, data)
                if not request:
                    return
                with self._lock:
                    self.received.append(request)
                    place = min(len(self.received), len(self._answers)) - 1
                    answer = self._answers[place] if place >= 0 else Answer(b"", "close")
                try:
                    connection.sendall(answer.data)
                    if answer.then == "wait":
                        connection.recv(1)
                except OSError:
                    return
                if answer.then != "keep":
                    return


def _request(connection: socket.socket, data: bytes) -> tuple[bytes, bytes]:
    """One whole request, and what came behind it; nothing where the other side has closed."""
    wanted: int | None = None
    while wanted is None or len(data) < wanted:
        if wanted is None and b"\r\n\r\n" in data:
            head = data.partition(b"\r\n\r\n")[0]
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            wanted = len(head) + 4 + (int(length[1]) if length else 0)
            continue
        try:
            piece = connection.recv(1 << 20)
        except OSError:
            piece = b""
        if not piece:
            return b"", b""
        data += piece
    return data[:wanted], data[wanted:]


class Client:
    """Asks the broker, over a new connection each time."""

    def __init__(self, port: int) -> None:
        self._port = port

    def ask(self, sample: Sample) -> bytes:
        """The answer's head as it came, and its body without the framing of chunks."""
        with socket.create_connection(("127.0.0.1", self._port), CLIENT_SECONDS) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(sample.request)
            if sample.raw:
                return self._all(connection)
            try:
                return self._answer(connection, sample.request.startswith(b"HEAD "))
            except TimeoutError:
                return b"(no whole answer in time)"

    def _all(self, connection: socket.socket) -> bytes:
        """All that comes, framing included."""
        received = b""
        connection.settimeout(4 * QUIET_SECONDS)
        try:
            while piece := connection.recv(1 << 20):
                received += piece
                connection.settimeout(QUIET_SECONDS)
        except TimeoutError:
            return received + b"\n(kept open)"
        except OSError:
            return received + b"\n(reset)"
        return received + b"\n(closed)"

    def _answer(self, connection: socket.socket, no_body: bool) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            piece = _received(connection)
            if not piece:
                return data + b"\n(ends inside the head)"
            data += piece
        head, _, body = data.partition(b"\r\n\r\n")
        if no_body or head[9:12] in (b"204", b"304"):
            return head + b"\r\n\r\n" + body
        if re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):
            ended, body = _unchunked(connection, body)
        else:
            length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
            while length is None or len(body) < int(length[1]):
                piece = _received(connection)
                if not piece:
                    break
                body += piece
            ended = length is None or len(body) == int(length[1])
        return head + b"\r\n\r\n" + body + (b"" if ended else b"\n(ends too early)")


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except ConnectionError:
        return b""


def _unchunked(connection: socket.socket, data: bytes) -> tuple[bool, bytes]:
    """Whether the last chunk came, and what is in the chunks."""
    pieces: list[bytes] = []
    while True:
        line, found, rest = data.partition(b"\r\n")
        size = int(line, 16) if found else 0
        if found and len(rest) >= size + 2:
            if not size:
                return True, b"".join(pieces) + rest[2:]
            pieces.append(rest[:size])
            data = rest[size + 2 :]
            continue
        piece = _received(connection)
        if not piece:
            return False, b"".join(pieces)
        data += piece


class Normaliser:
    """Takes out of bytes what must differ from one run to the next: dates, times, ports, and the
    ids that the broker makes up for a request and its trace."""

    def __init__(self, ports: Mapping[int, str]) -> None:
        self._ports = [(b"%d" % port, name.encode()) for port, name in ports.items()]
        self._began = int(time.time())

    def __call__(self, data: bytes, told: bytes = b"") -> bytes:
        """``told`` is what the client got for the same request: the request's id stands there."""
        data = re.sub(rb"(?im)^(date|last-modified): [^\r\n]+", rb"\1: DATE", data)
        for number, made in enumerate(dict.fromkeys(REQUEST_ID.findall(told))):
            data = self._without_ids(data, made, number)
        data = REQUEST_ID.sub(b"REQUEST", data)
        data = TRACE.sub(b"TRACE", data)
        data = re.sub(rb" at 0x[0-9a-f]+", b" at ADDRESS", data)
        data = re.sub(rb"(?<![0-9])1[0-9]{9}(?![0-9])", self._moment, data)
        data = re.sub(rb"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)", self._date, data)
        for port, name in self._ports:
            data = re.sub(rb"(?<![0-9])%s(?![0-9])" % port, name, data)
        return data

    def _without_ids(self, data: bytes, request: bytes, number: int) -> bytes:
        """Without ``request`` and the ids that follow from it (translation.md 3.1)."""
        digits, rest = "", int.from_bytes(sha256(request).digest(), "big")
        for _ in range(24):
            rest, digit = divmod(rest, 62)
            digits += BASE62[digit]
        data = data.replace(digits.encode(), b"ANSWER%d" % number)
        if b"call_" in data:
            for call in range(CALLS):
                made = sha256(b"%s:%d" % (request, call)).hexdigest()[:24]
                data = data.replace(made.encode(), b"CALL%d-%d" % (number, call))
        return data.replace(request, b"REQUEST%d" % number)

    def _moment(self, found: re.Match[bytes]) -> bytes:
        return b"NOW" if abs(int(found[0]) - self._began) < 3600 else found[0]

    def _date(self, found: re.Match[bytes]) -> bytes:
        today = {time.strftime("%Y-%m-%d", time.gmtime(self._began + day)) for day in (0, 3600)}
        return b"NOW" if found[0][:10].decode() in today else found[0]


def play(python: Path, settings: Iterable[Setting], commands: Iterable[Command]) -> list[Outcome]:
    """What comes of all samples of ``settings`` and all ``commands`` with the LMBroker of
    ``python``."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        outcomes = list(_run(python, commands, folder))
        for setting in settings:
            outcomes += _serve(python, setting, folder)
    return outcomes


def _serve(python: Path, setting: Setting, folder: Path) -> list[Outcome]:
    backend = ScriptedBackend()
    config = setting.config.replace("BACKEND", str(backend.port))
    daemon = Daemon(folder, config, python=python)
    normal = Normaliser({daemon.port: "PORT", backend.port: "BACKEND"})
    outcomes, by_request = [], {}
    try:
        try:
            daemon.wait()
        except AssertionError as error:
            did_not = Outcome(setting.name, "(the daemon)")
            return [did_not.keep({"it does not start": normal(str(error).encode())})]
        client = Client(daemon.port)
        for sample in setting.samples():
            backend.script(sample.answers)
            told = client.ask(sample)
            parts = {"answer": normal(_metrics(told) if sample.metrics else told, told)}
            received = [normal(request, told) for request in backend.received]
            if sample.request.startswith(b"GET "):
                received.sort()  # lists of models are asked for at the same time
            parts |= {f"request {n} to the backend": each for n, each in enumerate(received)}
            outcomes.append(Outcome(setting.name, sample.name).keep(parts))
            by_request |= dict.fromkeys(REQUEST_ID.findall(told), (outcomes[-1], told))
    finally:
        code = daemon.stop()
        backend.close()
    others = Outcome(setting.name, "(the daemon)").keep({"exit code": str(code).encode()})
    kept = []
    for line in daemon.lines():
        if line["logger"] == ACCESS:
            outcome, told = by_request.get(line["request_id"].encode(), (others, b""))
            outcome.keep({f"access line {len(outcome.parts)}": normal(_logged(line), told)})
        elif not line["message"].startswith(TWISTED_FACTORIES):
            del line["logger"]  # the place of a module, which may move
            kept.append(normal(_logged(line)))
    if setting.one_process:
        # Sorted: what is done at the same time is told in any order.
        others.keep({"log": b"\n".join(sorted(kept))})
    return [*outcomes, others]


def _logged(line: dict[str, Any]) -> bytes:
    """A line of the log without its times, and without the worker that the system chose."""
    line.pop("worker", None)
    for times in (line, *line.get("tried", ())):
        for name in [name for name in times if name == "time" or name.startswith("ms")]:
            del times[name]
    return json.dumps(line).encode()


def _metrics(told: bytes) -> bytes:
    """The names, kinds, help texts and labels of metrics, and the values that are no times."""
    lines = []
    for line in told.partition(b"\r\n\r\n")[2].splitlines():
        if not line.startswith(b"#") and PASSING.search(line.partition(b"{")[0]):
            line = line.rpartition(b" ")[0]
        lines.append(line)
    return b"\n".join(sorted(lines))


def _run(python: Path, commands: Iterable[Command], folder: Path) -> Iterator[Outcome]:
    normal = Normaliser({})
    for command in commands:
        for name, text in command.files.items():
            (folder / name).write_bytes(text)
        ended = subprocess.run(
            [python.parent / command.program, *command.arguments],
            input=command.stdin,
            capture_output=True,
            cwd=folder,
        )
        parts = {
            "exit code": str(ended.returncode).encode(),
            "stdout": normal(ended.stdout),
            "stderr": normal(ended.stderr),
        }
        yield Outcome("commands", command.name).keep(parts)
