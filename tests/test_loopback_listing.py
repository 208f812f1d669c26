"""``GET /v1/models`` on the running broker, with models that backends list."""

import json

import anthropic
import openai
import pytest
import pytest_twisted
from rig import unary
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from lmbroker.broker import model_listing
from lmbroker.testing import PracticeBackend

SCRIPTED = """
[[backends]]
name = "b"
type = "DIALECT"
url = "http://127.0.0.1:PORT"
api_key = "env:KEY"
[[models]]
alias = "own"
targets = [{ backend = "b", model = "m" }]
[[models]]
alias = "v-*"
targets = [{ backend = "b", model = "*" }]
"""
LIST = unary(b'{"object":"list","data":[{"id":"v-1"},{"id":"w"},{"id":"v-2"}]}')


async def ids(client):
    """What a client was told."""
    await client.has(b"last_id")
    await client.has(b"}")
    return [each["id"] for each in json.loads(client.body)["data"]]


async def asked(rig, number=1):
    """The head of a GET that reached the backend."""
    while len(rig.backends_seen) < number:
        await deferLater(reactor, 0.005)
    line = rig.backends_seen[number - 1]
    await line.has(b"\r\n\r\n")
    return line


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("dialect", "path", "named", "credential"),
    [
        ("openai", "/v1/models", None, "authorization: bearer backend-key"),
        ("anthropic", "/v1/models?limit=1000", "anthropic-version:", "x-api-key: backend-key"),
    ],
)
async def test_the_backend_is_asked_with_our_key_and_once(
    open_rig, dialect, path, named, credential
):
    rig = await open_rig(config=SCRIPTED.replace("DIALECT", dialect))
    headers = ["Authorization: Bearer client-key", "X-Extra: client"]
    clients = [await rig.get("/v1/models", headers) for _ in range(3)]
    line = await asked(rig)
    assert line.head.startswith(f"get {path} http/1.1\r\n")
    assert credential in line.head
    assert (named or "accept: application/json") in line.head
    assert "client" not in line.head
    assert ("anthropic" in line.head) == (dialect == "anthropic")
    line.transport.write(LIST)
    for client in clients:
        assert await ids(client) == ["own", "v-1", "v-2"]
    for name, found in (("own", True), ("v-2", True), ("w", False), ("v-3", False), ("v-*", False)):
        client = await rig.get(f"/v1/models/{name}")
        await client.has(b"}")
        assert ("404" not in client.head.split("\r\n")[0]) is found, name
    assert len(rig.backends_seen) == 1
    assert bytes(line.received).count(b"GET ") == 1


@pytest_twisted.ensureDeferred
async def test_a_client_who_leaves_is_no_failure_and_a_lost_connection_no_error(open_rig):
    rig = await open_rig(config=SCRIPTED.replace("DIALECT", "openai"))
    leaving = await rig.get("/v1/models")
    staying = await rig.get("/v1/models")
    line = await asked(rig)
    leaving.transport.abortConnection()
    await leaving.closed()
    line.transport.abortConnection()
    assert await ids(staying) == ["own"]
    assert "200 ok" in staying.head


@pytest_twisted.ensureDeferred
async def test_a_new_configuration_asks_anew(open_rig):
    rig = await open_rig(config=SCRIPTED.replace("DIALECT", "openai"))
    close = b"connection: close\r\n"
    for number, model in enumerate((b"v-old", b"v-new"), 1):
        client = await rig.get("/v1/models")
        line = await asked(rig, number)
        line.transport.write(unary(b'{"data":[{"id":"%s"}]}' % model, extra=close))
        assert await ids(client) == ["own", model.decode()]
        rig.broker.config = rig.broker.config


@pytest_twisted.ensureDeferred
async def test_a_silent_backend_is_left_in_time(open_rig, monkeypatch):
    monkeypatch.setattr(model_listing, "SECONDS", 0.05)
    rig = await open_rig(config=SCRIPTED.replace("DIALECT", "openai"))
    client = await rig.get("/v1/models")
    line = await asked(rig)
    line.transport.write(LIST[:-1])
    assert await ids(client) == ["own"]
    await line.closed()


@pytest.fixture
def practice():
    """A real backend, which speaks both dialects."""
    backend = PracticeBackend(reactor)
    backend.start()
    yield backend
    pytest_twisted.blockon(backend.stop())


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_both_sdks_list_and_ask_for_what_is_behind_a_pattern(open_rig, practice, dialect):
    rig = await open_rig(
        config=f'[[models]]\nalias = "*"\ntype = "{dialect}"\n'
        f'target = {{ url = "{practice.url}", model = "*" }}\n'
    )

    def ask():
        with (
            openai.OpenAI(base_url=f"http://127.0.0.1:{rig.port}/v1", api_key="k") as o,
            anthropic.Anthropic(base_url=f"http://127.0.0.1:{rig.port}", api_key="k") as a,
        ):
            told = [[each.id for each in sdk.models.list()] for sdk in (o, a)]
            one = [sdk.models.retrieve("slow").id for sdk in (o, a)]
            said = o.chat.completions.create(
                model=told[0][0], messages=[{"role": "user", "content": "hi"}]
            )
            return told, one, said.choices[0].finish_reason

    told, one, reason = await deferToThread(ask)
    assert told == [["echo", "slow", "empty"]] * 2
    assert (one, reason) == (["slow", "slow"], "stop")
    gets = [each for each in practice.received if each.method == "GET"]
    assert len(gets) == 1
    assert ("anthropic-version" in dict(gets[0].headers)) == (dialect == "anthropic")
