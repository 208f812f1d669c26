"""The backend by itself. Where one of these fails, the broker is not to blame."""

import json

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
    NO_THINKING,
    O_TOOLS,
    STREAMED,
    Weather,
    ask_anthropic,
    ask_openai,
    is_call,
)
from tiny_model import write_model


def test_the_model_is_the_same_each_time(folder):
    write_model(folder / "one.gguf")
    write_model(folder / "two.gguf")
    assert (folder / "one.gguf").read_bytes() == (folder / "two.gguf").read_bytes()


# OpenAI chat.


@STREAMED
def test_openai_text(o_direct, streamed):
    answer = ask_openai(o_direct, streamed, max_tokens=9, extra_body=NO_THINKING)
    choice = answer.choices[0]
    assert choice.finish_reason == "length"
    assert choice.message.content
    assert answer.usage.completion_tokens == 9
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + 9


@STREAMED
def test_openai_thinks_and_stops(o_direct, streamed):
    choice = ask_openai(o_direct, streamed, stop=[CALL_MARK]).choices[0]
    assert choice.finish_reason == "stop"
    assert choice.message.reasoning_content
    assert not choice.message.content


@STREAMED
def test_openai_forced_call(o_direct, streamed):
    choice = ask_openai(o_direct, streamed, tools=O_TOOLS, tool_choice="required").choices[0]
    assert choice.finish_reason == "tool_calls"
    (call,) = choice.message.tool_calls
    assert is_call(call.function.name, json.loads(call.function.arguments))


def test_openai_schema(o_direct):
    answer = o_direct.chat.completions.parse(
        model=MODEL, messages=ASK, max_tokens=200, response_format=Weather
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)


def test_openai_overflow(o_direct):
    with pytest.raises(openai.BadRequestError) as raised:
        ask_openai(o_direct, False, messages=LONG)
    assert raised.value.type == "exceed_context_size_error"
    assert raised.value.body["n_ctx"] == SLOT_CONTEXT


# Anthropic messages.


@STREAMED
def test_anthropic_text(a_direct, streamed):
    answer = ask_anthropic(a_direct, streamed, max_tokens=9, extra_body=NO_THINKING)
    assert answer.stop_reason == "max_tokens"
    assert [block.type for block in answer.content] == ["text"]
    assert answer.usage.output_tokens == 9
    assert answer.usage.input_tokens + answer.usage.cache_read_input_tokens > len("hi")


@STREAMED
def test_anthropic_thinks_and_stops(a_direct, streamed):
    answer = ask_anthropic(a_direct, streamed, stop_sequences=[CALL_MARK])
    assert answer.stop_reason == "end_turn"  # this backend's word for it, with:
    assert answer.stop_sequence == CALL_MARK
    assert [block.type for block in answer.content] == ["thinking"]


@STREAMED
def test_anthropic_forced_call(a_direct, streamed):
    answer = ask_anthropic(a_direct, streamed, tools=A_TOOLS, tool_choice={"type": "any"})
    assert answer.stop_reason == "tool_use"
    assert [block.type for block in answer.content] == ["thinking", "tool_use"]
    assert is_call(answer.content[1].name, answer.content[1].input)


def test_anthropic_count(a_direct):
    count = a_direct.messages.count_tokens(model=MODEL, messages=LONG)
    assert count.input_tokens > 3000


def test_anthropic_overflow(a_direct):
    with pytest.raises(anthropic.BadRequestError) as raised:
        ask_anthropic(a_direct, False, messages=LONG)
    assert raised.value.body["error"]["type"] == "exceed_context_size_error"
