"""The backends' side, over the real Agent and pool with a network in memory."""

import errno
import gzip

import msgspec
import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectBindError, ConnectionDone, ConnectionLost
from twisted.internet.error import ConnectionRefusedError as Refusal
from twisted.internet.error import TimeoutError as ConnectTimeout
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure

from lmbroker.backends.connections import CLOSE_SECONDS, IDLE_SECONDS, STALE_SECONDS
from lmbroker.backends.sending import Backends
from lmbroker.call import Backend, Timeouts
from lmbroker.config.endpoints import api_root
from lmbroker.errors import Broken, OutOfResources, TimedOut, Unreachable
from lmbroker.headers import credential_headers
from lmbroker.routing import retries
from lmbroker.secret import Secret
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows.contract import Outbound

TIMEOUTS = Timeouts(connect=5, headers=60, idle=20, total=100)
OUTBOUND = Outbound(
    path="/chat/completions", headers=(("content-type", "application/json"),), body=b'{"a":1}'
)
ANSWER = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"


def backend(dialect="openai", url="http://10.1.2.3:8000"):
    return Backend(name="b", url=url, dialect=dialect, credential=Secret("the-key"))


class Wire(StringTransport):
    """A connection in memory that remembers how it was closed."""

    aborted = False

    def abortConnection(self):
        self.aborted = True
        super().abortConnection()


class Network:
    """Backends on a reactor in memory; ``connections`` are those made so far."""

    def __init__(self):
        self.reactor = MemoryReactorClock()
        self.dropped = []
        self.backends = Backends(self.reactor, dropped=lambda *why: self.dropped.append(why))
        self.connections = []

    def send(self, to=None, outbound=OUTBOUND):
        self.outcome = []
        sending = Deferred.fromCoroutine(self.backends.send(to or backend(), outbound, TIMEOUTS))
        sending.addBoth(self.outcome.append)
        return sending

    def accept(self):
        host, port, factory, timeout, _ = self.reactor.tcpClients[len(self.connections)]
        protocol = factory.buildProtocol(None)
        wire = Wire()
        wire.protocol = protocol
        protocol.makeConnection(wire)
        self.connections.append(wire)
        return wire

    def refuse(self, reason):
        factory = self.reactor.tcpClients[len(self.connections)][2]
        factory.clientConnectionFailed(None, Failure(reason))

    @property
    def error(self):
        (outcome,) = self.outcome
        return outcome.value

    @property
    def answer(self):
        (outcome,) = self.outcome
        return outcome

    def timers(self):
        return [call for call in self.reactor.getDelayedCalls() if call.active()]


@pytest.fixture
def network():
    return Network()


@pytest.mark.parametrize(
    ("url", "root"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://api.openai.com/v1/", "https://api.openai.com/v1"),
        ("https://api.groq.com/openai/v1", "https://api.groq.com/openai/v1"),
        ("https://openrouter.ai/api", "https://openrouter.ai/api/v1"),
        (
            "https://generativelanguage.googleapis.com/v1beta/openai/",
            "https://generativelanguage.googleapis.com/v1beta/openai",
        ),
        ("https://api.z.ai/api/paas/v4", "https://api.z.ai/api/paas/v4"),
        ("http://vllm:8000", "http://vllm:8000/v1"),
    ],
)
def test_where_the_operations_of_a_base_url_live(url, root):
    assert api_root(url) == root


@pytest.mark.parametrize(
    ("changes", "query", "line"),
    [
        (
            {"url": "http://b.test/inference", "exact_root": True},
            b"",
            "/inference/chat/completions",
        ),
        ({"url": "http://b.test", "exact_root": True}, b"", "/chat/completions"),
        (
            {"url": "http://b.test/d/x", "exact_root": True, "query": "api-version=1"},
            b"",
            "/d/x/chat/completions?api-version=1",
        ),
        (
            {"url": "http://b.test", "query": "a=1"},
            b"beta=true",
            "/v1/chat/completions?a=1&beta=true",
        ),
    ],
)
def test_an_exact_root_and_a_query_are_sent_as_they_are_written(network, changes, query, line):
    network.send(
        msgspec.structs.replace(backend(), **changes),
        msgspec.structs.replace(OUTBOUND, query=query),
    )
    sent = network.accept().value()
    assert sent.startswith(f"POST {line} HTTP/1.1\r\n".encode())


@pytest.mark.parametrize(
    ("url", "dialect", "key", "header", "sent"),
    [
        ("http://b.test", "openai", "k", "", [("authorization", "Bearer k")]),
        ("https://r.openai.azure.com", "openai", "k", "", [("api-key", "k")]),
        ("https://r.openai.azure.com", "openai", "eyJ0", "", [("authorization", "Bearer eyJ0")]),
        ("https://api.anthropic.com", "anthropic", "k", "", [("x-api-key", "k")]),
        ("http://b.test", "anthropic", "sk-ant-api03-k", "", [("x-api-key", "sk-ant-api03-k")]),
        (
            "https://api.anthropic.com",
            "anthropic",
            "sk-ant-oat01-k",
            "",
            [("authorization", "Bearer sk-ant-oat01-k")],
        ),
        (
            "https://api.minimax.io/anthropic",
            "anthropic",
            "k",
            "",
            [("x-api-key", "k"), ("authorization", "Bearer k")],
        ),
        ("http://b.test", "openai", "k", "api-key", [("api-key", "k")]),
        ("http://b.test", "openai", "k", "x-api-key", [("x-api-key", "k")]),
        ("http://b.test", "anthropic", "k", "authorization", [("authorization", "Bearer k")]),
    ],
)
def test_the_key_goes_in_the_header_that_format_host_and_setting_ask_for(
    url, dialect, key, header, sent
):
    to = Backend(name="b", url=url, dialect=dialect, credential=Secret(key), key_header=header)
    assert list(credential_headers(to, ADAPTERS[dialect].facts.headers)) == sent


def test_what_goes_out(network):
    network.send()
    sent = network.accept().value()
    head, _, body = sent.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /v1/chat/completions HTTP/1.1"
    assert body == b'{"a":1}'
    names = sorted(line.partition(b":")[0].lower() for line in lines[1:])
    assert names == sorted(
        [b"host", b"content-type", b"content-length", b"accept-encoding", b"authorization"]
        + ([b"connection"] if b"connection" in names else [])
    )
    assert b"accept-encoding: identity" in head.lower()
    assert b"authorization: bearer the-key" in head.lower()


def test_an_anthropic_backend_gets_its_key_in_its_own_header(network):
    network.send(backend("anthropic"))
    head = network.accept().value().lower()
    assert b"x-api-key: the-key" in head
    assert b"authorization: bearer the-key" in head


def test_the_query_is_appended(network):
    outbound = Outbound(path="/messages", query=b"beta=true", headers=(), body=b"{}")
    network.send(outbound=outbound)
    assert network.accept().value().startswith(b"POST /v1/messages?beta=true HTTP/1.1\r\n")


@pytest.mark.parametrize(
    ("url", "address", "host"),
    [
        ("http://10.1.2.3", ("10.1.2.3", 80), b"10.1.2.3"),
        ("http://[::1]:8000", ("::1", 8000), b"[::1]:8000"),
        ("http://[2001:db8::1]/v1", ("2001:db8::1", 80), b"[2001:db8::1]"),
    ],
)
def test_addresses(network, url, address, host):
    network.send(backend(url=url))
    assert network.reactor.tcpClients[0][:2] == address
    assert b"\r\nhost: " + host + b"\r\n" in network.accept().value().lower()


def test_an_answer(network):
    network.send()
    network.accept().protocol.dataReceived(ANSWER)
    assert network.answer.status == 200
    assert network.answer.content_type == "application/json"
    body = []
    Deferred.fromCoroutine(network.answer.body()).addCallback(body.append)
    assert body == [b"{}"]
    network.reactor.advance(IDLE_SECONDS)
    network.reactor.advance(CLOSE_SECONDS)
    assert network.timers() == []


def test_a_redirect_is_an_answer_like_any_other(network):
    network.send()
    network.accept().protocol.dataReceived(
        b"HTTP/1.1 303 See Other\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n"
    )
    assert network.answer.status == 303
    assert len(network.reactor.tcpClients) == 1


def test_how_busy_a_backend_is(network):
    network.send()
    assert network.backends.loads() == {}, "one without a limit has no slots"
    busy = msgspec.structs.replace(backend(), name="busy", max_in_flight=1)
    calls = [network.send(busy) for _ in range(3)]
    assert network.backends.loads() == {"busy": (1, 2)}
    changed = network.send(msgspec.structs.replace(busy, max_in_flight=2))
    assert network.backends.loads() == {"busy": (2, 2)}, "as a reload leaves it"
    for call in (*reversed(calls), changed):
        call.cancel()
    assert network.backends.loads() == {"busy": (0, 0)}


def test_an_answer_tells_how_long_its_request_waited_and_when_it_was_sent(network):
    busy = msgspec.structs.replace(backend(), max_in_flight=1)
    network.send(busy)
    network.reactor.advance(1)
    first = network.accept()
    first.protocol.dataReceived(ANSWER)
    assert (network.answer.queued, network.answer.sent_at) == (0, 1)
    answer = network.answer
    network.send(busy)
    network.reactor.advance(2)
    answer.deliver(_Sink())
    answer.finished()
    network.reactor.advance(3)
    first.protocol.dataReceived(ANSWER)
    assert (network.answer.queued, network.answer.sent_at) == (2, 3), "over the same connection"


def test_a_get_has_no_body_and_takes_no_place_from_calls(network):
    busy = msgspec.structs.replace(backend("anthropic"), max_in_flight=1, queue=0)
    network.send(busy)
    network.accept()
    asked = Outbound(method="GET", path="/models", query=b"limit=9", headers=(("x-a", "b"),))
    outcome = []
    getting = Deferred.fromCoroutine(network.backends.get(busy, asked, TIMEOUTS))
    getting.addBoth(outcome.append)
    wire = network.accept()
    head, _, body = wire.value().lower().partition(b"\r\n\r\n")
    assert head.startswith(b"get /v1/models?limit=9 http/1.1\r\n")
    assert b"x-api-key: the-key" in head and b"x-a: b" in head
    assert (b"content-length: 0" in head or b"content-length" not in head) and body == b""
    wire.protocol.dataReceived(ANSWER)
    assert outcome[0].status == 200


def test_cookies_are_not_kept(network):
    network.send()
    network.accept().protocol.dataReceived(
        ANSWER.replace(b"\r\n\r\n", b"\r\nset-cookie: tenant=a; path=/\r\n\r\n")
    )
    assert "set-cookie" not in network.answer.headers
    network.answer.deliver(_Sink())
    network.send()
    wire = network.connections[0]
    assert b"cookie" not in wire.value().lower()


def test_a_kept_connection_is_used_again(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(ANSWER)
    network.answer.deliver(_Sink())
    wire.clear()
    network.send()
    assert wire.value().startswith(b"POST ")
    assert len(network.reactor.tcpClients) == 1


def test_a_kept_connection_that_had_died_is_replaced_once(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(ANSWER)
    network.answer.deliver(_Sink())
    network.send()
    wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert network.outcome == []
    second = network.accept()
    assert second.value().startswith(b"POST ")
    second.protocol.connectionLost(Failure(ConnectionDone()))
    assert network.error.info.code == "closed_before_headers"
    assert len(network.reactor.tcpClients) == 2


def test_a_kept_connection_that_says_what_nobody_asked_for_is_given_up(network):
    network.send()
    wire = network.accept()
    _finish(network, wire)
    wire.protocol.dataReceived(ANSWER)
    assert wire.aborted
    assert network.dropped == [("b", "unasked")]
    network.send()
    assert len(network.reactor.tcpClients) == 2


@pytest.mark.parametrize(
    ("seconds", "said"), [(STALE_SECONDS + 0.1, b""), (4, b""), (0, b"HTTP/1.1 2")]
)
def test_a_call_that_was_worked_on_is_not_sent_twice(network, seconds, said):
    network.send()
    wire = network.accept()
    _finish(network, wire)
    network.send()
    network.reactor.advance(seconds)
    if said:
        wire.protocol.dataReceived(said)
    wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert isinstance(network.error, Broken)
    assert network.error.sent
    assert len(network.reactor.tcpClients) == 1


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS])
def test_a_shortage_of_ours_is_nobodys_fault(network, messages, number):
    network.send()
    _finish(network, network.accept())
    [waiting] = network.connections
    for _ in range(3):
        network.send(backend(url="http://10.1.2.4:8000"))
        network.refuse(ConnectBindError(number, "none left"))
        network.connections.append(None)
        assert isinstance(network.error, OutOfResources)
        assert not network.error.sent
        assert retries.blame(network.error) == "nobody"
        assert not retries.elsewhere(network.error, retries.Retries())
        assert not retries.again(network.error, retries.Retries())
    assert sum("descriptors" in message for message in messages) == 1
    assert waiting.aborted, "what only waits makes room"


def test_the_connection_in_its_place_is_kept_like_any_other(network):
    network.send()
    _finish(network, network.accept())
    network.send()
    network.connections[0].protocol.connectionLost(Failure(ConnectionLost()))
    _finish(network, network.accept())
    network.send()
    assert len(network.reactor.tcpClients) == 2
    assert network.connections[1].value().count(b"POST ") == 2


def test_an_idle_connection_is_closed_even_if_the_backend_does_not_close_its_side(network):
    network.send()
    wire = network.accept()
    _finish(network, wire)
    network.reactor.advance(IDLE_SECONDS)
    assert wire.disconnecting
    assert not wire.aborted
    network.reactor.advance(CLOSE_SECONDS)
    assert wire.aborted


def test_a_connection_that_cannot_be_kept_is_closed_in_time(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 2\r\n\r\n")
    network.answer.deliver(_Ending(network.answer))
    wire.protocol.dataReceived(b"{}")
    assert wire.disconnecting
    network.reactor.advance(CLOSE_SECONDS)
    assert wire.aborted


def test_a_connection_with_an_unsent_request_is_not_used_again(network):
    network.send()
    wire = network.accept()
    wire.dataBuffer = b"the rest of the request"
    _finish(network, wire)
    assert wire.aborted
    wire.protocol.connectionLost(Failure(ConnectionLost()))
    network.send()
    assert len(network.reactor.tcpClients) == 2


def test_a_fresh_connection_that_dies_is_not_tried_again(network):
    network.send()
    network.accept().protocol.connectionLost(Failure(ConnectionLost()))
    assert isinstance(network.error, Broken)
    assert network.error.sent
    assert network.error.info.code == "closed_before_headers"
    assert len(network.reactor.tcpClients) == 1


@pytest.mark.parametrize(
    ("reason", "kind", "code"),
    [
        (Refusal(), Unreachable, "refused"),
        (ConnectTimeout(), TimedOut, "timeout_connect"),
    ],
)
def test_no_connection(network, reason, kind, code):
    network.send()
    network.refuse(reason)
    assert isinstance(network.error, kind)
    assert not network.error.sent
    assert network.error.info.code == code
    assert network.timers() == []


def test_no_headers_in_time(network):
    network.send()
    wire = network.accept()
    network.reactor.advance(60)
    assert isinstance(network.error, TimedOut)
    assert network.error.info.code == "timeout_headers"
    assert wire.disconnecting or wire.aborted
    assert network.timers() == []


@pytest.mark.parametrize(
    "garbage",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: rot13\r\n\r\nabc",
    ],
)
def test_what_is_no_http(network, garbage):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(garbage)
    if not network.outcome:
        wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert network.error.info.code in ("bad_response", "closed_before_headers")


@pytest.mark.parametrize("accepted", [False, True])
def test_a_cancelled_call_stops_and_is_told_as_cancelled(network, accepted):
    sending = network.send()
    wire = network.accept() if accepted else None
    sending.cancel()
    assert isinstance(network.error, CancelledError)
    assert wire is None or wire.aborted or wire.disconnecting
    assert network.timers() == []


def test_a_body_that_is_cut(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}")
    errors = []
    Deferred.fromCoroutine(network.answer.body()).addErrback(errors.append)
    wire.protocol.connectionLost(Failure(ConnectionLost()))
    assert errors[0].value.info.code == "truncated"
    assert network.timers() == []


def test_a_body_that_stalls(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}")
    errors = []
    Deferred.fromCoroutine(network.answer.body()).addErrback(errors.append)
    network.reactor.advance(19)
    wire.protocol.dataReceived(b" ")
    network.reactor.advance(19)
    assert errors == []
    network.reactor.advance(1)
    assert errors[0].value.info.code == "timeout_idle"
    assert wire.aborted


def test_a_body_that_drips_has_a_longest_duration(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{}")
    errors = []
    Deferred.fromCoroutine(network.answer.body()).addErrback(errors.append)
    for _ in range(9):
        network.reactor.advance(10)
        wire.protocol.dataReceived(b" ")
    assert errors == []
    network.reactor.advance(10)
    assert errors[0].value.info.code == "timeout_total"
    assert wire.aborted


def test_a_body_without_end_is_bounded(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    errors = []
    Deferred.fromCoroutine(network.answer.body(limit=100)).addErrback(errors.append)
    wire.protocol.dataReceived(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert errors == []
    wire.protocol.dataReceived(b"1\r\nx\r\n")
    assert errors[0].value.info.code == "oversized"
    assert wire.aborted


def test_a_body_that_is_too_large_at_once(network):
    network.send()
    network.accept().protocol.dataReceived(ANSWER)
    errors = []
    Deferred.fromCoroutine(network.answer.body(limit=1)).addErrback(errors.append)
    assert errors[0].value.info.code == "oversized"


def test_a_compressed_body_is_none_any_more(network):
    """Nobody asked for it, but treq knows what to do."""
    network.send()
    packed = gzip.compress(b"{}" * 9)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    network.accept().protocol.dataReceived(head % len(packed) + packed)
    body = []
    Deferred.fromCoroutine(network.answer.body()).addCallback(body.append)
    assert body == [b"{}" * 9]


def test_of_a_header_that_comes_again_the_first_counts(network):
    network.send()
    lines = b"\r\nX-A: 1\r\nset-cookie: a=b\r\nx-a: 2\r\nx-b: \xe9 \r\nset-cookie: c=d\r\n\r\n"
    network.accept().protocol.dataReceived(ANSWER.replace(b"\r\n\r\n", lines))
    headers = network.answer.headers
    assert (headers["x-a"], headers["x-b"]) == ("1", "\xe9")
    assert "set-cookie" not in headers


def test_a_body_nobody_waits_for_any_more_stops_the_backend(network):
    network.send()
    wire = network.accept()
    wire.protocol.dataReceived(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}")
    reading = Deferred.fromCoroutine(network.answer.body())
    reading.addErrback(lambda failure: failure.trap(CancelledError))
    reading.cancel()
    assert wire.aborted


def _finish(network, wire):
    """A whole answer, taken."""
    wire.protocol.dataReceived(ANSWER)
    network.answer.deliver(_Ending(network.answer))


class _Ending:
    """Takes a body and says when it is over."""

    def __init__(self, answer):
        self.answer = answer

    def makeConnection(self, transport): ...

    def dataReceived(self, data): ...

    def connectionLost(self, reason):
        self.answer.finished()


class _Sink:
    """Takes a body and forgets it."""

    def makeConnection(self, transport): ...

    def dataReceived(self, data): ...

    def connectionLost(self, reason): ...
