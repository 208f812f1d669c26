"""What a turn of the reactor has brought, told at its end.

To count a call and to write its line takes half the time when it is done for all calls of a turn
in a row, and what they share is done once. Calls that end by what came from a connection are told
before the turn's answers are sent, those that a timer ends right after them.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from twisted.logger import Logger

from lmbroker.call import Attempt, Observer, Record


class BatchObserver(Observer, Protocol):
    """An observer that can be told of several things at once."""

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """As if told of each: of the attempts by ``attempted``, of the calls by ``closed``."""
        ...


class BatchingObserver:
    """An observer that tells ``observers`` once per turn what has ended in it; at once before
    ``start`` and after ``stop``. See ``call.Observer``."""

    log = Logger()

    def __init__(self, observers: Sequence[BatchObserver]) -> None:
        self._observers = observers
        self._reactor: Any = None
        self._due = False
        self._attempts: list[Attempt] = []
        self._records: list[Record] = []

    def start(self, reactor: Any) -> None:
        """Tell at the end of each turn of ``reactor`` (IReactorTime) from now on."""
        self._reactor = reactor

    def stop(self) -> None:
        """There are no more turns."""
        self._reactor = None
        self.flush()

    def opened(self, record: Record) -> None:
        for each in self._observers:
            each.opened(record)

    def attempted(self, record: Record, attempt: Attempt) -> None:
        self._attempts.append(attempt)
        if not self._due:
            self._soon()

    def closed(self, record: Record) -> None:
        self._records.append(record)
        if not self._due:
            self._soon()

    def _soon(self) -> None:
        if self._reactor is None:
            self.flush()
        else:
            self._due = True
            self._reactor.callLater(0, self.flush)

    def flush(self) -> None:
        """Tell now what waits."""
        attempts, records = self._attempts, self._records
        self._attempts, self._records, self._due = [], [], False
        for each in self._observers:
            try:
                each.ended(attempts, records)
            except Exception:
                self.log.failure("An observer failed")
