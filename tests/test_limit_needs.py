"""What a call may take of limits, and what it has taken."""

import json

import pytest
from limit_store_laws import bound

from lmbroker.call import Attempt, Backend, Call, End, Record, Target
from lmbroker.limiting.needs import ASSUMED_OUTPUT, Weight, taken
from lmbroker.usage import PICO, Price, Usage

TOKENS = bound("tokens", "never", 100_000)
MONEY = bound("cost", "never", PICO)
CHEAP, DEAR = Price(input=1, output=2), Price(input=10, output=20)


def call(operation="chat", **body):
    text = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 360}], **body})
    return Call(id="r", operation=operation, dialect="openai", asked="m", body=text.encode())


def need(asked, where=TOKENS, prices=(), reserve=1.0):
    return Weight(asked, prices).need(where, reserve)


def test_tokens_are_the_input_by_an_estimate_and_the_output_that_is_asked_for():
    small = Weight(call(), ()).input
    assert 90 < small < 150
    assert need(call(max_tokens=500)) in range(small + 500, small + 510)
    for name in ("max_completion_tokens", "max_output_tokens"):
        assert need(call(**{name: 500})) > small + 500
    assert need(call(max_tokens=500, n=3)) > small + 1500
    assert need(call(max_tokens=500), reserve=0.25) in range(small + 125, small + 140)
    assert need(call()) == small + ASSUMED_OUTPUT
    assert need(call("embeddings", max_tokens=500)) in range(small, small + 10)


@pytest.mark.parametrize(
    "odd", [{"max_tokens": None}, {"max_tokens": "9"}, {"max_tokens": True}, {"n": "2"}, {"n": -1}]
)
def test_odd_numbers_are_none(odd):
    assert need(call(**odd)) in range(ASSUMED_OUTPUT, ASSUMED_OUTPUT + 200)


def test_money_is_that_of_the_dearest_target():
    asked = call(max_tokens=1000)
    small = Weight(asked, ()).input
    assert need(asked, MONEY, (CHEAP, DEAR)) == (small * 10 + 1000 * 20) * PICO // 1_000_000
    assert need(asked, MONEY, ()) == 0
    assert need(asked, MONEY, (Price(input=0, output=0),)) == 0
    assert need(call(max_tokens=0), MONEY, (Price(input=0, output=1),)) == 1


def test_a_guess_never_needs_more_than_there_is():
    little = bound("tokens", "minute", 50)
    assert need(call(), little) == 50
    assert need(call(max_tokens=40), little) == 50
    # What the call itself asks for is no guess.
    assert need(call(max_tokens=60), little) == 60


def test_large_bodies_with_images_are_not_taken_for_text():
    image = "A" * 1_000_000
    asked = call(image=f"data:image/png;base64,{image}")
    assert need(asked) < 5000


def record(usage=None, cost=None, outcome="complete", error="", attempts=1):
    backend = Backend(name="b", url="http://b.test", dialect="openai")
    made = Attempt(target=Target(backend=backend, model="m"), workflow="passthrough", started=0.0)
    made.error = error
    return Record(
        id="r",
        operation="chat",
        dialect="openai",
        opened_at=0.0,
        usage=usage,
        cost=cost,
        attempts=[made] * attempts,
        end=End(outcome=outcome, status=200),
    )


BOUNDS = (TOKENS, MONEY, bound("requests", "minute", 1), bound("parallel", "never", 1))
WEIGHT = Weight(call(max_tokens=500), (CHEAP, DEAR))
ENTERED = WEIGHT.input


@pytest.mark.parametrize(
    ("ended", "told", "tokens", "cost"),
    [
        (record(Usage(input=1, cache_read=2, cache_write=3, output=4), 77), 0, 10, 77),
        (record(Usage(input=1, output=4), None, "stream_error"), 0, 5, 0),
        (record(None, None), 36, ENTERED + 10, (ENTERED + 20) * PICO // 10**6),
        (record(None, None, "client_left", "cancelled"), 0, ENTERED, ENTERED * PICO // 10**6),
        (record(None, None, "client_left", attempts=0), 0, 0, 0),
        (record(None, None, "backend_error", "server"), 0, 0, 0),
        (record(None, None, "refused", attempts=0), 0, 0, 0),
    ],
)
def test_what_a_call_took_is_what_is_known_of_it(ended, told, tokens, cost):
    assert taken(BOUNDS, ended, WEIGHT, told) == (tokens, cost, 0, 0)


def test_the_numbers_of_embeddings_are_no_text():
    weight = Weight(call("embeddings"), ())
    assert taken((TOKENS,), record(), weight, 50_000) == (weight.input,)


def test_what_weighs_nothing_takes_nothing():
    assert taken(BOUNDS, record(Usage(input=9)), None, 0) == (0, 0, 0, 0)
