"""Fixtures for all tests: the running daemon, and a guard against what pytest-twisted lets pass."""

import gc
import signal

import pytest
from ports import free_port
from running import Daemon, practice_config
from twisted.logger import globalLogPublisher


@pytest.fixture
def port():
    """A port of 127.0.0.1 that nobody listens on."""
    return free_port()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """One daemon with the practice backend for all tests that only talk to it."""
    running = Daemon(tmp_path_factory.mktemp("daemon"), practice_config()).wait()
    yield running
    assert running.stop() in (0, -signal.SIGTERM)
    assert "Traceback" not in running.out.read_text()


@pytest.fixture
def start_daemon(tmp_path):
    """Start a daemon over a config of one's own; ``PORT`` in it becomes a free port."""
    started = []

    def start(config, **options):
        started.append(Daemon(tmp_path, config, **options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


def pytest_collection_finish():
    """All modules are imported now: what they hold need not be looked through after each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_fails_unheard():
    """No failure may be logged in this process, and no Deferred may fail without anybody
    listening: pytest-twisted lets both pass."""
    failures = []

    def observe(event):
        if event.get("log_failure") is not None:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    yield failures
    gc.collect()
    # What outlives one test need not be looked through after every other one.
    gc.freeze()
    globalLogPublisher.removeObserver(observe)
    assert [failure.getTraceback() for failure in failures] == []
