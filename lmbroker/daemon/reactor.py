# mypy: disable-error-code="no-untyped-call,misc"
# (the reactors have no annotations)
"""Twisted's epoll reactor, which sends what a turn has written at the end of that turn.

The stock one asks epoll first whether a socket can be written to: two system calls more for each
event that a stream relays, and the event waits until all that came with it was dealt with. A
socket can nearly always be written to, so we try, and ask epoll only where the kernel did not
take all. It also enters no logging context for each thing that happens to a socket.
"""

import errno
import sys
import time
from collections.abc import Callable
from select import EPOLLIN
from time import monotonic
from typing import Any

from twisted.internet import main
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.tcp import Client, Connection, Server
from twisted.python import log
from zope.interface import implementer

from lmbroker.backends.turn_end import ITurnEnd
from lmbroker.call import Turn

INSTALLED = "twisted.internet.reactor"

AT_ONCE_SECONDS = 20e-6
"""The seconds up to which a poll has not waited: what it found had come during the turn before."""

_TCP = frozenset({Client, Server})
"""Classes whose ``doRead`` is that of ``Connection``; those that inherit from them read
differently."""


@implementer(ITurnEnd)
class TurnReactor(EPollReactor):
    """Writes of TCP and UNIX connections; all other descriptors are Twisted's affair."""

    seconds = staticmethod(time.monotonic)
    """The stock reactor goes by the wall clock; see ``time_by_monotonic_clock``."""

    def __init__(self) -> None:
        self._unsent: dict[Any, None] = {}
        self._ending: list[Callable[[], None]] = []
        self.since = self._polled_at = time.monotonic()
        self._turn: Turn | None = None
        super().__init__()

    @property
    def turn(self) -> Turn:
        """The turn that is under way."""
        turn = self._turn
        if turn is None:
            turn = self._turn = Turn(self.since)
        return turn

    def at_end_of_turn(self, act: Callable[[], None]) -> None:
        """Do ``act`` once, at the end of this turn of the reactor.

        That is when all that the turn has brought was dealt with, and before what it has written is
        sent.
        """
        self._ending.append(act)

    def addWriter(self, writer: Any) -> None:
        """Send what ``writer`` has written at the end of this turn."""
        # A client that is connecting waits for its socket to become writable.
        if isinstance(writer, Connection) and writer.connected:
            self._unsent[writer] = None
        else:
            super().addWriter(writer)

    def removeWriter(self, writer: Any) -> None:
        """Send nothing more for ``writer``."""
        self._unsent.pop(writer, None)
        descriptor = writer.fileno()
        if descriptor in self._writes or descriptor < 0 or not isinstance(writer, Connection):
            super().removeWriter(writer)

    def getWriters(self) -> list[Any]:
        """Return all writers, those of this turn included."""
        self._ask()
        writers: list[Any] = super().getWriters()
        return writers

    def removeAll(self) -> list[Any]:
        """Remove and return all readers and writers."""
        self._ask()
        removed: list[Any] = super().removeAll()
        return removed

    def runUntilCurrent(self) -> None:
        """Run what is due, then the ends of the turn, then send what was written."""
        super().runUntilCurrent()
        while self._ending:
            self._end()
        if self._unsent:
            # This comes before the time of the next poll is computed: sending may set a timer.
            self._send()
            if self._justStopped:
                self.wakeUp()

    def doPoll(self, timeout: float | None) -> None:
        """Wait up to ``timeout`` seconds for events of sockets, and handle them."""
        began = monotonic()
        if self._turn is not None:
            self._turn.ended = began
            self._turn = None
        try:
            ready = self._poller.poll(-1 if timeout is None else timeout, len(self._selectables))
        except OSError as error:
            if error.errno == errno.EINTR:
                ready = []
            else:
                raise
        now = monotonic()
        self.since = now if now - began > AT_ONCE_SECONDS else self._polled_at
        self._polled_at = now
        known, read, act = self._selectables.get, self._read, self._act
        for descriptor, event in ready:
            selectable: Any = known(descriptor)
            if event == EPOLLIN and type(selectable) in _TCP and _open(selectable):
                read(selectable)
            elif selectable is not None:
                act(selectable, descriptor, event)

    doIteration = doPoll

    def _act(self, selectable: Any, descriptor: int, event: int) -> None:
        try:
            self._doReadOrWrite(selectable, descriptor, event)
        except Exception:
            # A protocol's connectionLost raised it; the stock reactor logs it as well.
            log.err()

    def _read(self, connection: Any) -> None:
        """Do what ``doRead`` of these connections does, with two calls less."""
        why: Any = main.CONNECTION_DONE
        try:
            data = connection.socket.recv(connection.bufferSize)
        except BlockingIOError:
            return
        except OSError:
            why = main.CONNECTION_LOST
        else:
            if data:
                try:
                    connection.protocol.dataReceived(data)
                    return
                except BaseException:
                    why = sys.exc_info()[1]
                    log.err()
        self._let_go(connection, why, reading=True)

    def _end(self) -> None:
        ending, self._ending = self._ending, []
        for act in ending:
            try:
                act()
            except Exception:
                log.err()

    def _send(self) -> None:
        for writer in list(self._unsent):
            if writer not in self._unsent:
                # Sending for an earlier writer has closed this one.
                continue
            if _sent(writer):
                del self._unsent[writer]
                continue
            try:
                why = writer.doWrite()
            except BaseException:
                why = sys.exc_info()[1]
                log.err()
            if why:
                self._let_go(writer, why, reading=False)
        if self._unsent:
            self._ask()

    def _let_go(self, connection: Any, why: Any, *, reading: bool) -> None:
        try:
            self._disconnectSelectable(connection, why, reading)
        except Exception:
            log.err()

    def _ask(self) -> None:
        """Have epoll say when sockets can be written to again.

        These are the ones of which the kernel did not take all.
        """
        unsent, self._unsent = self._unsent, {}
        for writer in unsent:
            super().addWriter(writer)


def _sent(connection: Any) -> bool:
    """Send what was written, where that is all there is to do and the kernel takes it at once.

    False leaves it to ``doWrite``, which can do much more and takes twice as long.
    """
    producer = connection.producer
    if (
        connection.dataBuffer
        or connection.disconnecting
        or connection._writeDisconnecting
        or connection._aborting
        or getattr(connection, "_sendmsgQueue", None)  # descriptors go along
        or (
            producer is not None and (connection.producerPaused or not connection.streamingProducer)
        )
    ):
        return False
    data = b"".join(connection._tempDataBuffer)
    if len(data) > connection.SEND_LIMIT:
        return False
    try:
        count = connection.socket.send(data)
    except OSError:
        return False  # doWrite says what is the matter
    connection._tempDataBuffer = []
    connection._tempDataLen = 0
    if count < len(data):
        connection.dataBuffer = data
        connection.offset = count
        return False
    return True


def _open(connection: Any) -> bool:
    """Return whether the connection is made, and nobody has aborted it."""
    return connection.connected and not connection._aborting


def time_by_monotonic_clock(reactor: Any) -> None:
    """Let all timers of ``reactor`` go by a clock that nobody sets.

    Twisted's go by the wall clock: set forward by an hour it ends every stream as silent, set back
    it stops every timer for as long. What runs already is moved to the new clock. No
    interface has this: it replaces methods of Twisted's own classes.
    """
    if reactor.seconds is time.monotonic:
        return
    shift = time.monotonic() - reactor.seconds()
    reactor.seconds = time.monotonic
    for call in reactor.getDelayedCalls():
        call.seconds = time.monotonic
        call.time += shift


def install() -> bool:
    """Make this the process's reactor, unless it has one; return whether it is."""
    if INSTALLED in sys.modules:
        return False
    main.installReactor(TurnReactor())
    return True
