"""OpenAI's SDK as the judge of Responses: its calls at all dialects of the practice backend,
through the running daemon."""

import asyncio
import json

import openai
import pytest
from openai.types.responses import Response
from pydantic import BaseModel

TEXT = "the quick brown fox jumps over the lazy dog \N{FOX FACE} \u2028 end"
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = {"type": "function", "name": "get_weather", "description": "Weather", "parameters": CITY}
TIME = {"type": "function", "name": "get_time", "parameters": CITY, "strict": True}
NOTE = {"type": "custom", "name": "note", "description": "Keeps a text."}
SPACE = {"type": "namespace", "name": "crm", "description": "Customers.", "tools": [WEATHER]}
THINKING = {
    "reasoning": {"effort": "high", "summary": "auto"},
    "include": ["reasoning.encrypted_content"],
    "store": False,
}
BACKENDS = pytest.mark.parametrize("model", ["o", "a", "r"])
STREAMED = pytest.mark.parametrize("streamed", [False, True])


@pytest.fixture(scope="module")
def client(daemon):
    with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


def whole(client, streamed, **ask):
    """The answer, by ``create`` or from the events of ``stream``, which must have no gaps."""
    ask.setdefault("input", TEXT)
    if not streamed:
        answer = client.responses.create(**ask)
    else:
        with client.responses.stream(**ask) as stream:
            events = list(stream)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        answer = events[-1].response
    Response.model_validate(answer.model_dump(mode="json", warnings=False))
    return answer


def results(answer):
    """The outputs of all calls of an answer, in its order."""
    return [
        {
            "type": f"{item.type}_output",
            "call_id": item.call_id,
            "output": f"{item.name} says sunny",
        }
        for item in answer.output
        if item.type in ("function_call", "custom_tool_call")
    ]


@BACKENDS
@STREAMED
def test_text(client, model, streamed):
    answer = whole(client, streamed, model=model, instructions="Be brief.", metadata={"a": "b"})
    assert answer.output_text == TEXT
    # What is passed through has the backend's own name of its model.
    assert answer.model == ("echo" if model == "r" else model)
    assert (answer.status, answer.error) == ("completed", None)
    assert answer.metadata == {"a": "b"}
    assert answer.instructions == "Be brief."
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
    assert answer.usage.output_tokens > 0


@BACKENDS
@STREAMED
@pytest.mark.parametrize("thinking", [{}, THINKING], ids=["plain", "reasoning"])
@pytest.mark.parametrize(
    "tools",
    [[WEATHER, TIME], [NOTE, TIME], [SPACE, NOTE]],
    ids=["functions", "custom", "namespace"],
)
def test_a_tool_loop_of_several_turns(client, model, streamed, thinking, tools):
    """Items go back as they came; the backend checks them."""
    first, second = (tool["tools"][0] if "tools" in tool else tool for tool in tools)
    arguments = {"note": '"a \\"b\\"\\nc"'}
    calls = [
        f"[[call {tool['name']} {arguments.get(tool['name'], json.dumps({'city': 'Rome'}))}]]"
        for tool in (first, second)
    ]
    items = [{"role": "user", "content": f"{calls[0]} {calls[1]}&{calls[0]}"}]
    said = []
    for _ in range(3):
        answer = whole(client, streamed, model=model, input=items, tools=tools, **thinking)
        said.append(answer)
        if answer.output_text:
            break
        items += [*answer.output, *results(answer)]
    counts = [len(results(answer)) for answer in said]
    assert counts == [1, 2, 0]
    for answer in said:
        kinds = [item.type for item in answer.output]
        assert (kinds[0] == "reasoning") == bool(thinking)
        if thinking:
            assert answer.output[0].summary[0].text
    called = [item for answer in said for item in answer.output if hasattr(item, "call_id")]
    for item in called:
        if item.type == "custom_tool_call":
            assert (item.name, item.input) == ("note", 'a "b"\nc')
        else:
            assert json.loads(item.arguments) == {"city": "Rome"}
        assert getattr(item, "namespace", None) == (
            "crm" if item.name == "get_weather" and SPACE in tools else None
        )
    assert said[-1].output_text == (
        f"The tool said: {second['name']} says sunny; {first['name']} says sunny"
    )


@BACKENDS
@STREAMED
def test_a_conversation_goes_on_after_reasoning(client, model, streamed):
    items = [{"role": "user", "content": TEXT}]
    for number in range(3):
        answer = whole(client, streamed, model=model, input=items, **THINKING)
        assert [item.type for item in answer.output] == ["reasoning", "message"]
        items += [*answer.output, {"role": "user", "content": f"and number {number}"}]
    assert answer.output_text == "and number 1"


@pytest.mark.parametrize("model", ["a-search", "r"])
@STREAMED
def test_a_search_of_the_web(client, model, streamed):
    more = {"model": model, "tools": [{"type": "web_search"}]}
    items = [{"role": "user", "content": "Please: [[search red foxes]]"}]
    answer = whole(client, streamed, input=items, **more)
    search, message = answer.output
    assert (search.type, search.status) == ("web_search_call", "completed")
    assert search.action.queries == ["red foxes"]
    (citation,) = message.content[0].annotations
    assert citation.url == search.action.sources[0].url
    assert message.content[0].text[citation.start_index : citation.end_index]
    items += [*answer.output, {"role": "user", "content": "and then?"}]
    assert whole(client, streamed, input=items, **more).output_text == "and then?"


class City(BaseModel):
    name: str
    people: int


@BACKENDS
def test_parse(client, model):
    answer = client.responses.parse(model=model, input=TEXT, text_format=City)
    assert isinstance(answer.output_parsed, City)
    with client.responses.stream(model=model, input=TEXT, text_format=City) as stream:
        assert isinstance(stream.get_final_response().output_parsed, City)


@BACKENDS
@STREAMED
def test_incomplete(client, model, streamed):
    answer = whole(client, streamed, model=model, input="word " * 30, max_output_tokens=16)
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"
    assert len(answer.output_text.split()) == 16


@BACKENDS
@STREAMED
def test_refusal(client, model, streamed):
    answer = whole(client, streamed, model=f"{model}-refuse")
    if model == "a":
        # Anthropic's has a reason, which is no text of the answer.
        assert (answer.status, answer.output_text) == ("incomplete", "")
        assert answer.incomplete_details.reason == "content_filter"
    else:
        assert [part.type for part in answer.output[-1].content] == ["refusal"]


@BACKENDS
def test_async(daemon, model):
    async def work():
        async with openai.AsyncOpenAI(base_url=f"{daemon.url}/v1", api_key="x") as client:
            one, other = await asyncio.gather(
                client.responses.create(model=model, input="one", **THINKING),
                client.responses.create(model=model, input="two", stream=True, **THINKING),
            )
            events = [event async for event in other]
            return one.output_text, events[-1].response.output_text

    assert asyncio.run(work()) == ("one", "two")


@BACKENDS
def test_input_tokens(client, model):
    count = client.responses.input_tokens.with_raw_response.count(model=model, input=TEXT)
    assert count.parse().input_tokens > 0
    if model == "r":
        assert "x-lmbroker-estimated" not in count.headers


@BACKENDS
@STREAMED
@pytest.mark.parametrize(
    ("fault", "error", "code"),
    [
        ("fail-400", openai.BadRequestError, None),
        ("fail-404", openai.NotFoundError, None),
        ("fail-429", openai.RateLimitError, "rate_limit_exceeded"),
        ("fail-500", openai.InternalServerError, None),
        ("fail-529", openai.InternalServerError, None),
        ("fail-401", openai.InternalServerError, None),
        ("overflow", openai.BadRequestError, "context_length_exceeded"),
    ],
)
def test_errors(client, model, streamed, fault, error, code):
    with pytest.raises(error) as raised:
        client.responses.create(model=f"{model}-{fault}", input=TEXT, stream=streamed)
    assert raised.value.request_id
    assert raised.value.body["message"]
    assert code is None or raised.value.code == code
    if fault == "fail-429":
        assert raised.value.response.headers["retry-after"] == "1"


@BACKENDS
def test_a_broken_stream_fails(client, model):
    with pytest.raises(openai.APIError) as raised:
        list(client.responses.create(model=f"{model}-cut", input=TEXT, stream=True))
    assert "upstream closed the stream" in raised.value.message


def test_an_unknown_model(client):
    with pytest.raises(openai.NotFoundError) as raised:
        client.responses.create(model="nobody", input=TEXT)
    assert raised.value.code == "model_not_found"


@pytest.mark.parametrize("model", ["o", "a"])
def test_state_is_refused_where_there_is_none(client, model):
    for more in ({"previous_response_id": "resp_1"}, {"conversation": "conv_1"}):
        with pytest.raises(openai.BadRequestError) as raised:
            client.responses.create(model=model, input=TEXT, **more)
        assert raised.value.param in more
    assert client.responses.create(model=model, input=TEXT, store=True).store is False


def test_state_of_a_backend_that_keeps_it(client):
    answer = client.responses.create(model="r", input="first")
    again = client.responses.create(model="r", input="second", previous_response_id=answer.id)
    assert again.usage.input_tokens > answer.usage.input_tokens


def test_compaction_where_the_backend_has_it(client):
    items = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "second"}]
    compacted = client.responses.compact(model="r", input=items)
    assert compacted.output[-1].type == "compaction"
    with pytest.raises(openai.BadRequestError):
        client.responses.compact(model="a", input=items)
