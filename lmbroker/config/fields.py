"""Reads a table of the configuration file into the fields of a struct.

The type of a field and its ``msgspec.Meta`` say what is allowed.
"""

import re
from collections.abc import Container, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import inspect

from lmbroker.config.table import Table, describe, expected, one_of

S = TypeVar("S", bound=msgspec.Struct)

_fields = cache(msgspec.structs.fields)
_type = cache(inspect.type_info)
"""Looked up once: both read all annotations anew each time, and a model has five such tables."""


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
        problem = _problem(value, field.type)
        if problem:
            table.report(field.name, problem)
        else:
            out[field.name] = msgspec.convert(value, field.type)
    table.done()
    return out


def read_struct(table: Table, struct: type[S], without: Container[str] = ()) -> S:
    """A ``struct`` with the fields that ``table`` sets."""
    return msgspec.structs.replace(struct(), **read_fields(table, struct, without))


def _problem(value: Any, annotation: Any) -> str:
    """What is wrong with a value for a field of the type ``annotation``, "" where nothing is."""
    info = _type(annotation)
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return _mismatch(value, info, _words(annotation))
    if isinstance(info, inspect.Metadata) and info.extra == {"check": "regular expression"}:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError):
            return expected(describe(value), "a regular expression")
    return ""


def _mismatch(value: Any, info: inspect.Type, words: Sequence[str]) -> str:
    """What is wrong with a value that ``msgspec`` refused; ``words`` are those of the type."""
    if isinstance(info, inspect.UnionType):
        kinds = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        if len(kinds) == 1:
            return _mismatch(value, kinds[0], words)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(info, inspect.IntType) and whole:
        return expected(describe(value), f"{info.ge} or more")
    if isinstance(info, inspect.FloatType) and (whole or isinstance(value, float)):
        return expected(describe(value), f"more than {info.gt:g}")
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(info, inspect.VarTupleType) and words and texts:
        found = next(item for item in value if item not in words)
        return expected(describe(found), one_of(words))
    return expected(describe(value), _kind(info, words))


def _kind(info: inspect.Type, words: Sequence[str]) -> str:
    """The name of a type in an error; ``words`` are those of its Literal."""
    match info:
        case inspect.Metadata():
            return _kind(info.type, words)
        case inspect.UnionType():
            return " or ".join(
                _kind(each, words) for each in info.types if not isinstance(each, inspect.NoneType)
            )
        case inspect.LiteralType():
            return one_of(words)
        case inspect.VarTupleType(item_type=inspect.TupleType()):
            return "an array of arrays, each of a name and two numbers"
        case inspect.VarTupleType():
            return "an array of strings"
        case inspect.BoolType():
            return "a boolean"
        case inspect.FloatType():
            return "a number"
        case inspect.IntType():
            return "an integer"
    return "a string"


def _words(annotation: Any) -> tuple[str, ...]:
    """The words of the Literal in an annotation, in their order there; ``msgspec`` sorts them."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next(filter(None, map(_words, get_args(annotation))), ())
