"""No credential and nothing of the contents comes out where it does not belong.

Every place that can hold a secret or a part of a conversation holds a canary; the broker is led
through successes, refusals and all faults of the practice backend, and through a backend that
repeats its credential and the prompt in whatever it says. Then the log at level debug, the
metrics, the errors that clients got, and what objects print are searched.
"""

import http.client
import json
import signal
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from io import StringIO
from pathlib import Path

import msgspec
import pytest
import pytest_twisted
from canary import (
    BACKEND_KEYS,
    BY_ENV,
    BY_FILE,
    CLIENT_HASHED,
    CLIENT_PLAIN,
    CLIENT_WRONG,
    CONTENTS,
    LITERAL,
    PATHS,
    PROMPT,
    REQUESTS,
    SECRETS,
    Parrot,
    found,
    spellings,
)
from rig import Rig
from test_tracing_daemon import serving, spans_at
from twisted.internet.threads import deferToThread
from twisted.logger import globalLogPublisher

from lmbroker import envelope
from lmbroker.call import Attempt, Call, Timeouts
from lmbroker.commands.cli import main
from lmbroker.config.config import parse
from lmbroker.errors import Refused
from lmbroker.observers.access_log import AccessLog, access_fields
from lmbroker.observers.json_log import JSONLog
from lmbroker.routing.keys import hash_of
from lmbroker.secret import Secret
from lmbroker.tap import BAD_CONFIGURATION
from lmbroker.workflows import workflow_for

DIALECTS = ("openai", "anthropic", "responses")
PARROT = (
    *(f"status-{each}" for each in (200, 400, 401, 403, 404, 422, 429, 500, 503, 529)),
    *("text-400", "text-500", "html-200", "html-400", "html-502", "odd-400", "odd-422"),
    *("moved", "no-http", "first", "mid", "learn", "blame"),
)
PRACTICE = (
    *("echo", "empty", "cut", "cut-clean", "reset", "stall", "hang", "html", "garbage"),
    *("error-first", "error-mid", "json-for-stream", "stream-for-json", "slow-1", "long-9"),
    *(f"fail-{status}" for status in (400, 401, 403, 404, 429, 500, 503, 529)),
)
HEAD = f"""
log_level = "debug"
[server]
host = "127.0.0.1"
port = PORT
control = "CONTROL"
[timeouts]
headers = 0.6
first_event = 0.6
idle = 0.6
commit = 0.3
[retries]
first_pause = 0.01
longest_pause = 0.02
[[keys]]
name = "hashed"
hash = "{hash_of(CLIENT_HASHED)}"
[[keys]]
name = "plain"
key = "env:CLIENT_KEY"
"""
MODEL = """
[[models]]
alias = "{dialect}-{model}"
type = "{dialect}"
target = {{ url = "{url}", model = "{model}", api_key = "{key}", headers = {{ x-gate = "{key}" }} }}
"""
SEVERAL = """
[[backends]]
name = "several"
type = "openai"
url = "{url}"
api_keys = [{keys}]
[[models]]
alias = "several-status-401"
targets = [{{ backend = "several", model = "status-401" }}]
"""
MANY = 12
"""Requests at a time."""
ENVIRONMENT = {"BACKEND_KEY": BY_ENV, "CLIENT_KEY": CLIENT_PLAIN}


def configuration(folder, port=1):
    """All models at both backends, the parrot on ``port``; keys by turns from all three places."""
    file = folder / "backend.key"
    file.write_text(BY_FILE)
    keys = ("env:BACKEND_KEY", f"file:{file}", LITERAL)
    text, number = HEAD.replace("CONTROL", str(folder / "control.sock")), 0
    for url, models in ((f"http://127.0.0.1:{port}", PARROT), ("practice:", PRACTICE)):
        for model in models:
            for dialect in DIALECTS:
                key = keys[number % 3]
                text += MODEL.format(dialect=dialect, model=model, url=url, key=key)
                number += 1
    several = ", ".join(f'"{key}"' for key in keys)
    return text + SEVERAL.format(url=f"http://127.0.0.1:{port}", keys=several)


@pytest.fixture
def parrot():
    parrot = Parrot()
    yield parrot
    parrot.close()


@pytest.fixture
def receiver():
    """Who takes the spans."""
    with serving(b"", "application/x-protobuf") as server:
        yield server


@pytest.fixture
def broker(start_daemon, tmp_path, parrot, receiver):
    """The running daemon."""
    text = configuration(tmp_path, parrot.port)
    text += f'[tracing]\nendpoint = "http://127.0.0.1:{receiver.server_port}"\n'
    daemon = start_daemon(text, environ=ENVIRONMENT)
    daemon.config.chmod(0o600)
    return daemon.wait()


def send(port, path, body=None, headers=(), method=None):
    """(status, headers as text, body); status 0 where there was no whole head."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
    try:
        connection.request(method or ("GET" if data is None else "POST"), path, data, dict(headers))
        response = connection.getresponse()
        try:
            told = response.read()
        except http.client.IncompleteRead as cut:
            told = cut.partial
        return response.status, str(response.headers), told
    except (http.client.HTTPException, OSError):
        return 0, "", b""
    finally:
        connection.close()


def at_once(jobs):
    """The results of functions without arguments."""
    with ThreadPoolExecutor(MANY) as pool:
        return list(pool.map(lambda job: job(), jobs))


KEY_HEADERS = (
    {"authorization": f"Bearer {CLIENT_HASHED}"},
    {"x-api-key": CLIENT_PLAIN},
)


def calls(port, models, backends=DIALECTS):
    """Jobs that call ``models`` in all ways: each dialect to each, whole and streamed."""

    def job(client, alias, stream):
        def run():
            body = REQUESTS[client](alias, stream=stream)
            path = f"{PATHS[client]}?beta=true"
            return alias, *send(port, path, body, KEY_HEADERS[stream])

        return run

    return [
        job(client, f"{backend}-{model}", stream)
        for model in models
        for backend in backends
        for client in DIALECTS
        for stream in (False, True)
    ]


def leaks_of(text, canaries=(*SECRETS, *CONTENTS)):
    """Every line of ``text`` that has one of ``canaries``."""
    return [(canary, line) for line in text.splitlines() for canary, _ in found(line, canaries)]


# The canaries themselves.


@pytest.mark.parametrize("canary", [*SECRETS, *CONTENTS])
def test_a_canary_is_found_in_every_spelling(canary):
    for spelling in spellings(canary):
        assert found(f'{{"a": "x{spelling}y"}}', [canary])
        assert found(spelling.encode(), [canary])
    assert not found("nothing", [canary])


# The daemon.


def test_calls_leave_no_secret_and_no_contents(broker, parrot, receiver):
    answers = at_once(calls(broker.port, (*PARROT, *PRACTICE)))
    answers += at_once(calls(broker.port, ["status-401"], ["several"]))
    assert set(parrot.heard) == set(BACKEND_KEYS), "each kind of key was sent, and the contents"
    assert [each for each in answers if found(each[2] + str(each[3]), SECRETS)] == []
    for alias, status, headers, body in answers:
        # The echo is what was asked for; the parrot's words are a backend's own.
        if status != 200 and alias.partition("-")[2] in PRACTICE:
            assert (alias, found(headers, CONTENTS) + found(body, CONTENTS)) == (alias, [])
    metrics = send(broker.port, "/metrics")[2].decode()
    lines = broker.access_lines(len(answers))
    assert broker.stop() == -signal.SIGTERM
    log = broker.out.read_text()
    assert leaks_of(log) == []
    assert leaks_of(metrics) == []
    for _, _, spans in receiver.received:
        assert found(spans, (*SECRETS, *CONTENTS)) == []
    assert len(spans_at(receiver)) >= 2 * len(answers)
    # It was not silence that was searched.
    assert {line["caller"] for line in lines} == {"hashed", "plain"}
    assert {line.get("outcome") for line in lines} == {"complete", "backend_error", "stream_error"}
    assert {line.get("learned") for line in lines} == {None, "temperature"}
    assert 'lmbroker_learned_total{backend="127.0.0.1' in metrics
    assert "Backend several model status-401 key literal 2: open (backend_auth)" in log
    assert "Traceback" not in log


CAPTURED = ("openai-blame", "anthropic-mid", "responses-status-401", "openai-learn")


def test_captured_calls_have_their_contents_and_no_secret(broker, parrot, tmp_path):
    """Whatever a backend repeats of its key, and wherever a client writes its own."""
    lines = []
    for alias in CAPTURED:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(10)
        line.connect(str(tmp_path / "control.sock"))
        arguments = {"alias": alias, "calls": 6}
        line.sendall(json.dumps({"command": "capture", "arguments": arguments}).encode() + b"\n")
        lines.append(line.makefile("rb"))
        line.close()
        assert json.loads(lines[-1].readline())["kind"] == "on"
    jobs = calls(broker.port, {alias.partition("-")[2] for alias in CAPTURED})
    for client in DIALECTS:
        body = REQUESTS[client]("openai-blame") | {"metadata": {"key": CLIENT_PLAIN}}
        path = f"{PATHS[client]}?api_key={CLIENT_PLAIN}&x={CLIENT_PLAIN}"
        jobs.insert(0, lambda path=path, body=body: send(broker.port, path, body, KEY_HEADERS[1]))
    at_once(jobs)
    for line in lines:
        told = []
        with line:
            while not told or json.loads(told[-1])["kind"] != "done":
                told.append(line.readline())
        assert json.loads(told[-1])["kept"] == 6
        for each in told[:-1]:
            assert found(each, SECRETS) == []
            assert PROMPT.encode() in each and b'"***"' in each
    assert broker.stop() == -signal.SIGTERM
    assert leaks_of(broker.out.read_text()) == []


def words_of(lines):
    """The values of ``code`` in access lines."""
    return {line["code"] for line in lines if "code" in line}


def test_what_a_backend_calls_its_error_is_no_word_of_ours(broker, parrot):
    """A log's codes and the labels of the metrics are ours, whatever codes a backend makes up."""
    models = ("status-200", "status-400", "status-429", "status-500", "first", "mid")
    answers = at_once(calls(broker.port, models))
    words = words_of(broker.access_lines(len(answers)))
    assert words <= {"invalid_request", "rate_limit", "server", "bad_upstream"}
    metrics = send(broker.port, "/metrics")[2].decode()
    results = {
        line.partition('result="')[2].partition('"')[0]
        for line in metrics.splitlines()
        if line.startswith("lmbroker_attempts_total{") and not line.endswith(" 0.0")
    }
    assert results - {"ok"} == words


def strange(port):
    """Jobs: requests that are refused, with canaries where they do not belong."""
    good, plain = KEY_HEADERS[0], {"content-type": "application/json"}
    secret = CLIENT_HASHED
    jobs = []

    def job(*arguments, **options):
        jobs.append(lambda: send(port, *arguments, **options))

    for dialect, path in PATHS.items():
        body = REQUESTS[dialect](f"{dialect}-echo")
        for headers in (
            {},
            {"authorization": f"Bearer {CLIENT_WRONG}"},
            {"authorization": CLIENT_WRONG},
            {"authorization": f"Basic {CLIENT_WRONG}"},
            {"x-api-key": CLIENT_WRONG},
            {"x-api-key": f"{secret} {secret}"},
            {**good, "x-api-key": CLIENT_WRONG},
            {"cookie": f"key={secret}", "x-custom": PROMPT},
        ):
            job(path, body, {**plain, **headers})
        for broken in (
            f'{{"model": "{secret}", "messages": ["{PROMPT}"',
            f'"{PROMPT} {secret}"',
            f'["{PROMPT}"]',
            f'{{"model": ["{secret}"], "messages": "{PROMPT}"}}',
            f'{{"model": "{dialect}-echo", "stream": "{PROMPT}"}}',
            f'{{"model": "{dialect}-echo", "model": "{secret}"}}',
            f'{{"model": "{PROMPT}\\u0000"}}',
            f'{{"model": "{dialect}-echo", "x": {"[" * 5000}"{PROMPT}"{"]" * 5000}}}',
        ):
            job(path, broken.encode(), good)
        job(path, PROMPT.encode() + b"\xff\xfe", good)
        job(path, body, {**good, "x-lmbroker-mode": secret})
        job(path, body, {**good, "expect": secret})
    for path in (
        f"/{secret}",
        f"/v1/{secret}/chat/completions",
        f"/v1/models/{secret}?key={secret}",
        f"/v1/chat/completions/{secret}",
        f"/v1/messages?api_key={secret}",
        f"/metrics/{secret}",
        f"/%ff{secret}",
        f"/{secret}/../v1/models?before_id={secret}",
        f"http://x/{secret}",
    ):
        for method in ("GET", "POST", "DELETE", "OPTIONS"):
            job(path, None if method != "POST" else b"{}", good, method=method)
    return jobs


def raw(port, data):
    """What the broker says to bytes that are no HTTP."""
    with socket.create_connection(("127.0.0.1", port), 5) as line:
        line.sendall(data)
        told = b""
        while piece := line.recv(65536):
            told += piece
        return told


def test_refusals_repeat_nothing(broker):
    refused = at_once(strange(broker.port))
    assert {status for status, _, _ in refused} >= {400, 401, 404, 405}
    secret = CLIENT_HASHED.encode()
    for line in (
        b"GET /" + secret + b" HTTP/9.9\r\n\r\n",
        secret + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: " + secret + b"\r\n" + secret + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nX-A: " + secret * 2000 + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: " + secret + b"\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + secret + b"\r\n",
    ):
        told = raw(broker.port, line)
        assert told.startswith(b"HTTP/1.1 4") and found(told, SECRETS) == []
    # The model's name is the client's own word, and comes back to it alone.
    for status, headers, body in refused:
        if status == 200:
            body = b""
        body = body.replace(f"model '{CLIENT_HASHED}' does not exist".encode(), b"")
        assert (status, found(headers, SECRETS + CONTENTS)) == (status, [])
        assert (status, found(body, SECRETS + CONTENTS)) == (status, [])
    metrics = send(broker.port, "/metrics")[2].decode()
    assert broker.stop() == -signal.SIGTERM
    log = broker.out.read_text()
    assert leaks_of(log) == []
    assert leaks_of(metrics) == []
    assert log.count('"outcome":"refused"') > 20 and "Traceback" not in log


MISPLACED = "sk-ant-api03-Canary0misplaced0by0hand-AA"
"""A key of a known shape, where no key belongs."""
PIN = "918273645546372819"
MISTAKES = (
    f'[[models]]\nalias = "x"\ntype = "{MISPLACED}"\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\ntarget = {{ url = "http://u:{LITERAL}@h" }}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\ntarget = {{ url = "http://h?key={LITERAL}" }}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\ntarget = {{ api_key = ["{LITERAL}"] }}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\ntarget = {{ api_key = "env:{LITERAL}" }}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\ntarget = {{ api_key = "file:{LITERAL}" }}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\ntarget = {{ api_key = "$ {LITERAL}" }}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\ntarget = {{ ca = "{MISPLACED}" }}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\n[models.target]\nurl = "http://h"\n'
    f'{MISPLACED} = "1"\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\n[models.target.headers]\nx = ["{LITERAL}"]\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\n[models.target.headers]\nhost = "{LITERAL}"\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\n[models.target.headers]\nx = {PIN}\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\n[models.target.headers]\nx = "$ {LITERAL}"\n',
    f'[[models]]\nalias = "x"\ntype = "openai"\n[models.target.headers]\nx = "env:{LITERAL}"\n',
    f'[limits.body_by_path]\n"{LITERAL}" = 1\n',
    f'[[keys]]\nname = "x"\nhash = "{CLIENT_PLAIN}"\n',
    f'[[keys]]\nname = "x"\nkey = ["{CLIENT_PLAIN}"]\n',
    f'[[keys]]\nname = "x"\nkey = "{CLIENT_PLAIN}"\nmodels = "{MISPLACED}"\n',
    f'[[models]]\nalias = "x\napi_key = "{LITERAL}"\n',
    f'"{LITERAL}" = \n',
)


def test_a_reload_with_mistakes_tells_no_secret(broker):
    text = broker.config.read_text()
    for number, mistake in enumerate(MISTAKES, 1):
        broker.config.write_text(text + mistake)
        broker.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 10
        while broker.out.read_text().count("was not reloaded") < number:
            assert time.monotonic() < deadline, mistake
            time.sleep(0.01)
    broker.config.write_text(text)
    assert send(broker.port, "/v1/models", headers=KEY_HEADERS[0])[0] == 200
    assert broker.stop() == -signal.SIGTERM
    assert leaks_of(broker.out.read_text(), (*SECRETS, MISPLACED, PIN)) == []


# What is said before anything listens.


@pytest.mark.parametrize("mistake", ["", *MISTAKES])
def test_check_tells_no_secret(tmp_path, monkeypatch, capfd, mistake):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    path = tmp_path / "c.toml"
    path.write_text(configuration(tmp_path).replace("PORT", "8080") + mistake)
    assert main(["check", "--config", str(path)]) == (1 if mistake else 0)
    told = "\n".join(capfd.readouterr())
    assert leaks_of(told, (*SECRETS, MISPLACED, PIN)) == []
    assert "env:BACKEND_KEY (set)" in told or mistake


def test_a_start_with_a_mistake_tells_no_secret(start_daemon):
    daemon = start_daemon(HEAD + MISTAKES[0], environ=ENVIRONMENT)
    assert daemon.process.wait(10) == BAD_CONFIGURATION
    told = daemon.out.read_text()
    assert "models[0].type: found a string ('***')" in told
    assert leaks_of(told, (*SECRETS, MISPLACED, PIN)) == []


# What objects print, and what log events carry that no line of ours shows: another observer,
# given to twistd with --logger, might.


def parsed(text):
    return parse(
        text.replace("PORT", "8080"),
        name="c.toml",
        environ=ENVIRONMENT,
        read_file=lambda path: Path(path).read_text(),
    )


def test_configuration_and_keys_do_not_print_secrets(tmp_path):
    config = parsed(configuration(tmp_path))
    config = msgspec.structs.replace(
        config,
        aliases={
            name: msgspec.structs.replace(
                alias,
                targets=tuple(
                    msgspec.structs.replace(
                        target,
                        backend=msgspec.structs.replace(
                            target.backend, headers=(("x-gateway-key", LITERAL),)
                        ),
                    )
                    for target in alias.targets
                ),
            )
            for name, alias in config.aliases.items()
        },
    )
    route = config.aliases["openai-echo"]
    held = (config, route, *route.targets, route.targets[0].backend, config.keys, *config.keys)
    for each in (*held, Secret(LITERAL)):
        for text in (repr(each), str(each), f"{each}"):
            assert found(text, SECRETS) == []
    assert "Secret(***)" in repr(config)


@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("backend", DIALECTS)
def test_a_call_on_its_way_does_not_print_what_it_carries(tmp_path, client, backend):
    target = parsed(configuration(tmp_path)).aliases[f"{backend}-echo"].targets[0]
    body = json.dumps(REQUESTS[client]("m")).encode()
    call = Call(
        id="req_1",
        operation="chat",
        dialect=client,
        asked="m",
        body=body,
        query=f"key={CLIENT_HASHED}".encode(),
        headers={"authorization": f"Bearer {CLIENT_HASHED}", "x-api-key": CLIENT_PLAIN},
    )
    workflow = workflow_for(call, target)
    outbound = workflow.outbound()
    assert found(outbound.body, CONTENTS), "the canaries are in it"
    attempt = Attempt(target=target, workflow=workflow.name, started=0.0)
    for each in (call, target, attempt, outbound, envelope.read(body), workflow):
        assert found(repr(each), SECRETS + CONTENTS) == []


def leaves(value, path=()):
    """The places within ``value``."""
    yield path
    if isinstance(value, dict | list):
        for key, held in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(held, (*path, key))


def with_value(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = with_value(copy[path[0]], path[1:], new)
    return copy


NUMBER = int(PIN)
WRONG = (PROMPT, [PROMPT], {"type": PROMPT, "text": PROMPT}, [{"type": PROMPT}], NUMBER, True)


@pytest.mark.parametrize("mode", ["default", "strict", "lenient"])
@pytest.mark.parametrize("backend", DIALECTS)
@pytest.mark.parametrize("client", DIALECTS)
def test_a_value_of_a_wrong_kind_is_never_told(tmp_path, client, backend, mode):
    """Anywhere in a request; refusals name its place, and so does the list of what was lost."""
    target = parsed(configuration(tmp_path)).aliases[f"{backend}-echo"].targets[0]
    whole = REQUESTS[client]("m")
    told, refusals = [], 0
    for path in leaves(whole):
        for wrong in WRONG if path != ("model",) else ():
            body = json.dumps(with_value(whole, path, wrong)).encode()
            try:
                head = envelope.read(body)
                call = Call(id="r", operation="chat", dialect=client, asked="m", body=body)
                workflow = workflow_for(call, target, mode=mode)
                workflow.outbound()
                told.append(f"{workflow.dropped} {workflow.changed} {head!r}")
            except Refused as refusal:
                refusals += 1
                told.append(f"{refusal.info} {refusal}")
    assert found("\n".join(told), (*CONTENTS, str(NUMBER))) == []
    assert refusals > 20 or client == backend


# The broker in this process.


@pytest.fixture
def events():
    """All that is logged, as any observer could see it."""
    seen = []
    globalLogPublisher.addObserver(seen.append)
    yield seen
    globalLogPublisher.removeObserver(seen.append)


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_no_event_and_no_record_carries_a_secret(tmp_path, parrot, events):
    config = configuration(tmp_path, parrot.port).replace("PORT", "8080")
    config = config.replace("practice:", "http://127.0.0.1:1")
    config = config.replace("env:BACKEND_KEY", LITERAL).replace("env:CLIENT_KEY", CLIENT_PLAIN)
    quick = Timeouts(headers=1, first_event=1, idle=1)
    rig = await Rig().open(config=config, timeouts=quick)
    access = AccessLog()
    try:
        models = (*PARROT, "echo")
        answers = await deferToThread(at_once, calls(rig._port.getHost().port, models))
        records = await rig.ended(len(answers))
        for record in records:
            access.closed(record)
        assert [record for record in records if found(repr(record), SECRETS + CONTENTS)] == []
        assert [each for each in map(access_fields, records) if found(str(each), SECRETS)] == []
        assert found(repr(rig.broker.config), SECRETS) == []
        out = StringIO()
        log = JSONLog(out, "debug")
        for event in events:
            log(event)
            assert found(repr(event), SECRETS + CONTENTS) == []
        assert leaks_of(out.getvalue()) == []
        assert out.getvalue().count('"outcome"') == len(records)
    finally:
        await rig.close()
