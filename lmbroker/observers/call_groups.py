"""Groups of ended calls: what is counted of several calls with the same labels is counted at once.

To count a call by itself takes several times as long. So calls wait for each other: for a second at
most, or until there are ``MOST`` of them, so that no counting takes longer than a fraction of a
millisecond.
"""

import collections
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from twisted.internet.interfaces import IReactorTime

from lmbroker.call import Attempt, Record, Target

MOST = 64
"""So many calls wait at most."""

SECONDS = 1.0
"""For so long they wait at most."""

UNKNOWN = "other"
"""The label of what nobody configured: an alias or a model that a client made up."""

NONE = "none"
"""The label of what there was not: a backend, where none was asked."""


class Group(NamedTuple):
    """The facts that the calls of a group have in common: the values of configured labels."""

    caller: str
    alias: str
    backend: str
    model: str
    stream: bool
    operation: str
    workflow: str


def model_of(target: Target, alias: str) -> str:
    """Return the label of a target's model: its name, where that is configured."""
    if target.named_by_client and target.model != alias:
        return UNKNOWN
    return target.model


def grouped(records: Sequence[Record]) -> Iterator[tuple[Group, list[Record]]]:
    """Yield ``records`` in groups; of several attempts the last one counts."""
    groups: dict[Any, list[Record]] = collections.defaultdict(list)
    for record in records:
        alias = record.alias or UNKNOWN
        attempts = record.attempts
        if attempts:
            last: Attempt = attempts[-1]
            target = last.target
            model = model_of(target, alias) if target.named_by_client else target.model
            place: tuple[str, str, str] = target.backend.name, model, last.workflow
        else:
            place = NONE, NONE, NONE
        groups[record.caller, alias, place, record.stream, record.operation].append(record)
    for (caller, alias, (backend, model, workflow), stream, operation), members in groups.items():
        yield Group(caller, alias, backend, model, stream, operation, workflow), members


class WaitingCalls:
    """Ended calls that wait until ``count`` is called for them.

    Before ``start`` and after ``stop`` nothing waits.
    """

    def __init__(self, count: Callable[[Sequence[Record]], None]) -> None:
        self._count = count
        self._reactor: IReactorTime | None = None
        self._records: list[Record] = []
        self._timer: Any = None

    def start(self, reactor: IReactorTime) -> None:
        """Let calls wait from now on."""
        self._reactor = reactor

    def stop(self) -> None:
        """Count what waits, and from now on at once."""
        self._reactor = None
        self.settle()

    def add(self, records: Sequence[Record]) -> None:
        """Take ended calls."""
        self._records += records
        if self._reactor is None or len(self._records) >= MOST:
            self.settle()
        elif self._timer is None:
            self._timer = self._reactor.callLater(SECONDS, self._due)

    def settle(self) -> None:
        """Count now what waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._now()

    def _due(self) -> None:
        self._timer = None
        self._now()

    def _now(self) -> None:
        records, self._records = self._records, []
        if records:
            self._count(records)
