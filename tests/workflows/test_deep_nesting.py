"""What nests too deeply gets a clear error, at whatever depth readers and writers give up."""

import json

import pytest

from lmbroker import envelope
from lmbroker.call import Backend, Call, Target
from lmbroker.errors import BackendRefused, Broken, Refused
from lmbroker.workflows import workflow_for

DEPTHS = (50, 400, 700, 900, 970, 3000)
SAID = [{"role": "user", "content": "hi"}]
ASKED = {
    "openai": {"model": "m", "max_tokens": 9, "messages": SAID},
    "anthropic": {"model": "m", "max_tokens": 9, "messages": SAID},
    "responses": {"model": "m", "input": SAID},
}


def deep(depth):
    return '{"a":' * depth + "1" + "}" * depth


def workflow(client, backend, body):
    fields = envelope.read(body).fields
    call = Call(
        id="r", operation="chat", dialect=client, asked="m", body=body, fields=fields, stream=True
    )
    target = Target(backend=Backend(name="b", url="https://a/v1", dialect=backend), model="r")
    return workflow_for(call, target, mode="lenient")


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("client", list(ASKED))
@pytest.mark.parametrize("backend", list(ASKED))
def test_a_request_is_taken_or_refused(client, backend, depth):
    held = deep(depth)
    tool = {
        "openai": f'{{"type":"function","function":{{"name":"f","parameters":{held}}}}}',
        "anthropic": f'{{"name":"f","input_schema":{held}}}',
        "responses": f'{{"type":"function","name":"f","parameters":{held}}}',
    }[client]
    body = json.dumps(ASKED[client])[:-1] + f',"x":{held},"tools":[{tool}]}}'
    try:
        workflow(client, backend, body.encode()).outbound()
    except Refused as error:
        assert depth > 500
        assert error.info.kind == "invalid_request"
    else:
        assert depth < 3000


ANSWERS = {
    "openai": (
        '{"choices":[{"index":0,"message":{"content":"a","reasoning_details":[{"type":"x","d":%s}]},'
        '"finish_reason":"stop"}]}',
        '{"choices":[{"index":0,"message":{"tool_calls":[{"id":"c","function":{"name":"f",'
        '"arguments":%s}}]},"finish_reason":"stop"}]}',
    ),
    "anthropic": (
        '{"content":[{"type":"tool_use","id":"c","name":"f","input":%s}],"stop_reason":"tool_use"}',
        '{"content":[{"type":"new","x":%s}],"stop_reason":"end_turn"}',
    ),
    "responses": (
        '{"output":[{"type":"function_call","call_id":"c","name":"f","arguments":%s}]}',
        '{"output":[{"type":"new","x":%s}]}',
        '{"output":[{"type":"message","role":"assistant","content":[{"type":"output_text",'
        '"text":"a","annotations":[%s]}]}]}',
    ),
}


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("client", list(ASKED))
@pytest.mark.parametrize("backend", list(ASKED))
def test_an_answer_is_told_or_broken(client, backend, depth):
    for answer in ANSWERS[backend]:
        body = (answer % deep(depth)).encode()
        for step in ("unary", "unfold"):
            met = workflow(client, backend, json.dumps(ASKED[client]).encode())
            met.outbound()
            try:
                getattr(met, step)(body, now=1)
            except (Broken, BackendRefused) as error:
                assert depth > 400
                assert error.info.kind == "bad_upstream"


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_stream_ends_with_an_error(depth):
    delta = f'{{"reasoning_details":[{{"type":"x","d":{deep(depth)}}}]}}'
    chunk = f'data: {{"choices":[{{"index":0,"delta":{delta}}}]}}\n\n'
    end = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    met = workflow("anthropic", "openai", json.dumps(ASKED["anthropic"]).encode())
    met.outbound()
    transform = met.transform(now=1)
    transform.feed((chunk + end).encode())
    transform.close()
    assert transform.phase in ("complete", "failed")
    if transform.phase == "failed":
        assert depth > 400
        assert transform.error.kind == "bad_upstream"
