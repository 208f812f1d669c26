# mypy: disable-error-code="no-untyped-call"
# (twisted.web has no annotations on most of its methods)
"""The site: who may connect, who is connected, and how they are sent away."""

import sys
from collections import Counter
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.web import server
from twisted.web.resource import IResource

from lmbroker.config.config import Engine
from lmbroker.errors import ErrorInfo
from lmbroker.limits import Limits
from lmbroker.server.descriptors import NONE_LEFT, Shortage
from lmbroker.server.http.channel import Channel
from lmbroker.server.http.lean_channel import LeanChannel
from lmbroker.server.http.lean_request import LeanRequest
from lmbroker.server.http.refusals import CROWD, FULL
from lmbroker.server.http.request import Request
from lmbroker.server.http.transport import host_of

TURNED_AWAY = 64
"""Connections over the bound that are kept at once, to tell them so in their own dialect; any
more are cut at once. They count in no other bound, so they cannot push others out."""

_ENGINES = {"lean": (LeanChannel, LeanRequest), "stock": (Channel, Request)}

SWEEP_SECONDS = 0.5
"""How often deadlines are looked at: one timer for all connections, and none per request."""


class Site(server.Site):
    """Twisted's site with bounds; the package's docstring says what a client sees of them.

    ``reactor`` (IReactorTime) times everything. ``body_bytes`` is what request bodies take in
    memory now. A connection whose descriptor is not below ``descriptors`` is one too many, of which
    ``shortage`` is told. ``refused`` counts what was refused before it became a request, by status.
    ``engine``: ``lean`` reads usual requests at once and writes in one piece; ``stock`` leaves
    that to Twisted. They differ in cost alone.
    """

    def __init__(
        self,
        resource: IResource,
        reactor: Any,
        limits: Limits = Limits(),
        engine: Engine = "lean",
    ) -> None:
        channel, request = _ENGINES[engine]
        super().__init__(
            resource, requestFactory=request, parsePOSTFormSubmission=False, reactor=reactor
        )
        self.protocol = channel  # type: ignore[assignment]
        self.timeOut = None
        self.limits = limits
        self.draining = False
        self.descriptors = sys.maxsize
        self.shortage: Shortage | None = None
        self.body_bytes = 0
        self.refused: Counter[int] = Counter()
        self._served: dict[Channel, str] = {}
        self._turned_away: set[Channel] = set()
        self._hosts: Counter[str] = Counter()
        self._sweeping: Any = None
        self._emptied: list[Deferred[None]] = []

    @property
    def connections(self) -> int:
        """Open connections, also those that are being closed or turned away."""
        return len(self._served) + len(self._turned_away)

    def drain(self) -> "Deferred[None]":
        """Let no connection begin another request: idle ones are closed at once, the others after
        the answer that they are at. Fires when all are gone; ``abort`` makes them go."""
        self.draining = True
        for channel in (*self._served, *self._turned_away):
            channel.drain()
        if not self.connections:
            return succeed(None)
        emptied: Deferred[None] = Deferred()
        self._emptied.append(emptied)
        return emptied

    def abort(self) -> None:
        """Cut all connections."""
        for channel in (*self._served, *self._turned_away):
            channel.abort()

    # For the channels.

    def enter(self, channel: Channel) -> ErrorInfo | None:
        """Note a new connection. What to tell it instead of serving it, or None."""
        told = None
        host = _counted_host(channel)
        if len(self._served) >= self.limits.connections:
            told = FULL
        elif _descriptor(channel) >= self.descriptors:
            told = NONE_LEFT
            if self.shortage is not None:
                self.shortage.report()
        elif host and self._hosts[host] >= self.limits.connections_per_address:
            told = CROWD
        if told is None:
            self._served[channel] = host
            if host:
                self._hosts[host] += 1
        else:
            self._turned_away.add(channel)
        if self._sweeping is None:
            self._sweeping = self.reactor.callLater(SWEEP_SECONDS, self._sweep)
        if self.draining or len(self._turned_away) > TURNED_AWAY:
            channel.abort()
        return told

    def leave(self, channel: Channel) -> None:
        """Forget a connection."""
        self._turned_away.discard(channel)
        host = self._served.pop(channel, "")
        if host:
            self._hosts[host] -= 1
            if not self._hosts[host]:
                del self._hosts[host]
        if self.connections:
            return
        if self._sweeping is not None:
            self._sweeping.cancel()
            self._sweeping = None
        emptied, self._emptied = self._emptied, []
        for waiter in emptied:
            waiter.callback(None)

    def _sweep(self) -> None:
        self._sweeping = self.reactor.callLater(SWEEP_SECONDS, self._sweep)
        now = self.reactor.seconds()
        for channel in (*self._served, *self._turned_away):
            channel.look(now)

    # Twisted's.

    def startFactory(self) -> None:
        """Stock: opens an access log and wakes up once a second to format the time for it."""

    def log(self, request: Any) -> None:
        """Stock: a line with the whole URI. Our lines are written by an observer of calls."""

    def getResourceFor(self, request: Any) -> IResource:
        """Stock: names Twisted and its version to every client."""
        request.responseHeaders.removeHeader(b"server")
        resource: IResource = super().getResourceFor(request)
        return resource

    def acceptableProtocols(self) -> list[bytes]:
        """Stock: HTTP/2 where the ``h2`` package happens to be installed, past all limits here."""
        return [b"http/1.1"]


def _descriptor(channel: Channel) -> int:
    """The number of a connection's descriptor, -1 where it has none."""
    fileno = getattr(channel.transport, "fileno", None)
    return -1 if fileno is None else int(fileno())


def _counted_host(channel: Channel) -> str:
    """The address that a connection counts for, or an empty string."""
    host = host_of(channel.getPeer())
    return "" if host == "::1" or host.startswith(("127.", "::ffff:127.")) else host
