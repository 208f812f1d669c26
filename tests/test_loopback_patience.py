"""The broker waits, repairs and counts: what takes more than one answer of a backend."""

import json

import pytest
import pytest_twisted
from rig import (
    A_END,
    A_EVENT,
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

from lmbroker.call import Timeouts
from lmbroker.observers.access_log import access_fields

QUICK = Timeouts(connect=2, headers=2, first_event=2, idle=1, total=4, commit=0.1, ping=0.1)
CLAUDE = CONFIG.replace("real-a", "claude-opus-4-6")
PING = {"openai": b": ping\n\n", "anthropic": b'event: ping\ndata: {"type": "ping"}\n\n'}

RIG = {"timeouts": QUICK, "config": CLAUDE}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
async def test_case_69_a_silent_backend_is_committed_to_and_its_error_told_in_band(
    open_rig, dialect, alias
):
    rig = await open_rig()
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head())
    await client.has(b": ping\n\n", times=2)
    assert client.head.startswith("http/1.1 200")
    error = (
        b'data: {"error":{"message":"busy","type":"server_error"}}\n\n'
        if alias == "o"
        else b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
        b'"message":"busy"}}\n\n'
    )
    backend.transport.write(chunk(error))
    await client.has(b"busy")
    [record] = await rig.ended()
    assert record.end.outcome == "stream_error"
    assert b"[DONE]" not in client.body and b"message_stop" not in client.body


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("alias", ["o", "a"])
async def test_case_70_pings_after_the_first_event_are_of_the_clients_dialect(
    open_rig, dialect, alias
):
    rig = await open_rig()
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    event, end = EVENTS[alias]
    backend.transport.write(sse_head() + chunk(event))
    await client.has(PING[dialect], times=2)
    backend.transport.write(chunk(end) + b"0\r\n\r\n")
    [record] = await rig.ended()
    assert record.end.outcome == "complete"


def refusal(parameter):
    message = f"{parameter}: Extra inputs are not permitted"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    return unary(json.dumps(body).encode(), b"400 Bad Request")


WHOLE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":'
    b'[{"type":"text","text":"done"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":1}}'
)


async def next_request(line, number):
    """The body of the ``number``-th request on a backend's connection."""
    await line.has(b"POST ", times=number)
    request = bytes(line.received).split(b"POST ")[number]
    head, _, body = request.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    total = len(bytes(line.received)) - len(body) + length
    await line.until(lambda: len(line.received) >= total)
    return json.loads(bytes(line.received).split(b"POST ")[number].partition(b"\r\n\r\n")[2])


@pytest_twisted.ensureDeferred
async def test_case_103_a_refused_parameter_is_left_out_once_and_remembered(open_rig):
    rig = await open_rig()
    body = ask("a", temperature=0.5, max_tokens=50)
    client = await rig.post(PATHS["openai"], body)
    backend = await rig.backend()
    assert (await next_request(backend, 1))["temperature"] == 0.5
    backend.transport.write(refusal("temperature"))
    assert "temperature" not in await next_request(backend, 2)
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")
    assert "x-lmbroker-dropped: temperature" in client.head
    assert "x-lmbroker-attempts: 2" in client.head
    [record] = await rig.ended()
    assert record.learned == ("temperature",)
    assert access_fields(record)["learned"] == "temperature"
    learned = {"backend": record.attempts[0].target.backend.name, "parameter": "temperature"}
    assert rig.registry.get_sample_value("lmbroker_learned_total", learned) == 1

    client = await rig.post(PATHS["openai"], body)
    assert "temperature" not in await next_request(backend, 3)
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")
    assert "x-lmbroker-dropped: temperature" in client.head
    assert "x-lmbroker-attempts" not in client.head


@pytest_twisted.ensureDeferred
async def test_case_103_a_refused_signature_is_repaired_for_one_call(open_rig):
    rig = await open_rig()
    thought = {
        "index": 0,
        "type": "reasoning.text",
        "format": "anthropic-claude-v1",
        "text": "hm",
        "signature": "c2ln",
    }
    messages = [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "hello", "reasoning_details": [thought]},
        {"role": "user", "content": "again"},
    ]
    client = await rig.post(PATHS["openai"], ask("a", messages=messages, max_tokens=50))
    backend = await rig.backend()
    first = await next_request(backend, 1)
    assert first["messages"][1]["content"][0]["type"] == "thinking"
    message = "messages.1.content.0: Invalid `signature` in `thinking` block"
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": message}}
    backend.transport.write(unary(json.dumps(body).encode(), b"400 Bad Request"))
    second = await next_request(backend, 2)
    assert [block["type"] for block in second["messages"][1]["content"]] == ["text"]
    backend.transport.write(unary(WHOLE))
    await client.has(b"done")
    assert "x-lmbroker-dropped: messages[].reasoning_details" in client.head


@pytest_twisted.ensureDeferred
async def test_case_103_what_a_native_client_wrote_is_never_repaired(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["anthropic"], ask("a", temperature=0.5))
    backend = await rig.backend()
    backend.transport.write(refusal("temperature"))
    await client.has(b"temperature: Extra inputs are not permitted")
    assert client.head.startswith("http/1.1 400")
    assert bytes(backend.received).count(b"POST ") == 1


@pytest_twisted.ensureDeferred
async def test_case_78_a_long_unstreamed_answer_is_asked_for_as_a_stream(open_rig):
    """Anthropic allows an unstreamed answer ten minutes; so many tokens may take longer."""
    rig = await open_rig()
    client = await rig.post(PATHS["openai"], ask("a", max_tokens=30_000))
    backend = await rig.backend()
    assert (await next_request(backend, 1))["stream"] is True
    assert "accept: text/event-stream" in backend.head
    backend.transport.write(sse_head() + chunk(A_EVENT + A_END) + b"0\r\n\r\n")
    await client.has(b'"finish_reason":"stop"')
    answer = json.loads(client.body)
    assert answer["choices"][0]["message"]["content"] == "h\u00e9"
    assert answer["usage"]["completion_tokens"] == 5


@pytest_twisted.ensureDeferred
async def test_case_94_a_backend_without_a_counter_is_estimated_for(open_rig):
    rig = await open_rig()
    body = json.dumps(
        {"model": "o", "messages": [{"role": "user", "content": "x" * 360}], "container": "c"}
    )
    client = await rig.post("/v1/messages/count_tokens", body.encode())
    await client.has(b"input_tokens")
    assert 90 <= json.loads(client.body)["input_tokens"] <= 110
    assert "x-lmbroker-estimated: true" in client.head
    assert rig.backends_seen == []


@pytest_twisted.ensureDeferred
async def test_case_94_a_backend_that_counts_is_asked(open_rig):
    rig = await open_rig()
    body = b'{"model":"a","messages":[{"role":"user","content":"hi"}]}'
    client = await rig.post("/v1/messages/count_tokens?beta=true", body)
    backend = await rig.backend()
    assert backend.head.startswith("post /v1/messages/count_tokens?beta=true")
    backend.transport.write(unary(b'{"input_tokens": 7}'))
    await client.has(b"input_tokens")
    assert client.body == b'{"input_tokens": 7}'
    assert "x-lmbroker-estimated" not in client.head


@pytest_twisted.ensureDeferred
async def test_case_68_an_error_first_is_an_http_error_with_its_retry_headers(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["openai"], ask("o", stream=True))
    backend = await rig.backend()
    backend.transport.write(
        b"HTTP/1.1 429 Too Many\r\ncontent-type: application/json\r\nretry-after: 7\r\n"
        b"content-length: 53\r\n\r\n"
        b'{"error":{"message":"slow down","type":"rate_limit"}}'
    )
    await client.has(b"slow down")
    assert client.head.startswith("http/1.1 429")
    assert "retry-after: 7" in client.head


@pytest_twisted.ensureDeferred
async def test_case_66_a_stream_without_done_is_whole_if_it_has_a_finish_reason(open_rig):
    rig = await open_rig()
    client = await rig.post(PATHS["openai"], ask("o", stream=True))
    backend = await rig.backend()
    end = (
        b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"real-o","choices":'
        b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    )
    backend.transport.write(sse_head() + chunk(O_EVENT) + chunk(end) + b"0\r\n\r\n")
    await client.has(b"data: [DONE]\n\n")
    [record] = await rig.ended()
    assert record.end.outcome == "complete"


COUNTING = CONFIG.replace(
    'api_key = "env:KEY" }\n[[models]]',
    'api_key = "env:KEY" }\nprofile = { ask_usage = true }\n[[models]]',
)
USAGE = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"real-o","choices":[],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}\n\n'
)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("asked", [False, True])
async def test_case_42_usage_may_be_asked_for_behind_the_clients_back(open_rig, asked):
    rig = await open_rig(config=COUNTING)
    more = {"stream_options": {"include_usage": True}} if asked else {}
    client = await rig.post(PATHS["openai"], ask("o", stream=True, **more))
    backend = await rig.backend()
    assert (await next_request(backend, 1))["stream_options"] == {"include_usage": True}
    end = O_END.replace(b"data: [DONE]\n\n", b"")
    backend.transport.write(
        sse_head() + chunk(O_EVENT) + chunk(end + USAGE + b"data: [DONE]\n\n") + b"0\r\n\r\n"
    )
    await client.has(b"[DONE]")
    assert client.body == O_EVENT + end + (USAGE if asked else b"") + b"data: [DONE]\n\n"
    [record] = await rig.ended()
    assert (record.usage.input, record.usage.output) == (3, 5)


@pytest_twisted.ensureDeferred
async def test_case_42_nothing_is_asked_for_unless_the_configuration_says_so(open_rig):
    rig = await open_rig()
    body = ask("o", stream=True)
    await rig.post(PATHS["openai"], body)
    backend = await rig.backend()
    assert "stream_options" not in await next_request(backend, 1)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("mode", "field", "refused"),
    [
        ("default", {"seed": 3}, None),
        ("strict", {"seed": 3}, "seed"),
        ("default", {"logit_bias": {"1": 1}}, "logit_bias"),
        ("lenient", {"logit_bias": {"1": 1}}, None),
        ("lenient", {"n": 2}, "n"),
        ("loud", {}, "x-lmbroker-mode"),
    ],
)
async def test_case_26_a_client_chooses_how_loud_a_loss_is(open_rig, mode, field, refused):
    rig = await open_rig()
    client = await rig.post(PATHS["openai"], ask("a", **field), [f"X-LMBroker-Mode: {mode}"])
    if refused is None:
        backend = await rig.backend()
        backend.transport.write(unary(WHOLE))
        await client.has(b"done")
        assert f"x-lmbroker-dropped: {next(iter(field))}" in client.head
        return
    await client.has(b"}}")
    assert client.head.startswith("http/1.1 400")
    assert json.loads(client.body)["error"]["param"] == refused
    assert rig.backends_seen == []


@pytest_twisted.ensureDeferred
async def test_case_26_an_alias_has_a_mode_too(open_rig):
    rig = await open_rig(
        config=CLAUDE.replace('type = "anthropic"', 'type = "anthropic"\nmode = "strict"')
    )
    client = await rig.post(PATHS["openai"], ask("a", seed=3))
    await client.has(b"'seed' cannot be served")
    assert client.head.startswith("http/1.1 400")
