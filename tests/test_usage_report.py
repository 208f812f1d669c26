"""Reports of the usage journal, and the command that prints them."""

import csv
import io
import json
import re
import sqlite3
import time
from pathlib import Path

import pytest

from lmbroker.commands.cli import main
from lmbroker.observers.usage_journal import HOUR, prepare, write
from lmbroker.observers.usage_report import BY, check_by, report, seconds_of, shown_usage
from lmbroker.usage import PICO

NOW = int(time.time()) // HOUR * HOUR


def key(hour=NOW, caller="ann", alias="a", model="m", tag=""):
    return (hour, caller, alias, "b", model, tag, "", "")


def counts(calls=1, cost=PICO, unpriced=0):
    return [calls, 0, 10, 5, 2, 7, 3, 0, unpriced, cost]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "usage.sqlite"
    connection = sqlite3.connect(path)
    prepare(connection)
    sums = {
        key(): counts(),
        key(caller="bob"): counts(cost=3 * PICO, unpriced=1),
        key(hour=NOW - 30 * HOUR): counts(),
        key(hour=NOW - 400 * HOUR, model="old"): counts(),
    }
    write(connection, sums, [], None, 10)
    connection.commit()
    connection.close()
    return path


@pytest.fixture
def connection(file):
    with sqlite3.connect(file) as opened:
        yield opened
    opened.close()


def test_the_dearest_comes_first(connection):
    found = report(connection, NOW - 86_400, ["caller"])
    assert [(row["caller"], row["cost"]) for row in found] == [("bob", 3 * PICO), ("ann", PICO)]


def test_times_come_in_their_order(connection):
    found = report(connection, 0, ["day", "model"])
    assert [row["day"] for row in found] == sorted(row["day"] for row in found)
    assert found[0]["model"] == "old"


def test_all_together(connection):
    [row] = report(connection, 0, [])
    assert (row["calls"], row["input"]) == (4, 40)
    assert report(connection, NOW + HOUR, []) == []


def test_one_caller_sees_its_own(connection):
    [row] = report(connection, 0, ["caller"], "bob")
    assert row["caller"] == "bob"
    assert shown_usage("bob", 1.5, [row])["data"][0]["cost"] == "3"


def test_the_hour_of_the_moment_counts(connection):
    [row] = report(connection, NOW + 1800, [])
    assert row["calls"] == 2


@pytest.mark.parametrize("by", BY)
def test_by_whatever_there_is(connection, by):
    assert sum(row["calls"] for row in report(connection, 0, [by])) == 4


@pytest.mark.parametrize("by", [["calls"], ["caller; DROP TABLE hours"], ["day", "day"]])
def test_other_words_are_refused(by):
    with pytest.raises(ValueError, match="expected some of"):
        check_by(by)


@pytest.mark.parametrize(
    ("span", "seconds"), [("24h", 86_400), ("7d", 604_800), ("2w", 1_209_600), ("0h", 0)]
)
def test_spans_of_time(span, seconds):
    assert seconds_of(span) == seconds


@pytest.mark.parametrize("span", ["", "7", "d", "-7d", "7 d", "999999d", "7m"])
def test_what_is_no_span_of_time(span):
    with pytest.raises(ValueError, match="expected a span of time"):
        seconds_of(span)


# The command.


def said(capsys, *arguments):
    code = main(["usage", *arguments])
    return code, capsys.readouterr()


def test_a_table_for_people(file, capsys):
    code, out = said(capsys, "--file", str(file), "--since", "2d", "--by", "caller")
    head, bob, ann, note = out.out.splitlines()
    assert code == 0
    assert head.split()[:3] == ["caller", "calls", "failed"] and head.endswith("US dollars")
    assert (bob.split()[0], bob.split()[-1]) == ("bob", "3")
    assert (ann.split()[:2], ann.split()[-1]) == (["ann", "2"], "2")
    assert note.startswith("1 calls have no price")


def test_the_table_is_that_of_the_page(file, capsys):
    page = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
    command, shown = re.search(r"\$ lmbroker (usage .*)\n(.*)\n", page).groups()
    arguments = command.replace("--config /etc/lmbroker/config.toml", f"--file {file}").split()
    assert main(arguments) == 0
    head = capsys.readouterr().out.splitlines()[0]
    assert re.split(r"  +", head) == re.split(r"  +", shown)
    words = re.search(r"`--by` takes (.*?); ", page.replace("\n", " "))[1]
    named = re.findall(r"`(\w+)`", words.replace("`tag1` to `tag3`", "`tag1`, `tag2`, `tag3`"))
    assert sorted(named) == sorted(BY)


def test_csv_and_json(file, capsys):
    _, out = said(capsys, "--file", str(file), "--by", "model,day", "--csv")
    rows = list(csv.DictReader(io.StringIO(out.out)))
    assert {row["model"] for row in rows} == {"m", "old"}
    _, out = said(capsys, "--file", str(file), "--by", "", "--json")
    [row] = json.loads(out.out)
    assert (row["calls"], row["cost"]) == (4, "6")


def test_the_file_of_a_configuration(file, tmp_path, capsys):
    config = tmp_path / "c.toml"
    model = '[[models]]\nalias = "m"\ntype = "openai"\ntarget = { url = "practice:" }\n'
    config.write_text(f'[usage]\nfile = "{file}"\n{model}')
    assert said(capsys, "--config", str(config))[0] == 0
    config.write_text(model)
    code, out = said(capsys, "--config", str(config))
    assert code == 1 and "no usage.file" in out.err


def test_a_file_that_is_missing_or_no_journal(tmp_path, capsys):
    code, out = said(capsys, "--file", str(tmp_path / "none.sqlite"))
    assert code == 1 and "no such file" in out.err
    other = tmp_path / "other"
    other.write_bytes(b"no database" * 100)
    code, out = said(capsys, "--file", str(other))
    assert code == 1 and "not a database" in out.err


def test_mistakes_of_the_command_line(file, capsys):
    for wrong in (["--by", "colour"], ["--since", "yesterday"]):
        with pytest.raises(SystemExit):
            main(["usage", "--file", str(file), *wrong])
        assert "expected" in capsys.readouterr().err
