"""docs/operations.md is true, and so are the files that it speaks of: the unit, the socket, the
image."""

import configparser
import http.client
import importlib
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import warnings
from collections import defaultdict
from fnmatch import fnmatch
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import get_args

import msgspec
import pytest
from certificates import pem_files
from ports import free_port
from prometheus_client import CollectorRegistry, generate_latest
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher
from twisted.python.failure import Failure

from lmbroker.call import (
    Attempt,
    Backend,
    End,
    Outcome,
    Record,
    Target,
    Timeouts,
    TraceContext,
    Turn,
)
from lmbroker.config.config import Config, parse
from lmbroker.config.settings import DRAIN, Severity
from lmbroker.daemon.service import LAST_WORDS_SECONDS
from lmbroker.errors import ErrorInfo, Unreachable
from lmbroker.limits import Limits
from lmbroker.observers.access_log import AccessLog, access_fields
from lmbroker.observers.batching import BatchingObserver
from lmbroker.observers.json_log import JSONLog
from lmbroker.observers.metrics import Metrics
from lmbroker.routing.breaker import BreakerRules
from lmbroker.routing.retries import Retries
from lmbroker.routing.target_health import Health
from lmbroker.server.routes import Front
from lmbroker.tap import BAD_CONFIGURATION
from lmbroker.translation.dialects.anthropic_messages.ending import decode_usage as anthropic_usage
from lmbroker.translation.dialects.openai.ending import decode_usage as openai_usage
from lmbroker.usage import Usage

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "operations.md").read_text()
UNIT = ROOT / "etc" / "lmbroker.service"
SOCKET = ROOT / "etc" / "lmbroker.socket"
TWISTD = [sys.executable, "-c", "from twisted.scripts.twistd import run; run()"]
ONE_MODEL = """
[[models]]
alias = "m"
type = "openai"
target = { url = "practice:", model = "echo" }
"""

CONFIG = """
[server]
listen = ["LISTEN"]
[[models]]
alias = "m"
type = "openai"
target = { url = "practice:", model = "echo" }
"""
SECONDS = 10


def rows(head):
    """The cells of the table of the page whose first column is called ``head``."""
    table = re.search(rf"(?m)^\| {re.escape(head)} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", PAGE)
    assert table, head
    lines = table[1].splitlines()
    return [re.split(r"\s*\|\s*", line.strip("| ")) for line in lines]


def quoted(text):
    """The words that ``text`` has in backquotes."""
    return re.findall(r"`([^`]+)`", text)


def blocks(language):
    """The code blocks of the page in a language."""
    found = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", PAGE)
    return [text for each, text in found if each == language]


# The page: logs.


RECORD = Record(
    id="req_1",
    operation="chat",
    dialect="openai",
    opened_at=1.0,
    alias="a",
    asked="asked",
    client="192.0.2.1",
    path="/v1/messages",
    user_agent="claude-cli/2.1 (external)",
    backend_id="b_1",
    trace=TraceContext("a" * 32, "b" * 16),
    client_request_id="c_1",
    tool_calls=2,
    limits=(("daily", "exceeded"), ("other", "allowed")),
    stream=True,
    attempts=[
        Attempt(
            target=Target(
                backend=Backend(name="b", url="http://b", dialect="anthropic"), model="m"
            ),
            workflow="translation",
            started=1.0,
            queued=0.5,
            sent_at=1.75,
            error="timeout_idle",
        )
    ],
    end=End(outcome="stream_error", status=200, code="timeout_idle"),
    headers_at=2.0,
    first_event_at=3.0,
    closed_at=4.0,
    arrived_at=0.875,
    read_at=0.9375,
    came_at=3.0,
    answered=Turn(2.75, 3.25),
    usage=Usage(input=1, cache_write=1, output=2, reasoning=1, estimated=True),
    cost=1,
    tags=("t",),
    stop="end",
    dropped=("a",),
    changed=("c",),
    learned=("b",),
)
"""A call of which everything is known."""


def line_of(log_with, record=RECORD, level="info"):
    """The access line, by the way that ``log_with`` gives an AccessLog."""
    out = StringIO()
    log = JSONLog(out, level)
    globalLogPublisher.addObserver(log)
    try:
        log_with(log).closed(record)
    finally:
        globalLogPublisher.removeObserver(log)
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    return [{name: value for name, value in line.items() if name != "time"} for line in lines]


@pytest.mark.parametrize(
    ("outcome", "level"),
    [
        ("complete", "info"),
        ("client_left", "info"),
        ("refused", "info"),
        ("backend_error", "warning"),
        ("stream_error", "warning"),
        ("failed", "error"),
    ],
)
def test_the_access_line_is_the_same_through_twisteds_log_and_past_it(outcome, level):
    record = msgspec.structs.replace(RECORD, end=End(outcome=outcome, status=200))
    past = line_of(lambda log: AccessLog(log.write_lines), record)
    assert past == line_of(lambda log: AccessLog(), record)
    assert [line["level"] for line in past] == [level]


def test_the_access_line_heeds_the_level():
    assert line_of(lambda log: AccessLog(log.write_lines), level="error") == []


def test_access_lines_of_one_turn_are_written_together_and_others_do_not_wait():
    writes, clock = [], Clock()
    stream = SimpleNamespace(write=writes.append, flush=lambda: None)
    log = JSONLog(stream, "info")
    batching = BatchingObserver([AccessLog(log.write_lines)])

    def closed(name):
        batching.closed(msgspec.structs.replace(RECORD, id=name))

    def told(text):
        lines = map(json.loads, text.splitlines())
        return [line.get("request_id", line["message"]) for line in lines]

    closed("at once")
    batching.start(clock)
    closed("one")
    closed("two")
    assert list(map(told, writes)) == [["at once"]]
    clock.advance(0)
    closed("three")
    log({"log_level": LogLevel.error, "log_format": "a mistake", "log_time": 1.0})
    assert list(map(told, writes[1:])) == [["one", "two"], ["a mistake"]]
    clock.advance(0)
    closed("the last")
    batching.stop()
    closed("behind it")
    clock.advance(0)
    assert list(map(told, writes[3:])) == [["three"], ["the last"], ["behind it"]]


def test_a_turn_counts_as_its_calls_would_one_by_one():
    other = msgspec.structs.replace(RECORD, alias="", end=End(status=500), usage=None)
    failed = msgspec.structs.replace(RECORD.attempts[0], error="refused")
    events = [(each, call) for each in (RECORD, other, RECORD) for call in ("opened", "closed")]
    told = []
    for clock in (None, Clock()):
        registry = CollectorRegistry()
        batching = BatchingObserver([Metrics(registry)])
        if clock is not None:
            batching.start(clock)
        for record, call in [*events, (other, "opened")]:
            getattr(batching, call)(record)
            batching.attempted(record, record.attempts[0])
            batching.attempted(record, failed)
        if clock is not None:
            assert registry.get_sample_value("lmbroker_in_flight") == 4
            clock.advance(0)
            assert clock.getDelayedCalls() == []
        told.append(re.sub(r".*_created.*\n", "", generate_latest(registry).decode()))
    assert told[0] == told[1]
    assert "lmbroker_in_flight 1.0" in told[0]
    assert 'lmbroker_tokens_total{alias="a",direction="out"} 4.0' in told[0]


def test_what_is_shown_has_all_that_has_ended():
    registry, clock = CollectorRegistry(), Clock()
    batching = BatchingObserver([Metrics(registry)])
    batching.start(clock)
    broker = SimpleNamespace(wall=lambda: 0.0, chat=None, embeddings=None, count_tokens=None)
    front = Front(broker, registry, batching.flush)
    batching.opened(RECORD)
    batching.closed(RECORD)
    received, sent = {}, {}
    incoming = SimpleNamespace(received_headers=lambda: (received, ()))
    request = SimpleNamespace(setHeader=sent.__setitem__, lmbroker_incoming=incoming)
    assert b"\nlmbroker_in_flight 0.0\n" in front.metrics(request)
    assert sent["content-type"].startswith("text/plain")
    received["accept"] = "application/openmetrics-text; version=1.0.0"
    assert front.metrics(request).endswith(b"# EOF\n")
    assert sent["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    # Elsewhere, where somebody knows a place.
    waiting, written = Deferred(), []
    front.away = lambda work, *arguments: waiting.addCallback(lambda _: work(*arguments))
    front.metrics(request).addCallback(written.append)
    assert written == []
    waiting.callback(None)
    assert written[0].endswith(b"# EOF\n")


def test_levels_of_targets_and_backends_are_shown_as_they_are_and_what_is_gone_is_0():
    registry = CollectorRegistry()
    metrics, health = Metrics(registry), Health()
    target = RECORD.attempts[0].target

    def level(name, **labels):
        return registry.get_sample_value(f"lmbroker_{name}", {"backend": "b", **labels})

    place = {"model": "m", "operation": "chat"}
    attempt = health.opened(health.target(target), "env:KEY", 1.0)
    metrics.levels.targets(health.snapshot(1.0))
    assert level("target_in_flight", **place) == 1
    assert level("breaker_open", key="", **place) == 0
    assert level("breaker_open", key="env:KEY", **place) == 0
    failure = Unreachable(ErrorInfo(kind="server", message="refused", code="refused"))
    for _ in range(BreakerRules().failures):
        health.attempted(attempt, 2.0, failure)
        attempt = health.opened(health.target(target), "env:KEY", 2.0)
    metrics.levels.targets(health.snapshot(2.0))
    assert level("breaker_open", key="", **place) == 1
    assert level("breaker_open", key="env:KEY", **place) == 0
    health.keep(())
    metrics.levels.targets(health.snapshot(3.0))
    assert level("breaker_open", key="", **place) == level("target_in_flight", **place) == 0
    metrics.levels.backends({"b": (2, 1)})
    assert (level("backend_slots_in_use"), level("backend_queued")) == (2, 1)


DIGITS = 10**400


@pytest.mark.parametrize(
    "usage",
    [
        openai_usage({"prompt_tokens": DIGITS, "completion_tokens": 10**4299}),
        anthropic_usage(
            {"input_tokens": DIGITS, "cache_read_input_tokens": DIGITS, "output_tokens": 1e300}
        ),
    ],
)
def test_a_backend_that_counts_beyond_all_bounds_spoils_no_count_and_no_line(usage):
    registry = CollectorRegistry()
    Metrics(registry).ended((), (msgspec.structs.replace(RECORD, usage=usage), RECORD))
    labels = {"alias": "a", "direction": "out"}
    assert registry.get_sample_value("lmbroker_tokens_total", labels) == 2**53 + 2
    record = msgspec.structs.replace(RECORD, usage=usage)
    [line] = line_of(lambda log: AccessLog(log.write_lines), record=record)
    assert line["tokens_out"] == 2**53


def test_an_observer_that_fails_takes_nothing_from_the_others(nothing_fails_unheard):
    class Fails:
        def ended(self, attempts, records):
            raise ValueError("no")

    heard = []
    hears = SimpleNamespace(ended=lambda attempts, records: heard.append(records))
    batching = BatchingObserver([Fails(), hears])
    batching.closed(RECORD)
    assert heard == [[RECORD]]
    assert len(nothing_fails_unheard) == 1
    nothing_fails_unheard.clear()


def test_the_page_names_every_outcome_and_level():
    assert {quoted(row[0])[0] for row in rows("`outcome`")} == set(get_args(Outcome))
    levels = re.search(r"`level` \((.*?)\)", PAGE)
    assert set(quoted(levels[1])) == set(get_args(Severity)) - {"warn"}


def test_the_access_line_is_bounded_whatever_names_a_client_makes_up():
    record = msgspec.structs.replace(RECORD, dropped=tuple(f"x{n:09}" for n in range(100_000)))
    assert access_fields(record)["dropped"].endswith(",x000000019,+99980")
    record = msgspec.structs.replace(RECORD, dropped=("x" * 1_000_000,))
    assert len(json.dumps(access_fields(record))) < 10_000


def test_a_failure_is_told_by_its_type_and_place_also_by_old_code(tmp_path):
    def failing():
        raise KeyError("a secret")

    try:
        failing()
    except KeyError:
        failure = Failure()
    old = {"failure": failure, "log_format": "{log_text}", "log_text": failure.getTraceback()}
    for event in (old, {**old, "why": "Noticed"}, {"log_failure": failure, "log_format": "It"}):
        with (tmp_path / "log").open("w+") as out:
            JSONLog(out, "debug")(event)
            out.seek(0)
            line = out.read()
        told = json.loads(line)
        assert told["message"] in ("Unhandled error", "Noticed", "It")
        assert (told["error"], "failing" in told["where"]) == ("KeyError", True)
        assert "secret" not in line


# The page: bounds.


def default_of(name):
    """The default of a bound, as a table would say it."""
    if name.startswith("lmbroker."):
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(module), constant)
    else:
        table, _, key = name.partition(".")
        struct = {
            "limits": Limits,
            "timeouts": Timeouts,
            "retries": Retries,
            "backends[]": Backend,
        }.get(table)
        fields = {field.name: field for field in msgspec.structs.fields(struct)} if struct else {}
        at_a_stop = {"server.drain_timeout": DRAIN, "server.drain_delay": 0.0}
        value = fields[key].default if struct else at_a_stop[name]
    return "none" if value in (None, ()) else f"{value:.10g}"


def test_the_page_tells_the_default_of_every_bound():
    named = []
    for _, bounds, default, reached in rows("resource"):
        names = quoted(bounds)
        assert [default_of(name) for name in names] == default.split(", "), names
        assert reached
        named += names
    assert len(named) == len(set(named))
    for table, struct in (("limits", Limits), ("timeouts", Timeouts)):
        wanted = {f"{table}.{field.name}" for field in msgspec.structs.fields(struct)}
        assert wanted <= set(named)


# The page: configurations and commands.


def test_the_configurations_of_the_page_load():
    toml = blocks("toml")
    assert len(toml) == 3
    for text in toml:
        text = text if "[[models]]" in text else text + ONE_MODEL
        config = parse(text, name="page", environ={}, read_file=lambda path: "-")
        assert isinstance(config, Config) and config.warnings == ()


def start(folder, listen, *, arguments=(), prefix=(), **options):
    """twistd, running in ``folder``; its log goes to ``out`` there."""
    (folder / "c.toml").write_text(CONFIG.replace("LISTEN", listen))
    with (folder / "out").open("ab") as out:
        return subprocess.Popen(
            [*prefix, *TWISTD, "-n", "--pidfile=", *arguments, "lmbroker", "--config", "c.toml"],
            cwd=folder,
            stdout=out,
            stderr=subprocess.STDOUT,
            **options,
        )


def get(port, path="/health", *, connection=http.client.HTTPConnection, **options):
    """(status, body), once somebody answers."""
    deadline = time.monotonic() + SECONDS
    while True:
        line = connection("127.0.0.1", port, timeout=SECONDS, **options)
        try:
            line.request("GET", path)
            response = line.getresponse()
            return response.status, response.read()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        finally:
            line.close()


@pytest.fixture
def processes():
    """Processes that end with the test."""
    started = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def code_of(process):
    """The exit code as a shell tells it."""
    code = process.wait(SECONDS)
    return code if code >= 0 else 128 - code


@pytest.mark.process
@pytest.mark.sockets
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_the_exit_codes_of_signals(tmp_path, port, processes, name):
    told = dict(rows("code"))
    process = start(tmp_path, f"tcp:{port}:interface=127.0.0.1")
    processes.append(process)
    get(port)
    process.send_signal(signal.Signals[name])
    code = code_of(process)
    assert f"by {name}" in told[str(code)]


@pytest.mark.process
@pytest.mark.sockets
def test_the_exit_code_of_mistakes(tmp_path, processes):
    told = dict(rows("code"))
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"tcp:{taken.getsockname()[1]}:interface=127.0.0.1"
        for mistake, code, options in (
            ("an unknown option", 1, {"arguments": ["--nonsense"], "listen": listen}),
            ("the log cannot be written", 1, {"arguments": ["-l/no/log"], "listen": listen}),
            ("The configuration has a mistake", BAD_CONFIGURATION, {"listen": "nonsense"}),
            ("An endpoint cannot be listened on", 1, {"listen": listen}),
        ):
            process = start(tmp_path, **options)
            processes.append(process)
            assert (mistake in told[str(code)], code_of(process)) == (True, code)
    assert "Traceback" not in (tmp_path / "out").read_text()


@pytest.mark.process
@pytest.mark.sockets
def test_sigusr1_begins_a_log_file_anew(tmp_path, port, processes):
    log = tmp_path / "lmbroker.log"
    process = start(tmp_path, f"tcp:{port}:interface=127.0.0.1", arguments=["--logfile", str(log)])
    processes.append(process)
    get(port)
    before = log.read_text()
    process.send_signal(signal.SIGUSR1)
    old = tmp_path / "lmbroker.log.1"
    deadline = time.monotonic() + SECONDS
    while not old.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert old.read_text() == before
    process.terminate()
    assert code_of(process) == 143
    assert all(map(json.loads, log.read_text().splitlines()))


@pytest.mark.process
@pytest.mark.sockets
def test_the_tls_endpoint_of_the_page(tmp_path, port, processes):
    listen = next(parsed(text).server.listen[0] for text in blocks("toml") if "ssl:" in text)
    listen = listen.replace("8443", str(port)).replace("/etc/lmbroker", str(tmp_path))
    context = pem_files(tmp_path)
    processes.append(start(tmp_path, listen))
    assert get(port, connection=http.client.HTTPSConnection, context=context)[0] == 200
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.set_alpn_protocols(["h2", "http/1.1"])
    for version, served in (("TLSv1_1", False), ("TLSv1_2", True), ("TLSv1_3", True)):
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            context.minimum_version = ssl.TLSVersion.TLSv1_1
            context.maximum_version = ssl.TLSVersion[version]
        with socket.create_connection(("127.0.0.1", port), SECONDS) as line:
            try:
                with context.wrap_socket(line) as wrapped:
                    assert (served, wrapped.selected_alpn_protocol()) == (True, "http/1.1")
            except ssl.SSLError:
                assert not served
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    for suites, served in (("AES", False), ("ECDHE+SHA", False), ("ECDHE+AESGCM", True)):
        context.set_ciphers(f"{suites}:@SECLEVEL=0" if served else f"{suites}:!AESGCM:!AESCCM")
        with socket.create_connection(("127.0.0.1", port), SECONDS) as line:
            try:
                with context.wrap_socket(line):
                    assert served, suites
            except (ssl.SSLError, ConnectionError):
                assert not served, suites


def parsed(text):
    return parse(text, name="page", environ={}, read_file=lambda path: "-")


# Sockets that somebody else listens on.

LAUNCHER = """
import os, sys
fd, name, *command = sys.argv[1:]
os.dup2(int(fd), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES=name)
os.execvp(command[0], command)
"""
"""What systemd does for a service with a socket (sd_listen_fds(3))."""


@pytest.fixture
def activated(tmp_path, processes, monkeypatch):
    """Starts LMBroker on a socket that the test holds: its port, and a function."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.set_inheritable(True)
    listen = next(parsed(text).server.listen[0] for text in blocks("toml") if "systemd:" in text)
    monkeypatch.setitem(globals(), "CONFIG", CONFIG.replace("[[", "open = true\n[[", 1))
    name = listen.rpartition("name=")[2]
    assert name == unit(SOCKET)["FileDescriptorName"][0]

    def run():
        fd = listening.fileno()
        prefix = [sys.executable, "-c", LAUNCHER, str(fd), name]
        processes.append(start(tmp_path, listen, prefix=prefix, pass_fds=[fd]))
        return processes[-1]

    yield listening.getsockname()[1], run
    listening.close()


@pytest.mark.process
@pytest.mark.sockets
def test_a_restart_on_a_socket_of_systemd_refuses_nobody(activated):
    port, run = activated
    first = run()
    assert get(port)[0] == 200
    first.terminate()
    assert code_of(first) == 143
    waiting = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    waiting.request("GET", "/health")
    run()
    assert waiting.getresponse().read() == b'{"status":"ok"}'
    waiting.close()


@pytest.mark.process
@pytest.mark.sockets
def test_several_processes_serve_one_socket(activated):
    port, run = activated
    one, other = run(), run()
    for gone in (one, other):
        assert get(port)[0] == 200
        gone.terminate()
        assert code_of(gone) == 143


# systemd's units.


def unit(path):
    """key -> values of a unit file, in order; sections do not matter to us."""
    found = defaultdict(list)
    for line in path.read_text().splitlines():
        if line and line[0] not in "#[":
            key, _, value = line.partition("=")
            found[key].append(value)
    return dict(found)


HARDENED = {
    "Type": "notify",
    "RestartPreventExitStatus": "78",
    "SuccessExitStatus": "143",
    "Restart": "on-failure",
    "DynamicUser": "yes",
    "NoNewPrivileges": "yes",
    "CapabilityBoundingSet": "",
    "AmbientCapabilities": "",
    "ProtectSystem": "strict",
    "ProtectHome": "yes",
    "PrivateTmp": "yes",
    "PrivateDevices": "yes",
    "ProtectKernelTunables": "yes",
    "ProtectKernelModules": "yes",
    "ProtectControlGroups": "yes",
    "RestrictNamespaces": "yes",
    "RestrictSUIDSGID": "yes",
    "LockPersonality": "yes",
    "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX",
    "SystemCallArchitectures": "native",
    "UMask": "0077",
}


def test_the_unit_is_hardened_and_has_room():
    told = unit(UNIT)
    assert {key: told.get(key) for key in HARDENED} == {k: [v] for k, v in HARDENED.items()}
    assert told["SystemCallFilter"][0] == "@system-service"
    limits = Limits()
    assert int(told["LimitNOFILE"][0]) >= 4 * (limits.connections + limits.calls)
    assert int(told["TimeoutStopSec"][0]) > DRAIN + LAST_WORDS_SECONDS
    size, unit_of = re.fullmatch(r"(\d+)(G)", told["MemoryMax"][0]).groups()
    assert int(size) << 30 >= 4 * limits.bodies and unit_of == "G"
    [check, reload] = told["ExecReload"]
    arguments = told["ExecStart"][0].partition(" lmbroker ")[2]
    assert check == f"/opt/lmbroker/bin/lmbroker check {arguments}"
    assert reload == "/bin/kill -HUP $MAINPID"
    assert told["RestartPreventExitStatus"] == [str(BAD_CONFIGURATION)]
    # These two break what they should protect: TLS, and the metrics of the process.
    assert not {"MemoryDenyWriteExecute", "ProcSubset"} & set(told)


def test_the_unit_starts_what_the_page_says():
    [command] = unit(UNIT)["ExecStart"]
    arguments = command.partition("twistd ")[2]
    assert f"twistd {arguments}\n" in blocks("")[0]
    assert unit(SOCKET)["ListenStream"] == ["127.0.0.1:8080"]
    for path in (UNIT, SOCKET):
        text = configparser.ConfigParser(strict=False, interpolation=None)
        text.optionxform = str
        text.read_string(path.read_text())
        assert text.sections() == ["Unit", path.suffix[1:].capitalize(), "Install"]


@pytest.mark.process
def test_systemd_takes_the_units(tmp_path):
    """Where systemd is installed; the tests above read the files themselves."""
    analyze = shutil.which("systemd-analyze")
    twistd = tmp_path / "twistd"
    twistd.write_text("#!/bin/sh\n")
    twistd.chmod(0o755)
    for path in (UNIT, SOCKET):
        text = path.read_text().replace("/opt/lmbroker/bin/twistd", str(twistd))
        text = text.replace("/opt/lmbroker/bin/lmbroker", str(twistd))
        (tmp_path / path.name).write_text(text)
    if analyze is not None:
        files = [str(tmp_path / path.name) for path in (UNIT, SOCKET)]
        done = subprocess.run([analyze, "verify", *files], capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        # In tenths: what systemd calls OK ends at 4.9.
        rating = [analyze, "security", "--offline=true", "--threshold=20", files[0]]
        done = subprocess.run(rating, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-300:]


# The image.


def instructions():
    """(instruction, arguments) of each line of the Dockerfile."""
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def last_stage():
    steps = instructions()
    begin = max(number for number, (word, _) in enumerate(steps) if word == "FROM")
    return steps[begin:]


def test_the_image_runs_twistd_itself_and_not_as_root():
    steps = dict(last_stage())
    known = {"FROM", "COPY", "ENV", "USER", "EXPOSE", "HEALTHCHECK", "STOPSIGNAL"}
    assert set(steps) == known | {"ENTRYPOINT", "CMD"}, "nothing else is in the image that runs"
    user, _, group = steps["USER"].partition(":")
    assert int(user) > 0 and int(group) > 0, "by number, so that others can see it is not root"
    command = json.loads(steps["ENTRYPOINT"]) + json.loads(steps["CMD"])
    assert " ".join(command) == "twistd -n --pidfile= lmbroker --config /etc/lmbroker/config.toml"
    assert steps["STOPSIGNAL"] == "SIGTERM"
    assert all(image.startswith("python:3.") for word, image in instructions() if word == "FROM")
    assert not [word for word, _ in instructions() if word in ("ADD", "ARG", "VOLUME")]


@pytest.mark.process
@pytest.mark.sockets
def test_the_image_looks_after_its_health(tmp_path, port, processes):
    options, _, command = dict(last_stage())["HEALTHCHECK"].partition(" CMD ")
    assert "--interval=" in options and "--timeout=" in options
    python, *arguments = json.loads(command)
    assert python == "python" and "http://127.0.0.1:8080/health" in arguments[-1]
    arguments[-1] = arguments[-1].replace("8080", str(port))
    check = [sys.executable, *arguments]
    assert subprocess.run(check, capture_output=True).returncode == 1
    processes.append(start(tmp_path, f"tcp:{port}:interface=127.0.0.1"))
    get(port)
    assert subprocess.run(check, capture_output=True).returncode == 0


def ignored(path):
    """What .dockerignore says of a path: the last rule that fits."""
    verdict = False
    for rule in (ROOT / ".dockerignore").read_text().splitlines():
        if not rule or rule.startswith("#"):
            continue
        keep, pattern = rule.startswith("!"), rule.removeprefix("!")
        steps = path.split("/")
        heads = ["/".join(steps[:count]) for count in range(1, len(steps) + 1)]
        if pattern.startswith("**/"):
            fits = any(fnmatch(step, pattern[3:]) for step in steps)
        else:
            fits = any(fnmatch(head, pattern) and head.count("/") == 0 for head in heads)
        verdict = verdict if not fits else not keep
    return verdict


@pytest.mark.process
def test_the_image_is_built_from_the_sources_and_nothing_else(tmp_path):
    copied = [
        source
        for word, arguments in instructions()
        if word == "COPY" and "--from=" not in arguments
        for source in arguments.split()[:-1]
    ]
    assert copied and not any(map(ignored, copied))
    for secret in (".git", ".venv", "etc/config.toml", ".env", "key.pem", "tests", "docs"):
        assert ignored(secret), secret
    assert ignored("lmbroker/__pycache__/x.pyc") and ignored("twisted/plugins/dropin.cache")
    context = tmp_path / "context"
    context.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for source in copied:
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, context / source, ignore=unwanted)
        else:
            shutil.copy(ROOT / source, context)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path), "."],
        cwd=context,
        capture_output=True,
        text=True,
        env={**os.environ, "PIP_NO_INDEX": "1"},
    )
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.glob("lmbroker-*.whl"))


# Reverse proxies.

STREAM = {
    "model": "slow",
    "stream": True,
    "messages": [{"role": "user", "content": " ".join(["word"] * 90)}],
}


def test_the_proxies_pass_streams_and_big_bodies_on():
    [nginx] = blocks("nginx")
    for line in (
        "proxy_buffering off;",
        "proxy_request_buffering off;",
        "proxy_http_version 1.1;",
        'proxy_set_header Connection "";',
        f"client_max_body_size {Limits().body >> 20}m;",
        f"proxy_read_timeout {Timeouts().total:g}s;",
        f"proxy_send_timeout {Limits().body_seconds:g}s;",
    ):
        assert line in nginx
    caddy = next(text for text in blocks("") if "reverse_proxy" in text)
    # Its MB are a million bytes.
    assert f"max_size {Limits().body >> 20}MiB" in caddy and "flush_interval" not in caddy
    for text in (nginx, caddy):
        assert text.count("{") == text.count("}")
        assert "/v1/" in text and "/api/hello" in text and "/metrics" not in text


def test_nginx_with_the_configuration_of_the_page(tmp_path, start_daemon, processes):
    """Where nginx is installed: streams come as they are sent, and a client's leaving is told."""
    nginx = shutil.which("nginx")
    if nginx is None:
        return
    slow = CONFIG.replace('listen = ["LISTEN"]', "port = PORT").replace("echo", "slow-20")
    daemon = start_daemon(slow.replace('alias = "m"', 'alias = "slow"')).wait()
    context, port = pem_files(tmp_path), free_port()
    [site] = blocks("nginx")
    for old, new in (
        ("listen 443", f"listen 127.0.0.1:{port}"),
        ("127.0.0.1:8080", f"127.0.0.1:{daemon.port}"),
        ("/etc/ssl/llm.example.com.pem", str(tmp_path / "cert.pem")),
        ("/etc/ssl/llm.example.com.key", str(tmp_path / "key.pem")),
    ):
        assert old in site
        site = site.replace(old, new)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; master_process off; pid {tmp_path}/pid;\nevents {{}}\n"
        f"http {{ access_log off; {paths} {site} }}\n"
    )
    log = str(tmp_path / "error.log")
    processes.append(subprocess.Popen([nginx, "-e", log, "-c", str(tmp_path / "nginx.conf")]))
    secure = {"connection": http.client.HTTPSConnection, "context": context}
    assert get(port, "/v1/models", **secure)[0] == 200
    assert get(port, "/metrics", **secure)[0] == 404

    def ask():
        line = http.client.HTTPSConnection("127.0.0.1", port, timeout=SECONDS, context=context)
        line.request("POST", "/v1/chat/completions", json.dumps(STREAM))
        return line, line.getresponse()

    line, response = ask()
    moments = [time.monotonic() for _ in range(20) if response.readline()]
    assert moments[-1] - moments[0] > 0.1, "event by event, 20 ms apart"
    assert response.read().endswith(b"data: [DONE]\n\n")
    line.close()
    line, response = ask()
    response.readline()
    response.close()
    line.close()
    outcomes = [each["outcome"] for each in daemon.access_lines(2)]
    assert outcomes == ["complete", "client_left"]


def fields_of(**more):
    return access_fields(msgspec.structs.replace(RECORD, **more))


def test_a_name_that_is_the_alias_is_not_told_twice():
    assert "asked" not in fields_of(asked="a")
    assert fields_of(asked="claude-x[1m]")["asked"] == "claude-x[1m]"


@pytest.mark.parametrize(
    ("user_agent", "told"),
    [
        ("claude-cli/2.1.330 (external, cli)", "claude-cli/2.1.330"),
        ("OpenAI/Python 3.57.0", "OpenAI/Python"),
        ("curl/8", "curl/8"),
        ("sk-ant-api03-" + "a" * 80, "***"),
    ],
)
def test_of_a_user_agent_the_product_is_told(user_agent, told):
    assert fields_of(user_agent=user_agent)["user_agent"] == told


def test_what_clients_and_backends_name_is_bounded_and_printable():
    long = "\x1b[31m" + "x" * 100_000
    line = fields_of(asked=long, user_agent=long, backend_id=long)
    assert max(len(line[name]) for name in ("asked", "user_agent", "backend_request_id")) < 300
    assert line["asked"].isprintable() and line["user_agent"].isprintable()
