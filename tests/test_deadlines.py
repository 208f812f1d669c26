"""One timer for the time limits of many Deferreds."""

import pytest
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock

from lmbroker.backends.deadlines import Deadlines


class Scene:
    def __init__(self):
        self.clock = Clock()
        self.deadlines = Deadlines(self.clock, 10.0)
        self.late = []

    def begin(self, name, then=lambda: None):
        asked = Deferred()

        def failed(failure):
            failure.trap(CancelledError)
            self.late.append((name, self.clock.seconds(), self.deadlines.end(asked)))
            then()

        asked.addErrback(failed)
        self.deadlines.begin(asked)
        return asked

    @property
    def timers(self):
        return [call.getTime() for call in self.clock.getDelayedCalls()]


@pytest.fixture
def scene():
    return Scene()


def test_each_has_its_own_time(scene):
    scene.begin("first")
    scene.clock.advance(4)
    scene.begin("second")
    scene.clock.pump([1] * 20)
    assert scene.late == [("first", 10, False), ("second", 14, False)]
    assert scene.timers == []


def test_one_that_is_done_is_not_cancelled(scene):
    first, second = scene.begin("first"), scene.begin("second")
    scene.clock.advance(9)
    assert scene.deadlines.end(first)
    third = scene.begin("third")
    assert len(scene.timers) == 1
    scene.clock.advance(1)
    assert scene.late == [("second", 10, False)]
    assert not first.called and second.called
    assert scene.timers == [19]
    assert scene.deadlines.end(third)
    assert scene.timers == []


def test_what_a_late_one_brings_about_has_its_own_time(scene):
    scene.begin("first", then=lambda: scene.begin("again"))
    scene.begin("second")
    scene.clock.advance(10)
    assert scene.late == [("first", 10, False), ("second", 10, False)]
    assert scene.timers == [20]
    scene.clock.advance(10)
    assert scene.late[2:] == [("again", 20, False)]


def test_one_late_one_may_end_another(scene):
    scene.begin("first", then=lambda: ended.append(scene.deadlines.end(second)))
    ended, second = [], scene.begin("second")
    scene.clock.advance(10)
    assert ([name for name, *_ in scene.late], ended) == (["first"], [True])
    assert not second.called and scene.timers == []


def test_one_that_cannot_be_cancelled_is_not_in_the_way_of_others(scene, nothing_fails_unheard):
    def fails(_):
        raise ValueError("no")

    scene.deadlines.begin(Deferred(fails))
    scene.begin("second")
    scene.clock.advance(10)
    assert [name for name, *_ in scene.late] == ["second"]
    assert len(nothing_fails_unheard) == 1
    nothing_fails_unheard.clear()
