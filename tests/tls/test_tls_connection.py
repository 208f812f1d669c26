"""TLS in memory: two ends over transports that hand their bytes to each other, cut anywhere."""

import ssl

import pytest
from certificates import Authority
from hypothesis import given, settings
from hypothesis import strategies as st
from service_identity import VerificationError
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    TLSVersion,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from lmbroker.tls.connection import RECORD, SecureConnection
from lmbroker.tls.contexts import client_context, identity, server_context

AUTHORITY = Authority()
OPTIONS = AUTHORITY.server()
SERVER = server_context(OPTIONS.certificate, OPTIONS.privateKey)
CLIENT = client_context(AUTHORITY.pem)


class End(Protocol):
    """An end that keeps what it gets."""

    def __init__(self):
        self.got = b""
        self.reason = None

    def dataReceived(self, data):
        self.got += data

    def connectionLost(self, reason):
        assert self.reason is None
        self.reason = reason


class Wire(StringTransport):
    """A TCP transport that remembers how it was ended."""

    ended = ""

    def loseConnection(self):
        self.ended = self.ended or "lost"

    def abortConnection(self):
        self.ended = self.ended or "aborted"


class Two:
    """A client and a server, and the transports between them."""

    def __init__(self, client=None, server=None):
        self.client = client or SecureConnection(CLIENT, End(), "localhost", identity("localhost"))
        self.server = server or SecureConnection(SERVER, End())
        self.asking, self.serving = inner(self.client), inner(self.server)
        self.to_server, self.to_client = Wire(), Wire()

    def connect(self):
        self.server.makeConnection(self.to_client)
        self.client.makeConnection(self.to_server)
        return self.settle()

    def settle(self, size=1 << 20):
        """Carry bytes, at most ``size`` at once, until none are left."""
        while self.to_server.value() or self.to_client.value():
            self.carry(self.to_server, self.server, size)
            self.carry(self.to_client, self.client, size)
        return self

    @staticmethod
    def carry(wire, receiver, size=1 << 20):
        data = wire.value()
        wire.clear()
        for at in range(0, len(data), size):
            receiver.dataReceived(data[at : at + size])

    def hang_up(self):
        """End TCP on both sides, as the ends of the transports have asked for."""
        for end in (self.client, self.server):
            end.connectionLost(Failure(ConnectionDone()))


def inner(end):
    return end.protocol if isinstance(end, SecureConnection) else end.wrappedProtocol


def test_it_is_a_transport():
    two = Two().connect()
    for interface in (ISSLTransport, IConsumer, IPushProducer):
        assert verifyObject(interface, two.client)


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
def test_bytes_pass_in_both_directions(size):
    two = Two()
    two.server.makeConnection(two.to_client)
    two.client.makeConnection(two.to_server)
    two.client.write(b"early ")
    two.settle(size)
    two.client.write(b"question")
    two.server.writeSequence([b"ans", b"wer"])
    two.settle(size)
    assert two.serving.got == b"early question"
    assert two.asking.got == b"answer"


@settings(max_examples=30, deadline=None)
@given(
    pieces=st.lists(st.integers(0, 3 * RECORD), max_size=6),
    cuts=st.lists(st.integers(1, 40_000), min_size=1, max_size=8),
)
def test_whatever_is_written_comes_whole_however_it_is_cut(pieces, cuts):
    two = Two().connect()
    said = b"".join(bytes([65 + at]) * size for at, size in enumerate(pieces))
    for at, size in enumerate(pieces):
        two.server.write(bytes([65 + at]) * size)
    stream = two.to_client.value()
    two.to_client.clear()
    turn = 0
    while stream:
        size = cuts[turn % len(cuts)]
        two.client.dataReceived(stream[:size])
        assert two.client.unfinished or two.asking.got == said[: len(two.asking.got)]
        stream, turn = stream[size:], turn + 1
    assert two.asking.got == said
    assert not two.client.unfinished


def test_one_read_is_one_call_of_the_protocol():
    two = Two().connect()
    calls = []
    two.client.protocol.dataReceived = calls.append
    for _ in range(5):
        two.server.write(b"x" * 100)
    two.settle()
    assert calls == [b"x" * 500]


def test_an_orderly_end():
    two = Two().connect()
    two.server.write(b"last words")
    two.server.loseConnection()
    two.server.write(b"too late")
    two.settle()
    assert two.asking.got == b"last words"
    assert (two.to_client.ended, two.to_server.ended) == ("lost", "lost")
    two.hang_up()
    assert two.asking.reason.check(ConnectionDone)
    assert two.serving.reason.check(ConnectionDone)


def test_tcp_stays_open_until_the_peer_has_closed_its_side_too():
    two = Two().connect()
    two.server.loseConnection()
    assert two.to_client.ended == ""
    # What still comes is thrown away.
    two.client.write(b"a question that crossed")
    two.carry(two.to_server, two.server)
    assert two.serving.got == b""
    two.settle()
    assert two.to_client.ended == "lost"


def test_an_end_of_tcp_alone_is_a_cut():
    two = Two().connect()
    two.server.write(b"half of")
    two.settle()
    two.hang_up()
    assert two.asking.got == b"half of"
    assert two.asking.reason.check(ConnectionLost)


def test_the_reason_of_tcp_is_kept():
    two = Two().connect()
    two.client.connectionLost(Failure(OSError("gone")))
    assert two.asking.reason.check(OSError)


def test_bytes_that_are_no_tls_end_the_connection():
    two = Two()
    two.client.makeConnection(two.to_server)
    two.client.dataReceived(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    assert two.to_server.ended == "lost"
    two.client.connectionLost(Failure(ConnectionDone()))
    assert two.asking.reason.check(ssl.SSLError)


def test_a_record_that_was_changed_on_its_way_ends_the_connection():
    two = Two().connect()
    two.server.write(b"first")
    two.settle()
    two.server.write(b"second")
    record = bytearray(two.to_client.value())
    record[-1] ^= 1
    two.client.dataReceived(bytes(record))
    assert two.to_server.ended == "lost"
    # The peer learns why.
    assert two.to_server.value()
    two.hang_up()
    assert two.asking.got == b"first"
    assert two.asking.reason.check(ssl.SSLError)


def test_an_aborted_connection_gets_nothing_more():
    two = Two().connect()
    two.server.write(b"x")
    two.client.abortConnection()
    two.carry(two.to_client, two.client)
    two.client.write(b"y")
    assert (two.asking.got, two.to_server.value()) == (b"", b"")
    assert two.to_server.ended == "aborted"
    two.hang_up()
    assert two.asking.reason.check(ConnectionLost)


def test_a_protocol_that_aborts_while_it_reads():
    two = Two().connect()
    two.client.protocol.dataReceived = lambda data: two.client.abortConnection()
    two.server.write(b"x")
    two.server.loseConnection()
    two.settle()
    assert two.to_server.ended == "aborted"


def test_a_connection_closed_before_the_handshake_is_aborted():
    two = Two()
    two.client.makeConnection(two.to_server)
    two.client.loseConnection()
    assert two.to_server.ended == "aborted"


def test_what_was_written_before_the_handshake_is_sent_before_the_end():
    two = Two()
    two.server.makeConnection(two.to_client)
    two.client.makeConnection(two.to_server)
    two.client.write(b"all of it")
    two.client.loseConnection()
    two.settle()
    assert two.serving.got == b"all of it"
    assert two.to_server.ended == "lost"


# Who the peer is.


@pytest.mark.parametrize(
    ("context", "name", "error"),
    [
        (client_context(Authority().pem), "localhost", ssl.SSLCertVerificationError),
        (CLIENT, "elsewhere.example", VerificationError),
        (CLIENT, "127.0.0.1", VerificationError),
    ],
)
def test_a_server_that_is_not_to_be_trusted(context, name, error):
    client = SecureConnection(context, End(), name, identity(name))
    two = Two(client)
    two.asking.connectionMade = lambda: client.write(b"secret")
    two.connect()
    assert two.to_server.ended
    two.hang_up()
    assert two.serving.got == b""
    assert two.asking.reason.check(error)


# Producers.


class Producer:
    def __init__(self, transport, pieces):
        self.transport, self.pieces, self.log = transport, pieces, []

    def resumeProducing(self):
        self.log.append("resumed")
        if self.pieces:
            self.transport.write(self.pieces.pop(0))
        if not self.pieces:
            self.transport.unregisterProducer()

    def pauseProducing(self):
        self.log.append("paused")

    def stopProducing(self):
        self.log.append("stopped")


def test_a_producer_that_writes_early_rests_until_the_handshake_has_ended():
    two = Two()
    two.server.makeConnection(two.to_client)
    two.client.makeConnection(two.to_server)
    producer = Producer(two.client, [])
    two.client.registerProducer(producer, True)
    assert producer.log == []
    two.client.write(b"1")
    two.client.write(b"2")
    assert producer.log == ["paused"]
    two.settle()
    assert producer.log == ["paused", "resumed"]
    assert two.serving.got == b"12"


def test_a_producer_that_writes_nothing_early_is_left_alone():
    two = Two()
    producer = Producer(two.server, [b"x"])
    two.server.makeConnection(two.to_client)
    two.server.registerProducer(producer, True)
    two.client.makeConnection(two.to_server)
    two.settle()
    assert producer.log == []
    assert two.to_client.producer is producer


def test_the_end_waits_for_the_producer():
    two = Two().connect()
    producer = Producer(two.server, [b"1", b"2"])
    two.server.registerProducer(producer, False)
    two.server.loseConnection()
    two.settle()
    assert two.server.state == "open"
    producer.resumeProducing()
    producer.resumeProducing()
    two.settle()
    assert two.asking.got == b"12"
    assert two.to_client.ended == "lost"


def test_a_peer_that_closes_ends_the_producer():
    two = Two().connect()
    two.server.registerProducer(Producer(two.server, [b"x"]), True)
    two.client.loseConnection()
    two.settle()
    assert two.to_client.producer is None
    assert two.to_client.ended == "lost"


def test_a_producer_that_comes_too_late_is_stopped():
    two = Two().connect()
    two.server.abortConnection()
    producer = Producer(two.server, [])
    two.server.registerProducer(producer, True)
    assert producer.log == ["stopped"]


# Sessions.


def resumed(session):
    two = Two()
    two.asking.connectionMade = lambda: two.client.offer(session)
    return two.connect().client.resumed


def test_a_session_is_resumed():
    two = Two().connect()
    two.server.write(b"x")
    two.settle()
    session = two.client.session
    two.client.loseConnection()
    two.settle()
    two.hang_up()
    assert resumed(session)


def test_a_session_is_resumed_although_the_peer_closed_tcp_alone():
    two = Two().connect()
    two.server.write(b"x")
    two.settle()
    session = two.client.session
    two.hang_up()
    assert resumed(session)


def test_a_session_of_another_context_cannot_be_offered():
    two = Two().connect()
    two.server.write(b"x")
    two.settle()
    other = SecureConnection(client_context(AUTHORITY.pem), End(), "localhost")
    with pytest.raises(ValueError, match="SSLContext"):
        other.offer(two.client.session)


# Twisted's TLS at the other end.


def twisted_server(**options):
    return TLSMemoryBIOFactory(AUTHORITY.server(**options), False, Factory.forProtocol(End))


def twisted_client():
    trusted = trustRootFromCertificates([Certificate.loadPEM(AUTHORITY.pem)])
    options = optionsForClientTLS("localhost", trustRoot=trusted)
    return TLSMemoryBIOFactory(options, True, Factory.forProtocol(End))


@pytest.mark.parametrize("highest", [TLSVersion.TLSv1_2, TLSVersion.TLSv1_3])
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_with_a_server_of_twisteds(highest, size):
    made = twisted_server(lowerMaximumSecurityTo=highest, raiseMinimumTo=None)
    two = Two(server=made.buildProtocol(None))
    two.connect()
    two.client.write(b"question" * 5000)
    two.settle(size)
    two.serving.transport.write(b"answer" * 5000)
    two.serving.transport.loseConnection()
    two.settle(size)
    assert two.serving.got == b"question" * 5000
    assert two.asking.got == b"answer" * 5000
    assert (two.to_server.ended, bool(two.to_client.disconnecting)) == ("lost", False)


def test_with_a_client_of_twisteds():
    two = Two(client=twisted_client().buildProtocol(None)).connect()
    two.asking.transport.write(b"question")
    two.settle()
    two.server.write(b"answer")
    two.server.loseConnection()
    two.settle()
    assert two.serving is not None
    assert two.asking.got == b"answer"
    assert two.to_client.ended == "lost"


@pytest.mark.parametrize("weak", [{"lowerMaximumSecurityTo": TLSVersion.TLSv1_1}])
def test_old_versions_are_refused(weak):
    options = CertificateOptions(
        privateKey=OPTIONS.privateKey,
        certificate=OPTIONS.certificate,
        insecurelyLowerMinimumTo=TLSVersion.TLSv1_0,
        **weak,
    )
    made = TLSMemoryBIOFactory(options, False, Factory.forProtocol(End))
    two = Two(server=made.buildProtocol(None))
    two.connect()
    assert two.client.state == "over"
