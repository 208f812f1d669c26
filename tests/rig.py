"""The broker between raw sockets, for tests: a backend and a client that are scripted byte by
byte, and the real broker between them."""

import json
from pathlib import Path

import msgspec
from prometheus_client import CollectorRegistry
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.web.server import Site

from lmbroker.backends.sending import Backends
from lmbroker.broker.broker import Broker
from lmbroker.call import Timeouts
from lmbroker.config.config import parse
from lmbroker.observers.metrics import Metrics
from lmbroker.server.routes import Front

CONFIG = """
[[models]]
alias = "o"
type = "openai"
target = { url = "http://127.0.0.1:PORT/v1/", model = "real-o", api_key = "env:KEY" }
[[models]]
alias = "a"
type = "anthropic"
target = { url = "http://127.0.0.1:PORT", model = "real-a", api_key = "env:KEY" }
[[models]]
alias = "r"
type = "responses"
target = { url = "http://127.0.0.1:PORT/v1/", model = "real-r", api_key = "env:KEY" }
"""
SECONDS = 5
O_EVENT = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"real-o",  "choices":'
    b'[{"index":0,"delta":{"role":"assistant","content":"h\xc3\xa9"},"finish_reason":null}]}\n\n'
)
O_END = (
    b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"real-o","choices":'
    b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
)
A_EVENT = (
    b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":"message"'
    b',"role":"assistant","model":"real-a","content":[],"stop_reason":null,"stop_sequence":null,'
    b'"usage":{"input_tokens":3,"output_tokens":1}}}\n\n'
    b'event: content_block_start\ndata: {"type":"content_block_start","index":0,'
    b'"content_block":{"type":"text","text":""}}\n\n'
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
    b'"delta":{"type":"text_delta","text":"h\xc3\xa9"}}\n\n'
)
A_END = (
    b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn",'
    b'"stop_sequence":null},"usage":{"output_tokens":5}}\n\n'
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
)
R_EVENT = (
    b'event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":'
    b'{"id":"resp_1","object":"response","created_at":1,"model":"real-r","status":"in_progress",'
    b'"output":[]}}\n\n'
    b'event: response.output_item.added\ndata: {"type":"response.output_item.added",'
    b'"sequence_number":1,"output_index":0,"item":{"type":"message","id":"msg_1","role":'
    b'"assistant","status":"in_progress","content":[]}}\n\n'
    b'event: response.content_part.added\ndata: {"type":"response.content_part.added",'
    b'"sequence_number":2,"item_id":"msg_1","output_index":0,"content_index":0,"part":'
    b'{"type":"output_text","text":"","annotations":[]}}\n\n'
    b'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",'
    b'"sequence_number":3,"item_id":"msg_1","output_index":0,"content_index":0,"delta":"h\xc3\xa9",'
    b'"logprobs":[]}\n\n'
)
R_END = (
    b'event: response.completed\ndata: {"type":"response.completed","sequence_number":4,"response":'
    b'{"id":"resp_1","object":"response","created_at":1,"model":"real-r","status":"completed",'
    b'"output":[{"type":"message","id":"msg_1","role":"assistant","status":"completed","content":'
    b'[{"type":"output_text","text":"h\xc3\xa9","annotations":[]}]}],'
    b'"usage":{"input_tokens":3,"output_tokens":5,"total_tokens":8}}}\n\n'
)
EVENTS = {"o": (O_EVENT, O_END), "a": (A_EVENT, A_END), "r": (R_EVENT, R_END)}
PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}


class Line(Protocol):
    """One end of a connection: collects bytes, and can be waited on."""

    def __init__(self):
        self.received = bytearray()
        self.lost = None
        self._waiting = []
        self.on_request = None

    def dataReceived(self, data):
        self.received += data
        self._wake()

    def connectionLost(self, reason=None):
        self.lost = reason
        self._wake()

    def _wake(self):
        for condition, waiter in list(self._waiting):
            if not waiter.called and condition():
                waiter.callback(None)

    async def until(self, condition):
        """Wait until ``condition`` of this end holds, a few seconds at most."""
        if condition():
            return
        waiter = Deferred()
        self._waiting.append((condition, waiter))
        await waiter.addTimeout(SECONDS, reactor)

    async def has(self, piece, times=1):
        await self.until(lambda: self.received.count(piece) >= times)

    async def closed(self):
        await self.until(lambda: self.lost is not None)

    @property
    def body(self):
        """What came after the HTTP head, with chunked framing taken off."""
        head, _, rest = bytes(self.received).partition(b"\r\n\r\n")
        if b"transfer-encoding: chunked" not in head.lower():
            return rest
        out = b""
        while rest:
            size, _, rest = rest.partition(b"\r\n")
            length = int(size, 16)
            out, rest = out + rest[:length], rest[length + 2 :]
        return out

    @property
    def head(self):
        return self.received.partition(b"\r\n\r\n")[0].decode().lower()


class Rig:
    """The broker on a port, a scripted backend on another.

    ``timeouts`` None: as configured. ``listen``: makes the backend's endpoint, on port 0.
    ``site``: makes the broker's site of its resource; Twisted's own where none is given, as when
    the broker is embedded in one.
    """

    engine = "lean"
    """Tests over both engines set it."""

    async def open(self, timeouts=Timeouts(), config=CONFIG, *, listen=None, site=None):
        self.backends_seen = []
        self._accepted = []
        rig = self

        class Accept(Factory):
            def buildProtocol(self, addr):
                line = Line()
                rig.backends_seen.append(line)
                for waiter in rig._accepted:
                    if not waiter.called:
                        waiter.callback(None)
                return line

        endpoint = listen() if listen else TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        self._backend_port = await endpoint.listen(Accept())
        port = str(self._backend_port.getHost().port)
        config = parse(
            config.replace("PORT", port),
            name="test.toml",
            environ={"KEY": "backend-key"},
            read_file=lambda path: Path(path).read_text(),
        )
        aliases = {
            name: msgspec.structs.replace(
                alias,
                targets=tuple(
                    msgspec.structs.replace(target, timeouts=timeouts or target.timeouts)
                    for target in alias.targets
                ),
            )
            for name, alias in config.aliases.items()
        }
        self.records = []
        self.registry = CollectorRegistry()
        self._backends = Backends(reactor)
        self.broker = Broker(
            msgspec.structs.replace(config, aliases=aliases),
            self._backends,
            [Metrics(self.registry), self],
            reactor,
            lambda: 1795000000.0,
        )
        resource = Front(self.broker, self.registry).resource()
        served = site(resource) if site else Site(resource, parsePOSTFormSubmission=False)
        self._port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(served)
        self._clients = []
        return self

    def opened(self, record): ...

    def attempted(self, record, attempt): ...

    def closed(self, record):
        self.records.append(record)

    async def client(self):
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.port)
        line = await connectProtocol(endpoint, Line())
        self._clients.append(line)
        return line

    async def post(self, path, body, headers=()):
        """A client that has sent one request; one of Responses says ``input`` for messages."""
        if path == PATHS["responses"]:
            body = body.replace(b'"messages"', b'"input"').replace(b'"max_tokens": 9, ', b"")
        line = await self.client()
        lines = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers]
        line.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        return line

    async def get(self, path, headers=()):
        """A client that has sent a GET request."""
        line = await self.client()
        lines = [f"GET {path} HTTP/1.1", "Host: x", *headers]
        line.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n")
        return line

    async def backend(self, number=1):
        """The ``number``-th connection that reached the backend, with a whole request on it."""
        while len(self.backends_seen) < number:
            waiter = Deferred()
            self._accepted.append(waiter)
            await waiter.addTimeout(SECONDS, reactor)
        line = self.backends_seen[number - 1]
        await line.has(b"\r\n\r\n")
        length = int(line.head.partition("content-length: ")[2].split("\r\n")[0])
        await line.until(lambda: len(line.received.partition(b"\r\n\r\n")[2]) >= length)
        return line

    async def ended(self, count=1):
        """The records of ended calls, once there are ``count``."""
        for _ in range(200):
            if len(self.records) >= count:
                return self.records
            await deferLater(reactor, 0.01)
        raise AssertionError(f"{len(self.records)} calls ended, not {count}")

    @property
    def port(self):
        """Where the broker listens."""
        return self._port.getHost().port

    def gauge(self):
        return self.registry.get_sample_value("lmbroker_in_flight")

    async def close(self):
        for line in (*self._clients, *self.backends_seen):
            if line.lost is None:
                line.transport.abortConnection()
        await self._port.stopListening()
        await self._backend_port.stopListening()
        await self._backends.close()
        await deferLater(reactor, 0.01)


def sse_head(headers=b""):
    """``headers`` are whole lines."""
    framing = b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
    return b"HTTP/1.1 200 OK\r\n" + framing + headers + b"\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


def unary(body, status=b"200 OK", extra=b""):
    return (
        b"HTTP/1.1 %s\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n"
        % (status, extra, len(body))
        + body
    )


def ask(model, **more):
    return json.dumps(
        {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], **more}
    ).encode()
