"""What becomes of a batch of spans at its receiver."""

import pytest
from twisted.internet.defer import Deferred

from lmbroker.backends.span_receiver import SpanReceiver
from lmbroker.call import Backend
from lmbroker.errors import Broken, ErrorInfo, TimedOut, Unreachable
from lmbroker.observers.span_export import NotTaken

BACKEND = Backend(name="tracing", url="http://c:4318", dialect="openai", exact_root=True)


class Answer:
    def __init__(self, status, headers=None, body=b"told"):
        self.status, self.headers, self._body = status, headers or {}, body

    async def body(self, limit):
        if isinstance(self._body, Exception):
            raise self._body
        return self._body


class Sender:
    def __init__(self, answer):
        self.answer, self.sent = answer, []

    async def get(self, backend, outbound, timeouts):
        self.sent.append((backend, outbound))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def post(answer):
    """What the receiver answered, or why it has not taken the batch; and what was sent."""
    sender, found = Sender(answer), []
    done = Deferred.fromCoroutine(SpanReceiver(sender, BACKEND).post(b"batch"))
    done.addCallbacks(found.append, lambda failure: found.append(failure.value))
    return found[0], sender.sent


def test_a_batch_is_protobuf_over_http():
    answer, [(backend, outbound)] = post(Answer(200))
    assert answer == b"told" and backend is BACKEND
    assert (outbound.method, outbound.path, outbound.body) == ("POST", "/v1/traces", b"batch")
    assert ("content-type", "application/x-protobuf") in outbound.headers
    assert not outbound.is_call


@pytest.mark.parametrize(
    ("status", "again"), [(400, False), (401, False), (404, False), (413, False), (301, False)]
    + [(each, True) for each in (408, 429, 502, 503, 504)],
)  # fmt: skip
def test_whether_the_same_batch_may_come_again(status, again):
    problem, _ = post(Answer(status))
    assert isinstance(problem, NotTaken)
    assert (problem.again, problem.pause) == (again, None)
    assert problem.reason == f"c answers {status}"


@pytest.mark.parametrize(
    ("written", "pause"), [("7", 7.0), ("99999999999", 300.0), ("soon", None), ("", None)]
)
def test_when_it_may_come_again(written, pause):
    problem, _ = post(Answer(503, {"retry-after": written}))
    assert problem.pause == pause


INFO = ErrorInfo(kind="unreachable", message="sk-of-somebody", code="unreachable")


@pytest.mark.parametrize(
    "failure",
    [Unreachable(INFO, phase="connect"), TimedOut(INFO), Answer(200, body=Broken(INFO))],
)
def test_a_receiver_that_is_not_there_is_told_without_its_words(failure):
    problem, _ = post(failure)
    assert problem.again and problem.reason == "c: unreachable"
