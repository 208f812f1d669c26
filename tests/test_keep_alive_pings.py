"""When keep-alive pings go out, and when no more."""

import pytest
from twisted.internet.task import Clock

from lmbroker.call import Timeouts
from lmbroker.server.keep_alive_pings import NO_PINGS, KeepAlivePings, late_headers


class Scene:
    def __init__(self):
        self.clock = Clock()
        self.written = []
        self.pings = KeepAlivePings(
            self.clock,
            Timeouts(commit=10, ping=4),
            b": ping\n\n",
            head=lambda: self.written.append("head"),
            write=self.written.append,
        )


@pytest.fixture
def scene():
    return Scene()


def test_nothing_before_it_takes_long(scene):
    scene.clock.advance(9.9)
    assert (scene.written, scene.pings.begun) == ([], False)
    scene.pings.stop()
    assert scene.clock.getDelayedCalls() == []
    assert (scene.pings.begun, scene.pings.bytes_out) == (False, 0)


def test_the_head_and_a_ping_and_more_of_them(scene):
    scene.clock.advance(10)
    assert (scene.written, scene.pings.begun) == (["head", b": ping\n\n"], True)
    scene.clock.pump([2] * 4)
    assert scene.written == ["head", *[b": ping\n\n"] * 3]
    assert scene.pings.bytes_out == 3 * len(b": ping\n\n")


def test_none_after_the_end(scene):
    scene.clock.advance(10)
    for _ in range(2):
        scene.pings.stop()
    assert scene.clock.getDelayedCalls() == []
    assert scene.pings.begun, "what was sent was sent"


def test_a_call_without_pings_has_none():
    NO_PINGS.stop()
    assert (NO_PINGS.begun, NO_PINGS.bytes_out) == (False, 0)


def test_what_the_head_could_not_say():
    headers = (
        ("content-type", "text/event-stream"),
        ("x-lmbroker-request-id", "req_1"),
        ("x-lmbroker-backend", "b"),
        ("x-lmbroker-dropped", "seed"),
    )
    assert late_headers(headers) == b": x-lmbroker-backend: b\n: x-lmbroker-dropped: seed\n\n"
