"""Somebody sets the clock of the machine: no stream ends of it, no timer stops."""

import contextlib
import http.client
import json
import socket
import time

import pytest

HOUR = 3600

CONFIG = """
log_level = "info"
[server]
host = "127.0.0.1"
port = PORT
workers = WORKERS
engine = "ENGINE"
[limits]
idle_seconds = 1
[timeouts]
ping = 0.2
commit = 0.1
[[models]]
alias = "slow"
type = "openai"
target = { url = "practice:", model = "slow-20" }
[[models]]
alias = "hang"
type = "openai"
timeouts = { headers = 0.5 }
target = { url = "practice:", model = "hang" }
"""

SET = """
import os, time

def seconds(real=time.time, file={file!r}):
    with open(file) as now:
        return real() + float(now.read() or 0)

time.time = seconds
"""
"""What a process does first that takes this for ``sitecustomize``."""


class Clock:
    """The wall clock of a daemon."""

    def __init__(self, folder):
        self.folder = folder / "first"
        self.folder.mkdir()
        self._file = folder / "offset"
        self.jump(0)
        (self.folder / "sitecustomize.py").write_text(SET.format(file=str(self._file)))

    def jump(self, seconds):
        """So far from the real time."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(str(seconds))
        fresh.rename(self._file)


@pytest.fixture(params=[("lean", 1), ("stock", 1), ("lean", 2)], ids=str)
def running(request, tmp_path, start_daemon):
    engine, workers = request.param
    config = CONFIG.replace("ENGINE", engine).replace("WORKERS", str(workers))
    clock = Clock(tmp_path)
    daemon = start_daemon(config, environ={"PYTHONPATH": str(clock.folder)})
    daemon.clock = clock
    return daemon.wait()


class Asked:
    """A stream of ``alias``, begun."""

    def __init__(self, running, alias):
        self.connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=20)
        message = {"role": "user", "content": " ".join(["word"] * 60)}
        body = {"model": alias, "stream": True, "messages": [message]}
        self.connection.request("POST", "/v1/chat/completions", json.dumps(body))
        self._response = self.connection.getresponse()
        self._first = self._response.readline()

    def rest(self):
        with contextlib.closing(self.connection):
            return self._first + self._response.read()


def test_two_hours_forward_and_four_back(running):
    for jump in (2 * HOUR, -2 * HOUR):
        running.clock.jump(0)
        stream = Asked(running, "slow")
        running.clock.jump(jump)
        assert stream.rest().endswith(b"data: [DONE]\n\n")
        began = time.monotonic()
        waiting = Asked(running, "hang")
        running.clock.jump(-jump)
        rest = waiting.rest()
        assert b": ping" in rest and b"timeout" in rest
        assert 0.4 < time.monotonic() - began < 19
    with contextlib.closing(socket.create_connection(("127.0.0.1", running.port), 10)) as quiet:
        assert quiet.recv(1) == b"", "an idle connection is still closed"
    lines = running.access_lines(4)
    assert [line["outcome"] for line in lines] == ["complete", "stream_error"] * 2
    assert all(0 < line["ms"] < 20_000 for line in lines)
    running.stop()
