"""One trace from a client through the running broker to its backend, as a collector gets it."""

import contextlib
import http.server
import json
import re
import signal
import threading
import time
import urllib.request

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from test_spans import attributes

pytestmark = [pytest.mark.process, pytest.mark.sockets]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "real",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "crimson answer"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}

TRACING = """
[tracing]
endpoint = "http://127.0.0.1:RECEIVER"
headers = { authorization = "env:OTLP_KEY" }
service_name = "the-broker"
"""

CONFIG = """
[server]
host = "127.0.0.1"
port = PORT
[[models]]
alias = "o"
type = "openai"
target = { url = "http://127.0.0.1:BACKEND/v1", model = "real", api_key = "env:BACKEND_KEY" }
[[models]]
alias = "a"
type = "anthropic"
target = { url = "practice:", model = "echo" }
"""


class Server(http.server.ThreadingHTTPServer):
    """Notes requests, and answers them all alike."""

    daemon_threads = True

    def __init__(self, answer, content_type):
        self.received, self.answer, self.content_type = [], answer, content_type
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.received.append((self.path, headers, body))
        self.send_response(200)
        self.send_header("content-type", self.server.content_type)
        self.send_header("content-length", str(len(self.server.answer)))
        self.end_headers()
        self.wfile.write(self.server.answer)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(answer, content_type):
    with Server(answer, content_type) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def backend():
    with serving(json.dumps(ANSWER).encode(), "application/json") as server:
        yield server


@pytest.fixture
def receiver():
    with serving(b"", "application/x-protobuf") as server:
        yield server


def spans_at(receiver):
    """Each span that the receiver has got, by its id, with the name of its service."""
    found = {}
    for _, _, body in list(receiver.received):
        told = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        for resource in told.resource_spans:
            service = attributes(resource.resource)["service.name"]
            for scope in resource.scope_spans:
                for span in scope.spans:
                    found[span.span_id.hex()] = (service, span)
    return found


def until(true):
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def ask(daemon, alias, **headers):
    message = {"role": "user", "content": "crimson question"}
    body = json.dumps({"model": alias, "messages": [message]}).encode()
    request = urllib.request.Request(
        f"{daemon.url}/v1/chat/completions",
        body,
        {"content-type": "application/json", "authorization": "Bearer crimson-key", **headers},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return json.load(answer)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_one_trace_from_the_client_to_the_backend(start_daemon, backend, receiver, workers):
    receiver_port, backend_port = (str(each.server_port) for each in (receiver, backend))
    config = CONFIG.replace("BACKEND/", f"{backend_port}/")
    tracing = TRACING.replace("RECEIVER", receiver_port)
    keys = {"OTLP_KEY": "crimson-otlp", "BACKEND_KEY": "crimson-backend"}
    daemon = start_daemon(config + tracing, arguments=["--workers", workers], environ=keys).wait()
    ask(daemon, "o", traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="a=1")
    [(_, headers, _)] = backend.received
    trace_id, parent_id = re.fullmatch(r"00-(\w{32})-(\w{16})-01", headers["traceparent"]).groups()
    assert trace_id == TRACE and headers["tracestate"] == "a=1"
    until(lambda: len(spans_at(receiver)) == 2)
    service, attempt = spans_at(receiver)[parent_id]
    assert service == "the-broker" and attributes(attempt)["gen_ai.request.model"] == "real"
    _, call = spans_at(receiver)[attempt.parent_span_id.hex()]
    assert call.parent_span_id.hex() == SPAN
    assert call.trace_id == attempt.trace_id == bytes.fromhex(TRACE)
    assert call.start_time_unix_nano <= attempt.start_time_unix_nano
    assert attempt.end_time_unix_nano <= call.end_time_unix_nano
    assert abs(call.end_time_unix_nano / 1e9 - time.time()) < 60
    [line] = daemon.access_lines()
    assert (line["trace_id"], line["span_id"]) == (TRACE, attempt.parent_span_id.hex())
    # A client that does not want to be recorded is not, and a call without a trace has its own.
    ask(daemon, "o", traceparent=f"00-{TRACE}-{SPAN}-00")
    assert backend.received[1][1]["traceparent"].endswith("-00")
    ask(daemon, "a")
    until(lambda: len(spans_at(receiver)) == 4)
    roots = [span for _, span in spans_at(receiver).values() if not span.parent_span_id]
    assert len(roots) == 1 and roots[0].trace_id.hex() != TRACE
    for path, headers, body in receiver.received:
        assert path == "/v1/traces" and headers["authorization"] == "crimson-otlp"
        assert b"crimson" not in body
    with urllib.request.urlopen(f"{daemon.url}/metrics", timeout=20) as answer:
        metrics = answer.read().decode()
    assert re.search(r"(?m)^lmbroker_spans_exported_total 4.0$", metrics)
    # A reload without the table ends it: the client's own span is handed on then.
    daemon.config.write_text(config.replace("PORT", str(daemon.port)))
    daemon.process.send_signal(signal.SIGHUP)
    until(lambda: "changed setting tracing" in daemon.out.read_text())

    def passed():
        ask(daemon, "o", traceparent=f"00-{TRACE}-{SPAN}-01")
        return backend.received[-1][1]["traceparent"] == f"00-{TRACE}-{SPAN}-01"

    until(passed)
    assert daemon.stop() == -signal.SIGTERM


def test_the_last_spans_are_sent_before_the_end(start_daemon, backend, receiver):
    config = CONFIG.replace("BACKEND/", f"{backend.server_port}/")
    tracing = TRACING.replace("RECEIVER", str(receiver.server_port))
    keys = {"OTLP_KEY": "k", "BACKEND_KEY": "k"}
    daemon = start_daemon(config + tracing, environ=keys).wait()
    ask(daemon, "o")
    assert daemon.stop() == -signal.SIGTERM
    assert len(spans_at(receiver)) == 2
