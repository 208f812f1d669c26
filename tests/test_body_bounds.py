"""What no honest request has so many of."""

import json

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from rig import CONFIG, PATHS, ask

from lmbroker import body_bounds, envelope
from lmbroker.errors import Refused
from lmbroker.limits import Limits


def refused(body, **limits):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        body_bounds.check(text, envelope.read(text).fields, Limits(**limits))
    except Refused as refusal:
        return refusal.info.code
    return None


@pytest.mark.parametrize("key", ["messages", "tools"])
def test_a_list_may_have_so_many_items_and_no_more(key):
    assert refused({"model": "m", key: [{}] * 50}, **{key: 50}) is None
    assert refused({"model": "m", key: [{}] * 51}, **{key: 50}) == f"too_many_{key}"
    assert refused({"model": "m", key: "a" * 500}, **{key: 50}) is None


def test_keys_at_the_top_level():
    body = {"model": "m", **{f"k{each}": 1 for each in range(9)}}
    assert refused(body, top_level_keys=10) is None
    assert refused(body, top_level_keys=9) == "too_many_top_level_keys"


def test_the_refusal_names_the_limit_and_its_key():
    with pytest.raises(Refused) as refusal:
        body = b'{"model":"m","messages":[0,0,0,0]}'
        body_bounds.check(body, envelope.read(body).fields, Limits(messages=3))
    assert "limits.messages" in refusal.value.info.message
    assert "3" in refusal.value.info.message
    assert (refusal.value.info.kind, refusal.value.info.param) == ("invalid_request", "messages")


def test_values_are_counted_outside_of_texts():
    text = ',:[{"' * 500
    assert refused({"model": "m", "t": text}, json_values=40) is None
    assert refused({"model": "m", "t": [text, "\\", '\\"'] * 9}, json_values=40) is None
    assert refused({"model": "m", "p": "a" * 400, "t": [[]] * 50}, json_values=40) == (
        "too_many_json_values"
    )
    assert refused({"model": "m", "p": "a" * 400, "t": [""] * 50}, json_values=40) == (
        "too_many_json_values"
    )


@given(
    st.recursive(
        st.text(alphabet='a"\\,:[{') | st.integers() | st.none(),
        lambda held: st.lists(held) | st.dictionaries(st.text(alphabet='a"\\,'), held),
    )
)
def test_the_count_is_exact(value):
    def inside(held):
        if isinstance(held, dict):
            return sum(2 + inside(each) for each in held.values()) + (not held)
        if isinstance(held, list):
            return sum(1 + inside(each) for each in held) + (not held)
        return 0

    value = {"v": value}
    separators = inside(value)
    # Spaces behind it make the body long enough to be looked at.
    body = json.dumps(value).encode() + b" " * 8 * (separators + 1)
    assert not body_bounds.has_more_values(body, separators)
    assert body_bounds.has_more_values(body, separators - 1)


def test_defaults_are_far_above_what_agents_send():
    messages = [{"role": "user", "content": [{"type": "text", "text": "a,b" * 20}]}] * 20_000
    tools = [{"name": f"t{each}", "input_schema": {"type": "object"}} for each in range(500)]
    assert refused({"model": "m", "messages": messages, "tools": tools}) is None


LIMITS = {"top_level_keys": 9, "messages": 4, "tools": 3, "json_values": 60}
TOO_MANY = {
    "top_level_keys": {f"k{each}": 1 for each in range(9)},
    "messages": {"messages": [{"role": "user", "content": "a"}] * 5},
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}] * 4},
    "json_values": {"metadata": {"a": [0] * 99, "b": "a" * 900}},
}
BOUNDED = "[limits]\n" + "".join(f"{key} = {most}\n" for key, most in LIMITS.items()) + CONFIG


@pytest.mark.parametrize("dialect", PATHS)
@pytest.mark.parametrize("key", LIMITS)
@pytest_twisted.ensureDeferred
async def test_a_client_is_told_which_limit_it_is(open_rig, key, dialect):
    rig = await open_rig(config=BOUNDED)
    client = await rig.post(PATHS[dialect], ask("o", **TOO_MANY[key]))
    await client.has(b"limits.")
    assert client.received.startswith(b"HTTP/1.1 400 ")
    assert f"limits.{key} of this broker" in json.loads(client.body)["error"]["message"]
    assert not rig.backends_seen


@pytest_twisted.ensureDeferred
async def test_what_is_within_the_limits_is_served(open_rig):
    rig = await open_rig(config=BOUNDED)
    await rig.post(PATHS["openai"], ask("o", metadata={"a": "a" * 900}))
    assert await rig.backend()


def test_a_dialect_may_call_its_messages_something_else():
    body = b'{"model":"m","input":[0,0,0,0]}'
    fields = envelope.read(body).fields
    body_bounds.check(body, fields, Limits(messages=3))
    with pytest.raises(Refused) as refusal:
        body_bounds.check(body, fields, Limits(messages=3), "input")
    assert (refusal.value.info.code, refusal.value.info.param) == ("too_many_messages", "input")
