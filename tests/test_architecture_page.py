"""What docs/architecture.md and CONTRIBUTING.md name in code exists, and the modules that any other
page names."""

import ast
import re
from functools import cache

import pytest
from test_layers import PACKAGE, SOURCES

ROOT = PACKAGE.parent
PLUGIN = ROOT / "twisted" / "plugins" / "lmbroker_plugin.py"
PAGE = (ROOT / "docs" / "architecture.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()

LAYOUT = PAGE.split("\n## Layout\n")[1].split("\n## Layers\n")[0]
"""The section of which tests/test_layers.py takes care: its lines are paths within other lines."""

CODE = re.compile(r"```.*?```|`[^`\n]+`", re.DOTALL)
PATH = re.compile(
    r"(?<![\w./<-])(?:[\w.*-]+/)*[\w.*-]+(?:\.py|\.md|\.toml)\b"
    r"|(?<![\w./<])(?:\w+/)+"
)
CAMEL_CASE = re.compile(r"\b[A-Z]\w*[a-z]\w*[A-Z]\w*\b")
NAME = re.compile(r"`([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\([\w, ]*\))?`")

DIALECTS = PACKAGE / "translation" / "dialects"
FOLDERS = (PACKAGE, DIALECTS / "openai_chat", DIALECTS / "openai", ROOT)
"""Where a path may begin; the modules of one dialect, and of its vendor, stand for those of all."""

ABSENT = {"twisted/__init__.py"}
"""Paths that the page names because they must not exist."""

OUR_OWN = {"LMBroker"}
NOT_IN_SOURCES = {
    "process": "a marker",
    "sockets": "a marker",
    "recordings": "a marker",
    "pure": "a marker",
    "return": "a statement",
    "elif": "a statement",
    "trial": "Twisted's test runner",
    "dropin.cache": "a file of Twisted's plugin system",
    "test_case_27_": "the beginning of a name",
    "LMBROKER_RECORDINGS": "a variable of the environment",
}
"""What stands in code and is no name of the package or its tests, and what it is."""

OUTSIDE_NAMES = {
    "lmbroker.accesslog.AccessLog": "the logger of access lines, whose name stays",
    "lmbroker.service": "a unit of systemd",
    "lmbroker.socket": "a unit of systemd",
    "lmbroker.sock": "a socket's file",
    "lmbroker.log": "a file",
}
"""What looks like a module of the package in other pages, and what it is."""


def code(text: str) -> str:
    """The pieces of ``text`` that are set as code."""
    return "\n".join(CODE.findall(text))


@cache
def names() -> frozenset[str]:
    """Every name that the package or its tests define or import, and every module."""
    found = {path.stem for path in SOURCES} | {path.parent.name for path in SOURCES}
    found |= {"lmbroker", "dialects"}
    for path in (*SOURCES, PLUGIN, *(ROOT / "tests").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                    found.add(node.name)
                case ast.alias():
                    found.update((node.asname or node.name).split("."))
                case ast.ImportFrom():
                    found.update((node.module or "").split("."))
                case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                    found.add(name)
    return frozenset(found)


@pytest.mark.parametrize("text", [PAGE.replace(LAYOUT, ""), CONTRIBUTING], ids=["page", "work"])
def test_each_path_exists(text):
    missing = set()
    for path in PATH.findall(code(text)):
        if not any(any(folder.glob(path)) for folder in FOLDERS):
            missing.add(path)
    assert missing - ABSENT == set()


@pytest.mark.parametrize("text", [PAGE, CONTRIBUTING], ids=["page", "work"])
def test_each_name_in_code_exists(text):
    named = set(CAMEL_CASE.findall(code(text))) - OUR_OWN
    for dotted in NAME.findall(text):
        if dotted not in NOT_IN_SOURCES and not PATH.fullmatch(dotted):
            named.update(dotted.split("."))
    assert named - names() == set()


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/**/*.md")), ids=lambda page: page.stem)
def test_each_module_that_a_page_names_exists(page):
    """``lmbroker.broker.relay.LINGER_BYTES`` is a name in a module, or names a module itself."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts) for path in SOURCES}
    modules |= {name.removesuffix(".__init__") for name in modules}
    named = set(re.findall(r"\blmbroker(?:\.\w+)+", page.read_text())) - set(OUTSIDE_NAMES)
    assert {name for name in named if not {name, name.rpartition(".")[0]} & modules} == set()


def test_the_exceptions_are_named():
    both = PAGE + CONTRIBUTING
    assert [name for name in (*NOT_IN_SOURCES, *ABSENT) if name not in both] == []
