"""docs/logs.md is as the code says, and so are the names of other systems in etc/."""

import json
import re
import runpy
from pathlib import Path

import msgspec
import pytest
import yaml
from test_operations import RECORD, line_of

from lmbroker.observers.access_log import AccessLine, AccessLog, access_fields
from lmbroker.observers.json_log import JSONLog, Line, More

ROOT = Path(__file__).resolve().parents[1]
WRITER = runpy.run_path(str(ROOT / "docs" / "logs_page.py"))
TEXT = (ROOT / "docs" / "logs.md").read_text()
FIELDS = {*Line.__struct_fields__, *More.__struct_fields__, *AccessLine.__struct_fields__}
NAME = r"[a-z@][a-z0-9_.]*"
"""A name of the Elastic Common Schema or of OpenTelemetry."""


def test_the_page_is_as_the_code_says():
    assert WRITER["page"](TEXT) == TEXT, "run: make docs"


def test_a_whole_access_line_has_the_fields_of_the_page_in_their_order():
    own = [each for each in AccessLine.__struct_fields__ if each not in Line.__struct_fields__]
    assert own == list(WRITER["docstrings"](AccessLine)) == list(access_fields(RECORD))


@pytest.mark.parametrize("struct", WRITER["STRUCTS"].values())
def test_every_field_has_its_row(struct):
    assert all(f"| `{name}` | " in TEXT for name in WRITER["docstrings"](struct))


def test_types_are_those_of_json():
    [line] = line_of(lambda log: AccessLog(log.write_lines))
    kinds = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array"}
    for name, value in line.items():
        assert f"| `{name}` | {kinds[type(value)]} | " in TEXT, name


def test_what_a_call_waited_for_is_told_beside_what_the_broker_added():
    fields = access_fields(RECORD)
    told = [fields[name] for name in ("ms_queue", "ms_connect", "ms_overhead")]
    assert told == [500.0, 250.0, 1125.0]
    unanswered = msgspec.structs.replace(RECORD, came_at=None)
    assert not {"ms_queue", "ms_connect", "ms_overhead"} & set(access_fields(unanswered))


def test_each_line_of_the_code_is_found():
    words = [each.words for each in WRITER["lines"]()]
    assert len(words) > 60
    for path in (ROOT / "lmbroker").rglob("*.py"):
        for found in re.findall(r"\blog\.(?:info|warn|error)\(\s*\"([^\"]+)\"", path.read_text()):
            assert any(each.startswith(found) for each in words), found


def test_a_line_has_the_logger_that_the_page_says():
    names = {each.words: each.logger for each in WRITER["lines"]()}
    assert names["Unknown model {model} ({why})"] == "lmbroker.broker.broker.Broker"
    assert names["Refused a client's key"] == "lmbroker.server.served_call"
    told = [each.logger for each in WRITER["lines"]() if each.words == "{warning}"]
    assert "lmbroker.daemon.service.BrokerService" in told
    assert "lmbroker.daemon.workers.parent.ParentService" in told


def test_more_fields_are_those_of_the_log(tmp_path):
    with (tmp_path / "log").open("w+") as out:
        log = JSONLog(out, "info", worker=3)
        try:
            raise RuntimeError("sk-secret")
        except RuntimeError as error:
            log({"log_failure": _failure(error), "log_format": "It failed", "log_level": None})
        out.seek(0)
        line = json.loads(out.read())
    assert set(line) == {*Line.__struct_fields__, *More.__struct_fields__}


def _failure(error):
    from twisted.python.failure import Failure

    return Failure(error)


def test_vector_names_fields_that_there_are():
    config = yaml.safe_load((ROOT / "etc" / "vector.yaml").read_text())
    assert set(config["transforms"]) == {"ecs", "otel"}
    for transform in config["transforms"].values():
        assert transform["type"] == "remap"
        assert set(transform["inputs"]) <= set(config["sources"])
        program = transform["source"]
        for left, right in ("()", "{}", "[]"):
            assert program.count(left) == program.count(right)
        assert program.count('"') % 2 == 0
        taken = re.findall(r"\b(?:del|exists)\((?:line)?\.(\w+)\)", program)
        assert len(taken) >= 12 and set(taken) <= FIELDS
        moved = re.findall(r"\bdel\((?:line)?\.(\w+)\)", program)
        assert len(moved) == len(set(moved)), "a field that was moved is there no more"
        for name in re.findall(r'^(?:line)?\."([^"]+)" = ', program, re.MULTILINE):
            assert re.fullmatch(NAME, name), name


def test_fluent_bit_names_fields_that_there_are():
    text = (ROOT / "etc" / "fluent-bit.conf").read_text()
    sections = re.split(r"(?m)^\[FILTER\]\n", text)[1:]
    assert len(sections) == 2
    for section in sections:
        rows = [line.split() for line in section.splitlines() if not line.startswith("#")]
        assert rows[:2] == [["Name", "modify"], ["Match", rows[1][1]]]
        assert len(rows) > 10
        for rule, field, name in rows[2:]:
            assert rule == "Rename" and field in FIELDS and re.fullmatch(NAME, name)
        for place in (1, 2):
            named = [row[place] for row in rows[2:]]
            assert len(named) == len(set(named))
