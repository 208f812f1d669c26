# mypy: disable-error-code="no-untyped-call"
# (twisted.web has no annotations on most of its methods)
"""The site: which clients may connect, which are connected, and how they are disconnected."""

import sys
from collections import Counter

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.web import http, server
from twisted.web.iweb import IRequest
from twisted.web.resource import IResource

from lmbroker.config.settings import Engine
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
"""The maximum of connections over the bound that are kept, to be refused in their own dialect; any
more are cut at once. They count in no other bound, so they displace no served connection."""

_ENGINES = {"lean": (LeanChannel, LeanRequest), "stock": (Channel, Request)}

SWEEP_SECONDS = 0.5
"""How often deadlines are checked: one timer serves all connections, and no request needs one."""


class Site(server.Site):
    """Twisted's site with bounds; the folder's docstring says what a client sees of them.

    ``reactor`` (IReactorTime) times everything. ``body_bytes`` is the memory that request bodies
    take now, in bytes. A connection whose descriptor is not below ``descriptors`` is refused and
    reported to ``shortage``. ``refused`` counts the requests that were refused before they reached
    a resource, by status. ``draining``: no connection may begin another request. ``engine``:
    ``lean`` reads usual requests at once and writes answers in one piece, ``stock`` leaves both to
    Twisted; they differ in cost only.
    """

    noisy = False

    def __init__(
        self,
        resource: IResource,
        reactor: IReactorTime,
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
        self._sweeping: IDelayedCall | None = None
        self._emptied: list[Deferred[None]] = []

    @property
    def connections(self) -> int:
        """The number of open connections, including those that are being closed or refused."""
        return len(self._served) + len(self._turned_away)

    def drain(self) -> "Deferred[None]":
        """Close all connections, idle ones at once, the others after their current answer.

        Fires when all are closed; ``abort`` closes those that are left.
        """
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

    # Called by the channels.

    def enter(self, channel: Channel) -> ErrorInfo | None:
        """Register a new connection; returns the error to answer it with, None to serve it."""
        refusal = None
        host = _counted_host(channel)
        if len(self._served) >= self.limits.connections:
            refusal = FULL
        elif _descriptor(channel) >= self.descriptors:
            refusal = NONE_LEFT
            if self.shortage is not None:
                self.shortage.report()
        elif host and self._hosts[host] >= self.limits.connections_per_address:
            refusal = CROWD
        if refusal is None:
            self._served[channel] = host
            if host:
                self._hosts[host] += 1
        else:
            self._turned_away.add(channel)
        if self._sweeping is None:
            self._sweeping = self.reactor.callLater(SWEEP_SECONDS, self._sweep)
        if self.draining or len(self._turned_away) > TURNED_AWAY:
            channel.abort()
        return refusal

    def leave(self, channel: Channel) -> None:
        """Remove a connection that is closed."""
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

    # Called by Twisted.

    def startFactory(self) -> None:
        """Do nothing; the stock method opens an access log and formats its time once a second."""

    def log(self, request: http.Request) -> None:
        """Do nothing: an observer writes our access lines. The stock line has the whole URI."""

    def getResourceFor(self, request: IRequest) -> IResource:
        """Return the resource without naming the server.

        The stock method sends Twisted's version.
        """
        request.responseHeaders.removeHeader(b"server")
        resource: IResource = super().getResourceFor(request)
        return resource

    def acceptableProtocols(self) -> list[bytes]:
        """Return HTTP/1.1 only.

        The stock method offers HTTP/2 where the ``h2`` package is installed, to which no limit
        applies.
        """
        return [b"http/1.1"]


def _descriptor(channel: Channel) -> int:
    """Return the number of a connection's descriptor, -1 where it has none."""
    fileno = getattr(channel.transport, "fileno", None)
    return -1 if fileno is None else int(fileno())


def _counted_host(channel: Channel) -> str:
    """Return the address for which a connection is counted.

    It is "" for loopback, which is not counted.
    """
    host = host_of(channel.getPeer())
    return "" if host == "::1" or host.startswith(("127.", "::ffff:127.")) else host
