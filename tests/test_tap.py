"""What twistd calls of LMBroker: what ends the start, in one line and with which exit code."""

import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from types import SimpleNamespace

import pytest

from lmbroker import __version__, tap
from lmbroker.commands.cli import main
from lmbroker.tap import BAD_CONFIGURATION

pytestmark = [pytest.mark.process, pytest.mark.sockets]

TWISTD = (sys.executable, "-c", "from twisted.scripts.twistd import run; run()")

GOOD = """
[server]
listen = ["ENDPOINT"]
[[models]]
alias = "m"
type = "openai"
target = { url = "practice:", model = "echo" }
"""
BAD = """
log_level = "loud"
[[models]]
alias = "m"
type = "openai"
target = { ulr = "practice:", api_key = "env:NOBODY_SETS_THIS" }
"""


@pytest.fixture
def twistd(tmp_path):
    """Run twistd to its end in a folder of its own."""

    def run(*arguments):
        done = subprocess.run(
            [*TWISTD, *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=30
        )
        assert "Traceback" not in done.stdout + done.stderr
        return done

    return run


@pytest.fixture
def write(tmp_path):
    """Write the configuration that ``c.toml`` names."""
    return (tmp_path / "c.toml").write_text


@pytest.fixture
def taken():
    """The endpoint string of a port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"tcp:{server.getsockname()[1]}:interface=127.0.0.1"


def test_twistd_knows_lmbroker(twistd):
    done = twistd("--help")
    assert done.returncode == 0
    assert re.search(r"\blmbroker +A broker between programs and their LLM", done.stdout)


def test_help_names_the_options(twistd):
    done = twistd("lmbroker", "--help")
    assert (done.returncode, done.stderr) == (0, "")
    told = " ".join(done.stdout.split())
    assert "-c, --config= The configuration file (TOML). [default: the first of ./config" in told
    assert "--listen= Listen at PORT, HOST:PORT or a Twisted endpoint" in told
    assert "-w, --workers= How many processes serve. [default: server.workers]" in told


def test_version(twistd):
    done = twistd("lmbroker", "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"lmbroker {__version__}\n", "")


def test_an_unknown_option(twistd):
    done = twistd("lmbroker", "--cofnig=x")
    assert done.returncode == 1
    assert done.stdout.rstrip().endswith("option --cofnig not recognized")


def test_syslog_is_refused_in_one_line(twistd, write):
    write(GOOD)
    done = twistd("-n", "--syslog", "--pidfile=", "lmbroker", "--config", "c.toml")
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("lmbroker: --syslog is not supported") and (
        done.stderr.count("\n") == 1
    )


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_closed_stdout_stops_no_start_and_no_call(tmp_path, write, port, workers):
    write(GOOD.replace("ENDPOINT", f"tcp:{port}:interface=127.0.0.1"))
    command = [*TWISTD, "-n", "--pidfile=", "lmbroker", "--config", "c.toml", "--workers", workers]
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" >&-', "sh", *command], cwd=tmp_path)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
                    assert answer.read() == b'{"status":"ok"}'
                    break
            except OSError:
                assert process.poll() is None and time.monotonic() < deadline
                time.sleep(0.05)
        process.send_signal(signal.SIGUSR1)
        process.terminate()
        assert process.wait(15) == -signal.SIGTERM
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_start_is_one_line_and_sigusr1_without_a_log_file_is_none(
    start_daemon, tmp_path, workers
):
    daemon = start_daemon(
        GOOD.replace("ENDPOINT", "tcp:PORT:interface=127.0.0.1"), arguments=["--workers", workers]
    )
    deadline = time.monotonic() + 20
    while not daemon.lines():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    daemon.process.send_signal(signal.SIGUSR1)
    assert daemon.stop() == -signal.SIGTERM
    first, *rest = daemon.lines()
    where = f"on tcp:{daemon.port}:interface=127.0.0.1"
    how = " with 2 workers" if workers == "2" else ""
    assert first["message"] == f"LMBroker {__version__} serves 1 model {where}{how}"
    assert [line["message"] for line in rest] == []


def test_older_log_files_are_kept_by_count(tmp_path):
    for several in (False, True):
        folder = tmp_path / str(several)
        folder.mkdir()
        options = SimpleNamespace(
            parent={"logfile": str(folder / "log")}, loaded=SimpleNamespace(log_files=2)
        )
        file = tap._stream(options, several)
        assert file.rotateLength == tap.ROTATE_BYTES
        for each in range(5):
            file.write(f"{each}\n")
            file.rotate()
        kept = {each.name: each.read_text() for each in folder.iterdir()}
        assert kept == {"log": "", "log.1": "4\n", "log.2": "3\n"}
        file.close()


@pytest.mark.parametrize("nodaemon", [["-n"], []])
def test_a_bad_configuration(twistd, write, nodaemon, tmp_path, monkeypatch, capsys):
    """The lines are those of ``lmbroker check``, and nothing forks or is left behind."""
    write(BAD)
    done = twistd(*nodaemon, "lmbroker", "--config", "c.toml")
    assert (done.returncode, done.stdout) == (BAD_CONFIGURATION, "")
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--config", "c.toml"]) == 1
    assert done.stderr == capsys.readouterr().err
    assert len(done.stderr.splitlines()) == 3
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


def test_a_configuration_elsewhere_is_named_in_full(twistd, tmp_path):
    folder = tmp_path / "below"
    folder.mkdir()
    done = twistd("--rundir", str(folder), "-n", "lmbroker", "-c", "../nowhere.toml")
    assert done.stderr == f"{tmp_path.parent}/nowhere.toml: cannot be read: " + (
        "No such file or directory\n"
    )


def test_a_missing_configuration(twistd):
    done = twistd("-n", "lmbroker", "--config", "none.toml")
    assert (done.returncode, done.stdout, done.stderr) == (
        BAD_CONFIGURATION,
        "",
        "none.toml: cannot be read: No such file or directory\n",
    )


def test_a_port_in_use(twistd, write, taken, tmp_path):
    write(GOOD.replace("ENDPOINT", taken))
    done = twistd("-n", "--pidfile=pid", "lmbroker", "--config", "c.toml")
    assert done.returncode == 1
    assert done.stderr == f"lmbroker: cannot listen on {taken}: Address already in use\n"
    assert done.stdout.count("Address already in use") == 1, "the log says it as well"
    assert not (tmp_path / "pid").exists()


def test_a_port_in_use_ends_a_daemon_too(twistd, write, taken, tmp_path):
    write(GOOD.replace("ENDPOINT", taken))
    done = twistd("--pidfile=pid", "--logfile=log", "lmbroker", "--config", "c.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"lmbroker: cannot listen on {taken}: Address already in use\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c.toml"], "nothing forked"


def test_what_only_the_daemon_itself_finds_ends_it_too(twistd, write, tmp_path):
    write(GOOD.replace("ENDPOINT", "unix:/nowhere/x.sock"))
    done = twistd("--pidfile=pid", "--logfile=log", "lmbroker", "--config", "c.toml")
    assert done.returncode == 1
    assert "cannot listen on unix:/nowhere/x.sock" in done.stderr
    (line,) = [line for line in (tmp_path / "log").read_text().splitlines() if "x.sock" in line]
    assert '"level":"critical"' in line
    deadline = time.monotonic() + 10
    while (tmp_path / "pid").exists():
        assert time.monotonic() < deadline, "the pid file stays"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("systemd:domain=INET:index=0", "systemd passed no such socket"),
        ("ssl:0:interface=127.0.0.1:privateKey=c.toml", "Error: "),
        ("unix:/nowhere/x.sock", "No such file or directory"),
    ],
)
def test_an_endpoint_that_only_the_machine_can_refuse(twistd, write, endpoint, reason):
    write(GOOD.replace("ENDPOINT", endpoint).replace("[[", "open = true\n[[", 1))
    done = twistd("-n", "--pidfile=", "lmbroker", "--config", "c.toml")
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lmbroker: cannot listen on {endpoint}: {reason}")


def test_a_log_that_cannot_be_written(twistd, write):
    write(GOOD.replace("ENDPOINT", "tcp:0:interface=127.0.0.1"))
    done = twistd("--logfile=/nowhere/log", "-n", "lmbroker", "--config", "c.toml")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("lmbroker: cannot log to /nowhere/log: No such file or directory\n")


def test_several_endpoints_and_a_warning(start_daemon, tmp_path):
    path = tmp_path / "x.sock"
    daemon = start_daemon(
        GOOD.replace("ENDPOINT", f'unix:{path}", "tcp:PORT:interface=127.0.0.1').replace(
            '"echo"', '"echo", api_key = "key-1"'
        )
    ).wait()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert client.recv(12) == b"HTTP/1.1 200"
    (line,) = [line for line in daemon.lines() if line["level"] == "warning"][:1]
    assert "the key stands in the file itself" in line["message"]
    assert "key-1" not in daemon.out.read_text()
    daemon.stop()


@pytest.mark.parametrize(
    ("endpoint", "reason"),
    [
        ("haproxi:tcp:80", "Unknown endpoint type: 'haproxi'; expected an endpoint string of one"),
        ("haproxy:tcp", "TypeError: "),
    ],
)
def test_an_endpoint_that_no_plugin_reads(
    twistd, write, endpoint, reason, tmp_path, monkeypatch, capsys
):
    write(GOOD.replace("[server]", "[server]\nopen = true").replace("ENDPOINT", endpoint))
    done = twistd("lmbroker", "--config", "c.toml")
    assert (done.returncode, done.stdout) == (BAD_CONFIGURATION, "")
    assert done.stderr.startswith(
        f"c.toml: server.listen[0]: found a string ('{endpoint}'): {reason}"
    )
    monkeypatch.chdir(tmp_path)
    assert main(["check", "--config", "c.toml"]) == 1
    assert done.stderr == capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["c.toml"]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("engine", ["lean", "stock"])
def test_an_endpoint_of_a_plugin_serves(start_daemon, workers, engine):
    server = f'[server]\nopen = true\nengine = "{engine}"\nworkers = {workers}'
    listen = "haproxy:tcp:PORT:interface=127.0.0.1"
    config = GOOD.replace("[server]", server).replace("ENDPOINT", listen)
    running = start_daemon(config).wait()
    with socket.create_connection(("127.0.0.1", running.port)) as connection:
        connection.settimeout(10)
        connection.sendall(
            b"PROXY TCP4 192.0.2.7 127.0.0.1 5000 80\r\n"
            b"GET /health HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
        )
        answer = b"".join(iter(lambda: connection.recv(4096), b""))
    assert answer.startswith(b"HTTP/1.1 200 ")
