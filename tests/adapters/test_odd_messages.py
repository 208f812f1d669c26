"""History is never poison: what stands before the last message is read for what it means, whatever
it looks like, and all that is reported of it stands in the client's own body."""

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lmbroker.errors import Refused
from lmbroker.translation.dialects.anthropic_messages.decode_request import (
    decode_request as decode_anthropic,
)
from lmbroker.translation.dialects.anthropic_messages.encode_request import (
    encode_request as to_anthropic,
)
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request as decode_openai
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request as to_openai
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile
from lmbroker.translation.shared.odd_messages import MOST
from lmbroker.translation.unified.request import Request

JSON = dict[str, Any]
HELLO = {"role": "user", "content": "Hello"}
ANSWER = {"role": "assistant", "content": "Yes."}
LAST = {"role": "user", "content": "And now?"}
PDF = "data:application/pdf;base64,JVBERi0xLjQK"


def sent_to_anthropic(*messages: Any, mode: Any = "default", **fields: Any) -> tuple[JSON, Losses]:
    body = {"model": "m", "messages": list(messages), **fields}
    losses = Losses(mode)
    return to_anthropic(decode_openai(body), profile("anthropic", "m"), losses), losses


def sent_to_openai(*messages: Any, mode: Any = "default", **fields: Any) -> tuple[JSON, Losses]:
    body = {"model": "m", "max_tokens": 9, "messages": list(messages), **fields}
    losses = Losses(mode)
    return to_openai(decode_anthropic(body), profile("openai", "m"), losses), losses


def calls(*entries: Any) -> JSON:
    return {"role": "assistant", "content": None, "tool_calls": list(entries)}


CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "42"}
USE = {"type": "tool_use", "id": "c", "name": "f", "input": {}}


def paired(messages: list[JSON]) -> bool:
    """Whether each call of a request to Anthropic is answered in the next message, once, and
    nothing else is."""
    wanted: list[str] = []
    for message in messages:
        answered = [b["tool_use_id"] for b in message["content"] if b["type"] == "tool_result"]
        if message["role"] == "user" and sorted(answered) != sorted(wanted):
            return False
        wanted = [b["id"] for b in message["content"] if b["type"] == "tool_use"]
    return True


ODD_OPENAI: list[tuple[list[Any], str]] = [
    ([{"role": "ipython", "content": "42"}], "messages[].role"),
    ([{"role": "model", "content": "42"}], "messages[].role"),
    ([{"role": "User", "content": "42"}], "messages[].role"),
    ([{"content": "42"}], "messages[]"),
    (["42"], "messages[]"),
    ([None, {"role": "user", "content": "42"}], "messages[]"),
    ([{"role": "user", "content": 42}], "messages[].content"),
    ([{"role": "user", "content": {"type": "text", "text": "42"}}], ""),
    ([{"role": "user", "content": ["42", None]}], ""),
    ([{"role": "user", "content": [{"text": "42"}]}], ""),
    ([{"role": "user", "content": [{"type": "text"}, {"type": "text", "text": "42"}]}],
     "messages[].content"),
    ([{"role": "user", "content": [{"type": "image_url"}, {"type": "text", "text": "42"}]}],
     "messages[].content"),
    ([{"role": "user", "name": 7, "content": "42"}], "messages[].name"),
    ([{"role": "user"}, {"role": "user", "content": "42"}], ""),
    ([calls({"id": "c", "type": "web_search", "web_search": {"q": 1}}), RESULT],
     "messages[].tool_calls"),
    ([calls({"id": "c", "name": "f", "arguments": "{}"}), RESULT], "messages[].tool_calls"),
    ([calls({"type": "function", "function": {"name": "f"}}), {"role": "tool", "content": "42"}],
     "messages[].tool_calls"),
    ([calls({**CALL, "id": 7}), {**RESULT, "tool_call_id": 7}], "messages[].tool_call_id"),
    ([calls({"id": "c", "type": "function"}), RESULT], "messages[].tool_calls"),
    ([calls(None), {"role": "user", "content": "42"}], "messages[].tool_calls"),
    ([{"role": "assistant", "content": "42", "tool_calls": {}}], "messages[].tool_calls"),
    ([{"role": "assistant", "content": "42", "reasoning": [1]}], "messages[].reasoning"),
    ([{"role": "assistant", "content": "42", "reasoning_details": "x"}],
     "messages[].reasoning_details"),
    ([{"role": "assistant", "content": "42", "thinking_blocks": [None]}],
     "messages[].thinking_blocks"),
    ([{"role": "assistant", "content": "42", "refusal": False}], "messages[].refusal"),
    ([{"role": "system"}, {"role": "user", "content": "42"}], ""),
    ([calls(CALL), {**RESULT, "content": {"answer": 42}}], "messages[].content"),
    ([{"role": "user", "content": "42", "cache_control": True}], "messages[].cache_control"),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "told"), ODD_OPENAI)
def test_an_odd_message_of_a_chat_is_read_and_reported(odd: list[Any], told: str) -> None:
    out, losses = sent_to_anthropic(HELLO, *odd, ANSWER, LAST)
    assert "42" in json.dumps(out["messages"])
    assert paired(out["messages"])
    assert told in losses.paths or not told
    if told:
        with pytest.raises(Refused):
            sent_to_anthropic(HELLO, *odd, ANSWER, LAST, mode="strict")


ODD_ANTHROPIC: list[tuple[list[Any], str]] = [
    ([{"role": "ipython", "content": "42"}], "messages[].role"),
    ([{"role": "tool", "content": "42"}], "messages[].role"),
    ([{"content": "42"}], "messages[]"),
    ([{"role": "user", "content": None}, {"role": "user", "content": "42"}], ""),
    ([{"role": "user", "content": {"type": "text", "text": "42"}}], ""),
    ([{"role": "user", "content": ["42", None]}], ""),
    ([{"role": "user", "content": [{"type": "thinking", "thinking": "t"}, "42"]}],
     "messages[].content"),
    ([{"role": "user", "content": [USE, "42"]}], "messages[].content"),
    ([{"role": "assistant", "content": [
        USE, {"type": "tool_result", "tool_use_id": "c", "content": "42"}]}],
     "messages[].content"),
    ([{"role": "assistant", "content": [USE]}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c", "content": [
            USE, {"type": "text", "text": "42"}]}
    ]}], "messages[].content"),
    ([{"role": "assistant", "content": [{**USE, "id": None, "name": None}, "42"]}],
     "messages[].content"),
    ([{"role": "assistant", "content": [{**USE, "input": [42]}]}, HELLO], "messages[].content"),
    ([{"role": "assistant", "content": [USE]}, {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "c", "content": 42, "is_error": "no"}
    ]}], "messages[].content"),
    ([{"role": "assistant", "content": [{"type": "redacted_thinking"}, "42"]}],
     "messages[].content"),
    ([{"role": "user", "content": [{"type": "image"}, "42"]}], "messages[].content"),
    ([{"role": "user", "content": [{"type": "text", "text": "42", "cache_control": "x"}]}], ""),
]  # fmt: skip


@pytest.mark.parametrize(("odd", "told"), ODD_ANTHROPIC)
def test_an_odd_message_of_the_messages_format_is_read_and_reported(
    odd: list[Any], told: str
) -> None:
    out, losses = sent_to_openai(HELLO, *odd, ANSWER, LAST)
    assert "42" in json.dumps(out["messages"])
    assert told in losses.paths or not told


@pytest.mark.parametrize("odd", [each for odd, told in ODD_OPENAI for each in odd[-1:] if told])
def test_a_mistake_in_the_last_message_is_the_clients(odd: Any) -> None:
    usual = isinstance(odd, dict) and odd.get("role") in ("model", "User")
    if usual or odd == RESULT or odd == {"role": "user", "content": "42"}:
        sent_to_anthropic(HELLO, ANSWER, odd)
        return
    with pytest.raises(Refused) as caught:
        sent_to_anthropic(HELLO, ANSWER, odd)
    assert (caught.value.info.param or "").startswith("messages[2]")


def test_results_without_calls_and_calls_without_results_are_told_as_such() -> None:
    shortened = [RESULT, ANSWER, calls(CALL, {**CALL, "id": "d"}), RESULT, HELLO, RESULT, LAST]
    out, losses = sent_to_anthropic(*shortened)
    assert paired(out["messages"])
    assert json.dumps(out["messages"]).count("42") == 3
    assert losses.changed == ("messages[]",)
    result = {"type": "tool_result", "tool_use_id": "c", "content": "42"}
    there, losses = sent_to_openai(
        {"role": "user", "content": [result]},
        {"role": "assistant", "content": [USE, {**USE, "id": "d"}]},
        {"role": "user", "content": [result, result]},
        ANSWER,
        LAST,
    )
    roles = [message["role"] for message in there["messages"]]
    assert roles == ["user", "assistant", "tool", "tool", "user", "assistant", "user"]
    assert json.dumps(there["messages"]).count("42") == 3
    assert losses.changed == ("messages[]",)


def test_calls_at_the_very_end_are_left_as_they_are() -> None:
    out, losses = sent_to_openai(HELLO, {"role": "assistant", "content": [USE]})
    assert [message["role"] for message in out["messages"]] == ["user", "assistant"]
    assert losses.paths == ()


def test_shapes_of_the_responses_format_are_read_for_what_they_are() -> None:
    content = [
        {"type": "input_text", "text": "one"},
        {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        {"type": "input_file", "filename": "a.pdf", "file_data": PDF},
    ]
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "two"}]}
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    out, losses = sent_to_anthropic(
        {"role": "user", "content": content},
        said,
        LAST,
        tools=[tool],
        tool_choice={"type": "function", "name": "f"},
    )
    kinds = [block["type"] for message in out["messages"] for block in message["content"]]
    assert kinds == ["text", "image", "document", "text", "text"]
    assert (out["tools"][0]["name"], out["tool_choice"]["name"]) == ("f", "f")
    assert losses.paths == ()
    there, losses = sent_to_openai(LAST, tools=[tool])
    assert there["tools"][0]["function"]["name"] == "f"


def test_a_schema_beside_the_type_of_a_response_format_is_one() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"],
              "additionalProperties": False}  # fmt: skip
    for kind in ("json_object", "json_schema"):
        out, _ = sent_to_anthropic(LAST, response_format={"type": kind, "schema": schema})
        assert "output_config" in out or '"a"' in json.dumps(out)


_words = st.sampled_from(["", "a", "b c"])
_values = st.recursive(
    st.none() | st.booleans() | st.integers(0, 9) | _words | st.just(1.5),
    lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.sampled_from(["type", "text", "id", "name", "input", "x"]), inner,
                      max_size=3),
    max_leaves=4,
)  # fmt: skip
_types = st.sampled_from(
    ["text", "image_url", "file", "image", "document", "tool_use", "tool_result", "thinking",
     "redacted_thinking", "input_text", "refusal", "x", 7]
)  # fmt: skip
_parts = st.fixed_dictionaries(
    {"type": _types},
    optional=dict.fromkeys(
        [
            "text",
            "image_url",
            "file",
            "source",
            "id",
            "name",
            "input",
            "content",
            "tool_use_id",
            "thinking",
            "signature",
            "data",
            "cache_control",
            "refusal",
        ],
        _values,
    ),
)
_roles = st.sampled_from(
    ["user", "assistant", "system", "developer", "tool", "function", "model", "x", None, 7]
)
_odd = (
    st.fixed_dictionaries(
        {},
        optional={
            "role": _roles,
            "content": _values | st.lists(_parts | _values, max_size=3),
            **dict.fromkeys(
                [
                    "name",
                    "tool_calls",
                    "tool_call_id",
                    "function_call",
                    "reasoning_content",
                    "reasoning",
                    "reasoning_details",
                    "thinking_blocks",
                    "refusal",
                    "cache_control",
                    "audio",
                    "output_config",
                ],
                _values,
            ),
        },
    )
    | _values
)


def exists(body: Any, steps: list[str]) -> bool:
    """Whether a path leads somewhere; what stands without a list is one of one."""
    if not steps:
        return True
    if steps[0] == "[]":
        held = body if isinstance(body, list) else [body]
        return any(exists(each, steps[1:]) for each in held)
    return isinstance(body, dict) and steps[0] in body and exists(body[steps[0]], steps[1:])


def check(body: JSON, request: Request, target: str) -> None:
    losses = Losses()
    encode = to_anthropic if target == "anthropic" else to_openai
    encode(request, profile(target, "m"), losses)
    for path in losses.paths:
        assert exists(body, re.findall(r"[^.\[\]]+|\[\]", path)), path


@settings(max_examples=200, deadline=None)
@given(st.lists(_odd, max_size=4))
def test_no_history_of_a_chat_is_refused_and_what_is_reported_was_sent(odd: list[Any]) -> None:
    body = {"model": "m", "messages": [*odd, LAST]}
    check(body, decode_openai(body), "anthropic")


@settings(max_examples=200, deadline=None)
@given(st.lists(_odd, max_size=4))
def test_no_history_of_the_messages_format_is_refused_and_what_is_reported_was_sent(
    odd: list[Any],
) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [*odd, LAST]}
    check(body, decode_anthropic(body), "openai")


def test_the_work_is_linear() -> None:
    many = [{"role": "user", "content": [{"type": "text"}] * 20_000}]
    odd = [{"role": "x", "content": "a"}] * 1_400
    out, _ = sent_to_anthropic(*many, *odd, *[calls(None)] * 1_400, LAST)
    assert out["messages"]


def test_the_last_result_answers_the_open_call_where_it_names_none() -> None:
    two = calls(CALL, {**CALL, "id": "d", "function": {"name": "g", "arguments": "{}"}})
    named = {"role": "tool", "name": "g", "content": "1"}
    out, losses = sent_to_anthropic(HELLO, two, named, {"role": "tool", "content": "2"})
    told = [(block["tool_use_id"], block["content"]) for block in out["messages"][2]["content"]]
    assert sorted(told) == [("c", "2"), ("d", "1")]
    assert losses.changed == ("messages[].role",)
    with pytest.raises(Refused) as caught:
        sent_to_anthropic(HELLO, ANSWER, {"role": "tool", "content": "2"})
    assert caught.value.info.param == "messages[2].tool_call_id"


@pytest.mark.parametrize("sent", [sent_to_anthropic, sent_to_openai])
def test_only_so_many_messages_are_mended(sent: Any) -> None:
    sent(*[0] * MOST, LAST)
    with pytest.raises(Refused) as refused:
        sent(*[0] * (MOST + 1), LAST)
    assert refused.value.info.param == f"messages[{MOST}]"
