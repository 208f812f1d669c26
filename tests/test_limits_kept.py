"""What was used of limits: kept in the usage journal, found again after a restart, and shown."""

import json
import sqlite3

import pytest_twisted
from limit_store_laws import MIDNIGHT, bound
from rig import CONFIG as RIG_CONFIG
from rig import PATHS, ask, unary
from test_limiting import ANSWER
from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.logger import Logger

from lmbroker.commands.cli import main
from lmbroker.config.config import UsageRules
from lmbroker.limiting.store import LocalStore
from lmbroker.observers.usage_journal import UsageJournal, ledger_of, prepare
from lmbroker.observers.usage_report import used_of_limits
from lmbroker.routing.limit_ledger import Ledger

NOW = float(MIDNIGHT + 3600)
MONEY = bound("cost", "month", 10**13)
PREPAID = bound("tokens", "never", 1000)
RATE = bound("requests", "minute", 60)
SLOTS = bound("parallel", "never", 5)
BOUNDS = (MONEY, PREPAID, RATE, SLOTS)

CONFIG = """
[usage]
file = "FILE"
[[keys]]
name = "ann"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000001"
[[keys]]
name = "bob"
hash = "sha256:0000000000000000000000000000000000000000000000000000000000000002"
[[limits.rules]]
name = "sum"
per = "caller"
cost = "20 USD/month"
tokens = "1000/never"
[[models]]
alias = "m"
type = "openai"
target = { url = "http://127.0.0.1:1" }
"""


def journal_of(file, ledger, now=NOW):
    journal = UsageJournal(UsageRules(file=str(file)), reactor, lambda: now, ledger)
    journal.start()
    return journal


def take(ledger, cost, tokens, now=NOW):
    lease = f"r{cost}"
    assert ledger.reserve(lease, BOUNDS, (cost, tokens, 1, 1), now).granted
    ledger.settle(lease, BOUNDS, (cost, tokens, 0, 0), now)


@pytest_twisted.ensureDeferred
async def test_a_restart_forgets_nothing(tmp_path):
    file = tmp_path / "usage.sqlite"
    ledger = ledger_of(str(file), Logger())
    journal = journal_of(file, ledger)
    take(ledger, 9_000_000_000_001, 700)
    ledger.reserve("in flight", BOUNDS, (5, 5, 1, 1), NOW)
    await journal.stop()
    after = ledger_of(str(file), Logger())
    assert after.read(BOUNDS, NOW).remaining == (10**13 - 9_000_000_000_001, 300, 58, 5)
    # Another start, another call: the sums go on.
    journal = journal_of(file, after)
    take(after, 7, 100)
    await journal.stop()
    again = ledger_of(str(file), Logger())
    assert again.read(BOUNDS[:2], NOW).remaining == (10**13 - 9_000_000_000_008, 200)


@pytest_twisted.ensureDeferred
async def test_windows_that_are_long_over_are_deleted_and_what_is_prepaid_stays(tmp_path):
    file = tmp_path / "usage.sqlite"
    ledger = Ledger()
    journal = journal_of(file, ledger)
    take(ledger, 5, 5)
    await journal.stop()
    journal = journal_of(file, ledger, now=NOW + 90 * 86_400)
    ledger.changed.add(PREPAID.counter)
    await journal.stop()
    assert [name for name, _, _ in used_of_limits(str(file))] == [PREPAID.counter]


@pytest_twisted.ensureDeferred
async def test_another_file_gets_all_of_it(tmp_path):
    ledger = Ledger()
    journal = journal_of(tmp_path / "one.sqlite", ledger)
    take(ledger, 5, 5)
    one, two = str(tmp_path / "one.sqlite"), str(tmp_path / "two.sqlite")
    journal.take(UsageRules(file=two))
    for _ in range(300):
        if (tmp_path / "two.sqlite").exists() and used_of_limits(two):
            break
        await deferLater(reactor, 0.02)
    await journal.stop()
    assert sorted(used_of_limits(one)) == sorted(used_of_limits(two))
    assert len(used_of_limits(two)) == 3


def test_a_file_that_cannot_be_read_begins_anew(tmp_path):
    file = tmp_path / "usage.sqlite"
    file.write_bytes(b"no database at all, but long enough to be taken for one")
    logged = []
    log = Logger(observer=logged.append)
    assert ledger_of(str(file), log).read((PREPAID,), NOW).remaining == (1000,)
    assert "counted anew" in logged[0]["log_format"]


def test_a_file_of_the_first_version_has_none_and_gets_them(tmp_path):
    file = tmp_path / "usage.sqlite"
    connection = sqlite3.connect(file)
    connection.execute("PRAGMA user_version = 1")
    connection.commit()
    assert used_of_limits(str(file)) == []
    prepare(connection)
    connection.close()
    assert used_of_limits(str(file)) == []
    assert used_of_limits(str(tmp_path / "none")) == [] and used_of_limits("") == []


def keep(file, *rows):
    connection = sqlite3.connect(file)
    prepare(connection)
    connection.executemany("INSERT INTO limits VALUES (?, ?, ?)", rows)
    connection.commit()
    connection.close()


def test_the_command_shows_what_is_left(tmp_path, capsys):
    file, config = tmp_path / "usage.sqlite", tmp_path / "config.toml"
    config.write_text(CONFIG.replace("FILE", str(file)))
    keep(
        file,
        ("sum|caller=ann|cost/month", 4.5e12, 4e9),
        ("sum|caller=bob|tokens/never", 900, 0),
    )
    assert main(["limits", "--config", str(config), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    shown = [(row["for"], row["counts"], row["limit"], row["left"]) for row in rows]
    assert shown == [
        ("caller=ann", "tokens for good", 1000, 1000),
        ("caller=ann", "cost month", "20", "15.5"),
        ("caller=bob", "tokens for good", 1000, 100),
        ("caller=bob", "cost month", "20", "20"),
    ]
    assert main(["limits", "--config", str(config), "--caller", "bob"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0].split() == ["rule", "for", "counts", "limit", "left", "all", "of", "it", "in"]
    assert len(out) == 3 and "ann" not in out[1]


def test_the_command_says_why_it_knows_nothing(tmp_path, capsys):
    config = tmp_path / "config.toml"
    config.write_text(CONFIG.replace('file = "FILE"', ""))
    assert main(["limits", "--config", str(config)]) == 1
    assert "GET /v1/usage" in capsys.readouterr().err
    config.write_text(CONFIG.partition("[[limits")[0] + CONFIG[CONFIG.index("[[models") :])
    assert main(["limits", "--config", str(config)]) == 1
    assert "no [[limits.rules]]" in capsys.readouterr().err
    (tmp_path / "broken").write_bytes(b"no database at all, but long enough to be taken for one")
    config.write_text(CONFIG.replace("FILE", str(tmp_path / "broken")))
    assert main(["limits", "--config", str(config)]) == 1
    assert "broken: file is not a database" in capsys.readouterr().err


@pytest_twisted.ensureDeferred
async def test_a_client_sees_what_it_has_left(open_rig):
    text = '[[limits.rules]]\nname = "sum"\ntokens = "1k/day"\nparallel = 4\n'
    rig = await open_rig(config=RIG_CONFIG + text)
    client = await rig.post(PATHS["openai"], ask("o"))
    (await rig.backend()).transport.write(unary(ANSWER))
    await client.has(b'"hi"')
    await rig.ended()
    client = await rig.get("/v1/usage")
    await client.has(b"}]}")
    told = json.loads(client.body)
    assert told["data"] == []
    [tokens, slots] = told["limits"]
    assert 0 < tokens.pop("again_in") <= 86_400
    assert tokens == {
        "rule": "sum",
        "for": "all",
        "counts": "tokens day",
        "limit": 1000,
        "left": 988,
    }
    assert (slots["counts"], slots["left"]) == ("parallel", 4)


def test_the_store_is_a_ledger_with_a_clock():
    store = LocalStore(Ledger([(PREPAID.counter, 10, 0.0)]), None, lambda: NOW)
    assert store.read((PREPAID,)).remaining == (990,)
