"""How far our estimates are from what each backend counts, learned from answers that count."""

import json

import pytest
import pytest_twisted
from rig import chunk, sse_head

from lmbroker.call import Backend, Target
from lmbroker.workflows.token_ratios import FEWEST, LEAST, MODELS, MOST, TokenRatios


def target(model="m", name="b"):
    return Target(backend=Backend(name=name, url="http://b", dialect="openai"), model=model)


def test_nothing_is_corrected_before_anything_is_known():
    assert TokenRatios().scaled(1234, target()) == 1234


def test_a_factor_that_is_the_same_each_time_is_taken_at_once():
    ratios = TokenRatios()
    ratios.learn(target(), counted=1500, estimated=1000)
    assert ratios.scaled(200, target()) == 300
    assert ratios.scaled(200, target("other")) == ratios.scaled(200, target(name="c")) == 200


def test_a_factor_that_changes_is_followed():
    ratios = TokenRatios()
    for _ in range(3):
        ratios.learn(target(), counted=1000, estimated=1000)
    for _ in range(40):
        ratios.learn(target(), counted=1400, estimated=1000)
    assert ratios.of(target()) == pytest.approx(1.4, abs=0.01)


@pytest.mark.parametrize(
    ("counted", "estimated"),
    [
        (FEWEST - 1, 100),
        (100, FEWEST - 1),
        (int(1000 * MOST) + 1, 1000),
        (int(1000 * LEAST) - 1, 1000),
        (0, 0),
    ],
)
def test_what_cannot_be_the_same_prompt_teaches_nothing(counted, estimated):
    ratios = TokenRatios()
    ratios.learn(target(), counted=counted, estimated=estimated)
    assert ratios.of(target()) == 1.0


def test_what_is_known_is_bounded():
    ratios = TokenRatios()
    for number in range(MODELS + 5):
        ratios.learn(target(str(number)), counted=150, estimated=100)
    assert ratios.of(target("0")) == 1.0
    assert ratios.of(target(str(MODELS + 4))) == 1.5


def event(delta, finish=None, **more):
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], **more}).encode() + b"\n\n"


@pytest_twisted.ensureDeferred
async def test_later_estimates_are_corrected_by_what_a_backend_has_counted(open_rig):
    rig = await open_rig()
    text = "word " * 400
    body = {"model": "o", "max_tokens": 9, "stream": True}
    body = json.dumps({**body, "messages": [{"role": "user", "content": text}]}).encode()

    async def told():
        asked = len(rig.backends_seen)
        client = await rig.post("/v1/messages", body)
        backend = await rig.backend(asked + 1)
        backend.transport.write(sse_head() + chunk(event({"content": "hi"})))
        await client.has(b"message_start")
        start = client.body.partition(b"data: ")[2].partition(b"\n")[0]
        counted = json.loads(start)["message"]["usage"]["input_tokens"]
        usage = {"prompt_tokens": round(1.5 * first[0]) if first else round(1.5 * counted)}
        usage["completion_tokens"] = 1
        backend.transport.write(
            chunk(event({}, "stop", usage=usage) + b"data: [DONE]\n\n") + b"0\r\n\r\n"
        )
        await client.has(b"message_stop")
        backend.transport.loseConnection()
        return counted

    first = []
    first.append(await told())
    await rig.ended()
    assert await told() == pytest.approx(1.5 * first[0], abs=2)
