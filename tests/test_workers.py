"""Several processes as one service, tried on the running thing: who serves, what is counted, what
a death costs, reload, drain, the log."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from certificates import pem_files
from ports import free_port
from prometheus_client.parser import text_string_to_metric_families

from lmbroker.tap import BAD_CONFIGURATION

SECONDS = 15
CONFIG = """
log_level = "info"
[server]
listen = ["tcp:PORT:interface=127.0.0.1"]
drain_timeout = DRAIN
workers = 2
[[models]]
alias = "echo"
type = "openai"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "slow"
type = "openai"
target = { url = "practice:", model = "slow-20" }
"""
WORDS = " ".join(["word"] * 60)
"""Twenty events, 20 ms apart."""
MORE = """
[[models]]
alias = "new"
type = "openai"
target = { url = "practice:", model = "echo" }
"""


def soon(found):
    """The first true value that ``found`` gives."""
    deadline = time.monotonic() + SECONDS
    while True:
        value = found()
        if value:
            return value
        assert time.monotonic() < deadline, "it has not come true"
        time.sleep(0.02)


def logged(running, pattern, count=1):
    """The lines whose message has ``pattern``, once there are ``count``."""

    def found():
        text = running.out.read_text() if running.out.exists() else ""
        # The last line may be on its way.
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]
        lines = [line for line in lines if re.search(pattern, line["message"])]
        return len(lines) >= count and lines

    try:
        return soon(found)
    except AssertionError:
        raise AssertionError(f"{pattern} was not logged:\n{running.out.read_text()}") from None


class Several:
    """A running parent with its workers, and connections to it."""

    def __init__(self, running):
        self.running = running
        self.port = running.port
        self.connections = []

    def open(self):
        """A new connection."""
        self.connections.append(http.client.HTTPConnection("127.0.0.1", self.port, timeout=SECONDS))
        return self.connections[-1]

    def get(self, path, connection=None):
        connection = connection or self.open()
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()

    def call(self, connection=None, model="echo", text="hello"):
        """One whole call, on a connection of its own."""
        body = {"model": model, "messages": [{"role": "user", "content": text}]}
        connection = connection or self.open()
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        assert response.status == 200
        return json.loads(response.read())

    def stream(self, text=WORDS):
        """A stream that has begun."""
        body = {"model": "slow", "stream": True, "messages": [{"role": "user", "content": text}]}
        connection = self.open()
        connection.request("POST", "/v1/chat/completions", json.dumps(body))
        response = connection.getresponse()
        assert response.status == 200
        response.readline()
        return response

    def metrics(self):
        """name and labels -> value."""
        families = text_string_to_metric_families(self.get("/metrics")[1])
        return {
            (sample.name, *sorted(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
        }

    def total(self, name):
        """The sum over all labels of a metric."""
        return sum(value for key, value in self.metrics().items() if key[0] == name)

    def pids(self):
        """The processes of the workers."""
        parent = self.running.process.pid
        return set(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))

    def signal(self, number):
        self.running.process.send_signal(number)

    def close(self):
        for connection in self.connections:
            connection.close()


@pytest.fixture
def several(start_daemon):
    """Starts a parent and waits until all its workers serve."""
    started = []

    def start(config=CONFIG, drain=10, log=None, **options):
        running = start_daemon(config.replace("DRAIN", str(drain)), **options)
        running.out = log or running.out
        started.append(Several(running))
        logged(running, "with 2 workers")
        return started[-1]

    yield start
    for each in started:
        each.close()
        pids = each.pids() if each.running.process.poll() is None else ()
        if each.running.process.poll() is None:
            each.running.process.kill()
            each.running.process.wait()
        soon(lambda pids=pids: not [pid for pid in pids if alive(pid)])
        assert "Traceback" not in each.running.out.read_text()


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# Serving.


def test_connections_go_to_the_workers_in_turn(several):
    service = several()
    connections = [service.open() for _ in range(200)]
    for connection in connections:
        service.call(connection)
    lines = logged(service.running, "^chat echo complete 200", 200)
    assert Counter(line["worker"] for line in lines) == {1: 100, 2: 100}
    # A connection stays where it is.
    for connection in connections[:20]:
        service.call(connection)
    assert service.running.stop() in (0, -signal.SIGTERM)


def test_what_is_counted_is_the_same_whoever_is_asked_and_survives_a_death(several):
    service = several()
    for _ in range(30):
        service.call(text="one two three")
    first = service.metrics()
    key = ("lmbroker_requests_total", ("alias", "echo"), ("operation", "chat"))
    key += (("outcome", "complete"), ("status", "200"), ("workflow", "passthrough"))
    assert first[key] == 30
    assert first["lmbroker_request_seconds_count", key[1], key[-1]] == 30
    assert first["lmbroker_request_seconds_bucket", key[1], ("le", "+Inf"), key[-1]] == 30
    tokens = service.total("lmbroker_tokens_total")
    streams = [service.stream(text=WORDS * 3) for _ in range(6)]
    for _ in range(4):
        metrics = service.metrics()
        assert metrics["lmbroker_in_flight",] == 6
        assert metrics[key] == 30
    # Each worker says how busy its targets are, whichever is asked.
    soon(lambda: service.total("lmbroker_target_in_flight") == 6)
    victim = min(service.pids())
    os.kill(victim, signal.SIGKILL)
    logged(service.running, r"Worker \d was ended by SIGKILL; another begins in 0 s")
    # Not one of what it had counted is lost, and its calls are not open for ever.
    metrics = service.metrics()
    assert metrics[key] == 30
    assert metrics["lmbroker_in_flight",] == 3
    assert service.total("lmbroker_tokens_total") == tokens
    cpu = metrics["process_cpu_seconds_total",]
    soon(lambda: len(service.pids()) == 2)
    ended = 0
    for response in streams:
        with contextlib.suppress(http.client.IncompleteRead):
            ended += response.read().endswith(b"data: [DONE]\n\n")
    assert ended == 3, "the streams of the other worker are whole"
    for _ in range(30):
        service.call()
    soon(lambda: service.metrics()[key] == 60)
    # Who used what is counted of several calls at once, a second later at most.
    soon(lambda: service.total("lmbroker_usage_calls_total") >= 60)
    metrics = service.metrics()
    assert service.total("lmbroker_build_info") == metrics["lmbroker_worker_restarts_total",] == 1
    assert metrics["lmbroker_last_reload_successful",] == 1
    assert service.total("lmbroker_overhead_seconds_count") >= 60
    assert metrics["lmbroker_in_flight",] == 0
    assert metrics["process_cpu_seconds_total",] >= cpu


def test_the_figures_of_the_processes_are_those_of_all(several):
    service = several()
    pids = [service.running.process.pid, *service.pids()]
    page = os.sysconf("SC_PAGE_SIZE")
    resident = sum(int(Path(f"/proc/{pid}/statm").read_text().split()[1]) for pid in pids) * page
    metrics = service.metrics()
    assert metrics["process_resident_memory_bytes",] == pytest.approx(resident, rel=0.1)
    assert metrics["process_open_fds",] > sum(10 for _ in pids)
    begun = metrics["process_start_time_seconds",]
    assert abs(begun - time.time()) < 60
    assert metrics["process_cpu_seconds_total",] > 0.5


def test_refusals_before_a_call_are_counted_together(several):
    service = several()
    for _ in range(6):
        with socket.create_connection(("127.0.0.1", service.port)) as line:
            line.sendall(b"nonsense\r\n\r\n")
            assert b" 400 " in line.recv(100)
    assert service.total("lmbroker_refused_total") == 6


def test_metrics_have_a_listener_of_their_own(several):
    aside = free_port()
    listen = f'metrics_listen = ["tcp:{aside}:interface=127.0.0.1"]\nworkers = 2'
    service = several(CONFIG.replace("workers = 2", listen))
    for _ in range(4):
        service.call()
    assert service.get("/metrics")[0] == 404
    service.port = aside
    for _ in range(3):
        assert service.total("lmbroker_requests_total") == 4


def test_tls_and_unix_sockets_are_shared_as_well(several, tmp_path):
    context = pem_files(tmp_path)
    port = free_port()
    path = tmp_path / "x.sock"
    more = (
        f'"ssl:{port}:interface=127.0.0.1:privateKey={tmp_path}/key.pem:certKey={tmp_path}/cert.pem"'
        f', "unix:{path}:mode=600"]'
    )
    service = several(CONFIG.replace('127.0.0.1"]', '127.0.0.1", ' + more))
    for _ in range(4):
        connection = http.client.HTTPSConnection("127.0.0.1", port, context=context)
        service.call(connection)
        connection.close()
    lines = logged(service.running, "^chat echo", 4)
    assert Counter(line["worker"] for line in lines) == {1: 2, 2: 2}
    mode = path.stat().st_mode & 0o777
    for _ in range(4):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert client.recv(12) == b"HTTP/1.1 200"
    os.kill(min(service.pids()), signal.SIGKILL)
    logged(service.running, "was ended by SIGKILL")
    assert (mode, path.stat().st_mode & 0o777) == (0o600, 0o600)
    assert service.running.stop() in (0, -signal.SIGTERM)
    assert not path.exists()


# Deaths.


def test_a_worker_that_is_told_to_end_drains_and_is_followed(several):
    service = several()
    responses = [service.stream() for _ in range(4)]
    old = service.pids()
    os.kill(min(old), signal.SIGTERM)
    for _ in range(20):
        service.call()
    for response in responses:
        assert response.read().endswith(b"data: [DONE]\n\n")
    logged(service.running, r"Worker \d has ended; another begins in 0 s")
    soon(lambda: len(service.pids() - old) == 1 and len(service.pids()) == 2)


def test_when_all_workers_have_died_clients_wait_for_the_next(several):
    service = several()
    for pid in service.pids():
        os.kill(pid, signal.SIGKILL)
    logged(service.running, "was ended by SIGKILL", 2)
    assert service.call()["choices"]


def test_workers_end_with_their_parent_whatever_ends_it(several):
    service = several()
    responses = [service.stream() for _ in range(4)]
    pids = service.pids()
    service.signal(signal.SIGKILL)
    service.running.process.wait()
    with pytest.raises(ConnectionRefusedError):
        service.get("/health")
    # Another may listen there at once.
    socket.create_server(("127.0.0.1", service.port)).close()
    for response in responses:
        assert response.read().endswith(b"data: [DONE]\n\n")
    soon(lambda: not [pid for pid in pids if alive(pid)])


# Reload.


def test_a_reload_reaches_all_workers_and_breaks_no_stream(several):
    service = several()
    responses = [service.stream(WORDS * 2) for _ in range(20)]
    text = service.running.config.read_text()
    service.running.config.write_text(text + MORE)
    service.signal(signal.SIGHUP)
    [line] = logged(service.running, "The configuration was reloaded: 3 models")
    assert "added alias new" in line["message"] and "worker" not in line
    for _ in range(6):
        assert '"new"' in service.get("/v1/models")[1]
    for response in responses:
        assert response.read().endswith(b"data: [DONE]\n\n")
    assert service.metrics()["lmbroker_reloads_total", ("result", "ok")] == 1
    # Who comes later reads what holds, not what the file says by now.
    service.running.config.write_text("= nonsense")
    os.kill(min(service.pids()), signal.SIGKILL)
    logged(service.running, "was ended by SIGKILL")
    soon(lambda: len(service.pids()) == 2)
    lines = set()
    while lines != {1, 2}:
        service.call(model="new")
        lines = {line["worker"] for line in logged(service.running, "^chat new complete")}
    assert service.running.stop() in (0, -signal.SIGTERM)


@pytest.mark.parametrize("mistake", ["[[models]]\nalais = 1\n", "= nonsense"])
def test_a_reload_with_a_mistake_reaches_nobody(several, mistake):
    service = several()
    text = service.running.config.read_text()
    service.running.config.write_text(text + mistake)
    service.signal(signal.SIGHUP)
    [line] = logged(service.running, "The configuration was not reloaded")
    assert line["level"] == "error"
    for _ in range(4):
        assert service.get("/v1/models")[1].count('"id"') == 2


def test_a_reload_moves_the_listeners(several, port):
    service = several()
    text = service.running.config.read_text()
    service.running.config.write_text(text.replace(f"tcp:{service.port}:", f"tcp:{port}:"))
    service.signal(signal.SIGHUP)
    logged(service.running, "The configuration was reloaded")
    with pytest.raises(ConnectionRefusedError):
        service.get("/health")
    service.port = port
    for _ in range(4):
        service.call()
    assert len(logged(service.running, "^chat echo", 4)) == 4


def test_a_reload_onto_a_taken_port_changes_nothing(several):
    service = several()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        text = service.running.config.read_text() + MORE
        elsewhere = text.replace(f"tcp:{service.port}:", f"tcp:{taken.getsockname()[1]}:")
        service.running.config.write_text(elsewhere)
        service.signal(signal.SIGHUP)
        [line] = logged(service.running, "The configuration was not reloaded")
    assert "Address already in use" in line["message"]
    for _ in range(4):
        assert '"new"' not in service.get("/v1/models")[1]


# Stopping.


def test_a_stop_drains_all_workers(several):
    service = several()
    responses = [service.stream() for _ in range(6)]
    # systemd sends the signal to every process of a service.
    for pid in (service.running.process.pid, *service.pids()):
        os.kill(pid, signal.SIGTERM)
    soon(lambda: not connects(service.port))
    for response in responses:
        assert response.read().endswith(b"data: [DONE]\n\n")
    assert service.running.process.wait(SECONDS) in (0, -signal.SIGTERM)
    draining = logged(service.running, r"Draining \d connections", 2)
    assert {line["worker"] for line in draining} == {1, 2}
    assert not [line for line in service.running.lines() if line["level"] != "info"]


def connects(port):
    try:
        socket.create_connection(("127.0.0.1", port), 0.5).close()
    except OSError:
        return False
    return True


def test_the_door_of_all_workers_stays_open_for_a_while(several):
    service = several(config=CONFIG.replace("[server]", "[server]\ndrain_delay = 60"))
    service.signal(signal.SIGTERM)
    logged(service.running, "connections are accepted for")
    soon(lambda: service.get("/ready")[0] == 503)
    service.call()
    service.signal(signal.SIGTERM)
    assert service.running.process.wait(SECONDS) in (0, -signal.SIGTERM)


def test_what_does_not_end_in_time_is_ended_in_its_own_format(several):
    service = several(drain=0.2)
    responses = [service.stream(WORDS * 20) for _ in range(2)]
    service.signal(signal.SIGTERM)
    for response in responses:
        rest = response.read()
        assert b"the broker is shutting down" in rest and b"[DONE]" not in rest
    assert service.running.process.wait(SECONDS) in (0, -signal.SIGTERM)


def test_a_second_signal_ends_all_at_once(several):
    service = several(drain=60)
    responses = [service.stream(WORDS * 50) for _ in range(2)]
    service.signal(signal.SIGTERM)
    logged(service.running, "Draining", 2)
    service.signal(signal.SIGTERM)
    for response in responses:
        assert b"the broker is shutting down" in response.read()
    assert service.running.process.wait(5) in (0, -signal.SIGTERM)


def test_nothing_is_left_behind(several, tmp_path):
    folder = tmp_path / "runtime"
    folder.mkdir()
    environ = {"RUNTIME_DIRECTORY": str(folder)}
    service = several(environ=environ)
    assert len(list(folder.iterdir())) == 1
    service.running.stop()
    assert list(folder.iterdir()) == []
    service = several(environ=environ)
    pids = service.pids()
    service.signal(signal.SIGKILL)
    service.running.process.wait()
    soon(lambda: not [pid for pid in pids if alive(pid)])
    assert list(folder.iterdir()) == []


# Starting.

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")


@pytest.fixture
def twistd(tmp_path):
    """Run twistd to its end over a configuration."""

    def run(config, *arguments, nodaemon=("-n",), environ=()):
        (tmp_path / "c.toml").write_text(config.replace("DRAIN", "1"))
        command = [*TWISTD, *nodaemon, "lmbroker", "--config", "c.toml", *arguments]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=30,
            env={**os.environ, **dict(environ)},
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


@pytest.mark.process
def test_a_mistake_in_the_configuration_ends_the_start(twistd):
    done = twistd(CONFIG.replace("workers = 2", "workers = 0"))
    assert (done.returncode, done.stdout) == (BAD_CONFIGURATION, "")
    assert "server.workers: found an integer (0), expected an integer from 1 to 64" in done.stderr


@pytest.mark.process
@pytest.mark.parametrize("told", ["0", "65", "two", "-1", "1.5", "\u0662"])
def test_a_mistake_in_the_option_ends_the_start(twistd, told):
    done = twistd(CONFIG.replace("PORT", "0"), f"--workers={told}")
    told = "--workers: expected an integer from 1 to 64\n"
    assert (done.returncode, done.stderr) == (BAD_CONFIGURATION, told)


@pytest.mark.process
@pytest.mark.sockets
@pytest.mark.parametrize("nodaemon", [["-n", "--pidfile=pid"], ["--pidfile=pid", "--logfile=log"]])
def test_a_port_in_use_ends_the_start(twistd, tmp_path, nodaemon):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = twistd(CONFIG.replace("PORT", port), nodaemon=nodaemon)
    told = f"lmbroker: cannot listen on tcp:{port}:interface=127.0.0.1: Address already in use\n"
    assert done.returncode == 1
    assert told[10:60] in done.stderr
    soon(lambda: not (tmp_path / "pid").exists())


@pytest.mark.process
def test_workers_that_cannot_start_end_the_start(twistd, tmp_path):
    """What only a worker trips over; here, a log of somebody else's."""
    (tmp_path / "elsewhere.py").write_text(
        "import sys\n"
        "def log():\n"
        "    if 'lmbroker.workers' in sys.orig_argv: raise SystemExit(3)\n"
        "    return lambda event: None\n"
    )
    nodaemon = ["-n", "--pidfile=pid", "--logger=elsewhere.log"]
    environ = {"PYTHONPATH": str(tmp_path)}
    done = twistd(CONFIG.replace("PORT", "0"), nodaemon=nodaemon, environ=environ)
    assert done.returncode == 1
    assert re.fullmatch(r"lmbroker: worker \d ended with exit code 3\n", done.stderr)
    assert not (tmp_path / "pid").exists()


@pytest.mark.process
@pytest.mark.sockets
def test_a_daemon_in_the_background(tmp_path, port):
    config = CONFIG.replace("DRAIN", "1").replace("PORT", str(port))
    (tmp_path / "c.toml").write_text(config)
    options = ["--pidfile=pid", "--logfile=log", "lmbroker", "--config=c.toml"]
    done = subprocess.run([*TWISTD, *options], cwd=tmp_path, capture_output=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    pid = int((tmp_path / "pid").read_text())
    log = tmp_path / "log"
    soon(lambda: log.exists() and "with 2 workers" in log.read_text())
    asked = json.dumps({"model": "echo", "messages": [{"role": "user", "content": "Hi"}]})
    for _ in range(2):
        # Each connection goes to the next worker.
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as connection:
            connection.request("POST", "/v1/chat/completions", asked)
            assert connection.getresponse().status == 200
    os.kill(pid, signal.SIGTERM)
    soon(lambda: not alive(pid) and not (tmp_path / "pid").exists())
    assert {json.loads(line).get("worker") for line in log.read_text().splitlines()} == {None, 1, 2}


def test_one_worker_is_the_daemon_itself(start_daemon):
    running = start_daemon(CONFIG.replace("DRAIN", "1"), arguments=["--workers", "1"]).wait()
    assert Several(running).pids() == set()
    assert "worker" not in running.out.read_text()
    running.stop()


def test_workers_serve_on_the_reactor_that_twistd_was_told(several):
    service = several(twistd=["--reactor", "poll"])
    service.call()
    assert service.running.stop() in (0, -signal.SIGTERM)


# The log.


def test_a_log_file_is_begun_anew_for_all(several, tmp_path):
    log = tmp_path / "lmbroker.log"
    service = several(twistd=["--logfile", str(log)], log=log)
    for _ in range(4):
        service.call()
    logged(service.running, "^chat echo", 4)
    service.signal(signal.SIGUSR1)
    old = tmp_path / "lmbroker.log.1"
    soon(old.exists)
    before = old.read_text()
    soon(lambda: not service.call() or len(workers_in(log)) == 2)
    assert old.read_text() == before or len(before) < len(old.read_text())
    assert len(workers_in(old)) == 2
    assert service.running.stop() in (0, -signal.SIGTERM)
    for path in (old, log):
        assert all(map(json.loads, path.read_text().splitlines()))


def test_somebody_elses_log_is_each_workers_own(several, tmp_path):
    log = tmp_path / "elsewhere.log"
    (tmp_path / "elsewhere.py").write_text(
        "import json, os\n"
        "from twisted.logger import formatEvent\n"
        "def observer():\n"
        "    def observe(event):\n"
        "        line = {'message': formatEvent(event), 'worker': os.getpid()}\n"
        f"        with open({str(log)!r}, 'a') as file: file.write(json.dumps(line) + '\\n')\n"
        "    return observe\n"
    )
    environ = {"PYTHONPATH": str(tmp_path)}
    service = several(twistd=["--logger", "elsewhere.observer"], log=log, environ=environ)
    for _ in range(4):
        service.call()
    lines = logged(service.running, "^chat echo complete 200", 4)
    assert {line["worker"] for line in lines} == service.pids()
    assert service.running.stop() in (0, -signal.SIGTERM)


def workers_in(path):
    """Who wrote access lines."""
    lines = [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return {json.loads(line).get("worker") for line in lines if "AccessLog" in line}
