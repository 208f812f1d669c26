"""Credentials that stand in files are read again when these change."""

import os
import threading

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import Clock, deferLater
from twisted.logger import globalLogPublisher
from twisted.web.resource import Resource
from twisted.web.server import Site

from lmbroker.backends import key_files
from lmbroker.backends.key_files import KeyFiles
from lmbroker.backends.sending import Backends
from lmbroker.call import Backend, Timeouts
from lmbroker.headers import credential_headers
from lmbroker.redaction import redact
from lmbroker.secret import FileSecret
from lmbroker.translation.dialects.openai.headers import HEADERS
from lmbroker.workflows.contract import Outbound

OUTBOUND = Outbound(path="/chat/completions", headers=(), body=b"{}")


def backend_of(path, url="http://b", **more):
    secret = FileSecret(path.read_text().strip(), str(path))
    return Backend(name="b", url=url, dialect="openai", credential=secret, **more)


def sent_key(backend):
    return dict(credential_headers(backend, HEADERS))["authorization"].removeprefix("Bearer ")


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "key"
    path.write_text("old-key-1234\n")
    return path


@pytest.fixture
def logged():
    events = []
    globalLogPublisher.addObserver(events.append)
    yield lambda: [
        e["log_format"]
        for e in events
        if e["log_namespace"] == "lmbroker.backends.key_files.KeyFiles"
    ]
    globalLogPublisher.removeObserver(events.append)


class Desk:
    """A backend whose file is looked at, on a clock that is only a number."""

    def __init__(self, path):
        self.clock = Clock()
        self.files = KeyFiles(self.clock)
        self.backend = backend_of(path)

    def look(self):
        done = []
        Deferred.fromCoroutine(self.files.look(self.backend)).addCallback(done.append)
        assert done == [None]
        return sent_key(self.backend)


@pytest.fixture
def desk(path):
    return Desk(path)


def overwritten(path):
    path.write_text("new-key-5678\n")


def renamed(path):
    other = path.with_name("other")
    other.write_text("new-key-5678\n")
    stat = path.stat()
    os.utime(other, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    other.rename(path)


@pytest.mark.parametrize("change", [overwritten, renamed])
def test_a_key_is_another_one_a_second_after_its_file(desk, path, change):
    assert desk.look() == "old-key-1234"
    change(path)
    assert desk.look() == "old-key-1234"
    desk.clock.advance(key_files.LOOK_SECONDS)
    assert desk.look() == "new-key-5678"


def test_a_symbolic_link_that_is_swapped_as_kubernetes_does_it(tmp_path):
    for name, key in (("1", "old-key-1234"), ("2", "new-key-5678")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "token").write_text(key)
    (tmp_path / "..data").symlink_to("1")
    (tmp_path / "token").symlink_to("..data/token")
    desk = Desk(tmp_path / "token")
    assert desk.look() == "old-key-1234"
    (tmp_path / "..tmp").symlink_to("2")
    (tmp_path / "..tmp").rename(tmp_path / "..data")
    desk.clock.advance(key_files.LOOK_SECONDS)
    assert desk.look() == "new-key-5678"


@pytest.mark.parametrize("now", ["", " \n", "k\u00e9y", "a\nb", None, "fifo"])
def test_what_is_no_key_leaves_the_old_one_and_is_logged_once(desk, path, now, logged):
    desk.look()
    path.unlink()
    if now == "fifo":
        os.mkfifo(path)
    elif now is not None:
        path.write_text(now)
    for _ in range(3):
        desk.clock.advance(key_files.LOOK_SECONDS)
        assert desk.look() == "old-key-1234"
    assert len(logged()) == 1
    path.unlink(missing_ok=True)
    path.write_text("new-key-5678")
    desk.clock.advance(key_files.LOOK_SECONDS)
    assert desk.look() == "new-key-5678"
    assert len(logged()) == 2
    path.write_text("")
    desk.clock.advance(key_files.LOOK_SECONDS)
    desk.look()
    assert len(logged()) == 3


def test_former_keys_stay_masked(desk, path):
    path.write_text("Basic new-key-5678")
    desk.look()
    said = b"not old-key-1234, nor Basic new-key-5678, nor new-key-5678"
    assert redact(said, desk.backend.secrets) == b"not ***, nor ***, nor ***"


def test_a_backend_without_files_has_none():
    assert Backend(name="b", url="http://b", dialect="openai").key_files == ()


# With real threads and sockets.


class Guarded(Resource):
    """A backend that takes one key."""

    isLeaf = True

    def __init__(self, key):
        super().__init__()
        self.key = key
        self.refused = 0

    def render(self, request):
        given = request.getHeader("authorization").removeprefix("Bearer ")
        if given != self.key:
            self.refused += 1
            request.setResponseCode(401)
            return b"not " + given.encode()
        return b"{}"


@pytest.fixture
def guarded(request):
    guarded = Guarded("old-key-1234")
    listening = pytest_twisted.blockon(
        TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(Site(guarded))
    )
    guarded.url = f"http://127.0.0.1:{listening.getHost().port}"
    guarded.backends = Backends(reactor)
    yield guarded
    pytest_twisted.blockon(guarded.backends.close())
    pytest_twisted.blockon(listening.stopListening())


async def asked(guarded, backend):
    answer = await guarded.backends.send(backend, OUTBOUND, Timeouts())
    await answer.body()
    return answer.status


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("limit", [None, 20])
async def test_no_call_fails_while_keys_change_under_many(guarded, path, limit):
    """Also where the old key is refused at once, and the file was looked at just before."""
    backend = backend_of(path, guarded.url, max_in_flight=limit, queue=1000)
    assert await asked(guarded, backend) == 200
    for number in range(3):
        calls = [Deferred.fromCoroutine(asked(guarded, backend)) for _ in range(100)]
        path.write_text(f"new-key-{number}")
        guarded.key = f"new-key-{number}"
        calls += [Deferred.fromCoroutine(asked(guarded, backend)) for _ in range(100)]
        assert set(await gatherResults(calls)) == {200}
    assert guarded.refused > 0


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_a_refusal_of_the_key_that_is_still_there_is_one(guarded, path):
    guarded.key = "another"
    backend = backend_of(path, guarded.url)
    assert await asked(guarded, backend) == 401
    assert guarded.refused == 1


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_a_file_system_that_hangs_costs_a_call_a_moment(guarded, path, monkeypatch):
    """And no thread more than one."""
    released = threading.Event()
    entered = []

    def hang(files):
        entered.append(files)
        released.wait(20)
        return [key_files._Seen(None, None, "late")]

    monkeypatch.setattr(key_files, "_see_all", hang)
    monkeypatch.setattr(key_files, "LOOK_SECONDS", 0.0)
    backend = backend_of(path, guarded.url)
    for _ in range(5):
        assert await asked(guarded, backend) == 200
    guarded.key = "another"
    assert await asked(guarded, backend) == 401
    assert len(entered) == 1
    released.set()
    await deferLater(reactor, 0.05)
