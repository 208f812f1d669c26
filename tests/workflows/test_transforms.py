"""The two stream transforms: bytes in, bytes out, exactly one end.

Numbers in the names of the tests are the cases of translation.md section 10.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from streams import (
    A_END,
    JSON,
    REPLY,
    a_call,
    a_delta,
    a_ending,
    a_open,
    a_start,
    a_stop,
    a_stream,
    a_text,
    check,
    completion,
    message,
    o_call,
    o_chunk,
    o_stream,
    o_usage,
    passed,
    payloads,
    pieces,
    run,
    translated,
)

from lmbroker.call import Backend, Call, Target
from lmbroker.errors import ErrorInfo
from lmbroker.sse import EVENT_LIMIT, Reader
from lmbroker.translation.dialects.anthropic_messages.stream_encode import BAD_ARGUMENTS
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.unified.fold import TRUNCATED
from lmbroker.usage import Usage
from lmbroker.workflows import workflow_for
from lmbroker.workflows.contract import Transform
from lmbroker.workflows.transforms import (
    EARLY_BYTES,
    NO_ANSWER,
    PINGS_IN_A_ROW,
    TOO_LONG,
    PassedStream,
)

WIRE = Path(__file__).parents[1] / "wire"
SAMPLES = sorted(WIRE.glob("*/*.sse"))
ROLE = {"role": "assistant", "content": ""}
STOP = o_chunk(finish="stop")
HELLO = {"content": "Hello"}
LAST = {**o_chunk(), "choices": []}
A_HELLO = a_text(0, "Hel", "lo")
A_ENDED = [a_ending(), A_END]
LATE = ErrorInfo(kind="timeout", message="the backend fell silent in its answer")
O_ERROR = {"error": {"message": "Overloaded", "code": "server_is_overloaded"}}
A_ERROR = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
FIRST = {"openai": o_stream(ROLE, HELLO, done=False), "anthropic": a_stream(a_start(), *A_HELLO)}
REST = {"openai": o_stream(STOP), "anthropic": a_stream(*A_ENDED)}
ERROR = {"openai": o_stream(O_ERROR, done=False), "anthropic": a_stream(A_ERROR)}
END = {"openai": b"data: [DONE]\n\n", "anthropic": a_stream(A_END)}
ASKED = b'{"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Go on."}]}'
OTHER = {"openai": "anthropic", "anthropic": "openai"}
WAYS = [("translated", "openai"), ("translated", "anthropic")]
WAYS += [("passed", "openai"), ("passed", "anthropic")]
every_way = pytest.mark.parametrize(("how", "backend"), WAYS)
each = pytest.mark.parametrize("dialect", ["openai", "anthropic"])


def transform_of(how: str, backend: str) -> Transform:
    return passed(backend) if how == "passed" else translated(backend, OTHER[backend])


def client_of(how: str, backend: str) -> str:
    return backend if how == "passed" else OTHER[backend]


def told_error(dialect: str, error: ErrorInfo) -> bytes:
    """The event by which clients of the dialect hear of an error."""
    return ADAPTERS[dialect].stream_error(error, "req_1")


def legal(how: str, backend: str, out: bytes) -> None:
    """What the client got; a backend's own stream may tell usage as it likes."""
    reply = None if how == "passed" else REPLY
    check(client_of(how, backend), out, reply)


def without_usage(stream: bytes) -> list[JSON]:
    """The events with no numbers in them."""
    bodies = payloads(stream)
    return [{key: value for key, value in body.items() if key != "usage"} for body in bodies]


# What both have in common.


@every_way
def test_first_real_event_opens_the_stream(how: str, backend: str) -> None:
    transform = transform_of(how, backend)
    phases: list[str] = []
    for chunk, said in ((b": connected\n\n", False), (FIRST[backend], True), (REST[backend], True)):
        assert bool(transform.feed(chunk)) == said
        phases.append(transform.phase)
    assert phases == ["waiting", "open", "complete"]
    assert transform.stop == "end"
    assert transform.error is None


@every_way
def test_case_68_error_before_all_else_is_not_written(how: str, backend: str) -> None:
    """It becomes an HTTP error; nobody has got anything yet."""
    transform = transform_of(how, backend)
    assert run(transform, [b": connected\n\n", ERROR[backend], FIRST[backend]]) == b""
    assert transform.phase == "failed"
    assert transform.error is not None
    assert (transform.error.kind, transform.error.message) == ("overloaded", "Overloaded")


@every_way
def test_case_56_error_in_the_middle_ends_the_stream(how: str, backend: str) -> None:
    transform = transform_of(how, backend)
    out = run(transform, [FIRST[backend], ERROR[backend], REST[backend]])
    assert transform.phase == "failed"
    legal(how, backend, out)
    assert b"Overloaded" in out


@every_way
def test_case_60_stream_that_is_cut_ends_in_an_error(how: str, backend: str) -> None:
    transform = transform_of(how, backend)
    out = run(transform, [FIRST[backend], REST[backend][:10]])
    assert (transform.phase, transform.error) == ("failed", TRUNCATED)
    legal(how, backend, out)
    assert b"[DONE]" not in out and b"message_stop" not in out


@every_way
def test_nothing_at_all_is_an_error_and_nothing_is_written(how: str, backend: str) -> None:
    for chunks in ([], [b": ping\n\n"], [b"\n\n"]):
        transform = transform_of(how, backend)
        assert run(transform, chunks) == b""
        assert transform.phase == "failed"
        assert transform.error is not None


@every_way
def test_failure_is_told_in_band_once(how: str, backend: str) -> None:
    transform = transform_of(how, backend)
    out = transform.feed(FIRST[backend]) + transform.fail(LATE)
    assert (transform.phase, transform.error) == ("failed", LATE)
    legal(how, backend, out)
    assert transform.fail(LATE) == transform.close() == transform.feed(REST[backend]) == b""


@every_way
def test_failure_before_all_else_is_not_written(how: str, backend: str) -> None:
    transform = transform_of(how, backend)
    assert transform.fail(LATE) == b""
    assert (transform.phase, transform.error) == ("failed", LATE)


@every_way
def test_data_after_the_end_is_no_part_of_the_stream(how: str, backend: str) -> None:
    whole = FIRST[backend] + REST[backend]
    expected = run(transform_of(how, backend), [whole])
    late = FIRST[backend] + ERROR[backend] + b": late\n\ndata: {"
    assert run(transform_of(how, backend), [whole, late]) == expected
    assert run(transform_of(how, backend), [whole + late]) == expected
    assert run(transform_of(how, backend), pieces(whole + late, 7)) == expected


@every_way
def test_event_above_the_limit_ends_the_stream(how: str, backend: str) -> None:
    transform = transform_of(how, backend)
    out = [transform.feed(FIRST[backend])]
    for _ in range(EVENT_LIMIT // 2**20 + 1):
        out.append(transform.feed(b"x" * 2**20))
    assert (transform.phase, transform.error) == ("failed", TOO_LONG)
    legal(how, backend, b"".join(out))


@every_way
@pytest.mark.parametrize("before", [0, 5])
def test_an_event_that_passes_the_limit_with_its_end_ends_the_stream(
    how: str, backend: str, before: int
) -> None:
    transform = transform_of(how, backend)
    transform.feed(FIRST[backend])
    event = b'data: {"usage": 1, "a": "' + b"x" * EVENT_LIMIT + b'"}\n\n'
    for piece in (event[:-9], event[-9:] + b": x\n\n" * before):
        transform.feed(piece)
    assert (transform.phase, transform.error) == ("failed", TOO_LONG)
    assert transform.close() == b""


@every_way
def test_an_event_of_many_lines_that_has_to_be_looked_into_ends_the_stream(
    how: str, backend: str
) -> None:
    transform = transform_of(how, backend)
    transform.feed(FIRST[backend])
    out = transform.feed(b": error\n" * 25_000 + b"\n")
    assert (transform.phase, transform.error) == ("failed", TOO_LONG)
    assert out == told_error(client_of(how, backend), TOO_LONG)


@every_way
def test_the_longest_event_may_be_another(how: str, backend: str) -> None:
    call = Call(
        id="req_1", operation="chat", dialect=client_of(how, backend), asked="m", body=ASKED
    )
    target = Target(backend=Backend(name="b", url="http://b.test", dialect=backend), model="m")
    event = b'data: {"a": "' + b"x" * 2000 + b'"}'
    for longest, phase in ((len(event), "open"), (len(event) - 1, "failed")):
        transform = workflow_for(call, target).transform(now=0, longest=longest)
        for piece in (FIRST[backend], event[:1500], event[1500:] + b"\n\n"):
            transform.feed(piece)
        assert transform.phase == phase


@every_way
def test_usage_is_known_at_the_end(how: str, backend: str) -> None:
    transform = transform_of(how, backend)
    counted = {**LAST, "usage": o_usage()}
    rest = o_stream(STOP, counted) if backend == "openai" else REST[backend]
    run(transform, [FIRST[backend], rest])
    assert transform.usage == Usage(input=9, output=4)


@pytest.mark.parametrize("how", ["translated", "passed"])
def test_usage_that_was_told_before_a_break_is_known(how: str) -> None:
    transform = transform_of(how, "anthropic")
    run(transform, [FIRST["anthropic"]])
    assert transform.phase == "failed"
    usage = transform.usage
    assert usage is not None
    assert (usage.input, usage.estimated) == (9, True)
    assert 1 <= usage.output < 10, "what came, by an estimate"


@every_way
def test_case_71_signs_of_life_from_the_first_event_on(how: str, backend: str) -> None:
    comment, ping = b": ping\n\n", b'event: ping\ndata: {"type": "ping"}\n\n'
    client = client_of(how, backend)
    transform = transform_of(how, backend)
    assert transform.ping() == b"", "nothing may be written yet"
    transform.feed(FIRST[backend])
    assert transform.ping() == (ping if client == "anthropic" else comment)
    transform.feed(REST[backend])
    assert transform.ping() == b""


# Translation.


@pytest.mark.parametrize(
    ("items", "usage"),
    [
        ([STOP, {**LAST, "usage": o_usage()}, "data: [DONE]"], Usage(input=9, output=4)),
        ([STOP, {**LAST, "usage": o_usage()}], Usage(input=9, output=4)),
        ([{**STOP, "usage": o_usage()}, "data: [DONE]"], Usage(input=9, output=4)),
        ([{**STOP, "usage": o_usage()}], Usage(input=9, output=4)),
        ([STOP, "data: [DONE]"], Usage(input=7, output=5, estimated=True)),
        ([STOP], Usage(input=7, output=5, estimated=True)),
    ],
)
def test_case_66_usage_in_all_its_places(items: list[JSON | str], usage: Usage) -> None:
    transform = translated("openai", "anthropic")
    out = run(transform, [o_stream(ROLE, HELLO, *items, done=False)])
    assert transform.usage == usage
    bodies = payloads(out)
    counts = bodies[0]["message"]["usage"]
    assert (counts["input_tokens"], counts["output_tokens"]) == (7, 0), "estimated at the start"
    assert bodies[-2]["usage"]["input_tokens"] == usage.input
    assert bodies[-2]["usage"]["output_tokens"] == usage.output
    first = run(translated("openai", "anthropic"), [o_stream(ROLE, HELLO, STOP)])
    assert without_usage(out) == without_usage(first)


def test_case_47_estimate_counts_all_that_was_told_in_bytes() -> None:
    transform = translated("openai", "anthropic")
    said = [{"reasoning": "üüüü"}, HELLO, o_call('{"a":"\ud83d', id="c", name="f"), o_call('"}')]
    run(transform, [o_stream(ROLE, *said, STOP)])
    assert transform.usage == Usage(input=7, output=9, estimated=True), "8 + 5 + 1 + 7 + 2 bytes"


def test_case_67_content_after_the_finish_reason_comes_before_message_delta() -> None:
    out = run(translated("openai", "anthropic"), [o_stream(ROLE, STOP, HELLO)])
    assert message(out).content[0].to_dict()["text"] == "Hello"
    assert [body["type"] for body in payloads(out)][-3:] == [
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]


def test_case_61_backend_that_dies_in_a_call_leaves_it_open() -> None:
    out = run(
        translated("openai", "anthropic"),
        [o_stream(ROLE, o_call('{"city":', id="c", name="f"), done=False)],
    )
    check("anthropic", out)
    assert b"content_block_stop" not in out
    out = run(
        translated("anthropic", "openai"),
        [a_stream(a_start(), *a_call(0, "t", "f", '{"city":')[:-1])],
    )
    check("openai", out)


def test_case_70_pings_are_no_data() -> None:
    out = run(
        translated("anthropic", "openai"),
        [a_stream({"type": "ping"}, a_start(), {"type": "ping"}, ": x", *A_HELLO, *A_ENDED)],
    )
    assert out.count(b": ping\n\n") == 2
    assert all("choices" in body for body in payloads(out))
    out = run(translated("openai", "anthropic"), [o_stream(": a", ROLE, ": b", HELLO, STOP)])
    assert out.startswith(b"event: message_start")
    assert out.count(b"event: ping\n") == 1


O_BEGUN = o_stream(ROLE, HELLO, done=False)
A_BEGUN = a_stream(a_start(), *A_HELLO[:2])
A_PING = b'event: ping\ndata: {"type":"ping"}\n\n'


@pytest.mark.parametrize(
    ("dialect", "client", "begun", "flood", "ping"),
    [
        ("openai", "anthropic", O_BEGUN, b":\n\n", b"event: ping\n"),
        ("anthropic", "openai", A_BEGUN, b":\n\n", b": ping\n\n"),
        ("anthropic", "openai", A_BEGUN, A_PING, b": ping\n\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 10_000])
def test_a_flood_of_signs_of_life_is_not_answered_by_another(
    dialect: str, client: str, begun: bytes, flood: bytes, ping: bytes, size: int
) -> None:
    transform = translated(dialect, client)
    transform.feed(begun)
    many = flood * 2000
    out = b"".join(transform.feed(many[at : at + size]) for at in range(0, len(many), size))
    assert out.count(ping) == PINGS_IN_A_ROW
    assert len(out) < 300
    assert transform.ping(), "the relay's own"


def test_case_74_what_is_unknown_is_skipped() -> None:
    begun, *rest = A_HELLO
    unknown = [{"type": "new"}, a_open(1, "new_block"), a_delta(1, "new_delta", x=1), a_stop(1)]
    odd = a_delta(0, "new_delta", x=1)
    out = run(
        translated("anthropic", "openai"),
        [a_stream(a_start(), begun, odd, *rest, *unknown, *A_ENDED)],
    )
    assert out == run(translated("anthropic", "openai"), [a_stream(a_start(), *A_HELLO, *A_ENDED)])


def test_case_75_two_messages_in_one_stream_are_an_error() -> None:
    transform = translated("anthropic", "openai")
    out = run(transform, [a_stream(a_start(), a_start(id="msg_8"), *A_HELLO, *A_ENDED)])
    assert transform.phase == "failed"
    assert payloads(out)[-1]["error"]["code"] == "bad_upstream_response"


def test_strict_arguments_that_break_midway_fail_the_stream() -> None:
    transform = translated("openai", "anthropic")
    broken = [o_call('{"a":', id="c", name="f"), o_call("oops"), o_call("}")]
    stream = o_stream(ROLE, *broken, HELLO, STOP)
    out = run(transform, pieces(stream, 7))
    assert (transform.phase, transform.error) == ("failed", BAD_ARGUMENTS)
    check("anthropic", out)
    assert b"content_block_stop" not in out
    assert run(translated("openai", "anthropic"), [stream]) == out


def test_case_72_no_usage_for_who_did_not_ask() -> None:
    reply = msgspec.structs.replace(REPLY, stream_usage=False)
    transform = translated("anthropic", "openai", reply)
    out = run(transform, [a_stream(a_start(), *A_HELLO, *A_ENDED)])
    assert b"usage" not in out
    assert transform.usage == Usage(input=9, output=4), "the broker knows it all the same"


LONG = "long " * 40_000
TEXTS = ["a\u2028b\u2029c\x85d", "ü🙂👩🏽‍🚀", LONG, "a\ud83d"]


@pytest.mark.parametrize("text", TEXTS, ids=["separators", "code points", "long", "half"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_case_77_text_comes_through_unchanged(text: str, end: bytes, size: int) -> None:
    if text is LONG and size < 7:
        size = 1000
    chunk = json.dumps(o_chunk({"content": text}), ensure_ascii="\ud83d" in text)
    stream = o_stream(ROLE, f"data: {chunk}", {"content": "\ude42!"}, STOP).replace(b"\n", end)
    out = run(translated("openai", "anthropic"), pieces(stream, size))
    expected = text + "\ude42!"
    assert _said(out, "anthropic") == expected
    back = run(translated("anthropic", "openai"), pieces(out, size))
    assert _said(back, "openai") == expected


def _said(stream: bytes, dialect: str) -> str:
    if dialect == "openai":
        return completion(stream).choices[0].message.content or ""
    return str(message(stream).content[0].to_dict()["text"])


def test_case_77_long_signature_comes_through() -> None:
    signature = "c2ln" * 50_000
    events = [
        a_open(0, "thinking", thinking="", signature=""),
        a_delta(0, "signature_delta", signature=signature),
        a_stop(0),
    ]
    stream = a_stream(a_start(), *events, *A_ENDED)
    out = run(translated("anthropic", "openai"), pieces(stream, 1000))
    kept: Any = completion(out).choices[0].message.to_dict()["reasoning_details"]
    assert kept[0]["signature"] == signature


# Passthrough.


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: f"{path.parent.name}-{path.stem}")
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_case_41_passed_bytes_are_the_backends_own(path: Path, end: bytes, size: int) -> None:
    stream = path.read_bytes().replace(b"\n", end)
    choices = 2 if path.stem == "two-choices" else 1
    transform = passed(path.parent.name, choices)
    out = run(transform, pieces(stream, size))
    if path.stem == "error-first":
        assert (out, transform.phase) == (b"", "failed")
    else:
        assert out == stream
        assert transform.phase == ("failed" if path.stem == "error" else "complete")


def test_case_74_what_is_unknown_is_relayed() -> None:
    odd = [{"type": "new", "x": 1}, a_open(1, "new_block"), a_delta(1, "new", x=1), a_stop(1)]
    odd += [{"type": "ping", "error": {"x": 1}}, {"type": "message_delta", "delta": None}]
    stream = a_stream(": hi", a_start(new=1), *odd, {"type": "ping"}, *A_HELLO, *A_ENDED)
    assert run(passed("anthropic"), pieces(stream, 7)) == stream
    stream = o_stream("id: 7\nretry: 10\ndata: {}", {**o_chunk(ROLE), "new": 1}, STOP)
    assert run(passed("openai"), pieces(stream, 7)) == stream


@each
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_error_is_never_glued_to_half_an_event(dialect: str, end: bytes) -> None:
    first = FIRST[dialect].replace(b"\n", end)
    rest = REST[dialect].replace(b"\n", end)
    for cut in range(1, len(rest) - len(END[dialect])):
        transform = passed(dialect)
        out = transform.feed(first) + transform.feed(rest[:cut]) + transform.fail(LATE)
        whole = Reader().feed(out)
        assert whole[-1].data is not None
        assert json.loads(whole[-1].data)["error"]["message"] == LATE.message
        for frame in whole[:-1]:
            assert frame.data is None or json.loads(frame.data)


@each
def test_missing_terminator_is_added(dialect: str) -> None:
    stream = FIRST[dialect] + REST[dialect].removesuffix(END[dialect])
    transform = passed(dialect)
    out = run(transform, [stream])
    assert transform.phase == "complete"
    assert out.startswith(stream)
    check(dialect, out, None)
    assert payloads(out[len(stream) :]) == payloads(END[dialect])


@each
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_unterminated_last_event_is_made_whole(dialect: str, end: bytes) -> None:
    stream = (FIRST[dialect] + REST[dialect]).replace(b"\n", end)
    for lost in range(1, 2 * len(end) + 1):
        transform = passed(dialect)
        out = run(transform, pieces(stream[:-lost], 7))
        assert transform.phase == "complete"
        kept = [frame for frame in Reader().feed(out) if frame.data is not None]
        assert kept == [frame for frame in Reader().feed(stream + b"x") if frame.data is not None]


def test_last_event_after_bare_crs_is_not_lost() -> None:
    stream = o_stream(ROLE, STOP, HELLO, done=False).replace(b"\n", b"\r")
    out = run(passed("openai"), pieces(stream, 7))
    assert out == stream + b"data: [DONE]\n\n"


def test_each_choice_has_its_finish() -> None:
    def other(delta: JSON, finish: str | None = None) -> JSON:
        chunk = o_chunk(delta, finish)
        chunk["choices"][0]["index"] = 1
        return chunk

    begun = [o_chunk(ROLE), other(ROLE), STOP]
    one = passed("openai", choices=2)
    out = run(one, [o_stream(*begun, done=False)])
    assert (one.phase, one.error) == ("failed", TRUNCATED)
    assert out.endswith(payload(out[-1000:]))
    both = passed("openai", choices=2)
    stream = o_stream(*begun, other({}, "length"), done=False)
    assert run(both, [stream]) == stream + b"data: [DONE]\n\n"
    assert both.phase == "complete"


def payload(tail: bytes) -> bytes:
    """The last event."""
    return tail[tail.rindex(b'data: {"error"') :]


def test_comments_before_the_first_event_are_kept_for_it() -> None:
    transform = passed("openai")
    assert transform.feed(b": a\n\n") + transform.feed(b": b\n\n") == b""
    assert transform.feed(FIRST["openai"]) == b": a\n\n: b\n\n" + FIRST["openai"]


def test_comments_without_end_are_not_kept_for_ever() -> None:
    comment = b": " + b"x" * 1000 + b"\n\n"
    transform = passed("openai")
    out, count = b"", 0
    while transform.phase == "waiting":
        assert count <= EARLY_BYTES, "more is held than may be"
        out += transform.feed(comment)
        count += len(comment)
    assert out == comment * (count // len(comment))
    assert transform.ping() == b": ping\n\n"
    last = run(transform, [END["openai"]])
    assert (transform.phase, transform.error) == ("failed", NO_ANSWER)
    assert b'"error"' in last


def test_empty_chunk_is_no_answer_yet() -> None:
    transform = passed("openai")
    azure = o_stream({**LAST, "prompt_filter_results": []}, done=False)
    assert transform.feed(azure) == b""
    assert transform.phase == "waiting"
    assert transform.feed(FIRST["openai"]) == azure + FIRST["openai"]


@each
def test_end_without_an_answer_is_an_error(dialect: str) -> None:
    transform = passed(dialect)
    assert run(transform, [END[dialect]]) == b""
    assert (transform.phase, transform.error) == ("failed", NO_ANSWER)


@pytest.mark.parametrize(
    "line",
    [
        'data: {"object":"error","message":"Overloaded","code":503}',
        'event: error\ndata: {"message":"Overloaded","code":503}',
        'data: {"error":{"message":"Overloaded","code":503}}',
    ],
)
def test_error_is_known_in_all_its_forms(line: str) -> None:
    transform = passed("openai")
    stream = FIRST["openai"] + o_stream(line, done=False)
    out = run(transform, [stream + REST["openai"]])
    assert transform.error is not None
    assert transform.error.kind == "overloaded"
    heard = line.startswith('data: {"error"')
    assert out == stream + (b"" if heard else told_error("openai", transform.error))


def test_usage_and_stop_of_a_passed_stream() -> None:
    stream = o_stream(ROLE, HELLO, {**o_chunk(finish="length"), "x_groq": {"usage": o_usage()}})
    transform = passed("openai")
    run(transform, pieces(stream, 7))
    assert (transform.usage, transform.stop) == (Usage(input=9, output=4), "max_tokens")
    transform = passed("anthropic")
    late = a_ending("tool_use", {"output_tokens": 4, "cache_read_input_tokens": 3})
    run(transform, pieces(a_stream(a_start(), late, A_END), 7))
    assert (transform.usage, transform.stop) == (
        Usage(input=9, cache_read=3, output=4),
        "tool_calls",
    )


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_case_42_usage_chunk_that_we_asked_for_is_hidden(size: int) -> None:
    counted = {**LAST, "usage": o_usage()}
    before, after = o_stream(ROLE, HELLO, STOP, done=False), END["openai"]
    stream = before + b": comment\n" + o_stream(counted, done=False) + after
    adapter = ADAPTERS["openai"]
    transform = PassedStream(adapter.tap(), adapter, "req_1", hide_usage=True)
    assert run(transform, pieces(stream, size)) == before + after
    assert transform.usage == Usage(input=9, output=4)


def test_text_about_the_end_is_no_end() -> None:
    text = 'data: [DONE] {"error":{"message":"x"}} "finish_reason":"stop"'
    stream = o_stream(ROLE, {"content": text}, STOP)
    transform = passed("openai")
    assert run(transform, pieces(stream, 7)) == stream
    assert transform.phase == "complete"
    text = '"type":"message_stop" {"type":"error","error":{"message":"x"}}'
    stream = a_stream(a_start(), *a_text(0, text), *A_ENDED)
    transform = passed("anthropic")
    assert run(transform, pieces(stream, 7)) == stream
    assert transform.phase == "complete"


@pytest.mark.parametrize("index", [[1], {"a": 1}, "0", None])
def test_choice_with_an_odd_index_is_passed_on(index: Any) -> None:
    last = o_chunk(finish="stop")
    last["choices"][0]["index"] = index
    stream = o_stream(ROLE, HELLO, last)
    transform = passed("openai")
    assert run(transform, [stream]) == stream
    assert (transform.phase, transform.stop) == ("complete", "end")


@pytest.mark.parametrize("error", [7, "x", True, {"message": "x"}])
def test_error_of_any_kind_ends_a_passed_stream_wherever_it_is_cut(error: Any) -> None:
    odd = f"data: {json.dumps({'error': error})}"
    stream = a_stream(a_start(), odd, *A_HELLO, *A_ENDED)
    for size in (7, 10**9):
        transform = passed("anthropic")
        out = run(transform, pieces(stream, size))
        assert transform.phase == "failed"
        assert transform.error is not None
        assert out == a_stream(a_start(), odd) + told_error("anthropic", transform.error)


@each
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_blank_lines_after_an_event_are_the_same_however_cut(dialect: str, end: bytes) -> None:
    begun, rest = FIRST[dialect].replace(b"\n", end), REST[dialect].replace(b"\n", end)
    for size in (1, 10**9):
        whole = run(passed(dialect), pieces(begun + end + rest + end, size))
        assert whole == begun + end + rest, "nothing follows the end"
        broken = run(passed(dialect), pieces(begun + end, size))
        assert broken.startswith(begun + end) and b"error" in broken[len(begun + end) :][:30]
