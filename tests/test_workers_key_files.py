"""A backend's key that stands in a file and changes: each worker sends the new one, without a
reload."""

import http.client
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

SECONDS = 20
CALLS = 24
"""Calls on connections of their own, among which each worker gets some."""

CONFIG = """
log_level = "info"
[server]
host = "127.0.0.1"
port = PORT
workers = 2
[[models]]
alias = "m"
type = "openai"
target = { url = "http://127.0.0.1:BACKEND/v1", model = "real", api_key = "file:FILE" }
"""
ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "real",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi"},
                "finish_reason": "stop",
            }
        ],
    }
).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        key = self.headers["authorization"].removeprefix("Bearer ")
        status = 200 if key in self.server.taken else 401
        self.server.seen.append((key, self.client_address))
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, *_):
        pass


@pytest.fixture
def backend():
    """It takes the keys in ``taken``, and remembers those that it has ``seen``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.seen, server.taken = [], {"first-key", "second-key"}
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def keys_of(running, backend):
    """The keys that some calls were made with, all of them answered."""
    backend.seen.clear()
    for _ in range(CALLS):
        connection = http.client.HTTPConnection("127.0.0.1", running.port, timeout=SECONDS)
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        assert (response.status, response.read() != b"") == (200, True)
        connection.close()
    return [key for key, _ in backend.seen]


@pytest.fixture
def started(start_daemon, backend, tmp_path):
    key = tmp_path / "key"
    key.write_text("first-key\n")
    config = CONFIG.replace("BACKEND", str(backend.server_port)).replace("FILE", str(key))
    running = start_daemon(config).wait()
    assert keys_of(running, backend) == ["first-key"] * CALLS
    return running, key


def renamed(key):
    """Put the second key in the place of the first one, at once."""
    other = key.with_name("other")
    other.write_text("second-key\n")
    other.rename(key)


def test_each_worker_sends_a_new_key_soon(started, backend):
    running, key = started
    renamed(key)
    until_all_send_the_second(running, backend)
    running.stop()


def until_all_send_the_second(running, backend):
    deadline = time.monotonic() + SECONDS
    while set(keys_of(running, backend)) != {"second-key"}:
        assert time.monotonic() < deadline


def test_a_worker_whose_key_is_refused_reads_it_at_once(started, backend):
    """No client notices that the old key is no longer taken."""
    running, key = started
    backend.taken.discard("first-key")
    renamed(key)
    assert "second-key" in keys_of(running, backend)
    until_all_send_the_second(running, backend)
    running.stop()
