"""TLS sessions are resumed, against a real server that counts them."""

import socket
import ssl
import threading
from types import SimpleNamespace

import pytest
import pytest_twisted
from certificates import Authority
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater

from lmbroker.backends.client import sessions
from lmbroker.backends.client.sessions import Sessions
from lmbroker.backends.sending import Backends
from lmbroker.call import Backend, Timeouts
from lmbroker.errors import Unreachable
from lmbroker.secret import Secret
from lmbroker.workflows import model_list

pytestmark = pytest.mark.sockets

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n%s\r\n{}"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


class Server:
    """Answers one request per connection; ``resumed`` says of each whether its session was. How
    connections end: ``fin`` without TLS's own end, as most servers do, ``close`` after an answer
    that says so, ``unwrap`` in an orderly way, ``stay`` when the client ends them."""

    def __init__(self, folder, end="fin", version=ssl.TLSVersion.TLSv1_3, ca=None):
        self.end = end
        self.resumed = []
        self._folder, self._version, self._ca = folder, version, ca
        self.forget()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"https://localhost:{self._listening.getsockname()[1]}/v1"
        threading.Thread(target=self._accept, daemon=True).start()

    def forget(self):
        """Begin with other keys for tickets: it refuses all that it gave."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._folder / "localhost.pem", self._folder / "localhost.key")
        context.minimum_version = context.maximum_version = self._version
        # Sessions that hold a client's certificate are of one server only.
        context.session_id = b"x"
        if self._ca is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(cadata=self._ca)
            context.verify_flags &= ~ssl.VERIFY_X509_STRICT
        self._context = context

    def _accept(self):
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            client = self._context.wrap_socket(client, server_side=True)
            client.recv(9999)
            self.resumed.append(client.session_reused)
            client.sendall(ANSWER % (b"connection: close\r\n" if self.end == "close" else b""))
            if self.end == "unwrap":
                client.unwrap()
            elif self.end == "stay":
                client.recv(99)
            else:
                client.shutdown(socket.SHUT_WR)
                client.recv(99)
        except OSError:
            pass
        finally:
            client.close()

    def stop(self):
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    folder = tmp_path_factory.mktemp("certificates")
    authority = Authority()
    authority.files(folder, "localhost")
    authority.files(folder, "one")
    authority.files(folder, "two")
    return SimpleNamespace(folder=folder, pem=authority.pem)


@pytest.fixture
def serve(pki):
    started = []

    def start(**options):
        started.append(Server(pki.folder, **options))
        return started[-1]

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def backends():
    made = Backends(reactor)
    yield made
    pytest_twisted.blockon(made.close())


def backend(server, pki, name="b", own="", **options):
    if own:
        options["client_cert"] = (pki.folder / f"{own}.pem").read_text()
        options["client_key"] = Secret((pki.folder / f"{own}.key").read_text())
    return Backend(name=name, url=server.url, dialect="openai", **{"ca": pki.pem, **options})


async def ask(backends, backend, *, let_go=False):
    """One call; it returns when its connection has ended."""
    answer = await backends.get(backend, model_list.request("openai"), Timeouts())
    assert await answer.body() == b"{}"
    if let_go:
        backends._client.drop_idle()
    for _ in range(200):
        if not any(backends._client._pool._idle.values()):
            break
        await deferLater(reactor, 0.01)
    await deferLater(reactor, 0.01)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("end", ["fin", "close", "unwrap", "stay"])
async def test_the_second_connection_resumes(serve, backends, pki, version, end):
    server = serve(version=version, end=end)
    for _ in range(4):
        await ask(backends, backend(server, pki), let_go=end == "stay")
    assert server.resumed == [False, True, True, True]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("version", VERSIONS)
async def test_a_server_that_refuses_the_ticket_is_served_all_the_same(
    serve, backends, pki, version
):
    server = serve(version=version)
    await ask(backends, backend(server, pki))
    server.forget()
    for _ in range(2):
        await ask(backends, backend(server, pki))
    assert server.resumed == [False, False, True]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("version", VERSIONS)
async def test_never_across_authorities_certificates_or_backends(serve, backends, pki, version):
    server = serve(version=version, ca=pki.pem)
    ways = [
        backend(server, pki, own="one"),
        backend(server, pki, own="two"),
        backend(server, pki, own="one", ca=pki.pem + Authority().pem),
        backend(server, pki, own="one", name="another"),
    ]
    for way in ways * 2:
        await ask(backends, way)
    assert server.resumed == [False] * 4 + [True] * 4


@pytest_twisted.ensureDeferred
async def test_whom_nobody_trusts_is_not_reached_by_a_session(serve, backends, pki):
    server = serve()
    await ask(backends, backend(server, pki))
    with pytest.raises(Unreachable):
        await ask(backends, backend(server, pki, ca=Authority().pem))
    assert server.resumed == [False]


@pytest_twisted.ensureDeferred
async def test_the_certificate_is_looked_at_again_after_a_while(serve, backends, pki, monkeypatch):
    """However often a session was handed on."""
    monkeypatch.setattr(sessions, "SECONDS", 0.4)
    server = serve(end="close")
    began = reactor.seconds()
    while reactor.seconds() - began < 0.6:
        await ask(backends, backend(server, pki))
    assert server.resumed[:2] == [False, True]
    assert 2 <= server.resumed.count(False) < len(server.resumed) / 2


@pytest_twisted.ensureDeferred
async def test_several_new_connections_resume_at_once(serve, backends, pki):
    server = serve(end="close")

    async def some(count):
        calls = [ask(backends, backend(server, pki)) for _ in range(count)]
        await gatherResults([Deferred.fromCoroutine(each) for each in calls])

    await some(3)
    await some(3)
    assert sorted(server.resumed) == [False] * 3 + [True] * 3


class Handle:
    """Stands for TLS of which only the session counts."""

    def __init__(self):
        self.offered = []

    session = object()

    def offer(self, session):
        self.offered.append(session)


def test_what_is_kept_is_bounded(monkeypatch):
    monkeypatch.setattr(sessions, "SecureConnection", Handle)
    kept = Sessions(Clock().seconds)
    keys = [(b"https", b"host", 443, f"b{n}", "", "", "") for n in range(sessions.ORIGINS + 5)]
    for key in keys:
        for _ in range(sessions.EACH + 3):
            kept.keep(key, Handle(), 0.0)
    assert len(kept._kept) == sessions.ORIGINS
    assert {len(each) for each in kept._kept.values()} == {sessions.EACH}
    assert keys[0] not in kept._kept and keys[-1] in kept._kept


def test_a_session_is_offered_once(monkeypatch):
    monkeypatch.setattr(sessions, "SecureConnection", Handle)
    kept = Sessions(Clock().seconds)
    key = (b"https", b"host", 443, "b", "", "", "")
    kept.keep(key, Handle(), 0.0)
    first, second = Handle(), Handle()
    kept.offer(key, first)
    kept.offer(key, second)
    assert (len(first.offered), len(second.offered)) == (1, 0)
