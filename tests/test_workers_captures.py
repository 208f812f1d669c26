"""Captures in all workers, as their parent sees them: who is asked, and when it is over."""

import os

import msgspec
import pytest
from twisted.internet.task import Clock

from lmbroker.capture.wanted import Wanted
from lmbroker.daemon.captures import TooMany
from lmbroker.daemon.workers.beginning import read, write
from lmbroker.daemon.workers.captures import (
    LATE_SECONDS,
    Asked,
    Captured,
    IsOver,
    WorkerCaptures,
)
from lmbroker.offload.channel import Message


class Worker:
    """A worker, as the parent's handle shows it; ``asked`` is what it was sent."""

    def __init__(self, pid):
        self.pid, self.asked = pid, []

    def send(self, kind, file=None):
        self.asked.append((kind, read(os.dup(file), Asked)))

    @property
    def kinds(self):
        return [kind for kind, _ in self.asked]


class Parent:
    def __init__(self, *pids):
        self.workers = [Worker(pid) for pid in pids]
        self.clock = Clock()
        self.captures = WorkerCaptures(lambda: self.workers, self.clock)
        self.kept, self.over = [], []

    def begin(self, **wanted):
        return self.captures.begin(
            Wanted(alias="m", **wanted), self.kept.append, lambda *how: self.over.append(how)
        )

    def receives(self, worker, message):
        kind = "captured" if isinstance(message, Captured) else "uncaptured"
        self.captures.received(worker, Message(kind), write(message))

    def keeps(self, worker, text="{}"):
        self.receives(worker, Captured(number=1, lines=(msgspec.Raw(text.encode()),)))

    def is_over(self, worker, lost=0):
        self.receives(worker, IsOver(number=1, why="its time is over", lost=lost))


def test_all_workers_are_asked_and_end_it_together():
    parent = Parent(11, 12)
    first, second = parent.workers
    parent.begin(calls=2)
    assert first.kinds == second.kinds == ["capture"]
    parent.keeps(first)
    parent.keeps(second)
    assert first.kinds == second.kinds == ["capture", "uncapture"]
    # What both had at the same time is one too many.
    parent.keeps(first)
    assert len(parent.kept) == 2 and parent.over == []
    parent.is_over(first, lost=1)
    parent.is_over(second, lost=2)
    assert parent.over == [("as many calls are kept as were asked for", 3)]
    parent.is_over(second)
    assert len(parent.over) == 1


def test_a_worker_that_dies_does_not_hold_it_up_and_its_successor_is_asked():
    parent = Parent(11, 12)
    first, second = parent.workers
    parent.begin(seconds=60)
    parent.captures.gone(first)
    assert parent.over == []
    parent.clock.advance(20)
    first.pid = 13
    parent.captures.began()
    assert first.kinds == ["capture", "capture"] and second.kinds == ["capture"]
    assert first.asked[-1][1].wanted.seconds == 40
    parent.is_over(first)
    parent.captures.gone(second)
    assert parent.over == [("its workers have ended", 0)]


def test_a_worker_that_does_not_answer_is_not_waited_for():
    parent = Parent(11)
    parent.begin(seconds=5)
    parent.clock.advance(5 + LATE_SECONDS)
    assert parent.over == [("a worker did not answer", 0)]


def test_the_bytes_of_all_are_bounded():
    parent = Parent(11, 12)
    parent.begin(bytes=1000)
    for worker in parent.workers * 2:
        parent.keeps(worker, '"' + "x" * 600 + '"')
    assert len(parent.kept) == 2
    assert parent.workers[0].kinds == ["capture", "uncapture"]


def test_who_asked_may_end_it_and_the_parents_stop_does():
    parent = Parent(11)
    end = parent.begin()
    end("nobody waits for it any more")
    parent.is_over(parent.workers[0])
    assert parent.over == [("nobody waits for it any more", 0)]
    for _ in range(4):
        parent.begin()
    with pytest.raises(TooMany):
        parent.begin()
    parent.captures.end("the broker stops")
    assert parent.workers[0].kinds.count("uncapture") == 5


def test_a_call_for_which_there_is_no_descriptor_is_lost(messages):
    parent = Parent(11)
    parent.begin()
    parent.captures.received(parent.workers[0], Message("captured"), None)
    assert parent.kept == []
    assert "A captured call was lost" in messages[-1]
