"""Prose in the code: what no linter sees of it (``pyproject.toml`` has what Ruff checks).

A docstring's first line stands alone.

Ruff holds that it is one line with a full stop, and that a function's is no noun phrase with an
article. Here it says what the function does or returns: it does not begin with a word that leaves
the verb out.
"""

import ast
import io
import pathlib
import re
import tokenize

import pytest

pytestmark = pytest.mark.pure

PACKAGE = pathlib.Path(__file__).parents[1] / "lmbroker"
NO_VERBS = """
    About After All Another Also And Any As At Because Before Besides Both But By Class Each
    Either Every False For From How If In It Its Many More Most Neither Never No Nobody None
    Nothing Of On One Only Or Others Our Out Past Several Some Somebody Such That Their There
    These They This Those True Under Until Upon What When Where Whether Which While Who Whose Why
    Words With Within Without Yes You
    """.split()  # noqa: SIM905


def functions(body: list[ast.stmt]):
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from functions(node.body)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def is_property(node) -> bool:
    """A property is named like an attribute, and its docstring says what it is."""
    return any("property" in ast.unparse(each) for each in node.decorator_list)


def begins_with_a_verb(docstring: str) -> bool:
    word = docstring.split(maxsplit=1)[0].rstrip(".,:")
    return word.isalpha() and word[0].isupper() and word not in NO_VERBS


# Words of ours that the glossary of docs/architecture.md replaces with those of the field.
OURS = re.compile(r"\b(told|tells?|telling|hears?|heard|whoever|lessons?|signs? of life)\b", re.I)


def prose(source: str):
    """Yield the docstrings and comments of a module, without what they quote."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, re.sub(r"``.*?``", "", str(node.value.value))
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def test_prose_uses_the_words_of_the_field():
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {text.strip()}"
        for path in sorted(PACKAGE.rglob("*.py"))
        if OURS.search(source := path.read_text())
        for line, text in prose(source)
        if OURS.search(text)
    ]
    assert found == []


def test_a_functions_docstring_begins_with_what_it_does():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}: {docstring.splitlines()[0]}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in functions(ast.parse(path.read_text()).body)
        if not is_property(node)
        and (docstring := ast.get_docstring(node))
        and not begins_with_a_verb(docstring)
    ]
    assert wrong == []


def test_a_propertys_docstring_says_what_it_is():
    wrong = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in functions(ast.parse(path.read_text()).body)
        if is_property(node) and (ast.get_docstring(node) or "").startswith(("Return ", "Yield "))
    ]
    assert wrong == []


@pytest.mark.parametrize(
    ("docstring", "stands"),
    [
        ("Return the body of a request.", True),
        ("Raise Refused for a body that is too long.", True),
        ("Who asks.", False),
        ("``body`` without its last line.", False),
        ("200 while the process runs.", False),
        ("Whether the model reasons.", False),
    ],
)
def test_what_begins_with_a_verb(docstring: str, stands: bool):
    assert begins_with_a_verb(docstring) is stands
