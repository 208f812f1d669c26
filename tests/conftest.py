"""Fixtures for all tests, and two guards: no failure of Twisted stays unheard, and no test lacks a
marker that it needs."""

import gc
import os
import platform
import signal

import pytest
import pytest_twisted
from markers import Needed, given
from ports import free_port
from running import Daemon, Practice, practice_config
from site_in_memory import Listener
from twisted.internet.defer import Deferred
from twisted.logger import formatEvent, globalLogPublisher

platform.processor()
"""Python asks ``uname`` for it, once:
whichever test uses an SDK first would seem to start a process."""

needed = Needed()
needed.watch()


def pytest_collection_modifyitems(items):
    for item in items:
        for name in given(item.path, item.fixturenames):
            item.add_marker(name)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    needed.names.clear()
    return (yield)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown(item):
    result = yield
    missing = {name for name in needed.names if item.get_closest_marker(name) is None}
    assert missing == set(), "the test lacks these markers"
    return result


@pytest.fixture
def needed_markers():
    """The markers that the test has been found to need so far."""
    return needed.names


@pytest.fixture(autouse=True, scope="session")
def connections_without_rest():
    """Connections are used again at once in the process of the tests, so that calls that follow
    each other share one. Daemons are as they come; ``test_connection_rest`` is about the rest."""
    # Not above: this file is imported before pytest-twisted has chosen a reactor.
    from lmbroker.backends.client.pool import Pool

    Pool.rest = 0.0


@pytest.fixture
def port():
    """A port of 127.0.0.1 that nobody listens on."""
    return free_port()


@pytest.fixture(scope="session")
def daemon(tmp_path_factory):
    """One daemon with the practice backend for all tests that only talk to it.

    Its own practice backend streams at a pace for people, so this one is another process.
    """
    practice = Practice(pace=0)
    config = practice_config().replace('"practice:"', f'"{practice.url}"')
    running = Daemon(tmp_path_factory.mktemp("daemon"), config).wait()
    yield running
    practice.kill()
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


@pytest.fixture
def open_rig(request):
    """Open a rig as the test says, and where it does not as its module says in ``RIG``; see
    ``rig.Rig.open``. All are closed at the end of the test."""
    # Not above: this file is imported before pytest-twisted has chosen a reactor.
    from rig import Rig

    usual = getattr(request.module, "RIG", {})
    opened = []

    async def open_(**options):
        opened.append(await Rig().open(**{**usual, **options}))
        return opened[-1]

    yield open_
    for rig in opened:
        pytest_twisted.blockon(Deferred.fromCoroutine(rig.close()))


@pytest.fixture
def rig(open_rig):
    """A rig as the test's module says in ``RIG``."""
    return pytest_twisted.blockon(Deferred.fromCoroutine(open_rig()))


@pytest.fixture(scope="module", params=["lean", "stock"])
def engine(request):
    """Each of the engines, one after the other, for all tests of a module."""
    # Not above: as in open_rig.
    from rig import Rig

    before = Listener.engine
    Listener.engine = Rig.engine = request.param
    yield request.param
    Listener.engine = Rig.engine = before


def pytest_configure():
    """A shell that runs the tests in the background lets them ignore SIGINT, and so would the
    daemons that they start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish():
    """All modules are imported now: what they hold need not be looked through after each test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_fails_unheard(request):
    """No failure may be logged in this process, and no Deferred may fail without anybody
    listening: pytest-twisted lets both pass. Deferreds tell when they are collected, which takes
    more time than most tests; tests that are marked ``pure`` make none."""
    failures = []

    def observe(event):
        if event.get("log_failure") is not None:
            failures.append(event["log_failure"])

    globalLogPublisher.addObserver(observe)
    yield failures
    if request.node.get_closest_marker("pure") is None:
        gc.collect()
        # What outlives one test need not be looked through after every other one.
        gc.freeze()
    globalLogPublisher.removeObserver(observe)
    assert [failure.getTraceback() for failure in failures] == []


@pytest.fixture
def messages():
    """What is logged meanwhile, as text."""
    logged = []

    def observe(event):
        logged.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    yield logged
    globalLogPublisher.removeObserver(observe)


def pytest_xdist_auto_num_workers(config):
    """One process more than there are cores: a third of the tests' time is waiting."""
    return (os.cpu_count() or 1) + 1
