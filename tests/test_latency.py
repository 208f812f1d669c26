"""``lmbroker bench``: what the broker adds to a backend's latency."""

import json
import signal
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from lmbroker.call import Backend, Target
from lmbroker.commands.cli import main
from lmbroker.commands.latency import (
    MAX_TOKENS,
    Plan,
    Timing,
    announced,
    quantile,
    report,
    surely_between,
)
from lmbroker.routing.aliases import Route

PRACTICE = """
[[models]]
alias = "o"
type = "openai"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "a"
type = "anthropic"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "r"
type = "responses"
target = { url = "practice:", model = "echo" }
[[models]]
alias = "refused"
type = "openai"
target = { url = "practice:", model = "fail-401" }
[[models]]
alias = "cut"
type = "anthropic"
target = { url = "practice:", model = "cut" }
[[models]]
alias = "any-*"
type = "openai"
target = { url = "practice:", model = "*" }
"""
KEY = "sk-bench-0123456789abcdef"
ONE = """
[[keys]]
name = "client"
key = "env:CLIENT_KEY"
[[models]]
alias = "m"
type = "openai"
target = { url = "http://127.0.0.1:PORT", model = "served", api_key = "env:BACKEND_KEY" }
"""
ANSWER = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "served",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "one"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10},
}


@pytest.fixture
def start(tmp_path):
    """Start the command in a process of its own, over a config of one's own."""

    def start(config, *arguments, **environ):
        path = tmp_path / "c.toml"
        path.write_text(config)
        command = [
            sys.executable,
            "-c",
            "import sys; from lmbroker.commands.cli import main; sys.exit(main())",
        ]
        return subprocess.Popen(
            [*command, "bench", "--config", str(path), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environ or None,
        )

    return start


@pytest.fixture
def run(start):
    """Its exit code, what it printed, and what it printed as errors."""

    def run(*arguments, **environ):
        process = start(*arguments, **environ)
        out, err = process.communicate(timeout=30)
        return process.returncode, out, err

    return run


class Backing(ThreadingHTTPServer):
    """A backend that notes what it is asked; ``status`` and ``answer`` are what it says."""

    daemon_threads = True

    def __init__(self):
        self.status, self.answer, self.asked = 200, ANSWER, []
        super().__init__(("127.0.0.1", 0), _Backing)


class _Backing(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append((self.path, self.headers["authorization"], body))
        said = json.dumps(self.server.answer).encode()
        self.send_response(self.server.status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *arguments): ...


@pytest.fixture
def backing():
    server = Backing()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.process
@pytest.mark.parametrize(
    ("arguments", "way", "tables"),
    [
        (["--alias", "o"], "passed through, streamed", ["first event", "whole answer"]),
        (["--alias", "o", "--no-stream"], "passed through, not streamed", ["whole answer"]),
        (
            ["--alias", "a", "--from", "openai"],
            "translated, streamed",
            ["first event", "whole answer"],
        ),
        (["--alias", "r"], "passed through, streamed", ["first event", "whole answer"]),
        (
            ["--alias", "r", "--from", "anthropic", "--no-stream"],
            "translated, not streamed",
            ["whole answer"],
        ),
        (
            ["--alias", "a", "--from", "responses"],
            "translated, streamed",
            ["first event", "whole answer"],
        ),
        (["--alias", "any-model"], "passed through, streamed", ["first event", "whole answer"]),
    ],
)
def test_the_practice_backend(run, arguments, way, tables):
    code, out, err = run(PRACTICE, *arguments, "--calls", "3", "--rate", "20")
    assert (code, err) == (0, ""), out + err
    told = out.splitlines()
    assert told[1].startswith(f"8 calls, 4 to the backend and 4 through the broker ({way}), ")
    assert told[2].startswith("each may answer with 16 tokens: about 256 tokens")
    for row in ("to the backend", "through the broker", "difference"):
        (line,) = [line for line in told if line.startswith(row + "  ")]
        figures = [float(figure) for figure in line.removeprefix(row).split()]
        assert len(figures) == 2 * len(tables)
        assert row == "difference" or all(figure > 0 for figure in figures)
    added = [line.partition(": the broker adds ")[0] for line in told if "adds" in line]
    assert added == tables
    assert told[-1].startswith("tokens, as the backend counted them: ")


@pytest.mark.process
@pytest.mark.sockets
def test_both_ways_ask_the_backend_for_the_same_in_turns_and_no_more_often_than_said(run, backing):
    config = ONE.replace("PORT", str(backing.server_port))
    environ = {"BACKEND_KEY": KEY, "CLIENT_KEY": "lmb-of-a-client"}
    code, out, err = run(
        config, "--alias", "m", "--calls", "2", "--rate", "20", "--no-stream", **environ
    )
    assert (code, err) == (0, "")
    assert len(backing.asked) == 2 * (1 + 2)
    assert "tokens, as the backend counted them: 60" in out
    first = backing.asked[0]
    assert set(backing.asked) == {first}, "the same path, key and bytes"
    assert first[:2] == ("/v1/chat/completions", f"Bearer {KEY}")
    asked = json.loads(first[2])
    assert (asked["model"], asked["max_tokens"]) == ("served", MAX_TOKENS)
    assert KEY not in out and "lmb-of-a-client" not in out


@pytest.mark.process
@pytest.mark.sockets
def test_a_backend_that_fails_is_not_asked_again_and_no_secret_is_told(run, backing):
    backing.status = 400
    backing.answer = {"error": {"message": f"the key {KEY} has no access", "type": "x"}}
    config = ONE.replace("PORT", str(backing.server_port))
    code, out, err = run(config, "--alias", "m", BACKEND_KEY=KEY, CLIENT_KEY="lmb-of-a-client")
    assert (code, err) == (1, "")
    assert len(backing.asked) == 1
    assert out.splitlines()[-2:] == [
        "a call to the backend failed: the key *** has no access",
        "given up",
    ]


@pytest.mark.process
@pytest.mark.parametrize(
    ("alias", "said"),
    [
        ("refused", "backend authentication failed"),
        ("cut", "upstream closed the stream before completing the response"),
    ],
)
def test_a_call_that_fails(run, alias, said):
    code, out, err = run(PRACTICE, "--alias", alias, "--rate", "20")
    assert (code, err) == (1, "")
    assert out.splitlines()[-2:] == [f"a call to the backend failed: {said}", "given up"]


@pytest.mark.process
def test_a_name_that_leads_nowhere(run):
    code, out, err = run(PRACTICE, "--alias", "nobody")
    assert (code, out) == (1, "")
    assert err == "refused: model 'nobody' does not exist or is not available to this key\n"


def test_a_mistake_in_the_configuration(capsys):
    assert main(["bench", "--config", "/nowhere.toml", "--alias", "m"]) == 1
    assert capsys.readouterr().err == "/nowhere.toml: cannot be read: No such file or directory\n"


@pytest.mark.process
@pytest.mark.parametrize(
    "arguments",
    [
        ["--calls", "0"],
        ["--calls", "501"],
        ["--rate", "0"],
        ["--rate", "21"],
        ["--rate", "nan"],
        ["--from", "klingon"],
    ],
)
def test_what_is_not_polite_is_no_option(run, arguments):
    code, out, err = run(PRACTICE, "--alias", "o", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("usage: ")


@pytest.mark.process
def test_an_interrupt_ends_it(start):
    process = start(PRACTICE, "--alias", "o")
    while process.stdout.readline() != "\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert (process.returncode, err) == (130, "")


# What is told, without a network.


def pairs(*added):
    """Calls of 100 ms to the backend, and those through the broker, so many ms longer."""
    return [
        (Timing(0.05, 0.1), Timing(0.05 + ms / 2000, 0.1 + ms / 1000)) for ms in added
    ]  # fmt: skip


def test_the_report_of_a_stream():
    assert list(report(pairs(2, 4, 6), stream=True)) == [
        "ms                           first event        whole answer",
        "                           p50       p90       p50       p90",
        "to the backend            50.0      50.0     100.0     100.0",
        "through the broker        52.0      53.0     104.0     106.0",
        "difference                +2.0      +3.0      +4.0      +6.0",
        "",
        "first event: the broker adds +2.0 ms (median of 3 pairs)",
        "whole answer: the broker adds +4.0 ms (median of 3 pairs)",
    ]


def test_what_is_no_more_than_chance_is_said_to_be():
    (line,) = list(report(pairs(-3, -2, -1, 1, 2, 3), stream=False))[-1:]
    assert line == (
        "whole answer: the broker adds -1.0 ms (median of 6 pairs, between -3.0 and +3.0 with "
        "95 % certainty); the backend's own ups and downs are larger than that"
    )


def test_quantiles():
    assert [quantile([3, 1, 2, 4], share) for share in (0, 0.25, 0.5, 0.9, 1)] == [1, 1, 2, 4, 4]
    assert quantile([7.0], 0.9) == 7.0


def test_the_median_of_twenty_lies_between_the_sixth_and_the_fifteenth():
    """The sign test's table: 6 values have their extremes, 20 the sixth, 50 the eighteenth."""
    assert surely_between(range(1, 7)) == (1, 6)
    assert surely_between(range(1, 21)) == (6, 15)
    assert surely_between(range(1, 51)) == (18, 33)


def test_of_several_targets_the_first_is_measured_and_it_is_said():
    backend = Backend(name="b", url="http://127.0.0.1:1/v1", dialect="openai")
    other = Backend(name="c", url="http://127.0.0.1:2/v1", dialect="openai")
    route = Route(
        name="m", targets=(Target(backend=backend, model="x"), Target(backend=other, model="y"))
    )
    told = list(announced(route, Plan(alias="m")))
    assert told[:2] == [
        "m: b (openai, http://127.0.0.1:1/v1) model x",
        "the first of its 2 targets only",
    ]
