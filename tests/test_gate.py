"""Places at a backend: a bound, a queue, an end to waiting."""

import pytest
from twisted.internet.defer import CancelledError, succeed
from twisted.internet.task import Clock

from lmbroker.backends.concurrency_limit import Full, Gate


class Scene:
    def __init__(self, limit, waiting=2, seconds=5):
        self.clock = Clock()
        self.gate = Gate(self.clock, limit, waiting, seconds)

    def enter(self):
        """A Deferred, and the list that its result goes to."""
        results = []
        leave = self.gate.at_once()
        entering = self.gate.turn() if leave is None else succeed(leave)
        entering.addBoth(results.append)
        return entering, results


def test_those_above_the_limit_wait_in_order():
    scene = Scene(1)
    [first] = scene.enter()[1]
    _, second = scene.enter()
    _, third = scene.enter()
    assert (second, third, scene.gate.queued) == ([], [], 2)
    first()
    assert (len(second), third) == (1, [])
    second[0]()
    assert len(third) == 1
    third[0]()
    assert (scene.gate.inside, scene.gate.queued) == (0, 0)
    assert scene.clock.getDelayedCalls() == []


def test_a_full_queue_refuses_at_once():
    scene = Scene(1, waiting=1)
    scene.enter()
    scene.enter()
    with pytest.raises(Full) as refusal:
        scene.gate.turn()
    assert not refusal.value.sent
    assert refusal.value.info.retry_after == "1"


def test_waiting_has_an_end():
    scene = Scene(1, seconds=5)
    [leave] = scene.enter()[1]
    _, late = scene.enter()
    scene.clock.advance(4.9)
    assert late == []
    scene.clock.advance(0.2)
    assert late[0].check(Full)
    leave()
    assert (scene.gate.inside, scene.gate.queued) == (0, 0)


def test_who_leaves_while_waiting_takes_no_place():
    scene = Scene(1)
    [leave] = scene.enter()[1]
    entering, gone = scene.enter()
    _, next_ = scene.enter()
    entering.cancel()
    assert gone[0].check(CancelledError)
    leave()
    assert len(next_) == 1
    next_[0]()
    assert scene.gate.inside == 0
    assert scene.clock.getDelayedCalls() == []


def test_a_place_is_given_back_once():
    scene = Scene(1)
    [leave] = scene.enter()[1]
    leave()
    leave()
    assert scene.gate.inside == 0
