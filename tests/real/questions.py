"""What the tests with the real backend ask, in both formats.

Answers are noise of a fixed shape. An answer begins with thinking (some ten tokens), unless that
is switched off; then comes ``CALL_MARK``: the start of a call where tools are offered, else text.
Schemas allow a handful of values only, so that noise forced into them ends soon.
"""

from typing import Any, Literal

import anthropic
import openai
import pytest
from pydantic import BaseModel

MODEL = "tiny"
ASK: Any = [{"role": "user", "content": "hi"}]
LONG: Any = [{"role": "user", "content": "x" * 3000}]
CALL_MARK = "<tool_call>"
# The switch of the model's chat template. The backend takes it in both formats.
NO_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
STREAMED = pytest.mark.parametrize("streamed", [False, True], ids=["unary", "streamed"])


class Weather(BaseModel):
    """The answer asked for as structured output."""

    city: Literal["Paris", "Rome"]
    sunny: bool


ARGUMENTS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "enum": ["Paris", "Rome"]},
        "days": {"type": "integer", "enum": [1, 2, 3]},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}
O_TOOLS: Any = [
    {
        "type": "function",
        "function": {"name": "get_weather", "description": "Weather", "parameters": ARGUMENTS},
    }
]
A_TOOLS: Any = [{"name": "get_weather", "description": "Weather", "input_schema": ARGUMENTS}]


def is_call(name: str, arguments: Any) -> bool:
    """Whether this is a call as ``O_TOOLS`` and ``A_TOOLS`` allow it."""
    return (
        name == "get_weather"
        and arguments.keys() == {"city", "days"}
        and arguments["city"] in ("Paris", "Rome")
        and arguments["days"] in (1, 2, 3)
    )


def ask_openai(client: openai.OpenAI, streamed: bool, **fields: Any) -> Any:
    """The whole answer, as the SDK gives it or puts it together from a stream."""
    fields = {"model": MODEL, "messages": ASK, "max_tokens": 200, **fields}
    if not streamed:
        return client.chat.completions.create(**fields)
    options = {"include_usage": True}
    with client.chat.completions.stream(**fields, stream_options=options) as stream:
        try:
            return stream.get_final_completion()
        except openai.LengthFinishReasonError as cut:  # the SDK's way to tell finish "length"
            return cut.completion


def ask_anthropic(client: anthropic.Anthropic, streamed: bool, **fields: Any) -> Any:
    """The whole answer, as the SDK gives it or puts it together from a stream."""
    fields = {"model": MODEL, "messages": ASK, "max_tokens": 200, **fields}
    if not streamed:
        return client.messages.create(**fields)
    with client.messages.stream(**fields) as stream:
        return stream.get_final_message()


R_TOOLS: Any = [
    {
        "type": "function",
        "name": "get_weather",
        "description": "Weather",
        "parameters": ARGUMENTS,
        "strict": True,
    }
]


def ask_responses(client: openai.OpenAI, streamed: bool, **fields: Any) -> Any:
    """The whole answer, as the SDK gives it, or as the last event of a stream has it."""
    fields = {"model": MODEL, "input": "hi", "max_output_tokens": 200, **fields}
    if not streamed:
        return client.responses.create(**fields)
    events = list(client.responses.create(**fields, stream=True))
    assert events[0].type == "response.created"
    return events[-1].response
