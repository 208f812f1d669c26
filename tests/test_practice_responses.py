"""The practice backend speaks Responses: the official SDK reads what it says, and it refuses what
OpenAI refuses."""

import gc
import json
import subprocess
import sys
import typing

import openai
import pytest
from openai.types.responses import CompactedResponse, Response, response_create_params
from openai.types.responses.input_token_count_params import InputTokenCountParams
from openai.types.responses.response_compact_params import ResponseCompactParams
from openai.types.responses.response_includable import ResponseIncludable
from openai.types.responses.response_input_item_param import ResponseInputItemParam
from openai.types.responses.tool_param import ToolParam
from practice_client import TEXT, body_for
from pydantic import BaseModel

from lmbroker.testing import fields_responses
from lmbroker.testing.sealed import sealed, unsealed

pytestmark = [pytest.mark.process, pytest.mark.sockets]

STREAMED = pytest.mark.parametrize("streamed", [False, True])
CITY = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
ONE = {"type": "function", "name": "one", "parameters": CITY}
TWO = {"type": "function", "name": "two", "parameters": CITY, "strict": True}
PATCH = {"type": "custom", "name": "patch", "description": "Takes text."}
SPACE = {"type": "namespace", "name": "space", "description": "Far out.", "tools": [ONE]}
THINKING = {"effort": "high", "summary": "auto"}
SEALED = ["reasoning.encrypted_content"]


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """The SDK's many classes need not be looked through after every test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def client():
    """The SDK at a practice backend of its own."""
    process = subprocess.Popen(
        [sys.executable, "-m", "lmbroker.testing", "--port", "0", "--pace", "0"],
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        url = process.stdout.readline().split()[-1] + "/v1"
        with openai.OpenAI(base_url=url, api_key="x", max_retries=0) as client:
            yield client
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


@pytest.fixture
def call(client):
    """What becomes of work with the SDK."""
    return lambda work: work(client)


@pytest.fixture
def said(call):
    """What the SDK makes of the answer to a request."""

    def says(*, streamed=False, model="echo", input=TEXT, **more):
        def work(client):
            if not streamed:
                return client.responses.create(model=model, input=input, **more)
            with client.responses.stream(model=model, input=input, **more) as stream:
                events = list(stream)
            # The helper raises where the answer is incomplete.
            answer = events[-1].response
            assert [event.sequence_number for event in events] == list(range(len(events)))
            return answer

        answer = call(work)
        Response.model_validate(answer.model_dump(mode="json", warnings=False))
        return answer

    return says


def outputs(answer, text="sunny"):
    """What the calls of an answer led to."""
    return [
        {"type": f"{item.type}_output", "call_id": item.call_id, "output": f"{text} {number}"}
        for number, item in enumerate(each for each in answer.output if "_call" in each.type)
    ]


# What it says.


@STREAMED
def test_it_echoes_the_last_user_text_exactly(said, streamed):
    answer = said(streamed=streamed, instructions="Be brief.", metadata={"a": "b"})
    assert answer.output_text == TEXT
    assert (answer.status, answer.incomplete_details, answer.error) == ("completed", None, None)
    assert (answer.instructions, answer.metadata) == ("Be brief.", {"a": "b"})
    assert answer.output[0].phase == "final_answer"


@STREAMED
@pytest.mark.parametrize("tools", [[ONE, TWO], [PATCH, TWO], [SPACE, TWO], [SPACE, PATCH]])
def test_a_tool_loop(said, streamed, tools):
    items = [{"role": "user", "content": "two in parallel"}]
    more = {"tools": tools, "reasoning": THINKING, "include": SEALED, "store": False}
    answer = said(streamed=streamed, input=items, **more)
    thought, *calls = answer.output
    assert thought.type == "reasoning" and thought.summary[0].text and thought.encrypted_content
    assert len(calls) == 2
    assert [call.type == "custom_tool_call" for call in calls] == [tool is PATCH for tool in tools]
    assert [getattr(call, "namespace", None) for call in calls] == [
        "space" if tool is SPACE else None for tool in tools
    ]
    for call in calls:
        assert (
            "lines" in call.input
            if call.type == "custom_tool_call"
            else (json.loads(call.arguments) == {"city": "example"})
        )
    items += [*answer.output, *outputs(answer)]
    final = said(streamed=streamed, input=items, **more)
    assert final.output_text == "The tool said: sunny 0; sunny 1"


@STREAMED
def test_a_search_of_the_web(said, streamed):
    text = "Please: [[search red foxes]]"
    answer = said(streamed=streamed, input=text, tools=[{"type": "web_search"}])
    search, message = answer.output
    assert (search.type, search.action.query) == ("web_search_call", "red foxes")
    (citation,) = message.content[0].annotations
    assert citation.url == search.action.sources[0].url
    items = [USER, *answer.output, USER]
    assert said(streamed=streamed, input=items).output_text == "hello"
    assert len(said(input=text).output) == 1


def test_a_plan_in_the_users_text_is_carried_out(said):
    plan = """[[call one {"city":"Rome"}]] [[call patch "a\\nb"]]&[[call one {}]]"""
    items = [{"role": "user", "content": plan}]
    more = {"tools": [SPACE, PATCH], "reasoning": THINKING, "include": SEALED, "store": False}
    calls = []
    while not (answer := said(input=items, **more)).output_text:
        items += [*answer.output, *outputs(answer)]
        calls += [item for item in answer.output if item.type != "reasoning"]
    assert [call.name for call in calls] == ["one", "patch", "one"]
    assert (json.loads(calls[0].arguments), calls[1].input) == ({"city": "Rome"}, "a\nb")
    assert answer.output_text == "The tool said: sunny 0; sunny 1"


def test_tool_choice_is_obeyed(said):
    def called(**more):
        answer = said(input="in parallel", tools=[ONE, TWO], **more)
        return [item.name for item in answer.output if item.type == "function_call"]

    assert called() == ["one", "two"]
    assert called(tool_choice={"type": "function", "name": "two"}) == ["two"]
    assert called(tool_choice="none") == []
    assert called(parallel_tool_calls=False) == ["one"]
    allowed = {"type": "allowed_tools", "mode": "auto"}
    only = [{"type": "function", "name": "two"}]
    assert called(tool_choice={**allowed, "tools": only}) == ["two"]


@STREAMED
def test_reasoning_shows_what_is_asked_for(said, streamed):
    def kinds(**more):
        return [
            (
                item.type,
                len(getattr(item, "summary", [])),
                bool(getattr(item, "encrypted_content", 0)),
            )
            for item in said(streamed=streamed, **more).output[:-1]
        ]

    assert kinds() == []
    assert kinds(reasoning={"effort": "none"}) == []
    assert kinds(reasoning={"effort": "low"}) == [("reasoning", 0, False)]
    assert kinds(reasoning=THINKING) == [("reasoning", 1, False)]
    assert kinds(reasoning=THINKING, include=SEALED) == [("reasoning", 1, True)]


class Person(BaseModel):
    name: str
    age: int


@STREAMED
def test_structured_output(call, streamed):
    def work(client):
        ask = {"model": "echo", "input": "a person, please", "text_format": Person}
        if not streamed:
            return client.responses.parse(**ask)
        with client.responses.stream(**ask) as stream:
            return stream.get_final_response()

    assert isinstance(call(work).output_parsed, Person)


def test_json_mode_wants_the_word_in_the_input(said):
    mode = {"format": {"type": "json_object"}}
    assert json.loads(said(input="some JSON", text=mode).output_text) == {"answer": "some JSON"}
    with pytest.raises(openai.BadRequestError, match="must contain the word 'json'"):
        said(input="something", instructions="JSON", text=mode)


@STREAMED
def test_refusals_and_limits(said, streamed):
    refused = said(streamed=streamed, model="refuse")
    assert refused.output[0].content[0].type == "refusal"
    assert refused.output[0].content[0].refusal
    cut = said(streamed=streamed, input="word " * 20, max_output_tokens=16)
    assert (cut.status, cut.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    assert cut.output[0].status == "incomplete"
    assert len(cut.output_text.split()) == 16
    long = said(streamed=streamed, model="long-300", max_output_tokens=16)
    assert long.output_text == "word " * 300
    assert said(streamed=streamed, model="empty").output_text == ""


@STREAMED
def test_usage(said, streamed):
    usage = said(streamed=streamed, input="is this cached or not", reasoning=THINKING).usage
    assert usage.total_tokens == usage.input_tokens + usage.output_tokens
    assert 0 < usage.input_tokens_details.cached_tokens < usage.input_tokens
    assert usage.output_tokens_details.reasoning_tokens > 0


def test_counting_and_compaction(call, said):
    items = [{"role": "user", "content": "first"}, {"role": "assistant", "content": "second"}]
    counted = call(lambda client: client.responses.input_tokens.count(model="echo", input=items))
    assert counted.input_tokens == said(input=items).usage.input_tokens
    compacted = call(lambda client: client.responses.compact(model="echo", input=items))
    assert isinstance(compacted, CompactedResponse)
    assert [item.type for item in compacted.output] == ["message", "compaction"]
    again = [
        *(item.to_dict(warnings=False) for item in compacted.output),
        {"role": "user", "content": "go on"},
    ]
    assert said(input=again).output_text == "go on"
    (compaction,) = said(input=[*items, {"type": "compaction_trigger"}]).output
    assert compaction.type == "compaction"
    assert said(input=compacted.output[1:]).output_text == "first"
    again[1] = {**again[1], "encrypted_content": again[1]["encrypted_content"][:-4] + "AAAA"}
    with pytest.raises(openai.BadRequestError, match="could not be verified"):
        said(input=again)


def test_stored_answers(call, said):
    answer = said(input="first", reasoning=THINKING)
    following = said(input="second", previous_response_id=answer.id)
    assert following.usage.input_tokens > answer.usage.input_tokens
    assert following.previous_response_id == answer.id
    assert call(lambda client: client.responses.retrieve(answer.id)).output_text == "first"
    call(lambda client: client.responses.delete(answer.id))
    with pytest.raises(openai.NotFoundError):
        call(lambda client: client.responses.retrieve(answer.id))
    unknown = said(input="third", store=False).id
    with pytest.raises(openai.BadRequestError) as raised:
        said(input="fourth", previous_response_id=unknown)
    assert raised.value.code == "previous_response_not_found"


@STREAMED
def test_a_prompt_cache_has_what_an_earlier_prompt_began_with(said, streamed):
    def cached(input, model=f"cache-1-{streamed}"):
        details = said(streamed=streamed, model=model, input=input).usage.input_tokens_details
        return details.cached_tokens, details.cache_write_tokens

    first = [{"role": "user", "content": "one two three"}]
    assert cached(first) == (0, 3)
    assert cached(first) == (3, 0)
    assert cached([{"role": "user", "content": "one two four five"}]) == (2, 2)
    assert cached([{"role": "developer", "content": "else"}, *first]) == (0, 4)
    assert cached([*first, {"role": "assistant", "content": "four"}]) == (3, 1)
    assert cached(first, f"cache-2-{streamed}") == (0, 3)
    assert cached(first, "echo") == (0, 0)


def test_a_prompt_cache_has_what_was_marked_where_nothing_else_is_wanted(said):
    def cached(*texts, marked=None):
        parts = [{"type": "input_text", "text": text} for text in texts]
        if marked is not None:
            parts[marked]["prompt_cache_breakpoint"] = {"mode": "explicit"}
        usage = said(
            model="cache-3",
            input=[{"role": "user", "content": parts}],
            prompt_cache_options={"mode": "explicit"},
        ).usage
        return usage.input_tokens_details.cached_tokens

    assert cached("one two", "three") == 0
    assert cached("one two", "three", marked=0) == 0
    assert cached("one two", "four", marked=0) == 2
    assert cached("one two", "four") == 0


@pytest.mark.parametrize("hidden", [None, False])
def test_deltas_hide_their_lengths(client, hidden):
    options = {} if hidden is None else {"stream_options": {"include_obfuscation": hidden}}
    events = client.responses.create(model="echo", input=TEXT, stream=True, **options)
    deltas = [event for event in events if event.type.endswith(".delta")]
    padding = [event.model_extra.get("obfuscation") for event in deltas]
    if hidden is None:
        assert all((len(e.delta) + len(p)) % 16 == 0 for e, p in zip(deltas, padding, strict=True))
    else:
        assert set(padding) == {None}


# What it refuses.

USER = {"role": "user", "content": "hello"}
CALL = {"type": "function_call", "call_id": "call_1", "name": "one", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
THOUGHT = {
    "type": "reasoning",
    "id": "rs_1",
    "summary": [],
    "encrypted_content": sealed("rs_1", ""),
}
SAID = {"type": "message", "role": "assistant", "id": "msg_1", "content": "so"}
OPEN = {"type": "object", "properties": {"a": {"type": "string"}}}

REFUSED = {
    "unknown field": ({"frequency_penalty": 1}, "Unknown parameter: 'frequency_penalty'."),
    "unknown field of an item": (
        {"input": [{**USER, "name": "x"}]},
        "Unknown parameter: 'input[0].name'.",
    ),
    "unknown field of a part": (
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "", "x": 1}]}]},
        "Unknown parameter: 'input[0].content[0].x'.",
    ),
    "unknown field of a tool": ({"tools": [{**ONE, "x": 1}]}, "Unknown parameter: 'tools[0].x'."),
    "unknown item": ({"input": [{"type": "x"}]}, "Invalid value: 'x'."),
    "unknown tool": ({"tools": [{"type": "x"}]}, "Invalid value: 'x'."),
    "unknown role": ({"input": [{"role": "tool", "content": "x"}]}, "Invalid value: 'tool'."),
    "no input": ({"input": None}, "must be provided"),
    "wrong type": ({"temperature": "hot"}, "Invalid type for 'temperature'"),
    "too few tokens": ({"max_output_tokens": 15}, "integer below minimum value"),
    "unknown include": ({"include": ["x"]}, "Invalid value: 'x'."),
    "options without a stream": (
        {"stream_options": {"include_obfuscation": False}},
        "only allowed when 'stream' is enabled",
    ),
    "input of the wrong side": (
        {"input": [{"role": "assistant", "content": [{"type": "input_text", "text": "x"}]}]},
        "Supported values are: 'output_text' and 'refusal'.",
    ),
    "call without output": ({"input": [USER, CALL]}, "No tool output found for function call"),
    "output without call": ({"input": [USER, OUTPUT]}, "No tool call found for function call"),
    "call of another's id": (
        {"input": [{**CALL, "id": "toolu_1"}, OUTPUT]},
        "Expected an ID that begins with 'fc'.",
    ),
    "long call id": (
        {"input": [{**CALL, "call_id": "c" * 65}]},
        "Expected a string with maximum length 64",
    ),
    "name": ({"tools": [{**ONE, "name": "a.b"}]}, "string does not match pattern"),
    "choice": (
        {"tool_choice": {"type": "function", "name": "x"}, "tools": [ONE]},
        "Tool choice 'x' not found",
    ),
    "not strict": (
        {"tools": [{**TWO, "parameters": OPEN}]},
        "'additionalProperties' is required to be supplied and to be false.",
    ),
    "not strict output": (
        {"text": {"format": {"type": "json_schema", "name": "x", "strict": True, "schema": OPEN}}},
        "Invalid schema for response_format 'x'",
    ),
    "orphan reasoning": ({"input": [THOUGHT, USER]}, "without its required following item"),
    "reasoning at the end": ({"input": [USER, THOUGHT]}, "without its required following item"),
    "reasoning before what it did not lead to": (
        {"input": [THOUGHT, {"role": "assistant", "content": "so"}]},
        "without its required following item",
    ),
    "reasoning that was changed": (
        {"input": [{**THOUGHT, "encrypted_content": "gAAAAAx"}, SAID]},
        "could not be verified",
    ),
    "reasoning of another item": (
        {"input": [{**THOUGHT, "id": "rs_2"}, SAID]},
        "did not match the target item id",
    ),
    "reasoning without a summary": (
        {"input": [{k: v for k, v in THOUGHT.items() if k != "summary"}, SAID]},
        "Missing required parameter: 'input[0].summary'.",
    ),
    "the same item twice": ({"input": [THOUGHT, SAID, THOUGHT, SAID]}, "Duplicate item found"),
    "conversation": ({"conversation": "conv_1"}, "Conversation not found"),
}


@pytest.mark.parametrize("what", list(REFUSED))
def test_what_is_refused(said, what):
    more, words = REFUSED[what]
    with pytest.raises(openai.APIStatusError) as raised:
        said(extra_body=more)
    assert words in raised.value.message
    assert set(raised.value.body) == {"message", "type", "param", "code"}
    assert raised.value.type == "invalid_request_error"


def test_what_is_not_refused(said):
    for items in (
        [USER, CALL, OUTPUT],
        [CALL, USER, OUTPUT],
        [THOUGHT, SAID, USER],
        [THOUGHT, CALL, OUTPUT],
        [{key: value for key, value in THOUGHT.items() if key != "id"}, SAID, USER],
    ):
        assert said(input=items).status == "completed"
    assert said(input=[THOUGHT, {"role": "assistant", "content": "so"}, USER], store=False)
    assert said(extra_body={"client_metadata": {"a": "b"}}).output_text == TEXT


def test_items_that_were_thought_of_need_their_reasoning(said):
    more = {"tools": [ONE], "reasoning": THINKING, "include": SEALED}
    answer = said(**more)
    thought, call = (item.to_dict() for item in answer.output)
    whole = [USER, thought, call, *outputs(answer)]
    assert said(input=whole, **more).output_text == "The tool said: sunny 0"
    with pytest.raises(openai.BadRequestError, match="without its required 'reasoning' item"):
        said(input=[USER, call, *outputs(answer)], **more)
    nameless = {key: value for key, value in call.items() if key != "id"}
    assert said(input=[USER, nameless, *outputs(answer)], **more).output_text
    stateless = {**more, "store": False}
    answer = said(input="hi", **stateless)
    thought, call = (item.to_dict() for item in answer.output)
    assert said(input=[USER, call, *outputs(answer)], **stateless).output_text
    unsealed_thought = {k: v for k, v in thought.items() if k != "encrypted_content"}
    with pytest.raises(openai.NotFoundError, match="Items are not persisted"):
        said(input=[USER, unsealed_thought, call, *outputs(answer)], **more)


def test_what_is_sealed_comes_back_unchanged_or_not_at_all():
    value = sealed("rs_1", "thoughts \N{FOX FACE}")
    assert unsealed(value) == ("rs_1", "thoughts \N{FOX FACE}")
    assert "thoughts" not in value
    for wrong in (None, "", "x", value[:-1], value[:40] + "A" + value[41:], value + "A"):
        with pytest.raises(ValueError):
            unsealed(wrong)


STATUSES = {400: None, 401: "invalid_api_key", 404: "model_not_found", 429: "rate_limit_exceeded"}


@STREAMED
def test_error_statuses(said, streamed):
    for status, code in {**STATUSES, 500: None, 503: "server_is_overloaded"}.items():
        with pytest.raises(openai.APIStatusError) as raised:
            said(streamed=streamed, model=f"fail-{status}")
        assert (raised.value.status_code, raised.value.code) == (status, code)
        assert raised.value.request_id
    with pytest.raises(openai.BadRequestError) as raised:
        said(streamed=streamed, model="overflow")
    assert raised.value.code == "context_length_exceeded"


def test_errors_within_streams(call):
    def events(client, model):
        return list(client.responses.create(model=model, input="x", stream=True))

    first = call(lambda client: events(client, "error-first"))
    assert [event.type for event in first] == ["error"]
    mid = call(lambda client: events(client, "error-mid"))
    assert [event.type for event in mid][2:] == ["response.failed"]
    assert [event.sequence_number for event in mid] == [0, 1, 2]
    assert mid[-1].response.error.code == "server_is_overloaded"


# What it knows.


def members(union):
    for each in typing.get_args(union):
        while typing.get_origin(each) is typing.Annotated:
            each = typing.get_args(each)[0]
        if typing.get_origin(each) is typing.Union:
            yield from members(each)
        elif isinstance(each, type):
            yield typing.get_type_hints(each)


def kinds(hints):
    def literals(hint):
        if typing.get_origin(hint) is typing.Literal:
            return list(typing.get_args(hint))
        return [name for each in typing.get_args(hint) for name in literals(each)]

    return literals(hints["type"])


def test_it_knows_the_fields_of_the_sdk():
    for table, union in (
        (fields_responses.ITEMS, ResponseInputItemParam),
        (fields_responses.TOOLS, ToolParam),
    ):
        for hints in members(union):
            for kind in kinds(hints):
                known = next(table[name] for name in (kind, kind[:-11], kind[:-9]) if name in table)
                assert set(hints) <= known, kind
    whole = typing.get_type_hints(response_create_params.ResponseCreateParamsStreaming)
    assert {*whole, "client_metadata"} == fields_responses.CREATE
    assert set(typing.get_type_hints(InputTokenCountParams)) == fields_responses.COUNT
    assert set(typing.get_type_hints(ResponseCompactParams)) == fields_responses.COMPACT
    assert set(typing.get_args(ResponseIncludable)) == fields_responses.INCLUDABLE


def test_requests_of_other_dialects_are_not_understood(said):
    with pytest.raises(openai.BadRequestError, match="Unknown parameter: 'max_tokens'"):
        said(extra_body=body_for())
