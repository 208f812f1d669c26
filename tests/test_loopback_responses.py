"""Calls of OpenAI's Responses over real sockets: passed through byte for byte, counted, compacted,
with what a backend remembers, at backends of every dialect, by both engines."""

import json

import pytest
import pytest_twisted
from rig import A_END, A_EVENT, O_END, O_EVENT, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from lmbroker.call import Timeouts
from lmbroker.observers.access_log import access_fields
from lmbroker.offload import LARGE
from lmbroker.server.http import Site
from lmbroker.translation.shared.signature import seal

BACKEND = 'url = "http://127.0.0.1:PORT/v1", model = "real", api_key = "env:KEY"'
CONFIG = f"""
[limits]
helpers = 0
[[models]]
alias = "r"
type = "responses"
target = {{ {BACKEND} }}
[[models]]
alias = "o"
type = "openai"
target = {{ {BACKEND} }}
[[models]]
alias = "a"
type = "anthropic"
target = {{ {BACKEND} }}
[[models]]
alias = "native"
type = "openai"
target = {{ {BACKEND}, responses = "native" }}
[[models]]
alias = "auto"
type = "openai"
target = {{ {BACKEND}, responses = "auto" }}
[[backends]]
name = "first"
type = "responses"
url = "http://127.0.0.1:PORT/v1"
[[backends]]
name = "second"
type = "anthropic"
url = "http://127.0.0.1:PORT/v1"
[[backends]]
name = "keys"
type = "responses"
url = "http://127.0.0.1:PORT/v1"
api_keys = ["one-key", "other-key"]
[[models]]
alias = "over"
targets = [{{ backend = "first", model = "r1" }}, {{ backend = "second", model = "a1" }}]
[[models]]
alias = "several"
targets = [{{ backend = "keys", model = "r1" }}]
"""
NATIVE = ["r", "native", "auto"]
PATH = "/v1/responses"

ANSWER = (
    b'{ "id":"resp_1",  "object":"response", "created_at":1.0,"status":"completed","error":null,'
    b'"incomplete_details":null,"model":"real","output":[{"type":"message","id":"msg_1","role":'
    b'"assistant","status":"completed","content":[{"type":"output_text","text":"yo","annotations":'
    b'[]}]}],"usage":{"input_tokens":3,"input_tokens_details":{"cached_tokens":1},"output_tokens":2'
    b',"output_tokens_details":{"reasoning_tokens":0},"total_tokens":5} , "unknown":[1.50] }'
)


def event(kind, **more):
    value = json.dumps({"type": kind, **more})
    return f"event: {kind}\ndata: {value}\n\n".encode()


PIECES = [
    event("response.created", sequence_number=0, response=json.loads(ANSWER) | {"output": []}),
    event(
        "response.output_item.added",
        sequence_number=1,
        output_index=0,
        item={"type": "message", "id": "msg_1", "role": "assistant", "content": []},
    ),
    event(
        "response.output_text.delta",
        sequence_number=2,
        output_index=0,
        content_index=0,
        item_id="msg_1",
        delta="yo",
        logprobs=[],
    ),
    event("response.completed", sequence_number=3, response=json.loads(ANSWER)),
]
O_ANSWER = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "real",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "yo"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()
A_ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "real",
        "content": [{"type": "text", "text": "yo"}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
).encode()
TOOL = {
    "type": "function",
    "name": "f",
    "parameters": {"type": "object", "properties": {}},
    "strict": False,
}


@pytest.fixture(params=["lean", "stock"])
def rig(request, open_rig):
    """The broker with ``CONFIG``, by each engine."""

    def site(resource):
        return Site(resource, reactor, engine=request.param)

    opened = open_rig(config=CONFIG, site=site)
    return pytest_twisted.blockon(Deferred.fromCoroutine(opened))


def ask(model, **more):
    return json.dumps({"model": model, "input": "hi", **more}).encode()


def path_of(line, number=1):
    return bytes(line.received).split(b"POST ")[number].split(b" ")[0].decode()


def error_of(client):
    return json.loads(client.body)["error"]


@pytest.mark.parametrize("model", NATIVE)
@pytest_twisted.ensureDeferred
async def test_requests_and_answers_pass_byte_for_byte(rig, model):
    body = (
        b'{"input" : [{"role":"user","content":"h\\u00e9"}],\n "model": "%s", "unknown":1.50,'
        b'"store":true}' % model.encode()
    )
    client = await rig.post(PATH, body, ["X-Codex-Window-Id: w1", "Session-Id: s1", "X-Other: 1"])
    backend = await rig.backend()
    assert path_of(backend) == "/v1/responses"
    assert backend.body == body.replace(b'"%s"' % model.encode(), b'"real"')
    assert "x-codex-window-id: w1" in backend.head and "session-id: s1" in backend.head
    assert "x-other" not in backend.head
    backend.transport.write(unary(ANSWER, extra=b"x-request-id: theirs\r\n"))
    await client.has(ANSWER)
    assert "x-request-id: theirs" in client.head
    assert ("x-lmbroker-dialect: responses" in client.head) == (model != "r")
    (record,) = await rig.ended()
    assert (record.dialect, record.end.outcome, record.stop) == ("responses", "complete", "end")
    assert (record.usage.input, record.usage.cache_read, record.usage.output) == (2, 1, 2)
    assert access_fields(record)["dialects"] == "responses->responses"


@pytest.mark.parametrize("model", NATIVE)
@pytest_twisted.ensureDeferred
async def test_streams_pass_byte_for_byte(rig, model):
    client = await rig.post(PATH, ask(model, stream=True))
    backend = await rig.backend()
    whole = b"".join(PIECES)
    backend.transport.write(sse_head())
    for at in range(0, len(whole), 97):
        backend.transport.write(chunk(whole[at : at + 97]))
        await deferLater(reactor, 0)
    backend.transport.write(chunk(b""))
    await client.has(b"response.completed")
    (record,) = await rig.ended()
    assert client.body == whole
    assert (record.end.outcome, record.usage.output) == ("complete", 2)


@pytest_twisted.ensureDeferred
async def test_errors_pass_byte_for_byte(rig):
    client = await rig.post(PATH, ask("r"))
    backend = await rig.backend()
    refusal = b'{ "error": {"message":"no", "type":"invalid_request_error","param":"input"} }'
    backend.transport.write(unary(refusal, b"400 Bad Request"))
    await client.has(refusal)
    assert client.head.startswith("http/1.1 400 ")
    assert "x-lmbroker-backend" in client.head


@pytest.mark.parametrize(
    "words",
    [
        {"message": "prompt is too long: 300 tokens > 200 maximum", "code": 400},
        {
            "message": "request (300 tokens) exceeds the available context size (200 tokens)",
            "code": 400,
            "type": "exceed_context_size_error",
        },
    ],
)
@pytest_twisted.ensureDeferred
async def test_that_a_prompt_is_too_long_is_said_as_clients_know_it(rig, words):
    client = await rig.post(PATH, ask("native"))
    backend = await rig.backend()
    backend.transport.write(unary(json.dumps({"error": words}).encode(), b"400 Bad Request"))
    await client.has(b"context_length_exceeded")
    assert client.head.startswith("http/1.1 400 ")
    (record,) = await rig.ended()
    assert record.end.outcome == "backend_error"


@pytest_twisted.ensureDeferred
async def test_an_answer_that_is_not_whole_passes_too(rig):
    for number, status in enumerate(("incomplete", "queued", "in_progress"), 1):
        answer = ANSWER.replace(b'"status":"completed"', b'"status":"%s"' % status.encode(), 1)
        client = await rig.post(PATH, ask("r"))
        backend = await rig.backend()
        await backend.has(b"POST ", times=number)
        backend.transport.write(unary(answer))
        await client.has(answer)
        assert client.head.startswith("http/1.1 200 ")


@pytest_twisted.ensureDeferred
async def test_a_stream_that_breaks_ends_with_an_error_of_the_dialect(rig):
    client = await rig.post(PATH, ask("r", stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + b"".join(map(chunk, PIECES[:3])))
    await client.has(b'"yo"')
    backend.transport.loseConnection()
    (record,) = await rig.ended()
    assert record.end.outcome == "stream_error"
    await client.has(b"response.failed")
    last = client.body.strip().split(b"\n\n")[-1]
    assert json.loads(last.partition(b"data: ")[2])["type"] == "response.failed"


@pytest.mark.parametrize(
    ("model", "path", "answer", "pieces"),
    [
        ("o", "/v1/chat/completions", O_ANSWER, [O_EVENT, O_END]),
        ("a", "/v1/messages", A_ANSWER, [A_EVENT, A_END]),
    ],
)
@pytest_twisted.ensureDeferred
async def test_backends_of_other_dialects_answer_too(rig, model, path, answer, pieces):
    client = await rig.post(PATH, ask(model, tools=[TOOL]))
    backend = await rig.backend()
    assert path_of(backend) == path
    backend.transport.write(unary(answer))
    await client.has(b'"yo"')
    told = json.loads(client.body)
    assert (told["object"], told["status"], told["store"]) == ("response", "completed", False)
    assert (told["model"], told["tools"]) == (model, [TOOL])
    client = await rig.post(PATH, ask(model, stream=True))
    await backend.has(b"POST ", times=2)
    backend.transport.write(sse_head() + b"".join(map(chunk, pieces)) + chunk(b""))
    await client.has(b"response.completed")
    events = [
        json.loads(line[6:]) for line in client.body.split(b"\n") if line.startswith(b"data: ")
    ]
    assert [each["sequence_number"] for each in events] == list(range(len(events)))


@pytest.mark.parametrize(
    ("path", "body", "answer"),
    [
        ("/v1/chat/completions", {"messages": [{"role": "user", "content": "hi"}]}, b'"choices"'),
        (
            "/v1/messages",
            {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 20},
            b'"end_turn"',
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_clients_of_other_dialects_call_a_backend_of_responses(rig, path, body, answer):
    client = await rig.post(path, json.dumps({"model": "r", **body}).encode())
    backend = await rig.backend()
    assert path_of(backend) == "/v1/responses"
    assert json.loads(backend.body)["store"] is False
    backend.transport.write(unary(ANSWER))
    await client.has(answer)
    client = await rig.post(path, json.dumps({"model": "r", **body, "stream": True}).encode())
    await backend.has(b"POST ", times=2)
    backend.transport.write(sse_head() + b"".join(map(chunk, PIECES)) + chunk(b""))
    await client.has(b"yo")
    first, second = await rig.ended(2)
    assert (first.end.outcome, second.end.outcome) == ("complete", "complete")


# Counting, compacting, what backends remember.


@pytest.mark.parametrize("path", ["/v1/responses/input_tokens", "/responses/input_tokens"])
@pytest.mark.parametrize("model", NATIVE)
@pytest_twisted.ensureDeferred
async def test_a_backend_of_responses_counts(rig, model, path):
    client = await rig.post(path, ask(model))
    backend = await rig.backend()
    assert path_of(backend) == "/v1/responses/input_tokens"
    counted = b'{"object": "response.input_tokens",  "input_tokens": 4711}'
    backend.transport.write(unary(counted))
    await client.has(counted)
    assert "x-lmbroker-estimated" not in client.head


@pytest.mark.parametrize("model", ["o", "a"])
@pytest_twisted.ensureDeferred
async def test_elsewhere_tokens_are_estimated(rig, model):
    client = await rig.post("/v1/responses/input_tokens", ask(model))
    await client.has(b"input_tokens")
    told = json.loads(client.body)
    assert told["object"] == "response.input_tokens" and 0 < told["input_tokens"] < 50
    assert "x-lmbroker-estimated: true" in client.head
    assert not rig.backends_seen


@pytest_twisted.ensureDeferred
async def test_a_backend_that_does_not_count_is_asked_once(rig):
    client = await rig.post("/v1/responses/input_tokens", ask("r"))
    backend = await rig.backend()
    backend.transport.write(unary(b'{"detail": "Not Found"}', b"404 Not Found"))
    await client.has(b"input_tokens")
    client = await rig.post("/v1/responses/input_tokens", ask("r"))
    await client.has(b"input_tokens")
    assert bytes(backend.received).count(b"POST ") == 1


@pytest.mark.parametrize("model", NATIVE)
@pytest_twisted.ensureDeferred
async def test_compaction_is_passed_through(rig, model):
    client = await rig.post("/v1/responses/compact", ask(model))
    backend = await rig.backend()
    assert path_of(backend) == "/v1/responses/compact"
    compacted = b'{"object":"response.compaction",  "output":[]}'
    backend.transport.write(unary(compacted))
    await client.has(compacted)
    (record,) = await rig.ended()
    assert (record.operation, record.end.outcome) == ("compact", "complete")


@pytest.mark.parametrize("model", ["o", "a"])
@pytest_twisted.ensureDeferred
async def test_elsewhere_it_is_refused_by_its_name(rig, model):
    client = await rig.post("/v1/responses/compact", ask(model))
    await client.has(b"compact")
    assert client.head.startswith("http/1.1 400 ")
    assert "'compact'" in error_of(client)["message"]
    assert error_of(client)["code"] == "unsupported_operation"
    assert not rig.backends_seen


MEMORY = {
    "previous_response_id": "resp_1",
    "conversation": {"id": "conv_1"},
    "background": True,
    "prompt": {"id": "pmpt_1"},
}


@pytest.mark.parametrize("field", MEMORY)
@pytest.mark.parametrize("model", NATIVE)
@pytest_twisted.ensureDeferred
async def test_what_a_backend_remembers_is_used_where_no_other_can_be_asked(rig, model, field):
    body = ask(model, **{field: MEMORY[field]})
    await rig.post(PATH, body)
    backend = await rig.backend()
    assert json.loads(backend.body) == json.loads(body) | {"model": "real"}


@pytest.mark.parametrize("field", MEMORY)
@pytest.mark.parametrize("model", ["over", "several"])
@pytest_twisted.ensureDeferred
async def test_it_is_refused_where_another_may_be_asked(rig, model, field):
    client = await rig.post(PATH, ask(model, **{field: MEMORY[field]}))
    await client.has(b"remembers")
    assert client.head.startswith("http/1.1 400 ")
    error = error_of(client)
    assert (error["param"], error["code"]) == (field, "unsupported_parameter")
    assert not rig.backends_seen


@pytest.mark.parametrize("field", MEMORY)
@pytest.mark.parametrize("model", ["o", "a"])
@pytest_twisted.ensureDeferred
async def test_it_is_refused_where_it_would_have_to_be_translated(rig, model, field):
    client = await rig.post(PATH, ask(model, **{field: MEMORY[field]}))
    await client.has(b'"error"')
    assert client.head.startswith("http/1.1 400 ")
    assert error_of(client)["param"] == field
    assert not rig.backends_seen


@pytest.mark.parametrize("field", [*MEMORY, "store"])
@pytest_twisted.ensureDeferred
async def test_saying_that_nothing_is_kept_needs_nothing(rig, field):
    value = False if field in ("background", "store") else None
    await rig.post(PATH, ask("several", **{field: value}))
    backend = await rig.backend()
    assert json.loads(backend.body)[field] is value


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /v1/responses/resp_1",
        "DELETE /v1/responses/resp_1",
        "POST /v1/responses/resp_1/cancel",
        "GET /v1/responses/resp_1/input_items?limit=3",
        "GET /responses/resp_1",
        "POST /v1/conversations",
        "GET /v1/conversations/conv_1/items",
    ],
)
@pytest_twisted.ensureDeferred
async def test_nothing_is_kept_to_be_fetched_later(rig, request_line):
    client = await rig.client()
    client.transport.write(
        f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    )
    await client.has(b"}}")
    assert client.head.startswith("http/1.1 400 ")
    assert error_of(client)["message"].startswith("this broker keeps no responses")
    client.transport.write(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
    await client.has(b'{"status":"ok"}')


@pytest_twisted.ensureDeferred
async def test_a_websocket_is_refused_so_that_codex_goes_on_at_once(rig):
    upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13"]
    client = await rig.get(PATH, upgrade)
    await client.has(b"WebSockets")
    assert client.head.startswith("http/1.1 426 ")
    body = ask("r")
    client.transport.write(
        b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    )
    backend = await rig.backend()
    backend.transport.write(unary(ANSWER))
    await client.has(ANSWER)


# The broker's own signatures, second dialects, failover, patience.

OURS = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": seal({"k": "rc"})}
THEIRS = {"type": "reasoning", "id": "rs_2", "summary": [], "encrypted_content": "gAAA"}
SAID = {"role": "user", "content": "lmb1."}


@pytest.mark.parametrize("model", NATIVE)
@pytest_twisted.ensureDeferred
async def test_reasoning_that_the_broker_sealed_reaches_no_vendor(rig, model):
    await rig.post(PATH, ask(model, input=[SAID, OURS, THEIRS]))
    backend = await rig.backend()
    assert json.loads(backend.body)["input"] == [SAID, THEIRS]


@pytest_twisted.ensureDeferred
async def test_that_is_told(rig):
    client = await rig.post(PATH, ask("r", input=[SAID, OURS]))
    backend = await rig.backend()
    backend.transport.write(unary(ANSWER))
    await client.has(ANSWER)
    assert "x-lmbroker-dropped: input[].reasoning" in client.head


PDF = {"type": "document", "source": {"type": "url", "url": "https://example.com/a.pdf"}}


@pytest.mark.parametrize("size", [1, LARGE])
@pytest_twisted.ensureDeferred
async def test_what_chat_completions_cannot_carry_is_translated_to_responses(rig, size):
    content = [{"type": "text", "text": "a" * size}, PDF]
    messages = [{"role": "user", "content": content}]
    body = json.dumps({"model": "auto", "max_tokens": 20, "messages": messages}).encode()
    client = await rig.post("/v1/messages", body)
    backend = await rig.backend()
    assert path_of(backend) == "/v1/responses"
    parts = json.loads(backend.body)["input"][0]["content"]
    assert parts[1] == {"type": "input_file", "file_url": "https://example.com/a.pdf"}
    backend.transport.write(unary(ANSWER))
    await client.has(b'"end_turn"')
    assert "x-lmbroker-dialect: responses" in client.head
    (record,) = await rig.ended()
    fields = access_fields(record)
    assert (fields["dialects"], fields["workflow"]) == ("anthropic->responses", "translation")


CHAT = {
    "model": "auto",
    "messages": [{"role": "user", "content": "hi"}],
    "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
    "reasoning_effort": "low",
}
REFUSAL = {
    "error": {
        "message": "Function tools with reasoning_effort are not supported for real in "
        "/v1/chat/completions. Please use /v1/responses instead.",
        "type": "invalid_request_error",
        "param": "reasoning_effort",
        "code": None,
    }
}


@pytest_twisted.ensureDeferred
async def test_tools_with_reasoning_go_to_responses_once_that_is_refused(rig):
    for number in (1, 3):
        client = await rig.post("/v1/chat/completions", json.dumps(CHAT).encode())
        backend = await rig.backend()
        await backend.has(b"POST ", times=number)
        if number == 1:
            assert path_of(backend) == "/v1/chat/completions"
            backend.transport.write(unary(json.dumps(REFUSAL).encode(), b"400 Bad Request"))
            await backend.has(b"POST ", times=2)
            assert path_of(backend, 2) == "/v1/responses"
        else:
            assert path_of(backend, 3) == "/v1/responses"
        backend.transport.write(unary(ANSWER))
        await client.has(b'"choices"')
    sent = json.loads(bytes(backend.received).split(b"POST ")[3].partition(b"\r\n\r\n")[2])
    assert sent["reasoning"]["effort"] == "low" and sent["tools"][0]["name"] == "f"


@pytest_twisted.ensureDeferred
async def test_without_the_setting_nothing_of_that_happens(rig):
    client = await rig.post("/v1/chat/completions", json.dumps(CHAT | {"model": "o"}).encode())
    backend = await rig.backend()
    backend.transport.write(unary(json.dumps(REFUSAL).encode(), b"400 Bad Request"))
    await client.has(b"use /v1/responses instead")
    assert bytes(backend.received).count(b"POST ") == 1


@pytest_twisted.ensureDeferred
async def test_a_call_goes_on_to_a_backend_of_another_dialect(rig):
    client = await rig.post(PATH, ask("over", prompt_cache_key="k"))
    backend = await rig.backend()
    assert path_of(backend) == "/v1/responses"
    busy = b'{"error":{"message":"busy","type":"server_error"}}'
    backend.transport.write(unary(busy, b"503 Service Unavailable"))
    other = await rig.backend(2)
    assert path_of(other) == "/v1/messages"
    other.transport.write(unary(A_ANSWER))
    await client.has(b'"response"')
    assert "x-lmbroker-attempts: 2" in client.head
    (record,) = await rig.ended()
    assert [each.target.backend.dialect for each in record.attempts] == ["responses", "anthropic"]


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_ends_the_call_at_the_backend(rig):
    client = await rig.post(PATH, ask("r", stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + b"".join(map(chunk, PIECES[:3])))
    await client.has(b'"yo"')
    client.transport.abortConnection()
    await backend.closed()
    (record,) = await rig.ended()
    assert record.end.outcome == "client_left"


@pytest.mark.parametrize("model", ["r", "o", "a"])
@pytest_twisted.ensureDeferred
async def test_who_waits_for_a_stream_gets_keep_alive_pings(open_rig, model):
    patience = Timeouts(commit=0.05, ping=0.05)
    rig = await open_rig(config=CONFIG, timeouts=patience)
    client = await rig.post(PATH, ask(model, stream=True))
    await client.has(b"\n\n", times=3)
    assert client.head.startswith("http/1.1 200 ")
    before = client.body
    assert all(line.startswith(b":") for line in before.strip().split(b"\n\n"))
    backend = await rig.backend()
    error = b'{"error":{"message":"no such thing","type":"invalid_request_error"}}'
    backend.transport.write(unary(error, b"400 Bad Request"))
    await client.has(b"no such thing")
    last = client.body.strip().split(b"\n\n")[-1]
    assert json.loads(last.partition(b"data: ")[2])["type"] == "response.failed"
