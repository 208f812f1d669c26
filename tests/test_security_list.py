"""The security list of docs/design/reliability.md, line by line: which tests hold each, and what
does not hold and is told to users in docs/security.md; and the tests that have no better place."""

import ast
import http.client
import json
import pickle
import re
import socket
import sqlite3
from pathlib import Path

import msgspec
import pytest
import pytest_twisted
from rig import PATHS, Rig, ask, unary
from running import practice_config
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from lmbroker import envelope
from lmbroker.errors import Refused
from lmbroker.observers import usage_journal, usage_report
from lmbroker.routing.keys import Key, caller_of, digest_of
from lmbroker.secret import Secret
from lmbroker.server.routes import Front
from lmbroker.translation.dialects.catalog import client_paths

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "lmbroker"
SOURCES = sorted(PACKAGE.rglob("*.py"))

LIST = {
    "default `127.0.0.1`": {
        "loopback by default": "test_check_has_modes_only_where_one_differs",
        "no public endpoint without keys": "test_other_machines_are_not_let_in_without_keys",
        "nor a socket of systemd": "test_who_is_reached_from_other_machines",
    },
    "metrics/health/admin": {
        "metrics apart, where one wants it": "test_metrics_on_a_listener_of_their_own",
        "not held: apart by default": "`/metrics`, `/health` and `/ready`",
        "health tells nothing": "test_ready_and_alive",
        "nothing can be configured over HTTP": "test_there_are_no_routes_but_these",
    },
    "upstream URLs only": {
        "backends are those of the configuration": "test_no_request_can_name_a_backend",
        "images are not fetched": "test_what_a_request_links_to_is_not_fetched",
    },
    "no redirects": {
        "redirects": "test_a_redirect_is_an_answer_like_any_other",
        "cookies": "test_cookies_are_not_kept",
        "proxies of the environment": "test_a_proxy_of_the_environment_is_not_used",
        "a warning for http": "test_warnings",
    },
    "client keys stored": {
        "hashes": "test_a_hash_is_written_as_the_configuration_reads_it",
        "any bytes are compared": "test_a_key_may_hold_any_bytes",
        "one answer": "test_every_other_credential_gets_the_same_refusal",
    },
    "`Secret` wrapper": {
        "it does not come out": "test_a_secret_gives_itself_away_once_asked_and_never_else",
        "the configuration neither": "test_configuration_and_keys_do_not_print_secrets",
        "nor do other headers": "test_headers_by_reference_are_secrets",
        "a key per backend": "test_calls_leave_no_secret_and_no_contents",
        "clients' keys stay": "test_case_88_a_key_lets_in_and_stays_here",
    },
    "config file: warn": {
        "others may read it": "test_a_key_in_a_file_that_others_may_read",
        "references": "test_mistakes_of_a_credential",
        "all or nothing": "test_reload_with_a_mistake_keeps_the_old_configuration",
        "and without values": "test_a_reload_with_mistakes_tells_no_secret",
        "what changed": "test_what_changed_is_named",
    },
    "redact known": {
        "known keys": "test_a_known_secret_is_masked_in_every_spelling",
        "shapes of keys": "test_the_shapes_of_keys_are_masked",
        "in every error": "test_case_87_the_key_is_masked_in_every_other_error",
        "401 and 403": "test_case_87_a_rejected_broker_key_is_our_fault_not_the_clients",
        "other headers": "test_a_secret_header_reaches_its_backend_and_comes_back_masked",
        "all over": "test_calls_leave_no_secret_and_no_contents",
    },
    "prompts/completions": {
        "log and metrics": "test_calls_leave_no_secret_and_no_contents",
        "events and records": "test_no_event_and_no_record_carries_a_secret",
        "values of a wrong kind": "test_a_value_of_a_wrong_kind_is_never_told",
    },
    "limits: connections": {
        "connections": "test_connections_are_bounded_and_more_are_told_so",
        "one address": "test_loopback_and_unix_sockets_have_no_bound_of_their_own",
        "the queue": "test_those_above_the_limit_wait_in_order",
        "headers": "test_the_number_of_headers_is_bounded",
        "bodies": "test_a_declared_body_is_refused_before_it_comes",
        "depth": "test_a_body_that_nests_without_end_is_refused",
        "duration": "test_a_body_that_drips_has_a_longest_duration",
        "n and max_tokens, where one wants it": "test_over_the_cap_no_backend_is_asked",
        "bodies by path": "test_a_body_is_bounded_by_its_path_on_any_site",
        "not held: caps by default": "**Budgets**",
        "headers to backends": "test_native_openai_keeps_its_own_headers_only",
        "headers to clients": "test_only_retry_headers_of_a_backend_pass",
        "the hop's": "test_case_90_headers_of_the_hop_end_here",
        "every bound is documented": "test_the_page_tells_the_default_of_every_bound",
    },
    "metric labels": {
        "unknown models": "test_models_that_nobody_configured_are_one_series",
        "backends' codes": "test_what_a_backend_calls_its_error_is_no_word_of_ours",
    },
    "no templating": {
        "in logs": "test_log_formats_are_constants",
        "anywhere": "test_nothing_that_is_read_is_run",
    },
    "multipart/form": {"both": "test_forms_are_not_parsed"},
    "auth and routing": {"the host": "test_the_host_header_is_not_used"},
    "pins with hashes": {
        "not held: pins": "**Versions**",
        "bare LF and NUL": "test_what_h11_refuses_we_refuse",
        "no HTTP/2": "test_http_2_is_not_offered",
        "few dependencies": "test_every_dependency_has_its_reason",
    },
    "Twisted fixes": {
        "two lengths, chunks and length": "test_what_h11_refuses_we_refuse_however_it_is_damaged",
        "pipelining": "test_a_pipelined_request_ends_the_connection_after_the_answer",
        "old versions are not taken": "test_every_dependency_has_its_reason",
    },
    "systemd unit": {"all of it": "test_the_unit_is_hardened_and_has_room"},
}
"""The beginning of each line of the list -> claims, each with its test; a claim that is not held
has the words that tell users so."""


def test_the_list_is_answered_line_by_line():
    text = (ROOT / "docs" / "design" / "reliability.md").read_text()
    section = text.partition("## E. Security list")[2].partition("\n## ")[0]
    lines = re.findall(r"(?m)^- \[ \] (.*)$", section)
    assert len(lines) == len(LIST)
    for line, beginning in zip(lines, LIST, strict=True):
        assert line.startswith(beginning)


def test_each_claim_has_its_test_or_is_told_to_users():
    tests = {
        node.name
        for path in (ROOT / "tests").rglob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    left = (ROOT / "docs" / "security.md").read_text().partition("## What is left to you")[2]
    for claims in LIST.values():
        for claim, told in claims.items():
            if claim.startswith("not held"):
                assert told in left, claim
            else:
                assert told in tests, told


# Bind and reach.


def test_there_are_no_routes_but_these():
    """None of them changes anything."""
    routes = {
        (rule.rule, tuple(sorted(rule.methods - {"HEAD"})))
        for rule in Front.app.url_map.iter_rules()
    } | {(path, ("POST",)) for path in client_paths()}
    assert routes == {
        ("/v1/chat/completions", ("POST",)),
        ("/v1/completions", ("POST",)),
        ("/v1/messages", ("POST",)),
        ("/v1/messages/count_tokens", ("POST",)),
        ("/v1/responses", ("POST",)),
        ("/v1/responses/compact", ("POST",)),
        ("/v1/responses/input_tokens", ("POST",)),
        ("/v1/embeddings", ("POST",)),
        ("/v1/models", ("GET",)),
        ("/v1/models/<path:model>", ("GET",)),
        ("/v1/usage", ("GET",)),
        ("/health", ("GET",)),
        ("/ready", ("GET",)),
        ("/metrics", ("GET",)),
        ("/api/hello", ("GET",)),
    }


class Trap:
    """A port that nobody should come to."""

    async def open(self):
        trap = self
        self.visits = 0

        class Count(Protocol):
            def connectionMade(self):
                trap.visits += 1

        endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self._port = await endpoint.listen(Factory.forProtocol(Count))
        self.url = f"http://127.0.0.1:{self._port.getHost().port}"
        return self

    def close(self):
        return self._port.stopListening()


@pytest.fixture
def rig_and_trap():
    rig = pytest_twisted.blockon(Deferred.fromCoroutine(Rig().open()))
    trap = pytest_twisted.blockon(Deferred.fromCoroutine(Trap().open()))
    yield rig, trap
    pytest_twisted.blockon(Deferred.fromCoroutine(rig.close()))
    pytest_twisted.blockon(trap.close())


ANSWERS = {
    "o": b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}',
    "a": b'{"id":"m","type":"message","role":"assistant","model":"m","content":[],"stop_reason":'
    b'"end_turn","stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}',
}


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_no_request_can_name_a_backend(rig_and_trap, dialect, alias):
    rig, trap = rig_and_trap
    names = ("base_url", "api_base", "url", "target", "endpoint", "proxy", "custom_llm_provider")
    body = ask(alias, **dict.fromkeys(names, trap.url), api_key="mine")
    host = trap.url.removeprefix("http://")
    headers = (
        *(f"X-Forwarded-Host: {host}", f"Forwarded: host={host}", f"X-Base-Url: {trap.url}"),
        *(f"X-Original-Url: {trap.url}", f"X-Lmbroker-Backend: {trap.url}"),
    )
    query = f"?base_url={trap.url}&api_base={trap.url}"
    client = await rig.post(PATHS[dialect] + query, body, headers)
    backend = await rig.backend()
    assert b"backend-key" in backend.received and trap.visits == 0
    head = backend.received.partition(b"\r\n\r\n")[0].partition(b"\r\n")[2]
    assert host.encode() not in head
    backend.transport.write(unary(ANSWERS[alias]))
    await client.has(b"\r\n\r\n")
    assert client.head.startswith("http/1.1 200") and trap.visits == 0


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_what_a_request_links_to_is_not_fetched(rig_and_trap, dialect, alias):
    rig, trap = rig_and_trap
    url = f"{trap.url}/picture.png"
    image = {
        "openai": {"type": "image_url", "image_url": {"url": url}},
        "anthropic": {"type": "image", "source": {"type": "url", "url": url}},
    }[dialect]
    body = ask(alias, messages=[{"role": "user", "content": [image]}])
    client = await rig.post(PATHS[dialect], body)
    backend = await rig.backend()
    assert url.encode() in backend.received, "it is passed on"
    backend.transport.write(unary(ANSWERS[alias]))
    await client.has(b"\r\n\r\n")
    assert trap.visits == 0


def test_a_proxy_of_the_environment_is_not_used(start_daemon):
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        url = f"http://127.0.0.1:{trap.getsockname()[1]}"
        names = ("http_proxy", "https_proxy", "all_proxy")
        environ = {name: url for each in names for name in (each, each.upper())}
        daemon = start_daemon(practice_config(), environ={**environ, "NO_PROXY": ""}).wait()
        connection = http.client.HTTPConnection("127.0.0.1", daemon.port, timeout=10)
        connection.request("POST", PATHS["openai"], ask("o"))
        assert connection.getresponse().status == 200
        connection.close()
        with pytest.raises(BlockingIOError):
            trap.accept()


# Keys.


def test_a_secret_gives_itself_away_once_asked_and_never_else():
    secret = Secret("hunter2")
    assert secret.reveal() == "hunter2"
    for text in (
        repr(secret),
        str(secret),
        f"{secret}",
        f"{secret:>9}",
        f"{[secret]}",
    ):
        assert "hunter2" not in text and "***" in text
    for give_away in (
        lambda: secret == "hunter2",
        lambda: secret == Secret("hunter2"),
        lambda: hash(secret),
        lambda: pickle.dumps(secret),
        lambda: json.dumps(secret),
        lambda: msgspec.json.encode(secret),
        lambda: vars(secret),
    ):
        with pytest.raises(TypeError):
            give_away()


@pytest.mark.parametrize("key", ["schlüssel", "\udcff\udc80", "鍵", "x" * 10_000])
def test_a_key_may_hold_any_bytes(key):
    keys = (Key(name="other", digest=digest_of("other")), Key(name="k", digest=digest_of(key)))
    assert caller_of(keys, {"x-api-key": key}).name == "k"
    with pytest.raises(Refused):
        caller_of(keys, {"x-api-key": key + "x"})


# Input.


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_body_that_nests_without_end_is_refused(opening):
    body = b'{"model":"m","x":' + opening.encode() * 100_000
    closed = body + (b"1" + b"]" * 100_000 if opening == "[" else b"1" + b"}" * 100_000) + b"}"
    for each in (body, closed):
        with pytest.raises(Refused) as refused:
            envelope.decode(each)
        assert refused.value.info.code == "invalid_json"


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_models_that_nobody_configured_are_one_series(rig_and_trap):
    rig, _ = rig_and_trap
    for number in range(20):
        client = await rig.post(PATHS["openai"], ask(f"made-up-{number}"))
        await client.has(b"does not exist")
    await rig.ended(20)
    labels = {"alias": "other", "operation": "chat", "workflow": "none", "outcome": "refused"}
    labels["status"] = "404"
    assert rig.registry.get_sample_value("lmbroker_requests_total", labels) == 20
    samples = [sample for family in rig.registry.collect() for sample in family.samples]
    assert not [sample for sample in samples if "made-up" in str(sample.labels)]


# Platform.


def calls_in(path):
    """(what is called, as written; the call) of a source file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def test_log_formats_are_constants():
    """A format has the power to look into objects: nobody else's text may be one."""
    levels = ("debug", "info", "warn", "error", "critical", "failure", "emit")
    found = 0
    for path in SOURCES:
        for name, call in calls_in(path):
            if re.fullmatch(rf"(?:self\.)?_?log\.(?:{'|'.join(levels)})|emit", name):
                found += 1
                # ``emit`` of a logger has the level before its format.
                format = call.args[1 if name.endswith("log.emit") else 0]
                assert isinstance(format, ast.Constant), f"{path}:{call.lineno}"
    assert found >= 10


QUERYING = ("usage_journal.py", "usage_report.py", "usage.py")
"""The modules that may ask a database."""


def test_names_of_clients_are_no_part_of_a_query():
    connection = sqlite3.connect(":memory:")
    usage_journal.prepare(connection)
    evil = "x'); DROP TABLE hours; --"
    names = [1, *[evil] * len(usage_report.NAMES)]
    counts = [1] * len(usage_report.COUNTS)
    usage_journal.write(connection, {tuple(names): counts}, [], None, 10)
    [row] = usage_report.report(connection, 0, ["caller", "tag1"], evil)
    assert (row["caller"], row["tag1"], row["calls"]) == (evil, evil, 1)
    connection.close()


ELSEWHERE_WANTED = {
    "commands/importing/__init__.py": {"yaml"},
    "testing/pytest_fixtures.py": {"subprocess"},
}
"""A command of a user's own reads YAML, in the safe mode; a fixture of pytest starts the practice
backend."""


def test_yaml_is_read_in_the_safe_mode_only():
    path = PACKAGE / "commands" / "importing" / "__init__.py"
    called = {name for name, _ in calls_in(path) if name.startswith("yaml.")}
    assert called == {"yaml.safe_load"}


def test_nothing_that_is_read_is_run():
    """No code from texts, no other programs, no formats that hold code, and queries in few modules
    only."""
    for path in SOURCES:
        tree = ast.parse(path.read_text())
        modules = {
            name.partition(".")[0]
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for name in (
                [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else [a.name for a in node.names]
            )
        }
        unwanted = {
            "pickle",
            "marshal",
            "shelve",
            "subprocess",
            "sqlite3",
            "ctypes",
            "yaml",
            "jinja2",
        }
        if path.name in QUERYING:
            unwanted.remove("sqlite3")
        unwanted -= ELSEWHERE_WANTED.get(path.relative_to(PACKAGE).as_posix(), set())
        assert not modules & unwanted, path
        for name, call in calls_in(path):
            ran = name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen")
            assert not ran, f"{path}:{call.lineno}"


def test_every_dependency_has_its_reason():
    project = (ROOT / "pyproject.toml").read_text()
    listed = re.search(r"(?s)\ndependencies = \[(.*?)\n\]", project)[1]
    packages = re.findall(r'"([^"]+?)>=([^"]+)"', listed)
    assert len(packages) == len(listed.strip().splitlines())
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for package, _ in packages:
        assert f"| `{package}` |" in reasons
    assert ("twisted[tls]", "26.10") in packages
