"""Writes a large body in pieces, at the pace of its reader.

So no copy of the whole body is made, and none waits in the buffer of a transport.
"""

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPullProducer
from zope.interface import implementer

PIECE = 256 * 1024
"""The bytes that are given to a transport at once."""


@implementer(IPullProducer)
class Pieces:
    """Gives a body to a consumer in pieces, each when the consumer has taken the one before.

    ``done`` fires when all pieces are given; it never fires where the consumer goes away.
    """

    def __init__(self, body: bytes, consumer: Any) -> None:
        self.done: Deferred[None] = Deferred()
        self._rest = memoryview(body)
        self._consumer = consumer
        consumer.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Give the next piece."""
        piece, self._rest = self._rest[:PIECE], self._rest[PIECE:]
        if piece:
            self._consumer.write(bytes(piece))
        if not self._rest and not self.done.called:
            # An empty view would still hold all of the body.
            self._rest = memoryview(b"")
            self._consumer.unregisterProducer()
            self.done.callback(None)

    def stopProducing(self) -> None:
        """Drop the body: the consumer is gone, and those who wait learn that elsewhere."""
        self._rest = memoryview(b"")
