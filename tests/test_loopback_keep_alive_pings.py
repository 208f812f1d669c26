"""Keep-alive pings: a stream's client gets them whatever its call waits for, and its call may still
go elsewhere, as long as no event of an answer was sent."""

import json

import anthropic
import openai
import pytest
import pytest_twisted
from broken_backends import fin, page, write
from chaos import (
    CHAOS,
    ENDS,
    NARROW,
    WHOLE,
    answered,
    next_request,
    the_next_call_is_served,
    told,
    told_in_band,
    until,
)
from rig import CONFIG, EVENTS, PATHS, ask, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread

from lmbroker.call import Timeouts

SOON = Timeouts(headers=5, first_event=5, idle=5, total=9, commit=0.1, ping=0.05)
RIG = {**CHAOS, "timeouts": SOON}
SIGN = b": ping\n\n"
BOTH_ENDS = pytest.mark.parametrize(("dialect", "alias"), ENDS)
DIALECTS = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


async def has_signs(client):
    """It has the head of its answer and some signs, but nothing of the answer."""
    await client.has(SIGN, times=2)
    assert client.head.startswith("http/1.1 200")
    assert "content-type: text/event-stream; charset=utf-8" in client.head
    assert "cache-control: no-cache" in client.head
    assert "x-lmbroker-request-id: req_" in client.head
    assert "x-lmbroker-backend" not in client.head, "nobody knows yet who will answer"
    assert client.body.replace(SIGN, b"") == b""


async def has_the_answer(client, dialect, alias):
    """After its signs, and once more of them, a whole answer came."""
    await answered(client)
    assert client.received.count(b"HTTP/1.1 ") == 1
    assert client.head.count("x-lmbroker-request-id") == 1
    signs = client.body.count(SIGN) * SIGN
    assert client.body.startswith(signs), "no sign within the answer"
    late, _, answer = client.body.removeprefix(signs).partition(b"\n\n")
    assert all(line.startswith(b": x-lmbroker-") for line in late.split(b"\n"))
    assert b": x-lmbroker-backend: " in late and b"request-id" not in late
    if dialect[0] == alias:
        assert answer == b"".join(EVENTS[alias])
    assert "hé" in answer.decode()
    assert answer.endswith(
        {
            "openai": b"data: [DONE]\n\n",
            "anthropic": b'data: {"type":"message_stop"}\n\n',
            "responses": b"}}\n\n",
        }[dialect]
    )
    return signs


async def the_record(rig, client, outcome="complete", attempts=1):
    [record] = await rig.ended()
    assert (record.end.outcome, record.end.status) == (outcome, 200)
    assert len(record.attempts) == attempts
    assert record.end.bytes_out == len(client.body)
    assert rig.gauge() == 0
    return record


def streamed(alias):
    return sse_head() + chunk(b"".join(EVENTS[alias])) + b"0\r\n\r\n"


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_while_waiting_for_a_place(rig, dialect, alias):
    first = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    await has_signs(client)
    backend.transport.write(unary(WHOLE[alias]))
    await backend.has(b"POST ", times=2)
    backend.transport.write(streamed(alias))
    await has_the_answer(client, dialect, alias)
    await answered(first)
    assert [record.end.outcome for record in await rig.ended(2)] == ["complete", "complete"]


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_while_the_backend_sends_no_headers(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    await has_signs(client)
    backend.transport.write(streamed(alias))
    await has_the_answer(client, dialect, alias)
    await the_record(rig, client)
    await the_next_call_is_served(rig, dialect, alias, on=backend, stream=True)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_while_the_backend_sends_no_event(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(b": thinking\n\n"))
    await has_signs(client)
    backend.transport.write(chunk(b"".join(EVENTS[alias])) + b"0\r\n\r\n")
    await answered(client)
    assert client.body.endswith(
        {"openai": b"[DONE]\n\n", "anthropic": b'stop"}\n\n', "responses": b"}}\n\n"}[dialect]
    )
    await the_record(rig, client)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_while_the_backend_writes_an_answer_that_is_not_streamed(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    begin, rest = unary(WHOLE[alias])[:-9], unary(WHOLE[alias])[-9:]
    backend.transport.write(begin)
    await has_signs(client)
    backend.transport.write(rest)
    await answered(client)
    assert "hé" in client.body.decode()
    assert "content-length" not in client.head
    await the_record(rig, client)


PAUSE = "retries = { same_target = 2, first_pause = 1, longest_pause = 2 }\n"


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_in_the_pause_before_another_attempt(open_rig, dialect, alias):
    rig = await open_rig(config=PAUSE_FIRST)
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(unary(b"{}", b"503 Busy", b"retry-after: 1\r\n"))
    await has_signs(client)
    assert backend.received.count(b"POST ") == 1
    await backend.has(b"POST ", times=2)
    backend.transport.write(streamed(alias))
    signs = await has_the_answer(client, dialect, alias)
    assert len(signs) > 8 * len(SIGN), "all along"
    await the_record(rig, client, attempts=2)


PAUSE_FIRST = CONFIG.replace("[[models]]\n", "[[models]]\n" + PAUSE)
PAIR = """
[[backends]]
name = "first"
type = "openai"
url = "http://127.0.0.1:PORT"
[[backends]]
name = "second"
type = "anthropic"
url = "http://127.0.0.1:PORT"
[[models]]
alias = "pair"
targets = [{ backend = "first", model = "one" }, { backend = "second", model = "two" }]
"""
ELSEWHERE = {
    "busy": write(page(b"503 Busy")),
    "no event": write(sse_head(), then=fin),
    "an error first": write(
        sse_head(), chunk(b'data: {"error":{"message":"full","type":"rate_limit_error"}}\n\n')
    ),
}


@pytest_twisted.ensureDeferred
@DIALECTS
@pytest.mark.parametrize("fault", ELSEWHERE)
async def test_another_target_is_tried_as_ever(open_rig, dialect, fault):
    rig = await open_rig(config=PAIR)
    client = await rig.post(PATHS[dialect], ask("pair", stream=True))
    first = await rig.backend()
    await has_signs(client)
    ELSEWHERE[fault](first)
    second = await next_request(rig)
    seen = client.body.count(SIGN)
    await client.has(SIGN, times=seen + 2)
    second.transport.write(streamed("a"))
    await has_the_answer(client, dialect, "a")
    await the_record(rig, client, attempts=2)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (write(page(b"400 Bad Request")), "invalid_request"),
        (write(page(b"429 Busy")), "rate_limit"),
        (write(sse_head(), then=fin), "truncated"),
        (fin, "closed_before_headers"),
    ],
)
async def test_an_error_is_told_in_band_from_then_on(rig, dialect, alias, fault, code):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    await has_signs(client)
    fault(backend)
    await answered(client)
    _, _, before = told_in_band(client, dialect)
    assert before.replace(SIGN.decode().strip(), "") == ""
    record = await the_record(rig, client, "stream_error")
    assert record.end.code == record.attempts[0].error
    await the_next_call_is_served(rig, dialect, alias, on=..., stream=True)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_an_error_before_is_an_http_error(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    write(page(b"429 Busy", b"retry-after: 3\r\n"))(await rig.backend())
    await answered(client)
    assert told(client, dialect)[0] == 429
    assert "retry-after: 3" in client.head
    await deferLater(reactor, 0.2)
    assert client.received.count(SIGN) == 0
    assert [record.end.outcome for record in await rig.ended()] == ["backend_error"]


@pytest_twisted.ensureDeferred
async def test_what_was_lost_on_the_way_is_told_all_the_same(open_rig):
    rig = await open_rig(config=PAIR)
    client = await rig.post(PATHS["openai"], ask("pair", stream=True, seed=3))
    first = await rig.backend()
    await has_signs(client)
    write(page(b"503 Busy"))(first)
    (await next_request(rig)).transport.write(streamed("a"))
    await has_the_answer(client, "openai", "a")
    late_headers = (
        b"\n\n: x-lmbroker-backend: second\n: x-lmbroker-model: two\n: x-lmbroker-dropped: seed\n"
        b": x-lmbroker-attempts: 2\n\ndata: "
    )
    assert late_headers in client.body
    await the_record(rig, client, attempts=2)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_queue_that_is_waited_in_for_too_long(open_rig, dialect, alias):
    rig = await open_rig(config=NARROW.replace("queue_timeout = 3", "queue_timeout = 0.4"))
    await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    await has_signs(client)
    await answered(client)
    kind, _, _ = told_in_band(client, dialect)
    assert (
        kind
        == {
            "openai": "service_unavailable_error",
            "anthropic": "overloaded_error",
            "responses": "server_error",
        }[dialect]
    )
    [record] = await rig.ended()
    end = record.end
    assert (end.outcome, end.status, end.code) == ("stream_error", 200, "backend_busy")
    assert backend.received.count(b"POST ") == 1


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_call_that_is_not_streamed_waits_in_silence(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    await deferLater(reactor, 0.3)
    assert client.received == b""
    backend.transport.write(page(b"429 Busy"))
    await answered(client)
    assert told(client, dialect)[0] == 429


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_client_that_leaves_the_queue_gives_up_its_place_in_it(rig, dialect, alias):
    first = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    await has_signs(client)
    client.transport.abortConnection()
    [record] = await rig.ended()
    assert (record.end.outcome, rig.gauge()) == ("client_left", 1)
    backend.transport.write(unary(WHOLE[alias]))
    await answered(first)
    await deferLater(reactor, 0.1)
    assert backend.received.count(b"POST ") == 1
    await the_next_call_is_served(rig, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
async def test_nothing_is_left_of_them(rig):
    """No timer goes on once the answer has begun, or once the client has left."""
    for leaves in (False, True):
        client = await rig.post(PATHS["openai"], ask("o", stream=True))
        backend = await next_request(rig)
        await has_signs(client)
        if leaves:
            client.transport.abortConnection()
        else:
            backend.transport.write(streamed("o"))
            await answered(client)
        await rig.ended(1 + leaves)
        await until(lambda: not [c for c in reactor.getDelayedCalls() if "_give" in repr(c)])


# As the official SDKs see it.


def ask_openai(port, alias):
    with (
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0) as client,
        client.chat.completions.stream(
            model=alias, messages=[{"role": "user", "content": "hi"}]
        ) as stream,
    ):
        return stream.get_final_completion().choices[0].message.content


def ask_anthropic(port, alias):
    with (
        anthropic.Anthropic(
            base_url=f"http://127.0.0.1:{port}", api_key="k", max_retries=0
        ) as client,
        client.messages.stream(
            model=alias, messages=[{"role": "user", "content": "hi"}], max_tokens=9
        ) as stream,
    ):
        return stream.get_final_text()


def ask_responses(port, alias):
    with (
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="k", max_retries=0) as client,
        client.responses.stream(model=alias, input="hi", max_output_tokens=16) as stream,
    ):
        for event in stream:
            if event.type in ("error", "response.failed"):
                raise openai.APIError("failed", None, body=event.to_dict())
        return stream.get_final_response().output_text


SDKS = {
    "openai": (ask_openai, openai),
    "anthropic": (ask_anthropic, anthropic),
    "responses": (ask_responses, openai),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_the_sdks_read_over_them(rig, dialect, alias):
    call, _ = SDKS[dialect]
    asking = deferToThread(call, rig.port, alias)
    backend = await rig.backend()
    await deferLater(reactor, 0.3)
    backend.transport.write(streamed(alias))
    assert await asking == "hé"


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_the_sdks_raise_for_an_error_after_them(rig, dialect, alias):
    call, sdk = SDKS[dialect]
    asking = deferToThread(call, rig.port, alias)
    backend = await rig.backend()
    await deferLater(reactor, 0.3)
    body = json.dumps({"error": {"message": "too many at once", "type": "rate_limit_error"}})
    backend.transport.write(unary(body.encode(), b"429 Busy"))
    with pytest.raises(sdk.APIError, match="too many at once"):
        await asking
