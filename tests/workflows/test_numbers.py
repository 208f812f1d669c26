"""Numbers in tool arguments cross the broker as they were written, in both directions, in requests
and in answers, whole and streamed."""

import json
from typing import Any

import pytest
from streams import (
    A_END,
    a_call,
    a_ending,
    a_open,
    a_start,
    a_stop,
    a_stream,
    o_call,
    o_chunk,
    o_stream,
)

from lmbroker.call import Backend, Call, Dialect, Target
from lmbroker.workflows import workflow_for
from lmbroker.workflows.contract import Workflow

NUMBERS = (
    *("1.0", "1.00", "-0.0", "0.10", "1e5", "1E+5", "1e400", "-1e400", "18446744073709551616"),
    *("12345678901234567890.123", "0.1000000000000000055511151231257827"),
)
ARGUMENTS = '{"a":[' + ",".join(NUMBERS) + "]}"
QUOTED = json.dumps(ARGUMENTS)


def workflow(client: Dialect, backend: Dialect, body: str) -> Workflow:
    call = Call(id="r", operation="chat", dialect=client, asked="m", body=body.encode())
    place = Backend(name="b", url="http://127.0.0.1/v1", dialect=backend)
    return workflow_for(call, Target(backend=place, model="served"))


def asked(client: Dialect) -> str:
    """A request with a call of earlier in it."""
    if client == "anthropic":
        call = f'{{"type":"tool_use","id":"t1","name":"f","input":{ARGUMENTS}}}'
        result = '{"type":"tool_result","tool_use_id":"t1","content":"ok"}'
        return (
            '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"},'
            f'{{"role":"assistant","content":[{call}]}},{{"role":"user","content":[{result}]}}]}}'
        )
    call = f'{{"id":"t1","type":"function","function":{{"name":"f","arguments":{QUOTED}}}}}'
    return (
        '{"model":"m","messages":[{"role":"user","content":"a"},'
        f'{{"role":"assistant","tool_calls":[{call}]}},'
        '{"role":"tool","tool_call_id":"t1","content":"ok"}]}'
    )


ANTHROPIC_ANSWER = (
    '{"id":"msg_1","type":"message","role":"assistant","model":"c","content":['
    f'{{"type":"tool_use","id":"t1","name":"f","input":{ARGUMENTS}}}],'
    '"stop_reason":"tool_use","usage":{"input_tokens":1,"output_tokens":1}}'
)


def openai_answer(arguments: str) -> str:
    call = f'{{"id":"t1","type":"function","function":{{"name":"f","arguments":{arguments}}}}}'
    return (
        '{"choices":[{"index":0,"finish_reason":"tool_calls","message":'
        f'{{"role":"assistant","tool_calls":[{call}]}}}}]}}'
    )


def test_requests() -> None:
    sent = workflow("anthropic", "openai", asked("anthropic")).outbound().body
    call = json.loads(sent)["messages"][1]["tool_calls"][0]
    assert call["function"]["arguments"] == ARGUMENTS
    sent = workflow("openai", "anthropic", asked("openai")).outbound().body
    assert ARGUMENTS.encode() in sent


def test_unary_answers() -> None:
    got = workflow("openai", "anthropic", asked("openai")).unary(ANTHROPIC_ANSWER.encode(), now=0)
    [choice] = json.loads(got.body)["choices"]
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == ARGUMENTS


@pytest.mark.parametrize("arguments", [QUOTED, ARGUMENTS, json.dumps(QUOTED)])
def test_unary_answers_whose_arguments_are_a_text_an_object_or_a_text_of_a_text(
    arguments: str,
) -> None:
    body = openai_answer(arguments).encode()
    got = workflow("anthropic", "openai", asked("anthropic")).unary(body, now=0)
    assert ARGUMENTS.encode() in got.body


def streamed(client: Dialect, backend: Dialect, stream: bytes) -> list[Any]:
    """The events that the client gets."""
    transform = workflow(client, backend, asked(client)).transform(now=0)
    told = transform.feed(stream) + transform.close()
    return [json.loads(line[6:]) for line in told.decode().split("\n") if line[:7] == "data: {"]


@pytest.mark.parametrize("step", [1, 7, 1000])
def test_streamed_answers(step: int) -> None:
    pieces = [ARGUMENTS[at : at + step] for at in range(0, len(ARGUMENTS), step)]
    stream = o_stream(o_call(id="t1", name="f"), *map(o_call, pieces), o_chunk(finish="tool_calls"))
    deltas = [event.get("delta", {}) for event in streamed("anthropic", "openai", stream)]
    assert "".join(delta.get("partial_json", "") for delta in deltas) == ARGUMENTS

    stream = a_stream(a_start(), *a_call(0, "t1", "f", *pieces), a_ending("tool_use"), A_END)
    assert called(streamed("openai", "anthropic", stream)) == ARGUMENTS


def test_input_that_comes_whole_with_its_block() -> None:
    opened = a_open(0, "tool_use", id="t1", name="f", input="INPUT")
    stream = a_stream(a_start(), opened, a_stop(0), a_ending("tool_use"), A_END)
    stream = stream.replace(b'"INPUT"', ARGUMENTS.encode())
    assert called(streamed("openai", "anthropic", stream)) == ARGUMENTS


def called(chunks: list[Any]) -> str:
    """The arguments that chunks tell."""
    return "".join(
        call["function"].get("arguments", "")
        for chunk in chunks
        for choice in chunk["choices"]
        for call in choice["delta"].get("tool_calls", ())
    )
