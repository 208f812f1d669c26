"""What calls cost and who made them, from a running daemon: one process, workers, a restart."""

import json
import signal
import sqlite3
import urllib.error
import urllib.request

import pytest

from lmbroker.commands.cli import main
from lmbroker.routing.keys import hash_of

pytestmark = pytest.mark.process

TEAM = "crimson-47"

CONFIG = f"""
[server]
host = "127.0.0.1"
port = PORT
[[keys]]
name = "ann"
hash = "{hash_of("lmb-ann")}"
[[keys]]
name = "bob"
hash = "{hash_of("lmb-bob")}"
[usage]
file = "FILE"
tags = ["x-team"]
[[models]]
alias = "priced"
type = "openai"
target = {{ url = "practice:", model = "echo" }}
price = {{ input = 1000, output = 2000 }}
[[models]]
alias = "unpriced"
type = "anthropic"
target = {{ url = "practice:", model = "echo" }}
"""


def refused(daemon, path, caller="ann"):
    """The status and the message of an error."""
    with pytest.raises(urllib.error.HTTPError) as raised:
        ask(daemon, path, caller=caller)
    with raised.value as error:
        return error.code, json.load(error)["error"]["message"]


def ask(daemon, path, body=None, caller="ann"):
    """The headers and the JSON of an answer, None for a stream."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer lmb-{caller}", "Content-Type": "application/json"}
    request = urllib.request.Request(daemon.url + path, data, {**headers, "x-team": TEAM})
    with urllib.request.urlopen(request, timeout=30) as answer:
        text = answer.read()
        return answer.headers, None if text.startswith(b"data:") else json.loads(text)


def chat(daemon, model="priced", caller="ann", **more):
    body = {"model": model, "messages": [{"role": "user", "content": "hello there"}], **more}
    return ask(daemon, "/v1/chat/completions", body, caller)


def cost_of(usage):
    dollars = usage["prompt_tokens"] / 1000 + usage["completion_tokens"] / 500
    return f"{dollars:.12f}".rstrip("0").rstrip(".")


@pytest.fixture
def start(start_daemon, tmp_path):
    def started(*arguments):
        text = CONFIG.replace("FILE", str(tmp_path / "usage.sqlite"))
        return start_daemon(text, arguments=arguments).wait()

    return started


def test_the_cost_is_told_in_the_header_the_log_and_the_metrics(start):
    daemon = start()
    headers, answer = chat(daemon)
    cost = cost_of(answer["usage"])
    assert headers["x-lmbroker-cost"] == cost
    assert chat(daemon, "unpriced")[0]["x-lmbroker-cost"] is None
    headers, _ = chat(daemon, stream=True, stream_options={"include_usage": True})
    assert headers["x-lmbroker-cost"] is None
    unary, unpriced, streamed = daemon.access_lines(3)
    assert unary["cost"] == streamed["cost"] == cost
    assert "cost" not in unpriced
    assert unary["tags"] == [TEAM]
    with urllib.request.urlopen(daemon.url + "/metrics") as shown:
        text = shown.read().decode()
    assert 'lmbroker_cost_usd_total{alias="priced",backend=' in text
    assert TEAM not in text


@pytest.mark.parametrize("workers", [(), ("--workers", "2")])
def test_each_caller_sees_its_own_usage(start, workers, tmp_path, capsys):
    daemon = start(*workers)
    for _ in range(4):
        _, answer = chat(daemon)
    chat(daemon, caller="bob")
    daemon.access_lines(5)
    daemon.stop()
    assert main(["usage", "--file", str(tmp_path / "usage.sqlite"), "--json"]) == 0
    rows = {row["caller"]: row for row in json.loads(capsys.readouterr().out)}
    assert (rows["ann"]["calls"], rows["bob"]["calls"]) == (4, 1)
    assert float(rows["ann"]["cost"]) == pytest.approx(4 * float(cost_of(answer["usage"])))
    daemon = start(*workers)
    _, shown = ask(daemon, "/v1/usage?since=1d&by=model,tag1", caller="bob")
    assert (shown["object"], shown["caller"]) == ("usage", "bob")
    [row] = shown["data"]
    assert (row["model"], row["tag1"], row["calls"]) == ("echo", TEAM, 1)


@pytest.mark.parametrize("query", ["since=yesterday", "by=colour"])
def test_questions_about_usage_that_nobody_can_answer(start, query):
    daemon = start()
    status, message = refused(daemon, f"/v1/usage?{query}")
    assert status == 400
    assert "expected" in message


def test_without_a_key_nobody_sees_usage(start):
    daemon = start()
    assert refused(daemon, "/v1/usage", caller="carl")[0] == 401


def test_a_daemon_that_is_killed_loses_what_is_younger_than_a_second(start, tmp_path):
    daemon = start()
    chat(daemon)
    file = tmp_path / "usage.sqlite"

    def kept():
        with sqlite3.connect(file) as connection:
            found = connection.execute("SELECT sum(calls) FROM hours").fetchone()[0]
        connection.close()
        return found

    # Reading it through the daemon writes it.
    ask(daemon, "/v1/usage")
    assert kept() == 1
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    assert kept() == 1
