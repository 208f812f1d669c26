"""The usage journal: what is kept, when it is written, and what happens where it cannot be."""

import gc
import sqlite3
import stat

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater

from lmbroker.call import Attempt, Backend, End, Record, Target
from lmbroker.config.config import UsageRules
from lmbroker.observers import usage_journal
from lmbroker.observers.usage_journal import HOUR, UsageJournal, prepare, write
from lmbroker.observers.usage_report import report
from lmbroker.usage import PICO, Usage

NOON = 1_795_003_200
"""A full hour, in unix seconds."""

TARGET = Target(backend=Backend(name="b", url="https://b.example", dialect="openai"), model="m")
USAGE = Usage(input=10, cache_read=5, cache_write=2, output=7, reasoning=3)

pytestmark = pytest.mark.usefixtures("no_files_left")


@pytest.fixture
def no_files_left(tmp_path):
    yield
    # The traceback of a failed write keeps its statement, and that the file.
    gc.collect()
    # A journal that is closed leaves no write-ahead log behind.
    assert not list(tmp_path.glob("*-wal"))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "usage.sqlite"


def ended(
    caller="ann", alias="a", usage=USAGE, cost=PICO, outcome="complete", tags=(), attempted=True
):
    attempt = Attempt(target=TARGET, workflow="passthrough", started=0.0)
    return Record(
        id="req_1",
        operation="chat",
        dialect="openai",
        opened_at=1.0,
        closed_at=1.5,
        alias=alias,
        caller=caller,
        attempts=[attempt] if attempted else [],
        end=End(outcome=outcome, status=200),
        usage=usage,
        cost=cost,
        tags=tags,
    )


def journal_of(file, *, now=lambda: NOON, **rules):
    journal = UsageJournal(UsageRules(file=str(file) if file else "", **rules), reactor, now)
    journal.start()
    return journal


def rows(file, table="hours"):
    with sqlite3.connect(file) as connection:
        connection.row_factory = sqlite3.Row
        found = [dict(row) for row in connection.execute(f"SELECT * FROM {table}")]
    connection.close()
    return found


@pytest_twisted.ensureDeferred
async def test_calls_are_summed_by_the_hour(file):
    journal = journal_of(file)
    journal.closed(ended())
    journal.closed(ended(outcome="client_left"))
    journal.closed(ended(caller="bob"))
    await journal.stop()
    ann, bob = rows(file)
    assert (ann["hour"], ann["caller"], ann["alias"]) == (NOON, "ann", "a")
    assert (ann["backend"], ann["model"], ann["tag1"]) == ("b", "m", "")
    assert (ann["calls"], ann["failed"], ann["input"], ann["cache_read"]) == (2, 1, 20, 10)
    assert (ann["cache_write"], ann["output"], ann["reasoning"]) == (4, 14, 6)
    assert (ann["cost"], ann["unpriced"], ann["estimated"]) == (2 * PICO, 0, 0)
    assert bob["calls"] == 1


@pytest_twisted.ensureDeferred
async def test_what_was_written_before_is_added_to(file):
    for _ in range(2):
        journal = journal_of(file)
        journal.closed(ended())
        await journal.stop()
    [row] = rows(file)
    assert (row["calls"], row["cost"]) == (2, 2 * PICO)


@pytest_twisted.ensureDeferred
async def test_after_seconds_without_calls_it_is_written_as_before(file):
    journal = journal_of(file)
    for _ in range(2):
        journal._tick()
    journal.closed(ended())
    journal._tick()
    for _ in range(300):
        if journal._writing is None:
            break
        await deferLater(reactor, 0.01)
    assert len(rows(file)) == 1
    await journal.stop()


@pytest_twisted.ensureDeferred
async def test_each_hour_and_each_tag_has_a_row(file):
    moments = iter([NOON, NOON + HOUR - 1, NOON + HOUR, NOON + HOUR, NOON + HOUR])
    journal = journal_of(file, now=lambda: next(moments), tags=("x-team",))
    for team in ("red", "red", "red", "blue"):
        journal.closed(ended(tags=(team,)))
    await journal.stop()
    found = {(row["hour"], row["tag1"]): row["calls"] for row in rows(file)}
    assert found == {(NOON, "red"): 2, (NOON + HOUR, "red"): 1, (NOON + HOUR, "blue"): 1}


@pytest_twisted.ensureDeferred
async def test_calls_without_usage_without_price_and_without_an_attempt(file):
    journal = journal_of(file)
    journal.closed(ended(usage=None, cost=None, outcome="refused", attempted=False))
    journal.closed(ended(cost=None, usage=Usage(input=1, estimated=True)))
    await journal.stop()
    refused, unpriced = rows(file)
    assert (refused["backend"], refused["failed"], refused["unpriced"]) == ("", 1, 0)
    assert (unpriced["unpriced"], unpriced["estimated"], unpriced["cost"]) == (1, 1, 0)


@pytest_twisted.ensureDeferred
async def test_the_latest_calls_are_kept_one_by_one(file):
    journal = journal_of(file, keep_calls=2)
    for number in range(5):
        record = ended()
        record.id = f"req_{number}"
        journal.closed(record)
    await journal.stop()
    calls = rows(file, "calls")
    assert [call["id"] for call in calls] == ["req_3", "req_4"]
    assert (calls[0]["at"], calls[0]["ms"], calls[0]["cost"]) == (NOON, 500.0, PICO)


@pytest_twisted.ensureDeferred
async def test_old_hours_are_deleted(file):
    journal = journal_of(file, keep_days=1)
    journal.closed(ended())
    await journal.stop()
    for days, left in ((0.9, 2), (1.1, 2)):
        journal = journal_of(file, now=lambda days=days: NOON + days * 86_400, keep_days=1)
        journal.closed(ended())
        await journal.stop()
        assert len(rows(file)) == left
    assert NOON not in {row["hour"] for row in rows(file)}


@pytest_twisted.ensureDeferred
async def test_nobody_else_may_read_the_file(file):
    journal = journal_of(file)
    journal.closed(ended())
    await journal.stop()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest_twisted.ensureDeferred
async def test_without_a_file_nothing_is_kept():
    journal = journal_of(None)
    journal.closed(ended())
    assert not journal._sums
    assert await journal.read(report, 0, ()) is None
    await journal.stop()


@pytest_twisted.ensureDeferred
async def test_what_waits_is_written_before_it_is_read(file):
    journal = journal_of(file)
    journal.closed(ended())
    [row] = await journal.read(report, NOON - 86_400, ["caller"])
    assert (row["caller"], row["calls"]) == ("ann", 1)
    await journal.stop()


@pytest_twisted.ensureDeferred
async def test_a_file_that_cannot_be_written_costs_rows_and_no_call(
    file, monkeypatch, messages, nothing_fails_unheard
):
    monkeypatch.setattr(usage_journal, "WAITING", 2)
    blocker = sqlite3.connect(file)
    prepare(blocker)
    monkeypatch.setattr(usage_journal, "BUSY_SECONDS", 0.01)
    journal = journal_of(file)
    blocker.execute("BEGIN EXCLUSIVE")
    for caller in ("ann", "ann", "bob", "carl"):
        journal.closed(ended(caller=caller))
    journal._tick()
    while journal._writing is not None:
        await deferLater(reactor, 0.01)
    blocker.rollback()
    blocker.close()
    await journal.stop()
    assert {row["caller"]: row["calls"] for row in rows(file)} == {"ann": 2, "bob": 1}
    told = [message for message in messages if "usage journal" in message]
    assert "cannot be written: OperationalError" in told[0]
    assert told[1] == "The usage journal is written again; 1 calls are not in it"


@pytest_twisted.ensureDeferred
async def test_another_file_is_taken_by_a_reload(file, tmp_path):
    journal = journal_of(file)
    journal.closed(ended())
    other = tmp_path / "other.sqlite"
    journal.take(UsageRules(file=str(other)))
    while journal._pool is None:
        await deferLater(reactor, 0.01)
    journal.closed(ended(caller="bob"))
    await journal.stop()
    assert [row["caller"] for row in rows(file)] == ["ann"]
    assert [row["caller"] for row in rows(other)] == ["bob"]


def test_two_processes_add_to_the_same_rows(file):
    counts = [1, 0, 1, 0, 0, 1, 0, 0, 0, 5]
    key = (NOON, "ann", "a", "b", "m", "", "", "")
    for _ in range(2):
        connection = sqlite3.connect(file)
        prepare(connection)
        write(connection, {key: list(counts)}, [], None, 10)
        connection.commit()
        connection.close()
    [row] = rows(file)
    assert (row["calls"], row["cost"]) == (2, 10)


def test_a_file_of_a_later_version_is_left_alone(file):
    connection = sqlite3.connect(file)
    connection.execute(f"PRAGMA user_version = {usage_journal.VERSION + 1}")
    with pytest.raises(sqlite3.DatabaseError, match="later version"):
        prepare(connection)
    connection.close()
