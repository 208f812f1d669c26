"""Calls in memory that are captured: a whole broker, its clients' side included, between a scripted
backend and a client that collects what it gets."""

from itertools import cycle

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionLost
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone

from lmbroker.backends.sending import BackendAnswer
from lmbroker.broker.broker import Broker
from lmbroker.capture.captured import captured
from lmbroker.capture.wanted import MIB, Wanted
from lmbroker.config.config import parse
from lmbroker.daemon.captures import Captures
from lmbroker.server.served_call import ServedCall

WALL = 1795000000.0


class Response:
    """A backend's answer, in ``chunks``; each may be a function that is called in its place.
    ``whole``: it ends properly. ``at_once``: all of it is here with its head."""

    def __init__(self, status, chunks, headers=(), *, whole=True, at_once=False):
        self.code, self.fields = status, dict(headers)
        self._chunks, self._whole, self._at_once = chunks, whole, at_once

    def whole(self):
        return b"".join(self._chunks) if self._at_once else None

    def deliverBody(self, protocol):
        protocol.makeConnection(Transport())
        for chunk in self._chunks:
            if callable(chunk):
                chunk()
            else:
                protocol.dataReceived(chunk)
        if self._whole is not None:
            protocol.connectionLost(Failure(ResponseDone() if self._whole else ConnectionLost()))


class Transport:
    sent_at = None

    def pauseProducing(self): ...

    def resumeProducing(self): ...

    def abort(self): ...


class Scripted:
    """Backends that give one answer after the other, or raise one; see ``Sender``."""

    def __init__(self, clock, answers):
        self.clock, self.answers, self.sent = clock, iter(answers), []

    async def send(self, backend, outbound, timeouts):
        self.sent.append((backend, outbound))
        answer = next(self.answers)
        if callable(answer):
            answer = answer()
        if isinstance(answer, Deferred):
            answer = await answer
        if isinstance(answer, Exception):
            raise answer
        return BackendAnswer(answer, Transport(), self.clock, timeouts)


class Client:
    """A request in memory, and what became of it; see ``Incoming``."""

    cors = ()
    client_host = "203.0.113.7"

    def __init__(self, path, body, headers=(), query=b""):
        self.route_path, self._body = path, body
        self.uri = path.encode() + (b"?" + query if query else b"")
        self._headers = dict(headers)
        self.consumer = self
        self.head, self.wrote, self.left = None, [], lambda: None
        self.started = False

    def received_headers(self):
        return self._headers, ()

    def take_body(self):
        return self._body

    def grow_body(self, size):
        return True

    def release_body(self): ...

    def when_left(self, left):
        self.left = left

    def set_head(self, status, reason, headers):
        self.head = (status, tuple(headers))

    def abort(self): ...

    def write(self, data):
        self.started = True
        self.wrote.append(data)

    def registerProducer(self, producer, streaming):
        if not streaming:
            while self.wrote is not None and not getattr(producer, "done", self).called:
                producer.resumeProducing()

    def unregisterProducer(self): ...


class Bench:
    """A broker by ``config``, whose calls are captured where ``wanted`` wants them.

    ``files`` has the lines of each captured call, ``over`` why the capture is over.
    """

    def __init__(self, config, answers, wanted=None, *, environ=None):
        self.clock = Clock()
        config = parse(
            config, name="c", environ=environ or {"KEY": "backend-key-1"}, read_file=lambda _: ""
        )
        self.config = msgspec.structs.replace(
            config, limits=msgspec.structs.replace(config.limits, helpers=0)
        )
        self.backends = Scripted(self.clock, answers)
        self.records = []
        self.broker = Broker(self.config, self.backends, [self], self.clock, lambda: WALL)
        self.captures = Captures(self.broker)
        self.files, self.over = [], []
        self.end = None
        if wanted is not None:
            self.capture(wanted)

    def capture(self, wanted):
        self.end = self.captures.begin(
            wanted,
            lambda lines: self.files.append([bytes(line) for line in lines]),
            lambda why, lost: self.over.append((why, lost)),
        )

    def opened(self, record): ...

    def attempted(self, record, attempt): ...

    def closed(self, record):
        self.records.append(record)

    def begin(self, client, dialect="openai", operation="chat"):
        """Serve a call; returns what fires at its end, and the call."""
        call = ServedCall(self.broker, set(), client)
        method = "count_tokens" if operation == "count_tokens" else "chat"
        return call.serve(operation, dialect, getattr(self.broker, method)), call

    def call(self, client, dialect="openai", operation="chat"):
        """Serve a call to its end."""
        done, _ = self.begin(client, dialect, operation)
        for _ in range(100):
            if done.called:
                return client
            self.clock.advance(1)
        raise AssertionError("the call does not end")

    @property
    def calls(self):
        return [captured(lines) for lines in self.files]


def cut(data, sizes=(1, 7, 40, 200, 3000)):
    """``data`` in chunks of these lengths by turns."""
    found, at = [], 0
    for size in cycle(sizes):
        if at >= len(data):
            return found
        found.append(data[at : at + size])
        at += size


EVERYTHING = Wanted(alias="m", calls=1000, bytes=256 * MIB, seconds=3600)
