"""A small HTTP proxy for tests: it knows CONNECT only, and can be told to behave badly."""

from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol

STANDS = b"HTTP/1.1 200 Connection established\r\n\r\n"


class _Far(Protocol):
    """The proxy's connection to the backend."""

    def __init__(self, near):
        self.near = near

    def dataReceived(self, data):
        self.near.transport.write(data)

    def connectionLost(self, reason=None):
        _end(self.near, reason)


class Near(Protocol):
    """A client's connection to the proxy. ``received`` is what came before the tunnel stood."""

    def __init__(self, proxy):
        self.proxy = proxy
        self.received = b""
        self.lost = None
        self.far = None
        self._early = b""

    def dataReceived(self, data):
        if self.far is not None:
            self.far.transport.write(data)
            return
        self.received += data
        if self.received.endswith(b"\r\n\r\n"):
            self.proxy.script(self)

    def connectionLost(self, reason=None):
        self.lost = reason
        self.proxy.over(self)
        if self.far is not None:
            _end(self.far, reason)

    def open(self):
        """Open the tunnel: whatever host is asked for, it is on this machine."""
        port = int(self.received.split()[1].rpartition(b":")[2])
        made = connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", port), _Far(self))

        def stands(far):
            if self.lost is not None:
                far.transport.abortConnection()
                return
            self.far = far
            self.transport.write(STANDS)

        made.addCallbacks(stands, lambda _: answer(b"502 Bad Gateway")(self))


def _end(other, reason):
    """As one side ended, so does the other."""
    if other.transport is not None:
        orderly = reason.check(ConnectionDone) is not None
        other.transport.loseConnection() if orderly else other.transport.abortConnection()


def answer(status, rest=b"", then=None):
    """A proxy that says this in the place of opening the tunnel."""

    def script(near):
        near.transport.write(b"HTTP/1.1 " + status + b"\r\n" + (rest or b"\r\n"))
        if then is not None:
            then(near)

    return script


class ConnectProxy(Factory):
    """``script`` gets each connection once its request is whole; ``seen`` are all of them, without
    those that ended where it ``forgets``."""

    noisy = False

    def __init__(self, script=Near.open, *, forgets=False):
        self.script = script
        self.forgets = forgets
        self.seen = []

    def buildProtocol(self, addr):
        near = Near(self)
        self.seen.append(near)
        return near

    def over(self, near):
        """A connection has ended."""
        if self.forgets:
            self.seen.remove(near)

    async def listen(self):
        self._port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self)
        return self

    @property
    def address(self):
        return f"127.0.0.1:{self._port.getHost().port}"

    async def close(self):
        for near in list(self.seen):
            if near.lost is None:
                near.transport.abortConnection()
        await self._port.stopListening()
