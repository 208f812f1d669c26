"""The orders of messages that backends and chat templates insist on: each is kept for every
conversation, nothing is lost, and the next request begins with the messages of the last one."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmbroker.translation.dialects.anthropic_messages.decode_request import decode_request
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile

JSON = dict[str, Any]

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
IMAGE = {"type": "image", "source": PNG}
HELLO = {"role": "user", "content": "Hello"}
ROLES = "messages[].role"


def sent(*messages: JSON, **overrides: Any) -> tuple[list[JSON], tuple[str, ...]]:
    """The messages and what was reported of them."""
    body = {"model": "m", "max_tokens": 100, "messages": list(messages), "system": "Top."}
    losses = Losses()
    out = encode_request(decode_request(body), profile("openai", "m", overrides), losses)
    return out["messages"][1:], losses.paths


def text(words: str) -> JSON:
    return {"type": "text", "text": words}


def calling(*ids: str, words: str = "") -> JSON:
    calls = [{"type": "tool_use", "id": id, "name": "f", "input": {}} for id in ids]
    return {"role": "assistant", "content": [*([text(words)] if words else []), *calls]}


def results(*ids: str, more: tuple[JSON, ...] = ()) -> JSON:
    held = [{"type": "tool_result", "tool_use_id": id, "content": f"of {id}"} for id in ids]
    return {"role": "user", "content": [*held, *more]}


def roles(messages: list[JSON]) -> list[str]:
    return [message["role"] for message in messages]


SYSTEM = {"role": "system", "content": "Be brief."}
ANSWER = {"role": "assistant", "content": "Yes."}


def test_results_stand_directly_after_their_calls_everywhere() -> None:
    messages, lost = sent(HELLO, calling("a", "b"), SYSTEM, results("a"), SYSTEM, results("b"))
    assert roles(messages) == ["user", "assistant", "tool", "tool", "system", "system"]
    assert lost == ()


def test_text_after_a_result_is_merged_into_it() -> None:
    talk = (HELLO, calling("a"), results("a", more=(text("Hint."),)), SYSTEM)
    messages, lost = sent(*talk, after_tool="merge")
    assert roles(messages) == ["user", "assistant", "tool"]
    assert messages[-1]["content"] == "of a\n\nHint.\n\n[system]\nBe brief."
    assert lost == (ROLES, "messages[].content[].content")


def test_text_after_a_result_is_set_apart() -> None:
    talk = (HELLO, calling("a"), results("a", more=(text("Hint."),)))
    messages, lost = sent(*talk, after_tool="assistant")
    assert roles(messages) == ["user", "assistant", "tool", "assistant", "user"]
    assert messages[-2]["content"] == "Understood." and lost == (ROLES,)


def test_an_image_after_a_result_is_set_apart_where_text_is_merged() -> None:
    talk = (HELLO, calling("a"), results("a", more=(IMAGE,)))
    messages, _ = sent(*talk, after_tool="merge")
    assert roles(messages) == ["user", "assistant", "tool", "assistant", "user"]
    assert messages[-1]["content"][0]["type"] == "image_url"


def test_speakers_take_turns() -> None:
    messages, _ = sent(HELLO, HELLO, SYSTEM, ANSWER, HELLO, alternate_roles=True)
    assert roles(messages) == ["user", "assistant", "user"]
    assert messages[0]["content"] == "Hello\n\nHello\n\n[system]\nBe brief."


def test_the_user_begins_where_speakers_take_turns() -> None:
    messages, lost = sent(ANSWER, HELLO, alternate_roles=True)
    assert messages[0] == {"role": "user", "content": "."} and lost == (ROLES,)
    assert roles(sent(ANSWER, HELLO)[0]) == ["assistant", "user"]


def test_messages_of_the_model_are_one_where_speakers_take_turns() -> None:
    unsaid = {"role": "user", "content": [{"type": "compaction", "content": None}]}
    talk = (HELLO, ANSWER, unsaid, calling("a", words="Look."), results("a"))
    assert roles(sent(*talk)[0]) == ["user", "assistant", "assistant", "tool"]
    messages, _ = sent(*talk, alternate_roles=True)
    assert roles(messages) == ["user", "assistant", "tool"]
    assert messages[1]["content"] == "Yes.\n\nLook." and len(messages[1]["tool_calls"]) == 1


_words = st.sampled_from(["one", "two words", "three"])
_system = st.builds(lambda words: {"role": "system", "content": words}, _words)
_user = st.builds(
    lambda words, shown: {"role": "user", "content": [text(words), *([IMAGE] if shown else [])]},
    _words,
    st.booleans(),
)
_plain = st.builds(lambda words: {"role": "assistant", "content": words}, _words)


@st.composite
def _exchange(draw: Any) -> list[JSON]:
    """What a user asks, the calls of the model and their results, and its answer."""
    asked = draw(st.lists(_user | _system, min_size=1, max_size=3))
    if all(each["role"] == "system" for each in asked):
        asked.append(draw(_user))
    for _ in range(draw(st.integers(0, 2))):
        ids = draw(st.lists(st.sampled_from("abc"), min_size=1, max_size=2, unique=True))
        asked.append(calling(*ids, words=draw(st.sampled_from(["", "Look."]))))
        asked += draw(st.lists(_system, max_size=1))
        more = tuple(draw(st.lists(st.builds(text, _words), max_size=1)))
        asked.append(results(*ids, more=more))
        asked += draw(st.lists(_user | _system, max_size=2))
    return [*asked, draw(_plain)]


SHAPES: tuple[JSON, ...] = (
    {},
    {"system_first_only": True},
    {"alternate_roles": True},
    {"after_tool": "merge"},
    {"after_tool": "assistant"},
    {"alternate_roles": True, "after_tool": "merge", "system_first_only": True},
    {"alternate_roles": True, "after_tool": "assistant", "tool_result_images": True},
    {"alternate_roles": True, "vision": False},
)


def taken(messages: list[JSON], shape: JSON) -> None:
    """The rules of the strictest server of that shape, as it would state them."""
    before, turn = "", "user"
    called: set[str] = set()
    for message in messages:
        role = message["role"]
        assert role in ("user", "assistant", "tool", "system")
        if role == "tool":
            assert before == "tool" or called, "a result follows its call"
            called.discard(message["tool_call_id"])
        else:
            assert not called, "calls are answered before all else"
        if shape:
            assert role != "system", "only one system message, at the start"
        if before == "tool" and shape.get("after_tool", "user") != "user":
            assert role in ("assistant", "tool")
        if shape.get("alternate_roles") and role != "tool" and "tool_calls" not in message:
            assert role == turn, "speakers take turns"
            turn = "assistant" if turn == "user" else "user"
        called |= {call["id"] for call in message.get("tool_calls", ())}
        before = role


@settings(max_examples=150, deadline=None)
@given(st.lists(_exchange(), min_size=1, max_size=4), st.sampled_from(SHAPES))
def test_every_conversation_has_the_order_and_grows_at_its_end(
    exchanges: list[list[JSON]], shape: JSON
) -> None:
    before: list[JSON] = []
    asked: list[JSON] = []
    for *questions, answer in exchanges:
        asked += questions
        messages, _ = sent(*asked, **shape)
        taken(messages, shape)
        assert messages[: len(before)] == before
        before = messages
        asked.append(answer)
    told = json.dumps(before)
    for message in asked[:-1]:
        for part in message["content"] if isinstance(message["content"], list) else ():
            if part["type"] == "text":
                assert part["text"] in told
            elif part["type"] == "tool_result":
                assert part["content"] in told


@pytest.mark.parametrize("shape", SHAPES)
def test_the_order_takes_time_that_is_linear_in_the_messages(shape: JSON) -> None:
    """A conversation that joins everything into one message is as long as its texts."""
    many = [HELLO, calling("a"), results("a"), *([HELLO, SYSTEM] * 5_000)]
    messages, _ = sent(*many, **shape)
    assert len(json.dumps(messages)) < 200 * len(many)
