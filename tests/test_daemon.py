"""The daemon's life: reload under load, drain, and being told to stop twice."""

import http.client
import json
import re
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
import pytest_twisted
from twisted.internet import defer, reactor, task

from lmbroker.broker.practice import with_practice
from lmbroker.config.config import parse
from lmbroker.daemon.service import BrokerService

CONFIG = """
log_level = "info"
[server]
host = "127.0.0.1"
port = PORT
drain_timeout = DRAIN
[[models]]
alias = "slow-o"
type = "openai"
target = { url = "practice:", model = "slow-20" }
[[models]]
alias = "slow-a"
type = "anthropic"
target = { url = "practice:", model = "slow-20" }
[[models]]
alias = "hang"
type = "openai"
target = { url = "practice:", model = "hang" }
"""
WORDS = " ".join(["word"] * 60)
"""Twenty events, 20 ms apart."""
MORE = """
[[models]]
alias = "new"
type = "openai"
target = { url = "practice:", model = "echo" }
"""


class Wire:
    """Connections to one daemon; all are closed at the end of the test."""

    def __init__(self):
        self.connections = []
        self.responses = []

    def send(self, port, path, body=None):
        """A connection on which a request was sent; a POST if it has a body."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        self.connections.append(connection)
        if body is None:
            connection.request("GET", path)
        else:
            connection.request("POST", path, json.dumps(body), {"content-type": "text/json"})
        return connection

    def answer(self, connection):
        self.responses.append(connection.getresponse())
        return self.responses[-1]

    def stream(self, port, dialect="openai", text=WORDS):
        """A stream that has begun: its response, to be read on."""
        body = {
            "model": "slow-o" if dialect == "openai" else "slow-a",
            "stream": True,
            "max_tokens": 1000,
            "messages": [{"role": "user", "content": text}],
        }
        path = "/v1/chat/completions" if dialect == "openai" else "/v1/messages"
        response = self.answer(self.send(port, path, body))
        assert response.status == 200
        response.readline()
        return response

    def get(self, port, path):
        """Status and body."""
        response = self.answer(self.send(port, path))
        return response.status, response.read()

    def aliases(self, port):
        listed = json.loads(self.get(port, "/v1/models")[1])
        return [model["id"] for model in listed["data"]]

    def close(self):
        for each in (*self.responses, *self.connections):
            each.close()


@pytest.fixture
def wire():
    wire = Wire()
    yield wire
    wire.close()


def wait_for(daemon, text):
    """The log line that has ``text``."""
    deadline = time.monotonic() + 10
    while True:
        for line in daemon.lines():
            if text in line["message"]:
                return line
        assert time.monotonic() < deadline, daemon.out.read_text()
        time.sleep(0.02)


@pytest.fixture
def daemon(start_daemon):
    def start(drain=10, delay=0):
        drains = f"{drain}\ndrain_delay = {delay}"
        return start_daemon(CONFIG.replace("DRAIN", drains)).wait()

    return start


def test_reload_takes_over_and_breaks_no_stream(daemon, wire):
    running = daemon()
    streams = [wire.stream(running.port, "openai" if n % 2 else "anthropic") for n in range(40)]
    text = running.config.read_text()
    running.config.write_text(text + MORE)
    running.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while "new" not in wire.aliases(running.port):
        assert time.monotonic() < deadline
    for response in streams:
        rest = response.read()
        assert rest.endswith((b"data: [DONE]\n\n", b'{"type":"message_stop"}\n\n'))
    line = wait_for(running, "The configuration was reloaded")
    assert line["message"].endswith("; added alias new")
    assert running.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in running.out.read_text()


def test_reload_takes_over_the_log_level(daemon, wire):
    running = daemon()
    text = running.config.read_text()
    running.config.write_text(text.replace('"info"', '"warning"') + MORE)
    running.process.send_signal(signal.SIGHUP)
    deadline = time.monotonic() + 10
    while "new" not in wire.aliases(running.port):
        assert time.monotonic() < deadline
    assert not [line for line in running.lines() if "was reloaded" in line["message"]]


@pytest.mark.parametrize(
    ("mistake", "told"),
    [
        ("[[models]]\nalais = 1\n", "models[3].alais"),
        ("= nonsense", "not valid TOML"),
        ("[[keys]]\nname = 'x'\n", "keys[0].hash"),
    ],
)
def test_reload_with_a_mistake_keeps_the_old_configuration(daemon, wire, mistake, told):
    running = daemon()
    before = wire.aliases(running.port)
    running.config.write_text(running.config.read_text() + mistake)
    running.process.send_signal(signal.SIGHUP)
    line = wait_for(running, "The configuration was not reloaded")
    assert line["level"] == "error" and told in line["message"]
    assert wire.aliases(running.port) == before
    metrics = wire.get(running.port, "/metrics")[1]
    assert b'\nlmbroker_reloads_total{result="failed"} 1.0\n' in metrics
    assert b"\nlmbroker_last_reload_successful 0.0\n" in metrics
    assert b"\nlmbroker_client_connections " in metrics


def test_reload_moves_the_listeners(daemon, wire, port):
    running = daemon()
    text = running.config.read_text()
    running.config.write_text(text.replace(f"port = {running.port}", f"port = {port}"))
    running.process.send_signal(signal.SIGHUP)
    wait_for(running, "The configuration was reloaded")
    assert wire.get(port, "/health")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        wire.get(running.port, "/health")


def test_reload_onto_a_taken_port_keeps_the_old_one(daemon, wire):
    running = daemon()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        text = running.config.read_text()
        elsewhere = text.replace(f"port = {running.port}", f"port = {taken.getsockname()[1]}")
        running.config.write_text(elsewhere)
        running.process.send_signal(signal.SIGHUP)
        line = wait_for(running, "The configuration was not reloaded")
    assert "Address already in use" in line["message"]
    assert wire.get(running.port, "/health")[0] == 200


UNKNOWN = b'"code":"unknown_url"'


def test_metrics_on_a_listener_of_their_own(daemon, wire, port):
    running = daemon()
    assert wire.get(running.port, "/metrics")[0] == 200
    text = running.config.read_text()
    aside = f'metrics_listen = ["tcp:{port}:interface=127.0.0.1"]\n'
    running.config.write_text(text.replace("[server]\n", "[server]\n" + aside))
    running.process.send_signal(signal.SIGHUP)
    line = wait_for(running, "The configuration was reloaded")
    assert line["message"].endswith(f"added listener tcp:{port}:interface=127.0.0.1")
    status, body = wire.get(running.port, "/metrics")
    assert status == 404 and UNKNOWN in body
    assert wire.get(running.port, "/health")[0] == wire.get(running.port, "/ready")[0] == 200
    status, body = wire.get(port, "/metrics")
    assert status == 200 and b"lmbroker_in_flight 0.0" in body
    assert wire.get(port, "/health") == (200, b'{"status":"ok"}')
    assert wire.get(port, "/ready") == (200, b'{"status":"ready"}')
    for path in ("/v1/models", "/v1/models/slow-o", "/"):
        status, body = wire.get(port, path)
        assert status == 404 and UNKNOWN in body
    assert wire.get(port, "/api/hello")[0] == 404
    response = wire.answer(wire.send(port, "/v1/chat/completions", {"model": "slow-o"}))
    assert response.status == 404 and UNKNOWN in response.read()
    running.config.write_text(text)
    running.process.send_signal(signal.SIGHUP)
    wait_for(running, f"removed listener tcp:{port}:interface=127.0.0.1")
    assert wire.get(running.port, "/metrics")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        wire.get(port, "/health")
    assert running.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in running.out.read_text()


def test_an_endpoint_that_clients_have_is_not_taken_from_them(daemon, wire, port):
    """Where it is to become one for metrics: both would have to listen for a moment."""
    running = daemon()
    text = running.config.read_text()
    text = text.replace(
        f'host = "127.0.0.1"\nport = {running.port}\n',
        f'listen = ["tcp:{port}:interface=127.0.0.1"]\n'
        f'metrics_listen = ["tcp:{running.port}:interface=127.0.0.1"]\n',
    )
    running.config.write_text(text)
    running.process.send_signal(signal.SIGHUP)
    line = wait_for(running, "The configuration was not reloaded")
    assert "Address already in use" in line["message"]
    assert wire.get(running.port, "/metrics")[0] == 200
    with pytest.raises(ConnectionRefusedError):
        wire.get(port, "/health")


def test_what_was_refused_before_it_became_a_call_is_counted(daemon, wire):
    running = daemon()
    for _ in range(2):
        with socket.create_connection(("127.0.0.1", running.port)) as client:
            client.sendall(b"GET / HTTP/1.1\r\n bad\r\n\r\n")
            assert client.recv(1000).startswith(b"HTTP/1.1 400 ")
    with socket.create_connection(("127.0.0.1", running.port)) as client:
        client.sendall(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n")
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")
    metrics = wire.get(running.port, "/metrics")[1]
    assert b'\nlmbroker_refused_total{status="400"} 2.0\n' in metrics
    assert b'\nlmbroker_refused_total{status="413"} 1.0\n' in metrics


def test_a_stop_lets_streams_end_and_accepts_no_more(daemon, wire):
    running = daemon()
    responses = [wire.stream(running.port), wire.stream(running.port, "anthropic")]
    idle = wire.send(running.port, "/health")
    wire.answer(idle).read()
    running.process.send_signal(signal.SIGTERM)
    wait_for(running, "Draining 3 connections")
    with pytest.raises(ConnectionRefusedError):
        wire.get(running.port, "/health")
    assert idle.sock.recv(1) == b""
    assert responses[0].read().endswith(b"data: [DONE]\n\n")
    assert responses[1].read().endswith(b'{"type":"message_stop"}\n\n')
    assert running.process.wait(10) in (0, -signal.SIGTERM)
    assert "Traceback" not in running.out.read_text()


def test_what_does_not_end_in_time_is_ended_in_its_own_format(daemon, wire):
    running = daemon(drain=0.2)
    openai = wire.stream(running.port, text=WORDS * 20)
    anthropic = wire.stream(running.port, "anthropic", text=WORDS * 20)
    waiting = wire.send(
        running.port,
        "/v1/messages",
        {"model": "hang", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]},
    )
    wait = time.monotonic() + 5
    while running.process.poll() is None and time.monotonic() < wait:
        metrics = wire.get(running.port, "/metrics")[1]
        if b"lmbroker_in_flight 3.0" in metrics:
            break
    busy = re.findall(rb"(?m)^lmbroker_target_in_flight\{.*\} (\S+)$", metrics)
    assert sum(map(float, busy)) == 3
    running.process.send_signal(signal.SIGTERM)
    rest = openai.read()
    assert b"the broker is shutting down" in rest and b"[DONE]" not in rest
    rest = anthropic.read()
    assert b"event: error" in rest and b"message_stop" not in rest
    response = wire.answer(waiting)
    assert response.status == 529
    assert response.getheader("retry-after") == "1"
    assert json.loads(response.read())["error"]["type"] == "overloaded_error"
    assert running.process.wait(10) in (0, -signal.SIGTERM)
    assert "Traceback" not in running.out.read_text()


def test_a_second_signal_ends_at_once(daemon, wire):
    running = daemon(drain=60)
    response = wire.stream(running.port, text=WORDS * 50)
    running.process.send_signal(signal.SIGTERM)
    wait_for(running, "Draining")
    running.process.send_signal(signal.SIGTERM)
    assert b"the broker is shutting down" in response.read()
    assert running.process.wait(5) in (0, -signal.SIGTERM)


def test_who_stops_does_not_reload():
    text = '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "practice:", model = "x" }\n'
    config = parse(text, name="c.toml", environ={}, read_file=Path.read_text)
    read = []
    stopped = BrokerService(config, task.Clock(), None, lambda: read.append(1) or config)
    stopped.reload()
    assert read == []


def test_ready_and_alive(daemon, wire):
    running = daemon()
    assert wire.get(running.port, "/health") == (200, b'{"status":"ok"}')
    assert wire.get(running.port, "/ready") == (200, b'{"status":"ready"}')


def test_a_practice_backend_with_several_keys_is_reached_with_each():
    config = parse(
        """
        [[backends]]
        name = "demo"
        url = "practice:"
        type = "openai"
        api_keys = ["one", "two"]

        [[models]]
        alias = "m"
        targets = [{ backend = "demo", model = "echo" }]
        """,
        name="config.toml",
        environ={},
        read_file=Path.read_text,
    )
    route = with_practice(config, "http://127.0.0.1:1/v1").aliases["m"]
    used = [*route.keyed(route.targets[0].backend), route.targets[0].backend]
    assert [backend.url for backend in used] == ["http://127.0.0.1:1/v1"] * 3


@pytest_twisted.ensureDeferred
async def test_a_reload_holds_nothing_and_many_are_one_at_a_time():
    """The thread that reads the configuration is held here; the reactor is not."""
    text = '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "practice:", model = "x" }\n'
    config = parse(text, name="c.toml", environ={}, read_file=Path.read_text)
    reading, going_on, done = threading.Event(), threading.Event(), defer.Deferred()
    threads = []

    def read():
        threads.append(threading.current_thread())
        reading.set()
        assert going_on.wait(10)
        return config

    def took(config, added):
        taken.append(config)
        if len(taken) == 2:
            reactor.callLater(0.05, done.callback, None)

    taken = []
    service = BrokerService(config, reactor, None, read)
    service.running = 1
    service.take = took

    service.reload()
    while not reading.is_set():
        await task.deferLater(reactor, 0.01)
    for _ in range(20):
        service.reload()
    await task.deferLater(reactor, 0.05)
    assert taken == []
    going_on.set()
    await done
    assert taken == [config, config] and len(threads) == 2
    assert threading.current_thread() not in threads


def test_the_door_stays_open_for_a_while_that_load_balancers_may_see(daemon, wire):
    running = daemon(delay=60)
    assert wire.get(running.port, "/ready")[0] == 200
    running.process.send_signal(signal.SIGTERM)
    wait_for(running, "connections are accepted for")
    assert wire.get(running.port, "/ready")[0] == 503
    assert wire.stream(running.port).read().endswith(b"data: [DONE]\n\n")
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) in (0, -signal.SIGTERM)
    assert "Traceback" not in running.out.read_text()
