"""The way back: the client's pace, one end, and a backend that stops when nobody listens."""

import pytest
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from lmbroker.broker.relay import LINGER_BYTES, LINGER_SECONDS, Relay
from lmbroker.call import Timeouts
from lmbroker.errors import ErrorInfo

TIMEOUTS = Timeouts(idle=30, ping=10)


class Upper:
    """A transform: ``!`` is the end, ``?`` an error, ``~`` no event yet, ``.`` why it stopped, the
    rest is shouted."""

    usage = None
    stop = ""

    def __init__(self):
        self.phase = "waiting"
        self.error = None

    def feed(self, chunk):
        if chunk == b"boom":
            raise ValueError("a fault of ours")
        if chunk == b"~":
            return b""
        if chunk == b"?":
            return self.fail(ErrorInfo(kind="server", message="told"))
        if self.phase != "stopped":
            self.phase = "stopped" if chunk.endswith(b".") else "open"
        if chunk.endswith(b"!"):
            self.phase = "complete"
        return chunk.upper()

    def close(self):
        if self.phase == "stopped":
            self.phase = "complete"
            return b"!"
        return self.fail(ErrorInfo(kind="truncated", message="cut"))

    def fail(self, error):
        waiting, self.phase, self.error = self.phase == "waiting", "failed", error
        return b"" if waiting else b"<" + error.kind.encode() + b">"

    def ping(self):
        return b"."


class Answer:
    def __init__(self):
        self.aborted = 0
        self.ended = 0
        self.wholes = 0

    def abort(self):
        self.aborted += 1

    def release_slot(self):
        self.wholes += 1

    def finished(self):
        self.ended += 1


class Scene:
    def __init__(self, timeouts=TIMEOUTS):
        self.clock = Clock()
        self.answer = Answer()
        self.relay = Relay(self.answer, Upper(), self.clock, timeouts)
        self.backend = StringTransport()
        self.relay.makeConnection(self.backend)
        self.client = StringTransport()
        self.outcomes = []

    def deliver(self):
        self.ended = self.relay.deliver(self.client)
        self.ended.addBoth(self.outcomes.append)

    def done(self, reason=None):
        self.relay.connectionLost(Failure(reason or ResponseDone()))

    def assert_quiet(self):
        """Nothing is left that could fire."""
        assert [call for call in self.clock.getDelayedCalls() if call.active()] == []


@pytest.fixture
def scene():
    return Scene()


def test_each_chunk_leaves_in_the_turn_in_which_it_came(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    assert scene.client.value() == b"A"
    scene.relay.dataReceived(b"b")
    assert scene.client.value() == b"AB"
    scene.relay.dataReceived(b"c!")
    assert scene.client.value() == b"ABC!"
    assert scene.outcomes == [None]
    scene.done()
    assert scene.answer.aborted == 0
    scene.assert_quiet()


def test_nothing_begins_before_the_first_real_event(scene):
    scene.relay.dataReceived(b"~")
    assert not scene.relay.begun.called
    scene.relay.dataReceived(b"a")
    assert scene.relay.begun.called


def test_an_error_as_first_event_writes_nothing(scene):
    scene.relay.dataReceived(b"?")
    assert scene.relay.begun.called
    assert scene.relay.silent
    assert scene.relay.transform.error.message == "told"
    assert scene.answer.aborted == 1
    scene.assert_quiet()


def test_a_body_that_ends_before_the_first_event_writes_nothing(scene):
    scene.done()
    assert scene.relay.silent
    assert scene.relay.transform.error.kind == "truncated"
    scene.assert_quiet()


def test_a_break_is_told_once_and_in_band(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    scene.done(ConnectionLost())
    assert scene.client.value() == b"A<truncated>"
    assert scene.outcomes == [None]
    scene.assert_quiet()


def test_a_fault_of_ours_is_told_in_band_and_stops_the_backend(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    scene.relay.log = type("Silent", (), {"failure": lambda *_: None})()
    scene.relay.dataReceived(b"boom")
    assert scene.client.value() == b"A<server>"
    assert scene.answer.aborted == 1


def test_a_silent_backend_is_given_up(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    for _ in range(29):
        scene.clock.advance(1)
    assert b"<" not in scene.client.value()
    scene.clock.advance(1)
    assert scene.client.value().endswith(b"<timeout>")
    assert scene.answer.aborted == 1
    scene.assert_quiet()


def test_every_byte_restarts_the_silence(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    for _ in range(10):
        scene.clock.advance(20)
        scene.relay.dataReceived(b"~")
    assert scene.relay.transform.phase == "open"


def test_a_waiting_client_hears_a_ping(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    scene.clock.advance(9)
    assert scene.client.value() == b"A"
    scene.clock.advance(1)
    assert scene.client.value() == b"A."
    scene.clock.advance(10)
    assert scene.client.value() == b"A.."


def test_case_71_pings_go_on_while_the_backend_sends_only_whitespace():
    scene = Scene()
    scene.relay.dataReceived(b"a")
    scene.deliver()
    for _ in range(60):
        scene.clock.advance(1)
        scene.relay.dataReceived(b"~")
    assert scene.client.value() == b"A" + b"." * 6


def test_case_80_a_slow_client_pauses_the_backend(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    assert scene.client.producer is scene.relay
    scene.relay.pauseProducing()
    assert scene.backend.producerState == "paused"
    scene.relay.resumeProducing()
    assert scene.backend.producerState == "producing"


def test_the_gaps_between_chunks_are_counted_without_those_that_the_client_made(scene):
    def come_after(seconds, chunk=b"x"):
        scene.clock.advance(seconds)
        scene.relay.dataReceived(chunk)

    come_after(1, b"~")
    come_after(2, b"first")
    assert scene.relay.chunk_gaps() == ((), 0.0)
    scene.deliver()
    for seconds in (0.0, 0.005, 0.015, 0.3):
        come_after(seconds)
    scene.relay.pauseProducing()
    scene.clock.advance(5)
    scene.relay.resumeProducing()
    come_after(0.015, b"!")
    gaps, seconds = scene.relay.chunk_gaps()
    assert gaps == (2, 2, 0, 0, 0, 1, *[0] * 9)
    assert seconds == pytest.approx(0.005 + 0.015 + 0.3 + 0.015)
    come_after(1, b"behind the end")
    assert scene.relay.chunk_gaps() == (gaps, pytest.approx(seconds))


def test_a_paused_backend_is_not_blamed_for_silence(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    scene.relay.pauseProducing()
    for _ in range(100):
        scene.clock.advance(10)
    assert scene.relay.transform.phase == "open"
    assert scene.client.value() == b"A"
    scene.relay.resumeProducing()
    scene.clock.advance(29)
    assert scene.relay.transform.phase == "open"
    for _ in range(2):
        scene.clock.advance(1)
    assert scene.relay.transform.phase == "failed"


def test_case_80_a_client_that_leaves_stops_the_backend_at_once(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    scene.relay.stopProducing()
    assert scene.answer.aborted == 1
    assert scene.outcomes == []
    scene.done(ConnectionLost())
    assert scene.client.value() == b"A"
    scene.ended.cancel()
    assert scene.outcomes[0].check(CancelledError)
    assert scene.answer.aborted == 1
    scene.assert_quiet()


def test_a_client_that_leaves_before_the_first_event_stops_the_backend(scene):
    failures = []
    scene.relay.begun.addErrback(failures.append)
    scene.relay.begun.cancel()
    assert failures[0].check(CancelledError)
    assert scene.answer.aborted == 1
    scene.assert_quiet()


def test_at_the_terminal_event_another_call_may_have_the_place(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    assert scene.answer.wholes == 0
    scene.relay.dataReceived(b"b!")
    assert (scene.answer.wholes, scene.answer.ended, scene.answer.aborted) == (1, 0, 0)
    scene.done()
    assert (scene.answer.wholes, scene.answer.ended, scene.answer.aborted) == (1, 1, 0)


def test_the_client_is_ended_at_the_terminal_event_and_the_body_awaited_shortly(scene):
    scene.relay.dataReceived(b"a!")
    scene.deliver()
    assert scene.outcomes == [None]
    scene.clock.advance(LINGER_SECONDS / 2)
    assert scene.answer.aborted == 0
    scene.clock.advance(LINGER_SECONDS)
    assert scene.answer.aborted == 1
    scene.assert_quiet()


def test_what_follows_the_end_is_thrown_away_up_to_a_bound(scene):
    scene.relay.dataReceived(b"a!")
    scene.deliver()
    scene.relay.dataReceived(b"x" * LINGER_BYTES)
    assert scene.answer.aborted == 0
    scene.relay.dataReceived(b"x")
    assert scene.answer.aborted == 1
    assert scene.client.value() == b"A!"


def test_an_end_while_paused_reads_on(scene):
    scene.relay.dataReceived(b"a")
    scene.deliver()
    scene.relay.pauseProducing()
    scene.relay.dataReceived(b"b!")
    assert scene.backend.producerState == "producing"
    assert scene.outcomes == [None]


def test_a_stream_that_never_begins_is_given_up():
    scene = Scene(Timeouts(first_event=20, idle=30, ping=10))
    for _ in range(19):
        scene.clock.advance(1)
        scene.relay.dataReceived(b"~")
    assert not scene.relay.begun.called
    scene.clock.advance(1)
    assert scene.relay.begun.called and scene.relay.silent
    assert scene.relay.transform.error.code == "timeout_first_event"
    scene.assert_quiet()


def test_an_answer_has_a_longest_duration():
    scene = Scene(Timeouts(total=100, idle=30, ping=10))
    scene.relay.dataReceived(b"a")
    scene.deliver()
    for _ in range(99):
        scene.clock.advance(1)
        scene.relay.dataReceived(b"a")
    assert b"<" not in scene.client.value()
    scene.clock.advance(1)
    assert scene.client.value().endswith(b"<timeout>")
    assert scene.relay.transform.error.code == "timeout_total"
    scene.assert_quiet()


def stopped(scene):
    scene.relay.dataReceived(b"a.")
    scene.deliver()
    assert scene.outcomes == []


def test_case_75_an_answer_that_has_stopped_ends_soon(scene):
    stopped(scene)
    scene.clock.advance(TIMEOUTS.after_stop - 0.1)
    assert (scene.outcomes, scene.client.value()) == ([], b"A.")
    scene.clock.advance(0.2)
    assert (scene.outcomes, scene.client.value()) == ([None], b"A.!")
    assert scene.answer.aborted == 1, "nobody waits for its backend"
    scene.done(ConnectionLost())
    assert scene.client.value() == b"A.!"
    scene.assert_quiet()


def test_case_75_comments_do_not_keep_an_answer_open_that_has_stopped(scene):
    stopped(scene)
    for _ in range(9):
        scene.clock.advance(0.3)
        scene.relay.dataReceived(b": ping")
    assert scene.outcomes == [None]


def test_case_75_what_is_still_told_is_awaited(scene):
    stopped(scene)
    for _ in range(3):
        scene.clock.advance(1.5)
        scene.relay.dataReceived(b"data: count")
        assert scene.outcomes == []
    scene.relay.dataReceived(b"data: end!")
    assert scene.outcomes == [None]
    assert scene.answer.aborted == 0
    scene.done()
    scene.assert_quiet()


def test_case_75_the_client_may_be_slow_to_read(scene):
    stopped(scene)
    scene.relay.pauseProducing()
    scene.clock.advance(TIMEOUTS.after_stop + 1)
    assert scene.outcomes == [], "what comes meanwhile is not read"
    scene.relay.resumeProducing()
    scene.clock.advance(TIMEOUTS.after_stop + 1)
    assert scene.outcomes == [None]


def test_case_75_a_stopped_answer_may_end_by_itself(scene):
    stopped(scene)
    scene.done()
    assert (scene.outcomes, scene.client.value()) == ([None], b"A.!")
    scene.assert_quiet()


def test_case_75_a_client_that_leaves_a_stopped_answer(scene):
    stopped(scene)
    scene.ended.cancel()
    assert scene.answer.aborted == 1
    scene.assert_quiet()


def test_case_75_no_limit_makes_an_error_of_an_answer_that_has_stopped():
    scene = Scene(Timeouts(idle=1.5))
    stopped(scene)
    scene.clock.advance(1.6)
    assert (scene.outcomes, scene.client.value()) == ([None], b"A.!")
    scene.assert_quiet()
