"""The comparison of installations finds what differs, and nothing else."""

import os
import sys
from pathlib import Path

import pytest
from compare_installations import ENVIRON, differences, kind, paired
from installations.calls import answer_samples, stream_samples
from installations.oddities import page_samples
from installations.player import Normaliser, Outcome, play
from installations.programs import commands
from installations.samples import Setting
from installations.tables import main_tables, toml

REQUEST = b"req_0123456789abcdef01234567"


def outcome(**parts: bytes) -> Outcome:
    return Outcome("group", "name").keep(parts)


def test_what_differs_is_told_with_what_stands_around_it():
    before = outcome(answer=b"a" * 200 + b"x" + b"b" * 200, request=b"same")
    after = outcome(answer=b"a" * 200 + b"y" + b"b" * 200, request=b"same")
    assert list(differences(before, before)) == []
    (found,) = differences(before, after)
    assert found.name == "group: name: answer"
    assert "axb" in found.before
    assert "ayb" in found.after


def test_a_part_that_has_changed_on_purpose_is_left_out_and_others_are_counted_by_kind():
    before, after = outcome(answer=b"a"), outcome(answer=b"b")
    before.keep({"access line 2": b"a"})
    after.keep({"access line 2": b"b"})
    assert [kind(each) for each in differences(before, after)] == [
        "group: answer",
        "group: access line",
    ]
    (left,) = differences(before, after, ("access",))
    assert left.name == "group: name: answer"


def test_what_is_on_one_side_only_differs():
    (found,) = differences(outcome(), outcome(answer=b""))
    assert (found.before, found.after[:7]) == ("(nothing)", "0 bytes")


def test_a_daemon_that_does_not_start_is_one_difference():
    started = [outcome(answer=b"a"), outcome(answer=b"b"), outcome(log=b"")]
    ((one, other),) = paired(started, [outcome(problem=b"unknown key")])
    assert {each.name for each in differences(one, other)} == {
        "group: name: log",
        "group: name: problem",
    }
    assert len(list(paired(started, started))) == 3


def test_what_must_differ_is_taken_out():
    normal = Normaliser({12345: "PORT"})
    told = b"x-lmbroker-request-id: " + REQUEST
    assert normal(b"Date: today\r\nhost: 127.0.0.1:12345") == b"Date: DATE\r\nhost: 127.0.0.1:PORT"
    assert normal(told, told) == b"x-lmbroker-request-id: REQUEST0"
    kept = b"112345 msg_01ABCDEFGHIJKLMNOPQRSTUV 1790000000 2024-06-04T18:39:57Z"
    assert normal(kept, told) == kept
    trace = b"traceparent: 00-" + b"4b" * 16 + b"-" + b"00" * 8 + b"-00"
    assert normal(trace) == b"traceparent: 00-TRACE-00"


@pytest.mark.process
@pytest.mark.sockets
def test_an_installation_answers_like_itself(monkeypatch):
    def samples():
        yield from list(stream_samples())[::100]
        yield from list(answer_samples())[::100]
        # A list of models leaves out the backends that a busy machine asks for too long.
        yield from (each for each in page_samples() if not each.name.startswith("the models"))

    for name, value in ENVIRON.items():
        monkeypatch.setitem(os.environ, name, value)
    setting = Setting("few", toml(main_tables()), samples)
    before, after = (play(Path(sys.executable), [setting], list(commands())[:2]) for _ in "12")
    assert [d for pair in zip(before, after, strict=True) for d in differences(*pair)] == []
    answers = [each.part("answer") or b"" for each in before]
    assert sum(b" 200 " in answer for answer in answers) > 20
    assert sum(any(name.startswith("access") for name in each.parts) for each in before) > 20
