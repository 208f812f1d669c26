"""What an answer loses on its way to the client is told by the workflow that carried it."""

import json
from typing import Any

import msgspec
import pytest
from streams import (
    A_END,
    JSON,
    a_ending,
    a_start,
    a_stop,
    a_stream,
    a_text,
    cuts,
    o_call,
    o_chunk,
    o_stream,
    run,
)

from lmbroker.call import Backend, Call, Dialect, Target
from lmbroker.errors import Refused
from lmbroker.translation.dialects.base import Reply
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.losses import AnswerLosses
from lmbroker.translation.unified.fold import fold, unfold
from lmbroker.translation.unified.parts import (
    Citation,
    Extra,
    OpaquePart,
    TextPart,
    ToolCallPart,
)
from lmbroker.translation.unified.response import Response, Stop
from lmbroker.workflows import workflow_for
from lmbroker.workflows.contract import Workflow

SEARCHED: JSON = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [{"type": "web_search_result", "url": "https://example.org", "title": "A"}],
}


def way(client: Dialect, backend: Dialect, **overrides: Any) -> Workflow:
    """The workflow of a short request."""
    body: JSON = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}
    if client == "responses":
        body = {"model": "m", "input": "Hi"}
    call = Call(
        id="req_1", operation="chat", dialect=client, asked="m", body=msgspec.json.encode(body)
    )
    target = Target(backend=Backend(name="b", url="http://b.test", dialect=backend), model="m")
    return workflow_for(call, target, overrides=overrides or None)


def searched_stream() -> bytes:
    return a_stream(
        a_start(),
        {"type": "content_block_start", "index": 0, "content_block": SEARCHED},
        a_stop(0),
        *a_text(1, "Found."),
        a_ending(),
        A_END,
    )


def test_a_stream_tells_what_it_lost() -> None:
    for chunks in cuts(searched_stream()):
        transform = way("openai", "anthropic").transform(now=0)
        run(transform, chunks)
        assert transform.phase == "complete"
        assert transform.dropped == ("content[].web_search_tool_result",)
        assert transform.changed == ()


def test_a_stream_that_lost_something_says_so_before_its_end() -> None:
    comment = b": x-lmbroker-dropped: answer.content[].web_search_tool_result\n\n"
    for chunks in cuts(searched_stream()):
        out = run(way("openai", "anthropic").transform(now=0), chunks)
        before, found, after = out.partition(comment)
        assert found and b"Found." in before and b'finish_reason":"stop' in after
    stream = a_stream(a_start(), *a_text(0, "Found."), a_ending(), A_END)
    assert b"x-lmbroker" not in run(way("openai", "anthropic").transform(now=0), [stream])


def test_a_whole_answer_tells_what_it_lost() -> None:
    text = {"type": "text", "text": "Found."}
    answer = {"id": "msg_1", "model": "m", "content": [SEARCHED, text], "stop_reason": "end_turn"}
    body = json.dumps(answer).encode()
    workflow = way("openai", "anthropic")
    lost = ("content[].web_search_tool_result",)
    assert workflow.unary(body, now=0).dropped == lost
    assert workflow.unfold(body, now=0).dropped == lost
    assert workflow.fold(searched_stream(), now=0).dropped == lost


@pytest.mark.parametrize("dialect", ["openai", "anthropic"])
def test_what_is_passed_through_loses_nothing(dialect: Dialect) -> None:
    transform = way(dialect, dialect).transform(now=0)
    assert (transform.dropped, transform.changed) == ((), ())


def test_losses_hold_names_of_fields_only_and_not_many_of_them() -> None:
    losses = AnswerLosses()
    losses.drop("choices[].message.audio")
    losses.drop("choices[].message.audio")
    losses.change("choices[].finish_reason")
    losses.drop("choices[].message.the user said: x")
    losses.drop("a\nb")
    losses.drop("a" * 97)
    assert losses.dropped == ("choices[].message.audio", "?")
    assert losses.changed == ("choices[].finish_reason",)
    for number in range(1000):
        losses.drop(f"field_{number}")
    assert len(losses.dropped) == 64


def strictly(body: JSON, client: Dialect, backend: Dialect) -> str:
    """The words in which a request is refused in mode strict."""
    call = Call(id="r", operation="chat", dialect=client, asked="m", body=msgspec.json.encode(body))
    target = Target(backend=Backend(name="b", url="http://b.test", dialect=backend), model="m")
    with pytest.raises(Refused) as caught:
        workflow_for(call, target, mode="strict").outbound()
    assert caught.value.info.param is not None
    return f"{caught.value.info.param} | {caught.value.info.message}"


def test_a_refusal_names_the_place_and_what_stands_there() -> None:
    said = {"type": "text", "text": "Hi"}
    document = {"type": "document_url", "document_url": "https://a.example/b.pdf"}
    messages = [{"role": "user", "content": [said]}, {"role": "user", "content": [said, document]}]
    told = strictly({"model": "m", "messages": messages}, "openai", "anthropic")
    assert told.startswith("messages[1].content[1].type | 'messages[1].content[1].type' ")
    assert '"document_url"' in told
    upload = {"type": "container_upload", "file_id": "f"}
    messages = [{"role": "user", "content": [said, upload]}]
    told = strictly({"model": "m", "max_tokens": 9, "messages": messages}, "anthropic", "openai")
    assert told.startswith("messages[0].content[1].type | ")


def test_half_a_character_in_an_answer_is_mended_and_told() -> None:
    message = b'{"role":"assistant","content":"a\\ud83d"}'
    body = b'{"id":"c","model":"m","choices":[{"index":0,"finish_reason":"stop","message":%b}]}'
    whole = way("anthropic", "openai").unary(body % message, now=0)
    assert json.loads(whole.body)["content"][0]["text"] == "a\ufffd"
    assert whole.changed == ("choices[].message.content",)


IMAGE = [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]


def test_fields_that_nobody_carries_on_are_told() -> None:
    said = {"role": "assistant", "content": "Hi", "images": IMAGE, "audio": None, "odd": "x"}
    answer = {"choices": [{"message": said, "finish_reason": "stop"}]}
    whole = way("anthropic", "openai").unary(json.dumps(answer).encode(), now=0)
    assert whole.dropped == ("choices[].message.images", "choices[].message.odd")
    stream = o_stream({"content": "Hi"}, {"images": IMAGE, "index": 0}, o_chunk(finish="stop"))
    for chunks in cuts(stream):
        transform = way("anthropic", "openai").transform(now=0)
        run(transform, chunks)
        assert transform.dropped == ("choices[].delta.images",)


def test_what_is_carried_on_is_no_loss() -> None:
    said = {"role": "assistant", "content": "Hi", "refusal": None, "reasoning_content": "Hm."}
    answer = {"choices": [{"message": {**said, "tool_calls": []}, "finish_reason": "stop"}]}
    whole = way("anthropic", "openai").unary(json.dumps(answer).encode(), now=0)
    assert (whole.dropped, whole.changed) == ((), ())


def test_arguments_that_are_wrapped_are_told() -> None:
    path = "choices[].message.tool_calls[].function.arguments"
    call = o_call("[1]", id="c", name="f")
    answer = {"choices": [{"message": call, "finish_reason": "tool_calls"}]}
    whole = way("anthropic", "openai").unary(json.dumps(answer).encode(), now=0)
    assert whole.changed == (path,)
    for chunks in cuts(o_stream(call, o_chunk(finish="tool_calls"))):
        transform = way("anthropic", "openai").transform(now=0)
        run(transform, chunks)
        assert transform.changed == (path,)


FOREIGN = (
    OpaquePart(origin="elsewhere", type="search", raw={}, place="output[]"),
    TextPart(
        text="Hi",
        citations=(
            Citation(kind="file", title="a.pdf", origin="elsewhere", place="output[].annotations"),
        ),
        extras=(
            Extra(origin="elsewhere", name="phase", path="output[].phase", value="commentary"),
            Extra(origin="elsewhere", name="id", path="output[].id", value="x", loss="none"),
        ),
    ),
    ToolCallPart(
        id="call_1",
        name="f",
        args={},
        extras=(Extra(origin="elsewhere", name="async", path="output[].async", value=True),),
    ),
)
"""Parts of an answer with all that only a dialect of its own would understand."""


@pytest.mark.parametrize("client", ["openai", "anthropic"])
@pytest.mark.parametrize("streamed", [False, True])
def test_what_only_the_backends_dialect_understands_is_told(client: str, streamed: bool) -> None:
    response = Response(id="1", model="m", parts=FOREIGN, stop=Stop(reason="tool_calls"))
    reply = Reply(model="m")
    if streamed:
        encoder = ADAPTERS[client].encoder(reply)
        for event in unfold(response):
            encoder.feed(event)
    else:
        ADAPTERS[client].encode_response(response, reply)
    assert set(reply.losses.dropped) == {
        "output[].search",
        "output[].annotations",
        "output[].phase",
        "output[].async",
    }
    assert fold(unfold(response)) == response


# Clients of Responses.


def lost(backend: Dialect, stream: bytes) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a client of Responses loses of a stream, however it is cut, and of the same answer when
    it is whole: dropped and changed."""
    found = set()
    for chunks in cuts(stream):
        transform = way("responses", backend).transform(now=0)
        run(transform, chunks)
        assert transform.phase == "complete"
        found.add((transform.dropped, transform.changed))
    whole = way("responses", backend).fold(stream, now=0)
    found.add((whole.dropped, whole.changed))
    (only,) = found
    return only


def a_block(index: int, block: JSON) -> list[JSON]:
    opened = {"type": "content_block_start", "index": index, "content_block": block}
    return [opened, a_stop(index)]


USED: JSON = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "a"},
}
RAN: JSON = {"type": "server_tool_use", "id": "srvtoolu_2", "name": "code_execution", "input": {}}


def test_a_web_search_is_told_and_what_it_found_beyond_addresses_is_changed() -> None:
    blocks = [*a_block(0, USED), *a_block(1, SEARCHED), *a_text(2, "Found.")]
    stream = a_stream(a_start(), *blocks, a_ending(), A_END)
    assert lost("anthropic", stream) == ((), ("content[].web_search_tool_result",))


def test_what_else_a_provider_ran_is_lost_and_told() -> None:
    blocks = [*a_block(0, RAN), *a_block(1, SEARCHED), *a_text(2, "Ran.")]
    stream = a_stream(a_start(), *blocks, a_ending(), A_END)
    dropped = ("content[].server_tool_use", "content[].web_search_tool_result")
    assert lost("anthropic", stream) == (dropped, ())


def test_fields_that_no_responses_client_knows_are_told() -> None:
    stream = o_stream({"content": "Hi"}, {"images": IMAGE, "index": 0}, o_chunk(finish="stop"))
    assert lost("openai", stream) == (("choices[].delta.images",), ())


def test_a_responses_client_loses_nothing_of_reasoning_text_and_calls() -> None:
    stream = o_stream(
        {"reasoning_content": "Hm."},
        {"content": "Hi"},
        o_call("{}", id="c", name="f"),
        o_chunk(finish="tool_calls"),
    )
    assert lost("openai", stream) == ((), ())
