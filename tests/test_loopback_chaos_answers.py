"""The fault matrix, second half: an answer that began well, or did not.

``test_loopback_chaos.py`` has the table of what is proven where.
"""

import gzip
import json

import pytest
import pytest_twisted
from broken_backends import (
    HEAD,
    again_and_again,
    both,
    chunked,
    endless,
    fin,
    length,
    page,
    refusal,
    rst,
    write,
)
from chaos import (
    CHAOS,
    ENDS,
    NATIVE,
    PAIRS,
    WHOLE,
    answered,
    cut,
    error_type,
    patience,
    the_call_is_over,
    the_next_call_is_served,
    told,
    told_in_band,
)
from rig import A_EVENT, EVENTS, O_EVENT, PATHS, ask, chunk, sse_head, unary
from stopwatch import Stopwatch
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.broker import relay
from lmbroker.call import Timeouts

BOTH_ENDS = pytest.mark.parametrize(("dialect", "alias"), ENDS)
STREAM = pytest.mark.parametrize("stream", [False, True], ids=["unary", "stream"])
MIB = 1024 * 1024

RIG = CHAOS

pytestmark = pytest.mark.usefixtures("engine")


# A whole answer that cannot be used.

JUNK = b"\xff\xfe not text"


UNARY = {
    "cut, fin": (both(length(b'{"id":', 9), fin), 502, "truncated"),
    "cut, rst": (both(length(b'{"id":', 9), rst), 502, "truncated"),
    "a chunk is cut": (chunked(b'{"id":', end=b"9\r\n{", then=fin), 502, "truncated"),
    "the last chunk is missing": (chunked(b"{}", end=b"", then=fin), 502, "truncated"),
    "the last line is missing": (chunked(b"{}", end=b"0\r\n", then=fin), 502, "truncated"),
    "a chunk's size is none": (chunked(b"{}", end=b"zz\r\n"), 502, "truncated"),
    "half of the JSON": (length(b'{"id":'), 502, "invalid_json_from_backend"),
    "no UTF-8": (length(b'{"id":"%s"}' % JUNK), 502, "invalid_json_from_backend"),
    "a list": (length(b"[]"), 502, "invalid_json_from_backend"),
    "nothing": (length(b""), 502, "invalid_json_from_backend"),
    "too deep": (length(b'{"a":' + b"[" * 100_000), 502, "invalid_json_from_backend"),
    "close-delimited, cut": (
        write(HEAD, b'\r\n{"id":', then=fin),
        502,
        "invalid_json_from_backend",
    ),
    "silence": (length(b'{"id":', 9), 504, "timeout_idle"),
    "drip": (
        both(write(HEAD, b"content-length: 999\r\n\r\n"), again_and_again(b" ")),
        504,
        "timeout_total",
    ),
    "204": (write(b"HTTP/1.1 204 No Content\r\n\r\n"), 502, "invalid_json_from_backend"),
    "HTML": (write(page(b"200 OK")), 502, "wrong_content_type"),
    "an image": (
        write(b"HTTP/1.1 200 OK\r\ncontent-type: image/png\r\ncontent-length: 3\r\n\r\nPNG"),
        502,
        "wrong_content_type",
    ),
}


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("fault", UNARY)
async def test_an_answer_that_cannot_be_used(open_rig, dialect, alias, fault):
    script, status, code = UNARY[fault]
    rig = await open_rig(timeouts=patience(code))
    # What is JSON is taken as the answer to a streamed call, too.
    stream = alias == "o"
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    script(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    await the_call_is_over(rig, outcome="backend_error", code=code)
    whole = code == "invalid_json_from_backend" and "close" not in fault
    if not whole:
        await cut(backend)
    await the_next_call_is_served(rig, dialect, alias, on=backend if whole else None)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
async def test_an_error_with_the_status_of_success(rig, dialect, alias, stream):
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    error = {"type": "overloaded_error", "message": "too many at backend-key"}
    value = {"type": "error", "error": error} if alias == "a" else {"error": error}
    backend.transport.write(unary(json.dumps(value).encode()))
    await answered(client)
    status, kind, _ = told(client, dialect)
    if dialect == "anthropic":
        assert (status, kind) == (529, "overloaded_error")
    else:
        assert (status, kind) == (503, "service_unavailable_error")
    assert b"too many at ***" in client.body
    await the_call_is_over(rig, outcome="backend_error", code="overloaded")
    await the_next_call_is_served(rig, dialect, alias, on=backend)


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(("dialect", "alias"), ENDS[:2])
async def test_an_answer_that_is_too_large(open_rig, dialect, alias):
    rig = await open_rig(timeouts=Timeouts())
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    backend.transport.write(HEAD + b"content-length: 1000000000\r\n\r\n")
    endless(b" " * MIB)(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (502, "server_error")
    await the_call_is_over(rig, outcome="backend_error", code="oversized")
    await cut(backend)
    await the_next_call_is_served(rig, dialect, alias)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_an_answer_that_ends_with_its_connection(rig, dialect, alias, stream, version):
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    kind, body = b"application/json", WHOLE[alias]
    if stream:
        kind, body = b"text/event-stream", b"".join(EVENTS[alias])
    backend.transport.write(b"HTTP/%s 200 OK\r\ncontent-type: %s\r\n\r\n%s" % (version, kind, body))
    fin(backend)
    await answered(client)
    assert "hé" in client.body.decode()
    await the_call_is_over(rig, outcome="complete")
    await the_next_call_is_served(rig, dialect, alias)


ZIPPED = {
    "whole": (gzip.compress, True),
    "cut": (lambda body: gzip.compress(body)[:-20], False),
    "not zipped": (lambda body: b"\x1f\x8b" + body, False),
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@STREAM
@pytest.mark.parametrize("fault", ZIPPED)
async def test_a_compressed_answer_that_nobody_asked_for(rig, dialect, alias, stream, fault):
    zipped, readable = ZIPPED[fault]
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    backend = await rig.backend()
    assert "accept-encoding: identity" in backend.head
    kind, plain = b"application/json", WHOLE[alias]
    if stream:
        kind, plain = b"text/event-stream", EVENTS[alias][0] * 3
    body = zipped(plain if not readable or not stream else b"".join(EVENTS[alias]))
    backend.transport.write(
        b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-encoding: gzip\r\n"
        b"content-length: %d\r\n\r\n%s" % (kind, len(body), body)
    )
    await answered(client)
    assert "content-encoding" not in client.head
    [record] = await rig.ended()
    if readable:
        assert "hé" in client.body.decode()
        assert record.end.outcome == "complete"
    elif client.head.startswith("http/1.1 200"):
        told_in_band(client, dialect)
        assert record.end.outcome == "stream_error"
    else:
        assert told(client, dialect)[0] == 502
        assert record.end.outcome == "backend_error"
    await the_next_call_is_served(rig, dialect, alias, on=...)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
async def test_a_compressed_error(rig, dialect, alias):
    client = await rig.post(PATHS[dialect], ask(alias))
    backend = await rig.backend()
    body = gzip.compress(refusal(alias, "slow down"))
    backend.transport.write(unary(body, b"429 Too Many", b"content-encoding: gzip\r\n"))
    await answered(client)
    assert told(client, dialect)[0] == 429
    assert b"slow down" in client.body
    await the_next_call_is_served(rig, dialect, alias, on=backend)


# A stream without its first event.

NO_EVENT = {
    "fin": (write(sse_head(), then=fin), 502, "upstream_stream_truncated"),
    "rst": (write(sse_head(), then=rst), 502, "upstream_stream_truncated"),
    "empty": (write(sse_head(), b"0\r\n\r\n"), 502, "upstream_stream_truncated"),
    "comments": (
        write(sse_head(), chunk(b": hi\n\n"), b"0\r\n\r\n"),
        502,
        "upstream_stream_truncated",
    ),
    "silence": (write(sse_head()), 504, "timeout_idle"),
    "comments for ever": (
        both(write(sse_head()), again_and_again(chunk(b": hi\n\n"))),
        504,
        "timeout_first_event",
    ),
    "9 MB without an end": (
        both(write(sse_head(), chunk(b"data: ")), endless(chunk(b"y" * 60_000))),
        502,
        "bad_upstream_response",
    ),
}


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("fault", NO_EVENT)
async def test_a_stream_without_an_event(open_rig, dialect, alias, fault):
    script, status, code = NO_EVENT[fault]
    rig = await open_rig(timeouts=patience(code))
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    script(backend)
    await answered(client)
    assert told(client, dialect)[:2] == (status, error_type(dialect, status))
    await the_call_is_over(rig, outcome="backend_error", code=code)
    clean = fault in ("empty", "comments")
    if not clean:
        await cut(backend)
    await the_next_call_is_served(rig, dialect, alias, on=backend if clean else None)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("garbage", [b'{"a', b'{"a": "\xff\xfe"}', b"[1]", b"null"])
async def test_garbage_as_the_first_event(rig, dialect, alias, garbage):
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write(sse_head() + chunk(b"data: %s\n\n" % garbage) + b"0\r\n\r\n")
    await answered(client)
    assert told(client, dialect)[0] == 502
    [record] = await rig.ended()
    assert record.end.outcome == "backend_error"
    await the_next_call_is_served(rig, dialect, alias, on=...)


@pytest_twisted.ensureDeferred
@PAIRS
async def test_a_flood_before_the_first_event_is_bounded(open_rig, dialect, alias):
    """The client gets its answer begun rather than that we keep it all."""
    rig = await open_rig(timeouts=Timeouts(first_event=30, idle=30, total=0.8, commit=20))
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    client.transport.pauseProducing()
    backend = await rig.backend()
    sent = [0]
    flood = chunk(b": " + b"x" * 60_000 + b"\n\n")

    class Pull:
        def resumeProducing(self):
            sent[0] += len(flood)
            backend.transport.write(flood)

        def stopProducing(self): ...

    backend.transport.write(sse_head())
    backend.transport.registerProducer(Pull(), False)
    await deferLater(reactor, 0.5)
    if (dialect, alias) in NATIVE:
        assert sent[0] < 40 * MIB, "the backend must be paused"
    client.transport.resumeProducing()
    await answered(client)
    [record] = await rig.ended()
    assert record.end.code == "timeout_total"
    await cut(backend)


# After the first event.

MIDSTREAM = {
    "fin": (fin, "upstream_stream_truncated"),
    "rst": (rst, "upstream_stream_truncated"),
    "clean end": (write(b"0\r\n\r\n"), "upstream_stream_truncated"),
    "half an event, fin": (write(chunk(b'data: {"cho'), then=fin), "upstream_stream_truncated"),
    "half an event, clean end": (
        write(chunk(b'event: x\ndata: {"cho'), b"0\r\n\r\n"),
        "upstream_stream_truncated",
    ),
    "half a chunk, rst": (write(b'999\r\ndata: {"cho', then=rst), "upstream_stream_truncated"),
    "a chunk's size is none": (write(b"zz\r\n"), "upstream_stream_truncated"),
    "silence": (write(), "timeout_idle"),
    "half an event, silence": (write(chunk(b'data: {"cho')), "timeout_idle"),
    "drip": (again_and_again(chunk(b": hi\n\n")), "timeout_total"),
    "drip within an event": (again_and_again(chunk(b"data")), "timeout_total"),
    "9 MB without an end": (
        both(write(chunk(b"data: ")), endless(chunk(b"y" * 60_000))),
        "bad_upstream_response",
    ),
}


async def first_event(rig, dialect, alias, head=None):
    """A client that has the first event of a stream, and the backend that it came from."""
    client = await rig.post(PATHS[dialect], ask(alias, stream=True))
    backend = await rig.backend()
    backend.transport.write((head or sse_head()) + chunk(EVENTS[alias][0]))
    await client.has("hé".encode())
    return client, backend


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("fault", MIDSTREAM)
async def test_a_stream_that_breaks(open_rig, dialect, alias, fault):
    script, code = MIDSTREAM[fault]
    rig = await open_rig(timeouts=patience(code))
    client, backend = await first_event(rig, dialect, alias)
    script(backend)
    await answered(client)
    kind, in_band, before = told_in_band(client, dialect)
    assert kind == (
        "timeout_error" if dialect == "anthropic" and "time" in code else error_type(dialect, 502)
    )
    if dialect == "openai":
        assert in_band == code
    assert "hé" in before and '"cho' not in before.replace('"choices"', "")
    await the_call_is_over(rig, outcome="stream_error", code=code)
    clean = "clean" in fault
    if not clean:
        await cut(backend)
    await the_next_call_is_served(rig, dialect, alias, on=backend if clean else None)


@pytest_twisted.ensureDeferred
@PAIRS
async def test_a_stream_without_end(rig, dialect, alias):
    client, backend = await first_event(rig, dialect, alias)
    event = O_EVENT if alias == "o" else A_EVENT.partition(b"event: content_block_delta")[2]
    endless(chunk((b"" if alias == "o" else b"event: content_block_delta") + event))(backend)
    await answered(client)
    told_in_band(client, dialect)
    await the_call_is_over(rig, outcome="stream_error", code="timeout_total")
    await cut(backend)


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("garbage", [b'{"a', b'{"a": "\xff\xfe"}'])
async def test_garbage_in_a_stream(rig, dialect, alias, garbage):
    """Translated, it is an error. Passed through, it is the backend's word for the client to
    judge: nothing is changed, nor looked at for longer than to find the end."""
    client, backend = await first_event(rig, dialect, alias)
    backend.transport.write(chunk(b"data: %s\n\n" % garbage) + chunk(EVENTS[alias][1]))
    backend.transport.write(b"0\r\n\r\n")
    await answered(client)
    if (dialect, alias) in NATIVE:
        whole = EVENTS[alias][0] + b"data: %s\n\n" % garbage + EVENTS[alias][1]
        assert client.body == whole
        await the_call_is_over(rig, outcome="complete")
    else:
        told_in_band(client, dialect)
        await the_call_is_over(rig, outcome="stream_error", code="bad_upstream_response")
        await cut(backend)


ERRORS = {
    "o": b'data: {"error":{"message":"out of %s","type":"server_error","code":"x"}}\n\n',
    "a": b'event: error\ndata: {"type":"error","error":{"type":"api_error",'
    b'"message":"out of %s"}}\n\n',
    "r": b'event: error\ndata: {"type":"error","code":"x","message":"out of %s","param":null}\n\n',
}


@pytest_twisted.ensureDeferred
@BOTH_ENDS
@pytest.mark.parametrize("hangs", [False, True])
async def test_an_error_that_the_backend_tells(rig, dialect, alias, hangs):
    client, backend = await first_event(rig, dialect, alias)
    backend.transport.write(chunk(ERRORS[alias] % b"backend-key"))
    if not hangs:
        backend.transport.write(b"0\r\n\r\n")
    await answered(client)
    told_in_band(client, dialect)
    assert b"out of ***" in client.body
    [record] = await rig.ended()
    assert record.end.outcome == "stream_error"
    assert rig.gauge() == 0
    await the_next_call_is_served(rig, dialect, alias, on=...)


# The end.


def without_terminator(alias):
    """The end of a stream up to where the dialect's own end would stand."""
    return EVENTS[alias][1].rpartition(b"data: [DONE]" if alias == "o" else b"event: message_stop")[
        0
    ]


TERMINATORS = {
    "openai": b"data: [DONE]\n\n",
    "anthropic": b"event: message_stop",
    "responses": b"event: response.completed",
}


@pytest_twisted.ensureDeferred
@pytest.mark.parametrize(
    ("dialect", "alias", "terminated"),
    # The event of Responses that says why an answer stopped is its last.
    [(*each, True) for each in ENDS] + [(*each, False) for each in ENDS if each[1] != "r"],
)
@pytest.mark.parametrize("end", ["clean", "fin", "rst"])
async def test_an_answer_is_whole_once_it_has_its_reason_to_stop(
    rig, dialect, alias, terminated, end
):
    client, backend = await first_event(rig, dialect, alias)
    script = {"clean": write(b"0\r\n\r\n"), "fin": fin, "rst": rst}[end]
    backend.transport.write(chunk(EVENTS[alias][1] if terminated else without_terminator(alias)))
    script(backend)
    await answered(client)
    assert client.body.count(TERMINATORS[dialect]) == 1
    assert b'"error":{' not in client.body
    await the_call_is_over(rig, outcome="complete")
    await the_next_call_is_served(rig, dialect, alias, on=backend if end == "clean" else None)


@pytest_twisted.ensureDeferred
@PAIRS
@pytest.mark.parametrize("more", [b"", b": and more\n\n"])
async def test_a_backend_that_does_not_end_after_its_end(rig, monkeypatch, dialect, alias, more):
    monkeypatch.setattr(relay, "LINGER_SECONDS", 0.4)
    client, backend = await first_event(rig, dialect, alias)
    began, ending = reactor.seconds(), Stopwatch()
    backend.transport.write(chunk(EVENTS[alias][1]))
    if more:
        again_and_again(chunk(more))(backend)
    await answered(client)
    assert ending.stop() < 0.3, "the client does not wait for it"
    await the_call_is_over(rig, outcome="complete")
    assert b"and more" not in client.body
    await cut(backend)
    assert reactor.seconds() - began > 0.35, "it was given some time"
    await the_next_call_is_served(rig, dialect, alias)
