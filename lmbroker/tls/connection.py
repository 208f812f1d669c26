"""One TLS connection over a TCP transport of Twisted: ``ssl.SSLObject`` between two buffers.

What comes from the network goes through the engine and on to the protocol in the same call, and
what the protocol writes reaches the TCP transport in the same call. The end of a connection is what
Twisted's own TLS makes of it: ConnectionDone after a close_notify of the peer, ConnectionLost where
TCP ended without one (RFC 8446, 6.1), and the engine's error where that ended it.
"""

import ssl
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Literal

from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IConsumer, IPushProducer, ISSLTransport
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

RECORD = 16 * 1024
"""The maximum of bytes in a record (RFC 8446, 5.1), and so of what one read of the engine gives."""

State = Literal["handshake", "open", "closing", "over"]
"""``closing``: our close_notify is sent, and what still comes is thrown away. ``over``: the engine
has ended, and TCP is about to."""

_DONE = Failure(ConnectionDone())
_LOST = Failure(ConnectionLost())


@implementer(ISSLTransport, IConsumer, IPushProducer)
class SecureConnection:
    """The protocol of a TCP transport, and the transport of ``protocol``.

    ``context`` makes the engine: for a server where ``name`` is None, else for a client of the
    server ``name``. ``verify`` looks at the engine after the handshake, and raises for a peer that
    is not to be trusted.
    """

    def __init__(
        self,
        context: ssl.SSLContext,
        protocol: Any,
        name: str | None = None,
        verify: Callable[[ssl.SSLObject], None] | None = None,
    ) -> None:
        self.protocol = protocol
        self.transport: Any = None
        """The TCP transport."""
        self.connected = 0
        self.disconnecting = False
        self.state: State = "handshake"
        self._verify = verify
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._engine = context.wrap_bio(
            self._incoming, self._outgoing, server_side=name is None, server_hostname=name
        )
        self._read = self._engine.read
        self._held = self._engine.pending
        self._early: list[bytes] = []
        """What was written before the end of the handshake."""
        self._producer: tuple[Any, bool] | None = None
        """The registered producer, and whether it pushes."""
        self._rests = False
        """Whether the producer was paused until the end of the handshake."""
        self._reason: Failure | None = None
        """Why the connection ends, where that is known before TCP has ended."""

    # What the TCP transport calls.

    def makeConnection(self, transport: Any) -> None:
        """Connect the protocol, and begin the handshake."""
        self.transport = transport
        self.connected = 1
        self.protocol.makeConnection(self)
        self._shake_hands()

    def dataReceived(self, data: bytes) -> None:
        """Decrypt what came, and give it to the protocol in one piece."""
        self._incoming.write(data)
        if self.state == "handshake":
            self._shake_hands()
        if self.state in ("handshake", "over"):
            return
        plain, end = self._decrypted()
        if self._outgoing.pending:
            self._flush()
        if plain and self.state == "open":
            self.protocol.dataReceived(plain)
        if end is not None:
            self._end(end)

    def readConnectionLost(self) -> None:
        """Close our side: TCP's peer has closed its own."""
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """End the protocol; with ConnectionLost where no close_notify had come."""
        self.connected = 0
        with suppress(ssl.SSLError):
            # OpenSSL would not resume the session of a connection that it did not close. Whether an
            # answer is whole is shown by its framing.
            self._engine.unwrap()
        self.state = "over"
        self._early.clear()
        self._producer = None
        why = self._reason or (_LOST if reason.check(ConnectionDone) else reason)
        protocol, self.protocol, self._reason = self.protocol, None, None
        protocol.connectionLost(why)

    # What the protocol calls.

    def write(self, data: bytes) -> None:
        """Encrypt ``data`` and give it to the TCP transport."""
        if self.state == "open":
            self.transport.write(self.sealed(data))
        elif self.state == "handshake":
            self._early.append(data)
            self._have_it_rest()

    def writeSequence(self, data: Iterable[bytes]) -> None:
        """Write pieces as one."""
        self.write(b"".join(data))

    def sealed(self, data: bytes) -> bytes:
        """Return the TLS records of ``data``, which must be the next bytes on the TCP transport.

        This may be called only after the handshake.
        """
        write = self._engine.write
        try:
            count = write(data)
            if count < len(data):
                rest = memoryview(data)
                while rest := rest[count:]:
                    count = write(rest)
        except ssl.SSLError as error:
            self._end(Failure(error))
        return self._outgoing.read()

    def loseConnection(self) -> None:
        """Close the connection in order, after all that was written and what a producer writes."""
        if self.disconnecting:
            return
        self.disconnecting = True
        if self.state == "handshake" and not self._early and self._producer is None:
            self.abortConnection()
        elif self.state == "open" and self._producer is None:
            self._close()

    def abortConnection(self) -> None:
        """Close the connection at once."""
        self.disconnecting = True
        self.state = "over"
        self._reason = self._reason or _LOST
        self.transport.abortConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Register a producer.

        One that writes before the end of the handshake is paused until then.
        """
        if self.state == "over":
            producer.stopProducing()
            return
        self._producer = (producer, streaming)
        if self.state != "handshake":
            self.transport.registerProducer(producer, streaming)
        elif self._early:
            self._have_it_rest()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        if self._producer is None:
            return
        self._producer = None
        self._rests = False
        if self.state != "handshake":
            self.transport.unregisterProducer()
        if self.disconnecting and self.state == "open":
            self._close()

    def pauseProducing(self) -> None:
        """Stop reading."""
        self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """Close the connection."""
        self.loseConnection()

    def loseWriteConnection(self) -> None:
        """Close the connection: TLS has no half of one that Twisted's protocols could use."""
        self.loseConnection()

    def getHost(self) -> Any:
        """Return our address."""
        return self.transport.getHost()

    def getPeer(self) -> Any:
        """Return the peer's address."""
        return self.transport.getPeer()

    def getHandle(self) -> Any:
        """Return the socket."""
        return self.transport.getHandle()

    def getPeerCertificate(self) -> bytes | None:
        """Return the peer's certificate as DER, None where it showed none."""
        return self._engine.getpeercert(binary_form=True)

    def getTcpNoDelay(self) -> bool:
        """Return whether TCP sends small pieces at once."""
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Have TCP send small pieces at once, or wait for more of them."""
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Return whether the kernel looks after an idle peer."""
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Have the kernel look after an idle peer, or not."""
        self.transport.setTcpKeepAlive(enabled)

    # Sessions, and what the buffers hold.

    @property
    def session(self) -> Any:
        """The session, for another connection to resume; None where the server gave no ticket."""
        session = self._engine.session
        return session if session is not None and session.has_ticket else None

    def offer(self, session: Any) -> None:
        """Offer a session to the server; when the protocol is connected, and no later.

        Raises ValueError for a session of another context.
        """
        self._engine.session = session

    @property
    def resumed(self) -> bool:
        """Whether the handshake resumed a session."""
        return bool(self._engine.session_reused)

    @property
    def unfinished(self) -> bool:
        """Whether a part of a record has come, and not the rest of it."""
        return self._incoming.pending > 0

    # The engine.

    def _decrypted(self) -> tuple[bytes, Failure | None]:
        """Return all that can be decrypted of what came, and how the engine ended, if it did."""
        first, more = b"", []
        try:
            first = self._read(RECORD)
            while first and (self._incoming.pending or self._held()):
                more.append(self._read(RECORD))
                if not more[-1]:
                    break
        except ssl.SSLWantReadError:
            # The rest of a record is on its way.
            return (b"".join((first, *more)) if more else first), None
        except ssl.SSLError as error:
            closed = isinstance(error, ssl.SSLZeroReturnError)
            return b"".join((first, *more)), _DONE if closed else Failure(error)
        if not more:
            return first, None if first else _DONE
        return b"".join((first, *more)), None if more[-1] else _DONE

    def _shake_hands(self) -> None:
        if self.state != "handshake":
            return
        try:
            self._engine.do_handshake()
            if self._verify is not None:
                self._verify(self._engine)
        except ssl.SSLWantReadError:
            self._flush()
            return
        except ssl.SSLError as error:
            self._end(Failure(error))
            return
        except Exception:
            # The certificate is not the one of this host.
            self._reason = Failure()
            self.abortConnection()
            return
        self._flush()
        self.state = "open"
        early, self._early = self._early, []
        if early:
            self.write(b"".join(early))
        if self._producer is not None:
            producer, streaming = self._producer
            self.transport.registerProducer(producer, streaming)
            if self._rests:
                self._rests = False
                producer.resumeProducing()
        elif self.disconnecting:
            self._close()

    def _have_it_rest(self) -> None:
        """Pause the producer, once, where it pushes."""
        if self._producer is not None and self._producer[1] and not self._rests:
            self._rests = True
            self._producer[0].pauseProducing()

    def _flush(self) -> None:
        out = self._outgoing.read()
        if out:
            self.transport.write(out)

    def _close(self) -> None:
        """Send our close_notify; TCP is closed when the peer's has come."""
        self.state = "closing"
        try:
            self._engine.unwrap()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            self._end(Failure(error))
        else:
            self._end(_DONE)

    def _end(self, reason: Failure) -> None:
        """Close TCP after the end of the engine, whose last words are sent."""
        if self.state == "over":
            return
        if reason is _DONE:
            with suppress(ssl.SSLError):
                self._engine.unwrap()
        self._flush()
        self.state = "over"
        self.disconnecting = True
        self._reason = self._reason or reason
        if self._producer is not None:
            # TCP would wait for it.
            self.transport.unregisterProducer()
        self.transport.loseConnection()
