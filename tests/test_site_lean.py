"""The lean engine of the site: that it is lean, and that nobody else can tell."""

import re

import pytest
from site_in_memory import GET, WAIT, Connection, Listener, chunked, post
from twisted.internet.task import Clock
from twisted.web import server
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET

from lmbroker.server.http import Site
from lmbroker.server.http.channel import Channel
from lmbroker.server.http.lean_request import LeanRequest

ENGINES = ("lean", "stock")

SDK = post(
    b"x" * 1000,
    b"/v1/chat/completions?beta=true",
    b"Accept-Encoding: gzip, deflate",
    b"Connection: keep-alive",
    b"User-Agent: OpenAI/Python 2.8.0",
    b"X-Stainless-Lang: python",
    b"x-stainless-retry-count: 0",
)


@pytest.mark.parametrize("cut", [-1, -500, -1000])
def test_usual_requests_are_read_at_once(monkeypatch, cut):
    """Otherwise all would work, and be slow."""

    def no_lines(self, line):
        raise AssertionError(line)

    monkeypatch.setattr(Channel, "lineReceived", no_lines)
    client = Listener(engine="lean").connect().send(SDK[:cut], SDK[cut:]).send(GET, SDK)
    assert [answer.status for answer in client.answers] == [200] * 3


def test_who_asks_for_nothing_else_hears_that_the_client_left():
    listener = Listener(engine="lean")
    left = []
    for leaves in (True, False):
        client = listener.connect().send(WAIT)
        request = listener.resource.requests[-1]
        request.when_left(lambda leaves=leaves: left.append(leaves))
        if not leaves:
            request.finish()
        client.hang_up()
    assert left == [True]


@pytest.mark.parametrize("cut", [None, -3])
def test_the_body_goes_to_who_takes_it(cut):
    data = post(b"hello", b"/wait")
    listener = Listener(engine="lean")
    listener.connect().send(*([data] if cut is None else [data[:cut], data[cut:]]))
    request = listener.resource.requests[0]
    assert request.content.read() == b"hello"
    request.content.seek(0)
    assert (request.take_body(), request.take_body()) == (b"hello", b"")


UNUSUAL = (
    b"\r\n" + GET,
    chunked(b"x"),
    post(b"x", b"/", b"Expect: 100-continue"),
    GET.replace(b"HTTP/1.1", b"HTTP/1.0"),
    GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
    GET.replace(b"\r\n\r\n", b"\r\nCookie: a=1\r\n\r\n"),
    GET.replace(b"Host", b"Host: a\r\nHost"),
    GET.replace(b"Host", b"X: a\r\nx: b\r\nHost"),
    GET.replace(b"broker", b"bro\nker"),
    GET + GET,
)


@pytest.mark.parametrize("data", UNUSUAL)
def test_after_any_other_request_all_lines_are_read_one_by_one(monkeypatch, data):
    lines, read = [], Channel.lineReceived

    def note(self, line):
        lines.append(line)
        return read(self, line)

    monkeypatch.setattr(Channel, "lineReceived", note)
    client = Listener(engine="lean").connect().send(GET)
    assert lines == []
    client.send(data)
    if client.channel.phase != "closing":
        lines.clear()
        client.send(GET)
        assert b"Host: broker" in lines


def test_a_request_has_all_that_twisteds_has():
    site = Site(Resource(), Clock())
    channel = site.buildProtocol(None)
    channel.transport = Connection(Listener()).wire
    channel.site = site
    ours, stock = LeanRequest(channel, 0), server.Request(channel, 0)
    assert {name for name in vars(stock) if getattr(ours, name, None) is None} == set()


def test_an_answer_is_written_in_one_piece_and_each_event_in_one():
    pieces = []
    client = Listener(engine="lean").connect()
    client.wire.write = pieces.append
    client.send(GET)
    ((head, _, body),) = [piece.partition(b"\r\n\r\n") for piece in pieces]
    assert head.startswith(b"HTTP/1.1 200 OK\r\n") and body == b"ok"
    client.send(WAIT)
    request = client.listener.resource.requests[-1]
    request.write(b"one")
    request.write(b"")
    request.write(b"two")
    request.finish()
    assert pieces[1].endswith(b"\r\n\r\n3\r\none\r\n")
    assert pieces[2:] == [b"3\r\ntwo\r\n", b"0\r\n\r\n"]


def test_nothing_is_written_behind_the_end():
    listener = Listener(engine="lean")
    client = listener.connect().send(WAIT)
    request = listener.resource.requests[0]
    late = []

    def write_late(_):
        with pytest.raises(RuntimeError):
            request.write(b"late")
        late.append(True)

    request.notifyFinish().addCallback(write_late)
    request.write(b"one")
    request.finish()
    assert late and client.wire.value().endswith(b"3\r\none\r\n0\r\n\r\n")


def test_nothing_is_written_for_a_client_that_has_left():
    listener = Listener(engine="lean")
    client = listener.connect().send(WAIT)
    request = listener.resource.requests[0]
    request.notifyFinish().addErrback(lambda _: request.write(b"two"))
    request.write(b"one")
    before = client.wire.value()
    client.hang_up()
    request.write(b"three")
    assert client.wire.value() == before
    with pytest.raises(RuntimeError):
        request.finish()


# Answers, byte for byte.


def whole(request):
    return b"hello"


def nothing(request):
    return b""


def no_content(request):
    request.setResponseCode(204)
    return b""


def pieces(request):
    for piece in (b"one", b"", b"two"):
        request.write(piece)
    request.finish()
    return NOT_DONE_YET


def with_length(request):
    request.setHeader(b"content-length", b"6")
    request.setHeader("content-type", "text/plain; charset=utf-8")
    return pieces(request)


def decorated(request):
    request.addCookie("a", "b", path="/", httpOnly=True)
    request.setLastModified(1_700_000_000)
    request.setETag(b"tag")
    request.responseHeaders.setRawHeaders("x-two", ["1", "2"])
    request.setHeader("x-split", "a\r\nx-b: c")
    return b"x"


def moved(request):
    request.redirect(b"/elsewhere")
    request.finish()
    return NOT_DONE_YET


def own_words(request):
    request.setResponseCode(529, b"Overloaded")
    return b"x"


def refusing(request):
    if request.method == b"HEAD":
        raise server.UnsupportedMethod((b"GET",))
    return b"refused"


def told_who_asks(request):
    return repr(
        (
            request.getClientAddress(),
            request.getHost(),
            request.isSecure(),
            request.getHeader("user-agent"),
            request.getAllHeaders(),
            request.getCookie(b"a"),
            request.args,
            request.prepath,
            request.postpath,
            request.sitepath,
            request.getUser(),
        )
    ).encode()


class Renders(Resource):
    """A tree in which ``/a/b`` renders, and everything is asked of it."""

    def __init__(self, render, depth=2):
        super().__init__()
        self.isLeaf = depth == 0
        self.render = render if depth == 0 else super().render
        if depth:
            self.putChild(b"ab"[-depth:][:1], Renders(render, depth - 1))


RENDERERS = (
    whole,
    nothing,
    no_content,
    pieces,
    with_length,
    decorated,
    moved,
    own_words,
    refusing,
    told_who_asks,
)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"POST", b"FOO"])
@pytest.mark.parametrize("render", RENDERERS)
def test_both_engines_answer_the_same(render, method, version):
    lines = (
        method + b" /a/%62/c%20d?x=1&x=2&y HTTP/" + version,
        b"Host: a",
        b"User-Agent: one",
        b"user-agent: two",
        b"Authorization: Basic dTpw",
    )
    written = []
    for engine in ENGINES:
        listener = Listener(engine=engine)
        listener.site.resource = Renders(render)
        client = listener.connect().send(b"\r\n".join(lines) + b"\r\n\r\n")
        written.append(
            (re.sub(rb"\r\nDate: .*\r\n", b"\r\n", client.wire.value()), client.wire.disconnecting)
        )
    assert written[0] == written[1]
    assert written[0][0].startswith(b"HTTP/" + version)


def together(pairs, body=b"x"):
    """Renders headers all at once where that can be done."""

    def render(request):
        set_head = getattr(request, "set_head", None)
        if set_head is not None:
            set_head(202, b"Taken", pairs)
        else:
            request.setResponseCode(202, b"Taken")
            for name, value in pairs:
                request.setHeader(name, value)
        request.write(body)
        request.finish()
        return NOT_DONE_YET

    return render


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
@pytest.mark.parametrize(
    "pairs",
    [
        (),
        (("content-type", "application/json"), ("content-length", "1"), ("x-a", "b")),
        (("x-a", "b"), ("content-type", "text/event-stream")),
        (("x-a", "b\r\nx-c: d"), ("content-length", "1")),
        (("x-a", "b\nx-c: d"),),
        (("x-a", "b\rx-c: d"),),
        (("x-a", "b\x0bc"), ("content-length", "1")),
        (("x-a", "b\x1cc"),),
        (("x-a", "ä"),),
    ],
)
def test_headers_given_together_are_those_given_one_by_one(pairs, method):
    answers = []
    for engine in ENGINES:
        listener = Listener(engine=engine)
        listener.site.resource = Renders(together(pairs))
        client = listener.connect().send(method + b" /a/b HTTP/1.1\r\nHost: a\r\n\r\n")
        head, _, body = client.wire.value().partition(b"\r\n\r\n")
        lines = [
            re.sub(rb"^[^:]+:", lambda name: name[0].lower(), line) for line in head.split(b"\r\n")
        ]
        answers.append((sorted(line for line in lines if not line.startswith(b"date:")), body))
    assert answers[0] == answers[1]
