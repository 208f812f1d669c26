"""What clients write otherwise than the format says, and what is in no doubt all the same."""

import json
from typing import Any

import pytest

from lmbroker import json_text
from lmbroker.translation.dialects.anthropic_messages.decode_request import (
    decode_request as from_anthropic,
)
from lmbroker.translation.dialects.anthropic_messages.encode_request import (
    encode_request as to_anthropic,
)
from lmbroker.translation.dialects.openai_chat.decode_request import decode_request as from_openai
from lmbroker.translation.dialects.openai_chat.encode_request import encode_request as to_openai
from lmbroker.translation.losses import Losses
from lmbroker.translation.profiles.lookup import profile

JSON = dict[str, Any]
HELLO = {"role": "user", "content": "Hello"}
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="


def chat(*messages: JSON, model: str = "up", **more: Any) -> tuple[JSON, Losses]:
    """What an Anthropic backend gets of a chat completion request, and what was lost."""
    losses = Losses()
    asked = from_openai({"model": model, "messages": list(messages) or [HELLO], **more})
    return to_anthropic(asked, profile("anthropic", model), losses), losses


def messages(*said: JSON, model: str = "up", **more: Any) -> tuple[JSON, Losses]:
    """What an OpenAI-compatible backend gets of a Messages request, and what was lost."""
    losses = Losses()
    body = {"model": model, "max_tokens": 9, "messages": list(said) or [HELLO], **more}
    return to_openai(from_anthropic(body), profile("openai", model), losses), losses


def calling(*ids: str, name: str = "f", arguments: Any = "{}") -> JSON:
    function = {"name": name, "arguments": arguments}
    calls = [{"id": id, "type": "function", "function": function} for id in ids]
    return {"role": "assistant", "content": None, "tool_calls": calls}


def answer(id: str, content: str = "ok") -> JSON:
    return {"role": "tool", "tool_call_id": id, "content": content}


@pytest.mark.parametrize(
    "user", ["ann@example.com", "u:ann.b@mail.example.org", "+49 170 1234567", "(0170) 123-4567"]
)
def test_a_user_who_could_be_known_is_hashed(user: str) -> None:
    out, losses = chat(user=user)
    sent = out["metadata"]["user_id"]
    assert user not in json.dumps(out) and len(sent) == 64
    assert losses.changed == ("user",)
    assert chat(user=user)[0]["metadata"]["user_id"] == sent
    assert chat(user=user + "x@example.com")[0]["metadata"]["user_id"] != sent


@pytest.mark.parametrize("user", ["u-1", "8f14e45f", "user@", "12", "2e1a-4444-5555"])
def test_another_user_stays_as_it_is(user: str) -> None:
    out, losses = chat(user=user)
    assert (out["metadata"]["user_id"], losses.paths) == (user, ())


@pytest.mark.parametrize("function", [{"name": "f"}, {"name": "f", "arguments": None}])
def test_missing_arguments_are_none(function: JSON) -> None:
    call = {
        "role": "assistant",
        "tool_calls": [{"id": "c", "type": "function", "function": function}],
    }
    out, losses = chat(HELLO, call, answer("c"))
    assert out["messages"][1]["content"][0]["input"] == {}
    assert losses.paths == ()


def test_arguments_that_are_no_object_are_wrapped_and_reported() -> None:
    for text in ('""', "null", "[1]", '{"a": 1', '{"a": NaN}'):
        out, losses = chat(HELLO, calling("c", arguments=text), answer("c"))
        assert out["messages"][1]["content"][0]["input"] == {"INVALID_JSON": text}
        assert losses.changed == ("messages[].tool_calls[].function.arguments",)


def test_numbers_in_arguments_stay_as_they_are() -> None:
    text = (
        '{"a":2512292042121000001,"b":12345678901234567890123,"c":1e400,"d":1.00,'
        '"e":0.1000000000000000055511151231257827}'
    )
    out, losses = chat(HELLO, calling("c", arguments=text), answer("c"))
    sent = json_text.encode(out["messages"][1]["content"][0]["input"]).decode()
    assert sent == text
    assert losses.paths == ()


def test_half_a_character_in_arguments_is_mended_and_reported() -> None:
    out, losses = chat(
        HELLO, calling("c", arguments='{"a":"x\\ud83d","b":"\\ud83d\\ude00"}'), answer("c")
    )
    assert out["messages"][1]["content"][0]["input"] == {"a": "x\ufffd", "b": "\U0001f600"}
    assert losses.changed == ("messages[].tool_calls[].function.arguments",)


def test_a_tool_that_is_there_twice_is_one() -> None:
    tool = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
    other = {"type": "function", "function": {"name": "g"}}
    out, losses = chat(tools=[tool, other, json.loads(json.dumps(tool))])
    assert [each["name"] for each in out["tools"]] == ["f", "g"]
    assert losses.paths == ()
    plain = {"name": "f", "input_schema": {"type": "object"}}
    out, losses = messages(tools=[plain, dict(plain)])
    assert len(out["tools"]) == 1 and losses.paths == ()


def test_ids_that_repeat_are_told_apart_in_order() -> None:
    out, _ = chat(
        HELLO, calling("c", "c"), answer("c", "a"), answer("c", "b"), calling("c"), answer("c", "d")
    )
    sent = out["messages"]
    uses = [b["id"] for m in sent if m["role"] == "assistant" for b in m["content"]]
    results = [
        b for m in sent if m["role"] == "user" for b in m["content"] if b["type"] == "tool_result"
    ]
    assert uses == [b["tool_use_id"] for b in results] == ["c", "c_2", "c_3"]
    assert [b["content"] for b in results] == ["a", "b", "d"]
    shorter, _ = chat(HELLO, calling("c", "c"), answer("c", "a"), answer("c", "b"))
    assert sent[:3] == shorter["messages"]


def test_an_answer_format_needs_no_name() -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    form = {"type": "json_schema", "json_schema": {"schema": schema}}
    out, losses = chat(response_format=form, model="claude-opus-5")
    assert out["output_config"]["format"]["schema"] == schema
    assert losses.paths == ()


@pytest.mark.parametrize(
    ("field", "value"),
    [("service_tier", "golden"), ("reasoning_effort", "gigantic"), ("tool_choice", "sometimes")],
)
def test_a_value_that_nobody_knows_is_dropped_and_reported(field: str, value: Any) -> None:
    out, losses = chat(**{field: value})
    assert value not in json.dumps(out)
    assert losses.dropped == (field,)


CHOICES = [("auto", "auto"), ("any", "any"), ("none", "none")]


@pytest.mark.parametrize(("kind", "expected"), CHOICES)
def test_a_tool_choice_of_the_other_format_is_read(kind: str, expected: str) -> None:
    shape = {"name": "f", "description": "d", "input_schema": {"type": "object", "properties": {}}}
    out, losses = chat(tools=[shape], tool_choice={"type": kind})
    assert out["tools"] == [shape]
    assert out["tool_choice"] == {"type": expected}
    assert losses.paths == ()
    out, _ = chat(tools=[shape], tool_choice={"type": "tool", "name": "f"})
    assert out["tool_choice"] == {"type": "tool", "name": "f"}


def test_blocks_of_the_other_format_are_read_on_the_chat_path() -> None:
    source = {"type": "base64", "media_type": "image/png", "data": PNG}
    image = {"type": "image", "source": source}
    use = {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}}
    thinking = {"type": "thinking", "thinking": "hm", "signature": "EqQB"}
    result = {
        "type": "tool_result",
        "tool_use_id": "c",
        "content": [{"type": "text", "text": "r"}, image],
    }
    said = {"role": "assistant", "content": [thinking, {"type": "text", "text": "A"}, use]}
    out, losses = chat(
        {"role": "user", "content": [image]}, said, {"role": "user", "content": [result]}
    )
    assert [m["content"] for m in out["messages"]] == [[image], said["content"], [result]]
    assert losses.paths == ()


def test_shapes_of_the_other_format_are_read_on_the_messages_path() -> None:
    url = f"data:image/png;base64,{PNG}"
    image = {"type": "image_url", "image_url": {"url": url}}
    tool = {
        "type": "function",
        "function": {"name": "f", "parameters": {"type": "object", "properties": {}}},
    }
    said = calling("c", arguments='{"a":1}')
    out, losses = messages(
        {"role": "user", "content": [image]},
        said,
        answer("c"),
        tools=[tool],
        tool_choice="required",
    )
    assert out["messages"] == [{"role": "user", "content": [image]}, said, answer("c")]
    assert out["tools"] == [tool] and out["tool_choice"] == "required"
    assert losses.paths == ()


def test_the_effort_of_a_later_instruction_is_obeyed() -> None:
    later = {"role": "system", "content": "Hurry.", "output_config": {"effort": "low"}}
    out, losses = messages(HELLO, later, model="gpt-5.2", output_config={"effort": "high"})
    assert (out["reasoning_effort"], losses.paths) == ("low", ())
    out, losses = messages(HELLO, later, model="gpt-5.2")
    assert (out["reasoning_effort"], losses.paths) == ("low", ())


def change(kind: str, **tool: Any) -> JSON:
    return {"role": "system", "content": [{"type": kind, "tool": tool}]}


def test_a_tool_that_the_conversation_took_back_is_not_offered() -> None:
    tools = [{"name": name, "input_schema": {"type": "object", "properties": {}}} for name in "fg"]
    gone = change("tool_removal", type="tool_reference", name="f")
    out, losses = messages(HELLO, gone, tools=tools)
    assert [tool["function"]["name"] for tool in out["tools"]] == ["g"]
    assert (out["messages"], losses.paths) == ([HELLO], ())
    back = change("tool_addition", type="tool_reference", name="f")
    out, _ = messages(HELLO, gone, back, tools=tools)
    assert [tool["function"]["name"] for tool in out["tools"]] == ["f", "g"]
    more = {"name": "h", "input_schema": {"type": "object", "properties": {}}}
    new = change("tool_addition", type="tool_definition", definition=more)
    out, _ = messages(HELLO, new, tools=tools)
    assert [tool["function"]["name"] for tool in out["tools"]] == ["f", "g", "h"]
    out, _ = messages(HELLO, new)
    assert [tool["function"]["name"] for tool in out["tools"]] == ["h"]


def test_an_input_that_is_a_text_keeps_its_content() -> None:
    for given, sent in (('{"a":1}', '{"a":1}'), ("no JSON", "no JSON")):
        use = {"type": "tool_use", "id": "c", "name": "f", "input": given}
        out, _ = messages(HELLO, {"role": "assistant", "content": [use]}, HELLO)
        assert out["messages"][1]["tool_calls"][0]["function"]["arguments"] == sent
