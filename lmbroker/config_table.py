"""A table of the configuration file: asks for keys by type, complains by path."""

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

_TYPES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    list: "an array",
    dict: "a table",
}


class Table:
    """Wraps one TOML table. Each question marks its key as known; ``done`` complains about the
    others. A key of a wrong type is complained about and answered with the default."""

    def __init__(self, value: dict[str, Any], path: str, complaints: list[str]) -> None:
        self._value = value
        self._path = path
        self._complaints = complaints
        self._asked: set[str] = set()

    def path(self, key: str) -> str:
        """The path of ``key`` from the top of the file."""
        return f"{self._path}.{key}" if self._path else key

    def complain(self, key: str, problem: str) -> None:
        """Note a mistake at ``key``."""
        self._complaints.append(f"{self.path(key)}: {problem}")

    def has(self, key: str) -> bool:
        return key in self._value

    def any(self, key: str) -> Any:
        self._asked.add(key)
        return self._value.get(key)

    def text(
        self,
        key: str,
        default: str = "",
        *,
        required: bool = False,
        choices: Sequence[str] = (),
        secret: bool = False,
    ) -> str:
        """A string, not empty. The value of a ``secret`` one is never shown."""
        value = self.any(key)
        if value is None:
            if required:
                self.complain(key, self._expected("nothing", "a string", choices))
            return default
        if not isinstance(value, str):
            found = _describe(value, secret)
            self.complain(key, self._expected(found, "a string", choices))
            return default
        if not value:
            self.complain(key, self._expected("an empty string", "a string", choices))
            return default
        if choices and value not in choices:
            self.complain(key, self._expected(repr(value), "a string", choices))
            return default
        return value

    def integer(self, key: str, default: int, *, least: int, most: int) -> int:
        value = self.any(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.complain(
                key, f"found {_describe(value)}, expected an integer from {least} to {most}"
            )
            return default
        return value

    def texts(self, key: str) -> list[str] | None:
        """An array of strings, not empty; None where the key is missing."""
        value = self.any(key)
        if value is None:
            return None
        if not isinstance(value, list) or not value:
            self.complain(key, f"found {_describe(value)}, expected an array of strings")
            return None
        for number, item in enumerate(value):
            if not isinstance(item, str):
                self.complain(f"{key}[{number}]", f"found {_describe(item)}, expected a string")
        return [item for item in value if isinstance(item, str)]

    def table(self, key: str, *, required: bool = False) -> "Table":
        value = self.any(key)
        if value is None and required:
            self.complain(key, "found nothing, expected a table")
            return _Silent(self.path(key))
        if value is not None and not isinstance(value, dict):
            self.complain(key, f"found {_describe(value)}, expected a table")
            return _Silent(self.path(key))
        return Table(value or {}, self.path(key), self._complaints)

    def tables(self, key: str) -> list["Table"]:
        value = self.any(key)
        if value is None:
            return []
        if not isinstance(value, list):
            self.complain(key, f"found {_describe(value)}, expected [[{key}]] tables")
            return []
        out = []
        for number, item in enumerate(value):
            path = f"{key}[{number}]"
            if isinstance(item, dict):
                out.append(Table(item, self.path(path), self._complaints))
            else:
                self.complain(path, f"found {_describe(item)}, expected a table")
        return out

    def done(self, known: Iterable[str] = ()) -> None:
        """Complain about every key that nobody asked for."""
        candidates = sorted({*self._asked, *known})
        for key in self._value:
            if key in candidates:
                continue
            near = difflib.get_close_matches(key, candidates, 1, 0.5)
            hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(candidates)}"
            self.complain(key, f"unknown key ({hint})")

    def _expected(self, found: str, what: str, choices: Sequence[str]) -> str:
        if choices:
            what = "one of " + ", ".join(f'"{choice}"' for choice in choices)
        return f"found {found}, expected {what}"


class _Silent(Table):
    """Stands for a table that is missing or none: its absence was complained about already."""

    def __init__(self, path: str) -> None:
        super().__init__({}, path, [])


def _describe(value: Any, secret: bool = False) -> str:
    name = next((text for kind, text in _TYPES.items() if isinstance(value, kind)), "a date")
    if secret or isinstance(value, dict | list):
        return name
    return f"{name} ({value!r})"
