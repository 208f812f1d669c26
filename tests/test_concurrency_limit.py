"""Slots at a backend: a bound, a queue, an end to waiting."""

import pytest
from twisted.internet.defer import CancelledError, succeed
from twisted.internet.task import Clock

from lmbroker.backends.concurrency_limit import ConcurrencyLimit, Full


class Scene:
    def __init__(self, limit, waiting=2, seconds=5):
        self.clock = Clock()
        self.limit = ConcurrencyLimit(self.clock, limit, waiting, seconds)

    def acquire(self):
        """A Deferred, and the list that its result goes to."""
        results = []
        release = self.limit.try_acquire()
        acquiring = self.limit.acquire() if release is None else succeed(release)
        acquiring.addBoth(results.append)
        return acquiring, results


def test_those_above_the_limit_wait_in_order():
    scene = Scene(1)
    [first] = scene.acquire()[1]
    _, second = scene.acquire()
    _, third = scene.acquire()
    assert (second, third, scene.limit.queued) == ([], [], 2)
    first()
    assert (len(second), third) == (1, [])
    second[0]()
    assert len(third) == 1
    third[0]()
    assert (scene.limit.in_use, scene.limit.queued) == (0, 0)
    assert scene.clock.getDelayedCalls() == []


def test_a_full_queue_refuses_at_once():
    scene = Scene(1, waiting=1)
    scene.acquire()
    scene.acquire()
    with pytest.raises(Full) as refusal:
        scene.limit.acquire()
    assert not refusal.value.sent
    assert refusal.value.info.retry_after == "1"


def test_waiting_has_an_end():
    scene = Scene(1, seconds=5)
    [release] = scene.acquire()[1]
    _, late = scene.acquire()
    scene.clock.advance(4.9)
    assert late == []
    scene.clock.advance(0.2)
    assert late[0].check(Full)
    release()
    assert (scene.limit.in_use, scene.limit.queued) == (0, 0)


def test_a_call_that_is_cancelled_while_waiting_takes_no_slot():
    scene = Scene(1)
    [release] = scene.acquire()[1]
    acquiring, gone = scene.acquire()
    _, next_ = scene.acquire()
    acquiring.cancel()
    assert gone[0].check(CancelledError)
    release()
    assert len(next_) == 1
    next_[0]()
    assert scene.limit.in_use == 0
    assert scene.clock.getDelayedCalls() == []


def test_a_slot_is_released_once():
    scene = Scene(1)
    [release] = scene.acquire()[1]
    release()
    release()
    assert scene.limit.in_use == 0
