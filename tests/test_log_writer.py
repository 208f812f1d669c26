"""The log is written by a thread: who logs never waits, and nothing is missing without a word."""

import json
import re
import threading
import time

import pytest

from lmbroker.observers.json_log import JSONLog
from lmbroker.observers.log_writer import BATCH_BYTES, LogWriter


class Place:
    """Takes lines while it is open; ``broken`` is what it raises instead."""

    def __init__(self):
        self.open = threading.Event()
        self.open.set()
        self.written = []
        self.broken = None

    def write(self, data):
        self.open.wait(20)
        if self.broken is not None:
            raise self.broken
        self.written.append(bytes(data))

    @property
    def lines(self):
        return b"".join(self.written).split(b"\n")[:-1]


@pytest.fixture
def place():
    place = Place()
    yield place
    place.open.set()


def until(true):
    deadline = time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def writer_to(place, limit=1000):
    writer = LogWriter(place, limit)
    writer.gap = b"%d missing\n".__mod__
    writer.counted = []
    writer.dropped = writer.counted.append
    return writer


def test_lines_are_kept_until_it_starts_and_written_in_order(place):
    writer = writer_to(place)
    for number in range(20):
        writer.write(b"%d\n" % number)
    assert place.written == []
    writer.start()
    writer.start()
    until(lambda: len(place.lines) == 20)
    assert place.written == [b"".join(b"%d\n" % number for number in range(20))]


def test_a_place_that_takes_nothing_holds_nobody_and_a_line_says_what_is_missing(place):
    writer = writer_to(place)
    place.open.clear()
    writer.start()
    began = time.thread_time()
    for number in range(10_000):
        writer.write(b"%05d\n" % number)
    assert time.thread_time() - began < 5
    kept = 10_000 - sum(writer.counted)
    assert kept <= 1000 / 6 + 1
    place.open.set()
    told = re.compile(rb"(?m)^(\d+) missing$")

    def missing():
        return sum(map(int, told.findall(b"\n".join(place.lines))))

    until(lambda: missing() == 10_000 - kept)
    assert place.lines[:kept] == [b"%05d" % number for number in range(kept)]
    writer.write(b"goes on\n")
    until(lambda: place.lines[-1] == b"goes on")


def test_a_gap_is_told_where_it_is(place):
    writer = writer_to(place, limit=10)
    place.open.clear()
    writer.write(b"first\n")
    writer.start()
    until(lambda: writer._busy)
    for line in (b"too long to be kept\n", b"1\n2\n3\n4\n5\n", b"last\n"):
        writer.write(line)
    place.open.set()
    until(lambda: b"7 missing" in place.lines)
    writer.write(b"after\n")
    until(lambda: b"after" in place.lines)
    assert place.lines == [b"first", b"7 missing", b"after"]
    assert sum(writer.counted) == 7


@pytest.mark.parametrize("error", [BrokenPipeError(), OSError(28, "full"), ValueError("closed")])
def test_a_place_that_loses_lines_is_tried_with_the_next_and_not_before(place, error):
    writer = writer_to(place)
    place.broken = error
    writer.start()
    tries = []
    write = place.write
    place.write = lambda data: (tries.append(data), write(data))
    for number in range(3):
        writer.write(b"%d\n" % number)
        until(lambda number=number: sum(writer.counted) == number + 1)
    time.sleep(0.1)
    assert len(tries) == 3
    place.broken = None
    writer.write(b"there again\n")
    until(lambda: b"there again" in place.lines)
    assert [line for line in place.lines if line] == [b"3 missing", b"there again"]


def test_a_large_heap_is_written_in_pieces_of_whole_lines(place):
    writer = writer_to(place, limit=10**7)
    for _ in range(100):
        writer.write(b"x" * 9_999 + b"\n")
    writer.start()
    until(lambda: len(place.lines) == 100)
    assert all(len(each) <= BATCH_BYTES and each.endswith(b"\n") for each in place.written)


def test_the_end_of_the_process_waits_for_what_is_left_but_not_for_ever(place, monkeypatch):
    writer = writer_to(place)
    writer.write(b"not started\n")
    writer.settle()
    assert place.lines == [b"not started"]
    writer.write(b"one more\n")
    assert place.lines[-1] == b"one more"
    monkeypatch.setattr("lmbroker.observers.log_writer.LAST_SECONDS", 0.1)
    stuck = writer_to(place)
    place.open.clear()
    stuck.write(b"never\n")
    began = time.monotonic()
    stuck.settle()
    stuck.write(b"neither\n")
    stuck.settle()
    assert 0.09 <= time.monotonic() - began < 5


def test_jobs_are_done_by_the_thread_between_two_writes(place):
    writer = writer_to(place)
    who = []
    writer.do(lambda: who.append(threading.current_thread().name))
    writer.write(b"x\n")
    writer.start()
    until(lambda: place.lines)
    assert who == ["log"]


def test_the_line_about_what_is_missing_is_one_of_ours(place):
    writer = LogWriter(place, 1)
    log = JSONLog(writer, "critical", worker=3)
    counted = []
    log.count_dropped(counted.append)
    log({"log_format": "lost", "log_level": None, "isError": 0})
    writer.write(b"lost\n")
    writer.start()
    writer.do(lambda: None)
    until(lambda: place.lines)
    line = json.loads(place.lines[0])
    assert counted == [1]
    assert (line["level"], line["logger"], line["worker"]) == (
        "warning",
        "lmbroker.observers.log_writer",
        3,
    )
    assert line["message"].startswith("1 lines of the log are missing here")


def test_a_regular_file_has_each_line_before_the_next_thing_happens(place):
    writer = LogWriter(place, direct=True)
    writer.write(b"early\n")
    assert place.written == []
    writer.start()
    until(lambda: not writer._busy)
    for number in range(5):
        writer.write(b"%d\n" % number)
        assert place.lines == [b"early", *(b"%d" % each for each in range(number + 1))]


def test_a_regular_file_that_is_full_loses_no_order(place):
    writer = LogWriter(place, direct=True)
    writer.gap = b"%d missing\n".__mod__
    writer.start()
    until(lambda: not writer._busy)
    place.broken = OSError(28, "No space left on device")
    writer.write(b"lost\n")
    until(lambda: not writer._held and not writer._busy)
    place.broken = None
    writer.write(b"next\n")
    until(lambda: len(place.lines) >= 3)
    assert place.lines == [b"", b"1 missing", b"next"]
