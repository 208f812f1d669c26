"""The usage journal: a SQLite file with tokens and costs by the hour, and the latest calls.

Sums are kept in memory and written once a second by one thread, so a process that is killed loses
a second at most. Several workers write the same file. Where it cannot be written, sums wait, and
are given up when there are too many; calls never wait.
"""

import os
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from twisted.enterprise.adbapi import ConnectionPool
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from lmbroker.call import Attempt, Record
from lmbroker.config.config import MOST_TAGS, UsageRules
from lmbroker.observers.usage_report import BUSY_SECONDS, COUNTS, NAMES, Unreadable, used_of_limits
from lmbroker.routing.limit_ledger import Kept, Ledger

SECONDS = 1.0
"""How often the journal is written."""

WAITING = 20_000
"""The maximum of sums, and of calls, that wait to be written."""

HOUR = 3600

_OF_A_CALL = (
    "at",
    "id",
    "operation",
    "status",
    "outcome",
    "ms",
    *NAMES,
    *COUNTS[2:7],
    "cost",
)

_KEEP = "INSERT OR REPLACE INTO limits (counter, used, at) VALUES (?, ?, ?)"

SPENT_SECONDS = 86_400
"""How long after its window what was used of a limit is deleted."""

VERSION = 2

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS hours (
    hour INTEGER NOT NULL,
    {" ".join(f"{name} TEXT NOT NULL," for name in NAMES)}
    {" ".join(f"{name} INTEGER NOT NULL," for name in COUNTS)}
    PRIMARY KEY (hour, {", ".join(NAMES)})
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS calls (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    {", ".join(_OF_A_CALL)}
);
CREATE TABLE IF NOT EXISTS limits (
    counter TEXT PRIMARY KEY,
    used NUMERIC NOT NULL,
    at REAL NOT NULL
) WITHOUT ROWID;
PRAGMA user_version = {VERSION};
"""

_ADD = (
    f"INSERT INTO hours (hour, {', '.join(NAMES)}, {', '.join(COUNTS)}) "
    f"VALUES ({', '.join('?' * (1 + len(NAMES) + len(COUNTS)))}) "
    f"ON CONFLICT (hour, {', '.join(NAMES)}) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in COUNTS)
)
_NOTE = f"INSERT INTO calls ({', '.join(_OF_A_CALL)}) VALUES ({', '.join('?' * len(_OF_A_CALL))})"

Key = tuple[Any, ...]
"""The hour, and the values of ``NAMES``."""


class UsageJournal:
    """Keeps the usage of all calls in the file of ``rules``, of none where that names no file.

    See ``batching.BatchObserver``; ``wall`` gives unix seconds. What was used of limits is kept as
    well, where it is counted in this process: in ``ledger``.
    """

    log = Logger()

    def __init__(
        self,
        rules: UsageRules,
        reactor: Any,
        wall: Callable[[], float],
        ledger: Ledger | None = None,
    ) -> None:
        self._rules = rules
        self._ledger = ledger
        self._reactor = reactor
        self._wall = wall
        self._sums: dict[Key, list[int]] = {}
        self._calls: list[Key] = []
        self._pool: ConnectionPool | None = None
        self._writing: Deferred[Any] | None = None
        self._broken = False
        self._given_up = 0
        self._pruned_in = 0
        self._looping = LoopingCall(self._tick)
        self._looping.clock = reactor

    # Observing.

    def opened(self, record: Record) -> None:
        """Keep nothing: a call has used something when it ends."""

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Keep nothing: only the attempt that answered has used something."""

    def closed(self, record: Record) -> None:
        """Keep one ended call."""
        self.ended((), (record,))

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Keep ended calls."""
        if self._pool is None:
            return
        now = self._wall()
        hour = int(now) // HOUR * HOUR
        for record in records:
            names, counts = _names(record), _counts(record)
            self._add((hour, *names), counts)
            if self._rules.keep_calls and len(self._calls) < WAITING:
                ended = record.closed_at or record.opened_at
                self._calls.append(
                    (
                        round(now, 3),
                        record.id,
                        record.operation,
                        record.end.status,
                        record.end.outcome,
                        round((ended - record.opened_at) * 1000, 3),
                        *names,
                        *counts[2:7],
                        record.cost,
                    )
                )

    def _add(self, key: Key, counts: Sequence[int]) -> None:
        sums = self._sums.get(key)
        if sums is not None:
            for at, count in enumerate(counts):
                sums[at] += count
        elif len(self._sums) < WAITING:
            self._sums[key] = list(counts)
        else:
            self._given_up += counts[0]

    # Writing.

    def start(self) -> None:
        """Open the file, and write to it from now on."""
        if self._rules.file:
            self._open()

    def _open(self) -> None:
        # adbapi opens a connection in its thread: what it meets is met by each write, and logged.
        self._pool = ConnectionPool(
            "sqlite3",
            self._rules.file,
            timeout=BUSY_SECONDS,
            check_same_thread=False,
            cp_min=1,
            cp_max=1,
            cp_openfun=prepare,
            cp_reactor=self._reactor,
            cp_noisy=False,
        )
        self._looping.start(SECONDS, now=False)

    def take(self, rules: UsageRules) -> None:
        """Go by other rules, with another file if they name one."""
        before, self._rules = self._rules, rules
        if before.file != rules.file:
            self.stop().addCallback(self._begin_anew)

    def _begin_anew(self, _: None) -> None:
        if self._ledger is not None:
            self._ledger.all_changed()
        self.start()

    def stop(self) -> "Deferred[None]":
        """Write what waits and close the file; fires when that is done."""
        pool = self._pool
        if pool is None:
            return succeed(None)
        if self._looping.running:
            self._looping.stop()

        def written(_: Any) -> "Deferred[Any]":
            self._pool = None
            return self._write(pool)

        def close(_: Any) -> None:
            pool.close()

        waits = self._writing or succeed(None)
        return waits.addCallback(written).addCallback(close)

    def _tick(self) -> None:
        if self._writing is None and self._pool is not None:
            # It may be done already: then it must not be waited for from now on.
            self._writing = self._write(self._pool)
            self._writing.addCallback(self._written)

    def _written(self, _: Any) -> None:
        self._writing = None

    def _write(self, pool: ConnectionPool) -> "Deferred[Any]":
        """Write what waits; fires when that was tried."""
        sums, self._sums = self._sums, {}
        calls, self._calls = self._calls, []
        used = self._ledger.take_changed() if self._ledger is not None else []
        if not sums and not calls and not used:
            return succeed(None)
        now = self._wall()
        hour = int(now) // HOUR
        prune = self._pruned_in != hour
        rules = self._rules
        oldest = (hour - 24 * rules.keep_days) * HOUR if prune else None
        done: Deferred[Any] = pool.runInteraction(
            write, sums, calls, oldest, rules.keep_calls, used, now
        )

        def wrote(_: Any) -> None:
            self._pruned_in = hour
            if self._broken:
                self._broken = False
                self.log.info(
                    "The usage journal is written again; {count} calls are not in it",
                    count=self._given_up,
                )
                self._given_up = 0

        def failed(failure: Any) -> None:
            for key, counts in sums.items():
                self._add(key, counts)
            if self._ledger is not None:
                self._ledger.changed.update(name for name, _, _ in used)
            self._calls = calls[: WAITING - len(self._calls)] + self._calls
            if not self._broken:
                self._broken = True
                self.log.error(
                    "The usage journal cannot be written: {problem}",
                    problem=f"{failure.type.__name__}: {failure.value}",
                )

        return done.addCallbacks(wrote, failed)

    # Reading.

    def read(self, report: Callable[..., Any], *args: Any) -> "Deferred[Any]":
        """Return what ``report`` returns for a cursor in the file and ``args``.

        It is called after all was written. None where there is no file. Fails with sqlite3.Error.
        """
        if self._pool is None:
            return succeed(None)
        pool = self._pool
        waits = self._writing or succeed(None)
        done: Deferred[Any] = Deferred()
        waits.addCallback(lambda _: self._write(pool))
        waits.addCallback(lambda _: pool.runInteraction(report, *args))
        waits.addCallbacks(done.callback, done.errback)
        return done


def ledger_of(file: str, log: Logger) -> Ledger:
    """Return a ledger that goes on where the one before it stopped, as far as can be read."""
    try:
        return Ledger(used_of_limits(file))
    except Unreadable as error:
        log.error(
            "What was used of limits cannot be read, and is counted anew: {problem}",
            problem=str(error),
        )
        return Ledger()


def prepare(connection: sqlite3.Connection) -> None:
    """Make the tables of a new file, which nobody else may read."""
    try:
        _prepare(connection)
    except sqlite3.Error:
        # No caller has the connection to close it.
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if version > VERSION:
        raise sqlite3.DatabaseError("the file was made by a later version of LMBroker")
    if version < VERSION:
        connection.executescript(_SCHEMA)
        for name in [row[2] for row in connection.execute("PRAGMA database_list")]:
            if name:
                os.chmod(name, 0o600)


def write(
    transaction: Any,
    sums: dict[Key, list[int]],
    calls: Sequence[Key],
    oldest: int | None,
    keep_calls: int,
    used: Sequence[Kept] = (),
    now: float = 0.0,
) -> None:
    """Add sums and calls, and delete what is too old.

    Hours before ``oldest`` go, where that is given, and all calls but the latest ``keep_calls``.
    ``used`` is what was used of limits by ``now``, in unix seconds.
    """
    transaction.executemany(_KEEP, used)
    transaction.executemany(_ADD, [(*key, *counts) for key, counts in sums.items()])
    transaction.executemany(_NOTE, calls)
    if calls:
        transaction.execute(
            "DELETE FROM calls WHERE number <= (SELECT max(number) FROM calls) - ?", (keep_calls,)
        )
    if oldest is not None:
        transaction.execute("DELETE FROM hours WHERE hour < ?", (oldest,))
        # A prepaid amount has no window, so its row stays.
        transaction.execute("DELETE FROM limits WHERE at > 0 AND at < ?", (now - SPENT_SECONDS,))


def _names(record: Record) -> tuple[str, ...]:
    backend = model = ""
    if record.attempts:
        target = record.attempts[-1].target
        backend, model = target.backend.name, target.model
    tags = (*record.tags, *("",) * (MOST_TAGS - len(record.tags)))
    return (record.caller, record.alias, backend, model, *tags)


def _counts(record: Record) -> list[int]:
    usage = record.usage
    failed = int(record.end.outcome != "complete")
    if usage is None:
        return [1, failed, 0, 0, 0, 0, 0, 0, 0, 0]
    return [
        1,
        failed,
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.output,
        usage.reasoning or 0,
        int(usage.estimated),
        int(record.cost is None),
        record.cost or 0,
    ]
