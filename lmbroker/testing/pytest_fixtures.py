"""A practice backend for tests with pytest, whatever they call it with.

``pytest_plugins = ["lmbroker.testing.pytest_fixtures"]`` in ``conftest.py`` brings the fixture. It
runs in a process of its own, so that clients which block can call it, too.
"""

import subprocess
import sys
from collections.abc import Iterator

import pytest

SECONDS = 10.0
"""How long the process may take to end."""


@pytest.fixture(scope="session")
def practice_url() -> Iterator[str]:
    """Return the URL of a practice backend, without ``/v1``, for all tests of a run."""
    command = [sys.executable, "-m", "lmbroker.testing", "--port", "0", "--pace", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout is not None
        line = running.stdout.readline()
        if not line:
            raise RuntimeError("the practice backend did not start")
        try:
            yield line.split()[-1]
        finally:
            running.terminate()
            running.wait(SECONDS)
