"""Batching: observers get what has ended in a turn of the reactor together, at its end.

To count a call and to write its line takes half the time when it is done for all calls of a turn
in a row, and what they share is done once. Calls that end by what a connection received are
reported before the turn's answers are sent, those that a timer ends right after them.
"""

from collections.abc import Sequence
from typing import Protocol

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from lmbroker.call import Attempt, Observer, Record


class BatchObserver(Observer, Protocol):
    """An observer that takes several ended attempts and calls at once."""

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Take ended attempts and calls, as ``attempted`` and ``closed`` take each of them."""
        ...


class BatchingObserver:
    """Reports to ``observers`` once per turn what has ended in it.

    Before ``start`` and after ``stop`` it reports at once. See ``call.Observer``.
    """

    log = Logger()

    def __init__(self, observers: Sequence[BatchObserver]) -> None:
        self.observers = observers
        """They may be replaced at any time."""
        self._reactor: IReactorTime | None = None
        self._due = False
        self._attempts: list[Attempt] = []
        self._records: list[Record] = []

    def start(self, reactor: IReactorTime) -> None:
        """Report at the end of each turn of ``reactor`` from now on."""
        self._reactor = reactor

    def stop(self) -> None:
        """Report what waits, and from now on at once: there are no more turns."""
        self._reactor = None
        self.flush()

    def opened(self, record: Record) -> None:
        """Report a new call to all observers at once."""
        for each in self.observers:
            each.opened(record)

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Keep an ended attempt until the end of the turn."""
        self._attempts.append(attempt)
        if not self._due:
            self._soon()

    def closed(self, record: Record) -> None:
        """Keep an ended call until the end of the turn."""
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
        """Report now what waits."""
        attempts, records = self._attempts, self._records
        self._attempts, self._records, self._due = [], [], False
        for each in self.observers:
            try:
                each.ended(attempts, records)
            except Exception:
                self.log.failure("An observer failed")
