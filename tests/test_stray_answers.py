"""No client gets another's answer: a backend that says more than it was asked, and a reactor that
is too busy to hear it before the connection is used again."""

import contextlib
import socket
import ssl
import threading
import time
import urllib.request

import pytest
import pytest_twisted
from certificates import pem_files
from running import Daemon
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater

from lmbroker.backends import connections
from lmbroker.backends.sending import Backends
from lmbroker.call import Backend, Timeouts
from lmbroker.workflows.contract import Outbound

pytestmark = [pytest.mark.process, pytest.mark.sockets]

ROUNDS = 40
FOREIGN = b"somebody else's"
TIMEOUTS = Timeouts(connect=2, headers=2, idle=2, total=4)


def response(body):
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % len(body) + body


STRAYS = {
    "another answer": response(FOREIGN),
    "the head of one": b"HTTP/1.1 200 OK\r\n",
    "an interim answer": b"HTTP/1.1 100 Continue\r\n\r\n",
    "an empty line": b"\r\n",
}


class Chatty:
    """A backend in threads of its own: answers each request with its own body, and then says
    ``stray``, with it or ``pause`` seconds after it. ``accepted`` counts its connections."""

    def __init__(self, stray, *, together=False, pause=0, context=None):
        self.accepted = self.strays = 0
        self._said = threading.Condition()
        self._stray = stray
        self._together = together
        self._pause = pause
        self._context = context
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listening.getsockname()[1]
        self._open = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                peer, _ = self._listening.accept()
                self.accepted += 1
                self._open.append(peer)
                threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer):
        with contextlib.suppress(OSError):
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                peer = self._context.wrap_socket(peer, server_side=True)
                self._open.append(peer)
            received = b""
            while data := peer.recv(65536):
                received += data
                head, end, body = received.partition(b"\r\n\r\n")
                if not end or len(body) < length(head):
                    continue
                received = b""
                if self._together:
                    peer.sendall(response(body) + self._stray)
                else:
                    peer.sendall(response(body))
                    time.sleep(self._pause)
                    peer.sendall(self._stray)
                with self._said:
                    self.strays += 1
                    self._said.notify_all()

    def strayed(self, times):
        """Let nothing else happen here until it has strayed so often."""
        with self._said:
            assert self._said.wait_for(lambda: self.strays >= times, 2)

    def close(self):
        self._listening.close()
        for each in self._open:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def length(head):
    [line] = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
    return int(line.partition(b":")[2])


@pytest.fixture(params=["tcp", "tls"])
def chatty(request, tmp_path):
    """Makes a backend, and what calls it."""
    ca, context, url = "", None, "http://127.0.0.1"
    if request.param == "tls":
        pem_files(tmp_path, "localhost")
        ca = (tmp_path / "chain.pem").read_text()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
        url = "https://localhost"
    made = []

    def make(stray, *, together=False, pause=0, **options):
        server = Chatty(stray, together=together, pause=pause, context=context)
        caller = Caller(f"{url}:{server.port}", ca, **options)
        made.extend((server.close, caller.close))
        return server, caller

    yield make
    for close in made:
        close()


class Caller:
    """Calls a backend; ``dropped`` is why its connections were given up."""

    def __init__(self, url, ca, **options):
        self.dropped = []
        self.backends = Backends(reactor, dropped=lambda _, why: self.dropped.append(why))
        self.backend = Backend(name="b", url=url, dialect="openai", ca=ca, **options)

    async def ask(self, body):
        outbound = Outbound(path="/chat/completions", headers=(), body=body)
        answer = await self.backends.send(self.backend, outbound, TIMEOUTS)
        return await answer.body()

    def close(self):
        pytest_twisted.blockon(self.backends.close())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("stray", STRAYS)
async def test_a_busy_reactor_gives_nobody_what_came_meanwhile(
    chatty, monkeypatch, stray, together
):
    """Without a turn of the reactor between the end of one call and the next."""
    monkeypatch.setattr(connections, "DISTRUST_SECONDS", 0)
    server, caller = chatty(STRAYS[stray], together=together)
    for number in range(ROUNDS):
        body = b"call %d" % number
        assert await caller.ask(body) == body
        server.strayed(number + 1)
    assert server.accepted == ROUNDS
    assert len(caller.dropped) >= ROUNDS - 1
    assert set(caller.dropped) <= {"unasked", "surplus"}


@pytest_twisted.ensureDeferred
async def test_what_goes_over_a_kept_connection_goes_with_the_look_into_it(chatty):
    """Where the reactor's turns have no end that it would wait for, it goes at once."""
    server, caller = chatty(b"")
    await caller.ask(b"first")
    asked = Deferred.fromCoroutine(caller.ask(b"second"))
    server.strayed(2)
    assert await asked == b"second"
    assert server.accepted == 1


@pytest_twisted.ensureDeferred
async def test_who_waits_for_a_place_gets_nothing_of_who_had_it(chatty, monkeypatch):
    """The next call begins within the very read that ended the last one."""
    monkeypatch.setattr(connections, "DISTRUST_SECONDS", 0)
    server, caller = chatty(STRAYS["another answer"], together=True, max_in_flight=1)
    asked = [b"call %d" % number for number in range(ROUNDS)]
    got = await gatherResults([Deferred.fromCoroutine(caller.ask(body)) for body in asked])
    assert got == asked


@pytest_twisted.ensureDeferred
async def test_a_backend_that_has_strayed_gets_no_connection_twice(chatty, messages):
    server, caller = chatty(STRAYS["another answer"], pause=0.01)
    await caller.ask(b"first")
    await deferLater(reactor, 0.05)
    assert caller.dropped == ["unasked"]
    for number in range(9):
        # At once: what the last one is followed by is still on its way.
        body = b"call %d" % number
        assert await caller.ask(body) == body
    assert server.accepted == 10
    assert sum("nobody had asked for" in line for line in messages) == 1


@pytest_twisted.ensureDeferred
async def test_the_words_of_a_server_that_tires_of_waiting_cost_one_connection(chatty):
    tired = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    server, caller = chatty(tired, pause=0.01)
    await caller.ask(b"first")
    await deferLater(reactor, 0.05)
    assert caller.dropped == ["unasked"]
    assert not caller.backends._client._pool._distrusted


@pytest_twisted.ensureDeferred
async def test_a_backend_that_says_no_more_keeps_its_connection(chatty):
    """Whatever TLS has to say besides, such as tickets for sessions."""
    server, caller = chatty(b"")
    for number in range(ROUNDS):
        body = b"call %d" % number
        assert await caller.ask(body) == body
        server.strayed(number + 1)
    assert (server.accepted, caller.dropped) == (1, [])


CONFIG = """
[server]
host = "127.0.0.1"
port = PORT
engine = "ENGINE"
[[models]]
alias = "o"
type = "openai"
target = { url = "URL", model = "o" }
"""


@pytest.mark.parametrize("engine", ["lean", "stock"])
@pytest.mark.parametrize("pause", [0, 0.0003])
def test_no_client_of_the_daemon_gets_what_is_anothers(tmp_path, engine, pause):
    foreign = b'{"object":"chat.completion","choices":[],"id":"somebody else\'s"}'
    server = Chatty(response(foreign), pause=pause)
    text = CONFIG.replace("ENGINE", engine).replace("URL", f"http://127.0.0.1:{server.port}")
    daemon = Daemon(tmp_path, text).wait()
    wrong = []

    def client(number):
        with socket.create_connection(("127.0.0.1", daemon.port), 5) as line:
            answers = line.makefile("rb")
            for turn in range(50):
                # Now and then one that keeps the reactor busy.
                more = b"x" * (200_000 if turn % 7 == 0 else 10)
                body = b'{"model":"o","messages":[{"role":"user","content":"%d-%d %b"}]}' % (
                    number,
                    turn,
                    more,
                )
                line.sendall(
                    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\n"
                    b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                    % len(body)
                    + body
                )
                head = b"".join(iter(answers.readline, b"\r\n"))
                if answers.read(length(head)) != body:
                    wrong.append((number, turn))

    clients = [threading.Thread(target=client, args=(number,)) for number in range(8)]
    for each in clients:
        each.start()
    for each in clients:
        each.join(30)
    with urllib.request.urlopen(f"{daemon.url}/metrics") as page:
        counted = page.read().decode()
    daemon.stop()
    server.close()
    assert wrong == []
    assert 'lmbroker_connections_dropped_total{backend="' in counted
    assert server.accepted > 300, "a backend that strays gets no connection twice"
