"""The practice backend's HTTP server."""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from lmbroker.testing import faults
from lmbroker.testing.ask import Refused
from lmbroker.testing.faults import Scene, Speaker
from lmbroker.testing.operations import Operations, speaker_for
from lmbroker.testing.play import Play

KEPT = 1000
"""Requests in the record."""
MODELS = ("echo", "slow", "empty")
"""What the list of models says; any other name is served, too."""
BACKLOG = 1024
"""How many connections may wait until they are accepted: a benchmark opens many at once."""


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request as it came. Only method and path show in its repr: the rest has secrets."""

    method: str
    path: str
    query: str = field(repr=False)
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """Pairs, names in lower case."""
    body: bytes = field(repr=False)


class PracticeBackend:
    """The practice backend; the package's docstring says what it does.

    ``reactor`` listens. ``clock`` (IReactorTime; the reactor if not given) times the pauses. It
    also says the answers' ``created``, which is the time of day where none is given: with a
    ``Clock`` answers are the same byte for byte, and pauses take as long as the test likes.
    ``port`` 0 takes any free one. ``pace`` is the pause between two streamed events in seconds;
    0 gives each event a turn of the reactor, so that they leave one by one; None writes them as
    fast as the client reads.
    """

    received: deque[Received]
    """The last thousand requests, each noted when its body is complete."""
    open_streams: int
    """Responses in progress now, unary ones included."""
    disconnects: int
    """Clients that left before the end of their response."""
    bytes_written: int
    """Bytes of bodies handed to the transport so far, over all responses."""

    def __init__(
        self, reactor: Any, *, clock: Any = None, port: int = 0, pace: float | None = 0.0
    ) -> None:
        self.received = deque(maxlen=KEPT)
        self.open_streams = 0
        self.disconnects = 0
        self.bytes_written = 0
        self._reactor = reactor
        self._clock = reactor if clock is None else clock
        # A reactor that runs on the monotonic clock does not know the time of day.
        self._wall: Callable[[], float] = time.time if clock is None else clock.seconds
        self._wanted_port = port
        self._pace = pace
        self._operations = Operations()
        self._site = _Site(self, reactor)
        self._listening: Any = None

    def start(self) -> Any:
        """Listen on the loopback interface; returns the IListeningPort.

        Raises twisted.internet.error.CannotListenError where the port is taken.
        """
        self._listening = self._reactor.listenTCP(
            self._wanted_port, self._site, backlog=BACKLOG, interface="127.0.0.1"
        )
        return self._listening

    @property
    def url(self) -> str:
        """The base URL, without ``/v1``. Raises RuntimeError if it is not started."""
        if self._listening is None:
            raise RuntimeError("the practice backend is not started")
        return f"http://127.0.0.1:{self._listening.getHost().port}"

    def resource(self) -> Resource:
        """Return the practice backend as a resource, for tests in memory or a site of one's own.

        Nothing has to be started for it. With ``pace=None`` it sets no timer, but for pauses.
        """
        return _Root(self)

    def stop(self) -> "Deferred[None]":
        """Stop listening and drop all connections; fires when nothing of it is left in the reactor.

        Does nothing where it is not started.
        """
        if self._listening is None:
            return maybeDeferred(lambda: None)
        closed = maybeDeferred(self._listening.stopListening)
        self._listening = None
        return DeferredList([closed, self._site.drop()]).addCallback(lambda _: None)

    def scene(self, method: str, path: str, speaker: Speaker, body: bytes) -> Scene:
        """Return the response to a request."""
        if path == "/v1/models" or path.startswith("/v1/models/"):
            if method != "GET":
                return faults.failure(speaker, 405, "method not allowed")
            name = unquote(path.removeprefix("/v1/models").removeprefix("/"))
            value = speaker.model(name) if name else speaker.models(MODELS)
            return faults.unary("", speaker, value)
        try:
            stored = self._operations.stored(method, path, speaker)
            if stored is not None:
                return stored
            if path not in self._operations.posted:
                return faults.failure(speaker, 404, "not found")
            if method != "POST":
                return faults.failure(speaker, 405, "method not allowed")
            return self._operations.posted[path](speaker, json.loads(body))
        except Refused as error:
            return faults.failure(speaker, error.status, error.message, error.details)
        except KeyError as error:
            return faults.failure(speaker, 400, f"{error.args[0]}: field required")
        except (TypeError, ValueError, AttributeError, IndexError, RecursionError):
            return faults.failure(speaker, 400, "the request is malformed")

    def play(self, request: Any, scene: Scene) -> None:
        """Begin the response to ``request``."""
        wait = self._pace if scene.wait is None else scene.wait
        if wait and not scene.paced:
            wait = 0.0
        Play(request, scene, self, self._reactor, self._clock, wait)

    def now(self) -> int:
        """Unix time in whole seconds, by the clock where one was given."""
        return int(self._wall())


class _Root(Resource):
    """All paths."""

    isLeaf = True

    def __init__(self, practice: PracticeBackend) -> None:
        super().__init__()
        self._practice = practice

    def render(self, request: Any) -> int:
        body = request.content.read()
        method = request.method.decode("latin-1")
        path = request.path.decode("latin-1")
        headers = tuple(
            (name.decode("latin-1").lower(), value.decode("latin-1"))
            for name, values in request.requestHeaders.getAllRawHeaders()
            for value in values
        )
        query = request.uri.partition(b"?")[2].decode("latin-1")
        self._practice.received.append(
            Received(method=method, path=path, query=query, headers=headers, body=body)
        )
        # The same request gets the same ids, so that two ways to ask can be compared.
        identity = hashlib.blake2s(body, digest_size=10).hexdigest()
        versioned = request.requestHeaders.hasHeader("anthropic-version")
        speaker = speaker_for(path, versioned, identity, self._practice.now())
        scene = self._practice.scene(method, path, speaker, body)
        request.setResponseCode(scene.status)
        request.setHeader("content-type", scene.type)
        request.setHeader(speaker.request_id_header, f"req_{identity}")
        if scene.length is not None:
            request.setHeader("content-length", str(scene.length))
        if scene.retry_after:
            request.setHeader("retry-after", "1")
        self._practice.play(request, scene)
        return NOT_DONE_YET


class _Channel(HTTPChannel):
    """A connection that its site knows of."""

    site: Any
    transport: Any

    def connectionMade(self) -> None:
        super().connectionMade()
        self.site.channels.add(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        self.site.gone(self)


class _Site(Site):
    """HTTP/1.1 without an access log; can drop its connections."""

    protocol = _Channel  # type: ignore[assignment]
    noisy = False

    def __init__(self, practice: PracticeBackend, reactor: Any) -> None:
        super().__init__(_Root(practice), reactor=reactor, parsePOSTFormSubmission=False)
        self.channels: set[_Channel] = set()
        self._dropped: Deferred[None] | None = None

    def log(self, request: Any) -> None:
        """Write nothing."""

    def drop(self) -> "Deferred[None]":
        """Abort all connections; fires when the last one is gone."""
        dropped = self._dropped = Deferred()
        for channel in list(self.channels):
            channel.transport.abortConnection()
        self._check()
        return dropped

    def gone(self, channel: _Channel) -> None:
        self.channels.discard(channel)
        self._check()

    def _check(self) -> None:
        if self._dropped is not None and not self.channels:
            dropped, self._dropped = self._dropped, None
            dropped.callback(None)
