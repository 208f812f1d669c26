"""A large body on its way out, at the pace of who takes it: no copy of all of it is made, and none
waits in a transport."""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

PIECE = 256 * 1024
"""Bytes that are given to a transport at once."""


@implementer(IPullProducer)
class Pieces:
    """Gives a body to a consumer in pieces, the next one when it has taken the last. ``done`` fires
    when all is given."""

    def __init__(self, body: bytes, consumer: Any) -> None:
        self.done: Deferred[None] = Deferred()
        self._rest = memoryview(body)
        self._consumer = consumer
        consumer.registerProducer(self, False)

    def resumeProducing(self) -> None:
        piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
        if piece:
            self._consumer.write(bytes(piece))
        if not self._rest and not self.done.called:
            # An empty view would still hold all of the body.
            self._rest = memoryview(b"")
            self._consumer.unregisterProducer()
            self.done.callback(None)

    def stopProducing(self) -> None:
        """The consumer is gone; whoever waits for ``done`` is told by others."""
        self._rest = memoryview(b"")
