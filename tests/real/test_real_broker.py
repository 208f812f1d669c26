"""The broker between the official SDKs and a real backend, passed through and translated.

``real-openai`` and ``real-anthropic`` are the same model behind the same server, asked in one
format or the other. Its oddities are real too: its Anthropic streams leave a thinking block open
until the end of the message, its tool blocks start without ``input``, a stop string comes with
``end_turn``, and its errors have one shape in both formats.
"""

import json
from typing import Any

import anthropic
import openai
import pytest
from llama_server import SLOT_CONTEXT
from questions import (
    A_TOOLS,
    ASK,
    CALL_MARK,
    LONG,
    MODEL,
    O_TOOLS,
    STREAMED,
    Weather,
    ask_anthropic,
    ask_openai,
    is_call,
)

from lmbroker.sse import Frame, Reader
from lmbroker.testing.grammar import anthropic_checker, openai_checker

OPENAI = "real-openai"
ANTHROPIC = "real-anthropic"
BACKENDS = pytest.mark.parametrize("alias", [OPENAI, ANTHROPIC])


@pytest.fixture(scope="module")
def prompt_tokens(a_direct: anthropic.Anthropic) -> int:
    """Those of ``ASK``, counted by the backend itself."""
    return a_direct.messages.count_tokens(model=MODEL, messages=ASK).input_tokens


@pytest.fixture(scope="module")
def refusal(a_direct: anthropic.Anthropic) -> bytes:
    """What the backend says to ``LONG``, in either format."""
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask_anthropic(a_direct, False, messages=LONG)
    return raised.value.response.content


# The OpenAI SDK.


@BACKENDS
@STREAMED
def test_openai_text_to_the_limit(o, alias, streamed, prompt_tokens):
    answer = ask_openai(o, streamed, model=alias, max_tokens=12)
    (choice,) = answer.choices
    assert choice.finish_reason == "length"
    assert choice.message.role == "assistant"
    assert choice.message.reasoning_content
    assert choice.message.content
    assert not choice.message.tool_calls
    assert answer.usage.prompt_tokens == prompt_tokens
    assert answer.usage.completion_tokens == 12
    assert answer.usage.total_tokens == prompt_tokens + 12
    assert answer.model == (MODEL if alias == OPENAI else alias)


@BACKENDS
@STREAMED
def test_openai_stop_string_while_thinking(o, alias, streamed):
    choice = ask_openai(o, streamed, model=alias, stop=[CALL_MARK]).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.reasoning_content
    assert not choice.message.content


@BACKENDS
@STREAMED
def test_openai_call_and_its_result(o, alias, streamed):
    question = {"model": alias, "tools": O_TOOLS}
    answer = ask_openai(o, streamed, **question, tool_choice="required")
    choice = answer.choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert call.id
    assert is_call(call.function.name, json.loads(call.function.arguments))
    said = choice.message.model_dump(exclude_none=True, exclude={"parsed"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    after = ask_openai(o, streamed, **question, messages=[*ASK, said, result], max_tokens=4)
    assert after.usage.prompt_tokens > answer.usage.prompt_tokens
    assert after.choices[0].finish_reason == "length"


def test_openai_schema(o):
    """Only passed through: the Anthropic side of this backend knows no schemas."""
    answer = o.chat.completions.parse(
        model=OPENAI, messages=ASK, max_tokens=200, response_format=Weather
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)


@STREAMED
def test_openai_reasoning_off(o, streamed):
    """Only passed through: the Anthropic side of this backend always thinks."""
    answer = ask_openai(o, streamed, model=OPENAI, reasoning_effort="none", max_tokens=12)
    message = answer.choices[0].message
    assert not getattr(message, "reasoning_content", None)
    assert message.content


@BACKENDS
@STREAMED
def test_openai_overflow(o, alias, streamed, refusal):
    with pytest.raises(openai.BadRequestError) as raised:
        o.chat.completions.create(model=alias, messages=LONG, max_tokens=9, stream=streamed)
    assert raised.value.code == "context_length_exceeded"
    if alias == OPENAI:
        told = json.loads(refusal)
        told["error"]["code"] = "context_length_exceeded"
        assert raised.value.response.json() == told
    else:
        assert raised.value.type == "invalid_request_error"


# The Anthropic SDK.


@BACKENDS
@STREAMED
def test_anthropic_text_to_the_limit(a, alias, streamed, prompt_tokens):
    answer = ask_anthropic(a, streamed, model=alias, max_tokens=12)
    assert answer.type == "message"
    assert answer.role == "assistant"
    assert answer.stop_reason == "max_tokens"
    assert [block.type for block in answer.content] == ["thinking", "text"]
    assert answer.content[0].thinking
    assert answer.content[1].text
    usage = answer.usage
    assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == prompt_tokens
    assert usage.output_tokens == 12
    assert answer.model == (MODEL if alias == ANTHROPIC else alias)


@BACKENDS
@STREAMED
def test_anthropic_stop_string_while_thinking(a, alias, streamed):
    answer = ask_anthropic(a, streamed, model=alias, stop_sequences=[CALL_MARK])
    assert answer.stop_reason == "end_turn"
    assert answer.content[0].type == "thinking"


@BACKENDS
@STREAMED
def test_anthropic_call_and_its_result(a, alias, streamed):
    question = {"model": alias, "tools": A_TOOLS}
    answer = ask_anthropic(a, streamed, **question, tool_choice={"type": "any"})
    assert answer.stop_reason == "tool_use"
    assert [block.type for block in answer.content] == ["thinking", "tool_use"]
    call = answer.content[1]
    assert call.id
    assert is_call(call.name, call.input)
    said = {"role": "assistant", "content": [block.to_dict() for block in answer.content]}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    messages = [*ASK, said, {"role": "user", "content": [result]}]
    after = ask_anthropic(a, streamed, **question, messages=messages, max_tokens=4)
    assert after.stop_reason == "max_tokens"
    assert _input(after) > _input(answer)


@BACKENDS
@STREAMED
def test_anthropic_named_tool(a, alias, streamed):
    choice = {"type": "tool", "name": "get_weather", "disable_parallel_tool_use": True}
    answer = ask_anthropic(a, streamed, model=alias, tools=A_TOOLS, tool_choice=choice)
    assert [block.type for block in answer.content][-1] == "tool_use"


def test_anthropic_schema(a):
    """Only translated: the Anthropic side of this backend knows no schemas."""
    answer = a.messages.parse(model=OPENAI, messages=ASK, max_tokens=200, output_format=Weather)
    assert isinstance(answer.parsed_output, Weather)


@STREAMED
def test_anthropic_reasoning_off(a, streamed):
    """Only translated: the Anthropic side of this backend always thinks."""
    answer = ask_anthropic(a, streamed, model=OPENAI, thinking={"type": "disabled"}, max_tokens=12)
    assert [block.type for block in answer.content] == ["text"]


@BACKENDS
@STREAMED
def test_anthropic_overflow(a, alias, streamed, refusal):
    with pytest.raises(anthropic.BadRequestError) as raised:
        a.messages.create(model=alias, messages=LONG, max_tokens=9, stream=streamed)
    error = raised.value.body["error"]
    tokens = json.loads(refusal)["error"]["n_prompt_tokens"]
    assert error["type"] == "invalid_request_error"
    assert error["message"] == f"prompt is too long: {tokens} tokens > {SLOT_CONTEXT} maximum"


@BACKENDS
def test_anthropic_count(a, alias, prompt_tokens):
    count = a.messages.with_raw_response.count_tokens(model=alias, messages=ASK)
    if alias == ANTHROPIC:
        assert count.parse().input_tokens == prompt_tokens
    else:
        assert count.parse().input_tokens > 0
        assert count.headers["x-lmbroker-estimated"] == "true"


# What the SDKs are too kind to notice.


@pytest.mark.parametrize("tools", [False, True], ids=["text", "call"])
def test_translated_openai_stream_obeys_the_grammar(o, tools):
    fields: Any = {"tools": O_TOOLS, "tool_choice": "required"} if tools else {}
    with o.chat.completions.with_streaming_response.create(
        model=ANTHROPIC, messages=ASK, max_tokens=200, stream=True, **fields
    ) as answer:
        _check(openai_checker(), _frames(answer))


@pytest.mark.parametrize("tools", [False, True], ids=["text", "call"])
def test_translated_anthropic_stream_obeys_the_grammar(a, tools):
    fields: Any = {"tools": A_TOOLS, "tool_choice": {"type": "any"}} if tools else {}
    with a.messages.with_streaming_response.create(
        model=OPENAI, messages=ASK, max_tokens=200, stream=True, **fields
    ) as answer:
        _check(anthropic_checker(), _frames(answer))


def _input(answer: Any) -> int:
    return answer.usage.input_tokens + (answer.usage.cache_read_input_tokens or 0)


def _frames(answer: Any) -> list[Frame]:
    reader = Reader()
    frames = [frame for chunk in answer.iter_bytes() for frame in reader.feed(chunk)]
    return [*frames, *reader.close()]


def _check(checker: Any, frames: list[Frame]) -> None:
    for frame in frames:
        checker.feed(frame)
    checker.close()
