"""What no honest body or event has so many of.

Values and lines of an event are counted alike however it is cut; long texts are left out of JSON.
"""

import json
from typing import Any

import pytest
import pytest_twisted
from hypothesis import example, given
from hypothesis import strategies as st
from rig import CONFIG, PATHS, ask

from lmbroker import bounds, envelope
from lmbroker.bounds import EventCount, is_dense, without_texts
from lmbroker.errors import Refused
from lmbroker.limits import Limits


def refused(body, **limits):
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    try:
        bounds.check_body(text, envelope.read(text).fields, Limits(**limits))
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
        bounds.check_body(body, envelope.read(body).fields, Limits(messages=3))
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
    assert not bounds.has_more_values(body, separators)
    assert bounds.has_more_values(body, separators - 1)


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
    bounds.check_body(body, fields, Limits(messages=3))
    with pytest.raises(Refused) as refusal:
        bounds.check_body(body, fields, Limits(messages=3), "input")
    assert (refusal.value.info.code, refusal.value.info.param) == ("too_many_messages", "input")


PIECES = ("a", '"', "\\", "é", "\n", ",", "[", "{", '\\"', "\\\\", "b" * 700, "data: ")
TEXTS = st.lists(st.sampled_from(PIECES), max_size=20).map("".join)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)),
    max_leaves=12,
)


def counted(event: bytes) -> int:
    """Strings where they begin, and commas and opening brackets outside of them."""
    count, at, in_string = 0, 0, False
    while at < len(event):
        sign = event[at : at + 1]
        if sign == b"\\":
            at += 1
        elif sign == b'"':
            in_string = not in_string
            count += in_string
        elif sign in b",[{" and not in_string:
            count += 1
        at += 1
    return count


def shortened(value: Any) -> Any:
    if isinstance(value, str):
        inside = json.dumps(value, ensure_ascii=False).encode()[1:-1]
        return value if len(inside) < bounds.LONG_TEXT else ""
    if isinstance(value, list):
        return [shortened(each) for each in value]
    if isinstance(value, dict):
        return {shortened(key): shortened(each) for key, each in value.items()}
    return value


@given(VALUES, st.integers(1, 9))
@example(["\\" * 9 + '"'], 1)
def test_what_is_counted_does_not_depend_on_the_cuts(value, step):
    event = json.dumps(value, ensure_ascii=False).encode() + b"\r\n\n"
    count, held = EventCount(), bytearray()
    for at in range(0, len(event), step):
        held += event[at : at + step]
        count.see(held)
    assert (count.values, count.lines) == (counted(event), 3)


@pytest.mark.parametrize(
    ("event", "dense"),
    [
        (b"[]," * 60_000, False),  # it is not large
        (b'"abc",' * 49_999 + b" " * 300_000, False),
        (b'"abc",' * 50_000, True),
        (b"[1]," * 70_000, True),
        (b'{"a":{},' * 40_000, True),
        (b'"' + b'",",' * 100_000, True),
        (b'"' + b'\\",[' * 100_000, False),  # one text
        (b"x\n" * 200_000, True),
        (b"x\r" * 200_000, True),
        (b"\n".join([b"x" * 1000] * 1000), False),
    ],
)
def test_a_large_event_is_dense_or_not(event, dense):
    assert is_dense(event) is dense
    assert is_dense(bytearray(event)) is dense


@given(VALUES)
@example("\\" * 999 + '"')
@example(['"' * 999, "b" * 1999])
def test_without_texts_is_the_same_json_but_for_its_long_texts(value):
    event = b"data: " + json.dumps(value, ensure_ascii=False).encode()
    assert json.loads(without_texts(event)[6:]) == shortened(value)


@pytest.mark.parametrize("event", [b"", b'"', b'"' + b"a" * 99, b"a" * 99, b'""', b'"a\\"'])
def test_what_is_no_whole_string_stays(event):
    assert without_texts(event) == event


def test_an_event_of_many_escaped_quotes_is_short_as_well():
    """Its long text goes with them; what is short may lose them."""
    many = 'He said "no", \\ and "yes". ' * bounds.FEW_QUOTES
    event = json.dumps({"a": many, "id": "x", "say": 'a "word"\\', "b": [1, many]}).encode()
    short = {"a": "", "id": "x", "say": "a word", "b": [1, ""]}
    assert json.loads(without_texts(event)) == short


def test_an_event_of_many_strings_stays_as_it_is():
    event = json.dumps(['"'] * (bounds.FEW_QUOTES + 1)).encode()
    assert without_texts(event) is event
