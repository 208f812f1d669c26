"""``lmbroker serve``, and the quick start of the README with it."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from lmbroker.commands.serve import hints
from lmbroker.tap import BAD_CONFIGURATION

ROOT = Path(__file__).resolve().parents[1]
LMBROKER = (sys.executable, "-m", "lmbroker")
SECONDS = 20

MODEL = '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "practice:", model = "echo" }\n'


@pytest.fixture
def serve(tmp_path):
    """Start the command in a folder of its own; its output is ``process.out``."""
    started = []

    def begin(*arguments, **options):
        out = tmp_path / f"out{len(started)}"
        with out.open("wb") as file:
            process = subprocess.Popen(
                [*LMBROKER, "serve", *arguments],
                cwd=tmp_path,
                stdout=file,
                stderr=subprocess.STDOUT,
                **options,
            )
        process.out = out
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def wait_for(port, process):
    deadline = time.monotonic() + SECONDS
    while True:
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=SECONDS)
        except OSError:
            assert process.poll() is None and time.monotonic() < deadline, process.out.read_text()
            time.sleep(0.02)


def curls_of_the_readme():
    """The curl commands of the quick start, as words."""
    text = (ROOT / "README.md").read_text().split("## Try it")[1].split("\n## ")[0]
    [block] = [each for each in re.findall(r"```\n(.*?)```", text, re.DOTALL) if "curl" in each]
    return [shlex.split(each) for each in re.findall(r"^curl .*?'$", block, re.DOTALL | re.M)]


@pytest.mark.process
@pytest.mark.sockets
def test_the_quick_start_of_the_readme(tmp_path, port, serve):
    """``lmbroker init`` and ``lmbroker serve`` in an empty folder, then the four curls."""
    assert (
        subprocess.run([*LMBROKER, "init"], cwd=tmp_path, stdin=subprocess.DEVNULL).returncode == 0
    )
    process = serve("--listen", str(port))
    wait_for(port, process)
    curls = curls_of_the_readme()
    assert len(curls) == 4
    for curl in curls:
        url = next(word for word in curl if word.startswith("http"))
        body = curl[curl.index("-d") + 1]
        # As curl sends it: with the type of a form.
        request = urllib.request.Request(
            url.replace("localhost:8080", f"127.0.0.1:{port}"), data=body.encode()
        )
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            answer = response.read().decode()
            kind = response.headers["content-type"]
        streamed = json.loads(body).get("stream", False)
        assert kind.startswith("text/event-stream" if streamed else "application/json")
        assert "Hello" in answer and "broker" in answer
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == -signal.SIGTERM


@pytest.mark.process
@pytest.mark.sockets
def test_workers_and_endpoints_of_the_command_line(tmp_path, port, serve):
    (tmp_path / "config.toml").write_text(f"[server]\nport = 1\nworkers = 1\n{MODEL}")
    path = tmp_path / "x.sock"
    process = serve("--workers", "2", "--listen", f"127.0.0.1:{port}", "--listen", f"unix:{path}")
    wait_for(port, process)
    deadline = time.monotonic() + SECONDS
    while "with 2 workers" not in process.out.read_text():
        assert time.monotonic() < deadline, process.out.read_text()
        time.sleep(0.02)
    assert path.is_socket()
    process.send_signal(signal.SIGHUP)
    while "The configuration was reloaded" not in process.out.read_text():
        assert time.monotonic() < deadline, process.out.read_text()
        time.sleep(0.02)
    wait_for(port, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(SECONDS) == -signal.SIGINT


@pytest.mark.process
@pytest.mark.parametrize(
    ("config", "arguments", "told"),
    [
        (MODEL, ["--listen", "99999"], "--listen: found 'tcp:99999:interface=127.0.0.1', "),
        (MODEL, ["--listen", "nonsense"], "--listen: found 'nonsense', expected PORT, HOST:PORT"),
        (
            MODEL,
            ["--listen", "0.0.0.0:8080"],
            "config.toml: server.listen[0]: other machines reach",
        ),
        (MODEL, ["--workers", "many"], "--workers: expected an integer from 1 to 64"),
        (MODEL, ["--config", "none.toml"], "none.toml: cannot be read: No such file"),
        ("loud = 1\n" + MODEL, [], "config.toml: loud: unknown key"),
        (None, [], "There is no configuration file. LMBroker looked for:\n  ./config.toml\n"),
    ],
)
def test_a_mistake_of_the_configuration_has_its_exit_code(tmp_path, serve, config, arguments, told):
    if config is not None:
        (tmp_path / "config.toml").write_text(config)
    process = serve(*arguments, env={**os.environ, "HOME": str(tmp_path)})
    assert process.wait(SECONDS) == BAD_CONFIGURATION
    assert process.out.read_text().startswith(told)
    assert "Traceback" not in process.out.read_text()


@pytest.mark.parametrize(
    ("listen", "base"),
    [
        ("tcp:8080:interface=127.0.0.1", "http://127.0.0.1:8080"),
        ("tcp:8080", "http://localhost:8080"),
        ("tcp6:8080:interface=\\:\\:1", "http://[::1]:8080"),
        ("ssl:8443:interface=0.0.0.0:privateKey=k", "https://localhost:8443"),
    ],
)
def test_what_to_set_in_clients(listen, base):
    lines = [line.strip() for line in hints(("unix:/run/x", listen, "tcp:1"))]
    assert lines[1:] == [f"export OPENAI_BASE_URL={base}/v1", f"export ANTHROPIC_BASE_URL={base}"]


def test_a_broker_without_a_port_has_nothing_to_set():
    assert list(hints(("unix:/run/x", "systemd:domain=INET:name=x"))) == []
