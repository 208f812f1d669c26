"""A request that is short, and made of so many small values that it takes long, is for a helper."""

import json

import pytest
import pytest_twisted
from rig import CONFIG, PATHS, ask, unary

from lmbroker.call import Backend, Call, Target
from lmbroker.offload import is_large
from lmbroker.offload.offload import DENSE, LARGE
from lmbroker.workflows import workflow_for

TOOL = {"type": "function", "function": {"name": "look", "parameters": {}}}
PROSE = [{"role": "user", "content": "a word and another word, " * 1300}] * 5
SHORT = [{"role": "user", "content": [{"type": "text", "text": "a"}] * 3100}]
DENSE_BODIES = {
    "tools": ask("a", tools=[TOOL] * 1100),
    "values": ask("a", messages=[{"role": "user", "content": [0] * 10_100}]),
}


def way(backend):
    place = Backend(name="b", url="http://b.test", dialect=backend)
    call = Call(id="req_1", operation="chat", dialect="openai", asked="a", body=b"")
    return workflow_for(call, Target(backend=place, model="m"))


@pytest.mark.parametrize("body", DENSE_BODIES.values(), ids=DENSE_BODIES)
def test_what_is_made_of_many_small_values_is_for_a_helper_where_it_is_translated(body):
    assert DENSE < len(body) < LARGE
    assert is_large(body, way("anthropic"))
    assert not is_large(body, way("openai"))


def test_a_long_conversation_is_not():
    assert not is_large(ask("a", messages=PROSE), way("anthropic"))


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_what_is_long_is_in_any_case(dialect):
    assert is_large(b"a" * LARGE, way(dialect))
    assert not is_large(b"a" * (LARGE - 1), way(dialect))


@pytest.mark.process
@pytest.mark.sockets
@pytest.mark.parametrize(("body", "result"), [(DENSE_BODIES["tools"], ["ok"]), (ask("a"), [])])
@pytest_twisted.ensureDeferred
async def test_a_helper_translates_it(rig, body, result):
    results = []
    rig.broker.offload.ended = results.append
    client = await rig.post(PATHS["openai"], body)
    backend = await rig.backend()
    assert len(json.loads(backend.body).get("tools", [])) in (0, 1, 1100)
    assert results == result
    backend.transport.write(unary(b"{}", b"400 Bad Request"))
    await client.has(b"400")
    rig.broker.offload.close()


@pytest.mark.process
@pytest.mark.sockets
@pytest.mark.parametrize(
    ("body", "result"), [(ask("a", messages=SHORT), ["ok"]), (ask("a", messages=PROSE), [])]
)
@pytest_twisted.ensureDeferred
async def test_a_helper_estimates_its_tokens(open_rig, body, result):
    rig = await open_rig(config=CONFIG.replace('type = "anthropic"', 'type = "openai"'))
    results = []
    rig.broker.offload.ended = results.append
    client = await rig.post("/v1/messages/count_tokens", body)
    await client.has(b"input_tokens")
    assert results == result
    rig.broker.offload.close()
