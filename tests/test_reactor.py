"""The reactor that sends at the end of the turn: everything arrives, in order, and what a socket
does not take is left to epoll."""

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.logger import globalLogPublisher

from lmbroker.daemon.reactor import TurnReactor, time_by_monotonic_clock

pytestmark = [pytest.mark.process, pytest.mark.sockets]


class Peer(Protocol):
    """Keeps what happens to it; ``on_data`` is what a test wants done with bytes."""

    def __init__(self) -> None:
        self.received = b""
        self.lost: Any = None
        self.on_data: Callable[[bytes], None] = lambda data: None

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.on_data(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost = reason.value


class World:
    """A reactor with one server protocol and one plain socket as its client."""

    def __init__(self) -> None:
        self.reactor: Any = TurnReactor()
        self.reactor.startRunning(installSignalHandlers=False)
        factory: Any = Factory.forProtocol(Peer)
        self.peers: list[Peer] = []

        def built(_: Any) -> Peer:
            self.peers.append(Peer())
            return self.peers[-1]

        factory.buildProtocol = built
        port: Any = self.reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.client = socket.create_connection(("127.0.0.1", port.getHost().port))
        self.client.settimeout(5)
        self.until(lambda: bool(self.peers))
        self.server = self.peers[0]

    def until(self, done: Callable[[], bool], turns: int = 2000) -> None:
        for _ in range(turns):
            if done():
                return
            self.turn(0.005)
        raise AssertionError("it did not come to that")

    def turn(self, seconds: float = 0) -> None:
        self.reactor.runUntilCurrent()
        self.reactor.doIteration(seconds)


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    yield world
    for left in world.reactor.removeAll():
        if hasattr(left, "socket"):
            left.socket.close()
    world.client.close()


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    events: list[Any] = []
    observe = events.append
    globalLogPublisher.addObserver(observe)
    yield events
    globalLogPublisher.removeObserver(observe)


def test_what_a_turn_writes_is_sent_once_at_its_end(world: World) -> None:
    world.server.transport.write(b"one ")
    world.server.transport.write(b"two")
    world.client.setblocking(False)
    with pytest.raises(BlockingIOError):
        world.client.recv(10)
    world.reactor.runUntilCurrent()
    assert world.client.recv(10) == b"one two"
    assert world.server.transport.fileno() not in world.reactor._writes


def test_since_when_what_a_turn_has_read_may_have_been_there(world: World) -> None:
    reactor, seen = world.reactor, []
    world.server.on_data = lambda data: seen.append((reactor.since, reactor.turn))
    world.turn()
    sent = time.monotonic()
    world.client.sendall(b"while nobody looked")
    world.turn(1)
    assert seen[0][0] < sent, "it was there at once"
    assert (seen[0][1].since, seen[0][1].ended) == (seen[0][0], None)
    world.turn()
    assert seen[0][1].ended > seen[0][0]
    sending = threading.Timer(0.02, world.client.sendall, [b"while it was waited for"])
    waits = time.monotonic()
    sending.start()
    world.turn(5)
    assert seen[1][0] >= waits + 0.02, "it has just come"
    assert reactor.turn is reactor.turn is not seen[0][1]


def test_an_answer_is_sent_in_the_turn_in_which_its_question_came(world: World) -> None:
    world.server.on_data = lambda data: world.server.transport.write(data.upper())
    world.client.sendall(b"hello")
    world.turn(1)
    world.reactor.runUntilCurrent()
    world.client.settimeout(0.2)
    assert world.client.recv(10) == b"HELLO"


def test_what_the_kernel_does_not_take_waits_for_it(world: World) -> None:
    whole = bytes(range(256)) * 40_000
    world.server.transport.write(whole)
    world.turn()
    assert world.server.transport.fileno() in world.reactor._writes
    got = b""

    def more() -> bool:
        nonlocal got
        world.client.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            got += world.client.recv(1 << 20)
        return len(got) == len(whole)

    world.until(more)
    assert got == whole
    assert world.server.transport.fileno() not in world.reactor._writes


def test_a_producer_is_paused_and_resumed(world: World) -> None:
    told: list[str] = []

    class Producer:
        pauseProducing = staticmethod(lambda: told.append("pause"))
        resumeProducing = staticmethod(lambda: told.append("resume"))
        stopProducing = staticmethod(lambda: told.append("stop"))

    transport: Any = world.server.transport
    transport.registerProducer(Producer(), True)
    transport.write(b"x" * 100_000)
    assert told == ["pause"]
    world.reactor.runUntilCurrent()
    assert told == ["pause", "resume"]


def test_a_close_waits_for_what_was_written(world: World) -> None:
    world.server.transport.write(b"the end")
    world.server.transport.loseConnection()
    world.until(lambda: world.server.lost is not None)
    assert isinstance(world.server.lost, ConnectionDone)
    assert world.client.recv(10) == b"the end"
    assert world.client.recv(10) == b""


def test_an_abort_sends_nothing_more(world: World) -> None:
    world.server.transport.write(b"never seen")
    world.server.transport.abortConnection()  # type: ignore[union-attr]
    world.until(lambda: world.server.lost is not None)
    assert isinstance(world.server.lost, ConnectionAborted)
    with pytest.raises(ConnectionResetError):
        world.client.recv(10)


def test_what_is_written_after_an_abort_is_not_sent(world: World) -> None:
    transport: Any = world.server.transport

    def cut() -> None:
        transport.abortConnection()
        transport.write(b"an end that would look whole")

    world.reactor.callLater(0, cut)
    world.until(lambda: world.server.lost is not None)
    with pytest.raises(ConnectionResetError):
        world.client.recv(10)


def test_what_comes_after_an_abort_is_not_read(world: World) -> None:
    transport: Any = world.server.transport

    def cut() -> None:
        transport.abortConnection()
        transport.resumeProducing()

    world.reactor.callLater(0, cut)
    world.client.sendall(b"too late")
    world.until(lambda: world.server.lost is not None)
    assert world.server.received == b""


def test_descriptors_go_along_with_what_is_written() -> None:
    reactor: Any = TurnReactor()
    reactor.startRunning(installSignalHandlers=False)
    ours, theirs = socket.socketpair()
    read, write = os.pipe()
    factory: Any = Factory.forProtocol(Peer)
    reactor.adoptStreamConnection(ours.fileno(), socket.AF_UNIX, factory)
    [connection] = [each for each in reactor.getReaders() if hasattr(each, "sendFileDescriptor")]
    connection.sendFileDescriptor(write)
    connection.write(b"x")
    reactor.runUntilCurrent()
    theirs.settimeout(5)
    data, files, _, _ = socket.recv_fds(theirs, 10, 2)
    assert data == b"x" and len(files) == 1
    for descriptor in (read, write, *files):
        os.close(descriptor)
    for left in reactor.removeAll():
        if hasattr(left, "socket"):
            left.socket.close()
    ours.close()
    theirs.close()


def test_a_stop_that_sending_brings_about_is_not_overslept(world: World) -> None:
    class Stopper:
        asked = 0
        pauseProducing = stopProducing = staticmethod(lambda: None)

        def resumeProducing(self) -> None:
            self.asked += 1
            if self.asked == 2:  # the first is when it is registered
                world.reactor.stop()

    world.server.transport.write(b"x")
    world.server.transport.registerProducer(Stopper(), False)
    world.reactor.runUntilCurrent()
    began = time.monotonic()
    world.reactor.doIteration(5)
    assert time.monotonic() - began < 2


def test_a_client_that_left_is_told_to_the_protocol(world: World) -> None:
    world.client.close()
    world.until(lambda: world.server.lost is not None)
    assert isinstance(world.server.lost, ConnectionDone)


def test_one_that_closes_another_in_the_same_turn(world: World) -> None:
    """The second connection has something to send and is cut while the first is being sent."""
    second = socket.create_connection(world.client.getpeername())
    world.until(lambda: len(world.peers) == 2)
    first, other = world.peers

    class Cutter:
        pauseProducing = stopProducing = staticmethod(lambda: None)
        resumeProducing = staticmethod(other.transport.abortConnection)  # type: ignore[union-attr]

    first.transport.write(b"first")
    other.transport.write(b"never sent")
    first.transport.registerProducer(Cutter(), False)
    world.until(lambda: other.lost is not None)
    assert world.client.recv(10) == b"first"
    with pytest.raises(ConnectionResetError):
        second.recv(10)
    second.close()


def test_a_fault_in_a_protocol_is_logged_and_closes_its_connection(
    world: World, logged: list[Any]
) -> None:
    def fault(data: bytes) -> None:
        raise ValueError("planted")

    world.server.on_data = fault
    world.client.sendall(b"x")
    world.until(lambda: world.server.lost is not None)
    assert isinstance(world.server.lost, ValueError)
    assert [event["failure"].type for event in logged] == [ValueError]


def test_a_fault_when_a_connection_ends_is_logged_and_harms_no_other(
    world: World, logged: list[Any]
) -> None:
    def fault(reason: Any = None) -> None:
        raise ValueError("planted")

    world.server.connectionLost = fault  # type: ignore[method-assign]
    world.client.close()
    world.until(lambda: bool(logged))
    another = socket.create_connection(_port(world))
    world.until(lambda: len(world.peers) == 2)
    another.close()


def _port(world: World) -> tuple[str, int]:
    for reader in world.reactor.getReaders():
        if hasattr(reader, "backlog"):
            where = reader.getHost()
            return where.host, where.port
    raise AssertionError("nobody listens")


def test_a_connection_made_from_here_is_waited_for(world: World) -> None:
    """A connecting socket becomes writable when it is connected: epoll must be asked."""
    made: list[Peer] = []

    class Caller(Peer):
        def connectionMade(self) -> None:
            made.append(self)

    from twisted.internet.endpoints import TCP4ClientEndpoint

    host, port = _port(world)
    TCP4ClientEndpoint(world.reactor, host, port).connect(Factory.forProtocol(Caller))
    world.until(lambda: bool(made) and len(world.peers) == 2)
    made[0].transport.write(b"hello")
    world.until(lambda: world.peers[1].received == b"hello")


def test_timers_set_while_sending_are_not_overslept(world: World) -> None:
    fired: list[bool] = []

    class Setter:
        pauseProducing = stopProducing = staticmethod(lambda: None)
        resumeProducing = staticmethod(
            lambda: world.reactor.callLater(0, lambda: fired.append(True))
        )

    world.server.transport.write(b"x")
    world.server.transport.registerProducer(Setter(), False)
    world.reactor.runUntilCurrent()
    assert world.reactor.timeout() == 0
    world.turn()
    assert fired


def test_timers_go_by_the_monotonic_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    reactors: list[Any] = [TurnReactor(), EPollReactor()]
    for reactor in reactors:
        fired: list[bool] = []
        early = reactor.callLater(0.01, fired.append, True)
        late = reactor.callLater(60, fired.append, True)
        time_by_monotonic_clock(reactor)
        time_by_monotonic_clock(reactor)
        assert 59 < late.getTime() - time.monotonic() < 61
        monkeypatch.setattr("time.time", lambda: 0.0)
        while early.active():
            reactor.runUntilCurrent()
            reactor.doIteration(0.005)
        assert fired == [True]
        assert 59 < late.getTime() - reactor.seconds() < 61
        late.cancel()
        monkeypatch.undo()


def test_it_is_installed_only_where_there_is_no_reactor_yet() -> None:
    script = (
        "import sys; from lmbroker.daemon.reactor import install, TurnReactor\n"
        "print(install(), install())\n"
        "from twisted.internet import reactor; print(type(reactor) is TurnReactor)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout.split() == ["True", "False", "True"], done.stderr


def test_the_end_of_a_turn_comes_before_what_was_written_is_sent(
    world: World, monkeypatch: pytest.MonkeyPatch, logged: list[Any]
) -> None:
    done = []
    reactor = world.reactor
    monkeypatch.setattr(reactor, "_send", lambda: done.append("sent"))

    def fails() -> None:
        raise ZeroDivisionError

    def first(data: bytes) -> None:
        reactor.at_end_of_turn(lambda: done.append("end"))
        reactor.at_end_of_turn(fails)
        reactor.at_end_of_turn(lambda: reactor.at_end_of_turn(lambda: done.append("more")))
        world.server.transport.write(b"x")
        done.append("read")

    world.server.on_data = first
    world.client.sendall(b"x")
    world.until(lambda: "sent" in done)
    assert done[:4] == ["read", "end", "more", "sent"]
    assert [event["failure"].type for event in logged] == [ZeroDivisionError]
