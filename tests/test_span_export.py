"""Spans go in batches, and no call waits for whoever takes them."""

import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2
from test_spans import record
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import globalLogPublisher

from lmbroker.call import TraceContext
from lmbroker.observers.span_export import (
    BATCH_BYTES,
    LAST_SECONDS,
    SECONDS,
    WAITING_BYTES,
    NotTaken,
    SpanExport,
)

TEN_MINUTES = 600


class Receiver:
    """Takes batches, refuses them, or keeps their senders waiting."""

    def __init__(self):
        self.taken, self.asked, self.problem, self.answer = [], 0, None, b""
        self.hanging = None

    async def post(self, batch):
        self.asked += 1
        if self.hanging is not None:
            await self.hanging
        if self.problem is not None:
            raise self.problem
        self.taken.append(batch)
        return self.answer

    def spans(self):
        told = [trace_service_pb2.ExportTraceServiceRequest.FromString(each) for each in self.taken]
        return [
            span
            for each in told
            for resource in each.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


class Exporting:
    def __init__(self, chance=0.5):
        self.clock, self.receiver = Clock(), Receiver()
        self.dropped, self.exported = [], []
        self.export = SpanExport(
            "s",
            self.receiver.post,
            self.clock,
            lambda: 1000.0 + self.clock.seconds(),
            lambda: chance,
            self.dropped.append,
            self.exported.append,
        )

    def calls(self, count=1):
        """Each has three spans."""
        self.export.ended((), [record(id=f"r{each}") for each in range(count)])


@pytest.fixture
def exporting():
    return Exporting()


@pytest.fixture
def told():
    """The lines that were logged: their level and text."""
    lines = []

    def observe(event):
        if event.get("log_namespace", "").endswith("SpanExport"):
            lines.append((event["log_level"].name, event["log_format"].format(**event)))

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)


def test_calls_of_some_seconds_are_one_batch(exporting):
    exporting.calls(2)
    exporting.clock.advance(SECONDS / 2)
    exporting.calls()
    assert exporting.receiver.asked == 0
    exporting.clock.advance(SECONDS / 2)
    assert exporting.receiver.asked == 1 and len(exporting.receiver.spans()) == 9
    assert sum(exporting.exported) == 9 and not exporting.dropped
    assert exporting.clock.getDelayedCalls() == []


def test_calls_that_are_not_recorded_have_none(exporting):
    trace = TraceContext("ab" * 16, "01" * 8)
    exporting.export.ended((), [record(trace=trace), record(trace=None)])
    assert exporting.clock.getDelayedCalls() == []


def test_many_spans_do_not_wait_and_a_batch_is_bounded(exporting):
    exporting.calls(2000)
    exporting.clock.pump([0] * 20)
    exporting.clock.advance(SECONDS)
    assert len(exporting.receiver.spans()) == 6000
    assert len(exporting.receiver.taken) > 3
    assert max(map(len, exporting.receiver.taken)) < BATCH_BYTES + 1000


def test_one_batch_is_on_its_way_at_a_time(exporting):
    exporting.receiver.hanging = Deferred()
    exporting.calls(2000)
    exporting.clock.advance(60)
    assert exporting.receiver.asked == 1
    exporting.receiver.hanging.callback(None)
    exporting.receiver.hanging = None
    exporting.clock.pump([0] * 20)
    exporting.clock.advance(SECONDS)
    assert len(exporting.receiver.spans()) == 6000


def test_a_receiver_that_is_away_for_ten_minutes(exporting, told):
    clock, export, receiver = exporting.clock, exporting.export, exporting.receiver
    receiver.problem = NotTaken("collector: unreachable", again=True)
    held = []
    for _ in range(TEN_MINUTES):
        exporting.calls(20)
        held.append(export._bytes)
        clock.advance(1)
    # Nothing waits but one timer, memory is flat, and what has no room is counted.
    assert max(held) <= WAITING_BYTES and held[-1] == held[300]
    assert len(clock.getDelayedCalls()) == 1
    assert receiver.asked < 60
    assert sum(exporting.dropped) > 3 * 20 * TEN_MINUTES / 2
    assert told == [("error", "Spans cannot be exported: collector: unreachable")]
    receiver.problem = None
    for _ in range(60):
        clock.advance(1)
        clock.pump([0] * 5)
    kept = len(receiver.spans())
    assert kept + sum(exporting.dropped) == 3 * 20 * TEN_MINUTES
    assert sum(exporting.exported) == kept and export._bytes == 0
    count = sum(exporting.dropped)
    assert told[1:] == [("info", f"Spans are exported again; {count} were dropped")]
    exporting.calls()
    clock.advance(SECONDS)
    assert len(told) == 2


def test_a_receiver_may_say_when_to_come_again(exporting):
    exporting.receiver.problem = NotTaken("it answers 429", again=True, pause=100.0)
    exporting.calls()
    exporting.clock.advance(SECONDS)
    exporting.receiver.problem = None
    exporting.clock.advance(99)
    assert exporting.receiver.asked == 1
    exporting.clock.advance(1)
    assert len(exporting.receiver.spans()) == 3


def test_what_would_never_be_taken_is_not_sent_again(exporting, told):
    exporting.receiver.problem = NotTaken("it answers 401", again=False)
    for _ in range(3):
        exporting.calls()
        exporting.clock.advance(SECONDS)
    assert exporting.receiver.asked == 3 and sum(exporting.dropped) == 9
    assert told == [("error", "Spans cannot be exported: it answers 401")]
    assert exporting.export._bytes == 0


def test_what_a_receiver_rejects_is_dropped(exporting):
    answer = trace_service_pb2.ExportTraceServiceResponse()
    answer.partial_success.rejected_spans = 2
    exporting.receiver.answer = answer.SerializeToString()
    exporting.calls()
    exporting.clock.advance(SECONDS)
    assert (exporting.exported, exporting.dropped) == ([1], [2])


def test_the_end_sends_what_waits(exporting):
    exporting.calls()
    done = exporting.export.stop()
    assert done.called and len(exporting.receiver.spans()) == 3
    assert exporting.clock.getDelayedCalls() == []
    assert exporting.export.stop().called


@pytest.mark.parametrize("count", [1, 2000])
def test_the_end_waits_for_a_bounded_time(exporting, count):
    exporting.receiver.hanging = Deferred()
    exporting.calls(count)
    done = exporting.export.stop()
    assert not done.called
    exporting.clock.advance(LAST_SECONDS)
    assert done.called and sum(exporting.dropped) == 3 * count
    assert exporting.clock.getDelayedCalls() == [] and exporting.export._bytes == 0


def test_the_end_does_not_wait_for_who_is_away(exporting):
    exporting.receiver.problem = NotTaken("away", again=True)
    exporting.calls()
    exporting.clock.advance(SECONDS)
    exporting.calls()
    assert exporting.export.stop().called
    assert sum(exporting.dropped) == 6 and exporting.clock.getDelayedCalls() == []
