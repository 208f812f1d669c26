"""Limits of all workers together: the parent counts, and each worker asks it.

Up the line go ``reserve`` and ``look`` with ``Asked``, ``leave`` with the number of one of these
that nobody waits for any more, and ``settle`` with ``Settled``. Down it comes ``decided`` with
``Decided``, one for each ``reserve`` and ``look``. Where a worker is gone, so is what it has
reserved.
"""

import os
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.config.config import Config
from lmbroker.daemon.workers.beginning import read, write
from lmbroker.limiting.store import Amounts, Bounds, LocalStore
from lmbroker.observers.usage_journal import UsageJournal, ledger_of
from lmbroker.offload.channel import TEXT, Message
from lmbroker.routing.limit_ledger import SOON, Decision
from lmbroker.routing.limit_rules import Bound

KINDS = ("reserve", "look", "leave", "settle")
"""The messages of a worker that are about limits."""


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A worker wants to reserve ``needs`` of ``bounds``, or to know how these are."""

    number: int
    lease: str
    bounds: tuple[Bound, ...]
    needs: tuple[int, ...] = ()


class Settled(msgspec.Struct, frozen=True, array_like=True):
    """A call of a worker has ended."""

    lease: str
    bounds: tuple[Bound, ...]
    used: tuple[int, ...]


class Decided(msgspec.Struct, frozen=True, array_like=True):
    """What the store says to the worker that asked."""

    number: int
    decision: Decision


class Sender(Protocol):
    """What sends messages to the other end."""

    def send(self, kind: str, text: str = "", file: int | None = None) -> None:
        """Send a message."""


def post(line: Sender, kind: str, value: Any) -> None:
    """Send ``value``, as a file where it is too long for a message."""
    text = msgspec.json.encode(value).decode()
    if len(text) <= TEXT:
        line.send(kind, text)
        return
    file = write(value)
    line.send(kind, file=file)
    os.close(file)


def taken(message: Message, file: int | None, kind: Any) -> Any:
    """Return the value that came with a message."""
    if file is not None and file >= 0:
        return read(file, kind)
    return msgspec.json.decode(message.text, type=kind)


class LineStore:
    """The store of a worker: what it asks goes along the line to the parent."""

    def __init__(self, line: Sender) -> None:
        self._line = line
        self._number = 0
        self._asked: dict[int, tuple[Deferred[Decision], str, Bounds]] = {}
        self._gone = False

    def reserve(self, lease: str, bounds: Bounds, needs: Amounts) -> "Deferred[Decision]":
        """Have the parent reserve ``needs`` of ``bounds``."""
        return self._ask("reserve", lease, bounds, needs)

    def settle(self, lease: str, bounds: Bounds, used: Amounts) -> None:
        """Have the parent count what a call has used."""
        post(self._line, "settle", Settled(lease, bounds, used))

    def read(self, bounds: Bounds) -> "Deferred[Decision]":
        """Ask the parent how ``bounds`` are now."""
        return self._ask("look", "", bounds, ())

    def received(self, message: Message, file: int | None) -> None:
        """Take what the parent has decided."""
        told: Decided = taken(message, file, Decided)
        decided, lease, bounds = self._asked.pop(told.number)
        if not decided.called:
            decided.callback(told.decision)
        elif lease and told.decision.granted:
            # Its client left in the meantime.
            self.settle(lease, bounds, (0,) * len(bounds))

    def gone(self) -> None:
        """Refuse what the parent, which is gone, has not answered, and all that comes."""
        self._gone = True
        asked, self._asked = self._asked, {}
        for decided, _, bounds in asked.values():
            if not decided.called:
                decided.callback(_unknown(bounds))

    def _ask(self, kind: str, lease: str, bounds: Bounds, needs: Amounts) -> "Deferred[Decision]":
        if self._gone:
            return succeed(_unknown(bounds))
        self._number = number = self._number + 1
        decided: Deferred[Decision] = Deferred(lambda _: self._leave(number))
        self._asked[number] = (decided, lease, bounds)
        post(self._line, kind, Asked(number, lease, bounds, needs))
        return decided

    def _leave(self, number: int) -> None:
        if not self._gone:
            post(self._line, "leave", number)


def _unknown(bounds: Bounds) -> Decision:
    """Return the decision where nobody knows."""
    nothing = (0,) * len(bounds)
    return Decision(False, (0,) if bounds else (), SOON, (), nothing, (SOON,) * len(bounds))


class ParentLimits:
    """What the parent counts for its workers, and keeps in the usage journal.

    It begins where a configuration has limit rules, or when a worker asks.
    """

    log = Logger()

    def __init__(
        self, config: Config, reactor: IReactor, wall: Callable[[], float] = time.time
    ) -> None:
        self._config = config
        self._reactor = reactor
        self._wall = wall
        self._store: LocalStore | None = None
        self._journal: UsageJournal | None = None
        self._waiting: dict[tuple[str, int], Deferred[Decision]] = {}

    def start(self) -> None:
        """Count, if there are rules."""
        if self._config.limit_rules:
            self._begin()

    def take(self, config: Config) -> None:
        """Go by another configuration."""
        self._config = config
        if self._journal is not None:
            self._journal.take(config.usage)
        self.start()

    def stop(self) -> "Deferred[None]":
        """Keep what is not kept yet; fires when that is done."""
        if self._store is None or self._journal is None:
            return succeed(None)
        self._store.stop()
        return self._journal.stop()

    def gone(self, holder: str) -> None:
        """Give back what a worker had reserved that is gone."""
        for key in [key for key in self._waiting if key[0] == holder]:
            del self._waiting[key]
        if self._store is not None:
            self._store.drop(holder)

    def received(self, holder: str, line: Sender, message: Message, file: int | None) -> None:
        """Do what a worker asks for, and answer it along ``line``."""
        store = self._begin()
        if message.kind == "settle":
            ended: Settled = taken(message, file, Settled)
            store.settle(ended.lease, ended.bounds, ended.used, holder)
        elif message.kind == "leave":
            waiting = self._waiting.pop((holder, taken(message, file, int)), None)
            if waiting is not None:
                waiting.cancel()
        else:
            asked: Asked = taken(message, file, Asked)
            if message.kind == "look":
                post(line, "decided", Decided(asked.number, store.read(asked.bounds)))
                return
            found = store.reserve(asked.lease, asked.bounds, asked.needs, holder)
            if isinstance(found, Decision):
                post(line, "decided", Decided(asked.number, found))
                return
            key = holder, asked.number
            self._waiting[key] = found

            def decided(decision: Decision) -> None:
                if self._waiting.pop(key, None) is not None:
                    post(line, "decided", Decided(asked.number, decision))

            def left(failure: Any) -> None:
                failure.trap(CancelledError)
                post(line, "decided", Decided(asked.number, _unknown(asked.bounds)))

            found.addCallbacks(decided, left)

    def _begin(self) -> LocalStore:
        if self._store is None:
            usage = self._config.usage
            ledger = ledger_of(usage.file, self.log)
            self._store = LocalStore(ledger, self._reactor, self._wall)
            self._journal = UsageJournal(usage, self._reactor, self._wall, ledger)
            self._journal.start()
        return self._store
