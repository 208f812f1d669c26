"""What one call may ask for at most: both ways through the broker, in the client's format."""

import json

import pytest
import pytest_twisted
from rig import CONFIG, PATHS, ask, unary

from lmbroker import envelope
from lmbroker.call import Call
from lmbroker.errors import Refused
from lmbroker.routing.request_limits import RequestLimits

RIG = {"config": "[limits]\nmax_tokens = 100\nn = 2\n" + CONFIG}
OPENAI = (
    b'{"id":"c","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'
)


def check(body, *, looked_at=True, **request_limits):
    head = envelope.read(body)
    call = Call(
        id="r",
        operation="chat",
        dialect="openai",
        asked=head.model,
        body=body,
        fields=head.fields if looked_at else None,
    )
    RequestLimits(**request_limits).check(call)


def refusal(body, **request_limits):
    with pytest.raises(Refused) as refused:
        check(body, **request_limits)
    info = refused.value.info
    assert info.kind == "invalid_request"
    return info.param, info.code


@pytest.mark.parametrize("looked_at", [True, False])
@pytest.mark.parametrize(
    "fields",
    [
        '"max_tokens":100,"n":2',
        '"max_completion_tokens":100',
        '"max_output_tokens":100',
        '"max_tokens":null,"n":null',
        '"max_tokens":99.5',
        '"messages":[{"max_tokens":900,"n":9}]',
        r'"max\u005ftokens":100',
        '"temperature":900',
    ],
)
def test_what_is_under_the_cap_or_names_none_is_let_through(fields, looked_at):
    body = f'{{"model":"m",{fields}}}'.encode()
    check(body, looked_at=looked_at, max_tokens=100, n=2)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ('"max_tokens":101', "max_tokens", "invalid_value"),
        ('"max_completion_tokens":101', "max_completion_tokens", "invalid_value"),
        ('"max_output_tokens":101', "max_output_tokens", "invalid_value"),
        ('"max_tokens":1,"max_completion_tokens":101', "max_completion_tokens", "invalid_value"),
        ('"max_tokens":100.5', "max_tokens", "invalid_value"),
        ('"max_tokens":1e30', "max_tokens", "invalid_value"),
        ('"max_tokens":' + "9" * 400, "max_tokens", "invalid_value"),
        ('"n":3', "n", "invalid_value"),
        # Some backends take a text for its number.
        ('"max_tokens":"5"', "max_tokens", "invalid_type"),
        ('"n":[1]', "n", "invalid_type"),
        ('"n":true', "n", "invalid_type"),
        ('"max_tokens":1e999', "max_tokens", "invalid_type"),
        # Some take names that differ in case for the same.
        ('"Max_Tokens":101', "max_tokens", "invalid_value"),
        ('"N":3', "n", "invalid_value"),
        (r'"max\u005ftokens":101', "max_tokens", "invalid_value"),
        # Some take the first of two.
        ('"max_tokens":900,"max_tokens":5', "max_tokens", "invalid_value"),
        (r'"max\u005ftokens":900,"max_tokens":5', "max_tokens", "invalid_value"),
        ('"n": 5, "messages":[{"n":"}"}], "n": 1', "n", "invalid_value"),
    ],
)
def test_what_is_over_the_cap_or_could_be_is_refused(fields, param, code):
    assert refusal(f'{{"model":"m",{fields}}}'.encode(), max_tokens=100, n=2) == (param, code)


def test_a_cap_that_is_not_set_looks_at_nothing():
    check(b'{"model":"m","n":900,"max_tokens":5}', max_tokens=100)
    check(b'{"model":"m","n":2,"max_tokens":"x"}', n=2)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize("alias", ["o", "a"])
@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
@pytest.mark.parametrize("stream", [False, True])
async def test_over_the_cap_no_backend_is_asked(open_rig, dialect, alias, stream):
    rig = await open_rig()
    client = await rig.post(PATHS[dialect], ask(alias, max_tokens=101, stream=stream))
    await client.has(b"'max_tokens' may be at most 100")
    assert client.head.startswith("http/1.1 400")
    answer = json.loads(client.body)
    assert answer["error"]["type"] == "invalid_request_error"
    if dialect == "openai":
        assert (answer["error"]["param"], answer["error"]["code"]) == (
            "max_tokens",
            "invalid_value",
        )
    else:
        assert answer["type"] == "error"
    [record] = await rig.ended()
    assert (record.end.outcome, record.alias, record.attempts) == ("refused", alias, [])
    assert rig.backends_seen == []


@pytest_twisted.ensureDeferred
async def test_under_the_cap_every_byte_goes_on_as_it_was(open_rig):
    rig = await open_rig()
    body = b'{ "max_tokens" :  1e2,"n":2, "model":"o", "messages":[]}'
    client = await rig.post(PATHS["openai"], body)
    backend = await rig.backend()
    sent = bytes(backend.received).partition(b"\r\n\r\n")[2]
    assert sent == body.replace(b'"o"', b'"real-o"')
    backend.transport.write(unary(OPENAI))
    await client.has(OPENAI)


@pytest_twisted.ensureDeferred
async def test_counting_tokens_spends_none(open_rig):
    rig = await open_rig()
    client = await rig.post("/v1/messages/count_tokens", ask("o", max_tokens=101))
    await client.has(b"input_tokens")
    assert client.head.startswith("http/1.1 200")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b'{"model":"m","max_tokens":999,"max_tokens":null}', "invalid_value"),
        ('{"model":"m","max_token\u017f":999}'.encode(), "invalid_value"),
    ],
)
def test_what_a_backend_may_read_otherwise_is_refused(body, code):
    assert refusal(body, max_tokens=100) == ("max_tokens", code)
