"""The clients' side over real sockets: what only the kernel, TLS or a full buffer can show."""

import contextlib
import datetime
import http.client
import json
import os
import socket
import ssl
import struct
import time
from types import SimpleNamespace

import pytest
import pytest_twisted
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from site_in_memory import GET, WAIT, Answer, Answers, Listener, Wire, chunked, post
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    SSL4ServerEndpoint,
    TCP4ServerEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread
from twisted.web import server
from twisted.web.resource import Resource

from lmbroker.backends.peer import PROBE_SECONDS
from lmbroker.call import End, Record
from lmbroker.config.config import Server
from lmbroker.server.http import Limits, Site
from lmbroker.server.http.transport import outstanding
from lmbroker.server.routes import Front

pytestmark = pytest.mark.usefixtures("engine")

MIB = 1024 * 1024
SECONDS = 10
"""No test waits longer than this for anything."""


class Port:
    """A site that listens, and blocking clients for it, each to be run in a thread."""

    async def open(self, endpoint=None, tls=False, **limits):
        self.resource = Answers()
        self.site = Site(self.resource, reactor, Limits(**limits), Listener.engine)
        self.tls = tls
        endpoint = endpoint or TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self._listening = await endpoint.listen(self.site)
        self.address = self._listening.getHost()
        self._sockets = []
        return self

    async def close(self):
        for client in self._sockets:
            client.close()
        self.site.abort()
        await self.site.drain()
        await self._listening.stopListening()

    def dial(self, handshake=True, buffer=None):
        """A connected socket."""
        client = socket.socket()
        client.settimeout(SECONDS)
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.connect(("127.0.0.1", self.address.port))
        if self.tls and handshake:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.set_alpn_protocols(["h2", "http/1.1"])
            client = context.wrap_socket(client)
        self._sockets.append(client)
        return client

    def ask(self, data):
        """A connected socket that has sent ``data``."""
        client = self.dial()
        client.sendall(data)
        return client

    async def request(self, count=1):
        """The newest request, once there are ``count``."""
        await until(lambda: len(self.resource.requests) >= count)
        return self.resource.requests[-1]

    async def left(self, request):
        """Wait until the client of ``request`` is seen to have left; how long it took."""
        began = reactor.seconds()
        gone = Deferred()
        request.notifyFinish().addBoth(lambda _: gone.callback(None))
        await gone.addTimeout(SECONDS, reactor)
        return reactor.seconds() - began


async def until(condition):
    for _ in range(SECONDS * 100):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it did not come to pass")


def rest(client):
    """All that comes until the end; None if it was a reset."""
    received = b""
    try:
        while piece := client.recv(65536):
            received += piece
    except ConnectionResetError:
        return None
    return received


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest_twisted.async_yield_fixture
async def port():
    opened = []

    async def listen(*args, **kwargs):
        opened.append(await Port().open(*args, **kwargs))
        return opened[-1]

    yield listen
    for one in opened:
        await one.close()


def certificate():
    """A context with a certificate of its own."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return CertificateOptions(privateKey=key, certificate=made)


def tls_endpoint():
    return SSL4ServerEndpoint(reactor, 0, certificate(), interface="127.0.0.1")


# Refusals reach clients that are still sending.


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("kind", ["declared", "chunked"])
@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_all_before_it_reads_gets_its_413(port, kind, secure):
    listener = await port(tls_endpoint() if secure else None, tls=secure, body=MIB)
    body = b"x" * 5 * MIB

    def client():
        asked = listener.ask(post(body) if kind == "declared" else chunked(*[body[:65536]] * 80))
        return Answer(asked.recv(65536))

    answer = await deferToThread(client)
    assert (answer.status, answer.code) == (413, "request_too_large")
    assert listener.resource.requests == []
    await until(lambda: listener.site.body_bytes == 0)


@pytest_twisted.ensureDeferred
async def test_what_is_sent_after_a_413_is_bounded(port):
    listener = await port(body=MIB)

    def client():
        asked = listener.ask(post(length=100 * MIB))
        sent = 0
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            while sent < 100 * MIB:
                sent += asked.send(b"x" * 65536)
        return sent

    # What the kernels hold comes on top.
    assert 8 * MIB <= await deferToThread(client) < 24 * MIB
    await until(lambda: listener.site.connections == 0)


@pytest_twisted.ensureDeferred
async def test_the_standard_client_of_python_understands_the_refusals(port):
    listener = await port(body=MIB)

    def client():
        asked = http.client.HTTPConnection("127.0.0.1", listener.address.port, timeout=SECONDS)
        asked.request("POST", "/v1/messages", b"x" * 2 * MIB)
        answer = asked.getresponse()
        return answer.status, json.loads(answer.read())["error"]["type"]

    assert await deferToThread(client) == (413, "request_too_large")


@pytest_twisted.ensureDeferred
async def test_a_malformed_request_is_answered_and_closed_even_with_bytes_behind_it(port):
    listener = await port()
    asked = await deferToThread(listener.ask, b"GET / HTTP/1.1\r\n\r\n" + b"x" * 100_000)
    answer = Answer(await deferToThread(rest, asked))
    assert answer.status == 400 and answer.rest == b""
    asked.close()
    await until(lambda: listener.site.connections == 0)


@pytest_twisted.ensureDeferred
async def test_a_large_upload_arrives_whole(port):
    listener = await port()
    body = os.urandom(MIB) * 30

    def client():
        return [
            Answer(listener.ask(data).recv(65536)).body
            for data in (post(body), chunked(*[body[:100_000]] * 300))
        ]

    assert await deferToThread(client) == [b"%d bytes" % (30 * MIB), b"30000000 bytes"]


# Deadlines.


@pytest_twisted.ensureDeferred
async def test_a_dripping_client_meets_its_deadline(port):
    listener = await port(header_seconds=1)

    def client():
        asked = listener.dial()
        began = time.monotonic()
        asked.settimeout(0.2)
        for byte in GET:
            asked.sendall(bytes([byte]))
            with contextlib.suppress(TimeoutError):
                return Answer(asked.recv(65536)), time.monotonic() - began
        raise AssertionError("never")

    answer, took = await deferToThread(client)
    assert answer.status == 408
    assert 1 <= took < 2


@pytest.mark.parametrize("secure", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_silent_connection_is_closed(port, secure):
    """With TLS: one that never shakes hands."""
    listener = await port(tls_endpoint() if secure else None, tls=secure, idle_seconds=0.3)
    assert not await deferToThread(lambda: rest(listener.dial(handshake=False)))
    await until(lambda: listener.site.connections == 0)


# Readers.


def fill(request, size):
    """Write so much, as a producer that never pauses; how often it was told to stop."""

    class Producer:
        stopped = 0

        def pauseProducing(self):
            pass

        def resumeProducing(self):
            pass

        def stopProducing(self):
            self.stopped += 1

    producer = Producer()
    request.registerProducer(producer, True)
    request.write(b"x" * size)
    return producer


@pytest.mark.parametrize("secure", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_client_that_stops_reading_is_cut_and_its_backend_stopped(port, secure):
    listener = await port(tls_endpoint() if secure else None, tls=secure, stall_seconds=1)
    asked = await deferToThread(listener.ask, WAIT)
    request = await listener.request()
    producer = fill(request, 30 * MIB)
    took = await listener.left(request)
    assert 0.3 <= took < 4
    assert producer.stopped == 1
    await until(lambda: listener.site.connections == 0)
    asked.close()


@pytest.mark.parametrize("secure", [False, True])
@pytest_twisted.ensureDeferred
async def test_a_client_that_reads_slowly_gets_everything(port, secure):
    """Also behind the end of the answer: it is read for three times as long as a stall or a
    linger may take."""
    listener = await port(
        tls_endpoint() if secure else None, tls=secure, stall_seconds=0.8, linger_seconds=0.8
    )

    def client():
        asked = listener.dial(buffer=65536)
        asked.sendall(WAIT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = 0
        began = time.monotonic()
        while piece := asked.recv(MIB // 8):
            received += len(piece)
            if time.monotonic() - began < 2.6:
                time.sleep(0.1)
        return received

    reading = deferToThread(client)
    request = await listener.request()
    request.setHeader("content-length", str(24 * MIB))
    request.write(b"x" * 24 * MIB)
    request.finish()
    assert await reading > 24 * MIB


@pytest_twisted.ensureDeferred
async def test_an_answer_that_nobody_takes_does_not_keep_the_connection(port):
    listener = await port(linger_seconds=0.3)
    ask = WAIT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    await deferToThread(listener.ask, ask)
    request = await listener.request()
    request.write(b"x" * 30 * MIB)
    request.finish()
    began = reactor.seconds()
    await until(lambda: listener.site.connections == 0)
    assert 0.3 <= reactor.seconds() - began < 3


@pytest_twisted.ensureDeferred
async def test_a_tls_client_that_does_not_close_is_not_waited_for(port):
    listener = await port(tls_endpoint(), tls=True, linger_seconds=0.3)
    data = GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
    await deferToThread(listener.ask, data)
    await until(lambda: listener.resource.requests)
    await until(lambda: listener.site.connections == 0)


@pytest_twisted.ensureDeferred
async def test_what_the_client_has_not_taken_is_known(port):
    """Without it a slow reader would count as a stalled one. The names of our buffer are Twisted's
    own; what waits in the kernel counts, too."""
    listener = await port()
    asked = await deferToThread(listener.dial, buffer=65536)
    asked.sendall(WAIT)
    request = await listener.request()
    request.write(b"x" * 30 * MIB)
    transport = request.channel.transport
    await deferLater(reactor, 0.2)
    before = outstanding(transport)
    assert 30 * MIB + 1000 > before > 30 * MIB - transport.offset
    await deferToThread(asked.recv, 100_000, socket.MSG_WAITALL)
    await until(lambda: outstanding(transport) < before)


# Clients that leave.


@pytest.mark.parametrize("how", ["fin", "rst", "half"])
@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("early", [0, 10_000])
@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_is_noticed_at_once(port, how, early, secure):
    listener = await port(tls_endpoint() if secure else None, tls=secure)
    asked = await deferToThread(listener.ask, WAIT + b"x" * early)
    request = await listener.request()
    if how == "half":
        asked.shutdown(socket.SHUT_WR)
    else:
        if how == "rst":
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        asked.close()
    assert await listener.left(request) < 0.5
    await until(lambda: listener.site.connections == 0)


@pytest_twisted.ensureDeferred
async def test_a_client_that_sends_on_and_leaves_is_noticed(port):
    listener = await port()
    asked = await deferToThread(listener.ask, WAIT + b"x" * 100_000)
    await listener.request()
    await until(lambda: listener.site.connections == 0)
    asked.close()


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_in_its_upload_is_forgotten(port):
    listener = await port()
    asked = await deferToThread(listener.ask, post(b"x" * MIB, length=2 * MIB))
    await until(lambda: listener.site.body_bytes == MIB)
    asked.close()
    await until(lambda: listener.site.connections == 0)
    assert listener.site.body_bytes == 0 and listener.resource.requests == []


# Connections.


@pytest_twisted.ensureDeferred
async def test_one_connection_too_many_is_told_so(port):
    listener = await port(connections=1)
    await deferToThread(listener.dial)
    await until(lambda: listener.site.connections == 1)
    answer = Answer(
        await deferToThread(lambda: rest(listener.ask(post(b"hello", b"/v1/messages"))))
    )
    assert answer.status == 529 and answer.headers["retry-after"] == "1"


@pytest.mark.parametrize("secure", [False, True])
@pytest_twisted.ensureDeferred
async def test_the_kernel_watches_the_client(port, secure):
    listener = await port(tls_endpoint() if secure else None, tls=secure, stall_seconds=7)
    await deferToThread(listener.ask, WAIT)
    transport = (await listener.request()).channel.transport
    assert transport.getTcpNoDelay() and transport.getTcpKeepAlive()
    handle = (transport.transport if secure else transport).getHandle()
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
    values = tuple(handle.getsockopt(socket.IPPROTO_TCP, name) for name in names)
    assert values == PROBE_SECONDS
    assert handle.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 7000


@pytest_twisted.ensureDeferred
async def test_tls_speaks_http_1_1_only(port):
    listener = await port(tls_endpoint(), tls=True)

    def client():
        asked = listener.ask(GET)
        return asked.selected_alpn_protocol(), Answer(asked.recv(65536)).body

    protocol, body = await deferToThread(client)
    assert protocol in ("http/1.1", None) and body == b"ok"


@pytest_twisted.ensureDeferred
async def test_a_unix_socket_is_served(port, tmp_path):
    path = str(tmp_path / "listener")
    await port(UNIXServerEndpoint(reactor, path), connections_per_address=1)

    def client():
        with socket.socket(socket.AF_UNIX) as asked, socket.socket(socket.AF_UNIX) as other:
            for one in (asked, other):
                one.settimeout(SECONDS)
                one.connect(path)
                one.sendall(GET)
            other.sendall(b"\0\r\n\r\n")
            return Answer(asked.recv(65536)), [Answer(rest(other)).status]

    answer, _ = await deferToThread(client)
    assert answer.body == b"ok"


@pytest_twisted.ensureDeferred
async def test_draining_and_cutting(port):
    listener = await port()
    await deferToThread(listener.dial)
    busy = await deferToThread(listener.ask, WAIT)
    await listener.request()
    await until(lambda: listener.site.connections == 2)
    gone = listener.site.drain()
    await until(lambda: listener.site.connections == 1)
    assert not gone.called
    listener.site.abort()
    await gone
    assert await deferToThread(rest, busy) is None


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_behind(port):
    listener = await port(body=1000, idle_seconds=0.4, linger_seconds=0.3)

    def clients():
        for data in (
            GET,
            post(b"x" * 2000),
            b"GET / HTTP/1.1\r\n\r\n",
            chunked(b"x" * 2000),
            GET + GET + b"GET",
            WAIT,
            b"",
        ):
            asked = listener.ask(data)
            if data == WAIT:
                time.sleep(0.1)
            asked.close()

    await deferToThread(clients)
    await until(lambda: listener.site.connections == 0)
    before = descriptors()
    for _ in range(20):
        await deferToThread(clients)
    await until(lambda: listener.site.connections == 0)
    assert descriptors() == before
    assert listener.site.body_bytes == 0


# In somebody else's site.


class Breaks:
    """A broker whose answers break in the middle, for a reason that nobody thought of."""

    status = 200
    headers = ()
    bytes_out = 4
    offload = trace_ratio = captures = None
    clock = Clock()
    turns = SimpleNamespace(turn=0)
    config = SimpleNamespace(limits=Limits(), keys=(), server=Server(listen=()))

    def wall(self):
        return 0

    def open(self, request_id, operation, dialect):
        return Record(id=request_id, operation=operation, dialect=dialect, opened_at=0.0)

    def close(self, record, end):
        self.closed = end

    async def chat(self, call, record):
        return self

    embeddings = count_tokens = chat

    async def deliver(self, consumer):
        consumer.write(b"half")
        raise RuntimeError("unforeseen")


def test_an_answer_that_breaks_does_not_look_whole_in_a_stock_site(nothing_fails_unheard):
    """Klein finishes every request, and what is finished has a last chunk."""
    broker = Breaks()
    clock = Clock()
    channel = server.Site(Front(broker).resource(), reactor=clock).buildProtocol(None)
    wire = Wire(clock, "127.0.0.1")
    wire.protocol = channel
    channel.makeConnection(wire)
    channel.dataReceived(post(b'{"model":"m","messages":[]}'))
    assert wire.aborted
    assert broker.closed == End(
        outcome="failed", status=200, code="internal_error", bytes_out=broker.bytes_out
    )
    nothing_fails_unheard.clear()


@pytest.mark.parametrize("ours", [True, False])
@pytest.mark.parametrize(
    ("below", "path", "status"),
    [
        (b"", b"/v1/messages", 400),
        (b"", b"/v1/mess%61ges?beta=true", 400),
        (b"", b"/v1%2Fmessages", 400),
        (b"", b"/v1//messages", 400),
        (b"", b"/messages", 400),
        (b"", b"/v1/v1/messages", 400),
        (b"llm", b"/llm/v1/messages", 400),
        (b"v1", b"/v1/v1/messages", 400),
        (b"v1", b"/v1/messages", 400),
        (b"llm", b"/llm/api/messages", 404),
    ],
)
def test_a_call_is_known_by_its_path_below_the_place_of_the_resource(ours, below, path, status):
    clock = Clock()
    root = resource = Front(Breaks()).resource()
    if below:
        root = Resource()
        root.putChild(below, resource)
    site = Site(root, clock, engine=Listener.engine) if ours else server.Site(root, reactor=clock)
    channel = site.buildProtocol(None)
    wire = Wire(clock, "127.0.0.1")
    wire.protocol = channel
    channel.makeConnection(wire)
    channel.dataReceived(post(b"{", path))
    assert Answer(wire.value()).status == status
    assert (b"not a valid JSON object" in wire.value()) is (status == 400)


# The daemon stands behind this listener.


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET /v1/messages HTTP/1.1\r\n\r\n", 400),
        (post(b"{}", b"/v1/messages", b"Transfer-Encoding: chunked"), 400),
        (b"GET /v1/messages HTTP/1.1\r\n" + b"X: 1\r\n" * 200 + b"\r\n", 431),
        (b"GET /v1/messages?" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 414),
        (post(b"", b"/v1/messages", b"Expect: 100-continue", length=100 * MIB), 413),
        (post(b"{", b"/v1/messages"), 400),
        (b"DELETE /v1/messages HTTP/1.1\r\nHost: a\r\n\r\n", 405),
        (b"GET /v1/messages/none HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"GET /v1/messages/\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400),
        (b"GET /v1/messages/%ff HTTP/1.1\r\nHost: a..b\r\n\r\n", 400),
    ],
)
def test_the_daemon_tells_every_refusal_in_the_dialect_of_the_path(daemon, data, status):
    with socket.create_connection(("127.0.0.1", daemon.port), SECONDS) as client:
        client.sendall(data)
        answer = Answer(client.recv(65536))
    assert answer.status == status
    assert answer.json["type"] == "error"
    assert answer.json["request_id"] == answer.headers["request-id"]
    assert "server" not in answer.headers


@pytest.mark.parametrize("line", [b"OPTIONS *", b"CONNECT a:443", b"TRACE /health", b"FOO /health"])
def test_the_daemon_takes_no_other_methods(daemon, line):
    with socket.create_connection(("127.0.0.1", daemon.port), SECONDS) as client:
        client.sendall(line + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = Answer(client.recv(65536))
    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_the_daemon_writes_one_line_per_refusal(daemon):
    before = len(daemon.lines())
    with socket.create_connection(("127.0.0.1", daemon.port), SECONDS) as client:
        client.sendall(b"GET /secret HTTP/1.1\r\nAuthorization: sk-secret\r\n\r\n")
        answer = Answer(client.recv(65536))
    for _ in range(SECONDS * 100):
        if len(daemon.lines()) > before:
            break
        time.sleep(0.01)
    (line,) = daemon.lines()[before:]
    assert line["request_id"] == answer.headers["x-request-id"]
    assert line["message"] == "Refused a request with 400: malformed_request"
    assert "secret" not in str(line)
