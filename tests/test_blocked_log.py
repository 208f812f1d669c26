"""Nobody reads the log: calls go on, streams too, and a line tells later what is missing."""

import contextlib
import fcntl
import http.client
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import threading
import time

import pytest
from ports import free_port

pytestmark = [pytest.mark.process, pytest.mark.sockets]

CONFIG = """
log_level = "info"
log_format = "json"
[server]
host = "127.0.0.1"
port = PORT
workers = WORKERS
engine = "ENGINE"
[[models]]
alias = "echo"
type = "openai"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "slow"
type = "openai"
target = { url = "practice:", model = "slow-20" }
"""
SMALL = (
    "from lmbroker.observers.log_writer import LogWriter\n"
    "LogWriter.__init__.__defaults__ = (10_000,)\n"
)
"""A smaller buffer, so that a test need not fill a large one."""

CALLS = 160


class Logging:
    """A daemon whose log goes to the descriptor ``out``."""

    def __init__(self, folder, out, workers=1, engine="lean", twistd=()):
        self.port = free_port()
        text = CONFIG.replace("PORT", str(self.port)).replace("WORKERS", str(workers))
        (folder / "config.toml").write_text(text.replace("ENGINE", engine))
        (folder / "small").mkdir()
        (folder / "small/sitecustomize.py").write_text(SMALL)
        run = "from twisted.scripts.twistd import run; run()"
        command = [sys.executable, "-c", run, "-n", "--pidfile=", *twistd]
        self.process = subprocess.Popen(
            [*command, "lmbroker", "--config", "config.toml"],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(folder / "small")},
        )

    def wait(self):
        deadline = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                self.ask("echo")
                return self
            except OSError:
                assert self.process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)

    @contextlib.contextmanager
    def asking(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            yield connection

    def ask(self, alias, connection=None, *, stream=False):
        with contextlib.nullcontext(connection) if connection else self.asking() as line:
            message = {"role": "user", "content": " ".join(["word"] * 60)}
            body = {"model": alias, "stream": stream, "messages": [message]}
            line.request("POST", "/v1/chat/completions", json.dumps(body))
            response = line.getresponse()
            text = response.read()
            assert response.status == 200, text
            return text

    def metrics(self):
        with self.asking() as connection:
            connection.request("GET", "/metrics")
            return connection.getresponse().read().decode()

    def dropped(self):
        found = re.search(r"(?m)^lmbroker_log_lines_dropped_total (\S+)$", self.metrics())
        return float(found[1]) if found else 0.0

    def work(self):
        """Many calls, beside a stream, none of which may wait for the log."""
        streamed = []
        beside = threading.Thread(
            target=lambda: streamed.append(self.ask("slow", stream=True)), daemon=True
        )
        beside.start()
        for _ in range(4):
            with self.asking() as connection:
                for _ in range(CALLS // 4):
                    self.ask("echo", connection)
        beside.join(15)
        assert streamed and streamed[0].endswith(b"data: [DONE]\n\n")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path):
    started = []

    def start(out, **how):
        started.append(Logging(tmp_path, out, **how))
        return started[-1].wait()

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
            each.process.wait()


def small_pipe():
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    return reading, writing


def terminal():
    ours, theirs = pty.openpty()
    settings = termios.tcgetattr(theirs)
    settings[1] &= ~termios.OPOST
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    return ours, theirs


def paused_terminal():
    """Somebody has pressed Ctrl-S."""
    ours, theirs = terminal()
    termios.tcflow(theirs, termios.TCOOFF)
    return ours, theirs


def read_on(descriptor, until):
    """What comes from ``descriptor``, until it has what ``until`` matches."""
    text, deadline = b"", time.monotonic() + 15
    os.set_blocking(descriptor, False)
    while not re.search(until, text):
        assert time.monotonic() < deadline, text[-2000:]
        try:
            text += os.read(descriptor, 65536)
        except BlockingIOError:
            time.sleep(0.01)
    return text


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("make", [small_pipe, terminal, paused_terminal])
def test_a_log_that_nobody_reads_stops_nothing(start, make, workers):
    ours, theirs = make()
    running = start(theirs, workers=workers)
    try:
        running.work()
        dropped = running.dropped()
        assert dropped > 0
        termios.tcflow(theirs, termios.TCOON) if make is paused_terminal else None
        text = read_on(ours, rb'"message":"\d+ lines of the log are missing here[^}]*}\n')
        whole = [json.loads(line) for line in text.split(b"\n")[:-1]]
        told = [each for each in whole if "are missing here" in each["message"]]
        assert told[0]["level"] == "warning"
        missing = sum(int(each["message"].split()[0]) for each in told)
        assert 0 < missing <= running.dropped()
        running.ask("echo")
        read_on(ours, rb'"outcome":"complete"')
    finally:
        os.close(ours)
        os.close(theirs)


@pytest.mark.parametrize("workers", [1, 2])
def test_an_end_does_not_wait_for_who_does_not_read(start, workers):
    ours, theirs = small_pipe()
    running = start(theirs, workers=workers)
    running.work()
    began = time.monotonic()
    assert running.stop() == -signal.SIGTERM
    assert time.monotonic() - began < 10
    os.close(ours)
    os.close(theirs)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reader_that_is_gone_ends_nothing(start, workers):
    ours, theirs = small_pipe()
    running = start(theirs, workers=workers)
    os.close(theirs)
    os.close(ours)
    running.work()
    before = cpu(running)
    time.sleep(0.5)
    assert cpu(running) - before < 0.3, "it does not try for ever"
    assert running.dropped() > CALLS / 2
    assert running.stop() == -signal.SIGTERM


def cpu(running):
    """CPU seconds of all processes."""
    return float(re.search(r"(?m)^process_cpu_seconds_total (\S+)$", running.metrics())[1])


@pytest.mark.parametrize("workers", [1, 2])
def test_a_fifo_as_the_log_file(start, tmp_path, workers):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    running = start(subprocess.DEVNULL, workers=workers, twistd=["--logfile=fifo"])
    running.work()
    running.work()
    assert running.dropped() > 0
    reading = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    read_on(reading, rb"lines of the log are missing here")
    os.close(reading)


def test_the_terminal_stays_as_it_was(start):
    """The description of a terminal is shared with the shell: it must not become non-blocking."""
    ours, theirs = terminal()
    start(theirs).ask("echo")
    assert os.get_blocking(theirs)
    os.close(ours)
    os.close(theirs)
