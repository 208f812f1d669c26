"""The agents of the lean client, called by treq."""

import pytest
import treq.client
from test_client_connection import END, STREAM, WHOLE, Wire, chunk
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseFailed, ResponseNeverReceived
from twisted.web.iweb import IAgent
from zope.interface.verify import verifyObject

from lmbroker.backends.client.agent import LeanClient
from lmbroker.backends.connections import Body
from lmbroker.call import Backend


class Endpoints:
    """Connects to wires in memory; ``connecting`` are those under way, where ``slow``."""

    def __init__(self):
        self.wires = []
        self.uris = []
        self.slow = False
        self.connecting = []

    def to(self, uri):
        self.uris.append(uri)
        return self

    def connect(self, factory):
        protocol = factory.buildProtocol(None)
        wire = Wire()
        wire.protocol = protocol
        if self.slow:
            self.connecting.append(Deferred())
            return self.connecting[-1]
        self.wires.append(wire)
        protocol.makeConnection(wire)
        return succeed(protocol)


class Asker:
    """Sends requests to a backend through treq; ``exchange`` is the last one's agent."""

    def __init__(self):
        self.endpoints = Endpoints()
        self.engine = LeanClient(Clock(), lambda backend, uri, seconds: self.endpoints.to(uri))

    def ask(self, url="http://127.0.0.1:8000/v1/chat", body=b"{}", fresh=False, more=(), **options):
        backend = Backend(name="b", url=url, dialect="openai", **options)
        fields = {"content-type": "application/json", **dict(more)}
        self.exchange = self.engine.exchange(backend, fields, 10.0, fresh=fresh)
        self.outcome = []
        asked = treq.client.HTTPClient(self.exchange).request(
            "GET" if body is None else "POST",
            url,
            data=None if body is None else Body(body),
            allow_redirects=False,
            unbuffered=True,
            reactor=object(),
        )
        asked.addBoth(self.outcome.append)
        return asked

    @property
    def wire(self):
        return self.endpoints.wires[-1]

    def comes(self, *reads):
        for data in reads:
            self.wire.protocol.dataReceived(data)

    def content(self):
        [response] = self.outcome
        found = []
        response.content().addBoth(found.append)
        return found


@pytest.fixture
def asker():
    return Asker()


def test_what_goes_out(asker):
    asker.ask()
    assert verifyObject(IAgent, asker.exchange)
    assert asker.wire.writes == [
        b"POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nAccept-Encoding: identity\r\n"
        b"content-type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    ]


def test_what_goes_out_without_a_body(asker):
    asker.ask(body=None)
    assert asker.wire.writes[0].startswith(b"GET /v1/chat HTTP/1.1\r\n")
    assert b"content-length" not in asker.wire.writes[0].lower()
    assert asker.wire.writes[0].endswith(b"\r\n\r\n")


def test_an_empty_body_has_a_length(asker):
    asker.ask(body=b"")
    assert b"\r\nContent-Length: 0\r\n" in asker.wire.writes[0]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("http://llm.example/v1", b"llm.example"),
        ("http://llm.example:80/v1", b"llm.example"),
        ("https://llm.example/v1", b"llm.example"),
        ("https://llm.example:80/v1", b"llm.example:80"),
        ("http://llm.example:8000/v1", b"llm.example:8000"),
    ],
)
def test_whom_it_is_for(asker, url, host):
    asker.ask(url)
    assert b"\r\nHost: " + host + b"\r\n" in asker.wire.writes[0]


def test_no_header_begins_another(asker):
    asker.ask(more={"x-a": "1\r\nx-b: 2\n\rx\0y\x7f\u00e9"})
    assert b"\r\nx-a: 1  x-b: 2  x y \xc3\xa9\r\n" in asker.wire.writes[0]


def test_cookies_go_in_neither_direction(asker):
    answer = WHOLE.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b\r\n\r\n")
    asker.ask()
    asker.comes(answer)
    [response] = asker.outcome
    assert response.headers.getRawHeaders(b"set-cookie") is None
    assert list(response.cookies()) == []
    asker.ask(more={"cookie": "x"})
    assert b"a=b" not in asker.wire.writes[0]


def test_treq_reads_the_body(asker):
    asker.ask()
    asker.comes(STREAM + chunk(b"he"))
    found = asker.content()
    asker.comes(chunk(b"ll") + chunk(b"o") + END)
    assert found == [b"hello"]


def test_the_next_request_takes_the_same_connection(asker):
    for number in range(3):
        asker.ask()
        assert asker.exchange.reused is bool(number)
        asker.comes(WHOLE)
        assert asker.content() == [b"hello"]
    assert len(asker.endpoints.wires) == 1
    asker.ask(fresh=True)
    assert not asker.exchange.reused and len(asker.endpoints.wires) == 2


@pytest.mark.parametrize(
    "other",
    [{"url": "http://127.0.0.1:8001/"}, {"url": "https://127.0.0.1:8000/"}, {"ca": "another"}],
)
def test_no_other_backend_gets_it(asker, other):
    asker.ask()
    asker.comes(WHOLE)
    asker.content()
    asker.ask(**other)
    assert len(asker.endpoints.wires) == 2


def test_a_backend_without_keepalive(asker):
    asker.ask(keepalive=False)
    assert b"\r\nConnection: close\r\n" in asker.wire.writes[0]
    asker.comes(WHOLE)
    assert asker.content() == [b"hello"]
    assert asker.wire.disconnecting
    asker.ask(keepalive=False)
    assert len(asker.endpoints.wires) == 2


# Stopped in each phase.


def test_stopped_while_it_connects(asker):
    asker.endpoints.slow = True
    asked = asker.ask()
    asked.cancel()
    assert asker.endpoints.connecting[0].called
    assert asker.outcome[0].check(CancelledError)


def test_stopped_while_it_waits(asker):
    asked = asker.ask()
    asked.cancel()
    assert asker.wire.aborted
    assert asker.outcome[0].check(CancelledError)
    asker.wire.protocol.connectionLost(Failure(ConnectionLost()))


def test_stopped_in_its_answer(asker):
    asker.ask()
    asker.comes(STREAM + chunk(b"he"))
    found = asker.content()
    asker.exchange.abort()
    assert asker.wire.aborted
    asker.wire.protocol.connectionLost(Failure(ConnectionLost()))
    assert found[0].check(ResponseFailed)


def test_stopped_before_its_answer_was_taken(asker):
    asker.ask()
    asker.comes(WHOLE)
    asker.exchange.abort()
    assert asker.wire.aborted
    asker.ask()
    assert len(asker.endpoints.wires) == 2


def test_stopped_when_it_is_over(asker):
    asker.ask()
    asker.comes(WHOLE)
    asker.content()
    over = asker.exchange
    asker.ask()
    over.abort()
    assert not asker.wire.aborted


def test_a_connection_that_dies_without_a_word(asker):
    asker.ask()
    asker.wire.protocol.connectionLost(Failure(ConnectionDone()))
    assert asker.outcome[0].check(ResponseNeverReceived)
