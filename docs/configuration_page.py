"""Writes the tables of keys in docs/configuration.md from the structs that the file is read into.

Each table stands between two comments that name it; all else on the page is written by hand.
``python docs/configuration_page.py`` writes the page; a test holds that it is as the code says.
"""

import ast
import inspect
import json
import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as types

from lmbroker.config.fields import plain_type, words_of
from lmbroker.config.models import NOT_IN_RETRIES
from lmbroker.config.settings import MANY, Access, File, PriceTable
from lmbroker.routing.retries import Retries
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.profile import Profile

PAGE = Path(__file__).with_name("configuration.md")

HEAD = "| key | type | default | meaning |\n|---|---|---|---|"

TABLE = re.compile(r"(<!-- keys of (.+?) -->\n).*?(<!-- end -->)", re.DOTALL)

NOT_KEYS = {Retries: NOT_IN_RETRIES}
"""Fields that no table of the file sets."""

INLINE = "The backend: the keys of `backends[]` but for `name` and `type`."

MIB = 1 << 20


def docstrings(struct: type) -> dict[str, str]:
    """Return the first paragraph below each field of ``struct``, in the order of the source.

    Those of ``Access`` are left out.
    """
    above = [each for each in struct.__mro__[1:] if issubclass(each, msgspec.Struct)]
    if above and above[0] not in (msgspec.Struct, Access):
        return {**docstrings(above[0]), **_docstrings(struct)}
    return _docstrings(struct)


def _docstrings(struct: type) -> dict[str, str]:
    body = ast.parse(textwrap.dedent(inspect.getsource(struct))).body[0].body  # type: ignore[attr-defined]
    found = {}
    for field, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(field, ast.AnnAssign):
            continue
        stands = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant)
        text = inspect.cleandoc(after.value.value) if stands else ""  # type: ignore
        found[field.target.id] = " ".join(text.split("\n\n")[0].split())  # type: ignore
    return found


def rows(struct: type, path: str) -> Iterator[str]:
    """Yield the rows of one table, and of those below it that have no heading of their own."""
    hints = get_type_hints(struct, include_extras=True)
    fields = {field.name: field for field in msgspec.structs.fields(struct)}
    for name, meaning in docstrings(struct).items():
        key = f"{path}{name.removesuffix('_')}"
        if name in NOT_KEYS.get(struct, ()):
            continue
        if get_origin(hints[name]) is ClassVar or hints[name] is ClassVar:
            yield from rows_below(getattr(struct, name), key, meaning)
        else:
            field = fields[name]
            yield row(key, type_of(field.type), default_of(struct, field), meaning)
    if Access in struct.__mro__[1:]:
        if path == "backends[].":
            yield from rows(Access, path)
        else:
            yield row(
                f"{path}*",
                "",
                "",
                "The backend: the keys of `backends[]` but for `name` and `type`.",
            )


def rows_below(table: Any, key: str, meaning: str) -> Iterator[str]:
    """Yield the rows for a table inside another."""
    if table is dict:
        yield row(key, "table", "none", meaning)
        return
    if get_origin(table) is tuple:
        table, key = get_args(table)[0], f"{key}[]"
    own = SECTIONS.get(table)
    if own is None:
        yield from rows(table, f"{key}.")
    elif own == f"{key}." and meaning:
        yield row(key, "table", "by name" if table is Profile else "none", meaning)
    elif meaning:
        yield row(f"{key}.*", "", "" if table in (Profile, PriceTable) else f"`{own}*`", meaning)


def row(key: str, kind: str, default: str, meaning: str) -> str:
    """Return one row of a table."""
    assert meaning, f"{key} has no docstring"
    return f"| `{key}` | {kind} | {default} | {meaning} |"


def type_of(annotation: Any) -> str:
    """Return what a key may be, its bounds and its words included."""
    info, extra = plain_type(annotation)
    words = [word for word in extra.get("words") or words_of(annotation) if word is not False]
    if isinstance(info, types.BoolType):
        return f"boolean or {listed(words)}" if words else "boolean"
    if isinstance(info, types.IntType):
        return f"integer{bounds(info)}"
    if isinstance(info, types.FloatType):
        return f"number{bounds(info)}"
    if isinstance(info, types.VarTupleType):
        if isinstance(info.item_type, types.TupleType):
            return "table" if len(info.item_type.item_types) == 2 else "array of arrays"
        off = " or `false`" if False in words_of(annotation) else ""
        return (f"array of {listed(words)}" if words else "array of strings") + off
    if extra.get("check"):
        return str(extra["check"])
    return f"one of {listed(words)}" if words else "string"


def bounds(info: Any) -> str:
    """Return the bounds of a number, in words."""
    if info.le is not None:
        return f", {info.ge:g} or more" if info.le == MANY else f", {info.ge:g} to {info.le:g}"
    if info.gt is not None:
        return f" above {info.gt:g}"
    return f", {info.ge:g} or more" if info.ge is not None else ""


def listed(words: Iterable[str]) -> str:
    """Return the words that a string may be."""
    return ", ".join(f'`"{word}"`' for word in words)


def default_of(struct: type, field: Any) -> str:
    """Return what holds where a key is missing."""
    _, extra = plain_type(field.type)
    if "without" in extra:
        return str(extra["without"])
    if field.required:
        return "required"
    if struct is not Profile:
        return "none" if field.default == () else value(field.default)
    if field.default is None:
        return "unknown"
    # Dialects differ in what they take an unknown model for.
    values = {
        name: getattr(each.facts.profiles.unknown, field.name) for name, each in ADAPTERS.items()
    }
    shown: dict[str, list[str]] = {}
    for name, each in values.items():
        shown.setdefault(value(each), []).append(f"`{name}`")
    if len(shown) == 1:
        return next(iter(shown))
    return "; ".join(f"{', '.join(names)}: {each}" for each, names in shown.items())


def value(default: Any) -> str:
    """Return a default as it would be written in the file."""
    if default is None or default == ():
        return "none" if default is None else "`[]`"
    if isinstance(default, tuple):
        return f"`{json.dumps(default)}`"
    if isinstance(default, float) and default.is_integer():
        default = int(default)
    size = ""
    if isinstance(default, int) and default >= MIB and default % MIB == 0:
        mib = default // MIB
        size = f" ({mib // 1024} GiB)" if mib % 1024 == 0 else f" ({mib} MiB)"
    return f"`{json.dumps(default)}`{size}"


def sections() -> dict[Any, str]:
    """Return the structs of the tables at the top of the file and of profiles, with their paths."""
    found: dict[Any, str] = {}
    for name in docstrings(File):
        table = getattr(File, name, None)
        if get_origin(table) is tuple:
            found[get_args(table)[0]] = f"{name}[]."
        elif isinstance(table, type):
            found[table] = f"{name}."
    return {**found, Profile: "models[].profile.", PriceTable: "models[].price."}


SECTIONS = sections()


def table(title: str) -> str:
    """Return the table of keys between the comments that say ``title``."""
    if title == "the file":
        struct, path = File, ""
    else:
        struct, path = next(pair for pair in SECTIONS.items() if pair[1].rstrip(".") == title)
    found = rows(struct, path)
    return "\n".join([HEAD, *found]) + "\n"


def page(text: str) -> str:
    """Return the page ``text`` with its tables written anew."""
    return TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
