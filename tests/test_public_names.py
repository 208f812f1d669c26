"""What programs that embed LMBroker import from ``lmbroker`` itself."""

import ast
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import lmbroker

PAGE = Path(__file__).resolve().parents[1] / "docs" / "embedding.md"

PUBLIC = {
    "AccessLog",
    "Attempt",
    "Backends",
    "Broker",
    "Caller",
    "Checks",
    "Config",
    "ConfigError",
    "EmbeddedBroker",
    "Front",
    "Metrics",
    "Observer",
    "PracticeBackend",
    "Record",
    "Refused",
    "Site",
    "__version__",
    "load",
    "time_by_monotonic_clock",
}
"""A name that leaves this list breaks somebody's program."""


def test_the_public_names():
    assert set(lmbroker.__all__) == PUBLIC
    assert set(dir(lmbroker)) >= PUBLIC


@pytest.mark.parametrize("name", sorted(PUBLIC - {"__version__"}))
def test_a_public_name_is_what_its_module_calls_so(name):
    home = import_module(lmbroker._HOMES[name])
    assert getattr(lmbroker, name) is getattr(home, name)


def test_type_checkers_see_the_same_names_from_the_same_modules():
    tree = ast.parse(Path(lmbroker.__file__).read_text())
    seen = {
        alias.name: node.module
        for branch in tree.body
        if isinstance(branch, ast.If)
        for node in branch.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == lmbroker._HOMES


def test_there_is_no_other_name():
    with pytest.raises(AttributeError, match="has no attribute 'Hall'"):
        lmbroker.Hall  # noqa: B018


@pytest.mark.process
def test_nothing_is_imported_before_it_is_used():
    program = (
        "import sys, lmbroker\n"
        "print([name for name in sys.modules if name.startswith(('twisted', 'lmbroker.'))])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_the_page_on_embedding_imports_public_names_only():
    text = PAGE.read_text()
    for line in re.findall(r"^from lmbroker.* import .*$", text, re.MULTILINE):
        assert line.startswith("from lmbroker import "), line
    for name in re.findall(r"`lmbroker\.(\w+)", text):
        assert name in PUBLIC, name
