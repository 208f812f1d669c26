"""A client's request whose answer is captured: what is written to it goes onto a tape as well."""

from collections.abc import Sequence
from typing import Any

from twisted.internet.interfaces import IConsumer
from zope.interface import implementer

from lmbroker.broker.recorded import RecordedBroker
from lmbroker.capture.events import Head, Out
from lmbroker.capture.tape import Tape
from lmbroker.server.incoming import Incoming


class RecordedIncoming:
    """See ``Incoming``."""

    def __init__(self, incoming: Incoming, recorded: RecordedBroker, tape: Tape) -> None:
        self._incoming = incoming
        self._tape = tape
        self.consumer = _RecordedConsumer(incoming.consumer, recorded, tape)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._incoming, name)

    def set_head(self, status: int, reason: bytes, headers: Sequence[tuple[str, str]]) -> None:
        """Set status and headers of the answer."""
        self._tape.note(Head, status=status, headers=tuple(headers))
        self._incoming.set_head(status, reason, headers)


@implementer(IConsumer)
class _RecordedConsumer:
    """Hands what is written on to ``consumer``."""

    def __init__(self, consumer: Any, recorded: RecordedBroker, tape: Tape) -> None:
        self._consumer = consumer
        self._recorded = recorded
        self._tape = tape
        self.registerProducer = consumer.registerProducer
        self.unregisterProducer = consumer.unregisterProducer

    def write(self, data: bytes) -> None:
        self._tape.note(Out, data=data, early=not self._recorded.delivers)
        self._consumer.write(data)
