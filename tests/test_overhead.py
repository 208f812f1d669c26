"""The overhead that the broker tells is what a clock outside of it shows, and no block is hidden.

The broker runs on its own reactor in this thread; its client and its backend are sockets of other
threads, which look at the clock themselves.
"""

import json
import socket
import statistics
import threading
import time

import pytest
from prometheus_client import CollectorRegistry
from twisted.internet.task import Clock

from lmbroker.backends.sending import Backends
from lmbroker.broker.broker import Broker
from lmbroker.config.config import parse
from lmbroker.daemon.reactor import TurnReactor
from lmbroker.daemon.reactor_lag import SECONDS, ReactorLag
from lmbroker.observers.metrics import Metrics
from lmbroker.observers.overhead_metrics import PHASES, phases_of
from lmbroker.server.http import Limits, Site
from lmbroker.server.routes import Front

BLOCK = 0.4
"""For so many seconds the reactor is blocked on purpose."""

THINKS = 0.05
"""So many seconds the backend takes for an answer."""

CONFIG = """
[[models]]
alias = "m"
type = "openai"
target = { url = "http://127.0.0.1:PORT", model = "m" }
"""

BODY = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM = json.dumps({**json.loads(BODY), "stream": True}).encode()
ANSWER = (
    b'{"choices":[{"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":1,"completion_tokens":1}}'
)
EVENTS = (
    b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":'
    b'0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)


def whole(connection):
    """One message with a Content-Length, b"" where the connection has ended."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body


class Around:
    """A broker on a reactor of its own, a backend and a client around it."""

    def __init__(self):
        self.reactor = TurnReactor()
        self.reactor.startRunning(installSignalHandlers=False)
        self._listening = socket.create_server(("127.0.0.1", 0))
        port = self._listening.getsockname()[1]
        config = parse(CONFIG.replace("PORT", str(port)), name="c.toml", environ={}, read_file=None)
        self.registry = CollectorRegistry()
        self._backends = Backends(self.reactor)
        self.metrics = Metrics(self.registry)
        self.metrics.start(self.reactor)
        self.records = []
        broker = Broker(config, self._backends, [self.metrics, self], self.reactor, time.time)
        site = Site(Front(broker).resource(), self.reactor, Limits())
        self._port = self.reactor.listenTCP(0, site, interface="127.0.0.1")
        self.backend_seconds = []
        self.asked_at = self.answered_at = self.unblocked_at = 0.0
        """When request and answer had been sent, and when the reactor went on."""
        self.when_asked = lambda: None
        threading.Thread(target=self._answer, daemon=True).start()
        self.client = socket.create_connection(("127.0.0.1", self._port.getHost().port))

    def opened(self, record): ...

    def attempted(self, record, attempt): ...

    def closed(self, record):
        self.records.append(record)

    def _answer(self):
        connection, _ = self._listening.accept()
        with connection:
            while True:
                request = whole(connection)
                if not request:
                    return
                came = time.monotonic()
                self.when_asked()
                time.sleep(THINKS)
                streamed = b'"stream": true' in request or b'"stream":true' in request
                kind = b"text/event-stream" if streamed else b"application/json"
                body = EVENTS if streamed else ANSWER
                head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\ncontent-length: %d\r\n\r\n"
                answer = head % (kind, len(body)) + body
                self.backend_seconds.append(time.monotonic() - came)
                connection.sendall(answer)
                self.answered_at = time.monotonic()

    def ask(self, body, before=lambda: None):
        """What a clock outside shows, and the phases that the broker tells, of one call."""
        outside = []

        def client():
            before()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
            sent = time.monotonic()
            self.client.sendall(head % len(body) + body)
            self.asked_at = time.monotonic()
            self.client.recv(1)
            outside.append(time.monotonic() - sent)
            received = b""
            while not received.endswith((b"}}", b"0\r\n\r\n")):
                received += self.client.recv(65536)

        thread = threading.Thread(target=client)
        known = len(self.records)
        thread.start()
        deadline = time.monotonic() + 20
        while thread.is_alive() or len(self.records) == known:
            assert time.monotonic() < deadline
            self.turn()
        self.turn()
        return outside[0] - self.backend_seconds[-1], phases_of(self.records[-1])

    def turn(self):
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(0.01)

    def block(self):
        """Block the reactor in its next turn."""
        self.reactor.callFromThread(self._block)

    def _block(self):
        time.sleep(BLOCK)
        self.unblocked_at = time.monotonic()

    def close(self):
        self.client.close()
        self._listening.close()
        self.metrics.stop()
        for call in self.reactor.getDelayedCalls():
            call.cancel()
        for left in self.reactor.removeAll():
            if hasattr(left, "socket"):
                left.socket.close()


@pytest.fixture
def around():
    around = Around()
    yield around
    around.close()


@pytest.mark.sockets
@pytest.mark.parametrize("body", [BODY, STREAM], ids=["whole", "stream"])
def test_the_overhead_is_what_a_clock_outside_shows(around, body):
    differences = []
    for _ in range(12):
        outside, phases = around.ask(body)
        assert min(phases) >= 0
        differences.append(outside - sum(phases))
    # The clock outside also shows what is not the broker's: the ways through the kernel, and how
    # long threads take to wake up, which on a busy machine is much now and then.
    differences.sort()
    assert differences[3] > -0.002, "the broker tells of more than there was"
    assert differences[0] < 0.005
    assert statistics.median(differences) < 0.02
    around.metrics.settle()
    counted = around.registry.get_sample_value
    told = {"workflow": "passthrough", "stream": "true" if body is STREAM else "false"}
    assert counted("lmbroker_overhead_seconds_count", told) == 12
    for phase in PHASES:
        labels = {"workflow": "passthrough", "phase": phase}
        count = counted("lmbroker_overhead_phase_seconds_count", labels) or 0
        assert count == (0 if phase in ("queue", "pause") else 12)


@pytest.mark.sockets
def test_a_reactor_that_is_blocked_when_the_request_comes_shows(around):
    around.ask(BODY)

    def before():
        around.block()
        time.sleep(BLOCK / 4)

    _, phases = around.ask(BODY, before)
    waited = around.unblocked_at - around.asked_at
    assert waited > 0.05
    assert dict(zip(PHASES, phases, strict=True))["read"] > waited, "never less than the truth"


@pytest.mark.sockets
def test_a_reactor_that_is_blocked_when_the_answer_comes_shows(around):
    around.ask(BODY)
    around.when_asked = around.block
    _, phases = around.ask(BODY)
    waited = around.unblocked_at - around.answered_at
    assert waited > 0.05
    assert dict(zip(PHASES, phases, strict=True))["relay"] > waited, "never less than the truth"


def test_the_lag_of_the_reactor_is_how_late_a_timer_is():
    clock, lags = Clock(), []
    lag = ReactorLag(clock, lags.append)
    lag.start()
    clock.advance(SECONDS)
    clock.advance(SECONDS + BLOCK)
    assert lags == pytest.approx([0, BLOCK])
    lag.stop()
    assert clock.getDelayedCalls() == []


def test_a_lag_is_counted():
    registry = CollectorRegistry()
    Metrics(registry).lagged(BLOCK)
    assert registry.get_sample_value("lmbroker_reactor_lag_seconds_bucket", {"le": "0.25"}) == 0
    assert registry.get_sample_value("lmbroker_reactor_lag_seconds_bucket", {"le": "0.5"}) == 1
