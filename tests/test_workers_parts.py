"""The parts of several processes, one by one: the line, the handles, the handover, the tally, the
log."""

import errno
import json
import os
import socket
import subprocess
import sys

import pytest
import pytest_twisted
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.multiprocess import MultiProcessCollector
from twisted.internet import reactor, task
from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.python.failure import Failure

from lmbroker.config.config import ConfigError
from lmbroker.config.file import Source, load_source
from lmbroker.daemon.workers import handover, worker_handle
from lmbroker.daemon.workers.accepting import Accepting
from lmbroker.daemon.workers.beginning import read, write
from lmbroker.daemon.workers.handover import Handover
from lmbroker.daemon.workers.log import Lines, SharedFile
from lmbroker.daemon.workers.tally import KINDS, Tally, merged
from lmbroker.daemon.workers.worker import Worker, _EndpointService
from lmbroker.daemon.workers.worker_handle import WorkerHandle
from lmbroker.observers.log_writer import LogWriter
from lmbroker.observers.metrics import Metrics, Refusals
from lmbroker.offload.channel import Line, Message, pair

# The line.


class End:
    """One end of a line, and what was heard there."""

    def __init__(self, end):
        self.heard = []
        self.gone = Deferred()
        self.waiting = None
        self.line = Line(end, reactor, self.hear, lambda: self.gone.callback(None))

    def hear(self, message, file):
        self.heard.append((message.kind, message.text, file))
        if self.waiting is not None and len(self.heard) >= self.waiting[0]:
            self.waiting[1].callback(None)
            self.waiting = None

    async def hears(self, count):
        if len(self.heard) < count:
            self.waiting = (count, Deferred())
            await self.waiting[1]
        return self.heard


@pytest.fixture
def ends():
    ours, theirs = pair()
    found = End(ours), End(theirs)
    yield found
    for end in found:
        end.line.close()


@pytest_twisted.ensureDeferred
async def test_messages_arrive_whole_in_order_and_with_their_files(ends):
    one, other = ends
    reading, writing = os.pipe()
    one.line.send("first", "a" * 5000)
    one.line.send("second", file=writing)
    os.close(writing)
    assert one.line.hand("third", "x", reading)
    os.close(reading)
    heard = await other.hears(3)
    assert [kind for kind, _, _ in heard] == ["first", "second", "third"]
    assert heard[0][1:] == ("a" * 4000, None)
    os.write(heard[1][2], b"through")
    assert os.read(heard[2][2], 10) == b"through"
    for _, _, file in heard[1:]:
        os.close(file)


@pytest_twisted.ensureDeferred
async def test_a_line_that_is_full_keeps_orders_and_refuses_connections(ends):
    one, other = ends
    with socket.socket() as connection:
        handed = 0
        while one.line.hand("serve", "tcp:1", connection.fileno()):
            handed += 1
        assert handed > 100
        one.line.send("drain")
        # An order waits: no connection may go before it.
        assert not one.line.hand("serve", "tcp:1", connection.fileno())
    heard = await other.hears(handed + 1)
    assert [kind for kind, _, _ in heard] == ["serve"] * handed + ["drain"]
    for _, _, file in heard[:-1]:
        os.close(file)


@pytest_twisted.ensureDeferred
async def test_each_end_hears_that_the_other_is_gone(ends):
    one, other = ends
    one.line.send("last words")
    one.line.close()
    await other.gone
    assert other.heard == [("last words", "", None)]
    other.line.send("too late")
    assert not other.line.hand("too", "late", 0)


def test_what_is_long_goes_as_a_file():
    source = Source(name="c.toml", text="x" * 1_000_000, files={"/a": "ä"})
    assert read(write(source), Source) == source


# Listeners.


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_a_connection_that_nobody_takes_waits_and_with_it_all_others():
    taken, willing = [], False

    def hand(endpoint, connection):
        if willing:
            taken.append((endpoint, connection.getpeername()))
        return willing

    listening = Accepting("tcp:0:interface=127.0.0.1", reactor, hand)
    listening.startService()
    port = listening._port.getHost().port
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    await task.deferLater(reactor, 0.05)
    assert taken == []
    for _ in range(3):
        listening.go_on()  # somebody came, and took none
    retries = [call for call in reactor.getDelayedCalls() if call.func == listening._acceptor.go_on]
    assert len(retries) == 1
    willing = True
    listening.go_on()
    await task.deferLater(reactor, 0.05)
    assert [peer for _, peer in taken] == [client.getsockname() for client in clients]
    for client in clients:
        client.close()
    await listening.stopService()


# Handles of workers.


class Spawner(task.Clock):
    """A clock that also starts processes: none, but it knows of them."""

    running = True

    def __init__(self):
        super().__init__()
        self.spawned = []

    def spawnProcess(self, protocol, program, arguments, environ, childFDs):
        self.spawned.append((self.seconds(), environ))
        self.pid = 1000 + len(self.spawned)
        return self

    def addReader(self, reader): ...

    removeReader = removeWriter = addWriter = addReader


class Parent:
    """Restarts whoever ends."""

    stream = None

    def __init__(self, tally):
        self.tally = tally
        self.told = []

    def beginning(self, number):
        return {"number": number}

    def began(self): ...

    def ended(self, worker, how, problem):
        self.told.append((how, problem, worker.restart()))


@pytest.fixture
def tally(tmp_path, monkeypatch):
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    made = Tally()
    yield made
    made.remove()
    assert list(tmp_path.iterdir()) == []


def test_who_dies_at_once_again_and_again_is_followed_ever_later(tally, monkeypatch):
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "LISTEN_ADDRESS"):
        monkeypatch.setenv(name, "1")
    clock, parent = Spawner(), Parent(tally)
    one = WorkerHandle(1, parent, clock)
    one.start()
    killed = Failure(ProcessTerminated(signal=9))
    pauses = []
    for _ in range(10):
        one.processEnded(killed)
        assert one.pid == 0
        pauses.append(parent.told[-1][2])
        clock.advance(pauses[-1])
        assert one.pid
    assert pauses == [0, 0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert parent.told[0][0] == "was ended by SIGKILL"
    clock.advance(worker_handle.STEADY_SECONDS + 1)
    one.processEnded(Failure(ProcessTerminated(exitCode=3)))
    assert parent.told[-1] == ("ended with exit code 3", "", 0)
    # The parent's sockets are not offered to workers; what a configuration may name is.
    for _, environ in clock.spawned:
        assert [name for name in environ if name.startswith("LISTEN_")] == ["LISTEN_ADDRESS"]
    # Who wanted to end did not fail.
    for _ in range(5):
        clock.advance(0)
        one._received(Message("leaving"), None)
        one.processEnded(Failure(ProcessDone(0)))
        assert parent.told[-1] == ("has ended", "", 0)
    one.stop()
    clock.advance(100)
    assert one.pid == 0, "nobody comes after a stop"


def test_a_process_that_the_system_does_not_start_is_tried_again(tally, monkeypatch):
    clock, parent = Spawner(), Parent(tally)

    def spawn(*_, **__):
        raise OSError(errno.EAGAIN, "Resource temporarily unavailable")

    with monkeypatch.context() as context:
        context.setattr(clock, "spawnProcess", spawn, raising=False)
        one = WorkerHandle(1, parent, clock)
        one.start()
        clock.advance(0)
    assert [told[0] for told in parent.told] == [
        "was not started: Resource temporarily unavailable"
    ] * 2
    clock.advance(0.5)
    assert one.pid
    one.processEnded(Failure(ProcessTerminated(signal=9)))


# The handover.


class Asked:
    """A worker that notes what it is told."""

    def __init__(self, number):
        self.number = number
        self.told = []
        self.late, self.takes = False, True

    def send(self, kind, file=None):
        self.told.append((kind, None if file is None else read(os.dup(file), Source).text))


SOURCE = Source(name="c.toml", text="new", files={})
PREPARE = ("prepare", "new")


def handed(*asked):
    """A handover under way, its clock, and the problems that it told."""
    clock, problems = task.Clock(), []
    return Handover(SOURCE, asked, clock, problems.append), clock, problems


def test_all_prepare_before_one_takes_over():
    one, two, late = Asked(1), Asked(2), Asked(3)
    under_way, clock, problems = handed(one, two)
    under_way.answered(one, "")
    clock.advance(1)
    assert problems == [] and one.told == [PREPARE]
    under_way.answered(two, "")
    clock.advance(0)
    assert problems == [""]
    under_way.commit([one, two, late])
    for worker in (one, two, late):
        assert worker.told == [PREPARE, ("commit", None)]
    assert not clock.getDelayedCalls()


def test_what_one_refuses_nobody_takes_over():
    one, two = Asked(1), Asked(2)
    under_way, clock, problems = handed(one, two)
    under_way.answered(two, "no")
    under_way.answered(one, "")
    clock.advance(0)
    assert problems == ["no"]
    under_way.abort()
    assert one.told == two.told == [PREPARE, ("abort", None)]


def test_who_is_late_follows_and_who_dies_is_not_waited_for():
    one, two, three = Asked(1), Asked(2), Asked(3)
    under_way, clock, problems = handed(one, two, three)
    under_way.gone(three)
    clock.advance(handover.PREPARE_SECONDS)
    clock.advance(0)
    assert problems == [], "as long as nobody is prepared the old configuration serves"
    under_way.answered(one, "")
    clock.advance(handover.PREPARE_SECONDS)
    clock.advance(0)
    assert problems == [""]
    assert (one.late, one.takes, two.late, two.takes) == (False, True, True, False)
    under_way.commit([one, two])
    assert two.told == [PREPARE, ("commit", None)]
    under_way, clock, problems = handed(one)
    under_way.gone(one)
    clock.advance(0)
    assert problems == [""]
    _, clock, problems = handed()
    clock.advance(0)
    assert problems == [""]


def test_a_source_gives_the_same_configuration_whatever_the_disk_says(tmp_path):
    path, key = tmp_path / "c.toml", tmp_path / "key"
    path.write_text(
        '[[models]]\nalias = "a"\ntype = "openai"\n'
        f'target = {{ url = "https://h", model = "m", api_key = "file:{key}" }}\n'
    )
    key.write_text("sk-first\n")
    config, source = load_source(str(path))
    key.write_text("sk-second\n")
    path.unlink()
    again = source.config()
    secrets = [each.aliases["a"].targets[0].backend.credential for each in (config, again)]
    assert [secret.reveal() for secret in secrets] == ["sk-first", "sk-first"]
    assert "sk-" not in repr(source) and "sk-" not in str(source)
    with pytest.raises(ConfigError, match="it was not there"):
        Source(name="c.toml", text=source.text, files={}).config()


# Workers.


def test_a_worker_keeps_its_log_where_no_new_one_came(tmp_path):
    worker = object.__new__(Worker)
    old = os.open(tmp_path / "log", os.O_RDWR | os.O_CREAT)
    worker._lines = Lines(old)
    worker._writer = LogWriter(worker._lines)
    worker._received(Message("log"), None)
    worker._writer.write(b"still here\n")
    worker._writer.settle()
    assert (tmp_path / "log").read_text() == "still here\n"
    os.close(old)


def test_a_door_that_goes_leaves_its_successors_open():
    factories = {}
    first, second = (_EndpointService(factories, "tcp:1", object()) for _ in range(2))
    for listener in (first, second):
        listener.startService()
        listener.privilegedStartService()
    first.stopService()
    assert factories == {"tcp:1": second._factory}
    second.stopService()
    assert factories == {}


# The tally.


def test_all_that_is_counted_can_be_counted_as_one():
    registry = CollectorRegistry()
    Metrics(registry)
    Refusals(registry)
    for collector in registry._collector_to_names:
        kind = collector._type
        if isinstance(collector, Gauge):
            kind += "_" + collector._multiprocess_mode
        assert kind in KINDS, collector._name


COUNT = """
import os, signal, sys
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from lmbroker.daemon.workers.tally import count_at
count_at(sys.argv[1], int(sys.argv[2]))
registry = CollectorRegistry()
counted = Counter("a", "-", ("label",), registry=registry).labels("x")
observed = Histogram("b", "-", registry=registry)
open_now = Gauge("c", "-", registry=registry, multiprocess_mode="livesum")
for number in range(int(sys.argv[3])):
    counted.inc()
    observed.observe(number)
    open_now.inc()
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.process
def test_a_worker_counts_on_where_a_killed_process_stopped(tally):
    registry = CollectorRegistry()
    MultiProcessCollector(registry, tally.folder)

    def count(number, calls):
        tally.begin(number)
        command = [sys.executable, "-c", COUNT, tally.folder, str(number), str(calls)]
        assert subprocess.run(command).returncode == -9

    def values():
        found = [registry.get_sample_value("a_total", {"label": "x"})]
        return [*found, *map(registry.get_sample_value, ("b_count", "b_sum", "c"))]

    count(1, 10)
    count(2, 5)
    assert values() == [15, 15, 45 + 10, 15]
    tally.end(1)
    assert values() == [15, 15, 55, 5]
    count(1, 3)
    assert values() == [18, 18, 58, 8]
    assert len(os.listdir(tally.folder)) == 2 * len(KINDS)


@pytest.mark.process
def test_cpu_seconds_of_the_ended_are_counted_once(tally):
    burn = "import time\nwhile time.process_time() < 0.3: pass\ninput()"
    worker = subprocess.Popen([sys.executable, "-c", burn], stdin=subprocess.PIPE)
    registry = merged(tally.folder)

    def seconds(*pids):
        tally.living([os.getpid(), *pids])
        return registry.get_sample_value("process_cpu_seconds_total")

    without = seconds()
    while seconds(worker.pid) < without + 0.3:
        pass
    living = seconds(worker.pid)
    worker.communicate(b"\n")
    # The process has gone, but is still on the list; then it is on it no longer.
    assert living <= seconds(worker.pid) < living + 0.3
    assert living <= seconds() < living + 0.3


# The log.

SAY = """
import sys
from lmbroker.daemon.workers.log import Lines
lines = Lines(1)
lines.share(sys.argv[1])
for number in range(200):
    lines.write(f'{{"worker": {sys.argv[2]}, "text": "{sys.argv[2] * 9000}"}}\\n'.encode())
"""


@pytest.mark.process
def test_lines_of_several_processes_stay_whole_in_a_pipe(tmp_path):
    reading, writing = os.pipe()
    said = [
        subprocess.Popen(
            [sys.executable, "-c", SAY, str(tmp_path / "lock"), str(number)], stdout=writing
        )
        for number in (1, 2, 3)
    ]
    os.close(writing)
    with os.fdopen(reading) as pipe:
        lines = [json.loads(line) for line in pipe]
    assert [process.wait() for process in said] == [0, 0, 0]
    assert len(lines) == 600
    assert all(line["text"] == str(line["worker"]) * 9000 for line in lines)


def test_a_shared_file_is_begun_anew_by_its_length_whoever_wrote(tmp_path):
    file = SharedFile.fromFullPath(str(tmp_path / "log"), rotateLength=100)
    begun = []
    file.begun = begun.append
    file.write("a" * 60 + "\n")
    other = os.dup(file.descriptor)
    os.write(other, b"b" * 30 + b"\n")
    file.look()
    assert begun == []
    file.write("c" * 10 + "\n")
    file.look()
    assert begun == [file.descriptor]
    assert (tmp_path / "log").read_text() == ""
    old = (tmp_path / "log.1").read_text()
    assert old == "a" * 60 + "\n" + "b" * 30 + "\n" + "c" * 10 + "\n"
    os.close(other)
    file.close()


def test_workers_read_one_file_without_disturbing_each_other():
    file = write(["a value"])
    others = os.dup(file)
    os.lseek(others, 5, os.SEEK_SET)  # another worker is in the middle of it
    assert read(file, list[str]) == ["a value"]
    assert os.lseek(others, 0, os.SEEK_CUR) == 5
    os.close(others)
