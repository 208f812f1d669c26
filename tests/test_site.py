"""The clients' side in memory: what is refused and how, when time is up, who is let in.

Each hook of Twisted that the listener overrides has a test marked with ``hook``: it fails when an
upgrade renames the hook, changes what it is given, or no longer calls it.
"""

import functools
import inspect
import tempfile

import pytest
from site_in_memory import GET, WAIT, Answers, Connection, Listener, chunked, post
from twisted.internet import interfaces, tcp
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.protocols import tls
from twisted.web import http, server

from lmbroker.errors import ErrorInfo
from lmbroker.server.http import Limits, Site
from lmbroker.server.http.channel import EARLY_BYTES, Channel, Chunks
from lmbroker.server.http.lean_channel import LeanChannel
from lmbroker.server.http.lean_request import LeanRequest
from lmbroker.server.http.request import Request
from lmbroker.server.http.site import TURNED_AWAY

pytestmark = pytest.mark.usefixtures("engine")

HELD = set()
"""(our class, name) of each override that a test holds in place."""


def hook(ours, name, *parameters):
    """The test is about ``ours.name``, which overrides a method with ``parameters``."""
    HELD.add((ours, name))

    def mark(test):
        @functools.wraps(test)
        def run(*args, **kwargs):
            stock = getattr(super(ours, ours), name, None)
            assert stock is not None, f"Twisted has no {name} any more"
            assert tuple(inspect.signature(stock).parameters)[1:] == parameters
            return test(*args, **kwargs)

        return run

    return mark


def overridden(ours):
    """The names that ``ours`` defines and one of its bases does, too."""
    bases = [base for base in ours.__mro__[1:] if base is not object]
    names = {name for name in vars(ours) if not name.startswith("__")}
    return {name for name in names if any(name in vars(base) for base in bases)}


PLAIN = {
    (Request, "defaultContentType"),
    (Site, "noisy"),
    *((LeanRequest, name) for name in ("args", "clientproto", "content", "postpath")),
}
"""Attributes that are no methods; they are tested by what they do."""


@pytest.mark.parametrize("ours", [Channel, Chunks, LeanChannel, LeanRequest, Request, Site])
def test_every_override_is_held_and_nothing_is_overridden_by_accident(ours):
    found = {(ours, name) for name in overridden(ours)}
    assert found == {key for key in HELD | PLAIN if key[0] is ours}


def test_our_own_attributes_have_names_that_twisted_does_not_use():
    stock = http.HTTPChannel()
    plain = {name for name, value in vars(Channel).items() if isinstance(value, int | float)}
    mine = (set(vars(Channel())) | plain) - set(vars(stock))
    assert {name for name in mine if hasattr(stock, name)} == set()
    clock = Clock()
    site = server.Site(Answers(), Request, reactor=clock)
    mine = set(vars(Site(Answers(), clock))) - set(vars(site))
    assert {name for name in mine if hasattr(site, name)} == {"protocol"}


def test_the_names_within_twisted_that_we_read_are_there():
    channel = Channel()
    names = ("_waitingForTransport", "_transferDecoder", "length", "persistent", "requests")
    assert all(hasattr(channel, name) for name in names)
    decoder = http._ChunkedTransferDecoder(lambda data: None, lambda data: None)
    assert decoder._trailerHeaders == []
    decoder.dataReceived(b"7f\r\n")
    assert decoder.length == 0x7F
    descriptor = tcp.Connection.__mro__[2]
    assert descriptor.dataBuffer == b"" and descriptor.offset == 0
    assert issubclass(tls.BufferingTLSTransport, tls.TLSMemoryBIOProtocol)


# A whole request.


@hook(LeanChannel, "dataReceived", "data")
def test_a_request_is_answered_and_the_connection_stays():
    client = Listener().connect().send(GET).send(post(b"hello"))
    first, second = client.answers
    assert (first.status, first.body, second.body) == (200, b"ok", b"5 bytes")
    assert not client.wire.disconnecting


@pytest.mark.parametrize("data", [post(b"hello"), chunked(b"he", b"llo"), GET])
def test_bytes_may_come_one_by_one(data):
    client = Listener().connect().send(*(data[at : at + 1] for at in range(len(data))))
    assert client.answer.status == 200


@hook(Site, "getResourceFor", "request")
@hook(LeanRequest, "process")
def test_no_answer_names_the_server():
    assert "server" not in Listener().connect().send(GET).answer.headers


def test_the_default_content_type_is_json():
    assert Listener().connect().send(GET).answer.headers["content-type"] == "application/json"


@hook(Request, "getRequestHostname")
def test_the_host_header_is_not_used():
    listener = Listener()
    listener.connect().send(GET.replace(b"Host: broker", b"Host: a..b"))
    assert listener.resource.requests[0].getRequestHostname() == b"localhost"


@hook(Site, "acceptableProtocols")
def test_http_2_is_not_offered(monkeypatch):
    monkeypatch.setattr(http, "H2_ENABLED", True)
    assert Listener().site.acceptableProtocols() == [b"http/1.1"]


@hook(Site, "startFactory")
def test_no_clock_ticks_for_an_access_log():
    listener = Listener()
    listener.site.doStart()
    assert listener.clock.getDelayedCalls() == []
    listener.site.doStop()


@hook(Site, "log", "request")
def test_no_access_line_is_written():
    class Fails:
        def write(self, line):
            raise AssertionError(line)

    listener = Listener()
    listener.site.logFile = Fails()
    assert listener.connect().send(GET).answer.status == 200


def test_forms_are_not_parsed():
    listener = Listener()
    head = b"Content-Type: application/x-www-form-urlencoded"
    listener.connect().send(post(b"a=1&b=2", b"/x?c=3", head))
    request = listener.resource.requests[0]
    assert request.args == {b"c": [b"3"]}


# Bodies.


@hook(Request, "gotLength", "length")
@pytest.mark.parametrize("data", [post(b"x" * 200_000), chunked(b"x"), chunked(b"x" * 200_000)])
def test_a_body_is_kept_in_memory(monkeypatch, data):
    def no_file(*args, **kwargs):
        raise AssertionError("a temporary file was made")

    monkeypatch.setattr(tempfile, "TemporaryFile", no_file)
    monkeypatch.setattr(http.tempfile, "TemporaryFile", no_file)
    assert Listener().connect().send(data).answer.status == 200


@hook(Request, "requestReceived", "command", "path", "version")
def test_reading_the_body_copies_nothing():
    listener = Listener()
    listener.connect().send(post(b"x" * 5000, b"/wait")[:2000], post(b"x" * 5000, b"/wait")[2000:])
    content = listener.resource.requests[0].content
    body = content.read()
    assert len(body) == 5000 and content.getvalue() is body


@pytest.mark.parametrize("size", [99, 100, 101, 5000])
@pytest.mark.parametrize("kind", ["declared", "chunked", "expect"])
@hook(Request, "handleContentChunk", "data")
@hook(Channel, "allHeadersReceived")
def test_a_body_may_reach_its_limit_and_not_pass_it(size, kind):
    listener = Listener(body=100)
    client = listener.connect()
    body = b"x" * size
    if kind == "expect":
        head = post(b"", b"/v1/chat/completions", b"Expect: 100-continue", length=size)
        client.send(head, body)
    elif kind == "declared":
        client.send(post(body))
    else:
        client.send(*[chunked(*[body[at : at + 30] for at in range(0, size, 30)])])
    statuses = [answer.status for answer in client.answers]
    if size <= 100:
        assert statuses == ([100, 200] if kind == "expect" else [200])
        assert client.answers[-1].body == b"%d bytes" % size
    else:
        assert statuses == [413]
        assert client.answer.code == "request_too_large"
        assert client.answer.headers["connection"] == "close"
        assert listener.served() == 0
    assert listener.site.body_bytes == 0


def test_a_declared_body_is_refused_before_it_comes():
    client = Listener(body=100).connect().send(post(length=101))
    assert client.answer.status == 413


def test_a_chunk_is_refused_before_it_comes():
    client = Listener(body=100).connect().send(chunked(end=b"ffffffffffffffff\r\n"))
    assert client.answer.status == 413


def test_a_path_may_have_a_limit_of_its_own():
    listener = Listener(body=100, body_by_path=(("/v1/embeddings", 10), ("/v1/", 50)))
    sizes = {b"/v1/embeddings?x=1": 10, b"/v1/messages": 50, b"/other": 100}
    for path, size in sizes.items():
        assert listener.connect().send(post(b"x" * size, path)).answer.status == 200
        assert listener.connect().send(post(b"x" * (size + 1), path)).answer.status == 413


def test_chunk_framing_is_bounded_like_content():
    extension = b"1;" + b"a" * 900 + b"\r\nx\r\n"
    client = Listener(body=1000).connect().send(chunked(end=b""), *[extension] * 30)
    assert client.answer.status == 413


def test_after_a_refusal_what_comes_is_thrown_away_and_bounded():
    listener = Listener(body=100, linger_bytes=1000)
    client = listener.connect().send(post(length=5000))
    assert client.wire.half_closed and not client.wire.disconnecting
    client.send(*[b"x" * 100] * 10)
    assert not client.wire.aborted
    client.send(b"x")
    assert client.wire.aborted
    assert client.answer.status == 413


def test_after_a_refusal_the_time_is_bounded():
    listener = Listener(body=100, linger_seconds=5)
    client = listener.connect().send(post(length=5000))
    for _ in range(5):
        assert not client.wire.aborted
        client.send(b"x")
        listener.pass_time(1)
    listener.pass_time(0.5)
    assert client.wire.aborted


def test_bodies_in_flight_are_bounded_together():
    listener = Listener(bodies=100)
    first, second = listener.connect(), listener.connect()
    first.send(post(b"x" * 60, b"/wait"))
    assert listener.site.body_bytes == 60
    second.send(post(b"x" * 41))
    assert (second.answer.status, second.answer.code) == (503, "too_many_bodies")
    assert second.answer.headers["retry-after"] == "1"
    assert listener.site.body_bytes == 60
    third = listener.connect().send(post(b"x" * 41, b"/v1/messages"))
    assert third.answer.status == 529
    assert third.answer.json["error"]["type"] == "overloaded_error"
    listener.resource.requests[0].finish()
    assert listener.site.body_bytes == 0
    assert listener.connect().send(post(b"x" * 100)).answer.status == 200


def test_a_client_that_leaves_gives_its_share_of_bodies_back():
    listener = Listener()
    client = listener.connect().send(post(b"x" * 60, length=100))
    assert listener.site.body_bytes == 60
    client.hang_up()
    assert listener.site.body_bytes == 0


def test_announcing_a_body_takes_nothing():
    listener = Listener(bodies=100)
    listener.connect().send(post(length=100))
    assert listener.connect().send(post(b"x" * 100)).answer.status == 200


# Framing.

MALFORMED = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "folded": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n",
    "folded first": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "length and coding": post(b"hello", b"/", b"Transfer-Encoding: chunked"),
    "coding identity": post(b"hello", b"/", b"Transfer-Encoding: identity"),
    "coding twice": chunked(b"x").replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: identity\r\n\r\n"),
    "coding list": chunked(b"x").replace(b": chunked", b": gzip, chunked"),
    "coding in 1.0": chunked(b"x").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "two lengths": post(b"hello", b"/", b"Content-Length: 5"),
    "length list": post().replace(b"Length: 0", b"Length: 0, 0"),
    "length plus": post().replace(b"Length: 0", b"Length: +0"),
    "length empty": post().replace(b"Length: 0", b"Length: "),
    "length of 19 digits": post().replace(b"Length: 0", b"Length: " + b"0" * 19),
    "length of 5000 digits": post().replace(b"Length: 0", b"Length: " + b"1" * 5000),
    "bare lf": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\nY: 2\r\n\r\n",
    "bare cr": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\rY: 2\r\n\r\n",
    "nul": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\0\r\n\r\n",
    "bell": b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\x07\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
    "two parts": b"GET /\r\n\r\n",
    "version 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version 1.9": b"GET / HTTP/1.9\r\nHost: a\r\n\r\n",
    "not ascii": b"GET /\xa0 HTTP/1.1\r\nHost: a\r\n\r\n",
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n",
    "chunk size": chunked(end=b"xyz\r\n"),
    "chunk size of 17 digits": chunked(end=b"0" * 16 + b"1\r\nx\r\n0\r\n\r\n"),
    "chunk end": chunked(end=b"1\r\nab"),
    "trailer": chunked(b"x", end=b"0\r\nno field\r\n\r\n"),
    "trailer with lf": chunked(b"x", end=b"0\r\na: b\nc: d\r\n\r\n"),
}


@hook(Channel, "_respondToBadRequestAndDisconnect")
@hook(Channel, "_finishRequestBody", "data")
@hook(Chunks, "_dataReceived_CHUNK_LENGTH")
@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_http_is_400_once(name):
    data = MALFORMED[name]
    for pieces in ([data], [data[at : at + 1] for at in range(len(data))]):
        listener = Listener()
        client = listener.connect().send(*pieces).send(GET)
        assert (client.answer.status, client.answer.code) == (400, "malformed_request")
        assert client.answer.headers["connection"] == "close"
        assert "date" in client.answer.headers and "x-request-id" in client.answer.headers
        assert client.wire.half_closed
        assert listener.served() == 0
        assert listener.site.refused == {400: 1}


def test_a_valid_trailer_is_thrown_away():
    client = Listener().connect().send(chunked(b"x", end=b"0\r\nx-sum: 1\r\n\r\n"))
    assert client.answer.body == b"1 bytes"


def test_empty_lines_before_a_request_are_skipped():
    assert Listener().connect().send(b"\r\n", GET).answer.status == 200


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/api/hello"])
def test_refusals_speak_the_dialect_of_the_path(path):
    data = f"GET {path}?x=1 HTTP/1.1\r\nX: \0\r\n\r\n".encode()
    answer = Listener().connect().send(data).answer
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert answer.json["request_id"] == answer.headers["request-id"]


def test_the_dialect_of_the_models_path_follows_its_headers():
    data = b"GET /v1/models HTTP/1.1\r\nAnthropic-Version: 2023-06-01\r\nX: 1\r\nY: \0\r\n\r\n"
    assert Listener().connect().send(data).answer.json["type"] == "error"
    assert "type" not in Listener().connect().send(data.replace(b"Anthropic", b"Other")).answer.json


def test_a_refused_head_request_gets_no_body():
    client = Listener().connect().send(b"HEAD / HTTP/1.1\r\n\r\n")
    head, _, body = client.wire.value().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ") and body == b""


@hook(Channel, "lineReceived", "line")
def test_the_number_of_headers_is_bounded():
    def ask(count):
        lines = b"".join(b"X-%d: 1\r\n" % at for at in range(count - 1))
        return Listener(header_count=20).connect().send(GET[:-2] + lines + b"\r\n").answer

    assert ask(20).status == 200
    assert (ask(21).status, ask(21).code) == (431, "headers_too_large")


def test_the_size_of_the_head_is_bounded():
    def ask(size):
        filler = b"X: " + b"x" * (size - len(GET) - 3)
        return Listener(header_bytes=1000).connect().send(GET[:-2] + filler + b"\r\n\r\n").answer

    assert ask(1000 - 2).status == 200
    assert (ask(1001).status, ask(1001).code) == (431, "headers_too_large")


@hook(Channel, "lineLengthExceeded", "line")
@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_the_length_of_a_line_is_bounded(end):
    listener = Listener(line=500)
    client = listener.connect().send(GET[:-2] + b"X: " + b"x" * 500 + end)
    assert (client.answer.status, client.answer.code) == (431, "headers_too_large")
    client = listener.connect().send(b"GET /v1/messages?" + b"x" * 500 + end)
    assert client.answer.status == 414
    assert client.answer.json["type"] == "error"


def test_a_long_line_behind_a_served_request_is_a_line_of_its_own_request():
    client = Listener(line=500).connect().send(GET + b"GET /v1/messages?" + b"x" * 500)
    first, second = client.answers
    assert (first.status, second.status) == (200, 414)
    assert second.json["type"] == "error"


# Targets and faults.


@hook(Request, "process")
@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"OPTIONS *", 405),
        (b"GET *", 405),
        (b"CONNECT api.example:443", 405),
        (b"GET http://api.example/v1/models", 404),
        (b"GET v1/models", 404),
    ],
)
def test_a_target_that_is_no_path_is_refused(line, status):
    listener = Listener()
    answer = listener.connect().send(line + b" HTTP/1.1\r\nHost: a\r\n\r\n").answer
    assert answer.status == status and answer.json["error"]["message"]
    assert ("allow" in answer.headers) == (status == 405)
    assert "server" not in answer.headers
    assert listener.served() == 0


@hook(Request, "processingFailed", "reason")
def test_a_fault_before_the_first_byte_is_500(nothing_fails_unheard):
    client = Listener().connect().send(b"GET /fault HTTP/1.1\r\nHost: a\r\n\r\n", GET)
    first, second = client.answers
    assert first.status == 500 and "secret" not in first.json["error"]["message"]
    assert "content-encoding" not in first.headers
    assert second.status == 200
    assert [failure.type for failure in nothing_fails_unheard] == [RuntimeError]
    nothing_fails_unheard.clear()


@hook(LeanRequest, "write", "data")
def test_a_fault_after_the_first_byte_cuts_the_connection(nothing_fails_unheard):
    client = Listener().connect().send(b"GET /late-fault HTTP/1.1\r\nHost: a\r\n\r\n")
    assert client.wire.aborted
    assert client.wire.value().endswith(b"\r\n4\r\nhalf\r\n")
    nothing_fails_unheard.clear()


@hook(Channel, "loseConnection")
def test_an_unfinished_answer_is_cut_and_not_ended():
    listener = Listener()
    client = listener.connect().send(WAIT)
    request = listener.resource.requests[0]
    request.write(b"half")
    request.loseConnection()
    request.write(b"more")
    assert client.wire.aborted


def test_a_request_without_an_answer_may_be_closed():
    listener = Listener()
    client = listener.connect().send(WAIT)
    listener.resource.requests[0].loseConnection()
    assert client.wire.disconnecting and not client.wire.aborted


@hook(Channel, "checkPersistence", "request", "version")
@pytest.mark.parametrize("value", [b"close", b"Close", b"TE, close", b"keep-alive,close"])
def test_a_client_may_ask_to_close(value):
    data = GET.replace(b"\r\n\r\n", b"\r\nConnection: " + value + b"\r\n\r\n")
    client = Listener().connect().send(data)
    assert client.answer.headers["connection"] == "close"
    assert client.wire.disconnecting and not client.wire.half_closed


# Time.


@hook(Channel, "connectionMade")
@hook(Channel, "dataReceived", "data")
def test_an_idle_connection_is_closed_without_a_word():
    listener = Listener(idle_seconds=10)
    silent, used = listener.connect(), listener.connect()
    listener.pass_time(9)
    used.send(GET)
    listener.pass_time(2)
    assert silent.wire.lost and silent.wire.value() == b""
    assert not used.wire.lost
    listener.pass_time(9)
    assert used.wire.lost and used.answer.status == 200


def test_a_dripping_head_meets_its_deadline():
    listener = Listener(header_seconds=10, idle_seconds=60)
    client = listener.connect()
    listener.pass_time(30)
    for at in range(9):
        client.send(GET[at : at + 1])
        listener.pass_time(1)
        assert client.wire.value() == b""
    listener.pass_time(1.5)
    assert (client.answer.status, client.answer.code) == (408, "request_timeout")
    assert client.wire.half_closed


def test_a_dripping_body_meets_its_deadline():
    listener = Listener(header_seconds=5, body_seconds=10)
    client = listener.connect().send(post(path=b"/v1/messages", length=100))
    for _ in range(9):
        client.send(b"x")
        listener.pass_time(1)
        assert client.wire.value() == b""
    listener.pass_time(1.5)
    assert client.answer.status == 408
    assert client.answer.json["type"] == "error"
    assert listener.site.body_bytes == 0


def test_stray_empty_lines_are_no_request():
    listener = Listener(idle_seconds=20, header_seconds=5)
    client = listener.connect().send(post(b"hello") + b"\r\n").send(b"\r\n")
    listener.pass_time(15)
    assert not client.wire.lost and client.answer.status == 200
    assert client.send(GET).answers[1].status == 200
    listener.pass_time(21)
    assert client.wire.lost and len(client.answers) == 2


@hook(Channel, "allContentReceived")
def test_no_deadline_stands_while_an_answer_is_made():
    listener = Listener()
    client = listener.connect().send(WAIT)
    listener.pass_time(4000)
    assert not client.wire.lost
    listener.resource.requests[0].finish()
    assert client.answer.status == 200


@hook(Channel, "pauseProducing")
@hook(Channel, "resumeProducing")
def test_a_client_that_takes_nothing_is_cut():
    listener = Listener(stall_seconds=10)
    client = listener.connect().send(WAIT)
    wire, left = client.wire, []
    listener.resource.requests[0].notifyFinish().addErrback(left.append)
    wire.dataBuffer = b"x" * 100
    wire.producer.pauseProducing()
    listener.pass_time(9)
    wire.producer.pauseProducing()  # another write into the full buffer
    listener.pass_time(1.5)
    assert wire.aborted and len(left) == 1


def test_a_client_that_takes_little_is_not_cut():
    listener = Listener(stall_seconds=10)
    client = listener.connect().send(WAIT)
    wire = client.wire
    wire.dataBuffer = b"x" * 100
    wire.producer.pauseProducing()
    for _ in range(50):
        wire.dataBuffer = wire.dataBuffer[1:]
        listener.pass_time(5)
    assert not wire.aborted
    wire.producer.resumeProducing()
    listener.pass_time(100)
    assert not wire.aborted


def test_a_finished_answer_that_is_still_leaving_is_not_idle():
    listener = Listener(idle_seconds=10, stall_seconds=60)
    client = listener.connect().send(WAIT)
    wire = client.wire
    listener.resource.requests[0].write(b"x")
    wire.producer.pauseProducing()
    listener.resource.requests[0].finish()
    listener.pass_time(30)
    assert not wire.lost
    wire.producer.resumeProducing()
    listener.pass_time(9)
    assert not wire.lost
    listener.pass_time(2)
    assert wire.lost


def test_a_closed_connection_lingers_while_it_moves_and_no_longer():
    listener = Listener(linger_seconds=10)
    client = listener.connect()
    wire = client.wire
    wire.dataBuffer = b"x" * 100
    client.send(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
    assert wire.disconnecting
    for _ in range(20):
        wire.dataBuffer = wire.dataBuffer[1:]
        listener.pass_time(5)
    assert not wire.aborted
    listener.pass_time(21)
    assert wire.aborted


# Bytes before the answer is whole.


@hook(Channel, "rawDataReceived", "data")
def test_a_pipelined_request_ends_the_connection_after_the_answer():
    listener = Listener()
    client = listener.connect().send(WAIT).send(GET)
    request = listener.resource.requests[0]
    request.finish()
    listener.clock.advance(0)
    assert client.answer.headers["connection"] == "close"
    assert listener.served() == 1
    assert client.wire.half_closed  # unread bytes would reset the answer away


def test_bytes_behind_a_body_end_the_connection_after_the_answer():
    client = Listener().connect().send(post(b"hello") + b"GET /admin HTTP/1.1\r\n\r\n")
    assert client.answer.headers["connection"] == "close"
    assert client.answer.body == b"5 bytes"


def test_too_many_early_bytes_cut_the_connection():
    listener = Listener()
    client = listener.connect().send(WAIT)
    left = []
    listener.resource.requests[0].notifyFinish().addErrback(left.append)
    client.send(b"x" * EARLY_BYTES)
    assert client.wire.producerState == "producing"  # else we would not notice that it leaves
    assert not client.wire.aborted
    client.send(b"x")
    assert client.wire.aborted and len(left) == 1


def test_a_client_that_asks_on_without_taking_answers_is_not_served():
    listener = Listener()
    client = listener.connect().send(WAIT)
    client.wire.producer.pauseProducing()
    listener.resource.requests[0].finish()
    client.send(GET)
    assert listener.served() == 1
    assert client.wire.half_closed


@hook(Channel, "connectionLost", "reason")
@hook(LeanRequest, "connectionLost", "reason")
@pytest.mark.parametrize("reason", [ConnectionDone(), ConnectionLost()])
def test_a_client_that_leaves_is_noticed_at_once(reason):
    listener = Listener()
    client = listener.connect().send(WAIT)
    left = []
    listener.resource.requests[0].notifyFinish().addErrback(left.append)
    client.hang_up(reason)
    assert len(left) == 1 and listener.site.connections == 0
    assert listener.clock.getDelayedCalls() == []


@hook(LeanChannel, "requestDone", "request")
@pytest.mark.parametrize("heard", [False, True])
def test_an_answer_that_has_ended_leaves_nothing_behind(heard):
    listener = Listener()
    client = listener.connect().send(post(b"hello", b"/wait"))
    request = listener.resource.requests[0]
    ends = []
    if heard:
        request.notifyFinish().addBoth(ends.append)
    request.finish()
    assert (ends, listener.site.body_bytes) == ([None] if heard else [], 0)
    client.send(GET)
    assert client.wire.value().count(b"HTTP/1.1 200") == 2
    client.hang_up(ConnectionLost())
    assert len(ends) == heard


@pytest.mark.parametrize("cut", [None, -3])
def test_a_body_is_there_for_whoever_asks(cut):
    data = post(b"hello", b"/wait")
    listener = Listener()
    listener.connect().send(*([data] if cut is None else [data[:cut], data[cut:]]))
    request = listener.resource.requests[0]
    assert request.content.read() == b"hello"
    request.content.seek(0)
    assert request.content.getvalue() == b"hello"


def test_a_half_close_is_a_disconnect():
    assert not interfaces.IHalfCloseableProtocol.providedBy(Channel())


@hook(Channel, "requestDone", "request")
def test_the_next_request_finds_everything_as_the_first():
    listener = Listener(body=100, header_count=3, header_bytes=200)
    client = listener.connect()
    for _ in range(10):
        client.send(post(b"x" * 100))
    assert [answer.status for answer in client.answers] == [200] * 10


# Who is let in.


def test_connections_are_bounded_and_more_are_told_so():
    listener = Listener(connections=2)
    for _ in range(2):
        listener.connect()
    refused = listener.connect().send(GET)
    assert (refused.answer.status, refused.answer.code) == (503, "too_many_connections")
    assert refused.answer.headers["retry-after"] == "1"
    assert refused.wire.half_closed
    anthropic = listener.connect().send(post(b"hello", b"/v1/messages"))
    assert anthropic.answer.status == 529
    assert listener.site.connections == 4 and listener.served() == 0


def test_a_place_that_becomes_free_is_given_away():
    listener = Listener(connections=1)
    listener.connect().hang_up()
    assert listener.connect().send(GET).answer.status == 200


def test_who_is_turned_away_and_says_nothing_is_closed_soon():
    listener = Listener(connections=1, linger_seconds=5, idle_seconds=60)
    listener.connect()
    silent, dripping = listener.connect(), listener.connect().send(b"GET")
    listener.pass_time(6)
    assert silent.wire.lost
    assert dripping.answer.status == 503


def test_those_turned_away_are_bounded_too():
    listener = Listener(connections=1)
    listener.connect()
    for _ in range(TURNED_AWAY):
        assert not listener.connect().wire.aborted
    last = listener.connect()
    assert last.wire.aborted and last.wire.value() == b""
    assert listener.site.connections == 1 + TURNED_AWAY


def test_one_address_has_its_own_bound():
    listener = Listener(connections_per_address=2)
    first = listener.connect("198.51.100.1")
    listener.connect("198.51.100.1")
    third = listener.connect("198.51.100.1").send(GET)
    assert (third.answer.status, third.answer.code) == (429, "too_many_connections")
    assert listener.connect("198.51.100.2").send(GET).answer.status == 200
    first.hang_up()
    assert listener.connect("198.51.100.1").send(GET).answer.status == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", ""])
def test_loopback_and_unix_sockets_have_no_bound_of_their_own(host):
    listener = Listener(connections_per_address=1)
    assert [listener.connect(host).send(GET).answer.status for _ in range(3)] == [200] * 3


# The end.


def test_draining_closes_idle_connections_and_ends_busy_ones():
    listener = Listener()
    idle = listener.connect().send(GET)
    sending = listener.connect().send(post(b"hel", length=5))
    busy = listener.connect().send(WAIT)
    gone = listener.site.drain()
    listener.clock.advance(0)
    assert idle.wire.lost and not sending.wire.lost and not busy.wire.lost
    sending.send(b"lo")
    assert sending.answer.headers["connection"] == "close" and sending.wire.lost
    assert not gone.called
    listener.resource.requests[-2].finish()
    listener.clock.advance(0)
    assert busy.answer.headers["connection"] == "close"
    assert gone.called and listener.site.connections == 0
    assert listener.clock.getDelayedCalls() == []


@hook(LeanRequest, "finish")
def test_draining_lets_a_begun_stream_finish():
    listener = Listener()
    client = listener.connect().send(WAIT)
    request = listener.resource.requests[0]
    request.write(b"first")
    gone = listener.site.drain()
    request.write(b"last")
    request.finish()
    listener.clock.advance(0)
    assert client.wire.value().endswith(b"\r\n4\r\nlast\r\n0\r\n\r\n")
    assert gone.called


def test_draining_without_connections_is_done():
    assert Listener().site.drain().called


def test_nobody_is_let_in_while_draining():
    listener = Listener()
    listener.connect().send(WAIT)
    gone = listener.site.drain()
    assert listener.connect().wire.aborted
    assert not gone.called


def test_abort_cuts_all_connections():
    listener = Listener()
    clients = [listener.connect(), listener.connect().send(WAIT), listener.connect().send(b"GET")]
    gone = listener.site.drain()
    listener.site.abort()
    listener.clock.advance(0)
    assert [client.wire.lost for client in clients] == [True] * 3
    assert gone.called


def test_a_refusal_is_told_to_the_operator_without_the_request():
    events = []

    class Log:
        def info(self, text, **fields):
            events.append((text, fields))

    listener = Listener()
    client = Connection(listener)
    client.channel.log = Log()
    client.send(b"GET /secret HTTP/1.1\r\nAuthorization: sk-secret\r\n\r\n")
    ((text, fields),) = events
    assert fields["status"] == 400 and fields["code"] == "malformed_request"
    assert fields["fields"] == {"request_id": client.answer.headers["x-request-id"]}
    assert "secret" not in repr(events)


def test_a_refusal_in_the_middle_of_nothing_is_told_once():
    client = Listener().connect()
    info = ErrorInfo(kind="invalid_request", message="no")
    client.channel.refuse(info)
    client.channel.refuse(info)
    assert client.answer.status == 400


def test_the_defaults_bear_a_large_upload_over_a_slow_link():
    limits = Limits()
    assert limits.body >= 30 * 1024 * 1024
    assert limits.body / limits.body_seconds < 512_000 / 8
    assert limits.linger_bytes < limits.body <= limits.bodies
    assert limits.line <= limits.header_bytes
