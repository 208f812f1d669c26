"""The folders of the package are its layers: imports go down only, and the pure ones are pure."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lmbroker

PACKAGE = Path(lmbroker.__file__).parent
PAGE = PACKAGE.parent / "docs" / "architecture.md"

GROUND = "ground"
"""The layer of the modules that stand at the top level of the package."""

ENTRIES = ("tap", "workers", "__main__", "__init__")
"""The modules at the top level that start something; they may import every layer."""

LAYERS = (
    GROUND,
    "translation",
    "routing",
    "config",
    "workflows",
    "capture",
    "testing",
    "observers",
    "tls",
    "backends",
    "offload",
    "limiting",
    "broker",
    "server",
    "daemon",
    "commands",
)
"""The layers from the lowest to the highest; each imports from the layers before it only."""

WITHOUT_TWISTED = (GROUND, "translation", "routing", "config", "workflows", "capture")
"""Layers that never import Twisted."""

PURE = (GROUND, "translation", "routing", "workflows", "capture")
"""Layers that read no clock, no environment and nothing random: they are given such things."""

GIVEN_TIMES = {
    "lmbroker.routing.limit_windows",
    "lmbroker.translation.dialects.anthropic_messages.models",
    "lmbroker.translation.dialects.anthropic_messages.rate_limits",
}
"""Pure modules that read and write times that they are given, for which ``time`` and ``datetime``
are fine."""

GROUND_MODULES = 12
"""The ground stays small enough to be known by heart."""

SOURCES = sorted(PACKAGE.rglob("*.py"))


def dotted(path: Path) -> str:
    """The dotted name of the module that ``path`` holds."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def layer_of(module: str) -> str:
    """The layer of a dotted module name, "" for the package itself and its entries."""
    parts = module.split(".")
    if len(parts) == 1 or (len(parts) == 2 and parts[1] in ENTRIES):
        return ""
    return parts[1] if (PACKAGE / parts[1]).is_dir() else GROUND


def of_layers(layers: tuple[str, ...]) -> list[Path]:
    """The files of all modules of ``layers``."""
    return [path for path in SOURCES if layer_of(dotted(path)) in layers]


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


def test_every_folder_is_a_layer():
    assert {layer_of(dotted(path)) for path in SOURCES} - {""} == set(LAYERS)


def test_the_ground_is_small():
    assert len(of_layers((GROUND,))) <= GROUND_MODULES


def test_imports_go_down_only():
    for path in SOURCES:
        here = layer_of(dotted(path))
        for name in imports(path) if here else ():
            there = layer_of(name)
            if name == "lmbroker.__version__" or there == here:
                continue
            assert there, f"{dotted(path)} imports {name}, which starts something"
            assert LAYERS.index(there) < LAYERS.index(here), f"{dotted(path)} imports {name}"


DIALECTS = "lmbroker.translation.dialects"


VENDORS = {"openai": ("openai_chat", "openai_responses")}
"""The folders of what one vendor's dialects share, each with the folders of these dialects, which
alone may import it."""


def folder_of(module: str) -> str:
    """The folder of dialects in which a module stands, "" for every other module."""
    rest = module.removeprefix(DIALECTS + ".").split(".")
    is_below = module.startswith(DIALECTS + ".")
    return rest[0] if is_below and (PACKAGE / "translation" / "dialects" / rest[0]).is_dir() else ""


def dialect_of(module: str) -> str:
    """The dialect in whose folder a module stands, "" for every other module."""
    folder = folder_of(module)
    return "" if folder in VENDORS else folder


def test_no_dialect_knows_another():
    for path in SOURCES:
        here = dialect_of(dotted(path))
        for name in imports(path) if here else ():
            assert dialect_of(name) in ("", here), f"{dotted(path)}: {name}"
            assert name != f"{DIALECTS}.catalog", dotted(path)


def test_what_dialects_share_knows_none_of_them():
    for path in of_layers(("translation",)):
        if dotted(path) == f"{DIALECTS}.catalog" or dialect_of(dotted(path)):
            continue
        assert not [name for name in imports(path) if dialect_of(name)], dotted(path)


@pytest.mark.parametrize("vendor", VENDORS)
def test_what_one_vendor_shares_is_imported_by_its_dialects_only(vendor):
    for path in SOURCES:
        if vendor in {folder_of(name) for name in imports(path)}:
            assert folder_of(dotted(path)) in (vendor, *VENDORS[vendor]), dotted(path)


@pytest.mark.process
def test_lower_layers_know_no_twisted():
    modules = [dotted(path) for path in of_layers(WITHOUT_TWISTED)]
    program = (
        "import importlib, sys\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "print([name for name in sys.modules if name.partition('.')[0] in "
        "('twisted', 'treq', 'klein', 'zope', 'OpenSSL')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


FORBIDDEN = {"time", "random", "secrets", "os", "socket", "asyncio", "threading", "datetime"}


def test_pure_layers_take_no_clock_no_chance_and_no_environment():
    for path in of_layers(PURE):
        if dotted(path) in GIVEN_TIMES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            assert not FORBIDDEN & {name.split(".")[0] for name in names}, dotted(path)


def test_modules_are_of_a_size_that_can_be_read():
    long = {dotted(path): len(path.read_text().splitlines()) for path in SOURCES}
    assert {name: lines for name, lines in long.items() if lines > 500} == {}


def test_the_plugin_folders_are_no_packages():
    """A ``twisted/__init__.py`` in our wheel would overwrite Twisted's own."""
    plugins = PACKAGE.parent / "twisted"
    assert sorted(path.name for path in plugins.rglob("*.py")) == ["lmbroker_plugin.py"]


def test_the_page_shows_the_same_layers():
    shown = PAGE.read_text().split("\n## Layers\n")[1].split("```")[1]
    assert tuple(line.split()[0] for line in reversed(shown.strip().splitlines())) == LAYERS


def test_the_page_names_each_folder_and_each_module_of_the_ground():
    layout = PAGE.read_text().split("\n## Layout\n")[1].split("\n## Layers\n")[0]
    named = set(re.findall(r"\w+", layout))
    ground = {path.stem for path in of_layers((GROUND,))}
    folders = {path.parent.name for path in SOURCES if path.parent != PACKAGE}
    assert (ground | folders) - named == set()
