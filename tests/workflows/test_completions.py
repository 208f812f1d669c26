"""Completions of a prompt pass through as they are, and their ends and usage are known."""

import json

import pytest

from lmbroker.call import Backend, Call, Target
from lmbroker.errors import Broken, Refused
from lmbroker.workflows import workflow_for

CHUNK = (
    b'data: {"id":"c","object":"text_completion","choices":'
    b'[{"index":%d,"text":"x","finish_reason":%b}]}\n\n'
)
USAGE = (
    b'data: {"id":"c","choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,'
    b'"total_tokens":5}}\n\n'
)


def workflow(dialect="openai", **body):
    text = json.dumps({"model": "m", "prompt": "p", "stream": True, **body}).encode()
    call = Call(
        id="r", operation="completions", dialect="openai", asked="m", body=text, stream=True
    )
    target = Target(backend=Backend(name="b", url="http://b", dialect=dialect), model="real")
    return workflow_for(call, target)


def test_the_request_goes_to_the_older_path_with_the_model_spliced_in():
    out = workflow().outbound()
    assert out.path == "/completions"
    assert out.body == b'{"model": "real", "prompt": "p", "stream": true}'


def test_another_dialect_has_no_such_operation():
    with pytest.raises(Refused) as refused:
        workflow("anthropic")
    assert refused.value.info.kind == "not_found"


@pytest.mark.parametrize("cut", [1, 7, 10_000])
def test_a_stream_passes_byte_for_byte_and_is_counted(cut):
    sent = CHUNK % (0, b"null") + CHUNK % (0, b'"length"') + USAGE + b"data: [DONE]\n\n"
    transform = workflow().transform(now=0)
    got = b"".join(transform.feed(sent[at : at + cut]) for at in range(0, len(sent), cut))
    assert got + transform.close() == sent
    assert (transform.phase, transform.stop) == ("complete", "max_tokens")
    assert (transform.usage.input, transform.usage.output) == (3, 2)


@pytest.mark.parametrize(
    ("prompt", "ends"), [("p", 1), (["p", "q"], 2), ([1, 2], 1), ([[1], [2]], 2)]
)
def test_each_prompt_has_an_end_of_its_own(prompt, ends):
    transform = workflow(prompt=prompt).transform(now=0)
    for index in range(ends - 1):
        transform.feed(CHUNK % (index, b'"stop"'))
    if ends > 1:
        early = workflow(prompt=prompt).transform(now=0)
        early.feed(CHUNK % (0, b'"stop"'))
        assert b"error" in early.close()
    transform.feed(CHUNK % (ends - 1, b'"stop"'))
    assert transform.close() == b"data: [DONE]\n\n"


def test_a_stream_and_a_whole_answer_are_not_made_into_each_other():
    with pytest.raises(Broken):
        workflow().unfold(b'{"choices":[]}', now=0)
    with pytest.raises(Broken):
        workflow().fold(USAGE, now=0)
