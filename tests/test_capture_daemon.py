"""``lmbroker capture`` at a running daemon, with one process and with several, and the commands
that read its files."""

import json
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import pytest
from canary import CLIENT_PLAIN, REQUESTS, found
from rig import ask

from lmbroker.commands.cli import main

BACKEND = "kE7-env-backend-Secret41"
CONFIG = """
[server]
host = "127.0.0.1"
port = PORT
control = "CONTROL"
[[keys]]
name = "ann"
key = "env:CLIENT_KEY"
[[models]]
alias = "a"
type = "anthropic"
target = { url = "practice:", model = "echo", api_key = "env:BACKEND_KEY" }
[[models]]
alias = "o"
type = "openai"
target = { url = "practice:", model = "echo", api_key = "env:BACKEND_KEY" }
[[models]]
alias = "bad"
type = "openai"
target = { url = "practice:", model = "fail-400", api_key = "env:BACKEND_KEY" }
"""
ENVIRON = {"CLIENT_KEY": CLIENT_PLAIN, "BACKEND_KEY": BACKEND}


class Capture:
    """The command, in a process of its own."""

    def __init__(self, daemon, out, *arguments):
        command = [sys.executable, "-m", "lmbroker", "capture", "--config", str(daemon.config)]
        self.process = subprocess.Popen(
            [*command, "--out", str(out), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": "", **ENVIRON},
        )
        assert "capture is on" in self.process.stderr.readline()

    def end(self):
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out.splitlines(), err


def post(daemon, body, path="/v1/chat/completions"):
    headers = {"x-api-key": CLIENT_PLAIN, "content-type": "application/json"}
    request = urllib.request.Request(daemon.url + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return error.read()


def begin(start_daemon, tmp_path, *arguments):
    tmp_path.chmod(0o700)
    config = CONFIG.replace("CONTROL", str(tmp_path / "control.sock"))
    daemon = start_daemon(config, environ=ENVIRON, arguments=arguments).wait()
    deadline = time.monotonic() + 20
    while "serves 3 models" not in daemon.out.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return daemon


@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_next_calls_of_an_alias_are_kept_and_replay(start_daemon, tmp_path, capfd, workers):
    daemon = begin(start_daemon, tmp_path, "--workers", workers)
    out = tmp_path / "captured"
    capture = Capture(daemon, out, "--alias", "a", "--calls", "4", "--caller", "ann")
    # A large one is masked in a helper process; each on a connection of its own, so by turns.
    long = ask("a", messages=[{"role": "user", "content": "quokka " * 20_000}])
    answers = [
        post(daemon, ask("o")),
        post(daemon, ask("a")),
        post(daemon, json.dumps(REQUESTS["anthropic"]("a", stream=True)).encode(), "/v1/messages"),
        post(daemon, ask("a", stream=True)),
        post(daemon, long),
    ]
    code, lines, err = capture.end()
    assert (code, len(lines)) == (0, 4), err
    assert "as many calls are kept as were asked for" in err
    files = sorted(out.iterdir())
    assert [file.name[:5] for file in files] == ["0001-", "0002-", "0003-", "0004-"]
    assert stat.S_IMODE(out.stat().st_mode) == 0o700
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    texts = [file.read_text() for file in files]
    assert [found(text, [CLIENT_PLAIN, BACKEND]) for text in texts] == [[]] * 4
    kept = set()
    for text in texts:
        events = [json.loads(line) for line in text.splitlines()]
        kept.add("".join(e["text"] for e in events if e["event"] == "out").encode())
    assert kept == set(answers[1:])
    assert main(["replay", str(out)]) == 0
    assert capfd.readouterr().out.endswith("4 calls, 4 of them the same\n")
    log = daemon.out.read_text()
    assert "Capture is on: up to 4 calls of a by ann" in log
    assert "Capture is off: 4 calls of a were kept, 0 were too large" in log
    assert "quokka" not in log
    for name in files:
        read_by_other_commands(daemon, name, capfd)


def read_by_other_commands(daemon, name, capfd):
    events = [json.loads(line) for line in name.read_text().splitlines()]
    sent = next(event["text"] for event in events if event["event"] == "sent")
    passed = events[0]["dialect"] == "anthropic"
    if not passed:
        assert main(["translate", "--captured", str(name)]) == 0
        assert capfd.readouterr().out == sent + "\n"
        kind = "--stream" if events[0]["stream"] else "--response"
        assert main(["translate", "--captured", str(name), kind]) == 0
        assert '"chat.completion' in capfd.readouterr().out


def test_only_calls_that_fail_are_kept(start_daemon, tmp_path, capfd, monkeypatch):
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    daemon = begin(start_daemon, tmp_path)
    out = tmp_path / "captured"
    capture = Capture(daemon, out, "--alias", "bad", "--outcome", "failed", "--calls", "1")
    post(daemon, ask("o"))
    post(daemon, ask("bad"))
    code, (line,), _ = capture.end()
    assert code == 0 and line.endswith("chat, backend_error, attempts: 1")
    (file,) = out.iterdir()
    assert main(["explain", "--config", str(daemon.config), "--captured", str(file)]) == 0
    told = capfd.readouterr().out
    assert "'bad' leads to the alias 'bad'" in told and '"content": "hi"' in told
    assert BACKEND not in told
    # Changed by hand, as the code might change.
    text = file.read_text()
    file.write_text(text.replace('"status":400', '"status":429', 1))
    assert main(["replay", str(file)]) == 1
    assert "differs" in capfd.readouterr().out
    file.write_text(text[:-30])
    assert main(["replay", str(file)]) == 2
    assert "line" in capfd.readouterr().err
    assert main(["translate", "--captured", str(file)]) == 1


def test_who_stops_the_command_stops_the_capture(start_daemon, tmp_path):
    daemon = begin(start_daemon, tmp_path, "--workers", "2")
    capture = Capture(daemon, tmp_path / "captured", "--alias", "a")
    capture.process.kill()
    capture.process.communicate()
    deadline = time.monotonic() + 10
    while "nobody waits for it any more" not in daemon.out.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # A daemon that stops ends captures; what is under way until then is kept.
    capture = Capture(daemon, tmp_path / "more", "--alias", "a", "--for", "1h")
    post(daemon, ask("a"))
    stopping = threading.Thread(target=daemon.stop)
    stopping.start()
    code, lines, err = capture.end()
    stopping.join()
    assert (code, len(lines)) == (0, 1) and "the broker stops" in err


def test_nothing_is_kept_where_others_may_look(start_daemon, tmp_path, capfd, monkeypatch):
    for name, value in ENVIRON.items():
        monkeypatch.setenv(name, value)
    daemon = begin(start_daemon, tmp_path)
    out = tmp_path / "captured"
    out.mkdir(mode=0o755)
    asked = ["capture", "--config", str(daemon.config), "--alias", "a", "--out", str(out)]
    assert main(asked) == 1
    assert "others may look into it" in capfd.readouterr().err
    out.chmod(0o700)
    assert main([*asked, "--control", str(tmp_path / "nowhere")]) == 1
    assert "does the daemon run?" in capfd.readouterr().err
    assert daemon.stop() is not None and list(out.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [["--calls", "0"], ["--for", "9d"], ["--for", "2h"], ["--megabytes", "0"]]
)
def test_a_capture_without_bounds_is_a_mistake(tmp_path, wrong, capfd):
    asked = ["capture", "--alias", "a", "--control", "/x", "--out", str(tmp_path / "x")]
    with pytest.raises(SystemExit):
        main([*asked, *wrong])
    assert "usage" in capfd.readouterr().err
