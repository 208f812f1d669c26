"""The clients' side without sockets: a site over a clock, and connections to it in memory."""

import json

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from zope.interface import implementer

from lmbroker.server.http import Limits, Site

REMOTE = "203.0.113.7"


@implementer(IHalfCloseableDescriptor)
class Wire(StringTransport):
    """Collects what is written, and loses the connection as a socket would: a turn later."""

    dataBuffer = b""
    """What the kernel has not taken; tests set it."""

    def __init__(self, clock, host):
        super().__init__(peerAddress=IPv4Address("TCP", host, 50000), lenient=True)
        self._clock = clock
        self.protocol = None
        self.half_closed = self.aborted = self.lost = False

    def loseWriteConnection(self):
        self.half_closed = True

    def loseConnection(self):
        super().loseConnection()
        if not self.dataBuffer:
            self._clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self):
        self.aborted = self.disconnecting = True
        self._clock.callLater(0, self.lose, ConnectionAborted())

    def lose(self, reason):
        """The end of the connection, whoever wanted it."""
        if not self.lost:
            self.lost = True
            self.connected = False
            self.protocol.connectionLost(Failure(reason))


class Answers(Resource):
    """GET says ``ok``, POST says how long the body was. ``/wait`` leaves the request to the
    test, ``/fault`` breaks, ``/late-fault`` breaks after its first byte."""

    isLeaf = True

    def __init__(self):
        super().__init__()
        self.requests = []

    def render(self, request):
        self.requests.append(request)
        if request.path == b"/wait":
            return NOT_DONE_YET
        if request.path == b"/fault":
            request.setHeader("content-encoding", "gzip")
            raise RuntimeError("sk-secret")
        if request.path == b"/late-fault":
            request.write(b"half")
            raise RuntimeError("sk-secret")
        if request.method == b"GET":
            return b"ok"
        return b"%d bytes" % len(request.content.read())


class Listener:
    """A site, its clock, and what it has been asked."""

    engine = "lean"
    """Tests over both engines set it."""

    def __init__(self, *, engine=None, **limits):
        self.clock = Clock()
        self.resource = Answers()
        self.limits = Limits(**limits)
        self.site = Site(self.resource, self.clock, self.limits, engine or self.engine)

    def connect(self, host=REMOTE):
        return Connection(self, host)

    def pass_time(self, seconds):
        """In steps that are shorter than any deadline."""
        for _ in range(round(seconds * 4)):
            self.clock.advance(0.25)

    def served(self):
        return len(self.resource.requests)


class Connection:
    """One client."""

    def __init__(self, listener, host=REMOTE):
        self.listener = listener
        self.wire = Wire(listener.clock, host)
        self.channel = listener.site.buildProtocol(self.wire.getPeer())
        self.wire.protocol = self.channel
        self.channel.makeConnection(self.wire)
        listener.clock.advance(0)

    def send(self, *pieces):
        for piece in pieces:
            if not self.wire.lost:
                self.channel.dataReceived(piece)
        self.listener.clock.advance(0)
        return self

    def hang_up(self, reason=None):
        self.wire.lose(reason or ConnectionDone())
        self.listener.clock.advance(0)

    @property
    def answers(self):
        """What came back so far, as a list of answers; ``100 Continue`` is one."""
        found, rest = [], self.wire.value()
        while rest:
            answer = Answer(rest)
            found.append(answer)
            rest = answer.rest
        return found

    @property
    def answer(self):
        """The only one."""
        (answer,) = self.answers
        return answer


class Answer:
    """One HTTP answer, and the bytes behind it."""

    def __init__(self, data):
        head, blank, rest = data.partition(b"\r\n\r\n")
        assert blank, data
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        pairs = [line.split(": ", 1) for line in lines]
        self.headers = {name.lower(): value for name, value in pairs}
        assert len(self.headers) == len(pairs), head
        length = 0 if self.status == 100 else int(self.headers.get("content-length", len(rest)))
        self.body, self.rest = rest[:length], rest[length:]

    @property
    def json(self):
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)

    @property
    def code(self):
        """The error's code, where an OpenAI client finds it."""
        return self.json["error"]["code"]


def post(body=b"", path=b"/v1/chat/completions", *headers, length=None):
    """A whole POST."""
    lines = [
        b"POST " + path + b" HTTP/1.1",
        b"Host: broker",
        b"Content-Length: %d" % (len(body) if length is None else length),
        *headers,
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunked(*chunks, path=b"/v1/chat/completions", end=b"0\r\n\r\n"):
    """A chunked POST."""
    head = b"POST " + path + b" HTTP/1.1\r\nHost: broker\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks) + end


GET = b"GET /health HTTP/1.1\r\nHost: broker\r\n\r\n"
WAIT = b"GET /wait HTTP/1.1\r\nHost: broker\r\n\r\n"
