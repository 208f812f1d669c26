"""Several targets, on the running broker: who is asked, who is asked next, and who never is."""

import json

import pytest
import pytest_twisted
from rig import A_END, A_EVENT, O_EVENT, PATHS, ask, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.observers.access_log import access_fields
from lmbroker.testing import PracticeBackend

BACKENDS = """
[[backends]]
name = "first"
type = "openai"
url = "http://127.0.0.1:PORT"
api_key = "env:KEY"
[[backends]]
name = "second"
type = "anthropic"
url = "http://127.0.0.1:PORT"
"""
PAIR = """
[[models]]
alias = "pair"
targets = [{ backend = "first", model = "one" }, { backend = "second", model = "two" }]
"""


def sent(line):
    """The last request on a backend's connection: its path and its model."""
    request = bytes(line.received).rpartition(b"POST ")[2]
    return request.split()[0].decode(), json.loads(request.partition(b"\r\n\r\n")[2])["model"]


BUSY = unary(b'{"error":{"message":"busy","type":"server_error"}}', b"503 Busy")
MESSAGE = (
    b'{"id":"msg_1","type":"message","role":"assistant","model":"m","content":'
    b'[{"type":"text","text":"done"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":1}}'
)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
async def test_a_busy_backend_is_left_for_the_next_across_dialects(open_rig, dialect):
    rig = await open_rig(config=BACKENDS + PAIR)
    client = await rig.post(PATHS[dialect], ask("pair"))
    first = await rig.backend(1)
    assert sent(first) == ("/v1/chat/completions", "one")
    first.transport.write(BUSY)
    second = await rig.backend(2)
    assert sent(second) == ("/v1/messages", "two")
    assert b"backend-key" not in second.received
    second.transport.write(unary(MESSAGE))
    await client.has(b"done")
    assert "x-lmbroker-backend: second" in client.head
    assert "x-lmbroker-model: two" in client.head
    assert "x-lmbroker-attempts: 2" in client.head
    [record] = await rig.ended()
    assert [attempt.error for attempt in record.attempts] == ["overloaded", ""]


@pytest_twisted.ensureDeferred
async def test_a_stream_whose_first_event_is_an_error_goes_on_elsewhere(open_rig):
    rig = await open_rig(config=BACKENDS + PAIR)
    client = await rig.post(PATHS["openai"], ask("pair", stream=True))
    first = await rig.backend(1)
    error = b'data: {"error":{"message":"busy","code":"server_is_overloaded"}}\n\n'
    first.transport.write(sse_head() + chunk(error))
    second = await rig.backend(2)
    second.transport.write(sse_head() + chunk(A_EVENT + A_END) + b"0\r\n\r\n")
    await client.has(b"[DONE]")
    assert b"busy" not in client.body


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    "answer",
    [
        unary(b'{"error":{"message":"bad field"}}', b"400 Bad"),
        unary(b'{"error":{"message":"no such model"}}', b"404 None"),
        unary(b'{"error":{"message":"oops"}}', b"500 Oops"),
        unary(b'{"error":{"message":"context_length_exceeded"}}', b"400 Bad"),
    ],
)
async def test_what_might_cost_twice_or_would_fail_again_is_not_tried_again(open_rig, answer):
    rig = await open_rig(config=BACKENDS + PAIR)
    await rig.post(PATHS["openai"], ask("pair"))
    first = await rig.backend(1)
    first.transport.write(answer)
    [record] = await rig.ended()
    assert len(record.attempts) == 1
    assert len(rig.backends_seen) == 1


@pytest_twisted.ensureDeferred
async def test_after_the_first_byte_nothing_is_tried_again(open_rig):
    rig = await open_rig(config=BACKENDS + PAIR)
    client = await rig.post(PATHS["openai"], ask("pair", stream=True))
    first = await rig.backend(1)
    first.transport.write(sse_head() + chunk(O_EVENT))
    await client.has(b"data: ")
    first.transport.loseConnection()
    await client.has(b"upstream_stream_truncated")
    [record] = await rig.ended()
    assert (len(record.attempts), record.end.outcome) == (1, "stream_error")


@pytest_twisted.ensureDeferred
async def test_a_client_who_leaves_during_the_first_attempt_causes_no_second(open_rig):
    rig = await open_rig(config=BACKENDS + PAIR)
    client = await rig.post(PATHS["openai"], ask("pair"))
    first = await rig.backend(1)
    client.transport.abortConnection()
    await first.closed()
    [record] = await rig.ended()
    await deferLater(reactor, 0.05)
    assert len(record.attempts) == 1
    assert len(rig.backends_seen) == 1
    assert rig.gauge() == 0


@pytest_twisted.ensureDeferred
async def test_the_names_that_clients_ask_for(open_rig):
    rig = await open_rig(
        config=BACKENDS
        + '[[models]]\nalias = "gpt-*"\ntargets = [{ backend = "first", model = "*" }]\n'
        + '[[models]]\nalias = "gpt-5-*"\ntargets = [{ backend = "first", model = "v/{model}" }]\n'
        + '[[models]]\nalias = "plain"\ntargets = [{ backend = "first", model = "x" }]\n'
    )
    for number, (asked, model) in enumerate(
        [("gpt-4", "gpt-4"), ("gpt-5-x", "v/gpt-5-x"), ("plain", "x")], 1
    ):
        await rig.post(PATHS["openai"], ask(asked))
        assert sent(await rig.backend(number))[1] == model
    client = await rig.post(PATHS["openai"], ask("claude"))
    await client.has(b"does not exist")


@pytest_twisted.ensureDeferred
async def test_a_default_takes_every_other_name(open_rig):
    rig = await open_rig(config='default = "pair"\n' + BACKENDS + PAIR)
    await rig.post(PATHS["openai"], ask("whatever"))
    assert sent(await rig.backend(1))[1] == "one"


@pytest_twisted.ensureDeferred
async def test_an_idempotency_key_goes_to_the_first_backend_only(open_rig):
    second = BACKENDS.replace('"anthropic"', '"openai"') + PAIR
    rig = await open_rig(config=second)
    await rig.post(PATHS["openai"], ask("pair"), ["Idempotency-Key: k-1"])
    first = await rig.backend(1)
    assert b"k-1" in first.received
    first.transport.write(BUSY)
    assert b"k-1" not in (await rig.backend(2)).received


@pytest_twisted.ensureDeferred
async def test_several_keys_are_used_in_turn_and_a_refused_one_rests(open_rig):
    keyed = (
        '[[backends]]\nname = "b"\ntype = "openai"\nurl = "http://127.0.0.1:PORT"\n'
        'api_keys = ["key-number-1", "key-number-2"]\nheaders = { x-extra = "more" }\n'
        '[[models]]\nalias = "m"\ntargets = [{ backend = "b" }]\n'
    )
    rig = await open_rig(config=keyed)
    await rig.post(PATHS["openai"], ask("m"))
    first = await rig.backend(1)
    assert b"key-number-1" in first.received
    assert b"x-extra: more" in bytes(first.received).lower()
    first.transport.write(unary(b'{"error":{"message":"no"}}', b"401 No", b"connection: close\r\n"))
    second = await rig.backend(2)
    assert b"key-number-2" in second.received
    second.transport.write(unary(O_WHOLE, extra=b"connection: close\r\n"))
    await rig.ended()
    await rig.post(PATHS["openai"], ask("m"))
    assert b"key-number-2" in (await rig.backend(3)).received


O_WHOLE = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"done","refusal":null},"finish_reason":"stop",'
    b'"logprobs":null}]}'
)


@pytest_twisted.ensureDeferred
async def test_a_dead_backend_is_found_out_and_comes_back(open_rig):
    """Three practice backends; one dies under calls and returns: no client sees an error."""
    backends = [PracticeBackend(reactor) for _ in range(3)]
    for backend in backends:
        backend.start()
    names = ["p0", "p1", "p2"]
    text = "[breaker]\nopen = 0.2\n"
    for name, backend in zip(names, backends, strict=True):
        text += f'[[backends]]\nname = "{name}"\ntype = "openai"\nurl = "{backend.url}"\n'
    targets = ", ".join(f'{{ backend = "{name}", model = "echo" }}' for name in names)
    text += f'[[models]]\nalias = "m"\nstrategy = "weighted"\ntargets = [{targets}]\n'
    rig = await open_rig(config=text)
    port = backends[0]._listening.getHost().port

    async def calls(count):
        before = len(rig.records)
        for _ in range(count):
            client = await rig.post(PATHS["openai"], ask("m"))
            await client.has(b'"finish_reason":"stop"')
        return (await rig.ended(before + count))[before:]

    try:
        await calls(10)
        await backends[0].stop()
        down = await calls(60)
        assert all(record.end.outcome == "complete" for record in down)
        extra = sum(len(record.attempts) - 1 for record in down)
        assert 0 < extra <= 10, "the breaker opens after a few failures"
        again = PracticeBackend(reactor, port=port)
        again.start()
        backends[0] = again
        await deferLater(reactor, 0.3)
        back = await calls(40)
        served = [record.attempts[-1].target.backend.name for record in back]
        assert served.count("p0") > 3
    finally:
        for backend in backends:
            await backend.stop()


@pytest_twisted.ensureDeferred
async def test_a_call_that_failed_everywhere_says_where_and_why(open_rig):
    rig = await open_rig(config=BACKENDS + PAIR)
    client = await rig.post(PATHS["openai"], ask("pair"))
    for number in (1, 2):
        backend = await rig.backend(number)
        backend.transport.write(BUSY)
    await client.has(b"}")
    assert "x-lmbroker-backend: second" in client.head
    assert "x-lmbroker-model: two" in client.head
    assert "x-lmbroker-attempts: 2" in client.head
    [record] = await rig.ended()
    tried = access_fields(record)["tried"]
    assert [(each["backend"], each["model"], each["code"]) for each in tried] == [
        ("first", "one", "overloaded"),
        ("second", "two", "overloaded"),
    ]
    assert all(each["ms"] >= 0 and each["status"] == 503 for each in tried)
    labels = {"backend": "first", "reason": "overloaded"}
    assert rig.registry.get_sample_value("lmbroker_failovers_total", labels) == 1
