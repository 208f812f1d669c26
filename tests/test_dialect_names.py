"""A dialect stands in its folder: no other module knows its name, nor imports what is in it."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
from test_layers import VENDORS

import lmbroker
from lmbroker.translation.dialects.catalog import ADAPTERS

PACKAGE = Path(lmbroker.__file__).parent
DIALECTS = PACKAGE / "translation" / "dialects"
CATALOG = DIALECTS / "catalog.py"

FOLDERS = {
    name: DIALECTS / type(adapter).__module__.split(".")[-2] for name, adapter in ADAPTERS.items()
}
"""The folder of each dialect."""

ELSEWHERE = {
    "translation/shared/signature.py": {
        "anthropic-claude-v1": "a word of OpenRouter's, in Chat Completions",
        "responses": "a form of reasoning, whoever writes it (Signature.origin)",
    },
    "commands/importing/litellm.py": {
        "openai-organization": "a header in configurations that commands write",
    },
    "commands/importing/providers.py": {
        "openai": "a provider, and the type in configurations that commands write",
        "openai_like": "a word of LiteLLM's",
        "anthropic": "a provider, and the type in configurations that commands write",
        "responses": "a key in configurations that commands write",
    },
    "translation/dialects/openai/content_parts.py": {
        "openai": "the vendor with whom files lie, whichever of its dialects names them",
    },
    "translation/dialects/openai/headers.py": {
        "openai-beta": "a header of OpenAI's, which all of its dialects have",
    },
}
"""The strings that stand outside of the folder whose name they begin with, and why."""


@cache
def modules() -> dict[Path, ast.Module]:
    """All modules but the catalog, and but the practice backend, which plays every dialect."""
    return {
        path: ast.parse(path.read_text())
        for path in sorted(PACKAGE.rglob("*.py"))
        if path != CATALOG and path.relative_to(PACKAGE).parts[0] != "testing"
    }


def strings(tree: ast.AST) -> set[str]:
    """The strings of a module that are no docstrings."""
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in bare
    }


def imported(tree: ast.AST) -> set[str]:
    """The modules that a module imports, anywhere in it."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= {node.module or ""} | {f"{node.module}.{each.name}" for each in node.names}
    return found


@pytest.mark.parametrize("dialect", FOLDERS)
def test_the_name_of_a_dialect_stands_in_its_folder_only(dialect):
    name = re.compile(rf"{dialect}(?![A-Za-z.])|{FOLDERS[dialect].name}")
    found = {}
    for path, tree in modules().items():
        if FOLDERS[dialect] in path.parents:
            continue
        named = {each for each in strings(tree) if name.match(each)}
        if named:
            found[str(path.relative_to(PACKAGE))] = named
    allowed = {
        where: {each for each in texts if name.match(each)} for where, texts in ELSEWHERE.items()
    }
    assert found == {where: texts for where, texts in allowed.items() if texts}


@pytest.mark.parametrize("dialect", FOLDERS)
def test_the_folder_of_a_dialect_is_imported_by_itself_only(dialect):
    folder = FOLDERS[dialect]
    prefix = f"lmbroker.translation.dialects.{folder.name}"
    importing = {
        str(path.relative_to(PACKAGE))
        for path, tree in modules().items()
        if folder not in path.parents and any(name.startswith(prefix) for name in imported(tree))
    }
    assert importing == set()


def test_what_one_vendor_shares_is_no_dialect():
    adapted = {path.parent for path in DIALECTS.glob("*/adapter.py")}
    assert not adapted & {DIALECTS / vendor for vendor in VENDORS}


def test_each_folder_of_a_dialect_is_in_the_catalog():
    folders = {path.parent for path in DIALECTS.glob("*/adapter.py")}
    assert set(FOLDERS.values()) == folders
