"""Reading a client's body key by key: every key is accounted for, every error has a path.

``null`` counts as absent. A key that was not taken is unknown and becomes an ``Extra``, which a
backend of the same dialect gets back. Errors name a place and a type, never a value.
"""

import re
from collections.abc import Iterator
from typing import Any

from lmbroker import json_text
from lmbroker.errors import Refused
from lmbroker.translation.unified.parts import Extra, LossClass

_INDEX = re.compile(r"\[\d+\]")


class Fields:
    """One JSON object of a body, whose keys are taken one by one.

    ``path`` is where the object stands; "" is the body itself. ``left`` holds the keys that were
    not taken yet. Raises Refused for a value that is no object, and on taking a key of the wrong
    type.
    """

    __slots__ = ("left", "origin", "path")

    def __init__(self, value: Any, path: str, origin: str) -> None:
        if not isinstance(value, dict):
            raise wrong_type(path, "an object", value)
        self.left: dict[str, Any] = value.copy()
        if None in value.values():
            self.left = {k: v for k, v in value.items() if v is not None}
        self.path = path
        self.origin = origin

    def at(self, name: str) -> str:
        """Return the path of the key ``name``, with real indices."""
        return f"{self.path}.{name}" if self.path else name

    def any(self, name: str) -> Any:
        """Take the value of key ``name``, of whatever type; None where it is absent."""
        return self.left.pop(name, None)

    def text(self, name: str) -> str | None:
        """Take a string, None where it is absent. Raises Refused for another type."""
        value = self.left.pop(name, None)
        if value is not None and not isinstance(value, str):
            raise wrong_type(self.at(name), "a string", value)
        return value

    def need_text(self, name: str) -> str:
        """Take a string that must be there. Raises Refused."""
        value = self.left.pop(name, None)
        if value is None:
            raise missing(self.at(name))
        if not isinstance(value, str):
            raise wrong_type(self.at(name), "a string", value)
        return value

    def boolean(self, name: str) -> bool | None:
        """Take a boolean, None where it is absent. Raises Refused for another type."""
        value = self.left.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise wrong_type(self.at(name), "a boolean", value)
        return value

    def integer(self, name: str, least: int | None = None) -> int | None:
        """Take an integer of at least ``least``, None where it is absent. Raises Refused.

        ``2.0`` is an integer, as in JSON Schema.
        """
        value = self.left.pop(name, None)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            raise wrong_type(self.at(name), "an integer", value)
        if least is not None and value < least:
            raise bad_value(self.at(name), f"it must be at least {least}")
        return value

    def number(self, name: str, least: float, most: float) -> float | None:
        """Take a number from ``least`` to ``most``, None where it is absent. Raises Refused."""
        value = self.left.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise wrong_type(self.at(name), "a number", value)
        if not least <= value <= most:
            raise bad_value(self.at(name), f"it must be between {least:g} and {most:g}")
        return value

    def items(self, name: str) -> list[Any] | None:
        """Take a list, None where it is absent. Raises Refused for another type."""
        value = self.left.pop(name, None)
        if value is not None and not isinstance(value, list):
            raise wrong_type(self.at(name), "an array", value)
        return value

    def mapping(self, name: str) -> dict[str, Any] | None:
        """Take an object as a dict, None where it is absent. Raises Refused for another type."""
        value = self.left.pop(name, None)
        if value is not None and not isinstance(value, dict):
            raise wrong_type(self.at(name), "an object", value)
        return value

    def inside(self, name: str) -> "Fields | None":
        """Take an object to be read in its turn, None where it is absent. Raises Refused."""
        value = self.left.pop(name, None)
        return None if value is None else Fields(value, self.at(name), self.origin)

    def need_inside(self, name: str) -> "Fields":
        """Take an object that must be there, to be read in its turn. Raises Refused."""
        held = self.inside(name)
        if held is None:
            raise missing(self.at(name))
        return held

    def extra(self, name: str, value: Any, loss: LossClass, prefix: str = "") -> Extra:
        """Return the extra for ``value``, for which the Unified Model has no field.

        ``prefix`` is the key inside the object that gets the extra (``function.``).
        """
        return Extra(
            origin=self.origin,
            name=prefix + name,
            path=_INDEX.sub("[]", self.at(name)),
            value=value,
            loss=loss,
        )

    def rest(self, prefix: str = "", loss: LossClass = "drop") -> tuple[Extra, ...]:
        """Return the keys that were not taken, as extras, and count them as taken."""
        if not self.left:
            return ()
        left, self.left = self.left, {}
        return tuple(self.extra(name, value, loss, prefix) for name, value in left.items())


def once(items: list[Any]) -> Iterator[tuple[int, Any]]:
    """Yield each of ``items`` with its index, without those that equal an earlier one."""
    if len(items) < 2:
        yield from enumerate(items)
        return
    seen = set()
    for number, item in enumerate(items):
        said = json_text.encode(item)
        if said not in seen:
            seen.add(said)
            yield number, item


def missing(path: str) -> Refused:
    """Return the refusal of a body that lacks the required key at ``path``."""
    return Refused(
        "invalid_request",
        f"Missing required parameter: '{path}'.",
        param=path,
        code="missing_required_parameter",
    )


def wrong_type(path: str, expected: str, value: Any) -> Refused:
    """Return the refusal of a value of the wrong type; the message names its type only."""
    return Refused(
        "invalid_request",
        f"Invalid type for '{path or 'body'}': expected {expected}, got {_kind(value)}.",
        param=path or None,
        code="invalid_type",
    )


def bad_value(path: str, reason: str) -> Refused:
    """Return the refusal of a value of the right type that is not allowed, for ``reason``."""
    return Refused(
        "invalid_request",
        f"Invalid value for '{path}': {reason}.",
        param=path,
        code="invalid_value",
    )


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "a boolean"
    if isinstance(value, int):
        return "an integer"
    if isinstance(value, float):
        return "a number"
    if isinstance(value, str):
        return "a string"
    return "an array" if isinstance(value, list) else "an object"
