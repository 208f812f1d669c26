"""Which markers tests have by where they stand and what they use, and which ones they need by what
they do."""

import functools
import os
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

TESTS = Path(__file__).parent
FOLDERS = {
    "adapters": ["pure"],
    "real": ["process", "pure", "sockets"],
    "recordings": ["pure", "recordings"],
    "repairs": ["pure"],
    "unified": ["pure"],
    "workflows": ["pure"],
}
"""Folder of tests -> the markers of all tests in it."""
FIXTURES = {
    "daemon": ["process", "sockets"],
    "start_daemon": ["process", "sockets"],
    "open_rig": ["sockets"],
    "port": ["sockets"],
}
"""Fixture -> the markers of all tests that use it."""


def given(path: Path, fixtures: list[str]) -> set[str]:
    """The markers that a test gets by its folder and its fixtures."""
    found: set[str] = set()
    if path.is_relative_to(TESTS):
        found.update(FOLDERS.get(path.relative_to(TESTS).parts[0], ()))
        for name in fixtures:
            found.update(FIXTURES.get(name, ()))
    return found


_DOINGS = (
    (subprocess.Popen, "__init__", "process"),
    (os, "fork", "process"),
    (os, "forkpty", "process"),
    (os, "posix_spawn", "process"),
    (socket.socket, "bind", "sockets"),
    (socket.socket, "connect", "sockets"),
    (socket.socket, "connect_ex", "sockets"),
)
"""Where, which function, and the marker of tests that lead to a call of it."""


class Needed:
    """The markers that a test needs, by what has happened since ``names`` was cleared. An audit
    hook of Python's would make each ``id()`` many times slower."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def watch(self) -> None:
        """From now on."""
        for place, name, marker in _DOINGS:
            setattr(place, name, self._noting(getattr(place, name), marker))

    def _noting(self, function: Callable[..., Any], marker: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def noting(*args: Any, **more: Any) -> Any:
            self.names.add(marker)
            return function(*args, **more)

        return noting
