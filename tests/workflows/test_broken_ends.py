"""Streams whose backends break them off in ways of their own: the client hears of it in the
backend's words, no half call is closed, and what came is counted as an estimate."""

import json
from typing import Any

import pytest
from streams import (
    A_END,
    REPLY,
    a_call,
    a_delta,
    a_ending,
    a_open,
    a_start,
    a_stream,
    a_text,
    check,
    cuts,
    o_call,
    o_chunk,
    o_stream,
    passed,
    payloads,
    run,
    translated,
)

from lmbroker.sse import Reader
from lmbroker.usage import Usage
from lmbroker.workflows.contract import Transform

DIALECTS = ("openai", "anthropic", "responses")
HELLO = {
    "openai": o_stream({"role": "assistant", "content": ""}, {"content": "Hello"}, done=False),
    "anthropic": a_stream(
        a_start(), a_open(0, "text", text=""), a_delta(0, "text_delta", text="Hello")
    ),
    "responses": a_stream(
        {"type": "response.created", "sequence_number": 0, "response": {"id": "resp_7"}},
        {
            "type": "response.output_text.delta",
            "sequence_number": 1,
            "item_id": "msg_7",
            "output_index": 0,
            "delta": "Hello",
        },
    ),
}
WORDS = "the slot was lost"
BODY = json.dumps({"error": {"code": 500, "message": WORDS, "type": "server_error"}})
TOLD = [
    f"error: {BODY}",
    f"error: {WORDS}",
    f"event: error\ndata: {WORDS}",
    BODY,
    json.dumps({"error": {"message": WORDS}}, indent=2),
    f"data: {BODY}",
    f"data: {json.dumps({'error': WORDS})}",
    f"event: error\ndata: {json.dumps({'message': WORDS})}",
    f"data: {json.dumps({'detail': WORDS})}",
    f"data: {json.dumps({'code': 500, 'message': WORDS})}",
    f"data: {json.dumps({'object': 'error', 'message': WORDS, 'code': 500})}",
]
ways = pytest.mark.parametrize(
    ("backend", "client"), [(backend, client) for backend in DIALECTS for client in DIALECTS]
)


def transform_of(backend: str, client: str) -> Transform:
    return passed(backend) if backend == client else translated(backend, client)


def heard_by_clients(dialect: str, stream: bytes) -> bool:
    """Whether the dialect's SDK raises for the last event."""
    last = [frame for frame in Reader().feed(stream) if frame.data][-1]
    if dialect == "anthropic":
        return last.event == "error"
    if dialect == "responses":
        return last.event == "response.failed"
    return bool(json.loads(last.data or b"{}").get("error"))


@ways
@pytest.mark.parametrize("told", TOLD)
@pytest.mark.parametrize("end", ["", "\n\n", "\n\ndata: [DONE]\n\n"])
def test_an_error_is_heard_in_any_form(backend: str, client: str, told: str, end: str) -> None:
    stream = HELLO[backend] + (told + end).encode()
    for chunks in cuts(stream):
        transform = transform_of(backend, client)
        out = run(transform, chunks)
        assert transform.phase == "failed"
        assert transform.error is not None
        assert transform.error.message == WORDS
        last = [frame.data for frame in Reader().feed(out) if frame.data][-1]
        assert WORDS in last.decode()
        assert heard_by_clients(client, out)
        assert b"message_stop" not in out
        assert b"[DONE]" not in out
        if backend != client:
            check(client, out)
            assert b"content_block_stop" not in out
        else:
            assert out.startswith(HELLO[backend] + told.encode()), "its bytes pass"


@ways
@pytest.mark.parametrize("told", TOLD)
def test_an_error_before_all_else_is_no_stream(backend: str, client: str, told: str) -> None:
    for chunks in cuts((told + "\n\n").encode()):
        transform = transform_of(backend, client)
        assert run(transform, chunks) == b""
        assert transform.phase == "failed"
        assert transform.error is not None
        assert transform.error.message == WORDS
        assert transform.usage is None


@pytest.mark.parametrize(
    "last",
    [
        o_call("", id="c", name="f"),
        o_call('{"a":', id="c", name="f"),
        o_call('{"a":{"b":1}', id="c", name="f"),
    ],
)
def test_half_a_call_without_a_reason_is_an_error(last: Any) -> None:
    stream = o_stream({"content": "I look."}, last)
    for chunks in cuts(stream):
        transform = translated("openai", "anthropic")
        out = run(transform, chunks)
        check("anthropic", out)
        assert transform.phase == "failed"
        assert out.count(b"event: content_block_stop") <= 1, "of the text"


def test_half_a_call_without_a_reason_fails_when_passed_through() -> None:
    for args in ("", '{"a":'):
        begun = o_stream({"content": "I look."}, o_call(args, id="c", name="f"), done=False)
        for chunks in cuts(begun + b"data: [DONE]\n\n"):
            transform = passed("openai")
            out = run(transform, chunks)
            assert transform.phase == "failed"
            assert out.startswith(begun)
            assert b"[DONE]" not in out
            assert "error" in payloads(out)[-1]


@pytest.mark.parametrize("args", ["{}", '{"a":1}'])
def test_a_whole_call_without_a_reason_is_one(args: str) -> None:
    stream = o_stream(o_call(args, id="c", name="f"))
    for chunks in cuts(stream):
        transform = translated("openai", "anthropic")
        check("anthropic", run(transform, chunks))
        assert (transform.phase, transform.stop) == ("complete", "tool_calls")
        transform = passed("openai")
        assert run(transform, chunks) == stream
        assert transform.phase == "complete"


def test_a_call_that_ends_in_the_middle_is_no_call_whatever_the_reason_says() -> None:
    for finish in ("stop", "tool_calls"):
        transform = translated("openai", "anthropic")
        stream = o_stream(o_call('{"a":', id="c", name="f"), o_chunk(finish=finish))
        out = run(transform, [stream])
        assert transform.phase == "failed"
        assert b"content_block_stop" not in out
    transform = translated("openai", "anthropic")
    run(transform, [o_stream(o_call('{"a":', id="c", name="f"), o_chunk(finish="length"))])
    assert (transform.phase, transform.stop) == ("complete", "max_tokens")


@ways
def test_what_came_of_a_cut_answer_is_estimated(backend: str, client: str) -> None:
    texts = ["Some words of an answer, ", "and then some more of it."] * 20
    size = sum(map(len, texts))
    if backend == "openai":
        deltas = [{"role": "assistant", "content": ""}, *({"content": text} for text in texts)]
        stream = o_stream(*deltas, done=False)
    elif backend == "responses":
        told = [{"type": "response.output_text.delta", "delta": text} for text in texts]
        stream = a_stream(*told)
    else:
        told = [a_delta(0, "text_delta", text=text) for text in texts]
        stream = a_stream(a_start(), a_open(0, "text", text=""), *told)
        stream = stream.replace(b'": ', b'":').replace(b', "', b',"')
    for chunks in cuts(stream):
        transform = transform_of(backend, client)
        run(transform, chunks)
        assert transform.phase == "failed"
        usage = transform.usage
        assert usage is not None
        assert usage.estimated
        assert 0.8 < usage.output / (size / 3.6) < 1.35
        if backend == "anthropic":
            assert usage.input == 9, "the backend has told it"
        elif backend != client:
            assert usage.input == 7


@ways
def test_a_client_that_leaves_has_had_tokens_too(backend: str, client: str) -> None:
    transform = transform_of(backend, client)
    transform.feed(HELLO[backend])
    usage = transform.usage
    assert usage is not None
    assert usage.estimated
    assert usage.output > 0


def test_counts_that_were_told_stand() -> None:
    ended = a_ending(usage={"output_tokens": 4})
    stream = a_stream(a_start(), *a_call(0, "t", "f", "{}"), ended, A_END)
    for transform in (translated("anthropic", "openai"), passed("anthropic")):
        run(transform, [stream])
        assert transform.usage == Usage(input=9, output=4)


def test_an_answer_may_speak_of_errors() -> None:
    said = 'data: {"detail": "x"}\n\nerror: {"message": "y"}\n{"error": 1}'
    stream = o_stream({"content": said}, o_chunk(finish="stop"))
    for chunks in cuts(stream):
        transform = passed("openai")
        assert run(transform, chunks) == stream
        assert transform.phase == "complete"
    stream = a_stream(a_start(), *a_text(0, said), a_ending(), A_END)
    for chunks in cuts(stream):
        transform = passed("anthropic")
        assert run(transform, chunks) == stream
        assert transform.phase == "complete"


@pytest.mark.parametrize(
    ("backend", "client"), [(each, client) for each in DIALECTS[:2] for client in DIALECTS]
)
def test_an_answer_that_has_told_why_it_stopped_is_whole(backend: str, client: str) -> None:
    """The event of Responses that says why an answer stopped is its last."""
    if backend == "openai":
        begun = o_stream({"role": "assistant", "content": "Hi"}, done=False)
        stop = o_stream(o_chunk(finish="stop"), done=False)
    else:
        begun = a_stream(a_start(), *a_text(0, "Hi"))
        stop = a_stream(a_ending())
    for chunks in cuts(begun + stop + b": ping\n\n"):
        transform = transform_of(backend, client)
        out = b""
        for chunk in chunks:
            assert transform.phase in ("waiting", "open", "stopped")
            out += transform.feed(chunk)
        assert transform.phase == "stopped"
        assert transform.ping() != b""
        last = transform.close()
        assert transform.phase == "complete"
        check(client, out + last, None if backend == client else REPLY)
        if backend == client:
            assert out == begun + stop + b": ping\n\n", "byte for byte"
            assert len(list(Reader().feed(last))) == 1, "the terminator"


def test_an_answer_that_has_stopped_may_still_be_counted() -> None:
    count = {**o_chunk(), "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2}}
    for transform in (translated("openai", "anthropic"), passed("openai")):
        transform.feed(o_stream({"content": "Hi"}, o_chunk(finish="stop"), done=False))
        assert transform.phase == "stopped"
        transform.feed(o_stream(count, done=False))
        transform.close()
        assert transform.usage == Usage(input=5, output=2)


def test_of_several_choices_the_last_one_stops_the_answer() -> None:
    first, second = o_chunk({"content": "Hi"}, finish="stop"), o_chunk({"content": "Ho"})
    second["choices"][0]["index"] = 1
    last = o_chunk(finish="stop")
    last["choices"][0]["index"] = 1
    transform = passed("openai", choices=2)
    transform.feed(o_stream(first, second, done=False))
    assert transform.phase == "open"
    transform.feed(o_stream(last, done=False))
    assert transform.phase == "stopped"
