"""What the tests with a broken backend share: the rig that they happen in, and what must hold
after each call, however it ended."""

import contextlib
import json
import socket

import pytest
from rig import CONFIG, EVENTS, PATHS, Rig, ask, chunk, sse_head, unary
from stopwatch import Stopwatch
from twisted.internet import reactor
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.internet.task import deferLater
from zope.interface import implementer

from lmbroker.call import Timeouts
from lmbroker.observers.access_log import access_fields
from lmbroker.server.http import Limits, Site

QUICK = Timeouts(connect=0.4, headers=0.4, first_event=0.4, idle=0.3, total=0.8, commit=5, ping=5)
"""Short enough for many tests that wait for one of them."""

SHORT = {
    "timeout_connect": {"connect": 0.4},
    "timeout_headers": {"headers": 0.4},
    "timeout_first_event": {"first_event": 0.4},
    "timeout_idle": {"idle": 0.3},
    "timeout_total": {"total": 0.8},
}
"""Code of an error -> the timeout that ends a call with it."""


def patience(code):
    """The timeouts of a test whose call ends with ``code``: none is short but the one that is to
    end it, so that a busy machine ends no other call."""
    return Timeouts(commit=5, ping=5, **SHORT.get(code, {}))


ENDS = [
    ("openai", "o"),
    ("openai", "a"),
    ("anthropic", "o"),
    ("anthropic", "a"),
    ("responses", "r"),
    ("responses", "a"),
    ("anthropic", "r"),
]
"""Client dialect, alias: the calls that are passed through, and translations from and to each
dialect."""
NATIVE = (("openai", "o"), ("anthropic", "a"), ("responses", "r"))
"""Those that are passed through."""

PAIRS = pytest.mark.parametrize(
    ("engine", "dialect", "alias"),
    [
        ("lean", "openai", "o"),
        ("lean", "openai", "a"),
        ("stock", "anthropic", "a"),
        ("stock", "anthropic", "o"),
    ],
    indirect=["engine"],
)
"""Each engine with a call that is passed through and one that is translated: enough where neither
the client's dialect nor the engine has a part in what is tested."""

NARROW = CONFIG.replace('"env:KEY"', '"env:KEY", max_in_flight = 1, queue = 9, queue_timeout = 3')
"""One call at a backend at a time: a place that is not given back blocks the next call."""

WHOLE = {
    "o": b'{"id":"c1","object":"chat.completion","created":1,"model":"real-o","choices":'
    b'[{"index":0,"message":{"role":"assistant","content":"h\xc3\xa9"},"finish_reason":"stop"}],'
    b'"usage":{"prompt_tokens":3,"completion_tokens":5,"total_tokens":8}}',
    "a": b'{"id":"msg_1","type":"message","role":"assistant","model":"real-a","content":'
    b'[{"type":"text","text":"h\xc3\xa9"}],"stop_reason":"end_turn","stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":5}}',
    "r": b'{"id":"resp_1","object":"response","created_at":1,"model":"real-r","status":"completed",'
    b'"output":[{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":'
    b'[{"type":"output_text","text":"h\xc3\xa9","annotations":[]}]}],'
    b'"usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}',
}
"""A good answer in each backend's dialect."""

TYPES = {
    400: "invalid_request_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    504: "timeout_error",
    529: "overloaded_error",
}
"""HTTP status -> type of Anthropic's error."""


def config_for(url):
    """Both aliases with another backend than the rig's own."""
    return CONFIG.replace("http://127.0.0.1:PORT/v1/", url).replace("http://127.0.0.1:PORT", url)


@contextlib.contextmanager
def crowded_port():
    """A port that neither accepts nor refuses: its queue of connections is full."""
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(0)
    waiting = []
    for _ in range(4):
        client = socket.socket()
        client.setblocking(False)
        client.connect_ex(listening.getsockname())
        waiting.append(client)
    yield listening.getsockname()[1]
    for each in (*waiting, listening):
        each.close()


@implementer(IHostnameResolver, IHostResolution)
class Resolver:
    """Knows no name, or does not answer at all."""

    name = ""

    def __init__(self, *, answers):
        self.asked = self.cancelled = 0
        self._answers = answers

    def resolveHostName(self, receiver, *args, **kwargs):
        self.asked += 1
        receiver.resolutionBegan(self)
        if self._answers:
            receiver.resolutionComplete()
        return self

    def cancel(self):
        self.cancelled += 1


@contextlib.contextmanager
def resolver(one):
    """Look names up with ``one`` meanwhile."""
    before = reactor.installNameResolver(one)
    yield one
    reactor.installNameResolver(before)


async def until(condition, seconds=3):
    """Wait until ``condition`` holds."""
    for _ in range(int(seconds * 200)):
        if condition():
            return
        await deferLater(reactor, 0.005)
    raise AssertionError("it did not come to pass")


def own_site(resource):
    """The broker's own site."""
    return Site(resource, reactor, Limits(), Rig.engine)


CHAOS = {"timeouts": QUICK, "config": NARROW, "site": own_site}
"""The rig in which things break."""


async def answered(client):
    """Wait until the answer is whole, or the connection is gone."""

    def whole():
        head, end, rest = bytes(client.received).partition(b"\r\n\r\n")
        if not end:
            return client.lost is not None
        length = head.lower().partition(b"\r\ncontent-length: ")[2].partition(b"\r\n")[0]
        if length:
            return len(rest) >= int(length)
        return rest.endswith(b"0\r\n\r\n") or client.lost is not None

    await client.until(whole)


def told(client, dialect):
    """Status, type and code of an error that came as an HTTP answer in the client's dialect.
    Anthropic's has no code."""
    assert "content-type: application/json" in client.head, client.head
    body = json.loads(client.body)
    error = body["error"]
    assert error["message"]
    if dialect == "anthropic":
        assert body["type"] == "error"
    return int(client.head.split()[1]), error["type"], error.get("code")


def told_in_band(client, dialect):
    """Type and code of the one error that ends a stream in the client's dialect, and the text of
    all that came before it."""
    assert client.head.startswith("http/1.1 200")
    assert "text/event-stream" in client.head
    assert client.received.endswith(b"0\r\n\r\n"), "the body must end properly"
    *events, last, nothing = client.body.decode().split("\n\n")
    assert nothing == ""
    if dialect == "responses":
        *events, first = events
        assert "event: error\ndata: " in first
        before = "".join(events).replace('"error":null', "")
        assert '"error"' not in before and "response.completed" not in before
        value = json.loads(last.removeprefix("event: response.failed\ndata: "))
        assert value["response"]["status"] == "failed"
        return "server_error", value["response"]["error"]["code"], before
    before = "".join(events)
    assert "[DONE]" not in before and "message_stop" not in before and '"error"' not in before
    if dialect == "openai":
        error = json.loads(last.removeprefix("data: "))["error"]
        return error["type"], error["code"], before
    name, data = last.split("\n")
    assert name == "event: error"
    value = json.loads(data.removeprefix("data: "))
    assert value["type"] == "error"
    return value["error"]["type"], None, before


def error_type(dialect, status):
    """The type of an error with this status, of those that are a backend's fault."""
    return TYPES[status] if dialect == "anthropic" else "server_error"


async def the_call_is_over(rig, *, outcome, code="", attempts=1):
    """One record, in full, and nothing in flight."""
    [record] = await rig.ended()
    assert (record.end.outcome, record.end.code, len(record.attempts)) == (outcome, code, attempts)
    assert rig.gauge() == 0
    line = access_fields(record)
    assert line["request_id"] and line["backend"] and line["ms"] >= 0
    assert line.get("code", "") == code
    return record


def established(line):
    """Whether the kernel takes a connection for open, read from or not."""
    wire = getattr(line.transport, "transport", line.transport)  # under TLS
    return wire.getHandle().getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == 1


async def cut(backend):
    """The broker closes its connection to the backend, soon."""
    closing = Stopwatch()
    await backend.closed()
    assert closing.stop() < 1.5


async def next_request(rig):
    """The connection on which the backend gets its next request, unanswered as yet."""
    before = {id(line): line.received.count(b"POST ") for line in rig.backends_seen}

    def asked():
        return [
            line
            for line in rig.backends_seen
            if line.received.count(b"POST ") > before.get(id(line), 0)
        ]

    await until(asked)
    return asked()[0]


async def the_next_call_is_served(rig, dialect, alias, *, on=None, stream=False):
    """Places, pool and breaker are as they should be: another call gets through. ``on`` is the
    connection that it must use, a new one for None, any for ``...``."""
    known = list(rig.backends_seen)
    ended = len(rig.records)
    client = await rig.post(PATHS[dialect], ask(alias, stream=stream))
    line = await next_request(rig)
    if on is not ...:
        assert line is on if on is not None else line not in known
    if stream:
        line.transport.write(sse_head() + chunk(b"".join(EVENTS[alias])) + b"0\r\n\r\n")
    else:
        line.transport.write(unary(WHOLE[alias]))
    await client.has("hé".encode())
    await answered(client)
    assert client.head.startswith("http/1.1 200")
    records = await rig.ended(ended + 1)
    assert len(records) == ended + 1, "each call has exactly one record"
    assert records[-1].end.outcome == "complete"
    assert rig.gauge() == 0
    assert client.lost is None, "a client's connection can be used again"
