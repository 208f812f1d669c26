"""What systemd is told: the messages, and when the daemon sends them."""

import os
import signal
import socket

import pytest
from running import PRACTICE_CONFIG
from twisted.internet.task import Clock

from lmbroker.daemon.service_manager import ServiceManager


@pytest.fixture
def manager(tmp_path):
    """A socket as systemd has one; ``manager.said()`` waits for a message and returns its lines."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        path = str(tmp_path / "notify")
        channel.bind(path)
        channel.settimeout(60)

        class Manager:
            address = path

            def said(self):
                return channel.recv(4096).decode().splitlines()

            def silent(self):
                channel.setblocking(False)
                with pytest.raises(BlockingIOError):
                    channel.recv(4096)
                channel.settimeout(60)

        yield Manager()


@pytest.mark.sockets
def test_signs_of_life_come_twice_in_the_time(manager):
    clock = Clock()
    environ = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "10000000"}
    telling = ServiceManager(clock, environ)
    clock.advance(60)
    manager.silent()
    telling.ready("Serves")
    assert manager.said() == ["READY=1", "STATUS=Serves"]
    assert manager.said() == ["WATCHDOG=1"]
    clock.advance(4.9)
    manager.silent()
    clock.advance(0.1)
    assert manager.said() == ["WATCHDOG=1"]
    telling.reloading()
    first, second = manager.said()
    assert first == "RELOADING=1" and second.startswith("MONOTONIC_USEC=")
    telling.ready("Serves")
    assert manager.said()[0] == "READY=1"
    telling.stopping()
    assert manager.said()[0] == "STOPPING=1"
    telling.stopped()
    assert clock.getDelayedCalls() == []


@pytest.mark.sockets
@pytest.mark.parametrize(
    "watchdog", [{}, {"WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}]
)
def test_signs_of_life_are_sent_where_they_are_asked_of_this_process(manager, watchdog):
    clock = Clock()
    ServiceManager(clock, {"NOTIFY_SOCKET": manager.address, **watchdog}).ready("Serves")
    manager.said()
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize("environ", [{}, {"WATCHDOG_USEC": "1000"}])
def test_without_a_socket_nothing_is_sent(environ):
    clock = Clock()
    telling = ServiceManager(clock, environ)
    telling.ready("Serves")
    telling.reloading()
    telling.stopping()
    assert clock.getDelayedCalls() == []


@pytest.mark.sockets
def test_a_manager_that_is_gone_is_no_failure(tmp_path):
    ServiceManager(Clock(), {"NOTIFY_SOCKET": str(tmp_path / "none")}).ready("Serves")


@pytest.mark.sockets
def test_an_abstract_socket():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(f"\0lmbroker-test-{os.getpid()}")
        channel.settimeout(60)
        environ = {"NOTIFY_SOCKET": f"@lmbroker-test-{os.getpid()}"}
        ServiceManager(Clock(), environ).ready("Serves")
        assert channel.recv(100).startswith(b"READY=1")


@pytest.mark.process
@pytest.mark.parametrize("workers", [1, 2])
def test_a_daemon_tells_its_start_its_reloads_and_its_end(start_daemon, manager, workers):
    daemon = start_daemon(
        PRACTICE_CONFIG,
        arguments=("--workers", str(workers)),
        environ={"NOTIFY_SOCKET": manager.address},
    )
    assert manager.said() == [
        "READY=1",
        f"STATUS=Serves 4 models on tcp:{daemon.port}:interface=127.0.0.1",
    ]
    daemon.wait()
    for text in (daemon.config.read_text(), "nonsense"):
        daemon.config.write_text(text)
        daemon.process.send_signal(signal.SIGHUP)
        assert manager.said()[0] == "RELOADING=1"
        assert manager.said()[0] == "READY=1", "also where the old configuration stays"
    daemon.process.send_signal(signal.SIGTERM)
    assert manager.said()[0] == "STOPPING=1"
    daemon.process.wait(60)
    manager.silent()
