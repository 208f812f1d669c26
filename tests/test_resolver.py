"""The addresses of names: one look-up at a time, shared and remembered for moments, and nobody
waits for a thread that looks one up."""

import signal
import socket
import threading
import time

import pytest
import pytest_twisted
from running import Daemon
from twisted.internet import reactor
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectBindError, DNSLookupError, TimeoutError
from twisted.internet.interfaces import IHostnameResolver
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from lmbroker.backends import resolver
from lmbroker.backends.resolver import (
    FOUND_SECONDS,
    NOT_FOUND_SECONDS,
    RACE_SECONDS,
    NamedEndpoint,
    Names,
    ThreadedResolver,
)

FIRST, SECOND = IPv4Address("TCP", "10.0.0.1", 0), IPv6Address("TCP", "::1", 0)


class Asked:
    """A resolver that remembers who asked for what, and answers when it is told to."""

    def __init__(self):
        self.names = []
        self._receivers = {}

    def resolveHostName(self, receiver, name, *args):
        self.names.append(name)
        self._receivers.setdefault(name, []).append(receiver)
        receiver.resolutionBegan(None)

    def answers(self, name, *addresses):
        receiver = self._receivers[name].pop(0)
        for each in addresses:
            receiver.addressResolved(each)
        receiver.resolutionComplete()


class Wanting:
    """Those who want names; ``got`` is what each was told."""

    def __init__(self):
        self.reactor = MemoryReactorClock()
        self.asked = self.reactor.nameResolver = Asked()
        self.names = Names(self.reactor)
        self.got = []

    def want(self, name="x", seconds=10):
        wanted = self.names.addresses(name, seconds)
        wanted.addCallbacks(self.got.append, lambda failure: self.got.append(failure.type))
        return wanted


@pytest.fixture
def wanting():
    return Wanting()


def test_all_who_want_a_name_share_one_look_up(wanting):
    for _ in range(50):
        wanting.want()
    assert (wanting.asked.names, wanting.got) == (["x"], [])
    wanting.asked.answers("x", FIRST, SECOND)
    assert wanting.got == [[FIRST, SECOND]] * 50
    assert wanting.reactor.getDelayedCalls() == []


def test_addresses_hold_for_a_while(wanting):
    wanting.want()
    wanting.asked.answers("x", FIRST)
    wanting.reactor.advance(FOUND_SECONDS - 0.1)
    wanting.want()
    assert (wanting.asked.names, wanting.got) == (["x"], [[FIRST]] * 2)
    wanting.reactor.advance(0.1)
    wanting.want()
    assert wanting.asked.names == ["x", "x"]


def test_an_unknown_name_is_looked_up_again_soon(wanting):
    wanting.want()
    wanting.asked.answers("x")
    wanting.want()
    assert (wanting.asked.names, wanting.got) == (["x"], [DNSLookupError] * 2)
    wanting.reactor.advance(NOT_FOUND_SECONDS)
    wanting.want()
    assert wanting.asked.names == ["x", "x"]


def test_a_slow_name_holds_up_no_other(wanting):
    for _ in range(99):
        wanting.want("slow")
    wanting.want("quick")
    wanting.asked.answers("quick", FIRST)
    assert (wanting.asked.names, wanting.got) == (["slow", "quick"], [[FIRST]])


def test_nobody_waits_longer_than_he_likes_and_the_look_up_goes_on(wanting):
    wanting.want(seconds=2)
    wanting.want(seconds=5)
    wanting.reactor.advance(2)
    assert wanting.got == [TimeoutError]
    wanting.want(seconds=1)
    wanting.reactor.advance(1)
    assert wanting.asked.names == ["x"], "one at a time"
    wanting.asked.answers("x", FIRST)
    assert wanting.got == [TimeoutError, TimeoutError, [FIRST]]
    wanting.want()
    assert (wanting.asked.names, wanting.got[-1]) == (["x"], [FIRST])


def test_who_leaves_leaves_the_others(wanting):
    leaving = wanting.want()
    wanting.want()
    leaving.cancel()
    assert wanting.got == [CancelledError]
    wanting.asked.answers("x", FIRST)
    assert wanting.got == [CancelledError, [FIRST]]
    assert wanting.reactor.getDelayedCalls() == []


def test_for_want_of_descriptors_no_name_is_unknown(wanting, monkeypatch):
    def none_left(*args):
        raise OSError(24, "too many open files")

    with monkeypatch.context() as short:
        short.setattr(resolver.socket, "socket", none_left)
        wanting.want()
        wanting.asked.answers("x")
    assert wanting.got == [ConnectBindError]
    wanting.want()
    assert wanting.asked.names == ["x", "x"]


# Connecting.


class Connecting(Wanting):
    def connect(self, seconds=10):
        self.outcome = []
        endpoint = NamedEndpoint(self.reactor, self.names, "x", 80, seconds)
        made = endpoint.connect(Factory.forProtocol(Protocol))
        made.addBoth(self.outcome.append)
        return made

    def tried(self):
        return [client[:2] for client in self.reactor.tcpClients]


@pytest.fixture
def connecting():
    return Connecting()


@pytest.mark.parametrize("address", [FIRST, SECOND])
def test_a_name_with_one_address(connecting, address):
    connecting.connect()
    connecting.reactor.advance(4)
    connecting.asked.answers("x", address)
    [(host, port, factory, seconds, _)] = connecting.reactor.tcpClients
    assert (host, port, seconds) == (address.host, 80, 6)
    factory.buildProtocol(None).makeConnection(None)
    assert isinstance(connecting.outcome[0], Protocol)


def test_the_addresses_of_a_name_race(connecting):
    connecting.connect()
    connecting.asked.answers("x", SECOND, FIRST)
    assert connecting.tried() == [("::1", 80)]
    connecting.reactor.advance(RACE_SECONDS)
    assert connecting.tried() == [("::1", 80), ("10.0.0.1", 80)]


def test_addresses_that_lead_nowhere_are_forgotten(connecting):
    connecting.connect()
    connecting.asked.answers("x", FIRST)
    connecting.reactor.tcpClients[0][2].clientConnectionFailed(None, ConnectBindError())
    connecting.connect()
    assert connecting.asked.names == ["x", "x"]


def test_connecting_stops_in_each_phase(connecting):
    connecting.connect().cancel()
    assert connecting.outcome[0].check(CancelledError)
    connecting.asked.answers("x", FIRST)
    assert connecting.tried() == []
    connecting.connect().cancel()
    assert len(connecting.tried()) == 1 and len(connecting.outcome) == 1


# Threads.


class Heard:
    """Receives addresses; ``done`` fires when they are complete."""

    def __init__(self):
        self.addresses = []
        self.done = Deferred()

    def resolutionBegan(self, resolution): ...

    def addressResolved(self, address):
        self.addresses.append(address)

    def resolutionComplete(self):
        self.done.callback(self.addresses)


@pytest_twisted.ensureDeferred
async def test_however_many_names_are_slow_another_is_found():
    hold = threading.Event()

    def look_up(name, *how):
        if name.startswith("slow"):
            hold.wait(10)
            raise socket.gaierror
        return [
            (socket.AF_INET6, 1, 6, "", ("::1", 0, 0, 0)),
            (socket.AF_INET, 1, 6, "", ("10.0.0.1", 0)),
            (-1, 1, 6, "", ("?",)),
        ]

    threaded = ThreadedResolver(reactor, look_up)
    assert verifyObject(IHostnameResolver, threaded)
    slow = [Heard() for _ in range(40)]
    for number, each in enumerate(slow):
        threaded.resolveHostName(each, f"slow{number}")
    heard = Heard()
    threaded.resolveHostName(heard, "quick")
    assert await heard.done == [IPv6Address("TCP", "::1", 0), IPv4Address("TCP", "10.0.0.1", 0)]
    assert not any(each.done.called for each in slow)
    hold.set()
    for each in slow:
        assert await each.done == []


@pytest_twisted.ensureDeferred
async def test_where_there_are_no_threads_no_name_is_found(monkeypatch):
    class None_:
        def __init__(self, **how): ...

        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(resolver.threading, "Thread", None_)
    heard = Heard()
    ThreadedResolver(reactor).resolveHostName(heard, "x")
    assert await heard.done == []


SLOW = """
import socket, time
real = socket.getaddrinfo
def getaddrinfo(name, *how, **more):
    if str(name).endswith(".example"):
        time.sleep(30)
    return real(name, *how, **more)
socket.getaddrinfo = getaddrinfo
"""


@pytest.mark.process
@pytest.mark.sockets
@pytest.mark.parametrize("engine", ["lean", "stock"])
def test_a_stop_waits_for_no_look_up(tmp_path, engine):
    models = "".join(
        f'[[models]]\nalias = "m{number}"\ntype = "openai"\n'
        f'target = {{ url = "http://slow{number}.example", model = "x" }}\n'
        for number in range(20)
    )
    server = f'[server]\nhost = "127.0.0.1"\nport = PORT\nengine = "{engine}"\n'
    practice = (
        '[[models]]\nalias = "quick"\ntype = "openai"\n'
        'target = { url = "practice:", model = "echo" }\n'
    )
    (tmp_path / "sitecustomize.py").write_text(SLOW)
    running = Daemon(
        tmp_path, server + models + practice, environ={"PYTHONPATH": str(tmp_path)}
    ).wait()
    clients = []
    try:
        for number in range(20):
            body = b'{"model":"m%d","messages":[{"role":"user","content":"x"}]}' % number
            client = socket.create_connection(("127.0.0.1", running.port), 5)
            client.sendall(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            clients.append(client)
        time.sleep(0.3)
    finally:
        for client in clients:
            client.close()
    began = time.monotonic()
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) in (0, -signal.SIGTERM)
    assert time.monotonic() - began < 5
