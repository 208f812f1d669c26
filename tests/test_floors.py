"""The house has floors: imports go down only, and the lower half knows no Twisted."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lmbroker

PACKAGE = Path(lmbroker.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"

FLOORS = {
    0: ["ciphers", "errors", "secret"],
    1: ["unified", "sse", "losses", "redaction", "call", "limits"],
    2: [
        "adapters",
        "grammar",
        "profiles",
        "profile_families",
        "profile_hosts",
        "headers",
        "rate_limit_headers",
        "endpoints",
        "retries",
        "breaker",
        "balancing",
        "cors",
        "request_paths",
        "content_coding",
        "client_certificate",
    ],
    3: [
        "workflows",
        "routing",
        "config",
        "config_table",
        "config_struct",
        "config_backends",
        "config_models",
        "envelope",
        "body_bounds",
        "models",
        "learned_rejections",
        "listed_limits",
        "repairs",
        "keys",
        "health",
        "course",
        "caps",
        "suitability",
        "conversations",
        "token_ratios",
        "config_changes",
    ],
    4: [
        "log_writer",
        "peer",
        "signs_of_life",
        "relay",
        "backends",
        "key_files",
        "client",
        "gate",
        "resolver",
        "connections",
        "proxy_tunnel",
        "deadlines",
        "error_answers",
        "line",
        "offload",
        "whole_bodies",
        "pieces",
    ],
    5: ["descriptors", "answers", "answer_headers", "broker", "web_resource", "listing"],
    6: [
        "web",
        "checks",
        "site",
        "metrics",
        "accesslog",
        "jsonlog",
        "turns",
        "configfile",
        "reloads",
        "reactor",
        "listening",
    ],
    7: ["tap", "daemon", "cli", "explain", "latency", "workers"],
}
"""Floor -> modules and packages, as in docs/architecture.md."""

SIDEWAYS = {
    ("call", "unified"),
    ("course", "conversations"),
    ("suitability", "envelope"),
    ("course", "keys"),
    ("conversations", "envelope"),
    ("call", "losses"),
    ("losses", "unified"),
    ("adapters", "profiles"),
    ("profiles", "profile_families"),
    ("profiles", "profile_hosts"),
    ("config", "config_table"),
    ("config", "config_struct"),
    ("config", "config_models"),
    ("config", "config_backends"),
    ("config", "routing"),
    ("config_models", "config_backends"),
    ("config_models", "routing"),
    ("config_backends", "config_struct"),
    ("config_backends", "config_table"),
    ("config", "keys"),
    ("config_models", "config_struct"),
    ("config_models", "config_table"),
    ("config_struct", "config_table"),
    ("workflows", "envelope"),
    ("workflows", "learned_rejections"),
    ("listed_limits", "envelope"),
    ("workflows", "repairs"),
    ("repairs", "learned_rejections"),
    ("web", "metrics"),
    ("accesslog", "jsonlog"),
    ("tap", "daemon"),
    ("tap", "workers"),
    ("workers", "daemon"),
    ("cli", "explain"),
    ("cli", "latency"),
    ("latency", "daemon"),
    ("backends", "gate"),
    ("backends", "key_files"),
    ("offload", "line"),
    ("whole_bodies", "client"),
    ("client", "pieces"),
    ("backends", "whole_bodies"),
    ("backends", "connections"),
    ("backends", "resolver"),
    ("backends", "deadlines"),
    ("backends", "client"),
    ("client", "connections"),
    ("client", "peer"),
    ("connections", "peer"),
    ("connections", "resolver"),
    ("connections", "proxy_tunnel"),
    ("proxy_tunnel", "resolver"),
    ("client", "proxy_tunnel"),
    ("client", "resolver"),
    ("backends", "proxy_tunnel"),
    ("routing", "envelope"),
    ("routing", "caps"),
    ("caps", "envelope"),
    ("body_bounds", "envelope"),
    ("config_models", "caps"),
    ("config", "caps"),
    ("config_changes", "config"),
    ("config_changes", "keys"),
    ("config_changes", "routing"),
    ("models", "envelope"),
    ("models", "keys"),
    ("models", "routing"),
    ("models", "workflows"),
    ("broker", "listing"),
    ("broker", "answers"),
    ("broker", "answer_headers"),
    ("course", "routing"),
    ("course", "health"),
}
"""Neighbours on one floor of which the first knows the second."""

ADAPTER_STEPS = ("base", "dialect", "catalog")
"""Within ``adapters``: what all dialects share <- dialects <- the catalog."""

OUTSIDE = "testing"
"""The practice backend stands beside the house; only ``daemon`` lets it in."""

SOURCES = sorted(PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    """The room of a dotted module name: its first step below the package."""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path) -> set[str]:
    """The modules of LMBroker that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            module = node.module or ""
            found.update(
                f"{module}.{alias.name}" if module == "lmbroker" else module for alias in node.names
            )
    return {name for name in found if name.split(".")[0] == "lmbroker"}


def dotted(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def floor_of(name: str) -> int:
    """The floor of a room; above all others for what stands on none."""
    return next((floor for floor, rooms in FLOORS.items() if name in rooms), 99)


def test_every_module_stands_on_a_floor():
    rooms = {room(dotted(path)) for path in SOURCES} - {"", OUTSIDE}
    assert {name for name in rooms if floor_of(name) == 99} == set()


@pytest.mark.parametrize("path", SOURCES, ids=dotted)
def test_imports_go_down_only(path):
    here = room(dotted(path))
    for name in imports(path):
        there = room(name)
        if there in ("", "__version__", here):
            continue
        if there == OUTSIDE:
            assert here == "daemon", f"{here} imports the practice backend"
            continue
        assert here != OUTSIDE, f"the practice backend imports {name}"
        above, below = floor_of(here), floor_of(there)
        down = below < above or (below == above and (here, there) in SIDEWAYS)
        assert down, f"{dotted(path)} (floor {above}) imports {name} (floor {below})"


def step_of(parts: list[str]) -> tuple[int, str]:
    """Which step of ``adapters`` a module below it stands on, and its dialect."""
    if parts == ["catalog"]:
        return 2, ""
    return (1, parts[0]) if (PACKAGE / "adapters" / parts[0]).is_dir() else (0, "")


def test_no_dialect_knows_another():
    for path in SOURCES:
        module = dotted(path)
        if not module.startswith("lmbroker.adapters."):
            continue
        step, dialect = step_of(module.split(".")[2:])
        for name in imports(path):
            if not name.startswith("lmbroker.adapters."):
                continue
            other, known = step_of(name.split(".")[2:])
            assert other < step or (other == step and known == dialect), f"{module}: {name}"


@pytest.mark.process
def test_lower_floors_know_no_twisted():
    modules = [dotted(path) for path in SOURCES if floor_of(room(dotted(path))) <= 3]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('twisted', 'treq', 'klein', 'zope', 'OpenSSL')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


FORBIDDEN = {"time", "random", "secrets", "os", "socket", "asyncio", "threading", "datetime"}


def test_lower_floors_take_no_clock_no_chance_and_no_environment():
    """Two modules write and read times that they are given, which ``time`` and ``datetime`` are
    fine for."""
    for path in SOURCES:
        here = room(dotted(path))
        if floor_of(here) > 3 or here in ("models", "rate_limit_headers"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not FORBIDDEN & {name.split(".")[0] for name in names}, dotted(path)


def test_the_package_itself_imports_nothing():
    assert imports(PACKAGE / "__init__.py") == set()
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    assert not any(isinstance(node, ast.Import | ast.ImportFrom) for node in ast.walk(tree))


def test_modules_are_of_a_size_that_can_be_read():
    long = {dotted(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > 500} == {}


def test_the_plugin_folders_are_no_packages():
    """A ``twisted/__init__.py`` in our wheel would overwrite Twisted's own."""
    plugins = PACKAGE.parent / "twisted"
    assert sorted(path.name for path in plugins.rglob("*.py")) == ["lmbroker_plugin.py"]


def test_the_page_draws_the_same_floors():
    drawn = PAGE.read_text().split("\n## Floors\n")[1].split("```")[1]
    lines = [line.partition("<-")[0].split() for line in drawn.strip().splitlines()]
    assert {int(number): sorted(names) for number, *names in lines} == {
        floor: sorted(names) for floor, names in FLOORS.items()
    }


def test_the_page_has_a_word_for_each_module():
    layout = PAGE.read_text().split("\n## Layout\n")[1].split("\n## Floors\n")[0]
    named = set(re.findall(r"\w+", layout))
    assert {name for names in FLOORS.values() for name in names} <= named
