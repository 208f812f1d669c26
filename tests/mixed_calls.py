"""Mixed calls for the soak: what clients ask and how they leave, what backends do wrong, and how
each call ended. All by a ``random.Random``, so that a seed gives the same calls again."""

import gzip
import json
import re
from collections import Counter
from typing import NamedTuple

from certificates import Authority
from chaos import WHOLE
from connect_proxy import ConnectProxy, Near, answer
from rig import EVENTS, PATHS, chunk, sse_head, unary
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    SSL4ServerEndpoint,
    TCP4ServerEndpoint,
    connectProtocol,
)
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Cooperator, deferLater

PRACTICE_MODELS = [
    "echo",
    "slow-5",
    "empty",
    "long-200",
    "fail-400",
    "fail-401",
    "fail-429",
    "fail-500",
    "fail-529",
    "cut",
    "reset",
    "cut-clean",
    "stall",
    "hang",
    "html",
    "error-first",
    "error-mid",
    "json-for-stream",
    "stream-for-json",
]
"""Of the practice backend; not ``garbage``: passed through, its stream is complete and no JSON."""

TIMEOUTS = """
[timeouts]
connect = 0.5
headers = 0.5
first_event = 0.5
idle = 0.3
total = 2
commit = 0.2
ping = 0.1
"""

BACKEND = """
[[backends]]
name = "{backend}-{dialect}"
type = "{dialect}"
url = "{url}"
{more}
"""

MODEL = """
[[models]]
alias = "{alias}"
targets = [{targets}]
"""

NARROW = "max_in_flight = 4\nqueue = 3\nqueue_timeout = 0.2"


def config(practice_url, broken):
    """Every fault of the practice backend and those of ``Broken``, in all dialects; alone, as the
    first of two targets, through a proxy and over TLS that asks for a certificate."""
    text = TIMEOUTS
    models = []
    for dialect, letter in (("openai", "o"), ("anthropic", "a"), ("responses", "r")):
        for backend, url, more in (
            ("practice", practice_url, ""),
            ("broken", broken.url, ""),
            ("narrow", broken.url, NARROW),
            ("proxied", broken.url, broken.through_proxy),
            ("secured", broken.secure_url, broken.certificates),
            ("both", broken.secure_url, f"{broken.through_proxy}\n{broken.certificates}"),
        ):
            text += BACKEND.format(backend=backend, dialect=dialect, url=url, more=more)
        for name in PRACTICE_MODELS:
            models.append((f"{letter}-{name}", [(f"practice-{dialect}", name)]))
        for number in range(6):
            models.append((f"{letter}-broken-{number}", [(f"broken-{dialect}", letter)]))
        for number in range(3):
            models.append((f"{letter}-narrow-{number}", [(f"narrow-{dialect}", letter)]))
        for way in ("proxied", "secured", "both"):
            models.append((f"{letter}-{way}", [(f"{way}-{dialect}", letter)]))
        for number in range(3):
            pair = [(f"broken-{dialect}", letter), ("practice-openai", "echo")]
            models.append((f"{letter}-pair-{number}", pair))
    for alias, targets in models:
        placed = ", ".join(
            f'{{ backend = "{name}", model = "{model}" }}' for name, model in targets
        )
        text += MODEL.format(alias=alias, targets=placed)
    return text, [alias for alias, _ in models]


class Broken(Protocol):
    """A backend that does something else with each request, mostly wrong. ``BrokenBackends``
    listens."""

    def __init__(self, random):
        self._random = random
        self._data = bytearray()

    def dataReceived(self, data):
        self._data += data
        while self._data:
            head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0] or 0)
            if not end or len(rest) < length:
                return
            self._data = bytearray(rest[length:])
            body = json.loads(rest[:length])
            self._random.choice(DEEDS)(self, body["model"], bool(body.get("stream")))

    def say(self, *pieces):
        self.transport.write(b"".join(pieces))

    def close(self):
        self.transport.loseConnection()

    def reset(self):
        def abort():
            if self.transport.connected:
                self.transport.abortConnection()

        reactor.callLater(0.01, abort)


class BrokenBackends:
    """``Broken`` at ``url``, at ``secure_url`` for clients with a certificate, and a proxy that
    often gives no way. ``through_proxy`` and ``certificates`` are lines of a configuration."""

    async def listen(self, random, folder):
        class Accept(Factory):
            noisy = False

            def buildProtocol(self, addr):
                return Broken(random)

        authority = Authority()
        (folder / "ca.pem").write_text(authority.pem)
        cert, key = authority.files(folder)
        self.certificates = f'ca = "{folder}/ca.pem"\nclient_cert = "{cert}"\nclient_key = "{key}"'
        plain = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        secure = SSL4ServerEndpoint(reactor, 0, authority.asking(), interface="127.0.0.1")
        self._ports = [await each.listen(Accept()) for each in (plain, secure)]
        self.url = f"http://127.0.0.1:{self._ports[0].getHost().port}"
        self.secure_url = f"https://localhost:{self._ports[1].getHost().port}"

        def something(near):
            random.choice(PROXY_DEEDS)(near)

        self._proxy = await ConnectProxy(something, forgets=True).listen()
        self.through_proxy = f'proxy = "http://{self._proxy.address}"'
        return self

    async def close(self):
        for port in self._ports:
            await port.stopListening()
        await self._proxy.close()


PROXY_DEEDS = [
    *[Near.open] * 12,
    answer(b"502 Bad Gateway"),
    answer(b"407 Proxy Authentication Required"),
    answer(b"garbage"),
    lambda near: near.transport.loseConnection(),
    lambda near: near.transport.abortConnection(),
    lambda near: None,
]


def _good(line, alias, stream):
    if stream:
        line.say(sse_head(), chunk(b"".join(EVENTS[alias])), b"0\r\n\r\n")
    else:
        line.say(unary(WHOLE[alias]))


def _good_and_gone(line, alias, stream):
    """Says nothing of closing; the next request may be on its way."""
    _good(line, alias, stream)
    line.close()


def _good_then_hang(line, alias, stream):
    line.say(sse_head(), chunk(b"".join(EVENTS[alias])))


def _half(line, alias, stream):
    line.say(sse_head(), chunk(EVENTS[alias][0]), chunk(b'data: {"half'))
    line.reset()


def _truncated(line, alias, stream):
    line.say(unary(WHOLE[alias])[:-5])
    line.close()


def _bad_chunk(line, alias, stream):
    line.say(sse_head(), chunk(EVENTS[alias][0]), b"zz\r\n")


def _early_hints(line, alias, stream):
    line.say(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    _good(line, alias, stream)


def _says(data, *, then=None):
    def deed(line, alias, stream):
        line.say(data)
        if then is not None:
            then(line)

    return deed


DEEDS = [
    *[_good] * 6,
    _good_and_gone,
    _good_and_gone,
    _good_then_hang,
    _half,
    _truncated,
    _bad_chunk,
    _early_hints,
    _says(b"", then=Broken.close),
    _says(b"", then=Broken.reset),
    _says(b""),
    _says(b"garbage\r\n\r\n"),
    _says(b"HTTP/1.1 20", then=Broken.close),
    _says(b"HTTP/1.1 200 OK\r\nx-flood: " + b"y" * 300_000),
    _says(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n"),
    _says(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n"),
    _says(b"HTTP/1.1 503 Busy\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n"),
    _says(sse_head(), then=Broken.close),
    _says(sse_head() + b"0\r\n\r\n"),
    _says(unary(b'{"half":')),
]


class Plan(NamedTuple):
    """What one client does: it asks, and may leave. ``leaves``: after so many bytes of the answer
    (0: right after asking; -1: within its own request; None: not at all)."""

    dialect: str
    alias: str
    stream: bool
    leaves: int | None
    rudely: bool
    size: int
    zipped: bool


def plans(random, aliases, count):
    """``count`` plans."""
    for _ in range(count):
        yield Plan(
            dialect=random.choice(list(PATHS)),
            alias=random.choice(aliases),
            stream=random.random() < 0.6,
            leaves=random.choice([None] * 12 + [-1, 0, 1, 200, 700, 1500]),
            rudely=random.random() < 0.5,
            size=random.choice([10, 10, 10, 1000, 100_000]),
            zipped=random.random() < 0.2,
        )


class Client(Protocol):
    """Carries one plan out; ``done`` fires when its connection is gone."""

    def __init__(self, plan):
        self.plan = plan
        self.done = Deferred()
        self.left = False
        self.received = bytearray()

    def connectionMade(self):
        plan = self.plan
        most, turns = "max_tokens", "messages"
        if plan.dialect == "responses":
            most, turns = "max_output_tokens", "input"
        said = [{"role": "user", "content": "word " * (plan.size // 5)}]
        asked = {"model": plan.alias, "stream": plan.stream, most: 50, turns: said}
        if plan.dialect == "responses":
            asked["store"] = False
        body = json.dumps(asked).encode()
        head = f"POST {PATHS[plan.dialect]} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        if plan.zipped:
            body = gzip.compress(body)
            head = head.partition("Content-Length")[0]
            head += f"Content-Encoding: gzip\r\nContent-Length: {len(body)}\r\n"
        request = head.encode() + b"connection: close\r\n\r\n" + body
        if plan.leaves == -1:
            self.transport.write(request[: len(request) // 2])
        else:
            self.transport.write(request)
        if plan.leaves in (-1, 0):
            reactor.callLater(0.005, self._leave)

    def dataReceived(self, data):
        self.received += data
        if self.plan.leaves is not None and 0 < self.plan.leaves <= len(self.received):
            self._leave()

    def _leave(self):
        self.left = True
        if self.plan.rudely:
            self.transport.abortConnection()
        else:
            self.transport.loseConnection()

    def connectionLost(self, reason):
        self.clean = reason.check(ConnectionDone) is not None
        self.done.callback(self)

    @property
    def outcome(self):
        """``complete``, ``in band``, ``error`` or ``left``. Raises AssertionError for what is none
        of them, and for what is two."""
        if self.left:
            return "left"
        what = f"{self.plan}: {bytes(self.received[:2000])!r}"
        head, _, body = bytes(self.received).partition(b"\r\n\r\n")
        assert self.clean, what
        status = int(head.split()[1])
        if b"transfer-encoding: chunked" in head.lower():
            assert body.endswith(b"0\r\n\r\n"), what
            body = _joined(body)
        if status >= 400:
            assert "error" in json.loads(body), what
            return "error"
        assert status == 200, what
        if not self.plan.stream:
            assert json.loads(body).keys() & {"choices", "content", "output"}, what
            return "complete"
        end, error = ENDS[self.plan.dialect]
        ended, failed = (len(re.findall(b"(?m)^" + each, body)) for each in (end, error))
        assert ended + failed == 1, what
        *_, last, nothing = body.split(b"\n\n")
        assert nothing == b"", what
        assert re.match(b"(?m)" + (error if failed else end), last), what
        return "in band" if failed else "complete"


ENDS = {
    "openai": (rb"data: \[DONE\]$", b'data: {"error":'),
    "anthropic": (rb"event: message_stop$", b"event: error$"),
    "responses": (rb"event: response\.(?:in)?complete", rb"event: response\.failed$"),
}
"""How the last event of a whole stream begins, and that of one that failed."""


def _joined(body):
    out = []
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        out.append(body[:length])
        body = body[length + 2 :]
    return b"".join(out)


async def carry_out(port, wanted, *, at_once):
    """All of ``wanted``, so many at once; how many ended in which way."""
    outcomes = Counter()

    async def one(plan):
        endpoint = HostnameEndpoint(reactor, "127.0.0.1", port)
        client = await connectProtocol(endpoint, Client(plan))
        await client.done
        outcomes[client.outcome] += 1

    work = (Deferred.fromCoroutine(one(plan)) for plan in wanted)
    cooperator = Cooperator(scheduler=lambda step: reactor.callLater(0, step))
    for worker in [cooperator.coiterate(work) for _ in range(at_once)]:
        await worker
    return outcomes


async def settled(condition, seconds):
    """Wait until ``condition`` holds; whether it did in time."""
    for _ in range(int(seconds * 50)):
        if condition():
            return True
        await deferLater(reactor, 0.02)
    return condition()
