"""The control socket: what is asked and answered there, and who may open it."""

import json
import os
import socket
import stat

import pytest
import pytest_twisted
from capturing import Bench
from test_captures import CONFIG, ENVIRON, openai, unary
from twisted.internet import reactor
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from lmbroker.daemon.capture_command import capture_command
from lmbroker.daemon.control import CONNECTIONS, REQUEST_BYTES, Control, Refusal, _Factory
from lmbroker.daemon.listening import CannotStart


class Line:
    """A connection to a control socket, in memory."""

    def __init__(self, control):
        self.protocol = _Factory(control).buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)

    def ask(self, command, **arguments):
        return self.send(json.dumps({"command": command, "arguments": arguments}).encode())

    def send(self, line):
        self.protocol.dataReceived(line + b"\n")
        return self

    @property
    def said(self):
        return [json.loads(line) for line in self.transport.value().splitlines()]

    def hang_up(self):
        self.protocol.connectionLost(Failure(ConnectionDone()))


def control(**commands):
    return Control("/nowhere", None, commands)


def test_a_command_is_done():
    line = Line(control()).ask("version").ask("version")
    first, second = line.said
    assert first == second and first["kind"] == "done" and first["pid"] == os.getpid()


@pytest.mark.parametrize(
    "asked",
    [
        b"",
        b"{",
        b"\xff",
        b"[]",
        b'{"command": 1}',
        b'{"command": "quokka"}',
        b'{"command": "version", "more": 1}',
        b'{"command": "fails"}',
        b'{"command": "refuses"}',
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_stays(asked, nothing_fails_unheard):
    def refuses(asking):
        raise Refusal("not today")

    line = Line(control(fails=lambda asking: 1 / 0, refuses=refuses)).send(asked).ask("version")
    refused, done = line.said
    assert refused["kind"] == "refused" and refused["problem"]
    assert done["kind"] == "done"
    # The fault of a command is in the log, and nowhere else.
    assert len(nothing_fails_unheard) == (b"fails" in asked)
    nothing_fails_unheard.clear()


def test_a_request_is_bounded():
    line = Line(control())
    line.protocol.dataReceived(b"x" * (REQUEST_BYTES + 2))
    assert line.said[0]["kind"] == "refused" and line.transport.disconnecting


def test_one_request_at_a_time():
    heard = []
    line = Line(control(wait=lambda asking: setattr(asking, "taken_back", lambda: heard.append(1))))
    line.ask("wait").ask("version")
    assert [each["kind"] for each in line.said] == ["refused"] and line.transport.disconnecting
    line.hang_up()
    assert heard == [1]


def test_connections_are_bounded():
    here = control()
    lines = [Line(here) for _ in range(CONNECTIONS + 1)]
    assert [line.transport.disconnected for line in lines] == [False] * CONNECTIONS + [True]


# Captures.


def capturing(*answers):
    bench = Bench(CONFIG, answers, environ=ENVIRON)
    return bench, Line(Control("/nowhere", None, {"capture": capture_command(bench.captures)}))


def test_calls_come_as_they_end():
    bench, line = capturing(unary(), unary())
    line.ask("capture", alias="m", calls=2)
    assert [each["kind"] for each in line.said] == ["on"]
    bench.call(openai())
    assert [each["kind"] for each in line.said] == ["on", "call"]
    bench.call(openai())
    assert [each["kind"] for each in line.said] == ["on", "call", "call", "done"]
    assert line.said[1]["lines"][0]["event"] == "call"
    assert line.said[-1] == {
        "kind": "done",
        "why": "as many calls are kept as were asked for",
        "kept": 2,
        "lost": 0,
    }


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"alias": ""},
        {"alias": "m", "calls": 0},
        {"alias": "m", "calls": 10**6},
        {"alias": "m", "seconds": 10**6},
        {"alias": "m", "bytes": 10**12},
        {"alias": "m", "outcome": "good"},
        {"alias": "m", "out": "/tmp"},
    ],
)
def test_what_has_no_bound_is_not_captured(arguments):
    bench, line = capturing()
    line.ask("capture", **arguments)
    assert [each["kind"] for each in line.said] == ["refused"]
    assert bench.broker.captures is None


def test_who_leaves_ends_the_capture():
    bench, line = capturing(unary())
    line.ask("capture", alias="m")
    assert bench.broker.captures is not None
    line.hang_up()
    assert bench.broker.captures is None


def test_the_log_says_that_a_capture_is_on_and_when_it_ends(messages):
    bench, line = capturing(unary())
    line.ask("capture", alias="m", caller="ann", seconds=5)
    bench.clock.advance(5)
    on, off = [text for text in messages if text.startswith("Capture")]
    assert on == "Capture is on: up to 5 calls of m by ann are kept with their contents, for 5 s"
    assert off == "Capture is off: 0 calls of m were kept, 0 were too large (its time is over)"


# The socket.


@pytest.mark.sockets
@pytest_twisted.ensureDeferred
async def test_only_its_owner_may_open_it(tmp_path):
    tmp_path.chmod(0o755)
    path = tmp_path / "control.sock"
    here = Control(str(path), reactor, {})
    # One that a daemon has left behind is no obstacle.
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    here.startService()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    again = Control(str(path), reactor, {})
    with pytest.raises(CannotStart, match="another daemon"):
        again.startService()
    await here.stopService()
    assert not path.exists()


@pytest.mark.sockets
@pytest.mark.parametrize("what", ["others may write", "no folder", "something else"])
def test_a_place_that_others_may_change_is_none(tmp_path, what, capfd):
    path = tmp_path / "control.sock"
    if what == "others may write":
        tmp_path.chmod(0o777)
    elif what == "no folder":
        path = tmp_path / "x" / "control.sock"
    else:
        path.write_text("")
    with pytest.raises(CannotStart, match="cannot make the control socket"):
        Control(str(path), reactor, {}).startService()
    assert not path.is_socket()
