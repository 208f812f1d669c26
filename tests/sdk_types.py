"""What the types of the vendors' SDKs say: whether they take a body, and bodies made from them.

A TypedDict is only a name to the SDKs themselves; here it is a judge.
"""

import typing
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import typing_extensions
from pydantic import ConfigDict, TypeAdapter

from lmbroker.translation.shared.fields import Fields

JSON = dict[str, Any]


def accept(hint: Any, body: JSON, *, closed: bool = False) -> None:
    """Raises pydantic.ValidationError where ``hint`` does not take ``body``; ``closed``: nor a
    key that the type does not have. Iterables are only looked at when they are read, so all are
    read."""
    _read(_adapter(hint, closed).validate_python([body]))


@cache
def _adapter(hint: Any, closed: bool) -> TypeAdapter[Any]:
    config = ConfigDict(extra="forbid") if closed else ConfigDict()
    return TypeAdapter(list[hint], config=config)


def _read(value: Any) -> None:
    if isinstance(value, Mapping):
        value = value.values()
    if hasattr(value, "__iter__") and not isinstance(value, str | bytes):
        for each in value:
            _read(each)


class Samples:
    """Bodies made from types: each key, each alternative and each literal at least once, one at
    a time. ``needed`` names keys that the API wants although the type does not say so;
    ``values`` are those of keys whose type says too little. Both by the type's name."""

    def __init__(
        self,
        needed: Mapping[str, set[str]] | None = None,
        values: Mapping[tuple[str, str], list[Any]] | None = None,
    ) -> None:
        self._needed = needed or {}
        self._values = values or {}
        self._known: dict[Any, list[Any]] = {}

    def of(self, hint: Any) -> list[Any]:
        if hint not in self._known:
            self._known[hint] = self._made(hint)
        return self._known[hint]

    def _made(self, hint: Any) -> list[Any]:
        args = typing_extensions.get_args(hint)
        origin = typing_extensions.get_origin(hint)
        if typing_extensions.is_typeddict(hint):
            return list(self._objects(hint))
        if origin is typing.Literal or origin is typing_extensions.Literal:
            return [each for each in args if each is not None]
        if origin is typing.Union:
            return [each for arg in args for each in self.of(arg)]
        if origin is dict:
            return [{"any": each} for each in self.of(args[1])]
        if args:
            return [[each] for each in self.of(args[0])]
        simple: dict[Any, list[Any]] = {
            str: ["x"],
            int: [1],
            float: [0.5],
            bool: [True, False],
            object: [{}],
        }
        return simple.get(hint, [])

    def _objects(self, hint: Any) -> Iterator[JSON]:
        hints = typing_extensions.get_type_hints(hint)
        marked = typing_extensions.get_type_hints(hint, include_extras=True)
        needed = {key for key, held in marked.items() if "Required[" in str(held)}
        needed |= self._needed.get(hint.__name__, set())
        values = {
            key: self._values.get((hint.__name__, key)) or self.of(held)
            for key, held in hints.items()
        }
        least = {key: values[key][0] for key in sorted(needed)}
        yield least
        for key, each in values.items():
            for value in each:
                yield {**least, key: value}


class Unknown(list[str]):
    """Paths of the keys that nobody took while bodies were decoded."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__()
        rest = Fields.rest

        def spy(fields: Fields, *args: Any) -> Any:
            self.extend(fields.at(name) for name in fields.left)
            return rest(fields, *args)

        monkeypatch.setattr(Fields, "rest", spy)
