"""What others know by its name keeps it: the logger of access lines, commands and entries."""

import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from lmbroker.observers.access_log import LOGGER


def test_the_logger_of_access_lines():
    assert LOGGER == "lmbroker.accesslog.AccessLog"


def test_the_console_script_is_the_command():
    [script] = entry_points(group="console_scripts", name="lmbroker")
    assert callable(script.load())


@pytest.mark.process
@pytest.mark.parametrize("module", ["lmbroker.workers", "lmbroker.testing", "lmbroker.offload"])
def test_modules_that_run_as_programs(module):
    found = subprocess.run(
        [
            *(sys.executable, "-c"),
            f"import runpy; assert runpy._get_module_details({module!r}) is not None",
        ],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 0, found.stderr


@pytest.mark.process
def test_the_package_runs_as_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "lmbroker", "--version"], capture_output=True, text=True
    )
    assert done.stdout.startswith("lmbroker ")


def test_the_practice_backend_is_imported_by_its_name():
    from lmbroker.testing import PracticeBackend

    assert PracticeBackend.__name__ == "PracticeBackend"
