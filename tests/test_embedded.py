"""The broker as one object: it builds, asks who calls, reloads, and leaves nothing behind."""

import json
from types import SimpleNamespace

import pytest
import pytest_twisted
import treq
from prometheus_client import CollectorRegistry, generate_latest
from treq.testing import StubTreq
from twisted.internet import reactor
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.web.client import Agent
from twisted.web.server import Site

from lmbroker import Caller, EmbeddedBroker, Refused
from lmbroker.backends.sending import Backends
from lmbroker.config.config import parse
from lmbroker.observers.span_export import SECONDS

TEXT = "".join(
    f'[[models]]\nalias = "{alias}"\ntype = "openai"\ntarget = {{ url = "URL", model = "echo" }}\n'
    for alias in ("fast", "slow")
)


def config(url="http://127.0.0.1:1", more=""):
    text = TEXT.replace("URL", url) + more
    return parse(text, name="c", environ={}, read_file=lambda path: "")


def test_calls_have_spans_as_long_as_the_configuration_says_where_they_go(monkeypatch):
    sent, told = [], []

    async def get(backends, backend, outbound, timeouts):
        sent.append((backend.url, outbound))
        return SimpleNamespace(status=200, body=lambda limit: later(b""))

    monkeypatch.setattr(Backends, "get", get)
    clock = Clock()
    tracing = config(more='[tracing]\nendpoint = "http://collector:4318"\n')
    embedded = EmbeddedBroker(tracing, clock, registry=CollectorRegistry())
    http = StubTreq(embedded.resource())

    def call():
        waiting = http.post("http://broker/v1/chat/completions", json={"model": "nobody"})
        http.flush()
        assert waiting.result.code == 404

    call()
    clock.advance(SECONDS)
    [(url, outbound)] = sent
    assert (url, outbound.path) == ("http://collector:4318", "/v1/traces")
    embedded.reload(config())
    call()
    clock.advance(SECONDS)
    assert len(sent) == 1
    embedded.reload(tracing)
    call()
    embedded.close().addCallback(told.append)
    assert len(sent) == 2 and told == [None]


async def later(caller):
    return caller


ANN = Caller(name="ann", models=("fast",))


@pytest.mark.parametrize(
    "hook",
    [lambda headers: ANN, lambda headers: later(ANN), lambda headers: succeed(ANN)],
    ids=["at once", "a coroutine", "a Deferred"],
)
def test_the_program_says_who_calls_and_what_they_may_use(hook):
    embedded = EmbeddedBroker(config(), Clock(), caller=hook)
    http = StubTreq(embedded.resource())
    answer = http.get("http://broker/v1/models").result
    listed = json.loads(treq.content(answer).result)
    assert [each["id"] for each in listed["data"]] == ["fast"]
    asked = {"model": "slow", "messages": [{"role": "user", "content": "Hi"}]}
    waiting = http.post("http://broker/v1/chat/completions", json=asked)
    http.flush()
    assert waiting.result.code == 404, "as if there were no such model"


def refuse(headers):
    raise Refused("auth", "your session is over", code="session_over")


@pytest.mark.parametrize(
    ("hook", "code", "message"),
    [
        (lambda headers: None, "invalid_api_key", "you may not call here"),
        (lambda headers: later(None), "invalid_api_key", "you may not call here"),
        (refuse, "session_over", "your session is over"),
    ],
)
@pytest.mark.parametrize("path", ["models", "chat/completions"])
def test_whom_the_program_does_not_know_gets_401(hook, code, message, path):
    http = StubTreq(EmbeddedBroker(config(), Clock(), caller=hook).resource())
    url = f"http://broker/v1/{path}"
    waiting = http.get(url) if path == "models" else http.post(url, json={"model": "fast"})
    http.flush()
    error = json.loads(treq.content(waiting.result).result)["error"]
    assert (waiting.result.code, error["code"]) == (401, code)
    assert message in error["message"]


def test_the_program_gets_the_headers_and_the_keys_do_not_count():
    seen = []
    keys = '[[keys]]\nname = "k"\nhash = "sha256:' + "0" * 64 + '"\n'
    embedded = EmbeddedBroker(config(more=keys), Clock(), caller=lambda h: seen.append(h) or ANN)
    http = StubTreq(embedded.resource())
    answer = http.get("http://broker/v1/models", headers={"Cookie": "a=b"}).result
    assert (answer.code, seen[0]["cookie"]) == (200, "a=b")


def test_it_sets_no_timer_by_itself():
    clock = Clock()
    EmbeddedBroker(config(), clock)
    assert clock.getDelayedCalls() == []


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_it_serves_reloads_and_leaves_nothing():
    before = set(reactor.getDelayedCalls())
    registry = CollectorRegistry()
    seen = []

    class Observer:
        def opened(self, record):
            pass

        def attempted(self, record, attempt):
            pass

        def closed(self, record):
            seen.append((record.alias, record.caller, record.end.status))

    embedded = EmbeddedBroker(
        config("practice:"),
        reactor,
        observers=[Observer()],
        registry=registry,
        caller=lambda h: ANN,
    )
    port = reactor.listenTCP(0, Site(embedded.resource()), interface="127.0.0.1")
    base = f"http://127.0.0.1:{port.getHost().port}"
    http = treq.client.HTTPClient(Agent(reactor))

    async def ask(model):
        asked = {"model": model, "messages": [{"role": "user", "content": "Hello"}]}
        answer = await http.post(f"{base}/v1/chat/completions", json=asked)
        return answer.code, await answer.json()

    assert (await ask("fast"))[1]["choices"][0]["message"]["content"] == "Hello"
    assert (await ask("new"))[0] == 404
    more = '[[models]]\nalias = "new"\ntype = "openai"\ntarget = { url = "practice:" }\n'
    embedded.reload(config("practice:", more))
    assert list(embedded.broker.config.aliases) == ["fast", "slow", "new"]
    assert (await ask("fast"))[0] == 200
    metrics = await (await http.get(f"{base}/metrics")).text()
    assert 'lmbroker_requests_total{alias="fast"' in metrics
    assert b"lmbroker_requests_total" in generate_latest(registry)
    assert seen[0] == ("fast", "ann", 200)
    await port.stopListening()
    await embedded.close()
    # The connections of this test's own client close in a turn or two.
    await _a_moment()
    assert set(reactor.getDelayedCalls()) - before == set()


def _a_moment():
    waiting = Deferred()
    reactor.callLater(0.05, waiting.callback, None)
    return waiting
