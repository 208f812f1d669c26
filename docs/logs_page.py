"""Writes the tables of docs/logs.md from the code: the fields of log lines, and the lines.

Each table stands between two comments that name it; all else on the page is written by hand.
``python docs/logs_page.py`` writes the page; a test holds that it is as the code says.
"""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from msgspec import inspect as types

import lmbroker
from lmbroker.observers.access_log import AccessLine, Tried
from lmbroker.observers.json_log import MISSING, Line, More
from lmbroker.observers.log_writer import LogWriter

PAGE = Path(__file__).with_name("logs.md")
PACKAGE = Path(lmbroker.__file__).parent

TABLE = re.compile(r"(<!-- (fields of .+?|lines) -->\n).*?(<!-- end -->)", re.DOTALL)

STRUCTS = {"every line": Line, "some lines": More, "the access line": AccessLine, "tried": Tried}
"""What stands behind ``fields of``."""

LEVELS = {
    "debug": "debug",
    "info": "info",
    "warn": "warning",
    "error": "error",
    "critical": "critical",
    "failure": "critical",
}
"""The methods of a logger, each with the level of its lines."""

_NAMES = ("log", "_log")
"""How loggers are called."""


class Said(NamedTuple):
    """A line that the code writes: who says it, at which level, its words, its own fields."""

    logger: str
    level: str
    words: str
    fields: tuple[str, ...]


def docstrings(struct: type) -> dict[str, str]:
    """Return the paragraph below each field of ``struct``, in the order of the source."""
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, after in zip(body, [*body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr), f"{field.target.id} has no docstring"  # type: ignore
            found[field.target.id] = " ".join(after.value.value.split())  # type: ignore
    return found


def type_of(annotation: Any) -> str:
    """Return the JSON type of a field."""
    info = types.type_info(annotation)
    kinds = info.types if isinstance(info, types.UnionType) else (info,)
    names = {
        types.StrType: "string",
        types.IntType: "integer",
        types.FloatType: "number",
        types.BoolType: "boolean",
        types.ListType: "array",
        types.LiteralType: "string",
    }
    return next(names[type(kind)] for kind in kinds if not isinstance(kind, types.NoneType))


def fields(struct: type) -> Iterator[str]:
    """Yield the rows of the fields of ``struct``, without those of the struct above it."""
    hints = {field.name: field.type for field in msgspec.structs.fields(struct)}
    yield "| field | type | meaning |\n|---|---|---|"
    for name, meaning in docstrings(struct).items():
        yield f"| `{name}` | {type_of(hints[name])} | {meaning} |"


@cache
def lines() -> list[Said]:
    """Return all lines that the code writes, but access lines."""
    found = {Said(LogWriter.__module__, "warning", MISSING, ())}
    modules = {}
    heirs: dict[str, list[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        text = path.read_text()
        module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        module = module.removesuffix(".__init__")
        modules[module] = body = ast.parse(text).body if "log" in text else []
        for node in body:
            for base in node.bases if isinstance(node, ast.ClassDef) else ():
                if isinstance(base, ast.Name) and isinstance(node, ast.ClassDef):
                    heirs.setdefault(base.id, []).append(f"{module}.{node.name}")
    for module, body in modules.items():
        for node in body:
            names = [module]
            if isinstance(node, ast.ClassDef):
                # A class that only declares its logger leaves it to its heirs.
                names = heirs[node.name] if _declares_logger(node) else [f"{module}.{node.name}"]
            for name in names:
                found.update(_said_in(node, name, module))
    return sorted(found)


def _declares_logger(node: ast.ClassDef) -> bool:
    return any(
        isinstance(each, ast.AnnAssign)
        and isinstance(each.target, ast.Name)
        and each.target.id in _NAMES
        and each.value is None
        for each in node.body
    )


def _said_in(tree: ast.AST, name: str, module: str) -> Iterator[Said]:
    """Yield the lines of one class or one other statement of a module."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call) or not node.args:
            continue
        called = node.func
        if isinstance(called, ast.Name) and called.id == "emit":
            found = _levels_of_emit(tree)
        elif isinstance(called, ast.Attribute) and called.attr in LEVELS:
            found = [LEVELS[called.attr]] if _is_logger(called.value) else []
            if isinstance(called.value, ast.Call):
                # A Logger() that is made on the spot has the module's name.
                name = module
        else:
            continue
        words = node.args[0]
        if not found:
            continue
        assert isinstance(words, ast.Constant), f"{name}: a line whose words are no constant"
        own = [keyword.value for keyword in node.keywords if keyword.arg == "fields"]
        keys = [
            str(key.value)
            for held in own
            if isinstance(held, ast.Dict)
            for key in held.keys
            if isinstance(key, ast.Constant)
        ]
        yield Said(name, " or ".join(sorted(found)), str(words.value), tuple(keys))


def _is_logger(held: ast.AST) -> bool:
    if isinstance(held, ast.Call):
        return isinstance(held.func, ast.Name) and held.func.id == "Logger"
    if isinstance(held, ast.Attribute):
        return held.attr in _NAMES
    return isinstance(held, ast.Name) and held.id in _NAMES


def _levels_of_emit(tree: ast.AST) -> list[str]:
    """Return the levels between which ``emit = self.log.X if ... else self.log.Y`` chooses."""
    return [
        LEVELS[held.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id == "emit"
        for held in ast.walk(node.value)
        if isinstance(held, ast.Attribute) and held.attr in LEVELS
    ]


def table(title: str) -> str:
    """Return the table between the comments that say ``title``."""
    if title == "lines":
        rows = ["| logger | level | message | fields |\n|---|---|---|---|"]
        for said in lines():
            own = ", ".join(f"`{each}`" for each in said.fields)
            rows.append(f"| `{said.logger}` | {said.level} | {_shown(said.words)} | {own} |")
    else:
        rows = list(fields(STRUCTS[title.removeprefix("fields of ")]))
    return "\n".join(rows) + "\n"


def _shown(words: str) -> str:
    return words.replace("|", "\\|")


def page(text: str) -> str:
    """Return the page ``text`` with its tables written anew."""
    return TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
