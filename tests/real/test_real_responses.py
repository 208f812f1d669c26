"""Responses and a real backend: its own answers passed through, and translated, and clients of
Responses at its other formats.

``real-responses`` is the backend's own ``/v1/responses``; ``real-native`` reaches it through an
``openai`` backend that answers Responses itself. Its oddities are real: its streams have no numbers
and no indices, its items overlap, and an answer that is cut off calls itself completed.
"""

import json
from typing import Any

import openai
import pytest
from questions import (
    A_TOOLS,
    ASK,
    LONG,
    O_TOOLS,
    R_TOOLS,
    STREAMED,
    Weather,
    ask_anthropic,
    ask_openai,
    ask_responses,
    is_call,
)

from lmbroker.sse import Reader
from lmbroker.testing.grammar import anthropic_checker, openai_checker
from lmbroker.testing.grammar_responses import responses_checker

OWN = pytest.mark.parametrize("alias", ["real-responses", "real-native"])
TRANSLATED = pytest.mark.parametrize("alias", ["real-openai", "real-anthropic"])
EACH = pytest.mark.parametrize(
    "alias", ["real-responses", "real-native", "real-openai", "real-anthropic"]
)


def calls(answer: Any) -> list[Any]:
    return [item for item in answer.output if item.type == "function_call"]


# The SDK's calls of Responses.


@EACH
@STREAMED
def test_text_to_the_limit(o, alias, streamed):
    answer = ask_responses(o, streamed, model=alias, max_output_tokens=16)
    assert [item.type for item in answer.output] == ["reasoning", "message"]
    assert answer.output[0].content or answer.output[0].summary
    assert answer.output_text
    assert answer.usage.output_tokens == 16
    if alias in ("real-openai", "real-anthropic"):
        assert answer.status == "incomplete"
        assert answer.incomplete_details.reason == "max_output_tokens"


@EACH
@STREAMED
def test_a_call_and_its_result(o, alias, streamed):
    question: Any = {"model": alias, "tools": R_TOOLS, "tool_choice": "required"}
    answer = ask_responses(o, streamed, **question)
    (call,) = calls(answer)
    assert is_call(call.name, json.loads(call.arguments))
    result = {"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
    said = [item.to_dict() for item in answer.output]
    question["tool_choice"] = "auto"
    after = ask_responses(o, streamed, **question, input=[*ASK, *said, result])
    assert after.usage.input_tokens > answer.usage.input_tokens


def test_a_schema(o):
    """Only translated: the other sides of this backend know no schemas."""
    answer = o.responses.parse(
        model="real-openai", input=ASK, max_output_tokens=200, text_format=Weather
    )
    assert isinstance(answer.output_parsed, Weather)


@EACH
@STREAMED
def test_overflow(o, alias, streamed):
    with pytest.raises(openai.BadRequestError) as raised:
        ask_responses(o, streamed, model=alias, input=LONG)
    assert raised.value.code == "context_length_exceeded"


@OWN
def test_the_count_is_the_backends_own(o, alias):
    count = o.responses.input_tokens.with_raw_response.count(model=alias, input=ASK)
    assert count.parse().input_tokens > 0
    assert "x-lmbroker-estimated" not in count.headers


@TRANSLATED
def test_a_translated_stream_obeys_the_grammar(o, alias):
    with o.responses.with_streaming_response.create(
        model=alias, input=ASK, max_output_tokens=200, stream=True
    ) as answer:
        check(responses_checker(), answer)


# Clients of the other formats.


@STREAMED
def test_openai_at_responses(o, streamed):
    answer = ask_openai(o, streamed, model="real-responses", tools=O_TOOLS, tool_choice="required")
    (call,) = answer.choices[0].message.tool_calls
    assert is_call(call.function.name, json.loads(call.function.arguments))
    said = answer.choices[0].message.model_dump(exclude_none=True, exclude={"parsed"})
    result = {"role": "tool", "tool_call_id": call.id, "content": "sunny"}
    messages = [*ASK, said, result]
    after = ask_openai(o, streamed, model="real-responses", tools=O_TOOLS, messages=messages)
    assert after.usage.prompt_tokens > answer.usage.prompt_tokens


@STREAMED
def test_anthropic_at_responses(a, streamed):
    answer = ask_anthropic(
        a, streamed, model="real-responses", tools=A_TOOLS, tool_choice={"type": "any"}
    )
    assert [block.type for block in answer.content] == ["thinking", "tool_use"]
    call = answer.content[1]
    assert is_call(call.name, call.input)
    said = {"role": "assistant", "content": [block.to_dict() for block in answer.content]}
    result = {"type": "tool_result", "tool_use_id": call.id, "content": "sunny"}
    messages = [*ASK, said, {"role": "user", "content": [result]}]
    after = ask_anthropic(a, streamed, model="real-responses", tools=A_TOOLS, messages=messages)
    assert after.usage.input_tokens + after.usage.cache_read_input_tokens > 22


def test_translated_streams_obey_the_grammar(o, a):
    with o.chat.completions.with_streaming_response.create(
        model="real-responses", messages=ASK, max_tokens=200, stream=True
    ) as answer:
        check(openai_checker(), answer)
    with a.messages.with_streaming_response.create(
        model="real-responses", messages=ASK, max_tokens=200, stream=True
    ) as answer:
        check(anthropic_checker(), answer)


def check(checker: Any, answer: Any) -> None:
    reader = Reader()
    for chunk in answer.iter_bytes():
        for frame in reader.feed(chunk):
            checker.feed(frame)
    for frame in reader.close():
        checker.feed(frame)
    checker.close()
