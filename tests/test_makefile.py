"""``make serve`` and ``make test`` on a machine as it comes: the environment they make."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

PYTHON = """#!/bin/sh
# Plays an interpreter: FAILS names what it cannot do.
case "$*" in
    *"version_info"*) test "$FAILS" != version ;;
    *"import ensurepip"*) test "$FAILS" != venv ;;
    "-m venv "*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" && echo made ;;
    *) true ;;
esac
"""

pytestmark = pytest.mark.process


@pytest.fixture
def make(tmp_path):
    """Run make in a folder of its own, with an interpreter that is played."""
    (tmp_path / "Makefile").write_text((ROOT / "Makefile").read_text())
    (tmp_path / "pyproject.toml").touch()
    python = tmp_path / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)

    def run(fails=""):
        return subprocess.run(
            ["make", "-s", f"PYTHON={python}", ".venv/.installed"],
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "FAILS": fails},
            capture_output=True,
            text=True,
        )

    return run


def test_a_half_made_environment_is_made_anew(make, tmp_path):
    binaries = tmp_path / ".venv" / "bin"
    binaries.mkdir(parents=True)
    # As Debian leaves it where python3-venv is missing: an interpreter without pip.
    (binaries / "python").write_text("#!/bin/sh\nexit 1\n")
    (binaries / "python").chmod(0o755)
    done = make()
    assert (done.returncode, done.stdout) == (0, "made\n"), done.stderr
    assert (tmp_path / ".venv" / ".installed").exists()


def test_an_environment_whose_python_is_gone_is_made_anew(make, tmp_path):
    assert make().stdout == "made\n"
    python = tmp_path / ".venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3.11")
    done = make()
    assert (done.returncode, done.stdout) == (0, "made\n"), done.stderr
    assert make().stdout == "", "a whole one stays"


@pytest.mark.parametrize(
    ("fails", "line"),
    [
        ("venv", "Python's module venv is missing: sudo apt install python3-venv"),
        ("version", "LMBroker needs Python 3.11 or newer: make PYTHON=python3.13"),
    ],
)
def test_what_is_missing_is_one_line(make, tmp_path, fails, line):
    done = make(fails)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0].startswith(line)
    assert not (tmp_path / ".venv").exists()
