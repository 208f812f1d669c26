"""A raw connection to the practice backend, which sees its bytes and how it leaves."""

import json

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import Protocol
from twisted.internet.task import deferLater

PATHS = {
    "openai": "/v1/chat/completions",
    "anthropic": "/v1/messages",
    "responses": "/v1/responses",
}
TEXT = "The quick brown fox \N{FOX FACE} jumps over\n the lazy\u2028dog"


class Client(Protocol):
    """A raw connection that keeps what arrives, and knows how it was lost."""

    def __init__(self):
        self.data = bytearray()
        self.lost = None
        self._waiting = []

    def dataReceived(self, data):
        self.data += data
        self._wake()

    def connectionLost(self, reason):
        self.lost = reason
        self._wake()

    def _wake(self):
        for condition, deferred in list(self._waiting):
            if condition():
                self._waiting.remove((condition, deferred))
                deferred.callback(None)

    def until(self, condition):
        deferred = Deferred()
        self._waiting.append((condition, deferred))
        self._wake()
        return deferred.addTimeout(5, reactor)

    def has(self, data):
        return self.until(lambda: data in self.data)

    def ended(self):
        return self.until(lambda: self.lost is not None)

    def ask(self, dialect, body):
        self.transport.write(
            request("POST", PATHS[dialect], json.dumps(in_dialect(dialect, body)).encode())
        )

    @property
    def body(self):
        return self.data.partition(b"\r\n\r\n")[2]


def request(method, path, body=b""):
    head = f"{method} {path} HTTP/1.1\r\nHost: practice\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def body_for(model="echo", text=TEXT, **more):
    messages = [{"role": "user", "content": text}]
    return {"model": model, "max_tokens": 100, "messages": messages, **more}


def in_dialect(dialect, body):
    """What ``body_for`` made, as a request of ``dialect``."""
    if dialect != "responses":
        return body
    kept = {key: value for key, value in body.items() if key not in ("messages", "max_tokens")}
    return {**kept, "input": body["messages"], "max_output_tokens": body["max_tokens"]}


async def connected(practice):
    port = int(practice.url.rpartition(":")[2])
    return await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), Client())


async def asked(practice, dialect, model="echo", *, stream=False, **more):
    client = await connected(practice)
    client.ask(dialect, body_for(model, stream=stream, **more))
    return client


async def turns(condition):
    """Turns of the reactor until ``condition`` holds."""
    for _ in range(500):
        if condition():
            return
        await deferLater(reactor, 0.01)
    raise AssertionError("it never came to that")


def unchunked(body):
    """The data of the chunks of a chunked body, as far as it is there."""
    parts = []
    while b"\r\n" in body:
        size, _, rest = body.partition(b"\r\n")
        parts.append(rest[: int(size, 16)])
        body = rest[int(size, 16) + 2 :]
    return parts
