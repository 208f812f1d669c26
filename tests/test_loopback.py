"""The broker between raw sockets: what bytes cross it, when, and what happens on a break."""

import json

import pytest
import pytest_twisted
from rig import (
    CONFIG,
    EVENTS,
    O_END,
    O_EVENT,
    PATHS,
    ask,
    chunk,
    sse_head,
    unary,
)
from stopwatch import Stopwatch
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.observers.access_log import access_fields

ODD = (
    b' {"messages":[{"role":"user","content":"say \\"model\\": \\"x\\""}],  "n":1,\n'
    b'"seed":123456789012345678901234567890,"unknown":{"model":"inner"}, "model" : "%s",'
    b'"input": "x"}'
)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("path", "alias", "real", "target"),
    [
        ("/v1/chat/completions", b"o", b"real-o", "/v1/chat/completions"),
        ("/v1/embeddings", b"o", b"real-o", "/v1/embeddings"),
        ("/v1/messages", b"a", b"real-a", "/v1/messages"),
        ("/v1/messages?beta=true", b"a", b"real-a", "/v1/messages?beta=true"),
        ("/v1/messages/count_tokens", b"a", b"real-a", "/v1/messages/count_tokens"),
    ],
)
async def test_case_41_and_42_passthrough_keeps_every_byte_of_request_and_answer(
    rig, path, alias, real, target
):
    client = await rig.post(path, ODD % alias)
    backend = await rig.backend()
    assert backend.received.startswith(f"POST {target} HTTP/1.1\r\n".encode())
    assert backend.body == ODD % real
    answer = (
        b'{ "id":"x" ,"big":123456789012345678901234567890, "object" : "list",\n'
        b'"data":[{"object":"embedding","index":0,"embedding":[0.50]}],'
        b'"usage":{"prompt_tokens":1,"total_tokens":1}}\n'
    )
    backend.transport.write(unary(answer))
    await client.has(answer)
    assert client.body == answer
    (record,) = await rig.ended()
    assert (record.end.outcome, record.end.status) == ("complete", 200)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("dialect", "alias"), [("openai", "o"), ("anthropic", "a")])
async def test_a_passed_stream_is_the_backends_bytes_chunk_by_chunk(rig, dialect, alias):
    first, last = EVENTS[alias]
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(first))
    await client.has(first)
    backend.transport.write(chunk(b": comment\n\n"))
    await client.has(b": comment")
    backend.transport.write(chunk(last) + b"0\r\n\r\n")
    await client.has(b"0\r\n\r\n")
    assert client.body == first + b": comment\n\n" + last
    (record,) = await rig.ended()
    assert (record.end.outcome, record.stream) == ("complete", True)
    assert "text/event-stream" in client.head
    assert "content-length" not in client.head
    if alias == "a":
        assert record.usage.output == 5


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_how_long_an_event_may_be_is_configured(open_rig, dialect, alias):
    rig = await open_rig(config="[limits]\nstream_event = 10000\n" + CONFIG)
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(EVENTS[alias][0]))
    await client.has(b"data: ")
    backend.transport.write(chunk(b'data: {"a": "' + b"x" * 10_000))
    await client.has(b"a stream event above the size limit")
    (record,) = await rig.ended()
    assert (record.end.outcome, record.end.code) == ("stream_error", "bad_upstream_response")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("dialect", "alias"), [("openai", "a"), ("anthropic", "o")])
async def test_a_translated_event_leaves_before_the_next_arrives(rig, dialect, alias):
    first, last = EVENTS[alias]
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    sent = json.loads(backend.body)
    assert sent["model"] == f"real-{alias}"
    assert sent["stream"] is True
    backend.transport.write(sse_head() + chunk(first))
    await client.has("hé".encode())
    backend.transport.write(chunk(last) + b"0\r\n\r\n")
    await client.has(b"0\r\n\r\n")
    assert client.body.endswith(
        b"data: [DONE]\n\n" if dialect == "openai" else b'data: {"type":"message_stop"}\n\n'
    )
    (record,) = await rig.ended()
    assert record.end.outcome == "complete"
    assert record.usage.output > 0


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
async def test_case_88_no_credential_of_the_client_reaches_a_backend(rig, dialect, alias):
    keys = ["Authorization: Bearer client-key", "x-api-key: client-key", "api-key: client-key"]
    await rig.post(PATHS[dialect], ask(alias), [*keys, "Cookie: k=client-key"])
    backend = await rig.backend()
    assert b"client-key" not in backend.received
    if alias == "o":
        assert "authorization: bearer backend-key" in backend.head
    else:
        assert "x-api-key: backend-key" in backend.head
        assert "authorization: bearer backend-key" in backend.head


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("moment", ["waiting", "headers", "streaming"])
@pytest.mark.parametrize("rudely", [False, True])
async def test_case_80_a_client_that_leaves_stops_the_backend(rig, dialect, alias, moment, rudely):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    if moment != "waiting":
        backend.transport.write(sse_head())
    if moment == "streaming":
        backend.transport.write(chunk(EVENTS[alias][0]))
        await client.has("hé".encode())
    left = Stopwatch()
    client.transport.abortConnection() if rudely else client.transport.loseConnection()
    await backend.closed()
    assert left.stop() < 0.1
    (record,) = await rig.ended()
    assert record.end.outcome == "client_left"
    assert len(record.attempts) == 1
    assert rig.gauge() == 0


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("rudely", [False, True])
@pytest.mark.parametrize("half", [b"", b'data: {"choices":[{"ind'])
async def test_a_stream_that_breaks_ends_with_one_error_in_band(rig, dialect, alias, rudely, half):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(EVENTS[alias][0]) + (chunk(half) if half else b""))
    await client.has("hé".encode())
    backend.transport.abortConnection() if rudely else backend.transport.loseConnection()
    await client.has(b"0\r\n\r\n")
    events = client.body.decode().split("\n\n")
    assert events[-1] == ""
    assert client.body.count(b'"error"') == (1 if dialect == "openai" else 2)
    if dialect == "openai":
        error = json.loads(events[-2].removeprefix("data: "))["error"]
        assert error["code"] == "upstream_stream_truncated"
    else:
        name, data = events[-2].split("\n")
        assert name == "event: error"
        assert json.loads(data.removeprefix("data: "))["error"]["type"] == "api_error"
    assert b"[DONE]" not in client.body
    assert b"message_stop" not in client.body
    (record,) = await rig.ended()
    assert (record.end.outcome, record.end.status) == ("stream_error", 200)
    assert len(rig.backends_seen) == 1


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
async def test_case_68_an_error_as_the_first_event_becomes_an_http_error(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    event = (
        b'data: {"error":{"message":"busy","type":"server_error",'
        b'"code":"server_is_overloaded"}}\n\n'
        if alias == "o"
        else b"event: error\n"
        b'data: {"type":"error","error":{"type":"overloaded_error","message":"busy"}}\n\n'
    )
    backend.transport.write(sse_head() + chunk(event))
    await client.has(b"busy")
    assert client.head.startswith("http/1.1 " + ("503" if dialect == "openai" else "529"))
    (record,) = await rig.ended()
    assert record.end.outcome == "backend_error"
    assert rig.gauge() == 0


@pytest_twisted.ensureDeferred
async def test_case_80_a_slow_client_pauses_the_backend(rig):
    client = await rig.post(PATHS["openai"], ask("o", stream=True))
    backend = await rig.backend()
    client.transport.pauseProducing()
    event = O_EVENT.replace(b"h\xc3\xa9", b"x" * 60_000)
    written = 0

    class Endless:
        """Writes as fast as the broker reads."""

        def resumeProducing(self):
            nonlocal written
            if written < 2000:
                written += 1
                backend.transport.write(chunk(event))

        def stopProducing(self): ...

    backend.transport.write(sse_head())
    backend.transport.registerProducer(Endless(), False)
    before = -1
    while before != written:
        before = written
        await deferLater(reactor, 0.2)
    assert written < 400, "the broker read on although nobody took what it read"
    client.transport.resumeProducing()
    await client.until(lambda: len(client.received) > 420 * len(event))
    backend.transport.unregisterProducer()


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
async def test_case_87_a_backend_that_rejects_our_key_is_our_fault(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    body = b'{"error":{"message":"Incorrect API key provided: backend-key","type":"x"}}'
    backend.transport.write(unary(body, b"401 Unauthorized"))
    await client.has(b"backend authentication failed")
    assert client.head.startswith("http/1.1 502")
    assert b"backend-key" not in client.received


@pytest_twisted.ensureDeferred
async def test_a_native_error_body_passes_as_it_is(rig):
    client = await rig.post(PATHS["anthropic"], ask("a"))
    backend = await rig.backend()
    body = b'{"type":"error", "error":{"type":"invalid_request_error","message":"max_tokens: x"}}'
    backend.transport.write(unary(body, b"400 Bad Request", b"request-id: req_theirs\r\n"))
    await client.has(body)
    assert client.body == body
    assert "request-id: req_theirs" in client.head


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("stream", [False, True])
async def test_html_is_not_relayed(rig, stream):
    client = await rig.post(PATHS["openai"], ask("o", stream=stream))
    backend = await rig.backend()
    backend.transport.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 6\r\n\r\n<html>"
    )
    await client.has(b"\r\n\r\n{")
    assert client.head.startswith("http/1.1 502")
    assert json.loads(client.body)["error"]["message"]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
async def test_case_78_json_for_a_stream_and_a_stream_for_json(rig, dialect, alias):
    answers = {
        "o": b'{"id":"c1","object":"chat.completion","created":1,"model":"real-o","choices":'
        b'[{"index":0,"message":{"role":"assistant","content":"h\xc3\xa9"},"finish_reason":"stop"}]'
        b',"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}',
        "a": b'{"id":"msg_1","type":"message","role":"assistant","model":"real-a","content":'
        b'[{"type":"text","text":"h\xc3\xa9"}],"stop_reason":"end_turn","stop_sequence":null,'
        b'"usage":{"input_tokens":3,"output_tokens":5}}',
    }
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(unary(answers[alias]))
    await client.has("hé".encode())
    assert "text/event-stream" in client.head
    assert (b"[DONE]" if dialect == "openai" else b"message_stop") in client.body

    client = await rig.post(PATHS[dialect], ask(alias))
    await backend.until(lambda: backend.received.count(b"POST ") == 2)
    backend.transport.write(sse_head() + chunk(b"".join(EVENTS[alias])) + b"0\r\n\r\n")
    await client.has("hé".encode())
    assert "application/json" in client.head
    assert isinstance(json.loads(client.body), dict)


@pytest_twisted.ensureDeferred
async def test_the_access_line_tells_the_call_and_none_of_its_contents(rig):
    client = await rig.post(PATHS["anthropic"], ask("o", stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(O_EVENT + O_END) + b"0\r\n\r\n")
    await client.has(b"message_stop")
    (record,) = await rig.ended()
    line = access_fields(record)
    assert line["alias"] == "o"
    assert line["dialects"] == "anthropic->openai"
    assert line["workflow"] == "translation"
    assert line["outcome"] == "complete"
    assert line["status"] == 200
    assert 0 <= line["ms_headers"] <= line["ms_first_event"] <= line["ms"]
    assert line["tokens_out"] > 0
    assert "hé" not in json.dumps(line, ensure_ascii=False)
    assert '"hi"' not in json.dumps(line)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("request_line", "status", "anthropic"),
    [
        ("GET /nowhere", 404, False),
        ("GET /v1/messages/nowhere", 404, True),
        ("GET /v1/chat/completions", 405, False),
        ("DELETE /v1/messages", 405, True),
        ("OPTIONS /v1/messages", 405, True),
        ("FOO /v1/messages", 405, True),
        ("get /health", 405, False),
        ("Get /v1/models", 405, False),
        ("post /v1/messages", 405, True),
        ("head /health", 405, False),
        ("POST /health", 405, False),
        ("GET /%ff", 400, False),
        ("GET /v1//messages", 405, True),
    ],
)
async def test_every_other_path_answers_json_of_its_family(rig, request_line, status, anthropic):
    client = await rig.client()
    client.transport.write(
        request_line.encode() + b" HTTP/1.1\r\nHost: a..b\r\nContent-Length: 0\r\n\r\n"
    )
    await client.has(b"}")
    assert client.head.startswith(f"http/1.1 {status}")
    assert ("allow: " in client.head) == (status == 405)
    assert "server:" not in client.head
    body = json.loads(client.body)
    assert body["error"]["message"]
    assert ("type" in body) == anthropic


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "path", ["/health", "/v1/models", "/v1/models/o", "/metrics", "/api/hello"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_what_can_be_read(rig, path, method):
    client = await rig.client()
    client.transport.write(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    await client.has(b"\r\n\r\n")
    assert client.head.startswith("http/1.1 200")
    if method == "HEAD":
        await deferLater(reactor, 0.02)
        assert client.body == b""


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("path", "status"), [("/v1/messages", 405), ("/v1/models/x", 404), ("/%ff", 400)]
)
async def test_an_error_without_its_body_is_no_line_in_the_log(rig, messages, path, status):
    client = await rig.client()
    head = f"HEAD {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    client.transport.write(head.encode())
    await client.closed()
    assert client.head.startswith(f"http/1.1 {status}")
    assert "content-length: 0" not in client.head
    assert client.body == b""
    assert not [line for line in messages if "message body" in line]


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("POST /chat/completions", 400),
        ("POST /v1/v1/messages?beta=true", 400),
        ("POST //v1/embeddings", 400),
        ("GET /models", 200),
        ("GET /v1/v1/models/o", 200),
        ("POST /models", 405),
    ],
)
async def test_a_base_url_that_leaves_no_doubt_is_served(rig, request_line, status):
    client = await rig.client()
    # A body that is no JSON: the route of calls refuses it, any other would not read it.
    head = f"{request_line} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n{{"
    client.transport.write(head.encode())
    await client.has(b"}")
    assert client.head.startswith(f"http/1.1 {status}")


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_path_is_named_with_its_likely_cause(rig, method):
    client = await rig.client()
    client.transport.write(
        f"{method} /api/v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n"
        "anthropic-version: 2023-06-01\r\n\r\n".encode()
    )
    await client.has(b"}")
    assert client.head.startswith("http/1.1 404") and "x-lmbroker-request-id: " in client.head
    told = json.loads(client.body)
    assert told["type"] == "error" and told["error"]["type"] == "not_found_error"
    assert "/api/v1/chat/completions" in told["error"]["message"]
    assert "base URL" in told["error"]["message"]
