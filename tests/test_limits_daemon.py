"""Limits of running daemons: what clients see, several workers, a worker that dies, a restart."""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request

import anthropic
import openai
import pytest

from lmbroker.commands.cli import main

pytestmark = pytest.mark.process

CONFIG = """
[server]
host = "127.0.0.1"
port = PORT
workers = WORKERS
[usage]
file = "FILE"
[[limits.rules]]
name = "prepaid"
requests = "12/never"
for = { alias = "counted" }
[[limits.rules]]
name = "slots"
parallel = 2
for = { alias = "slow" }
[[models]]
alias = "counted"
type = "openai"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "slow"
type = "openai"
target = { url = "practice:", model = "slow-20000" }
"""


def config(tmp_path, workers):
    file = tmp_path / "usage.sqlite"
    return CONFIG.replace("FILE", str(file)).replace("WORKERS", str(workers))


def ask(daemon, model="counted", stream=False):
    """The status and the body of one call, on a connection of its own."""
    body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "hi"}]}
    request = urllib.request.Request(
        daemon.url + "/v1/chat/completions",
        json.dumps(body).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=40) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def at_once(count, act):
    """What ``count`` threads return."""
    found = []
    threads = [threading.Thread(target=lambda: found.append(act())) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def limits(daemon, seconds=40):
    with urllib.request.urlopen(daemon.url + "/v1/usage", timeout=seconds) as answer:
        rows = json.load(answer)["limits"]
    return {row["rule"]: row["left"] for row in rows}


def seen_by_sdks(daemon):
    """What is spent is an error of the right class for both SDKs, and neither tries again."""
    before = len(daemon.access_lines(16))
    with openai.OpenAI(base_url=daemon.url + "/v1", api_key="x") as client:
        with pytest.raises(openai.RateLimitError) as raised:
            client.chat.completions.create(
                model="counted", messages=[{"role": "user", "content": "hi"}]
            )
        assert raised.value.code == "insufficient_quota"
        assert raised.value.response.headers["x-ratelimit-remaining-requests"] == "0"
    with anthropic.Anthropic(base_url=daemon.url, api_key="x") as client:
        with pytest.raises(anthropic.RateLimitError) as raised:
            client.messages.create(
                model="counted", max_tokens=9, messages=[{"role": "user", "content": "hi"}]
            )
        assert raised.value.body["error"]["type"] == "rate_limit_error"
        assert raised.value.response.headers["anthropic-ratelimit-requests-remaining"] == "0"
    assert len(daemon.access_lines(before + 2)) == before + 2


@pytest.mark.parametrize("workers", [1, 2])
def test_the_sum_holds_over_workers_and_a_restart(start_daemon, tmp_path, capsys, workers):
    text = config(tmp_path, workers)
    daemon = start_daemon(text).wait()
    statuses = sorted(status for status, _ in at_once(8, lambda: ask(daemon)))
    assert statuses == [200] * 8
    assert limits(daemon) == {"prepaid": 4, "slots": 2}
    # The journal is written once a second; then a restart, however it came, forgets nothing.
    deadline = time.monotonic() + 20
    path = tmp_path / "check.toml"
    path.write_text(text.replace("PORT", "8080"))
    while time.monotonic() < deadline:
        assert main(["limits", "--config", str(path), "--json"]) == 0
        if json.loads(capsys.readouterr().out)[0]["left"] == 4:
            break
        time.sleep(0.2)
    else:
        raise AssertionError("nothing was kept")
    daemon.process.kill()
    daemon.process.wait()
    daemon = start_daemon(text).wait()
    assert limits(daemon)["prepaid"] == 4
    statuses = sorted(status for status, _ in at_once(8, lambda: ask(daemon)))
    assert statuses == [200] * 4 + [429] * 4
    seen_by_sdks(daemon)
    assert daemon.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in daemon.out.read_text()


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(each) for each in file.read().split()]


def until(condition):
    """Wait until ``condition`` holds, a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_worker_that_is_killed_leaves_nothing_reserved(start_daemon, tmp_path):
    daemon = start_daemon(config(tmp_path, 2)).wait()

    def cut_off():
        with contextlib.suppress(OSError, http.client.HTTPException):
            ask(daemon, "slow")

    def left():
        # A connection may have been handed to a worker that is dead.
        with contextlib.suppress(OSError):
            return limits(daemon, 8)["slots"]

    # A worker that dies before it has served ends the daemon.
    until(lambda: " serves " in daemon.out.read_text())
    clients = [threading.Thread(target=cut_off) for _ in range(2)]
    for client in clients:
        client.start()
    until(lambda: left() == 0)
    status, body = ask(daemon, "slow")
    assert status == 429 and b"2 calls at once" in body
    for pid in children(daemon.process.pid):
        os.kill(pid, signal.SIGKILL)
    for client in clients:
        client.join()

    until(lambda: left() == 2)
    assert daemon.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in daemon.out.read_text()
