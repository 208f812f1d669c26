"""Reads a table of the configuration file into the fields of a struct.

The type of a field and its ``msgspec.Meta`` say what is allowed.
"""

import re
from collections.abc import Container, Mapping, Sequence
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin

import msgspec
from msgspec import inspect

from lmbroker.config.table import Table, describe, expected, one_of

S = TypeVar("S", bound=msgspec.Struct)

_BESIDE = (inspect.NoneType, inspect.LiteralType)
"""The types that may stand beside the one that a key usually has."""

_fields = cache(msgspec.structs.fields)
_type = cache(inspect.type_info)
"""Looked up once: both read all annotations anew each time, and a model has five such tables."""


def read_fields(
    table: Table, struct: type[msgspec.Struct], without: Container[str] = ()
) -> dict[str, Any]:
    """Return the fields of ``struct`` that ``table`` sets; it has no other keys.

    ``without`` names fields that it cannot set.
    """
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
    """Return a ``struct`` with the fields that ``table`` sets."""
    return msgspec.structs.replace(struct(), **read_fields(table, struct, without))


def read_settings(table: Table, struct: type[S], without: Container[str] = ()) -> S:
    """Return the keys of ``struct`` as ``table`` sets them, but for those of ``without``.

    A key with a mistake has its default, a required one is "" then. The caller reads the tables
    below this one, and says when ``table`` is done.
    """
    fields = [field for field in _fields(struct) if field.name not in without]
    return struct(**{field.name: _setting(table, field) for field in fields})


def _setting(table: Table, field: msgspec.structs.FieldInfo) -> Any:
    """Return the value of one key; its default where it is missing or has a mistake."""
    info, extra = plain_type(field.type)
    key, default = field.name, field.default
    secret, words = "secret" in extra, extra.get("words") or words_of(field.type)
    match info:
        case inspect.BoolType():
            return table.boolean(key, default)
        case inspect.IntType(ge=int(least), le=int(most)):
            return table.integer(key, default, least=least, most=most)
        case inspect.FloatType(ge=float() | int() as least, le=float() | int() as most):
            return table.number(key, default, least=least, most=most)
        case inspect.VarTupleType():
            if False in words and table.any(key) is False:
                return False
            items = table.texts(key, secret=secret)
            return default if items is None else tuple(items)
    if field.required:
        return table.text(key, required=True, choices=words, secret=secret)
    return table.text(key, default, choices=words, secret=secret)


def plain_type(annotation: Any) -> tuple[inspect.Type, Mapping[str, Any]]:
    """Return the type in an annotation, and the ``extra`` of its ``Meta``.

    The type comes without None, the words beside it and the ``Meta``.
    """
    info = _type(annotation)
    extra: dict[str, Any] = {}
    while isinstance(info, inspect.Metadata | inspect.UnionType):
        if isinstance(info, inspect.Metadata):
            extra |= info.extra or {}
            info = info.type
        else:
            info = min(info.types, key=lambda each: isinstance(each, _BESIDE))
    return info, extra


def _problem(value: Any, annotation: Any) -> str:
    """Return what is wrong with a value for a field of type ``annotation``, "" for nothing."""
    info = _type(annotation)
    try:
        msgspec.convert(value, annotation)
    except msgspec.ValidationError:
        return _mismatch(value, info, words_of(annotation))
    if isinstance(info, inspect.Metadata) and info.extra == {"check": "regular expression"}:
        try:
            re.compile(value)
        except (re.error, OverflowError, RecursionError):
            return expected(describe(value), "a regular expression")
    return ""


def _mismatch(value: Any, info: inspect.Type, words: Sequence[str]) -> str:
    """Return what is wrong with a value that ``msgspec`` refused.

    ``words`` are those of the type.
    """
    if isinstance(info, inspect.UnionType):
        kinds = [kind for kind in info.types if not isinstance(kind, inspect.NoneType)]
        if len(kinds) == 1:
            return _mismatch(value, kinds[0], words)
    if isinstance(info, inspect.Metadata):
        return _mismatch(value, info.type, words)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(info, inspect.IntType) and whole:
        return expected(describe(value), f"{info.ge} or more")
    if isinstance(info, inspect.FloatType) and (whole or isinstance(value, float)):
        bounds = f"{info.ge:g} to {info.le:g}" if info.gt is None else f"more than {info.gt:g}"
        return expected(describe(value), bounds)
    texts = isinstance(value, list) and all(isinstance(item, str) for item in value)
    if isinstance(info, inspect.VarTupleType) and words and texts:
        found = next(item for item in value if item not in words)
        return expected(describe(found), one_of(words))
    return expected(describe(value), _kind(info, words))


def _kind(info: inspect.Type, words: Sequence[str]) -> str:
    """Return the name of a type in an error; ``words`` are those of its Literal."""
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


def words_of(annotation: Any) -> tuple[str, ...]:
    """Return the words of the Literal in an annotation, in their order there.

    ``msgspec`` sorts them.
    """
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next(filter(None, map(words_of, get_args(annotation))), ())
