"""A new dialect is its facts, its adapter and a row in the catalog: nothing else is touched."""

import json

import pytest
import pytest_twisted
from made_up_dialect import NAME, MadeUp, data
from rig import A_END, A_EVENT, O_EVENT, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.commands.cli import main
from lmbroker.translation.dialects.catalog import ADAPTERS

pytestmark = pytest.mark.sockets

CONFIG = """
[[models]]
alias = "o"
type = "openai"
expose_limits = true
target = { url = "http://127.0.0.1:PORT/v1", model = "real-o", api_key = "env:KEY" }
[[models]]
alias = "a"
type = "anthropic"
target = { url = "http://127.0.0.1:PORT/v1", model = "real-a", api_key = "env:KEY" }
[[models]]
alias = "m"
type = "made-up"
expose_limits = true
target = { url = "http://127.0.0.1:PORT/v1", model = "tiny-m", api_key = "env:KEY" }
"""
ANYTHING = """
[[models]]
alias = "*"
type = "made-up"
target = { url = "http://127.0.0.1:PORT/v1", model = "*", api_key = "env:KEY" }
"""
ASKED = {"model": "o", "say": [{"by": "me", "words": "hi"}], "most": 5}
O_ASKED = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 5}
O_ANSWER = {
    "id": "c1",
    "object": "chat.completion",
    "created": 1,
    "model": "real-o",
    "choices": [
        {"index": 0, "message": {"role": "assistant", "content": "yo"}, "finish_reason": "stop"}
    ],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}
CLOSE = b"connection: close\r\n"
"""The next call comes on a connection of its own."""
ANSWER = {"words": "yo", "why": "done", "spent": [3, 2]}


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """The row in the catalog."""
    monkeypatch.setitem(ADAPTERS, NAME, MadeUp())


@pytest.fixture
def broker(open_rig):
    """The broker, its backend and its clients, with ``CONFIG``."""

    async def opened(config=CONFIG):
        return await open_rig(config=config)

    return opened


def text(value):
    return json.dumps(value).encode()


def sent(line):
    return json.loads(line.body)


async def listed(rig, number):
    """The ``number``-th connection that reached the backend, with a request for its models on
    it."""
    while len(rig.backends_seen) < number:
        await deferLater(reactor, 0.01)
    line = rig.backends_seen[number - 1]
    await line.has(b"\r\n\r\n")
    return line


def events(body):
    """The values of the events of a stream, but for the end that is none."""
    lines = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data")]
    return [json.loads(line) for line in lines if line != b"[DONE]"]


@pytest_twisted.ensureDeferred
async def test_its_clients_call_a_backend_of_another_dialect(broker):
    rig = await broker()
    client = await rig.post("/made-up/ask", text(ASKED))
    backend = await rig.backend()
    assert backend.received.startswith(b"POST /v1/chat/completions ")
    assert "authorization: bearer backend-key" in backend.head
    assert sent(backend)["messages"] == [{"role": "user", "content": "hi"}]
    limits = b"x-ratelimit-remaining-requests: 8\r\n"
    backend.transport.write(unary(text(O_ANSWER), extra=limits + b"x-request-id: theirs\r\n"))
    await client.has(b'"why"')
    assert json.loads(client.body) == ANSWER
    assert "made-up-id: theirs" in client.head
    assert "made-up-left: 8" in client.head
    (record,) = await rig.ended()
    assert (record.dialect, record.end.outcome, record.usage.output) == (NAME, "complete", 2)


@pytest_twisted.ensureDeferred
async def test_its_clients_get_a_stream_of_a_backend_of_another_dialect(broker):
    rig = await broker()
    client = await rig.post("/made-up/ask", text({**ASKED, "stream": True, "model": "a"}))
    backend = await rig.backend()
    assert backend.received.startswith(b"POST /v1/messages ")
    assert sent(backend)["stream"] is True and sent(backend)["max_tokens"] == 5
    backend.transport.write(sse_head() + chunk(A_EVENT) + chunk(A_END) + chunk(b""))
    await rig.ended()
    await client.has(b'"why"')
    assert events(client.body) == [{"words": "hé"}, {"why": "done", "spent": [3, 5]}]


@pytest_twisted.ensureDeferred
async def test_its_clients_get_errors_in_their_own_form(broker):
    rig = await broker()
    for path, body, status in (
        ("/made-up/ask", b"{}", "460"),
        ("/made-up/ask", text({**ASKED, "say": 1}), "460"),
        ("/made-up/ask", text({**ASKED, "model": "unknown"}), "460"),
        ("/made-up/nothing", b"{}", "404"),
    ):
        client = await rig.post(path, body)
        await client.has(b"}}")
        assert client.head.startswith(f"http/1.1 {status} ")
        assert set(json.loads(client.body)) == {"oops"}
    client = await rig.get("/nothing", ["Made-Up-Version: 7"])
    await client.has(b'"oops"')
    client = await rig.get("/made-up/ask")
    await client.has(b'"oops"')
    assert client.head.startswith("http/1.1 405 ") and "allow: post" in client.head


@pytest_twisted.ensureDeferred
async def test_its_clients_get_the_errors_of_backends_in_their_own_form(broker):
    rig = await broker()
    client = await rig.post("/made-up/ask", text(ASKED))
    backend = await rig.backend()
    refusal = {"error": {"message": "no such thing", "type": "invalid_request_error"}}
    backend.transport.write(unary(text(refusal), b"400 Bad Request", CLOSE))
    await client.has(b"}}")
    assert json.loads(client.body) == {
        "oops": {"what": "invalid_request", "words": "no such thing"}
    }
    client = await rig.post("/made-up/ask", text({**ASKED, "stream": True}))
    backend = await rig.backend(2)
    backend.transport.write(sse_head() + chunk(O_EVENT))
    await client.has(b'"words"')
    backend.transport.loseConnection()
    await client.has(b'"oops"')
    assert [set(event) for event in events(client.body)] == [{"words"}, {"oops"}]


@pytest_twisted.ensureDeferred
async def test_a_client_of_another_dialect_calls_its_backend(broker):
    rig = await broker()
    tools = [{"type": "function", "function": {"name": "f"}}]
    client = await rig.post("/v1/chat/completions", text({**O_ASKED, "tools": tools}))
    backend = await rig.backend()
    assert backend.received.startswith(b"POST /v1/ask ")
    assert "made-up-version: 7" in backend.head and "made-up-key: backend-key" in backend.head
    assert sent(backend) == {"model": "tiny-m", "say": ASKED["say"], "most": 5}
    extra = b"made-up-left: 9\r\nmade-up-id: theirs\r\n"
    backend.transport.write(unary(text(ANSWER), extra=extra))
    await client.has(b'"choices"')
    (choice,) = json.loads(client.body)["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("yo", "stop")
    assert "x-ratelimit-remaining-requests: 9" in client.head
    assert "x-request-id: theirs" in client.head
    assert "x-lmbroker-dropped: tools" in client.head


@pytest_twisted.ensureDeferred
async def test_a_client_of_another_dialect_gets_a_stream_of_its_backend(broker):
    rig = await broker()
    client = await rig.post("/v1/chat/completions", text({**O_ASKED, "stream": True}))
    backend = await rig.backend()
    pieces = data({"words": "y"}), data({"words": "o"}), data({"why": "cut", "spent": [3, 2]})
    backend.transport.write(sse_head() + b"".join(map(chunk, pieces)) + chunk(b""))
    await client.has(b"[DONE]")
    choices = [choice for event in events(client.body) for choice in event["choices"]]
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == "yo"
    assert choices[-1]["finish_reason"] == "length"


@pytest_twisted.ensureDeferred
async def test_a_client_of_another_dialect_gets_the_errors_of_its_backend(broker):
    rig = await broker()
    client = await rig.post("/v1/messages", text(O_ASKED))
    backend = await rig.backend()
    refusal = {"oops": {"what": "invalid_request", "words": "not in this mood"}}
    backend.transport.write(unary(text(refusal), b"460 Oops", CLOSE))
    await client.has(b"not in this mood")
    assert json.loads(client.body)["error"]["type"] == "invalid_request_error"
    client = await rig.post("/v1/chat/completions", text({**O_ASKED, "stream": True}))
    backend = await rig.backend(2)
    pieces = data({"words": "y"}), data({"oops": {"what": "overloaded", "words": "too much"}})
    backend.transport.write(sse_head() + b"".join(map(chunk, pieces)) + chunk(b""))
    await client.has(b"too much")
    assert b'"error"' in client.body


@pytest_twisted.ensureDeferred
async def test_its_own_calls_are_passed_through(broker):
    rig = await broker()
    body = b'{ "say": [],  "model" : "m", "mood": 1.50 }'
    client = await rig.post("/made-up/ask", body, ["Made-Up-Mood: fine", "Made-Up-Other: x"])
    backend = await rig.backend()
    assert backend.body == body.replace(b'"m"', b'"tiny-m"')
    assert "made-up-mood: fine" in backend.head and "made-up-other" not in backend.head
    answer = b'{ "words" : "yo", "why":"done" ,"spent":[3,2]}'
    backend.transport.write(unary(answer, extra=CLOSE))
    await client.has(answer)
    stream = text({**ASKED, "model": "m", "stream": True})
    client = await rig.post("/made-up/ask", stream)
    backend = await rig.backend(2)
    pieces = data({"words": "yo"}) + data({"why": "done", "spent": [3, 2]})
    backend.transport.write(sse_head() + chunk(pieces) + chunk(b""))
    await client.has(b'"spent"')
    first, second = await rig.ended(2)
    assert [record.usage.output for record in (first, second)] == [2, 2]
    assert client.body == pieces


@pytest_twisted.ensureDeferred
async def test_the_list_of_models_has_its_fields_too(broker):
    rig = await broker()
    client = await rig.get("/v1/models")
    await client.has(b'"catalogue"')
    listed = json.loads(client.body)
    assert (listed["object"], listed["has_more"], listed["how_many"]) == ("list", False, 3)
    assert listed["catalogue"] == listed["data"]
    assert [entry["called"] for entry in listed["data"]] == ["o", "a", "m"]
    assert listed["data"][2]["max_tokens"] == 7
    client = await rig.get("/v1/models/m")
    await client.has(b'"called"')
    assert json.loads(client.body)["object"] == "model"


@pytest_twisted.ensureDeferred
async def test_its_backends_are_asked_for_their_models_in_their_own_way(broker):
    rig = await broker(ANYTHING)
    client = await rig.get("/v1/models")
    asked = []
    for number, names in enumerate((["x", "y"], ["z"]), 1):
        backend = await listed(rig, number)
        asked.append(bytes(backend.received).split(b" ")[1])
        assert "made-up-version: 7" in backend.head
        backend.transport.write(unary(text({"names": names}), extra=CLOSE))
    await client.has(b'"catalogue"')
    assert asked == [b"/v1/list?of=all", b"/v1/list?of=all&behind=y"]
    assert [entry["id"] for entry in json.loads(client.body)["data"]] == ["x", "y", "z"]


def test_the_commands_know_it(tmp_path, monkeypatch, capsys):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.replace("PORT", "1"))
    monkeypatch.setenv("KEY", "k")
    assert main(["check", "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "http://127.0.0.1:1/v1/ask" in told and "http://127.0.0.1:1/v1/list" in told
    arguments = ["explain", "--config", str(config), "--alias", "m", "--from", NAME, "--no-request"]
    assert main(arguments) == 0
    assert "passed through" in capsys.readouterr().out


@pytest_twisted.ensureDeferred
async def test_its_clients_count_tokens_at_backends_of_their_dialect_and_get_estimates_elsewhere(
    broker,
):
    rig = await broker()
    for asked in ("o", "a"):
        client = await rig.post("/made-up/count", text({**ASKED, "model": asked}))
        await client.has(b"how_long")
        assert json.loads(client.body)["how_long"] > 0
        assert "x-lmbroker-estimated: true" in client.head
    assert not rig.backends_seen
    client = await rig.post("/made-up/count", text({**ASKED, "model": "m"}))
    backend = await rig.backend()
    assert backend.received.startswith(b"POST /v1/count ")
    backend.transport.write(unary(b'{"how_long": 4711 }'))
    await client.has(b"4711 }")
    assert "x-lmbroker-estimated" not in client.head


@pytest_twisted.ensureDeferred
async def test_an_operation_that_only_its_backends_have_is_refused_elsewhere(broker):
    rig = await broker()
    client = await rig.post("/made-up/compact", text({**ASKED, "model": "o"}))
    await client.has(b"compact")
    assert client.head.startswith("http/1.1 560 ") and not rig.backends_seen
    client = await rig.post("/made-up/compact", text({**ASKED, "model": "m"}))
    backend = await rig.backend()
    assert backend.received.startswith(b"POST /v1/compact ")
    assert backend.body == text({**ASKED, "model": "tiny-m"})
    backend.transport.write(unary(b'{"short":  true}'))
    await client.has(b'{"short":  true}')


@pytest_twisted.ensureDeferred
async def test_a_path_that_is_not_served_on_purpose_says_what_to_do(broker):
    rig = await broker()
    for request in (
        await rig.get("/made-up/kept/1"),
        await rig.post("/made-up/kept/1/again", b"{}"),
    ):
        await request.has(b"nothing is kept here")
        assert request.head.startswith("http/1.1 460 ")
