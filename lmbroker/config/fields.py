"""A table of the configuration file -> the fields of a struct, each checked by its type."""

import re
from collections.abc import Container, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec

from lmbroker.config.table import Table, describe, expected, one_of
from lmbroker.translation.unified.request import Effort

S = TypeVar("S", bound=msgspec.Struct)

_LEVELS = get_args(Effort)
_WORDS: Mapping[str, tuple[str, ...]] = {
    "effort": _LEVELS,
    "default_effort": _LEVELS,
    "disabled_max_effort": _LEVELS,
    "thinking_types": ("adaptive", "enabled", "disabled", "between_tools"),
}
"""The words that fields of type string know."""


_fields = cache(msgspec.structs.fields)
"""Looked up once: it reads all annotations anew each time, and a model has five such tables."""


def read_fields(
    table: Table, struct: type[msgspec.Struct], without: Container[str] = ()
) -> dict[str, Any]:
    """The fields of ``struct`` that ``table`` sets; it has no other keys. ``without`` names
    fields that it cannot set."""
    out = {}
    for field in _fields(struct):
        if field.name in without:
            continue
        value = table.any(field.name)
        if value is None:
            continue
        try:
            out[field.name] = msgspec.convert(value, field.type)
        except msgspec.ValidationError:
            table.report(field.name, expected(describe(value), _kind(field.type)))
            continue
        problem = _problem(field.name, value)
        if problem:
            table.report(field.name, problem)
    table.done()
    return out


def read_struct(table: Table, struct: type[S], without: Container[str] = ()) -> S:
    """A ``struct`` with the fields that ``table`` sets."""
    return msgspec.structs.replace(struct(), **read_fields(table, struct, without))


def _problem(name: str, value: Any) -> str:
    """What is wrong with a value of the right type."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        none = name.endswith("_max") or name == "helpers"
        least = 0 if none else 1
        if isinstance(value, int) and value < least:
            return expected(describe(value), f"{least} or more")
        if value <= 0 and not none:
            return expected(describe(value), "more than 0")
    words = _WORDS.get(name, ())
    for word in value if isinstance(value, list) else [value]:
        if words and word not in words:
            return expected(describe(word), one_of(words))
    if name == "tool_id":
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError):
            return expected(describe(value), "a regular expression")
    return ""


def _kind(annotation: Any) -> str:
    """The words for the type of a field."""
    if get_origin(annotation) is Literal:
        return one_of(get_args(annotation))
    if get_origin(annotation) is tuple and get_origin(get_args(annotation)[0]) is tuple:
        return "an array of arrays, each of a name and two numbers"
    if get_origin(annotation) is tuple:
        return "an array of strings"
    if bool in get_args(annotation):
        words = [each for kind in get_args(annotation) for each in get_args(kind)]
        return f"a boolean or {one_of(words)}"
    if annotation is bool:
        return "a boolean"
    if annotation is float:
        return "a number"
    return "an integer" if int in (annotation, *get_args(annotation)) else "a string"
