"""Refused requests of Responses backends that are repaired, over real sockets."""

import json

import pytest_twisted
from rig import PATHS, unary
from test_loopback_repairs import body_of, refusal
from test_loopback_responses import ANSWER

from lmbroker.translation.shared.signature import seal

CONFIG = """
[[models]]
alias = "r"
type = "responses"
target = { url = "http://127.0.0.1:PORT/v1", model = "real", api_key = "env:KEY" }
"""
TOKEN = seal({"k": "oi", "id": "rs_1", "enc": "gAAA"})
SAID = [
    {"type": "thinking", "thinking": "hm", "signature": TOKEN},
    {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
]
ASKED = {
    "model": "r",
    "max_tokens": 5,
    "messages": [
        {"role": "user", "content": "x"},
        {"role": "assistant", "content": SAID},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1"}]},
    ],
}


def asked(**more):
    return json.dumps({**ASKED, **more}).encode()


def kinds(body):
    return [item["type"] for item in body["input"]]


@pytest_twisted.ensureDeferred
async def test_a_limit_is_raised_and_encrypted_reasoning_is_not_asked_for(open_rig):
    rig = await open_rig(config=CONFIG)
    client = await rig.post(PATHS["anthropic"], asked())
    backend = await rig.backend()
    assert (await body_of(backend, 1))["max_output_tokens"] == 5
    words = "Invalid 'max_output_tokens': integer below minimum value. Expected a value >= 16"
    backend.transport.write(refusal(f"{words}, but got 5 instead."))
    assert (await body_of(backend, 2))["max_output_tokens"] == 16
    backend.transport.write(refusal("Encrypted content is not supported with this model."))
    sent = await body_of(backend, 3)
    assert "include" not in sent
    backend.transport.write(unary(ANSWER))
    await client.has(b"yo")
    assert "x-lmbroker-changed: max_tokens" in client.head.lower()
    assert "x-lmbroker-dropped" not in client.head.lower()
    await rig.post(PATHS["anthropic"], asked())
    sent = await body_of(backend, 4)
    assert sent["max_output_tokens"] == 16
    assert "include" not in sent


@pytest_twisted.ensureDeferred
async def test_reasoning_that_a_backend_cannot_read_is_left_out_of_one_call(open_rig):
    rig = await open_rig(config=CONFIG)
    client = await rig.post(PATHS["anthropic"], asked())
    backend = await rig.backend()
    assert "reasoning" in kinds(await body_of(backend, 1))
    backend.transport.write(refusal("The encrypted content gAAA could not be verified."))
    assert "reasoning" not in kinds(await body_of(backend, 2))
    backend.transport.write(unary(ANSWER))
    await client.has(b"yo")
    assert "x-lmbroker-dropped: messages[].content[].thinking" in client.head.lower()
    await rig.post(PATHS["anthropic"], asked())
    assert "reasoning" in kinds(await body_of(backend, 3))


@pytest_twisted.ensureDeferred
async def test_an_item_that_is_not_found_goes_without_its_id(open_rig):
    rig = await open_rig(config=CONFIG)
    client = await rig.post(PATHS["anthropic"], asked())
    backend = await rig.backend()
    assert (await body_of(backend, 1))["input"][1]["id"] == "rs_1"
    words = "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."
    backend.transport.write(refusal(words, b"404 Not Found"))
    sent = await body_of(backend, 2)
    assert sent["input"][1]["encrypted_content"] == "gAAA"
    assert all("id" not in item for item in sent["input"])
    backend.transport.write(unary(ANSWER))
    await client.has(b"yo")
    assert "x-lmbroker-dropped" not in client.head.lower()
