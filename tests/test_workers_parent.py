"""The parent of the workers, without workers: what it does where something goes wrong."""

import atexit
import errno
import io
import os
import socket

import pytest
from twisted.internet import task
from twisted.logger import Logger, LogLevel

from lmbroker.config.config import parse
from lmbroker.config.file import Source
from lmbroker.daemon.workers import handover
from lmbroker.daemon.workers.log import SharedFile
from lmbroker.daemon.workers.parent import ParentService
from lmbroker.daemon.workers.worker_handle import ENDED

SOURCE = Source(name="c.toml", text="", files={})
OLD, NEW = "tcp:1:interface=127.0.0.1", "tcp:2:interface=127.0.0.1"
ASIDE = "tcp:3:interface=127.0.0.1"
NO_FILE = OSError(errno.EMFILE, "Too many open files")


def listening(*endpoints, aside=None):
    shown = f"metrics_listen = ['{aside}']" if aside else ""
    text = f"""
        [server]
        listen = {list(endpoints)}
        {shown}
        [[models]]
        alias = "m"
        type = "openai"
        target = {{ url = "practice:", model = "echo" }}
    """
    return parse(text, name="c.toml", environ={}, read_file=None)


class Stoppable(task.Clock):
    """A clock that counts how often it is told to stop."""

    stopped = 0

    def stop(self):
        self.stopped += 1


class Taking:
    """A worker that takes every connection, and notes what it is told but what is in ``full``."""

    number = 1
    pid = 1000
    takes = True
    late = False
    full = ()
    holder = "1.1"

    def caught_up(self):
        self.late, self.takes = False, True

    def __init__(self):
        self.taken = []
        self.told = []

    def hand(self, endpoint, descriptor):
        self.taken.append(endpoint)
        return True

    def send(self, kind, file=None):
        if kind in self.full:
            raise NO_FILE
        self.told.append(kind)

    def restart(self):
        return 0.0


class Tally:
    """One that is not written."""

    def living(self, pids): ...


@pytest.fixture
def parent():
    """A parent that runs; ``logged`` is what it says, ``added`` what a reload listens on besides,
    ``dropped`` what it let go of."""
    made = ParentService(
        (listening(OLD), SOURCE),
        Stoppable(),
        lambda: (listening(OLD, NEW, aside=ASIDE), SOURCE),
        1,
        observer=None,
        stream=None,
    )
    made.running = 1
    made.tally = Tally()
    made._workers = [Taking()]
    made.logged, made.dropped, made.added = [], [], object()
    made.log = Logger(observer=made.logged.append)
    made._listeners.more = lambda config: made.added
    made._listeners.drop = made.dropped.append
    made._listeners.keep = lambda config, added: None
    return made


def said(parent):
    return [(event["log_level"], event.get("problem")) for event in parent.logged]


def test_a_new_endpoint_waits_until_all_serve_by_what_brought_it(parent):
    [worker] = parent._workers
    with socket.socket() as connection:
        assert parent._hand(OLD, connection)
        parent.reload()
        for endpoint in (NEW, ASIDE):
            assert not parent._hand(endpoint, connection)
        assert worker.told == ["prepare"]
        parent.answered(worker, "")
        parent._reactor.advance(0)
        assert worker.told == ["prepare", "commit"]
        for endpoint in (NEW, ASIDE):
            assert parent._hand(endpoint, connection)
    assert worker.taken == [OLD, NEW, ASIDE]


def test_a_start_is_given_up_once_however_many_workers_fail(parent, monkeypatch):
    monkeypatch.setattr(atexit, "register", lambda *_: None)
    shown = io.StringIO()
    monkeypatch.setattr("sys.__stderr__", shown)
    parent._workers[0].pid = 0
    for _ in range(3):
        parent.ended(parent._workers[0], ENDED, "no such certificate")
    assert parent._reactor.stopped == 1
    assert shown.getvalue() == "lmbroker: no such certificate\n"
    assert said(parent) == [(LogLevel.critical, "no such certificate")]


@pytest.mark.parametrize(
    ("how", "problem", "level"),
    [
        (ENDED, "", LogLevel.info),
        (ENDED, "no such certificate", LogLevel.error),
        ("was ended by SIGKILL", "", LogLevel.error),
    ],
)
def test_only_who_wanted_to_end_is_no_error(parent, how, problem, level):
    parent._served = True
    parent.ended(parent._workers[0], how, problem)
    [event] = parent.logged
    assert event["log_level"] == level
    assert problem in event["how"]


def test_a_worker_that_is_late_takes_connections_again_once_it_has_followed(parent):
    [worker] = parent._workers
    worker.late, worker.takes = True, False
    parent.answered(worker, "")
    assert (worker.late, worker.takes) == (False, True)


def test_a_worker_that_cannot_follow_the_others_begins_anew(parent):
    [worker] = parent._workers
    worker.late, worker.takes = True, False
    parent.answered(worker, "no such file")
    assert worker.told == ["drain"] and not worker.takes
    assert said(parent) == [(LogLevel.error, "no such file")]


def test_many_reloads_are_one_at_a_time_and_the_last_counts(parent):
    [worker] = parent._workers
    for _ in range(20):
        parent.reload()
    for _ in range(20):
        parent.answered(worker, "")
        parent._reactor.advance(0)
    assert worker.told == ["prepare", "commit"] * 2


def test_who_stops_does_not_reload(parent):
    parent.running = 0
    parent.reload()
    assert parent._workers[0].told == []
    assert parent._handover is None


def no_file(*_):
    raise NO_FILE


@pytest.mark.parametrize("full", ["write", "prepare"])
def test_a_reload_that_cannot_be_told_changes_nothing(parent, monkeypatch, full):
    if full == "write":
        monkeypatch.setattr(handover, "write", no_file)
    else:
        parent._workers[0].full = (full,)
    parent.reload()
    assert parent.dropped == [parent.added]
    assert said(parent) == [
        (LogLevel.error, "nothing can be sent to the workers: Too many open files")
    ]
    assert parent._workers[0].told == ["abort"]
    assert parent._handover is None
    assert not parent._reactor.getDelayedCalls()


def test_a_reload_whose_last_step_cannot_be_told_changes_nothing(parent, monkeypatch):
    [worker] = parent._workers
    parent.reload()
    parent.answered(worker, "")
    monkeypatch.setattr(handover, "write", no_file)
    parent._reactor.advance(0)
    assert worker.told == ["prepare", "abort"]
    assert parent.dropped == [parent.added]
    assert parent._config.server.listen == listening(OLD).server.listen
    assert said(parent) == [
        (LogLevel.error, "nothing can be sent to the workers: Too many open files")
    ]


def test_a_log_file_that_cannot_be_begun_anew_is_tried_again(parent, tmp_path, monkeypatch):
    file = SharedFile.fromFullPath(str(tmp_path / "log"), rotateLength=10)
    begun = []
    file.begun = begun.append
    file.write("a" * 20 + "\n")
    with monkeypatch.context() as context:
        context.setattr(os, "rename", no_file)
        parent._look(file)
    [event] = parent.logged
    assert (event["log_level"], event["why"]) == (LogLevel.error, "Too many open files")
    parent._look(file)
    assert begun[-1] == file.descriptor
    assert (tmp_path / "log").read_text() == ""
    assert (tmp_path / "log.1").read_text() == "a" * 20 + "\n"
    file.close()
