"""The daemon in a process of its own, for tests and scripts."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from ports import free_port

READY_SECONDS = 20


class Daemon:
    """``twistd lmbroker`` in a process of its own, over a config written for it."""

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        python=sys.executable,
        twistd=(),
        arguments=(),
        environ=None,
    ):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.config = folder / "config.toml"
        self.config.write_text(config.replace("PORT", str(self.port)))
        self.out = folder / "stdout"
        run = "from twisted.scripts.twistd import run; run()"
        command = [python, "-c", run, "-n", "--pidfile=", *twistd]
        with self.out.open("wb") as out:
            self.process = subprocess.Popen(
                [*command, "lmbroker", "--config", str(self.config), *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environ or {})},
                cwd=folder,
            )

    def wait(self):
        """Until it accepts connections, also at its control socket."""
        deadline = time.monotonic() + READY_SECONDS
        control = re.search(r'^control = "(.+)"', self.config.read_text(), re.MULTILINE)
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 0.2).close()
                if control is not None:
                    with socket.socket(socket.AF_UNIX) as line:
                        line.connect(control[1])
                return self
            except OSError:
                assert self.process.poll() is None, self.out.read_text()
                assert time.monotonic() < deadline, self.out.read_text()
                time.sleep(0.02)

    def lines(self):
        """The log so far, parsed."""
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def access_lines(self, count=1):
        """The access lines, once there are at least ``count``: a call's line follows its end."""
        deadline = time.monotonic() + 5
        while True:
            lines = [
                line for line in self.lines() if line["logger"] == "lmbroker.accesslog.AccessLog"
            ]
            if len(lines) >= count or time.monotonic() > deadline:
                return lines
            time.sleep(0.02)

    def stop(self):
        """SIGTERM, then its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)


PRACTICE_CONFIG = """
log_level = "info"
[server]
host = "127.0.0.1"
port = PORT
[[models]]
alias = "o"
type = "openai"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "a"
type = "anthropic"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "a-search"
type = "anthropic"
target = { url = "practice:", model = "echo" }
[models.profile]
server_tools = true
[[models]]
alias = "r"
type = "responses"
target = { url = "practice:", model = "echo" }
"""

FAULTS = ["fail-400", "fail-401", "fail-404", "fail-429", "fail-500", "fail-529", "cut", "slow"]
FAULTS += ["refuse", "overflow"]


def practice_config():
    """Echo aliases ``o``, ``a`` and ``r``, and ``o-FAULT`` and so on for each fault."""
    text = PRACTICE_CONFIG
    for fault in FAULTS:
        for alias, dialect in (("o", "openai"), ("a", "anthropic"), ("r", "responses")):
            text += (
                f'[[models]]\nalias = "{alias}-{fault}"\ntype = "{dialect}"\n'
                f'target = {{ url = "practice:", model = "{fault}" }}\n'
            )
    return text


class Practice:
    """The practice backend in a process of its own, which may be killed and started again."""

    def __init__(self, *, pace=None):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._pace = () if pace is None else ("--pace", str(pace))
        self.start()

    def start(self):
        command = [sys.executable, "-m", "lmbroker.testing", "--port", str(self.port), *self._pace]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert b"practice backend on" in self.process.stdout.readline()

    def kill(self):
        """kill -9, if it runs."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
