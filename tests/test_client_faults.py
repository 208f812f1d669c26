"""What brokers get wrong in front of real clients, each as a test of ours.

Seen with the clients that people use: Claude Code, Codex, the AI SDK, the official SDKs. Where a
call has to go over the wire it goes through the running daemon; the rest is asked of the
workflows.
"""

import base64
import json
import re
import socket
import struct
from typing import Any

import anthropic
import openai
import pytest

from lmbroker.call import Backend, Call, Target
from lmbroker.errors import ErrorInfo, Refused
from lmbroker.headers import from_error
from lmbroker.routing.keys import Key, caller_of, digest_of
from lmbroker.sse import Reader
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.workflows import estimate, workflow_for

DIALECTS = ("openai", "anthropic", "responses")
ASK: Any = [{"role": "user", "content": "hi"}]
EACH_END = pytest.mark.parametrize("alias", ["o", "a", "r"])


@pytest.fixture(scope="module")
def o(daemon):
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="k", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def a(daemon):
    with anthropic.Anthropic(base_url=daemon.url, api_key="k", max_retries=0) as client:
        yield client


def workflow(client, backend, body, *, model="m", stream=False, mode="default", **profile):
    target = Target(backend=Backend(name="b", url="http://b", dialect=backend), model=model)
    raw = json.dumps({"model": "alias", **body}).encode()
    call = Call(
        id="req_1", operation="chat", dialect=client, asked="alias", body=raw, stream=stream
    )
    return workflow_for(call, target, mode=mode, overrides=profile)


def outbound(client, backend, body, **more):
    """What the backend gets, and what the client is told was lost."""
    met = workflow(client, backend, body, **more)
    return json.loads(met.outbound().body), met.dropped


def o_ask(**fields):
    return {"messages": ASK, **fields}


def a_ask(**fields):
    return {"messages": ASK, "max_tokens": 100, **fields}


def r_ask(**fields):
    return {"input": ASK, **fields}


ASKS = {"openai": o_ask, "anthropic": a_ask, "responses": r_ask}


# Unknown models: 404 and nothing else, in the client's family. Claude Code says so to its user
# only then.


def test_an_unknown_model_is_404_for_openai_clients(o):
    with pytest.raises(openai.NotFoundError) as failure:
        o.chat.completions.create(model="no-such", messages=ASK)
    assert (failure.value.type, failure.value.code) == ("invalid_request_error", "model_not_found")
    assert failure.value.param == "model"
    with pytest.raises(openai.NotFoundError):
        o.embeddings.create(model="no-such", input="x")
    with pytest.raises(openai.NotFoundError):
        o.models.retrieve("no-such")


def test_an_unknown_model_is_404_for_anthropic_clients(a):
    with pytest.raises(anthropic.NotFoundError) as failure:
        a.messages.create(model="no-such", messages=ASK, max_tokens=1)
    assert failure.value.type == "not_found_error"
    with pytest.raises(anthropic.NotFoundError):
        a.messages.create(model="no-such", messages=ASK, max_tokens=1, stream=True)
    with pytest.raises(anthropic.NotFoundError):
        a.messages.count_tokens(model="no-such", messages=ASK)
    with pytest.raises(anthropic.NotFoundError):
        a.models.retrieve("no-such")


@EACH_END
def test_a_model_unknown_to_the_backend_is_404_too(o, a, alias):
    with pytest.raises(openai.NotFoundError):
        o.chat.completions.create(model=f"{alias}-fail-404", messages=ASK)
    with pytest.raises(anthropic.NotFoundError) as failure:
        a.messages.create(model=f"{alias}-fail-404", messages=ASK, max_tokens=1)
    assert failure.value.type == "not_found_error"


# A bad key: 401, which makes Claude Code ask for a login. A backend's 401 is about our key.


@pytest.mark.parametrize(
    "sent", [{}, {"x-api-key": "wrong"}, {"authorization": "Bearer wrong"}, {"api-key": ""}]
)
def test_a_bad_key_is_401(sent):
    with pytest.raises(Refused) as refused:
        caller_of([Key(name="me", digest=digest_of("right"))], sent)
    info = refused.value.info
    for dialect in DIALECTS:
        status, body = ADAPTERS[dialect].encode_error(info, "req_1")
        assert status == 401
        assert "wrong" not in json.dumps(body)
    assert from_error(info) == (("x-should-retry", "false"), ("www-authenticate", "Bearer"))


@EACH_END
def test_a_backends_401_is_not_the_clients(o, a, alias):
    with pytest.raises(openai.InternalServerError) as theirs:
        o.chat.completions.create(model=f"{alias}-fail-401", messages=ASK)
    assert theirs.value.status_code == 502
    with pytest.raises(anthropic.InternalServerError) as ours:
        a.messages.create(model=f"{alias}-fail-401", messages=ASK, max_tokens=1)
    assert ours.value.status_code == 502


# ``retry-after`` passes. Codex gives up at once on a 429 without it.


@EACH_END
@pytest.mark.parametrize("status", [429, 529])
def test_retry_after_is_passed_on(o, a, alias, status):
    with pytest.raises(openai.APIStatusError) as theirs:
        o.chat.completions.create(model=f"{alias}-fail-{status}", messages=ASK)
    with pytest.raises(anthropic.APIStatusError) as ours:
        a.messages.create(model=f"{alias}-fail-{status}", messages=ASK, max_tokens=1)
    for failure in (theirs, ours):
        assert failure.value.response.headers["retry-after"] == "1"


def test_x_should_retry_is_passed_on():
    """It stops Claude Code at once, where it would try a 401 again for two minutes."""
    for client in DIALECTS:
        for backend in DIALECTS:
            met = workflow(client, backend, ASKS[client]())
            for status in (401, 429, 500):
                failure = met.failure(status, {"x-should-retry": "false"}, b"{}")
                assert ("x-should-retry", "false") in from_error(failure.info)


# Request ids stand where each SDK looks for them.


@EACH_END
def test_answers_have_a_request_id(o, a, alias):
    answer = o.chat.completions.create(model=alias, messages=ASK)
    assert answer._request_id
    message = a.messages.create(model=alias, messages=ASK, max_tokens=10)
    assert message._request_id
    with a.messages.with_streaming_response.create(
        model=alias, messages=ASK, max_tokens=10, stream=True
    ) as stream:
        assert stream.headers["request-id"]
    with o.chat.completions.with_streaming_response.create(
        model=alias, messages=ASK, stream=True
    ) as stream:
        assert stream.headers["x-request-id"]


@pytest.mark.parametrize("alias", ["o-fail-400", "a-fail-400", "o-fail-401", "no-such"])
def test_errors_have_a_request_id(o, a, alias):
    with pytest.raises(openai.APIStatusError) as theirs:
        o.chat.completions.create(model=alias, messages=ASK)
    assert theirs.value.request_id
    with pytest.raises(anthropic.APIStatusError) as ours:
        a.messages.create(model=alias, messages=ASK, max_tokens=1)
    assert ours.value.request_id
    if alias != "a-fail-400":  # there, the body is the backend's own
        assert ours.value.body["request_id"] == ours.value.request_id


# Errors in the client's family, whatever the backend speaks.

WRONG = ["fail-400", "fail-401", "fail-404", "fail-429", "fail-500", "fail-529"]


@EACH_END
@pytest.mark.parametrize("fault", WRONG)
@pytest.mark.parametrize("stream", [False, True])
def test_errors_are_of_the_clients_family(o, a, alias, fault, stream):
    model = f"{alias}-{fault}"
    with pytest.raises(openai.APIStatusError) as theirs:
        o.chat.completions.create(model=model, messages=ASK, stream=stream)
    assert set(theirs.value.body) == {"message", "type", "param", "code"}
    with pytest.raises(anthropic.APIStatusError) as ours:
        a.messages.create(model=model, messages=ASK, max_tokens=1, stream=stream)
    assert ours.value.body["type"] == "error"
    assert ours.value.body["error"]["message"]
    assert ours.value.type == ours.value.body["error"]["type"]
    assert theirs.value.response.headers["content-type"] == "application/json"
    assert ours.value.response.headers["content-type"] == "application/json"


@EACH_END
def test_a_stream_that_breaks_ends_with_an_error_of_the_clients_family(o, a, alias):
    with pytest.raises(openai.APIError):
        for _ in o.chat.completions.create(model=f"{alias}-cut", messages=ASK, stream=True):
            pass
    with pytest.raises(anthropic.APIStatusError) as failure:
        for _ in a.messages.create(model=f"{alias}-cut", messages=ASK, max_tokens=50, stream=True):
            pass
    assert failure.value.type == "api_error"


# ``system`` and ``developer`` messages after the first ones are not lost.

INSTRUCTED: Any = [
    {"role": "system", "content": "first"},
    {"role": "developer", "content": "second"},
    {"role": "user", "content": "hi"},
    {"role": "assistant", "content": "hello"},
    {"role": "user", "content": "and?"},
    {"role": "developer", "content": "third"},
    {"role": "system", "content": [{"type": "text", "text": "fourth"}]},
]


@pytest.mark.parametrize("model", ["claude-opus-4-5", "claude-opus-4-8", "unheard-of"])
def test_no_instruction_is_lost(model):
    sent, _ = outbound("openai", "anthropic", {"messages": INSTRUCTED}, model=model)
    for text in ("first", "second", "third", "fourth"):
        assert len(re.findall(rf'"(?:\[system\]\\n)?{text}"', json.dumps(sent))) == 1
    assert [block["text"] for block in sent["system"]][:2] == ["first", "second"]


def test_instructions_inside_an_anthropic_conversation_are_not_lost():
    """Claude Code puts system messages between the others."""
    messages = [*ASK, {"role": "system", "content": "a reminder"}]
    sent, _ = outbound("anthropic", "openai", a_ask(messages=messages, system="first"))
    assert [message["role"] for message in sent["messages"]] == ["system", "user", "system"]
    assert sent["messages"][2]["content"] == "a reminder"


# Text is not cut at what only Python takes for the end of a line, nor between joined characters.

TRICKY = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg \N{WOMAN}\u200d\N{PERSONAL COMPUTER} h\u200bi"


def o_stream(text):
    def chunk(delta, finish=None):
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        data = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return "data: " + json.dumps({**data, "choices": [choice]}, ensure_ascii=False) + "\n\n"

    parts = [chunk({"role": "assistant", "content": ""})]
    parts += [chunk({"content": text}), chunk({}, "stop"), "data: [DONE]\n\n"]
    return "".join(parts).encode()


def a_stream(text):
    usage = {"input_tokens": 1, "output_tokens": 1}
    message = {"id": "m", "type": "message", "role": "assistant", "model": "m", "content": []}
    events = [
        {"type": "message_start", "message": {**message, "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "text_delta", "text": text},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage},
        {"type": "message_stop"},
    ]
    return "".join(
        f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
        for event in events
    ).encode()


def r_stream(text):
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    response = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    done = {**response, "status": "completed", "output": [item]}
    events = [
        {"type": "response.created", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": {**item, "content": []}},
        {"type": "response.content_part.added", **place, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **place, "delta": text},
        {"type": "response.output_text.done", **place, "text": text},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": done},
    ]
    return "".join(
        f"event: {event['type']}\ndata: {json.dumps(event, ensure_ascii=False)}\n\n"
        for event in events
    ).encode()


STREAMS = {"openai": o_stream, "anthropic": a_stream, "responses": r_stream}


def told(data):
    """The events of a stream; the reader is strict about where lines end."""
    frames = [frame.data for frame in Reader().feed(data) if frame.data]
    return [json.loads(frame) for frame in frames if frame != b"[DONE]"]


def text_of(events):
    text = ""
    for event in events:
        for choice in event.get("choices", ()):
            text += choice["delta"].get("content") or ""
        delta = event.get("delta", {})
        text += delta if isinstance(delta, str) else delta.get("text", "")
    return text


def through(met, data, size):
    """``data`` through the workflow's transform, in pieces of ``size`` bytes."""
    transform = met.transform(now=0)
    out = [transform.feed(data[at : at + size]) for at in range(0, len(data), size)]
    return b"".join([*out, transform.close()]), transform


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("client", DIALECTS)
@pytest.mark.parametrize("backend", DIALECTS)
def test_streamed_text_is_whole(client, backend, size):
    met = workflow(client, backend, ASKS[client](stream=True), stream=True)
    out, transform = through(met, STREAMS[backend](TRICKY), size)
    assert transform.phase == "complete"
    assert text_of(told(out)) == TRICKY


@EACH_END
def test_streamed_text_is_whole_for_the_sdks(o, a, alias):
    ask: Any = [{"role": "user", "content": TRICKY}]
    with a.messages.stream(model=alias, messages=ask, max_tokens=100) as stream:
        assert TRICKY in stream.get_final_text()
    chunks = o.chat.completions.create(model=alias, messages=ask, stream=True)
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert TRICKY in "".join(pieces)


# ``disable_parallel_tool_use`` is kept, both ways.

A_TOOL = {"name": "t", "input_schema": {"type": "object", "properties": {}}}
O_TOOL = {"type": "function", "function": {"name": "t", "parameters": A_TOOL["input_schema"]}}


def test_parallel_calls_stay_off():
    choice = {"type": "auto", "disable_parallel_tool_use": True}
    sent, dropped = outbound("anthropic", "openai", a_ask(tools=[A_TOOL], tool_choice=choice))
    assert sent["parallel_tool_calls"] is False
    assert dropped == ()
    sent, _ = outbound("openai", "anthropic", o_ask(tools=[O_TOOL], parallel_tool_calls=False))
    assert sent["tool_choice"] == choice


@EACH_END
def test_parallel_calls_stay_off_for_the_sdks(o, a, alias):
    """Two tools and "parallel" make the practice backend call both, unless it may not."""
    ask: Any = [{"role": "user", "content": "parallel"}]
    a_tools: Any = [A_TOOL, {**A_TOOL, "name": "u"}]
    for off in (False, True):
        message = a.messages.create(
            model=alias,
            messages=ask,
            max_tokens=50,
            tools=a_tools,
            tool_choice={"type": "auto", "disable_parallel_tool_use": off},
        )
        calls = [block for block in message.content if block.type == "tool_use"]
        assert len(calls) == (1 if off else 2)


# What a backend would refuse is not sent to it, and the client is told.


def test_top_k_and_unknown_fields_do_not_reach_a_backend_that_refuses_them():
    body = a_ask(top_k=5, unheard_of={"a": 1}, safeguards=[])
    sent, dropped = outbound("anthropic", "openai", body)
    assert not {"top_k", "unheard_of", "safeguards"} & sent.keys()
    assert set(dropped) == {"top_k", "unheard_of", "safeguards"}
    sent, dropped = outbound("anthropic", "openai", body, ext=["top_k"])
    assert sent["top_k"] == 5
    assert "top_k" not in dropped
    sent, dropped = outbound("openai", "anthropic", o_ask(min_p=0.5, unheard_of=1))
    assert not {"min_p", "unheard_of"} & sent.keys()
    assert set(dropped) == {"min_p", "unheard_of"}


def test_what_was_left_out_stands_in_a_header(a):
    answer = a.messages.with_raw_response.create(
        model="o", messages=ASK, max_tokens=10, extra_body={"unheard_of": 1, "top_k": 3}
    )
    assert set(answer.headers["x-lmbroker-dropped"].split(",")) == {"unheard_of", "top_k"}


# Thinking blocks have a signature, without which the AI SDK rejects them.

REASONED = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."},
            "finish_reason": "stop",
        }
    ],
}


def test_thinking_of_an_openai_backend_is_signed():
    met = workflow("anthropic", "openai", a_ask())
    answer = json.loads(met.unary(json.dumps(REASONED).encode(), now=0).body)
    thinking, text = answer["content"]
    assert (thinking["type"], thinking["thinking"]) == ("thinking", "Hm.")
    assert thinking["signature"]
    assert text == {"type": "text", "text": "Yes."}


def test_streamed_thinking_of_an_openai_backend_is_signed(a):
    with a.messages.stream(
        model="o",
        messages=ASK,
        max_tokens=5000,
        thinking={"type": "enabled", "budget_tokens": 1024},
    ) as stream:
        message = stream.get_final_message()
    thinking = [block for block in message.content if block.type == "thinking"]
    assert thinking
    assert all(block.signature for block in thinking)


@pytest.mark.parametrize("backend", DIALECTS)
def test_signed_thinking_may_be_sent_back(backend):
    """To the backend that it came from, and to another."""
    met = workflow("anthropic", "openai", a_ask())
    answer = json.loads(met.unary(json.dumps(REASONED).encode(), now=0).body)
    turn = {"role": "assistant", "content": answer["content"]}
    messages = [*ASK, turn, {"role": "user", "content": "and?"}]
    sent, _ = outbound("anthropic", backend, a_ask(messages=messages))
    assert "Yes." in json.dumps(sent)
    if backend == "anthropic":
        # Nobody but the broker can verify what the broker signed.
        turn = {**turn, "content": [b for b in turn["content"] if b["type"] != "thinking"]}
        assert sent["messages"] == [*ASK, turn, messages[-1]]


# ``dimensions`` is forwarded; the answer has the form that was asked for.


@pytest.mark.parametrize("dimensions", [2, 8])
def test_dimensions_are_forwarded(o, dimensions):
    answer = o.embeddings.create(model="o", input=["a", "b"], dimensions=dimensions)
    assert [len(entry.embedding) for entry in answer.data] == [dimensions] * 2
    assert [entry.index for entry in answer.data] == [0, 1]


def test_embeddings_come_in_the_form_that_was_asked_for(daemon, o):
    floats = o.embeddings.create(model="o", input="a", encoding_format="float")
    plain = o.embeddings.create(model="o", input="a")
    assert floats.data[0].embedding == plain.data[0].embedding
    coded: Any = o.embeddings.create(model="o", input="a", encoding_format="base64")
    data = base64.b64decode(coded.data[0].embedding)
    assert list(struct.unpack("<3f", data)) == plain.data[0].embedding
    assert plain.usage.prompt_tokens == 1


# A WebSocket upgrade is answered, at once and in JSON: Codex then goes on without.


@pytest.mark.parametrize("path", ["/v1/responses", "/v1/chat/completions", "/v1/nowhere"])
def test_a_websocket_upgrade_gets_a_clean_refusal(daemon, path):
    request = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", daemon.port), 5) as wire:
        wire.settimeout(5)
        wire.sendall(request.encode())
        head, body = read_answer(wire)
    status = int(head.split(b" ")[1])
    assert 400 <= status < 500
    assert b"content-type: application/json" in head.lower()
    assert set(json.loads(body)["error"]) == {"message", "type", "param", "code"}


def read_answer(wire):
    data = b""
    while b"\r\n\r\n" not in data:
        data += wire.recv(65536)
    head, _, body = data.partition(b"\r\n\r\n")
    length = next(
        int(line.partition(b":")[2])
        for line in head.split(b"\r\n")
        if line.lower().startswith(b"content-length:")
    )
    while len(body) < length:
        body += wire.recv(65536)
    return head, body


# Message threads: later turns carry only the new messages. Who ignores that loses the
# conversation; who says so in these words gets all of it.


def test_a_thread_is_refused_so_that_the_sdk_sends_everything(a):
    body = {"thread": {"type": "continue", "id": "thread_1"}}
    with pytest.raises(anthropic.BadRequestError) as failure:
        a.messages.create(model="o", messages=ASK, max_tokens=10, extra_body=body)
    assert failure.value.error_code == "thread_unsupported_request"
    assert failure.value.type == "invalid_request_error"


def test_a_thread_passes_to_a_backend_of_its_own_dialect():
    body = a_ask(thread={"type": "continue", "id": "thread_1"})
    sent, dropped = outbound("anthropic", "anthropic", body)
    assert sent["thread"] == body["thread"]
    assert dropped == ()


def test_a_new_thread_is_no_reason_to_refuse():
    sent, dropped = outbound("anthropic", "openai", a_ask(thread={"type": "create"}))
    assert "thread" not in sent
    assert dropped == ("thread",)


# Claude Code runs a tool as soon as its block was closed, also when the stream then fails.


def test_a_call_that_was_cut_off_is_never_closed():
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "rm", "arguments": ""}}
    chunks = [
        {"role": "assistant", "content": None},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"path": "/tm'}}]},
    ]
    data = b"".join(
        b"data: "
        + json.dumps({"id": "c", "choices": [{"index": 0, "delta": delta}]}).encode()
        + b"\n\n"
        for delta in chunks
    )
    met = workflow("anthropic", "openai", a_ask(tools=[{**A_TOOL, "name": "rm"}]), stream=True)
    out, transform = through(met, data, 10_000)
    kinds = [event["type"] for event in told(out)]
    assert transform.phase == "failed"
    assert kinds[-1] == "error"
    assert "content_block_start" in kinds
    assert "content_block_stop" not in kinds
    assert "message_stop" not in kinds


# Coding agents compact by the numbers that they are given: zeros would make them overflow.


@pytest.mark.parametrize("client", DIALECTS)
def test_usage_is_never_zero(client):
    backend = "openai"
    body = a_ask(messages=[{"role": "user", "content": "word " * 1000}], stream=True)
    if client == "openai":
        backend = "anthropic"
        body = {"messages": body["messages"], "stream": True}
        body["stream_options"] = {"include_usage": True}
    if client == "responses":
        body = {"input": body["messages"], "stream": True}
    met = workflow(client, backend, body, stream=True)
    data = STREAMS[backend]("Some words.")
    if backend == "anthropic":
        data = data.replace(b', "usage": {"input_tokens": 1, "output_tokens": 1}', b"")
    out, transform = through(met, data, 10_000)
    assert transform.usage.input > 1000
    assert transform.usage.output > 0
    assert transform.usage.estimated
    holders = [event.get("response", event) for event in told(out)]
    last = [holder["usage"] for holder in holders if holder.get("usage")][-1]
    assert last.get("input_tokens", last.get("prompt_tokens")) == transform.usage.input


def test_tokens_are_counted_whatever_else_is_asked():
    """Claude Code counts with fields that no other backend could be told of."""
    body = {
        "model": "m",
        "messages": ASK,
        "thread": {"type": "continue", "id": "t"},
        "container": "c",
        "tools": [{"type": "web_search_20250305", "name": "web_search"}],
    }
    call = Call(
        id="r",
        operation="count_tokens",
        dialect="anthropic",
        asked="m",
        body=json.dumps(body).encode(),
    )
    assert estimate(call) > 0


# Overflow: both kinds of clients find the words or the code that they look for.


def test_overflow_makes_agents_compact():
    message = "maximum context length is 100 tokens. However, your messages resulted in 200 tokens"
    info = ErrorInfo(kind="context_length", message=message)
    _, body = ADAPTERS["anthropic"].encode_error(info, "r")
    assert body["error"]["message"].startswith("prompt is too long: 200 tokens > 100 maximum")
    for dialect in ("openai", "responses"):
        _, body = ADAPTERS[dialect].encode_error(info, "r")
        assert body["error"]["code"] == "context_length_exceeded"


# Doors that Claude Code knocks at first.


def test_the_first_knock_is_answered(daemon, a):
    head = a._client.head(f"{daemon.url}/api/hello")
    assert head.status_code == 200
    listed = a.models.list(limit=1000)
    assert {model.id for model in listed.data} >= {"o", "a"}
