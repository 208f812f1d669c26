"""The official SDKs as judges: each against both dialects of the practice backend, through the
running daemon."""

import json

import anthropic
import openai
import pytest
from pydantic import BaseModel

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
}
O_TOOL = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather", "parameters": CITY},
}
O_TOOL_2 = {"type": "function", "function": {"name": "get_time", "parameters": CITY}}
A_TOOL = {"name": "get_weather", "description": "Weather", "input_schema": CITY}
A_TOOL_2 = {"name": "get_time", "input_schema": CITY}
TEXT = "the quick brown fox jumps over the lazy dog \N{FOX FACE} \u2028 end"
BACKENDS = pytest.mark.parametrize("model", ["o", "a"])


@pytest.fixture(scope="module")
def o(daemon):
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
def a(daemon):
    with anthropic.Anthropic(base_url=daemon.url, api_key="client-key", max_retries=0) as client:
        yield client


def ask(text=TEXT):
    return [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]


def user(text=TEXT):
    return [{"role": "user", "content": text}]


# The older operation.


def test_openai_completion_of_a_prompt(o):
    answer = o.completions.create(model="o", prompt=TEXT, max_tokens=50)
    assert TEXT in answer.choices[0].text
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.completion_tokens > 0


def test_openai_streamed_completion_of_a_prompt(o):
    chunks = list(o.completions.create(model="o", prompt=TEXT, stream=True))
    assert TEXT in "".join(chunk.choices[0].text for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_no_completion_of_a_prompt_where_the_backend_has_none(o):
    with pytest.raises(openai.NotFoundError) as raised:
        o.completions.create(model="a", prompt=TEXT)
    assert "has no completions" in raised.value.message


# The OpenAI SDK.


@BACKENDS
def test_openai_unary(o, model):
    answer = o.chat.completions.create(model=model, messages=ask())
    assert TEXT in answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens > 0


@BACKENDS
def test_openai_stream(o, model):
    chunks = list(
        o.chat.completions.create(
            model=model, messages=ask(), stream=True, stream_options={"include_usage": True}
        )
    )
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert TEXT in text
    assert chunks[-1].usage.completion_tokens > 0
    assert len(chunks) > 4


@BACKENDS
def test_openai_stream_helper(o, model):
    with o.chat.completions.stream(model=model, messages=ask()) as stream:
        done = stream.get_final_completion()
    assert TEXT in done.choices[0].message.content
    assert done.choices[0].finish_reason == "stop"


@BACKENDS
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("text", ["weather please", "two in parallel please"])
def test_openai_tool_loop(o, model, streamed, text):
    messages = user(text)
    tools = [O_TOOL, O_TOOL_2]

    def turn():
        if not streamed:
            return o.chat.completions.create(model=model, messages=messages, tools=tools)
        with o.chat.completions.stream(model=model, messages=messages, tools=tools) as stream:
            return stream.get_final_completion()

    answer = turn()
    message = answer.choices[0].message
    assert answer.choices[0].finish_reason == "tool_calls"
    assert len(message.tool_calls) == (2 if "parallel" in text else 1)
    messages.append(message.model_dump(exclude_none=True, exclude={"parsed"}))
    for call in message.tool_calls:
        assert "city" in json.loads(call.function.arguments)
        messages.append({"role": "tool", "tool_call_id": call.id, "content": "sunny and 21"})
    final = turn()
    assert final.choices[0].finish_reason == "stop"
    assert "sunny and 21" in final.choices[0].message.content


@BACKENDS
def test_openai_reasoning(o, model):
    with o.chat.completions.stream(model=model, messages=user(), reasoning_effort="high") as stream:
        done = stream.get_final_completion()
    assert done.choices[0].message.reasoning_content
    assert TEXT in done.choices[0].message.content


@BACKENDS
def test_openai_structured_output(o, model):
    class City(BaseModel):
        name: str
        people: int

    answer = o.chat.completions.parse(model=model, messages=user(), response_format=City)
    assert isinstance(answer.choices[0].message.parsed, City)


@BACKENDS
def test_openai_length(o, model):
    answer = o.chat.completions.create(model=model, messages=user(), max_completion_tokens=2)
    assert answer.choices[0].finish_reason == "length"


@BACKENDS
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("fail-400", openai.BadRequestError),
        ("fail-404", openai.NotFoundError),
        ("fail-429", openai.RateLimitError),
        ("fail-500", openai.InternalServerError),
        ("fail-529", openai.InternalServerError),
        ("fail-401", openai.InternalServerError),
    ],
)
def test_openai_errors(o, model, streamed, fault, error):
    with pytest.raises(error) as raised:
        o.chat.completions.create(model=f"{model}-{fault}", messages=user(), stream=streamed)
    assert raised.value.request_id
    assert raised.value.body["message"]
    if fault == "fail-429":
        assert raised.value.response.headers["retry-after"] == "1"


@BACKENDS
def test_openai_broken_stream(o, model):
    with pytest.raises(openai.APIError) as raised:
        list(o.chat.completions.create(model=f"{model}-cut", messages=user(), stream=True))
    assert raised.value.code == "upstream_stream_truncated"


def test_openai_unknown_model(o):
    with pytest.raises(openai.NotFoundError) as raised:
        o.chat.completions.create(model="nobody", messages=user())
    assert raised.value.code == "model_not_found"


def test_openai_refused_field(o):
    with pytest.raises(openai.BadRequestError) as raised:
        o.chat.completions.create(model="a", messages=user(), n=2)
    assert raised.value.param == "n"


def test_openai_models(o):
    names = [model.id for model in o.models.list()]
    assert names[:2] == ["o", "a"]
    assert o.models.retrieve("a").id == "a"
    with pytest.raises(openai.NotFoundError):
        o.models.retrieve("nobody")


@pytest.mark.parametrize("encoding", [openai.NOT_GIVEN, "float", "base64"])
def test_openai_embeddings(o, encoding):
    answer = o.embeddings.create(model="o", input=["one", "two"], encoding_format=encoding)
    assert [item.index for item in answer.data] == [0, 1]


# The Anthropic SDK.


@BACKENDS
def test_anthropic_unary(a, model):
    answer = a.messages.create(model=model, max_tokens=200, system="Be brief.", messages=user())
    assert TEXT in answer.content[0].text
    assert answer.stop_reason == "end_turn"
    assert answer.usage.output_tokens > 0


@BACKENDS
def test_anthropic_stream_helper(a, model):
    with a.messages.stream(model=model, max_tokens=200, messages=user()) as stream:
        pieces = list(stream.text_stream)
        done = stream.get_final_message()
    assert TEXT in "".join(pieces)
    assert len(pieces) > 2
    assert done.stop_reason == "end_turn"
    assert done.usage.output_tokens > 0


@BACKENDS
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("text", ["weather please", "two in parallel please"])
def test_anthropic_tool_loop(a, model, streamed, text):
    messages = user(text)
    tools = [A_TOOL, A_TOOL_2]

    def turn():
        if not streamed:
            return a.messages.create(model=model, max_tokens=200, messages=messages, tools=tools)
        with a.messages.stream(
            model=model, max_tokens=200, messages=messages, tools=tools
        ) as stream:
            return stream.get_final_message()

    answer = turn()
    assert answer.stop_reason == "tool_use"
    calls = [block for block in answer.content if block.type == "tool_use"]
    assert len(calls) == (2 if "parallel" in text else 1)
    results = []
    for call in calls:
        assert "city" in call.input
        results.append({"type": "tool_result", "tool_use_id": call.id, "content": "sunny and 21"})
    messages += [
        {"role": "assistant", "content": [block.to_dict() for block in answer.content]},
        {"role": "user", "content": results},
    ]
    final = turn()
    assert final.stop_reason == "end_turn"
    assert "sunny and 21" in final.content[-1].text


@BACKENDS
def test_anthropic_reasoning_and_its_replay(a, model):
    with a.messages.stream(
        model=model,
        max_tokens=4000,
        messages=user(),
        thinking={"type": "enabled", "budget_tokens": 2000},
    ) as stream:
        answer = stream.get_final_message()
    assert answer.content[0].type == "thinking"
    assert answer.content[0].signature
    again = a.messages.create(
        model=model,
        max_tokens=4000,
        messages=[
            *user(),
            {"role": "assistant", "content": [block.to_dict() for block in answer.content]},
            *user("and again"),
        ],
    )
    assert "and again" in again.content[-1].text


@BACKENDS
def test_anthropic_length(a, model):
    answer = a.messages.create(model=model, max_tokens=2, messages=user())
    assert answer.stop_reason == "max_tokens"


@BACKENDS
@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("fail-400", anthropic.BadRequestError),
        ("fail-404", anthropic.NotFoundError),
        ("fail-429", anthropic.RateLimitError),
        ("fail-500", anthropic.InternalServerError),
        ("fail-529", anthropic.InternalServerError),
        ("fail-401", anthropic.InternalServerError),
    ],
)
def test_anthropic_errors(a, model, streamed, fault, error):
    with pytest.raises(error) as raised:
        a.messages.create(model=f"{model}-{fault}", max_tokens=9, messages=user(), stream=streamed)
    assert raised.value.request_id
    assert raised.value.body["error"]["message"]
    if fault == "fail-429":
        assert raised.value.response.headers["retry-after"] == "1"


@BACKENDS
def test_anthropic_broken_stream(a, model):
    with (
        pytest.raises(anthropic.APIError),
        a.messages.stream(model=f"{model}-cut", max_tokens=99, messages=user()) as stream,
    ):
        stream.get_final_message()


def test_anthropic_unknown_model(a):
    with pytest.raises(anthropic.NotFoundError) as raised:
        a.messages.create(model="nobody", max_tokens=9, messages=user())
    assert raised.value.body["error"]["type"] == "not_found_error"


def test_anthropic_refused_field(a):
    with pytest.raises(anthropic.BadRequestError) as raised:
        a.messages.create(
            model="o",
            max_tokens=9,
            messages=user(),
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )
    assert "tools" in raised.value.message


def test_anthropic_models(a):
    assert [model.id for model in a.models.list()][:2] == ["o", "a"]
    assert a.models.retrieve("o").display_name == "o"


@BACKENDS
def test_anthropic_count_tokens(a, model):
    count = a.messages.with_raw_response.count_tokens(model=model, messages=user())
    assert count.parse().input_tokens > 0
    assert ("x-lmbroker-estimated" in count.headers) == (model == "o")
