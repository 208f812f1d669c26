"""Few descriptors: nobody is cut without a word, and who is connected is served."""

import contextlib
import http.client
import json
import re
import resource
import socket
import time
from pathlib import Path

import pytest
from twisted.internet.task import Clock
from twisted.logger import Logger

from lmbroker.config.config import parse
from lmbroker.server import descriptors

CONFIG = """
log_level = "info"
[server]
host = "127.0.0.1"
port = PORT
workers = WORKERS
engine = "ENGINE"
[limits]
connections_per_address = 1000
idle_seconds = 300
[[models]]
alias = "echo"
type = "openai"
target = { url = "practice:", model = "echo" }
"""
FEW = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"


def ask(connection, path="/v1/chat/completions"):
    body = {"model": "echo", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    connection.request("POST", path, json.dumps(body))
    response = connection.getresponse()
    return response.status, response.read()


@pytest.fixture
def few(tmp_path, start_daemon):
    """A daemon that may have so many descriptors."""

    def start(soft, hard, engine="lean", workers=1):
        folder = tmp_path / "first"
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(FEW.format(soft=soft, hard=hard))
        config = CONFIG.replace("ENGINE", engine).replace("WORKERS", str(workers))
        return start_daemon(config, environ={"PYTHONPATH": str(folder)}).wait()

    return start


@pytest.fixture
def before():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield soft, hard
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("engine", "workers"), [("lean", 1), ("stock", 1), ("lean", 2)])
def test_beyond_its_descriptors_it_says_so_and_serves_on(few, engine, workers):
    began = time.monotonic()
    running = few(128, 128, engine, workers)
    with contextlib.ExitStack() as stack:
        connections = []
        refused = []
        for number in range(200 * workers):
            connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=60)
            stack.callback(connection.close)
            path = "/v1/messages" if number % 2 else "/v1/chat/completions"
            try:
                status, body = ask(connection, path) if number >= 64 else (0, b"")
            except (ConnectionError, http.client.HTTPException) as error:
                raise AssertionError(number) from error
            if status == 0:
                connection.connect()
            if status in (0, 200):
                connections.append(connection)
                continue
            assert status in (503, 529)
            error = json.loads(body)["error"]
            assert error["message"] and (status == 529) == (path == "/v1/messages")
            refused.append(connection)
        assert refused
        served = [ask(connection)[0] for connection in connections[:8]]
        assert served == [200] * 8, "who was let in is served"
    for _ in range(100):
        # The last ones are gone some moments later.
        metrics = ""
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", running.port), 5) as client,
        ):
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            with client.makefile("rb") as answer:
                metrics = answer.read().decode()
        found = re.search(r"(?m)^lmbroker_out_of_descriptors_total (\S+)", metrics)
        if found:
            break
        time.sleep(0.05)
    assert float(found[1]) >= len(refused)
    lines = running.lines()
    told = [line for line in lines if line["message"].startswith("Out of descriptors (128)")]
    lines_of_each = 2 + (time.monotonic() - began) / descriptors.SILENT_SECONDS
    assert 1 <= len(told) <= workers * lines_of_each
    assert any("a process may have 128 here" in line["message"] for line in lines)
    assert not any(line["message"].startswith("Backend ") for line in lines)
    assert "Traceback" not in running.out.read_text()
    running.stop()


def test_the_soft_limit_is_raised_at_the_start(few):
    running = few(256, 4096)
    text = Path(f"/proc/{running.process.pid}/limits").read_text()
    assert re.search(r"Max open files +4096 +4096", text)
    assert not any("descriptors" in line["message"] for line in running.lines())
    running.stop()


def config_of(text=""):
    models = (
        '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "http://b", model = "x" }\n'
    )
    return parse(text + models, name="c", environ={}, read_file=open)


def test_what_is_needed_follows_the_limits(before):
    small = config_of("[limits]\nconnections = 10\nconnections_per_address = 10\ncalls = 5\n")
    assert descriptors.needed(small) == 10 + 5 + 64 + 64
    assert descriptors.warnings(small) == ()
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, before[1]))
    [warning] = descriptors.warnings(config_of())
    assert "a process may have 200 here" in warning
    assert descriptors.for_clients() == 150
    descriptors.raise_limit(config_of())
    assert descriptors.allowed() >= min(descriptors.needed(config_of()), before[1])


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"", b"503"),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n\r\n", b"503"),
        (b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: x\r\n\r\n", b"529"),
        (b"\xff\xfe\r\n\r\n", b"503"),
    ],
)
def test_a_refusal_is_a_whole_answer_in_the_dialect_of_the_path(request_, status):
    ours, theirs = socket.socketpair()
    theirs.sendall(request_) if request_ else None
    descriptors.refuse(ours)
    answer = theirs.makefile("rb").read()
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nretry-after: 1" in head and b"\r\nconnection: close" in head
    assert json.loads(body)["error"]["message"] == descriptors.NONE_LEFT.message
    theirs.close()


def test_a_refusal_over_tls_or_to_nobody_is_only_the_end():
    for secure, gone in ((True, False), (False, True)):
        ours, theirs = socket.socketpair()
        if gone:
            theirs.close()
        descriptors.refuse(ours, secure=secure)
        if not gone:
            assert theirs.recv(1) == b""
            theirs.close()


def test_a_shortage_is_logged_now_and_then_and_counted_each_time():
    clock, counted, events = Clock(), [], []
    shortage = descriptors.Shortage(clock, counted.append)
    shortage.log = Logger(observer=events.append)
    for _ in range(5):
        shortage.report(2)
    clock.advance(descriptors.SILENT_SECONDS)
    shortage.report()
    assert sum(counted) == 11
    assert [event["count"] for event in events] == [2, 9]
