"""The lean client's connections and their pool, over a transport in memory."""

import socket

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import (
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface import implementer
from zope.interface.verify import verifyObject

from lmbroker.backends.client.connection import Connection
from lmbroker.backends.client.failures import StaleConnection
from lmbroker.backends.client.pool import Pool
from lmbroker.backends.client.response import Received, Response
from lmbroker.backends.client.response_parser import HEADERS
from lmbroker.backends.connections import (
    CLOSE_SECONDS,
    HEADER_LIMIT,
    IDLE_CONNECTIONS,
    IDLE_SECONDS,
    TooLong,
)
from lmbroker.backends.turn_end import ITurnEnd

KEY = (b"http", b"x", 80, "b", "")
OTHER = (b"http", b"x", 80, "other", "")
REQUEST = b"POST / HTTP/1.1\r\n\r\n{}"
WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
END = b"0\r\n\r\n"


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


class Wire(StringTransport):
    """A connection in memory that remembers how it was closed, and each write."""

    def __init__(self):
        super().__init__()
        self.aborted = False
        self.writes = []

    def writeSequence(self, pieces):
        self.writes.append(b"".join(pieces))

    def write(self, data):
        self.writes.append(data)

    def abortConnection(self):
        self.aborted = True
        super().abortConnection()


class Taker(Protocol):
    """Takes a body; ``heard`` is each thing that it was told. ``act`` is done at each piece."""

    def __init__(self, act=lambda taker: None):
        self.heard = []
        self.act = act

    def dataReceived(self, data):
        self.heard.append(data)
        self.act(self)

    def connectionLost(self, reason):
        self.heard.append(reason.type)


class Line:
    """One connection and what is asked over it."""

    def __init__(self, pool=None, key=KEY):
        self.clock = Clock()
        self.pool = pool or Pool(self.clock)
        self.connection = Connection(self.pool, key)
        self.wire = Wire()
        self.connection.makeConnection(self.wire)

    def ask(self, *, keep=True, take=None):
        """Send a request; ``take`` takes its body as soon as its head is here."""
        self.got = []
        sent = self.connection.send(REQUEST, keep, Response())
        if take is not None:
            sent.addCallback(lambda response: (response.deliverBody(take), response)[1])
        sent.addBoth(self.got.append)
        self.sent = sent
        return self

    def comes(self, *reads):
        for data in reads:
            self.connection.dataReceived(data)

    def lost(self, reason=ConnectionDone):
        self.connection.connectionLost(Failure(reason()))

    @property
    def response(self):
        [response] = self.got
        return response

    @property
    def kept(self):
        return self.connection in self.pool._idle.get(self.connection.key, ())


@pytest.fixture
def line():
    return Line()


def test_a_request_is_one_write(line):
    line.ask()
    assert line.wire.writes == [REQUEST]


def test_a_response(line):
    line.ask()
    line.comes(
        b"HTTP/1.1 201 Made\r\ncontent-TYPE: a\r\nX-A:  1 \r\nx-a: 2\r\nContent-Length: 5\r\n\r\n"
    )
    response = line.response
    assert verifyObject(IResponse, response) and verifyObject(IPushProducer, response)
    assert (response.code, response.length, response.version) == (201, 5, (b"HTTP", 1, 1))
    assert list(response.headers.getAllRawHeaders()) == [
        (b"Content-Type", [b"a"]),
        (b"X-A", [b"1", b"2"]),
        (b"Content-Length", [b"5"]),
    ]


@pytest.mark.parametrize(
    ("head", "length"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", UNKNOWN_LENGTH),
        (STREAM, UNKNOWN_LENGTH),
        (b"HTTP/1.1 204 None\r\n\r\n", 0),
        (b"HTTP/1.1 304 Same\r\nContent-Length: 9\r\n\r\n", 0),
    ],
)
def test_lengths(line, head, length):
    line.ask()
    line.comes(head)
    assert line.response.length == length


# Each read is handed over once.


def test_the_chunks_of_a_read_are_one_piece(line):
    taker = Taker()
    line.ask(take=taker)
    line.comes(STREAM, chunk(b"ab") * 300, chunk(b"c") + chunk(b"d")[:3], chunk(b"d")[3:] + END)
    assert taker.heard == [b"ab" * 300, b"c", b"d", ResponseDone]


def test_head_body_and_end_in_one_read(line):
    taker = Taker()
    line.ask(take=taker)
    line.comes(STREAM + chunk(b"a") + chunk(b"b") + END)
    assert taker.heard == [b"ab", ResponseDone]
    assert line.kept


def test_a_body_of_nothing(line):
    taker = Taker()
    line.ask(take=taker)
    line.comes(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    assert taker.heard == [ResponseDone]


def test_a_body_may_be_longer_than_a_head(line):
    taker = Taker()
    line.ask(take=taker)
    piece = b"x" * (HEADER_LIMIT // 4)
    line.comes(STREAM, *[chunk(piece)] * 9, END)
    assert taker.heard == [*[piece] * 9, ResponseDone]


def test_a_trailer_is_no_header_of_the_next_response(line):
    line.ask(take=Taker())
    line.comes(STREAM + b"0\r\nX-Trailer: 1\r\n\r\n")
    line.pool.take(KEY)
    line.ask(take=Taker())
    line.comes(WHOLE)
    assert list(line.response.headers.getAllRawHeaders()) == [(b"Content-Length", [b"5"])]


def test_what_was_whole_before_the_error_is_handed_over(line):
    taker = Taker()
    line.ask(take=taker)
    line.comes(STREAM + chunk(b"a") + b"no chunk\r\n")
    assert taker.heard == [b"a", ResponseFailed]
    assert line.wire.aborted and not line.kept


# The taker and its pace.


def test_a_body_that_nobody_takes_yet_waits(line):
    line.ask()
    line.comes(STREAM + chunk(b"a"))
    assert line.wire.producerState == "paused"
    line.comes(chunk(b"b"))  # was on its way
    taker = Taker()
    line.response.deliverBody(taker)
    assert taker.heard == [b"ab"]
    assert line.wire.producerState == "producing"
    line.comes(END)
    assert taker.heard == [b"ab", ResponseDone]


@pytest.mark.parametrize("reason", [ConnectionDone, ConnectionLost])
@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (WHOLE, ResponseDone),
        (WHOLE[:-1], ResponseFailed),
        (STREAM + chunk(b"hello"), ResponseFailed),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", PotentialDataLoss),
    ],
)
def test_a_body_may_be_taken_after_the_connection_is_gone(line, sent, end, reason):
    line.ask()
    line.comes(sent)
    line.lost(reason)
    taker = Taker()
    line.response.deliverBody(taker)
    assert b"hello".startswith(taker.heard[0])
    assert taker.heard[1:] == [end]
    assert not line.kept


def test_a_connection_is_not_kept_before_its_body_was_taken(line):
    line.ask()
    line.comes(WHOLE)
    assert not line.kept
    line.response.deliverBody(Taker())
    assert line.kept


def test_a_body_is_given_away_once(line):
    line.ask(take=Taker())
    line.comes(STREAM)
    with pytest.raises(RuntimeError):
        line.response.deliverBody(Taker())
    line.comes(END)
    with pytest.raises(RuntimeError):
        line.response.deliverBody(Taker())


BODIES = [
    WHOLE,
    STREAM + chunk(b"he") + chunk(b"llo") + END,
    b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.0 200 OK\r\n\r\nhello",
    STREAM + b"no chunk\r\n",
]


@given(
    st.sampled_from(BODIES),
    st.sampled_from([b"", b"x", WHOLE]),
    st.lists(st.integers(0, 80), max_size=4),
    st.integers(0, 5),
    st.booleans(),
    st.booleans(),
)
@example(WHOLE, b"", [38], 2, False, True)
def test_a_body_taken_whole_is_the_one_that_is_delivered(body, surplus, cuts, at, lost, unsent):
    sent = body + surplus
    ends = sorted({*(cut for cut in cuts if cut < len(sent)), len(sent)})
    reads = [sent[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    outcomes = []
    for whole in (False, True):
        line, taker = Line(), Taker()
        line.ask()
        if unsent:
            line.wire.dataBuffer = b"the rest"
        line.comes(*reads[:at])
        if lost:
            line.lost()
        if not line.got or not isinstance(line.response, Response):
            return
        taken = line.response.whole() if whole else None
        if taken is None:
            line.response.deliverBody(taker)
            taken = b"".join(each for each in taker.heard if isinstance(each, bytes))
        else:
            taker.heard = [ResponseDone]
        with pytest.raises(RuntimeError):
            line.response.deliverBody(Taker())
        assert line.response.whole() is None
        if not lost:
            line.comes(*(reads[at:] if not line.wire.aborted else ()))
        wire = line.wire
        closed = (wire.aborted, wire.disconnecting, wire.producerState)
        outcomes.append((taken, taker.heard[-1:], line.kept, closed))
    assert outcomes[0] == outcomes[1]


def test_what_only_looks_like_a_chunk_is_content(line):
    line.ask(take=(taker := Taker()))
    line.comes(STREAM, b"8\r\nabcd", b"4\r\n4\r\n4\r\n", b"5\r\nhello\r\n")
    assert taker.heard == [b"abcd", b"4\r\n4", b"5\r\nh", ResponseFailed]
    assert line.wire.aborted


def test_a_body_is_taken_whole_when_all_of_it_is_here(line):
    line.ask()
    line.comes(WHOLE[:-1])
    assert line.response.whole() is None
    assert line.wire.producerState == "paused"
    line.comes(WHOLE[-1:])  # was on its way
    assert line.response.whole() == b"hello"
    assert line.wire.producerState == "producing" and line.kept


@pytest.mark.parametrize("held", [False, True])
def test_a_receiver_that_pauses_while_it_takes_stays_paused(line, held):
    taker = Taker(lambda taker: taker.transport.pauseProducing())
    line.ask(take=None if held else taker)
    line.comes(STREAM + chunk(b"a"))
    if held:
        line.response.deliverBody(taker)
    assert line.wire.producerState == "paused"
    taker.transport.resumeProducing()
    assert line.wire.producerState == "producing"


@pytest.mark.parametrize("way", ["stopProducing", "loseConnection"])
def test_a_receiver_that_stops_closes_the_connection(line, way):
    taker = Taker(lambda taker: getattr(taker.transport, way)())
    line.ask(take=taker)
    line.comes(STREAM + chunk(b"a"))
    assert line.wire.aborted
    line.lost()
    assert taker.heard == [b"a", ResponseFailed]


def test_a_receiver_that_stops_at_the_end_leaves_no_connection_behind(line):
    taker = Taker(lambda taker: taker.transport.stopProducing())
    line.ask(take=taker)
    line.comes(WHOLE)
    assert line.wire.aborted and not line.kept
    assert taker.heard == [b"hello", ResponseDone]


def test_a_receiver_that_breaks_learns_of_it(line):
    def broken(taker):
        raise ValueError

    taker = Taker(broken)
    line.ask(take=taker)
    line.comes(STREAM + chunk(b"a"))
    assert taker.heard == [b"a", ResponseFailed]
    assert line.wire.aborted


def test_an_ended_response_has_no_power_over_the_next(line):
    line.ask(take=Taker())
    line.comes(WHOLE)
    ended = line.response
    line.pool.take(KEY).send(REQUEST, True, Response())
    ended.pauseProducing()
    ended.stopProducing()
    assert line.wire.producerState == "producing" and not line.wire.aborted


def test_the_next_request_may_be_sent_while_the_end_is_told(line):
    answers = []

    class Next(Taker):
        def connectionLost(self, reason):
            sent = line.pool.take(KEY).send(REQUEST, True, Response())
            sent.addCallback(answers.append)

    line.ask(take=Next())
    line.comes(WHOLE)
    assert len(line.wire.writes) == 2 and answers == []
    line.comes(WHOLE)
    assert [answer.code for answer in answers] == [200]


# Before the head is here.


def test_a_request_that_is_cancelled_closes_the_connection(line):
    line.ask()
    line.sent.cancel()
    assert line.wire.aborted
    line.lost()
    assert not line.kept and len(line.got) == 1


@pytest.mark.parametrize(
    ("sent", "kind"), [((), ResponseNeverReceived), ((b"HTTP/1.1 2",), ResponseFailed)]
)
def test_a_connection_that_is_lost(line, sent, kind):
    line.ask()
    line.comes(*sent)
    line.lost()
    assert line.response.type is kind


@pytest.mark.parametrize(
    "flood",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X-A: 1\r\n" * (HEADER_LIMIT // 8),
        b"HTTP/1.1 200 OK\r\nX-A: " + b"1" * HEADER_LIMIT,
        b"HTTP/1.1 200 " + b"O" * HEADER_LIMIT,
        b"HTTP/1.1 100 Continue\r\n\r\n" * (HEADER_LIMIT // 25 + 1),
    ],
)
def test_a_head_without_end(line, flood):
    line.ask()
    for at in range(0, len(flood), 1000):
        if line.got:
            break
        line.comes(flood[at : at + 1000])
    assert line.response.type is ResponseFailed
    assert line.wire.aborted


@pytest.mark.parametrize(
    "flood", [b"1;a=" + b"b" * HEADER_LIMIT, b"0\r\nX-A: " + b"1" * HEADER_LIMIT]
)
def test_extensions_and_trailers_without_end(line, flood):
    taker = Taker()
    line.ask(take=taker)
    line.comes(STREAM)
    for at in range(0, len(flood), 1000):
        if taker.heard:
            break
        line.comes(flood[at : at + 1000])
    assert taker.heard == [ResponseFailed]
    assert line.wire.aborted


# What is kept.


def test_a_connection_is_used_again(line):
    for number in range(3):
        assert line.pool.take(KEY) is (line.connection if number else None)
        taker = Taker()
        line.ask(take=taker)
        line.comes(STREAM + chunk(b"a") + END)
        assert taker.heard == [b"a", ResponseDone]


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: Close\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_says_that_it_is_the_last_is_not_kept(line, head):
    line.ask(take=Taker())
    line.comes(head)
    assert line.wire.disconnecting and not line.kept
    assert not line.wire.aborted
    line.clock.advance(CLOSE_SECONDS)
    assert line.wire.aborted


def test_what_we_do_not_want_to_keep_is_not_kept(line):
    line.ask(keep=False, take=Taker())
    line.comes(WHOLE)
    assert line.wire.disconnecting and not line.kept


@pytest.mark.parametrize("surplus", [b"x", WHOLE, b"\0"])
def test_more_than_the_response_is_not_kept(line, surplus):
    taker = Taker()
    line.ask(take=taker)
    line.comes(WHOLE + surplus)
    assert taker.heard == [b"hello", ResponseDone]
    assert line.wire.aborted and not line.kept


def test_an_answer_to_a_request_that_is_still_leaving_is_the_last(line):
    taker = Taker()
    line.ask(take=taker)
    line.wire.dataBuffer = b"the rest"
    line.comes(WHOLE)
    assert taker.heard == [b"hello", ResponseDone]
    assert line.wire.aborted and not line.kept


@pytest.mark.parametrize("event", ["bytes", "an empty line", "end"])
def test_an_idle_connection_that_stirs_is_dropped(line, event):
    line.ask(take=Taker())
    line.comes(WHOLE)
    if event == "end":
        line.lost()
    else:
        line.comes(WHOLE if event == "bytes" else b"\r\n")
        assert line.wire.aborted
    assert line.pool.take(KEY) is None


# The pool.


@pytest.mark.parametrize("event", ["bytes", "end", "nothing"])
def test_what_the_reactor_has_not_read_yet_is_noticed(line, event):
    ours, backends = socket.socketpair()
    with ours, backends:
        ours.setblocking(False)
        line.wire.socket = ours
        line.ask(take=Taker())
        line.comes(WHOLE)
        if event == "bytes":
            backends.send(WHOLE)
        elif event == "end":
            backends.close()
        assert line.pool.take(KEY) is line.connection
        line.ask()
        assert [failure.type for failure in line.got] == [StaleConnection] * (event != "nothing")
        assert line.wire.aborted is (event != "nothing")
        assert line.wire.writes == [REQUEST] * (2 if event == "nothing" else 1)


@pytest.fixture
def lines():
    """Idle connections, of one pool, each since another second."""
    first = Line()
    made = [first, *(Line(first.pool) for _ in range(3))]
    for number, each in enumerate(made):
        first.clock.advance(0.5 if number else 0)
        each.ask(take=Taker())
        each.comes(WHOLE)
    return made


def test_what_was_used_last_is_used_next(lines):
    assert [lines[0].pool.take(KEY) for _ in range(5)] == [
        *(line.connection for line in reversed(lines)),
        None,
    ]


def test_backends_share_nothing(lines):
    assert lines[0].pool.take(OTHER) is None


def test_idle_connections_are_closed_in_time_with_one_timer(lines):
    clock = lines[0].clock
    for closed in range(4):
        assert [line.wire.disconnecting for line in lines].count(True) == closed
        sweeps = [call for call in clock.getDelayedCalls() if call.func.__name__ == "_sweep"]
        assert len(sweeps) == 1
        clock.advance(IDLE_SECONDS - 1.5 if closed == 0 else 0.5)
    assert all(line.wire.disconnecting for line in lines)
    clock.advance(CLOSE_SECONDS)
    assert all(line.wire.aborted for line in lines)
    assert clock.getDelayedCalls() == []


def test_a_connection_that_was_used_meanwhile_has_its_time_anew(line):
    line.ask(take=Taker())
    line.comes(WHOLE)
    line.clock.advance(IDLE_SECONDS - 1)
    assert line.pool.take(KEY) is line.connection
    line.ask(take=Taker())
    line.comes(WHOLE)
    line.clock.advance(IDLE_SECONDS - 1)
    assert not line.wire.disconnecting
    line.clock.advance(1)
    assert line.wire.disconnecting


def test_idle_connections_are_bounded():
    first = Line()
    made = [first, *(Line(first.pool) for _ in range(IDLE_CONNECTIONS))]
    for each in made:
        each.ask(take=Taker())
        each.comes(WHOLE)
    assert [line.wire.disconnecting for line in made] == [True] + [False] * IDLE_CONNECTIONS


def test_a_pool_is_closed_when_its_connections_are(lines):
    done = []
    lines[0].pool.close_all().addCallback(done.append)
    assert all(line.wire.disconnecting for line in lines)
    for line in lines:
        assert done == []
        line.lost()
    assert len(done) == 1


def test_a_connection_that_was_paused_at_the_very_end_reads_on_for_the_next(line):
    line.ask(take=Taker(lambda taker: taker.transport.pauseProducing()))
    line.comes(WHOLE)
    assert line.kept
    assert line.wire.producerState == "producing"


def test_too_many_headers_are_told_as_such(line):
    line.ask()
    line.comes(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * (HEADERS + 1) + b"\r\n")
    [failure] = line.got
    assert failure.check(ResponseFailed)
    assert failure.value.reasons[0].check(TooLong)


# The headers.


def received():
    return Received({"content-type": "text/plain", "x-two": "1"}, {"x-two": [b"1", b"2"]})


def test_the_headers_of_a_response_are_twisteds():
    headers = received()
    assert headers.getRawHeaders(b"X-Two") == [b"1", b"2"]
    assert headers.getRawHeaders("x-two") == ["1", "2"]
    assert headers.getRawHeaders(b"x-none", [b"d"]) == [b"d"]
    assert sorted(received().getAllRawHeaders()) == [
        (b"Content-Type", [b"text/plain"]),
        (b"X-Two", [b"1", b"2"]),
    ]
    assert received() == Headers({b"content-type": [b"text/plain"], b"x-two": [b"1", b"2"]})


@pytest.mark.parametrize("made", [False, True])
def test_changed_headers_stay_changed(made):
    headers = received()
    if made:
        assert headers.hasHeader("x-two")
    headers.removeHeader(b"X-Two")
    headers.setRawHeaders(b"X-Three", [b"3"])
    assert headers.getRawHeaders(b"x-two") is None
    assert headers.getRawHeaders(b"x-three") == [b"3"]
    assert sorted(headers.getAllRawHeaders()) == [
        (b"Content-Type", [b"text/plain"]),
        (b"X-Three", [b"3"]),
    ]


# At the end of the turn.


@implementer(ITurnEnd)
class Turns(Clock):
    """A clock with turns; ``end`` ends one."""

    def __init__(self):
        super().__init__()
        self.ending = []

    def at_end_of_turn(self, act):
        self.ending.append(act)

    def end(self):
        ending, self.ending = self.ending, []
        for act in ending:
            act()


@pytest.fixture
def waiting():
    """A line that was used before, with a request that waits for the end of the turn."""
    line = Line(Pool(Turns()))
    line.ask(take=Taker())
    line.comes(WHOLE)
    assert line.pool.take(KEY) is line.connection
    return line.ask()


def test_a_request_over_a_kept_connection_goes_at_the_end_of_the_turn(waiting):
    assert waiting.wire.writes == [REQUEST]
    waiting.pool._reactor.end()
    assert waiting.wire.writes == [REQUEST] * 2
    waiting.comes(WHOLE)
    assert waiting.response.code == 200


def test_the_requests_of_a_turn_go_together(waiting):
    other = Line(waiting.pool)
    other.ask(take=Taker())
    other.comes(WHOLE)
    other.pool.take(KEY)
    other.ask()
    assert len(waiting.pool._reactor.ending) == 1
    waiting.pool._reactor.end()
    assert (len(waiting.wire.writes), len(other.wire.writes)) == (2, 2)


@pytest.mark.parametrize("event", ["bytes", "end"])
def test_what_comes_before_the_request_goes_is_no_answer_to_it(waiting, event):
    if event == "bytes":
        waiting.comes(WHOLE)
        assert waiting.wire.aborted
    else:
        waiting.pool._reactor.advance(9)
        waiting.lost()
    assert waiting.response.type is StaleConnection
    waiting.pool._reactor.end()
    assert waiting.wire.writes == [REQUEST]


def test_a_request_that_is_cancelled_before_it_goes_never_goes(waiting):
    waiting.sent.cancel()
    assert waiting.wire.aborted
    waiting.pool._reactor.end()
    assert waiting.wire.writes == [REQUEST]
