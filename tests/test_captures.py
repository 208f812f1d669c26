"""Captured calls: what is kept of each kind of end, within which bounds, without which words."""

import json

import msgspec
import pytest
from canary import REQUESTS
from capturing import EVERYTHING, Bench, Client, Response, cut
from rig import A_END, A_EVENT, O_END, O_EVENT, ask
from twisted.internet.defer import Deferred

from lmbroker.capture.replaying import replay
from lmbroker.capture.wanted import Wanted
from lmbroker.daemon.captures import TooMany
from lmbroker.errors import ErrorInfo, Unreachable

CONFIG = """
[retries]
first_pause = 0.01
[[backends]]
name = "one"
type = "openai"
url = "http://127.0.0.1:1/v1"
api_key = "env:KEY"
headers = { x-team = "env:TEAM" }
[[backends]]
name = "two"
type = "anthropic"
url = "http://127.0.0.1:2"
api_key = "env:KEY"
[[models]]
alias = "m"
targets = [{ backend = "one", model = "real-1" }, { backend = "two", model = "real-2" }]
[[models]]
alias = "other"
targets = [{ backend = "one", model = "real-1" }]
"""
ENVIRON = {"KEY": "kE7-backend-Secret-41", "TEAM": "kT8-team-Secret-42"}
SSE = {"content-type": "text/event-stream"}
JSON = {"content-type": "application/json"}
ANSWER = json.dumps(
    {
        "id": "c1",
        "object": "chat.completion",
        "created": 1,
        "model": "real-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hé"},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }
).encode()


def unary(status=200, body=ANSWER, **more):
    return Response(status, [body], JSON, **more)


def stream(*data, **more):
    return Response(200, [piece for each in data for piece in each], SSE, **more)


def openai(**more):
    return Client("/v1/chat/completions", ask("m", **more), {"authorization": "Bearer cl-key-77"})


def anthropic(**more):
    return Client("/v1/messages", ask("m", **more), {"x-api-key": "cl-key-77"}, b"beta=true")


def bench(*answers, wanted=EVERYTHING):
    return Bench(CONFIG, answers, wanted, environ=ENVIRON)


def refused(message, status=400):
    kind = "server_error" if status == 503 else "invalid_request_error"
    error = {"message": message, "type": kind, "param": None, "code": None}
    return unary(status, json.dumps({"error": error}).encode())


NOBODY = Unreachable(ErrorInfo(kind="server", message="nobody is there", code="connect_refused"))
ENDS = {
    "whole": ([unary()], False, "complete", 1),
    "at once": ([unary(at_once=True)], False, "complete", 1),
    "stream": ([stream(cut(O_EVENT + O_END))], True, "complete", 1),
    "stream for a whole answer": ([stream([O_EVENT, O_END])], False, "complete", 1),
    "a whole answer for a stream": ([unary()], True, "complete", 1),
    "failover": ([refused("down", 503), stream([A_EVENT, A_END])], True, "complete", 2),
    "unreachable": ([NOBODY, stream(cut(A_EVENT + A_END))], True, "complete", 2),
    "both fail": ([refused("down", 503), refused("Slow down", 429)] * 9, False, "backend_error", 0),
    "repair": (
        [
            refused("Unsupported parameter: 'temperature' is not supported with this model."),
            unary(),
        ],
        False,
        None,
        0,
    ),
    "a request of no use": ([refused("messages: too few")] * 9, False, "backend_error", 0),
    "cut stream": ([stream([O_EVENT], whole=False)], True, "stream_error", 1),
    "cut answer": ([unary(whole=False)] * 9, False, "backend_error", 0),
    "no JSON": ([unary(body=b"{")] * 9, False, "backend_error", 0),
    "neither": ([Response(200, [b"<p>"], {"content-type": "text/html"})] * 9, False, None, 0),
    "an error with 200": ([unary(body=b'{"error": {"message": "no"}}')] * 9, False, None, 0),
    "an error first": ([stream([b'data: {"error": {"message": "no"}}\n\n'])] * 9, True, None, 0),
    "an error later": (
        [stream([O_EVENT, b'data: {"error": {"message": "no"}}\n\n'])],
        True,
        "stream_error",
        1,
    ),
    "silence": ([stream([O_EVENT], whole=None)], True, None, 1),
    "no end": ([stream([O_EVENT, O_END.partition(b"data: [DONE]")[0]], whole=None)], True, None, 1),
}


@pytest.mark.parametrize("client", [openai, anthropic])
@pytest.mark.parametrize("end", ENDS)
def test_each_kind_of_end_is_kept_and_replays(end, client):
    answers, streamed, outcome, attempts = ENDS[end]
    here = bench(*answers)
    asked = client(stream=streamed, temperature=0.5)
    dialect = "openai" if client is openai else "anthropic"
    done, _ = here.begin(asked, dialect)
    here.clock.pump([0.05] * 20)
    for _ in range(1000):
        here.clock.advance(0 if done.called else 5)
    assert done.called
    (call,) = here.calls
    assert call.began.data == ask("m", stream=streamed, temperature=0.5)
    assert b"".join(asked.wrote) == call.early + call.out
    assert (call.head.status, call.head.headers) == asked.head
    assert outcome in (None, call.ended.outcome)
    assert attempts in (0, len(call.attempts))
    for attempt, (_, outbound) in zip(call.attempts, here.backends.sent, strict=True):
        assert attempt.sent.data == outbound.body
    assert replay(call) == []


def test_pings_and_a_late_error_replay():
    waits = Deferred()
    here = bench(lambda: waits, refused("no", 400), refused("no", 400))
    asked = openai(stream=True)
    done, _ = here.begin(asked)
    here.clock.pump([5] * 6)
    waits.callback(refused("no", 400))
    here.clock.pump([1] * 20)
    assert done.called and b"no" in b"".join(asked.wrote)
    (call,) = here.calls
    assert call.early.startswith(b":") and b'"message":"no"' in call.out
    assert replay(call) == []


def test_pings_before_an_answer_are_told_apart_from_it():
    waits = Deferred()
    here = bench(lambda: waits)
    asked = openai(stream=True)
    done, _ = here.begin(asked)
    here.clock.pump([5] * 6)
    waits.callback(stream(cut(O_EVENT + O_END)))
    here.clock.advance(1)
    assert done.called
    (call,) = here.calls
    assert call.early.count(b":") > 2 and call.out == O_EVENT + O_END
    assert replay(call) == []


def test_a_client_who_leaves():
    here = bench(stream([O_EVENT], whole=None))
    asked = anthropic(stream=True)
    done, _ = here.begin(asked, "anthropic")
    asked.left()
    here.clock.advance(1)
    (call,) = here.calls
    assert done.called and call.ended.outcome == "client_left"
    assert replay(call) == []


def test_counted_tokens_and_times():
    here = bench(stream([O_EVENT, lambda: here.clock.advance(2.5), O_END]))
    here.call(openai(stream=True))
    (lines,) = here.files
    events = [json.loads(line) for line in lines]
    chunks = [event for event in events if event["event"] == "chunk"]
    assert [each["at"] for each in chunks] == [0.0, 2.5]
    assert chunks[0]["text"].encode() == O_EVENT
    assert [event["event"] for event in events[:4]] == ["call", "attempt", "sent", "answer"]
    outs = [event for event in events if event["event"] == "out"]
    assert "".join(each["text"] for each in outs).encode() == O_EVENT + O_END
    assert events[-1]["event"] == "end" and events[-1]["outcome"] == "complete"


def test_what_differs_is_found():
    here = bench(unary())
    here.call(anthropic(temperature=0.5), "anthropic")
    (call,) = here.calls
    sent, out = call.attempts[0].sent, call.out
    call.attempts[0].sent = msgspec.structs.replace(sent, data=sent.data.replace(b"0.5", b"0.6"))
    call.out = out.replace(b"h\xc3\xa9", b"ho")
    call.ended = msgspec.structs.replace(call.ended, stop="length", dropped=("x",))
    places = [each.place for each in replay(call)]
    assert places == [
        "attempt 1 at one: the request",
        "the answer",
        "the answer: the stop reason",
    ]


# Which calls.


def test_calls_that_nobody_wants_are_not_kept():
    wanted = Wanted(alias="m", caller="ann")
    here = bench(unary(), wanted=wanted)
    here.call(openai())
    assert here.files == [] and here.broker.captures is not None
    here = bench(unary(), wanted=Wanted(alias="other"))
    here.call(openai())
    assert here.files == []


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [("any", 3), ("failed", 1), ("complete", 2), ("retried", 1), ("backend_error", 1)],
)
def test_the_end_decides_where_an_end_is_asked_for(outcome, kept):
    bad = refused("messages: too few")
    here = bench(
        unary(), bad, NOBODY, stream([A_EVENT, A_END]), wanted=Wanted(alias="m", outcome=outcome)
    )
    for each in (openai(), openai(), openai(stream=True)):
        here.call(each)
    assert [record.end.outcome for record in here.records] == [
        "complete",
        "backend_error",
        "complete",
    ]
    assert len(here.files) == kept


# The bounds.


def test_a_capture_ends_with_its_last_call():
    here = bench(*[unary() for _ in range(5)], wanted=Wanted(alias="m", calls=2))
    for _ in range(4):
        here.call(openai())
    assert len(here.files) == 2
    assert here.over == [("as many calls are kept as were asked for", 0)]
    assert here.broker.captures is None, "nothing is left that costs a call"


def test_calls_at_once_are_no_more_than_were_asked_for():
    waits = [Deferred(), Deferred(), Deferred()]
    here = bench(*[lambda each=each: each for each in waits], wanted=Wanted(alias="m", calls=2))
    for _ in waits:
        here.begin(openai())
    for each in waits:
        each.callback(unary())
    assert len(here.files) == 2


def test_a_capture_ends_with_its_time_and_keeps_what_is_under_way():
    here = bench(stream([O_EVENT], whole=None), wanted=Wanted(alias="m", seconds=5))
    here.begin(openai(stream=True))
    here.clock.advance(5)
    assert here.over == [("its time is over", 0)]
    (call,) = here.calls
    assert call.ended is None and call.out == O_EVENT
    assert replay(call) == []
    here.clock.pump([50] * 100)
    assert len(here.files) == 1


def test_a_call_of_an_end_is_not_kept_before_it_has_ended():
    wanted = Wanted(alias="m", seconds=5, outcome="failed")
    here = bench(stream([O_EVENT], whole=None), wanted=wanted)
    here.begin(openai(stream=True))
    here.clock.advance(5)
    assert here.over == [("its time is over", 0)] and here.files == []
    here.clock.pump([50] * 100)


def test_a_capture_keeps_no_more_bytes_than_it_may():
    answers = [stream([O_EVENT] * 2000 + [O_END]), unary(), unary()]
    here = bench(*answers, wanted=Wanted(alias="m", bytes=20_000))
    for streamed in (True, False, False):
        asked = here.call(openai(stream=streamed))
        assert asked.head[0] == 200 and asked.wrote
    assert sum(map(len, (line for lines in here.files for line in lines))) < 20_000
    here.end("enough")
    assert len(here.files) == 2 and here.over == [("enough", 1)]


def test_several_captures_at_once_have_bounds():
    here = bench(unary(), wanted=None)
    for _ in range(4):
        here.capture(Wanted(alias="m"))
    with pytest.raises(TooMany):
        here.capture(Wanted(alias="m"))
    here.captures.end("the broker stops")
    assert [why for why, _ in here.over] == ["the broker stops"] * 4
    assert here.broker.captures is None


# What is not kept.

SECRETS = (*ENVIRON.values(), "cl-key-77", "s3ss10n-Secret", "kQ5-query-Secret")


def test_no_credential_is_kept():
    key, team = ENVIRON.values()
    told = f"Incorrect key {key}, Bearer {key}; {key.replace('-', chr(92) + 'u002d')} of {team}"
    head = {
        **JSON,
        "set-cookie": "a=s3ss10n-Secret",
        "location": "http://x/?sig=kQ5-query-Secret",
        "x-echo": f"{key} cl-key-77",
        "www-authenticate": f'Bearer realm="{team}"',
    }
    body = json.dumps({"error": {"message": told, "code": key}}).replace("\\\\u", "\\u").encode()
    event = b'data: {"error": {"message": "%s", "type": "%s"}}\n\n' % (key.encode(), team.encode())
    here = bench(
        Response(401, cut(body, (5,)), head),
        Response(200, cut(A_EVENT + event, (3,)), SSE),
        wanted=EVERYTHING,
    )
    request = REQUESTS["openai"]("m", stream=True, metadata={"a": "cl-key-77"})
    asked = Client(
        "/v1/chat/completions",
        json.dumps(request).encode(),
        {
            "authorization": "Bearer cl-key-77",
            "cookie": "s3ss10n-Secret",
            "x-session-key": "s3ss10n-Secret",
            "x-amz-security-token": "s3ss10n-Secret",
            "user-agent": "quokka/1",
        },
        b"beta=true&api_key=kQ5-query-Secret&api%5Fkey=kQ5-query-Secret",
    )
    here.call(asked)
    (lines,) = here.files
    text = b"\n".join(lines).decode()
    assert [each for each in SECRETS if each in text] == []
    # In one piece as well: a credential may be cut in two.
    (call,) = here.calls
    for attempt in call.attempts:
        assert attempt.body and [each for each in SECRETS if each.encode() in attempt.body] == []
    assert "quokka/1" in text and "quokka prompt" in text and "beta=true" in text
    assert call.attempts[0].sent.headers["authorization"] == "Bearer ***"
    assert call.attempts[0].sent.headers["x-team"] == "***"


# What it costs.


def test_a_capture_that_is_over_leaves_nothing_behind():
    here = bench(unary(), unary())
    here.end("enough")
    assert here.broker.captures is None
    here.call(openai())
    assert here.files == [] and here.records[0].end.outcome == "complete"
