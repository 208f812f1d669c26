"""The practice backend: the official SDKs read what it says, raw sockets see how it fails."""

import gc
import json
import socket
import ssl
import subprocess
import sys
import time

import anthropic
import openai
import pytest
import pytest_twisted
from anthropic.types import Message, MessageTokensCount, ModelInfo
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from practice_client import (
    PATHS,
    TEXT,
    asked,
    body_for,
    connected,
    request,
    turns,
    unchunked,
)
from pydantic import BaseModel, TypeAdapter
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock, deferLater
from twisted.internet.threads import deferToThread

from lmbroker.testing import PracticeBackend
from lmbroker.testing.example import example
from lmbroker.testing.script import chunks, fragments

pytestmark = [pytest.mark.process, pytest.mark.sockets]

CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
DIALECTS = pytest.mark.parametrize("dialect", ["openai", "anthropic"])
ALL_DIALECTS = pytest.mark.parametrize("dialect", list(PATHS))
STREAMED = pytest.mark.parametrize("streamed", [False, True])


@pytest.fixture(scope="module", autouse=True)
def quick_collections():
    """The SDKs' many classes need not be looked through after every test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def practice(clock):
    backend = PracticeBackend(reactor, clock=clock)
    backend.start()
    yield backend
    pytest_twisted.blockon(backend.stop())


def test_the_time_of_day_does_not_come_from_a_reactor_that_counts_seconds():
    reactor_of_a_daemon = Clock()
    assert abs(PracticeBackend(reactor_of_a_daemon).now() - time.time()) < 60


# To make a context takes the SDKs longer than all the rest of a test.
CONTEXT = ssl.create_default_context()


def o_client(practice):
    http = openai.DefaultHttpxClient(verify=CONTEXT)
    url = practice.url + "/v1"
    return openai.OpenAI(base_url=url, api_key="secret-o", max_retries=0, http_client=http)


def a_client(practice):
    http = anthropic.DefaultHttpxClient(verify=CONTEXT)
    return anthropic.Anthropic(
        base_url=practice.url, api_key="secret-a", max_retries=0, http_client=http
    )


async def said(practice, dialect, streamed, body):
    """What the dialect's SDK makes of the answer to ``body``."""

    def openai_answer():
        with o_client(practice) as client:
            if not streamed:
                return client.chat.completions.create(**body)
            with client.chat.completions.stream(**body) as stream:
                try:
                    return stream.get_final_completion()
                except openai.LengthFinishReasonError as error:
                    return error.completion

    def anthropic_answer():
        with a_client(practice) as client:
            if not streamed:
                return client.messages.create(**body)
            with client.messages.stream(**body) as stream:
                return stream.get_final_message()

    answer = await deferToThread(openai_answer if dialect == "openai" else anthropic_answer)
    kind = ChatCompletion if dialect == "openai" else Message
    kind.model_validate(answer.model_dump(mode="json", warnings=False))
    return answer


def text_of(answer):
    if isinstance(answer, Message):
        return "".join(block.text for block in answer.content if block.type == "text")
    return answer.choices[0].message.content


def calls_of(answer):
    """Names and arguments."""
    if isinstance(answer, Message):
        return [(b.name, b.input) for b in answer.content if b.type == "tool_use"]
    calls = answer.choices[0].message.tool_calls or []
    return [(call.function.name, json.loads(call.function.arguments)) for call in calls]


def stop_of(answer):
    return answer.stop_reason if isinstance(answer, Message) else answer.choices[0].finish_reason


def tools(dialect, *names, schema=CITY):
    if dialect == "anthropic":
        return [{"name": name, "input_schema": schema} for name in names]
    function = [{"name": name, "parameters": schema} for name in names]
    return [{"type": "function", "function": each} for each in function]


# What it says.


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_it_echoes_the_last_user_text_exactly(practice, dialect, streamed):
    answer = await said(practice, dialect, streamed, body_for())
    assert text_of(answer) == TEXT
    assert stop_of(answer) == ("stop" if dialect == "openai" else "end_turn")
    assert answer.model == "echo"


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_the_same_request_gets_the_same_bytes(practice, dialect, streamed):
    bodies = []
    for _ in range(2):
        client = await asked(practice, dialect, stream=streamed)
        end = b"\r\n0\r\n\r\n" if streamed else b"}}"
        await client.until(lambda client=client, end=end: client.data.endswith(end))
        bodies.append(client.body)
        client.transport.loseConnection()
    assert bodies[0] == bodies[1]


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_a_tool_loop(practice, dialect, streamed):
    body = body_for(text="two in parallel", tools=tools(dialect, "one", "two", "three"))
    answer = await said(practice, dialect, streamed, body)
    assert calls_of(answer) == [("one", {"city": "example"}), ("two", {"city": "example"})]
    assert stop_of(answer) == ("tool_calls" if dialect == "openai" else "tool_use")
    if dialect == "openai":
        calls = answer.choices[0].message.tool_calls
        dumped = [{"id": c.id, "type": c.type, "function": c.function.to_dict()} for c in calls]
        turn = {"role": "assistant", "content": None, "tool_calls": dumped}
        body["messages"] += [turn] + [
            {"role": "tool", "tool_call_id": call.id, "content": f"sunny {number}"}
            for number, call in enumerate(calls)
        ]
    else:
        calls = answer.content
        results = [
            {"type": "tool_result", "tool_use_id": call.id, "content": f"sunny {number}"}
            for number, call in enumerate(calls)
        ]
        turn = {"role": "assistant", "content": [block.to_dict() for block in calls]}
        body["messages"] += [turn, {"role": "user", "content": results}]
    assert len({call.id for call in calls}) == 2
    final = await said(practice, dialect, streamed, body)
    assert text_of(final) == "The tool said: sunny 0; sunny 1"
    assert calls_of(final) == []
    body["messages"] += [
        {"role": "assistant", "content": "so it is"},
        {"role": "user", "content": "again, please"},
    ]
    again = await said(practice, dialect, streamed, body)
    assert calls_of(again) == [("one", {"city": "example"})]


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_a_search_of_the_web(practice, dialect, streamed):
    text = "Please: [[search red foxes]]"
    if dialect == "openai":
        answer = await said(practice, dialect, streamed, body_for(text=text, web_search_options={}))
        (citation,) = answer.choices[0].message.annotations
        url = citation["url_citation"] if isinstance(citation, dict) else citation.url_citation
        assert (url["url"] if isinstance(url, dict) else url.url).startswith("https://")
    else:
        tools = [{"type": "web_search_20250305", "name": "web_search"}]
        answer = await said(practice, dialect, streamed, body_for(text=text, tools=tools))
        call, result, cited = answer.content
        assert (call.type, call.input) == ("server_tool_use", {"query": "red foxes"})
        assert result.tool_use_id == call.id
        assert cited.citations[0].url == result.content[0].url
        assert answer.usage.server_tool_use.web_search_requests == 1
        turns = [{"role": "assistant", "content": [block.to_dict() for block in answer.content]}]
        more = [*body_for(text=text)["messages"], *turns, {"role": "user", "content": "and?"}]
        again = await said(practice, dialect, streamed, body_for(messages=more, tools=tools))
        assert text_of(again) == "and?"
        turns[0]["content"][1]["content"][0]["encrypted_content"] = "made up"
        with pytest.raises(anthropic.BadRequestError, match="encrypted_content"):
            await said(practice, dialect, streamed, body_for(messages=more, tools=tools))


@DIALECTS
@pytest_twisted.ensureDeferred
async def test_a_plan_in_the_users_text_is_carried_out(practice, dialect):
    plan = """Go: [[call one {"city":"Rome"}]] then [[call ns__two {}]]& [[call one {}]] done"""
    body = body_for(text=plan, tools=tools(dialect, "one", "ns__two"))
    turns_taken = []
    while True:
        answer = await said(practice, dialect, False, body)
        calls = calls_of(answer)
        if not calls:
            break
        turns_taken.append(calls)
        if dialect == "openai":
            message = answer.choices[0].message
            results = [
                {"role": "tool", "tool_call_id": call.id, "content": call.function.name}
                for call in message.tool_calls
            ]
            body["messages"] += [message.to_dict(), *results]
        else:
            results = [
                {"type": "tool_result", "tool_use_id": block.id, "content": block.name}
                for block in answer.content
            ]
            turn = {"role": "assistant", "content": [block.to_dict() for block in answer.content]}
            body["messages"] += [turn, {"role": "user", "content": results}]
    assert turns_taken == [[("one", {"city": "Rome"})], [("ns__two", {}), ("one", {})]]
    assert text_of(answer) == "The tool said: ns__two; one"


NAMED = {
    "openai": {"type": "function", "function": {"name": "two"}},
    "anthropic": {"type": "tool", "name": "two"},
}
ALONE = {
    "openai": {"parallel_tool_calls": False},
    "anthropic": {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
}
NONE = {"openai": "none", "anthropic": {"type": "none"}}


@DIALECTS
@pytest_twisted.ensureDeferred
async def test_tool_choice_is_obeyed(practice, dialect):
    async def called(**more):
        body = body_for(text="parallel", tools=tools(dialect, "one", "two"), **more)
        return [name for name, _ in calls_of(await said(practice, dialect, False, body))]

    assert await called() == ["one", "two"]
    assert await called(tool_choice=NAMED[dialect]) == ["two"]
    assert await called(tool_choice=NONE[dialect]) == []
    assert await called(**ALONE[dialect]) == ["one"]


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_a_tool_without_properties_is_called_with_none(practice, dialect, streamed):
    body = body_for(tools=tools(dialect, "now", schema={"type": "object", "properties": {}}))
    assert calls_of(await said(practice, dialect, streamed, body)) == [("now", {})]


@STREAMED
@pytest_twisted.ensureDeferred
async def test_reasoning(practice, streamed):
    asked_for = body_for(reasoning_effort="high")
    answer = await said(practice, "openai", streamed, asked_for)
    assert answer.choices[0].message.reasoning_content
    assert text_of(answer) == TEXT
    quiet = await said(practice, "openai", streamed, body_for(reasoning_effort="none"))
    assert not hasattr(quiet.choices[0].message, "reasoning_content")
    for kind in ({"type": "enabled", "budget_tokens": 1024}, {"type": "adaptive"}):
        answer = await said(practice, "anthropic", streamed, body_for(thinking=kind))
        assert [block.type for block in answer.content] == ["thinking", "text"]
        assert answer.content[0].thinking and answer.content[0].signature
    hidden = body_for(thinking={"type": "adaptive", "display": "omitted"})
    answer = await said(practice, "anthropic", streamed, hidden)
    assert (answer.content[0].thinking, bool(answer.content[0].signature)) == ("", True)


class Address(BaseModel):
    city: str
    floor: int | None


class Person(BaseModel):
    name: str
    homes: list[Address]
    friend: "Person | None"


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_structured_output(practice, dialect, streamed):
    schema = Person.model_json_schema()
    form = {
        "openai": {
            "response_format": {
                "type": "json_schema",
                "json_schema": {"name": "person", "schema": schema},
            }
        },
        "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
    }
    body = body_for(**form[dialect])
    Person.model_validate_json(text_of(await said(practice, dialect, streamed, body)))


@pytest_twisted.ensureDeferred
async def test_json_mode(practice):
    body = body_for(response_format={"type": "json_object"})
    assert json.loads(text_of(await said(practice, "openai", False, body))) == {"answer": TEXT}


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_limits(practice, dialect, streamed):
    stop = "stop" if dialect == "openai" else "stop_sequences"
    body = body_for(text="one two three four")
    cut = await said(practice, dialect, streamed, {**body, "max_tokens": 2})
    assert text_of(cut) == "one two"
    assert stop_of(cut) == ("length" if dialect == "openai" else "max_tokens")
    stopped = await said(practice, dialect, streamed, {**body, stop: ["four", "two"]})
    assert text_of(stopped) == "one "
    assert stop_of(stopped) == ("stop" if dialect == "openai" else "stop_sequence")
    if dialect == "anthropic":
        assert stopped.stop_sequence == "two"
    both = await said(practice, dialect, streamed, {**body, stop: ["four"], "max_tokens": 1})
    assert text_of(both) == "one"
    assert stop_of(both) == stop_of(cut)


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_usage(practice, dialect, streamed):
    body = body_for(text="is this cached or not")
    if dialect == "openai":
        if streamed:
            body["stream_options"] = {"include_usage": True}
        usage = (await said(practice, dialect, streamed, body)).usage
        assert usage.completion_tokens == 5
        assert 0 < usage.prompt_tokens_details.cached_tokens < usage.prompt_tokens
        assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    else:
        usage = (await said(practice, dialect, streamed, body)).usage
        assert usage.output_tokens == 5
        assert usage.input_tokens > 0
        assert usage.cache_read_input_tokens > 0
        del body["max_tokens"]

        def count():
            with a_client(practice) as client:
                return client.messages.count_tokens(**body)

        counted = await deferToThread(count)
        MessageTokensCount.model_validate(counted.model_dump())
        assert counted.input_tokens == usage.input_tokens + usage.cache_read_input_tokens


@pytest_twisted.ensureDeferred
async def test_openai_streams_have_usage_only_where_asked_for(practice):
    def chunked(**more):
        with o_client(practice) as client:
            return list(client.chat.completions.create(**body_for(), stream=True, **more))

    without = await deferToThread(chunked)
    assert all("usage" not in chunk.model_fields_set for chunk in without)
    usage = await deferToThread(lambda: chunked(stream_options={"include_usage": True}))
    assert [chunk.usage is None for chunk in usage] == [True] * (len(usage) - 1) + [False]
    assert usage[-1].choices == []


@DIALECTS
@pytest_twisted.ensureDeferred
async def test_every_event_is_in_its_sdks_form(practice, dialect):
    choice = {"tools": tools(dialect, "one", "two"), "text": "parallel"}
    thinking = {
        "openai": {"reasoning_effort": "low", "stream_options": {"include_usage": True}},
        "anthropic": {"thinking": {"type": "enabled", "budget_tokens": 1024}},
    }
    kind = ChatCompletionChunk if dialect == "openai" else anthropic.types.RawMessageStreamEvent
    for more in ({}, choice):
        client = await asked(practice, dialect, stream=True, **more, **thinking[dialect])
        await client.has(b"\r\n0\r\n\r\n")
        client.transport.loseConnection()
        events = unchunked(client.body)[:-1]
        assert len(events) > 8
        for event in events:
            # One event per write, thus per chunk.
            assert event.endswith(b"\n\n") and event.count(b"\n\n") == 1
            named, _, data = event.rpartition(b"data: ")
            if data == b"[DONE]\n\n":
                assert event is events[-1]
                continue
            value = json.loads(data)
            if value.get("type") != "ping":
                TypeAdapter(kind).validate_python(value)
            assert named == (f"event: {value['type']}\n".encode() if "type" in value else b"")


@DIALECTS
@pytest_twisted.ensureDeferred
async def test_models(practice, dialect):
    def listed():
        client = o_client(practice) if dialect == "openai" else a_client(practice)
        with client:
            return [model.id for model in client.models.list()], client.models.retrieve("any/one")

    names, one = await deferToThread(listed)
    assert "echo" in names
    assert one.id == "any/one"
    if dialect == "anthropic":
        ModelInfo.model_validate(one.model_dump())


@pytest_twisted.ensureDeferred
async def test_embeddings(practice):
    def embedded(model="echo", **more):
        with o_client(practice) as client:
            return client.embeddings.create(model=model, **more)

    for more in ({"encoding_format": "float"}, {}, {"encoding_format": "base64"}):
        answer = await deferToThread(lambda more=more: embedded(input=["one", "two words"], **more))
        assert [item.index for item in answer.data] == [0, 1]
        assert answer.usage.prompt_tokens == 3
        if "encoding_format" not in more or more["encoding_format"] == "float":
            CreateEmbeddingResponse.model_validate(answer.model_dump())
            assert answer.data[0].embedding == [0.375, 0.25, 0.25]
    wide = await deferToThread(lambda: embedded(input=[1, 2, 3], dimensions=5))
    assert [len(item.embedding) for item in wide.data] == [5]
    with pytest.raises(openai.RateLimitError):
        await deferToThread(lambda: embedded("fail-429", input="x"))


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_a_prompt_cache_has_what_an_earlier_prompt_began_with(practice, dialect, streamed):
    async def cached(*texts, model="cache-1"):
        roles = ("user", "assistant", "user")
        messages = [{"role": r, "content": t} for r, t in zip(roles, texts, strict=False)]
        body = {"model": model, "max_tokens": 100, "messages": messages}
        if dialect == "anthropic":
            body["cache_control"] = {"type": "ephemeral"}
        if dialect == "openai" and streamed:
            body["stream_options"] = {"include_usage": True}
        usage = (await said(practice, dialect, streamed, body)).usage
        if dialect == "anthropic":
            total = usage.input_tokens + usage.cache_creation_input_tokens
            return usage.cache_read_input_tokens, total
        had = usage.prompt_tokens_details.cached_tokens
        return had, usage.prompt_tokens - had

    assert await cached("one two three") == (0, 3)
    assert await cached("one two three") == (3, 0)
    assert await cached("one two four") == (2, 1)
    assert await cached("one two three", "four", "five six") == (3, 3)
    assert await cached("one two three", model="cache-2") == (0, 3)


@pytest_twisted.ensureDeferred
async def test_anthropics_cache_has_what_was_marked_and_nothing_else(practice):
    async def cached(*texts, marked=0, model="cache"):
        blocks = [{"type": "text", "text": text} for text in texts]
        if marked:
            blocks[marked - 1]["cache_control"] = {"type": "ephemeral"}
        body = body_for(model, messages=[{"role": "user", "content": blocks}])
        usage = (await said(practice, "anthropic", False, body)).usage
        counts = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
        assert sum(counts) + usage.input_tokens == sum(len(text.split()) for text in texts)
        return counts

    assert await cached("one two", "three") == (0, 0)
    assert await cached("one two", "three", marked=1) == (0, 2)
    assert await cached("one two", "three") == (0, 0)
    assert await cached("one two", "four", marked=1) == (2, 0)
    assert await cached("one two", "three", marked=2) == (2, 1)
    assert await cached("one two", "three", "five", marked=2) == (3, 0)


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_refusals_and_prompts_that_are_too_long(practice, dialect, streamed):
    answer = await said(practice, dialect, streamed, body_for("refuse"))
    if dialect == "anthropic":
        assert (stop_of(answer), answer.content) == ("refusal", [])
        assert answer.stop_details.explanation
    else:
        assert answer.choices[0].message.refusal and not text_of(answer)
    sdk = openai if dialect == "openai" else anthropic
    with pytest.raises(sdk.BadRequestError) as raised:
        await said(practice, dialect, streamed, body_for("overflow"))
    assert "too long" in raised.value.message or raised.value.code == "context_length_exceeded"


@pytest_twisted.ensureDeferred
async def test_custom_tools(practice):
    body = body_for(tools=[{"type": "custom", "custom": {"name": "patch"}}])
    answer = await said(practice, "openai", False, body)
    (call,) = answer.choices[0].message.tool_calls
    assert (call.type, call.custom.name) == ("custom", "patch")

    # The SDK's stream helper fails at custom tools.
    def streamed():
        with o_client(practice) as client:
            chunks = list(client.chat.completions.create(**body, stream=True))
        deltas = [chunk.choices[0].delta.to_dict() for chunk in chunks]
        return [each for delta in deltas for each in delta.get("tool_calls") or ()]

    first, *rest = await deferToThread(streamed)
    assert (first["type"], first["custom"]["name"]) == ("custom", "patch")
    assert "".join(each["custom"]["input"] for each in rest) == call.custom.input


@pytest_twisted.ensureDeferred
async def test_thinking_that_it_did_not_sign_is_refused(practice):
    block = {"type": "thinking", "thinking": "hm", "signature": "made up"}
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [block]}]
    body = {**body_for(), "messages": [*turns, {"role": "user", "content": "b"}]}
    with pytest.raises(anthropic.BadRequestError, match="Invalid `signature`"):
        await said(practice, "anthropic", False, body)


# How it fails.

ERRORS = {
    400: ("BadRequestError", "invalid_request_error", "invalid_request_error"),
    401: ("AuthenticationError", "invalid_request_error", "authentication_error"),
    403: ("PermissionDeniedError", "permission_error", "permission_error"),
    404: ("NotFoundError", "invalid_request_error", "not_found_error"),
    413: ("APIStatusError", "invalid_request_error", "request_too_large"),
    418: ("APIStatusError", "invalid_request_error", "invalid_request_error"),
    429: ("RateLimitError", "rate_limit_error", "rate_limit_error"),
    500: ("InternalServerError", "server_error", "api_error"),
    503: ("InternalServerError", "service_unavailable_error", "overloaded_error"),
    529: ("InternalServerError", "service_unavailable_error", "overloaded_error"),
}


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_error_statuses(practice, dialect, streamed):
    sdk = openai if dialect == "openai" else anthropic
    for status, (name, openai_type, anthropic_type) in ERRORS.items():
        with pytest.raises(getattr(sdk, name)) as raised:
            await said(practice, dialect, streamed, body_for(f"fail-{status}"))
        error = raised.value
        assert error.status_code == status
        assert error.request_id
        if dialect == "openai":
            assert set(error.body) == {"message", "type", "param", "code"}
            assert error.type == openai_type
        else:
            assert error.body["type"] == "error"
            assert error.body["error"]["type"] == anthropic_type
        after = error.response.headers.get("retry-after")
        assert after == ("1" if status in (429, 503, 529) else None)


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_malformed_requests_are_refused_in_the_dialects_form(practice, dialect):
    client = await connected(practice)
    for body in (
        b"{",
        b"[]",
        b"{}",
        b"[" * 100_000,
        b'{"model":"echo"}',
        b'{"model":1,"messages":[]}',
    ):
        client.data = b""
        client.transport.write(request("POST", PATHS[dialect], body))
        await client.until(lambda: client.body.endswith(b"}"))
        assert client.data.startswith(b"HTTP/1.1 400 ")
        assert json.loads(client.body)["error"]["type"] == "invalid_request_error"
    for method, path, status in (("GET", PATHS[dialect], 405), ("POST", "/v1/other", 404)):
        client.data = b""
        client.transport.write(request(method, path))
        await client.until(lambda: client.body.endswith(b"}"))
        assert client.data.startswith(b"HTTP/1.1 %d " % status)
    client.transport.loseConnection()


@ALL_DIALECTS
@STREAMED
@pytest.mark.parametrize("model", ["cut", "reset"])
@pytest_twisted.ensureDeferred
async def test_broken_connections(practice, dialect, streamed, model):
    client = await asked(practice, dialect, model, stream=streamed)
    await client.ended()
    assert bool(client.lost.check(ConnectionDone)) == (model == "cut")
    if streamed:
        assert len(unchunked(client.body)) == 2
        assert b"\r\n0\r\n" not in client.body
    else:
        length = int(client.data.lower().partition(b"content-length: ")[2].split()[0])
        assert 0 < len(client.body) < length
    assert practice.disconnects == 0
    assert practice.open_streams == 0


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_streams_that_end_wrongly(practice, dialect):
    async def events(model):
        client = await asked(practice, dialect, model, stream=True)
        await client.has(b"\r\n0\r\n\r\n")
        client.transport.loseConnection()
        return unchunked(client.body)[:-1]

    whole = await events("echo")
    assert len(await events("cut-clean")) == 2
    first = await events("error-first")
    assert len(first) == 1 and b"overloaded" in first[0]
    mid = await events("error-mid")
    assert len(mid) == 3 and b"overloaded" in mid[2]
    garbage = await events("garbage")
    assert len(garbage) == len(whole)
    with pytest.raises(ValueError):
        json.loads(garbage[2].partition(b"data: ")[2])


@DIALECTS
@pytest_twisted.ensureDeferred
async def test_the_sdks_raise_on_error_events(practice, dialect):
    sdk = openai if dialect == "openai" else anthropic
    for model in ("error-first", "error-mid"):
        with pytest.raises(sdk.APIError) as raised:
            await said(practice, dialect, True, body_for(model))
        assert "as asked" in str(raised.value)


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_answers_of_the_wrong_kind(practice, dialect):
    async def head(model, streamed):
        client = await asked(practice, dialect, model, stream=streamed)
        await client.has(b"\r\n\r\n")
        client.transport.loseConnection()
        return client.data.lower()

    for streamed in (False, True):
        assert b"content-type: text/html" in await head("html", streamed)
        assert b"content-type: application/json" in await head("json-for-stream", streamed)
        assert b"content-type: text/event-stream" in await head("stream-for-json", streamed)


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_unary_answers_that_are_no_answers(practice, dialect):
    client = await connected(practice)
    for model in ("garbage", "cut-clean"):
        client.data = b""
        client.ask(dialect, body_for(model))
        await client.has(b"\r\n\r\n{")
        length = int(client.data.lower().partition(b"content-length: ")[2].split()[0])
        await client.until(lambda length=length: len(client.body) == length)
        with pytest.raises(ValueError):
            json.loads(client.body)
    client.data = b""
    client.ask(dialect, body_for("error-first"))
    await client.until(lambda: client.body.endswith(b"}"))
    assert client.data.startswith(b"HTTP/1.1 200 ")
    assert "error" in json.loads(client.body)
    client.transport.loseConnection()


@ALL_DIALECTS
@STREAMED
@pytest.mark.parametrize("model", ["hang", "stall"])
@pytest_twisted.ensureDeferred
async def test_silence_lasts_until_the_client_leaves(practice, clock, dialect, streamed, model):
    client = await asked(practice, dialect, model, stream=streamed)
    await turns(lambda: practice.open_streams == 1)
    if model == "stall":
        await client.has(b"\r\n\r\n")
        await turns(lambda: not streamed or len(unchunked(client.body)) == 2)
    clock.advance(1000)
    for _ in range(5):
        await deferLater(reactor, 0)
    assert client.lost is None
    assert model == "stall" or client.data == b""
    client.transport.abortConnection()
    await turns(lambda: practice.disconnects == 1)
    assert practice.open_streams == 0


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_slow_streams_pause_between_events(practice, clock, dialect):
    for model, pause in (("slow", 0.1), ("slow-250", 0.25)):
        client = await asked(practice, dialect, model, stream=True)
        for count in (1, 2, 3):
            await turns(lambda c=client, count=count: len(unchunked(c.body)) == count)
            assert [call.getTime() - clock.seconds() for call in clock.getDelayedCalls()] == [
                pytest.approx(pause)
            ]
            clock.advance(pause)
        client.transport.abortConnection()
        await turns(lambda: practice.open_streams == 0)
        assert clock.getDelayedCalls() == []


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_slow_unary_answers_come_late(practice, clock, dialect):
    client = await asked(practice, dialect, "slow-70")
    await turns(lambda: practice.open_streams == 1)
    assert client.data == b""
    clock.advance(0.07)
    await client.until(lambda: client.body.endswith(b"}"))
    assert practice.open_streams == 0
    client.transport.loseConnection()


@DIALECTS
@STREAMED
@pytest_twisted.ensureDeferred
async def test_long_and_empty_answers(practice, dialect, streamed):
    long = await said(practice, dialect, streamed, body_for("long-300", max_tokens=5))
    assert text_of(long) == "word " * 300
    empty = await said(practice, dialect, streamed, body_for("empty"))
    assert text_of(empty) == ""
    assert stop_of(empty) == ("stop" if dialect == "openai" else "end_turn")


# How it serves.


@pytest.fixture
def hasty():
    """As fast as the client reads."""
    backend = PracticeBackend(reactor, pace=None)
    backend.start()
    yield backend
    pytest_twisted.blockon(backend.stop())


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_a_slow_reader_pauses_it(hasty, dialect):
    client = await connected(hasty)
    client.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32768)
    client.ask(dialect, body_for("long-100000", stream=True))
    await client.has(b"word ")
    client.transport.pauseProducing()
    seen = [-1]

    def settled():
        seen.append(hasty.bytes_written)
        return seen[-1] == seen[-2]

    await turns(settled)
    held = hasty.bytes_written
    whole = 100_000 * len(unchunked(client.body[:5000])[5])
    assert held < whole / 2
    client.transport.resumeProducing()
    await client.until(lambda: client.data.endswith(b"\r\n0\r\n\r\n"))
    assert hasty.bytes_written > whole
    assert hasty.open_streams == 0
    client.transport.loseConnection()


@ALL_DIALECTS
@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_stops_it(practice, dialect):
    client = await asked(practice, dialect, "long-1000000", stream=True)
    await client.has(b"word ")
    assert practice.open_streams == 1
    client.transport.abortConnection()
    await turns(lambda: practice.disconnects == 1)
    written = practice.bytes_written
    for _ in range(20):
        await deferLater(reactor, 0)
    assert practice.bytes_written == written
    assert practice.open_streams == 0


@DIALECTS
@pytest_twisted.ensureDeferred
async def test_connections_are_kept_alive(practice, dialect):
    client = await connected(practice)
    for streamed in (True, False, True):
        client.data = b""
        client.ask(dialect, body_for(stream=streamed))
        end = b"\r\n0\r\n\r\n" if streamed else b"}}"
        await client.until(lambda end=end: client.data.endswith(end))
    assert client.lost is None
    client.transport.loseConnection()


@pytest_twisted.ensureDeferred
async def test_what_was_received_is_on_record(practice):
    client = await connected(practice)
    client.transport.write(
        b"POST /v1/messages?beta=true HTTP/1.1\r\nHost: x\r\nX-Api-Key: the-secret\r\n"
        b"Twice: 1\r\nTwice: 2\r\nContent-Length: 7\r\n\r\nprivate"
    )
    await client.has(b"HTTP/1.1 400")
    client.transport.loseConnection()
    (received,) = practice.received
    assert (received.method, received.path) == ("POST", "/v1/messages")
    assert (received.query, received.body) == ("beta=true", b"private")
    assert [value for name, value in received.headers if name == "twice"] == ["1", "2"]
    assert dict(received.headers)["x-api-key"] == "the-secret"
    assert "secret" not in repr(received) and "private" not in repr(received)
    assert practice.received.maxlen == 1000


@pytest_twisted.ensureDeferred
async def test_stop_drops_all_connections_and_start_listens_anew():
    practice = PracticeBackend(reactor)
    await practice.stop()
    with pytest.raises(RuntimeError):
        practice.url  # noqa: B018
    for _ in range(2):
        practice.start()
        clients = [await connected(practice), await asked(practice, "openai", "hang")]
        await turns(lambda: practice.open_streams == 1)
        await practice.stop()
        for client in clients:
            await client.ended()
        assert practice.open_streams == 0


def test_it_runs_by_itself():
    process = subprocess.Popen(
        [sys.executable, "-m", "lmbroker.testing", "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        url = process.stdout.readline().split()[-1]
        with openai.OpenAI(base_url=url + "/v1", api_key="x", max_retries=0) as client:
            answer = client.chat.completions.create(**body_for())
            assert answer.choices[0].message.content == TEXT
            taken = subprocess.run(
                [sys.executable, "-m", "lmbroker.testing", "--port", url.rpartition(":")[2]],
                capture_output=True,
                text=True,
                timeout=10,
            )
        assert taken.returncode == 1
        assert taken.stderr.startswith("cannot listen") and taken.stderr.count("\n") == 1
    finally:
        process.terminate()
        process.wait(10)
        process.stdout.close()


# What it makes up.


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        (True, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {}),
        ({"required": ["a"], "properties": {"a": {"enum": ["x", "y"]}}}, {"a": "x"}),
        ({"type": "array", "items": {"const": 4}, "minItems": 2}, [4, 4]),
        ({"type": "array", "prefixItems": [{"type": "null"}, {"type": "boolean"}]}, [None, True]),
        ({"type": ["null", "integer"], "minimum": 10, "multipleOf": 4}, 12),
        ({"type": "number", "exclusiveMaximum": 1}, 0.5),
        ({"type": "string", "maxLength": 3}, "exa"),
        ({"type": "string", "minLength": 9}, "examplexx"),
        ({"type": "string", "format": "date"}, "2026-01-01"),
        (
            {
                "allOf": [{"$ref": "#/$defs/a~1b"}, {"required": ["c"]}],
                "$defs": {"a/b": {"properties": {"d": {"type": "null"}}, "required": ["d"]}},
            },
            {"d": None, "c": "example"},
        ),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, 7),
    ],
)
def test_examples_fit_their_schema(schema, value):
    assert example(schema) == value


def test_a_schema_without_an_end_comes_to_one():
    node = {"type": "object", "required": ["a", "b"]}
    node["properties"] = {"a": {"$ref": "#"}, "b": {"$ref": "#"}}
    assert len(json.dumps(example(node))) < 1_000_000


@pytest.mark.parametrize("text", ["", " ", "one", " one  two\n", TEXT, "a b c d e f g h "])
def test_pieces_make_the_whole(text):
    assert "".join(chunks(text)) == text
    assert all(len(piece.split()) <= 3 for piece in chunks(text))
    assert "".join(fragments(text)) == text
