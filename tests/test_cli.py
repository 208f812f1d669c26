"""The ``lmbroker`` command."""

import io
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lmbroker import __version__
from lmbroker.commands.cli import main
from lmbroker.commands.output import Progress
from lmbroker.routing.keys import hash_of
from lmbroker.translation.profiles.profile import Profile

CONFIG = """
[server]
listen = ["unix:/run/x.sock", "tcp:80"]
open = true

[[models]]
alias = "fast"
type = "openai"
target = { url = "https://api.openai.com", model = "gpt-4.1-mini", api_key = "env:TEST_KEY" }

[[models]]
alias = "claude-with-a-long-name"
type = "anthropic"
target = { url = "http://localhost:8000", api_key = "sk-literal" }
mode = "strict"

[[models]]
alias = "local"
type = "openai"
target = { url = "http://localhost:8000", model = "q" }
[models.profile]
max_tokens_field = "max_completion_tokens"
"""

ASK_ANTHROPIC = {
    "model": "any",
    "max_tokens": 100,
    "top_k": 5,
    "messages": [{"role": "user", "content": "hi"}],
}
ASK_OPENAI = {"model": "any", "messages": [{"role": "user", "content": "hi"}]}
TOLD_ANTHROPIC = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "claude-x",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
TOLD_OPENAI = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1,
    "model": "gpt-x",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hello"},
            "finish_reason": "stop",
        }
    ],
}


def chunk(**choice):
    return b"data: " + json.dumps(
        {"id": "chatcmpl-1", "model": "gpt-x", "choices": [{"index": 0, "delta": {}, **choice}]}
    ).encode() + b"\n\n"  # fmt: skip


STREAM_OPENAI = (
    chunk(delta={"role": "assistant", "content": "hel"})
    + chunk(delta={"content": "lo"})
    + chunk(finish_reason="stop")
    + b"data: [DONE]\n\n"
)
CUT_OPENAI = chunk(delta={"role": "assistant", "content": "hel"})


@pytest.fixture
def config(tmp_path, monkeypatch):
    """The path of ``CONFIG`` on the disk, with its key in the environment."""
    monkeypatch.setenv("TEST_KEY", "from-the-environment")
    path = tmp_path / "c.toml"
    path.write_text(CONFIG)
    path.chmod(0o600)
    return str(path)


@pytest.fixture
def run(capsysbinary, monkeypatch):
    """Run the command on stdin's bytes or JSON: (exit code, stdout, lines of stderr)."""

    def run(*arguments, given=b""):
        if not isinstance(given, bytes):
            given = json.dumps(given).encode()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(given)))
        code = main(arguments)
        out, err = capsysbinary.readouterr()
        return code, out, err.decode().splitlines()

    return run


# lmbroker check


def test_check_prints_the_routing_table(run, config):
    code, out, err = run("check", "--config", config)
    assert code == 0
    assert out.decode().splitlines() == [
        "alias                    type       backend           url                        "
        "model                    key                 mode",
        "fast                     openai     api.openai.com    https://api.openai.com/v1  "
        "gpt-4.1-mini             env:TEST_KEY (set)",
        "claude-with-a-long-name  anthropic  localhost-8000    http://localhost:8000/v1   "
        "claude-with-a-long-name  literal (set)       strict",
        "local                    openai     localhost-8000-2  http://localhost:8000/v1   "
        "q                        -",
        "",
        "backend           operation     url",
        "api.openai.com    chat          https://api.openai.com/v1/chat/completions",
        "api.openai.com    completions   https://api.openai.com/v1/completions",
        "api.openai.com    embeddings    https://api.openai.com/v1/embeddings",
        "api.openai.com    models        https://api.openai.com/v1/models",
        "localhost-8000    chat          http://localhost:8000/v1/messages",
        "localhost-8000    count_tokens  http://localhost:8000/v1/messages/count_tokens",
        "localhost-8000    models        http://localhost:8000/v1/models",
        "localhost-8000-2  chat          http://localhost:8000/v1/chat/completions",
        "localhost-8000-2  completions   http://localhost:8000/v1/completions",
        "localhost-8000-2  embeddings    http://localhost:8000/v1/embeddings",
        "localhost-8000-2  models        http://localhost:8000/v1/models",
        "",
        "listens on unix:/run/x.sock",
        "listens on tcp:80",
    ]
    assert err == [
        f"warning: {config}: server.listen[1]: other machines reach it, and no client needs a key",
        f"warning: {config}: models[1].target.api_key: the key stands in the file itself; "
        'use "env:NAME" or "file:/path" (alias "claude-with-a-long-name")',
    ]


def test_check_never_prints_a_secret(run, config):
    _, out, err = run("check", "--config", config)
    told = out.decode() + "\n".join(err)
    assert "sk-literal" not in told and "from-the-environment" not in told


def test_check_has_modes_only_where_one_differs(run, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(
        '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "practice:", model = "echo" }'
    )
    assert run("check", "--config", str(path)) == (
        0,
        b"alias  type    backend   url        model  key\n"
        b"m      openai  practice  practice:  echo   -\n"
        b"\n"
        b"listens on tcp:8080:interface=127.0.0.1\n",
        [],
    )


def test_check_prints_an_exact_root_with_its_query(run, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(
        '[[models]]\nalias = "m"\ntype = "openai"\n[models.target]\nmodel = "d"\n'
        'root = "https://r.openai.azure.com/openai/deployments/d/"\n'
        'query = { api-version = "2024-10-21" }\n'
    )
    code, out, _ = run("check", "--config", str(path))
    assert code == 0
    assert (
        "https://r.openai.azure.com/openai/deployments/d/chat/completions?api-version=2024-10-21"
        in out.decode()
    )


def test_check_tells_what_workers_mean_for_bounds(run, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text(
        '[server]\nworkers = 3\n[[backends]]\nname = "gpu"\ntype = "openai"\n'
        'url = "http://localhost:8000"\nmax_in_flight = 4\n'
        '[[models]]\nalias = "m"\ntargets = [{ backend = "gpu", model = "q" }]\n'
    )
    code, out, _ = run("check", "--config", str(path))
    assert code == 0
    assert out.decode().splitlines()[-2:] == [
        "3 workers: [limits] and max_in_flight are those of each, limits.rules of all",
        "backend gpu gets up to 12 calls at once",
    ]


def test_check_tells_every_mistake(run, tmp_path):
    path = tmp_path / "c.toml"
    path.write_text('log_level = "loud"\n[[models]]\nalias = "m"\ntype = "openai"\n')
    code, out, err = run("check", "--config", str(path))
    assert (code, out) == (1, b"")
    assert err == [
        f"{path}: log_level: found a string ('loud'), expected one of "
        '"debug", "info", "warning", "warn", "error", "critical"',
        f'{path}: models[0].target: found nothing, expected a table (alias "m")',
    ]


def test_check_of_a_file_that_is_not_there(run):
    assert run("check", "--config", "/nowhere.toml") == (
        1,
        b"",
        ["/nowhere.toml: cannot be read: No such file or directory"],
    )


# lmbroker translate


def test_a_request(run):
    code, out, err = run("translate", "--from", "anthropic", "--to", "openai", given=ASK_ANTHROPIC)
    assert code == 0
    assert out.endswith(b"}\n") and b": " not in out
    assert json.loads(out) == {
        "model": "any",
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 100,
    }
    assert err == ["dropped: top_k"]


def test_a_request_of_the_other_dialect(run):
    code, out, err = run(
        *("translate", "--from", "openai", "--to", "anthropic", "--request"),
        *("--model", "claude-sonnet-4-6"),
        given=ASK_OPENAI,
    )
    told = json.loads(out)
    assert (code, err, told["model"]) == (0, [], "claude-sonnet-4-6")
    assert told["max_tokens"] == 64_000, "what is known of the model counts"


def test_a_request_for_an_alias(run, config):
    code, out, err = run(
        *("translate", "--from", "anthropic", "--to", "openai"),
        *("--config", config, "--alias", "local"),
        given=ASK_ANTHROPIC,
    )
    told = json.loads(out)
    assert (code, told["model"], told["max_completion_tokens"]) == (0, "q", 100)
    assert err == ["dropped: top_k"]


def test_an_alias_of_the_configuration_that_is_found(run, config, monkeypatch):
    monkeypatch.chdir(Path(config).parent)
    Path(config).rename("config.toml")
    arguments = ("translate", "--from", "anthropic", "--to", "openai", "--alias", "fast")
    code, out, _ = run(*arguments, given=ASK_ANTHROPIC)
    assert (code, json.loads(out)["model"]) == (0, "gpt-4.1-mini")


@pytest.mark.parametrize(
    ("arguments", "given", "line"),
    [
        (
            ["--mode", "strict"],
            ASK_ANTHROPIC,
            "refused: 'top_k' cannot be served by the backend of model 'any' (openai)",
        ),
        ([], b"{", "refused: the request body is not a valid JSON object"),
        ([], {"messages": []}, "refused: you must provide a model: the body has no 'model'"),
        ([], {"model": "m", "max_tokens": 1}, "refused: "),
    ],
)
def test_a_request_that_is_refused(run, arguments, given, line):
    code, out, err = run(
        "translate", "--from", "anthropic", "--to", "openai", *arguments, given=given
    )
    assert (code, out) == (1, b"")
    (told,) = err
    assert told.startswith(line)


def test_the_mode_of_an_alias_counts_unless_another_is_given(run, config):
    asked = {**ASK_OPENAI, "seed": 1}
    arguments = (
        *("translate", "--from", "openai", "--to", "anthropic"),
        *("--config", config, "--alias", "claude-with-a-long-name"),
    )
    code, out, (told,) = run(*arguments, given=asked)
    assert (code, out) == (1, b"")
    assert told.startswith("refused: 'seed' cannot be served")
    code, out, err = run(*arguments, "--mode", "default", given=asked)
    assert (code, err) == (0, ["dropped: seed"])


@pytest.mark.parametrize(
    ("alias", "line"),
    [
        ("nobody", "no model has the alias 'nobody'"),
        ("fast", "the backend of 'fast' speaks openai, not anthropic"),
    ],
)
def test_an_alias_that_does_not_fit(run, config, alias, line):
    code, _, err = run(
        *("translate", "--from", "openai", "--to", "anthropic"),
        *("--config", config, "--alias", alias),
        given=ASK_OPENAI,
    )
    assert (code, err) == (1, [f"{config}: {line}"])


def test_an_answer_from_anthropic(run):
    code, out, err = run(
        "translate", "--from", "anthropic", "--to", "openai", "--response", given=TOLD_ANTHROPIC
    )
    told = json.loads(out)
    assert (code, err) == (0, [])
    assert (told["id"], told["model"], told["created"]) == ("chatcmpl-1", "claude-x", 0)
    assert told["choices"][0]["message"]["content"] == "hello"
    assert told["usage"]["total_tokens"] == 5


def test_an_answer_from_openai(run):
    code, out, err = run(
        *("translate", "--from", "openai", "--to", "anthropic", "--response", "--model", "mine"),
        given=TOLD_OPENAI,
    )
    told = json.loads(out)
    assert (code, err) == (0, ["estimated: usage"])
    assert (told["model"], told["stop_reason"]) == ("mine", "end_turn")
    assert told["content"] == [{"type": "text", "text": "hello"}]


def test_an_answer_has_the_name_of_the_alias(run, config):
    _, out, _ = run(
        *("translate", "--from", "openai", "--to", "anthropic", "--response"),
        *("--config", config, "--alias", "fast"),
        given=TOLD_OPENAI,
    )
    assert json.loads(out)["model"] == "fast"


def test_an_answer_that_is_an_error(run):
    code, out, err = run(
        *("translate", "--from", "openai", "--to", "anthropic", "--response"),
        given={"error": {"message": "no\nmore", "type": "invalid_request_error"}},
    )
    assert (code, out, err) == (1, b"", ["error: no more"])


def test_a_stream_from_openai(run):
    code, out, err = run(
        "translate", "--from", "openai", "--to", "anthropic", "--stream", given=STREAM_OPENAI
    )
    assert (code, err) == (0, ["estimated: usage"])
    assert out.startswith(b"event: message_start\n")
    assert b'"model":"gpt-x"' in out
    assert b"".join(
        json.loads(line[6:])["delta"]["text"].encode()
        for line in out.splitlines()
        if b'"text_delta"' in line
    ) == b"hello"  # fmt: skip
    assert out.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_there_and_back(run):
    """What comes out of a translated stream can be translated back."""
    _, there, _ = run(
        "translate", "--from", "openai", "--to", "anthropic", "--stream", given=STREAM_OPENAI
    )
    code, back, err = run(
        "translate", "--from", "anthropic", "--to", "openai", "--stream", given=there
    )
    assert (code, err) == (0, [])
    assert back.endswith(b"data: [DONE]\n\n")
    assert b'"usage":{' in back


@pytest.mark.parametrize("other", ["openai", "anthropic"])
def test_there_and_back_by_way_of_responses(run, other):
    given = STREAM_OPENAI
    if other == "anthropic":
        to_anthropic = ("translate", "--from", "openai", "--to", "anthropic", "--stream")
        given = run(*to_anthropic, given=given)[1]
    code, there, err = run(
        "translate", "--from", other, "--to", "responses", "--stream", given=given
    )
    assert (code, err) == (0, ["estimated: usage"] if other == "openai" else [])
    assert there.startswith(b"event: response.created\n") and b"response.completed" in there
    code, back, err = run(
        "translate", "--from", "responses", "--to", other, "--stream", given=there
    )
    assert (code, err) == (0, [])
    text = b"".join(re.findall(rb'"(?:content|text)":"(\w+)"', back))
    assert text == b"hello"


def test_a_request_of_responses(run):
    given = {
        "model": "any",
        "instructions": "Be brief.",
        "input": "hi",
        "previous_response_id": None,
        "max_tool_calls": 3,
    }
    code, out, err = run("translate", "--from", "responses", "--to", "openai", given=given)
    assert (code, err) == (0, ["dropped: max_tool_calls"])
    assert [message["content"] for message in json.loads(out)["messages"]] == ["Be brief.", "hi"]
    given["previous_response_id"] = "resp_1"
    code, out, err = run("translate", "--from", "responses", "--to", "openai", given=given)
    assert code == 1 and "previous_response_id" in err[0]


def test_a_stream_that_breaks(run):
    code, out, err = run(
        "translate", "--from", "openai", "--to", "anthropic", "--stream", given=CUT_OPENAI
    )
    assert code == 1
    assert b"event: error\n" in out
    assert err == ["error: upstream closed the stream before completing the response"]


def test_a_stream_that_begins_with_an_error(run):
    code, out, err = run(
        *("translate", "--from", "openai", "--to", "anthropic", "--stream"),
        given=b'data: {"error": {"message": "no"}}\n\n',
    )
    assert (code, out, err) == (1, b"", ["error: no"])


@pytest.mark.parametrize("what", ["--request", "--response", "--stream"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic", "responses"])
def test_the_same_dialect_is_passed_through(run, dialect, what):
    assert run("translate", "--from", dialect, "--to", dialect, what, given=b"?") == (
        0,
        b"",
        [f"{dialect} to {dialect} is passed through: only 'model' is rewritten"],
    )


def test_the_same_in_gives_the_same_out(run):
    arguments = ("translate", "--from", "anthropic", "--to", "openai", "--response")
    given = {**TOLD_ANTHROPIC, "id": ""}
    assert run(*arguments, given=given) == run(*arguments, given=given)


# The command itself


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["nonsense"],
        ["translate"],
        ["translate", "--from", "openai"],
        ["translate", "--from", "openai", "--to", "gemini"],
        ["translate", "--from", "openai", "--to", "anthropic", "--request", "--stream"],
        ["translate", "--from", "openai", "--to", "anthropic", "--config", "c"],
        ["init", "--print", "--anthropic", "--claude-code"],
        ["init", "--print", "--ollama", "nonsense"],
    ],
)
def test_wrong_usage_is_exit_code_2(run, arguments):
    with pytest.raises(SystemExit) as ending:
        run(*arguments)
    assert ending.value.code == 2


@pytest.mark.parametrize("arguments", [["--help"], ["check", "--help"], ["translate", "--help"]])
def test_help(run, arguments):
    with pytest.raises(SystemExit) as ending:
        run(*arguments)
    assert ending.value.code == 0


@pytest.mark.process
def test_the_installed_command(tmp_path):
    """Its entry point exists, and it does without Twisted."""
    program = (
        "import sys\n"
        "from importlib.metadata import entry_points\n"
        "(command,) = entry_points(group='console_scripts', name='lmbroker')\n"
        "main = command.load()\n"
        "assert not any(name.startswith(('twisted', 'treq', 'klein')) for name in sys.modules)\n"
        "sys.exit(main(['--version']))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, f"lmbroker {__version__}\n"), done.stderr


@pytest.mark.process
def test_whoever_reads_may_leave(tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "http://b" }\n')
    program = "import sys; from lmbroker.commands.cli import main; sys.exit(main())"
    arguments = ["explain", "--config", config, "--alias", "m", "--no-request"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    process.stdout.close()
    assert (process.stderr.read(), process.wait(10)) == (b"", 141)
    process.stderr.close()


@pytest.mark.process
def test_a_stream_is_translated_as_it_comes():
    """The first event leaves before the last one is here."""
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", "from lmbroker.commands.cli import main; main()", "translate"),
            *("--from", "openai", "--to", "anthropic", "--stream"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with process:
        process.stdin.write(CUT_OPENAI)
        process.stdin.flush()
        assert process.stdout.readline() == b"event: message_start\n"
        process.stdin.write(STREAM_OPENAI.removeprefix(CUT_OPENAI))
        process.stdin.close()
        assert process.stdout.read().endswith(b'{"type":"message_stop"}\n\n')
        process.stderr.read()


# lmbroker explain and genkey

SEVERAL = """
[[backends]]
name = "one"
type = "anthropic"
url = "https://one"
api_key = "env:TEST_KEY"
[[backends]]
name = "two"
type = "openai"
url = "https://two"
headers = { x-extra = "1", x-gate = "env:TEST_KEY" }
[[models]]
alias = "best-*"
strategy = "weighted"
targets = [
  { backend = "one", model = "claude-sonnet-4-6", weight = 3 },
  { backend = "two", model = "*" },
]
[[models]]
alias = "capped"
limits = { max_tokens = 5 }
targets = [{ backend = "two" }]
"""


@pytest.fixture
def several(tmp_path, monkeypatch):
    monkeypatch.setenv("TEST_KEY", SECRET)
    path = tmp_path / "several.toml"
    path.write_text(SEVERAL)
    return str(path)


SECRET = "sk-do-not-show-this-key"


def test_explain_tells_where_a_call_would_go_and_what_it_would_be(run, several):
    request = {"model": "best-x", "seed": 3, "messages": [{"role": "user", "content": "hi"}]}
    code, out, err = run("explain", "--config", several, "--alias", "best-x", given=request)
    assert (code, err) == (0, [])
    lines = out.decode().splitlines()
    assert lines[:4] == [
        "'best-x' leads to the alias 'best-*'",
        "targets, drawn by weight:",
        "  1. one (anthropic, https://one/v1) model claude-sonnet-4-6: translated, weight 3, "
        "keys env:TEST_KEY",
        "  2. two (openai, https://two/v1) model best-x: passed through, weight 1, no key",
    ]
    assert "  dropped: seed" in lines
    assert "POST https://one/v1/messages" in lines
    assert "x-api-key: ***" in lines
    assert json.loads(lines[-1])["messages"][0]["role"] == "user"
    assert SECRET.encode() not in out


def test_explain_prints_the_profile_and_where_each_value_comes_from(run, tmp_path):
    path = tmp_path / "profiles.toml"
    path.write_text(
        """
        [[backends]]
        name = "groq"
        type = "openai"
        url = "https://api.groq.com/openai"
        [[models]]
        alias = "quick"
        profile = { vision = false, stop_max = 4 }
        targets = [
          { backend = "groq", model = "qwen/qwen3-32b", profile = { stop_max = 2 } },
          { backend = "groq", model = "house-model" },
        ]
        """
    )
    code, out, _ = run("explain", "--config", str(path), "--alias", "quick", "--no-request")
    first, second = out.decode().partition("profile at 1.:\n")[2].split("profile at 2.:\n")
    assert code == 0
    assert {
        '  max_tokens_field = "max_completion_tokens" (host)',
        "  system_first_only = true (built in)",
        "  max_output = unknown (built in)",
        "  vision = false (configured)",
        "  stop_max = 2 (configured at the target)",
    } <= set(first.splitlines())
    assert {"  stop_max = 4 (configured)", "  system_first_only = false (built in)"} <= set(
        second.splitlines()
    )
    assert len(first.splitlines()) == len(Profile.__struct_fields__)
    request = {"model": "quick", "max_tokens": 9, "messages": [], "stop_sequences": list("abc")}
    request["messages"] = [{"role": "user", "content": "hi"}]
    _, out, _ = run(
        *("explain", "--config", str(path), "--alias", "quick", "--from", "anthropic"),
        given=request,
    )
    assert json.loads(out.decode().splitlines()[-1])["stop"] == ["a", "b"]


def test_explain_shows_headers_and_no_secret_of_them(run, several):
    request = {"model": "capped", "max_tokens": 5, "messages": []}
    code, out, _ = run("explain", "--config", several, "--alias", "capped", given=request)
    lines = out.decode().splitlines()
    assert code == 0 and {"x-extra: 1", "x-gate: ***", "at most max_tokens 5"} <= set(lines)
    assert SECRET.encode() not in out


def test_explain_refuses_what_is_over_a_cap(run, several):
    request = {"model": "capped", "max_tokens": 6, "messages": []}
    code, _, err = run("explain", "--config", several, "--alias", "capped", given=request)
    assert (code, err) == (1, ["refused: 'max_tokens' may be at most 5 for this model"])


def test_explain_without_a_request(run, several):
    code, out, _ = run(
        "explain", "--config", several, "--alias", "best-x", "--from", "anthropic", "--no-request"
    )
    assert code == 0
    assert b"passed through, weight 3" in out and b"POST" not in out


def test_explain_a_name_that_leads_nowhere(run, several):
    code, _, err = run("explain", "--config", several, "--alias", "other", "--no-request")
    assert code == 1
    assert "does not exist" in err[0]


def test_a_new_key_and_its_hash(run):
    code, out, _ = run("genkey")
    assert code == 0
    key, digest = (line.split()[1] for line in out.decode().splitlines())
    assert key.startswith("lmb-") and len(key) > 40
    assert digest == hash_of(key)
    assert run("genkey")[1] != out


# How far long work has come.


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_progress_is_one_line_at_a_terminal():
    terminal = Terminal()
    progress = Progress(2, "calls", terminal)
    progress.clear()
    progress.step()
    progress.step()
    progress.clear()
    lines = terminal.getvalue().split("\r\x1b[K")
    assert lines == ["", "1 of 2 calls", "2 of 2 calls", ""]


def test_progress_is_nothing_elsewhere():
    elsewhere = io.StringIO()
    progress = Progress(2, "calls", elsewhere)
    progress.step()
    progress.clear()
    assert elsewhere.getvalue() == ""
