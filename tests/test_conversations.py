"""Which conversation a call belongs to, and at which target a conversation is at home."""

import json

import msgspec
import pytest

from lmbroker.call import Call
from lmbroker.routing.conversations import (
    SESSION_HEADERS,
    ConversationTargets,
    conversation_of,
    hashed,
)

SYSTEM = {"role": "system", "content": "You are brief."}
USER = {"role": "user", "content": "hello"}
MORE = [{"role": "assistant", "content": "hi"}, {"role": "user", "content": "and now?"}]


def call(dialect="openai", headers=None, **body):
    text = json.dumps({"model": "m", **body}).encode()
    return Call(
        id="r", operation="chat", dialect=dialect, asked="m", body=text, headers=headers or {}
    )


@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_a_session_header_tells_a_conversation(name):
    assert conversation_of(call(headers={name: "s1"}, messages=[USER])).endswith("s1")


@pytest.mark.parametrize(
    ("field", "value"), [("prompt_cache_key", "k"), ("metadata", {"user_id": "k"})]
)
def test_so_does_a_field_that_is_there_for_it(field, value):
    assert conversation_of(call(messages=[USER], **{field: value})).endswith("=k")


@pytest.mark.parametrize("system", [[SYSTEM], []])
def test_the_turns_of_a_conversation_begin_alike(system):
    first = conversation_of(call(messages=[*system, USER]))
    assert first and conversation_of(call(messages=[*system, USER, *MORE])) == first
    other = {"role": "user", "content": "something else"}
    assert conversation_of(call(messages=[*system, other])) != first


def test_instructions_outside_of_the_messages_count():
    assert conversation_of(call("anthropic", system="a", messages=[USER])) != conversation_of(
        call("anthropic", system="b", messages=[USER])
    )


def test_the_items_of_responses_are_messages():
    first = conversation_of(call("responses", instructions="a", input=[USER]))
    more = [{"type": "reasoning", "id": "rs_1", "summary": []}, *MORE]
    again = call("responses", instructions="a", input=[USER, *more])
    assert first and conversation_of(again) == first
    assert conversation_of(call("responses", instructions="b", input=[USER])) != first
    assert conversation_of(call("responses", input="hello")).startswith("begins=")
    assert conversation_of(call("responses", input="hello")) != conversation_of(
        call("responses", input="hi")
    )


def test_what_is_embedded_is_no_conversation():
    embedding = msgspec.structs.replace(call(input="hello"), operation="embeddings")
    assert conversation_of(embedding) == ""


def test_contents_are_hashed():
    assert "hello" not in conversation_of(call(messages=[USER]))


@pytest.mark.parametrize(
    "body", [{}, {"messages": None}, {"messages": [1]}, {"messages": [SYSTEM]}, {"messages": 3}]
)
def test_where_nothing_tells_there_is_none(body):
    assert conversation_of(call(**body)) == ""


def test_homes_are_remembered_and_bounded():
    remembered = ConversationTargets(most=3)
    for number in range(5):
        remembered.remember(hashed("a", str(number)), "a", f"t{number % 2}")
    assert [remembered.target_of(hashed("a", str(number))) for number in range(5)] == [
        "",
        "",
        "t0",
        "t1",
        "t0",
    ]
    assert remembered.full("a", ["t0", "t1"], [1, 1]) == [False, False]


def test_a_target_with_more_than_its_share_is_full():
    remembered = ConversationTargets()
    for number in range(100):
        remembered.remember(hashed("a", str(number)), "a", "t0" if number < 60 else "t1")
    assert remembered.full("a", ["t0", "t1"], [1, 1]) == [True, False]
    assert remembered.full("a", ["t0", "t1"], [2, 1]) == [False, True]
    assert remembered.full("b", ["t0", "t1"], [1, 1]) == [False, False]


def test_a_conversation_that_moves_is_counted_once():
    remembered = ConversationTargets()
    for target in ("t0", "t1", "t0", "t1"):
        remembered.remember(b"c", "a", target)
    assert remembered.target_of(b"c") == "t1"
    assert remembered.full("a", ["t1", "t0"], [1, 1]) == [False, False]
    assert hashed("a", "bc") != hashed("ab", "c")
