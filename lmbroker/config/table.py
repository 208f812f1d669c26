"""The text of a configuration file as tables, which are asked for keys by type.

A table reports problems by path.

No problem shows a value that may be a secret: only scalars stand in one, and only where a
scalar was expected; a key is shown where it is a plain word.
"""

import difflib
import re
import tomllib
from collections.abc import Sequence
from typing import Any

import toml

SHOWN = 60
"""Longest value in a problem, in characters."""

_TYPES = {
    str: "a string",
    bool: "a boolean",
    int: "an integer",
    float: "a float",
    list: "an array",
    dict: "a table",
}
_PLACE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)$")
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
_TOKENS = re.compile(
    r'''"""(?:\\.|[^\\])*?"""|\'{3}.*?\'{3}|"(?:\\.|[^"\\\n])*"|'[^'\n]*'|\#[^\n]*|[][{}\n]''',
    re.DOTALL,
)
"""Strings, comments, brackets and ends of lines, which show where an inline table stands."""

CALLED_ELSEWHERE = {
    "name": ("alias",),
    "model_name": ("alias",),
    "id": ("alias", "name"),
    "base_url": ("url",),
    "api_base": ("url",),
    "api_base_url": ("url",),
    "endpoint": ("url",),
    "key": ("api_key",),
    "token": ("api_key",),
    "provider": ("type",),
    "dialect": ("type",),
    "format": ("type",),
    "bind": ("listen",),
    "address": ("host",),
}
"""What other programs call keys, and what they are here, where a table has such a key."""


class NotTOML(Exception):
    """The text cannot be read.

    ``line`` counts from 1, ``problem`` holds nothing of the text but keys and single characters.
    """

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


def read_toml(text: str) -> tuple[dict[str, Any], str]:
    """Return the tables of a TOML text and a warning, "" where there is none. Raises NotTOML.

    The standard library's reader decides what the text means. ``toml`` reads it too: it drops what
    it does not understand and misreads some strings that hold commas or quotes, and other tools
    read the same file with it. What the two read differently is a warning.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        broken = _broken_inline_table(text)
        if broken:
            raise NotTOML(broken, INLINE) from None
        raise _not_toml(str(error), text) from None
    except (ValueError, RecursionError):
        # A number of thousands of digits; thousands of brackets.
        raise NotTOML(1, "a value is too large") from None
    loose = _loose(text)
    if loose == tables:
        return tables, ""
    if loose is None:
        return tables, "valid TOML, but the library toml cannot read it"
    path = _first_difference(tables, loose)
    return tables, f"{path}: valid TOML, but the library toml misreads it"


INLINE = (
    "not valid TOML: in TOML 1.0 an inline table, { ... }, must end on the line where it begins; "
    "write it as a [table] of its own, with one key on each line"
)


def _broken_inline_table(text: str) -> int:
    """Return the line on which the first inline table begins that does not end on it, 0 for none.

    An array inside of one may hold ends of lines.
    """
    line = 1
    opened: list[tuple[str, int]] = []
    for found in _TOKENS.finditer(text):
        token = found[0]
        if token in ("{", "["):
            opened.append((token, line))
        elif token in ("}", "]") and opened:
            opened.pop()
        elif token == "\n" and opened and opened[-1][0] == "{":
            return opened[-1][1]
        line += token.count("\n")
    return 0


def _not_toml(message: str, text: str) -> NotTOML:
    place = _PLACE.search(message)
    line = int(place[1]) if place and place[1] else len(text.splitlines()) or 1
    problem = _PLACE.sub("", message)
    return NotTOML(line, f"not valid TOML: {problem[:1].lower()}{problem[1:]}")


def _loose(text: str) -> Any:
    """Return what ``toml`` reads, None where it reads nothing.

    Besides its own error it raises whatever its string handling trips over (IndexError, TypeError,
    AttributeError, ...).
    """
    try:
        return toml.loads(text)
    except Exception:
        return None


def _first_difference(strict: Any, loose: Any, path: str = "") -> str:
    """Return the path of the first value in ``strict`` that differs in ``loose``.

    ``?`` stands for a key that is no plain word.
    """
    if isinstance(strict, dict) and isinstance(loose, dict):
        for key, value in strict.items():
            if key not in loose or loose[key] != value:
                shown = key if _PLAIN.fullmatch(key) else "?"
                below = f"{path}.{shown}" if path else shown
                return _first_difference(value, loose.get(key), below)
    if isinstance(strict, list) and isinstance(loose, list):
        for number, (value, other) in enumerate(zip(strict, loose, strict=False)):
            if value != other:
                return _first_difference(value, other, f"{path}[{number}]")
    return path or "?"


class Table:
    """Wraps one TOML table.

    Each question marks its key as known; ``done`` reports the keys that nobody asked for, and
    required ones that are missing. A key of a wrong type is reported and answered with the default.
    """

    def __init__(self, value: dict[str, Any], path: str, problems: list[str]) -> None:
        self._value = value
        self._path = path
        self._problems = problems
        self._asked: set[str] = set()
        self._missing: dict[str, str] = {}

    def path(self, key: str) -> str:
        """Return the path of ``key`` from the top of the file; tables of an array count from 0."""
        return f"{self._path}.{key}" if self._path else key

    def report(self, key: str, problem: str) -> None:
        """Note a mistake at ``key``."""
        self._problems.append(f"{self.path(key)}: {problem}")

    def has(self, key: str) -> bool:
        """Return whether the file has ``key`` here."""
        return key in self._value

    def any(self, key: str) -> Any:
        """Return the value as it is, None where the key is missing."""
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
        """Return a string, not empty. The value of a ``secret`` one is never shown."""
        value = self.any(key)
        if value is None and required:
            self._missing[key] = expected("nothing", one_of(choices))
        if value is None:
            return default
        if not isinstance(value, str):
            found = _type_of(value) if secret else describe(value)
        elif not value:
            found = "an empty string"
        elif choices and value not in choices:
            found = describe(value)
        else:
            return value
        self.report(key, expected(found, one_of(choices)))
        return default

    def integer(self, key: str, default: int, *, least: int, most: int) -> int:
        """Return an integer within bounds."""
        value = self.any(key)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self.report(key, expected(describe(value), f"an integer from {least} to {most}"))
            return default
        return value

    def number(self, key: str, default: float, *, least: float, most: float) -> float:
        """Return a number within bounds."""
        value = self.any(key)
        if value is None:
            return default
        numeric = isinstance(value, int | float) and not isinstance(value, bool)
        if numeric and least <= value <= most:
            return float(value)
        self.report(key, expected(describe(value), f"a number from {least:g} to {most:g}"))
        return default

    def boolean(self, key: str, default: bool) -> bool:
        """Return the boolean of ``key``, ``default`` where it is missing or of another type."""
        value = self.any(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.report(key, expected(describe(value), "a boolean"))
        return default

    def names(self) -> tuple[str, ...]:
        """Return all keys of the table, whatever they are."""
        return tuple(self._value)

    def texts(self, key: str, *, secret: bool = False) -> list[str] | None:
        """Return an array of strings, not empty; None where the key is missing.

        Values of a ``secret`` one are never shown.
        """
        value = self.any(key)
        if value is None:
            return None
        if not isinstance(value, list) or not value:
            found = _type_of(value) if secret else describe(value)
            found = "an empty array" if value == [] else found
            self.report(key, expected(found, "an array of strings"))
            return None
        for number, item in enumerate(value):
            if not isinstance(item, str):
                found = _type_of(item) if secret else describe(item)
                self.report(f"{key}[{number}]", expected(found, "a string"))
        return [item for item in value if isinstance(item, str)]

    def table(self, key: str, *, required: bool = False) -> "Table":
        """Return a table below this one."""
        value = self.any(key)
        if value is None and required:
            self._missing[key] = expected("nothing", "a table")
            return _Silent(self.path(key))
        if value is not None and not isinstance(value, dict):
            self.report(key, expected(_type_of(value), "a table"))
            return _Silent(self.path(key))
        return Table(value or {}, self.path(key), self._problems)

    def tables(self, key: str) -> list["Table"]:
        """Return the tables of an array; there must be one at least."""
        value = self.any(key)
        if value is None or value == []:
            self._missing[key] = f"expected at least one [[{key}]] table"
            return []
        if not isinstance(value, list):
            self.report(key, expected(_type_of(value), f"[[{key}]] tables"))
            return []
        out = []
        for number, item in enumerate(value):
            path = f"{key}[{number}]"
            if isinstance(item, dict):
                out.append(Table(item, self.path(path), self._problems))
            else:
                self.report(path, expected(_type_of(item), "a table"))
        return out

    def done(self) -> None:
        """Report keys that nobody asked for, and required ones that are missing.

        There is one problem where the first is the second with a typo.
        """
        candidates = sorted(self._asked)
        for key in self._value:
            if key in candidates:
                continue
            if not _PLAIN.fullmatch(key):
                self.report("?", "unknown key, not a plain word: look for a misplaced quote")
                continue
            near = [
                each
                for each in CALLED_ELSEWHERE.get(key, ())
                if each in self._asked and each not in self._value
            ] or difflib.get_close_matches(key, candidates, 1, 0.5)
            hint = f'did you mean "{near[0]}"?' if near else f"known here: {', '.join(candidates)}"
            self.report(key, f"unknown key ({hint})")
            if near:
                self._missing.pop(near[0], None)
        for key, problem in self._missing.items():
            self.report(key, problem)


class _Silent(Table):
    """Stands for a table that is missing or none: its absence was reported already."""

    def __init__(self, path: str) -> None:
        super().__init__({}, path, [])


def expected(found: str, what: str) -> str:
    """Return the words for a value of the wrong kind."""
    return f"found {found}, expected {what}"


def one_of(choices: Sequence[str]) -> str:
    """Return the words for a string that is one of ``choices``, any string where there are none."""
    if not choices:
        return "a string"
    return "one of " + ", ".join(f'"{choice}"' for choice in choices)


def describe(value: Any) -> str:
    """Return what a value is, with the value where it is a scalar."""
    if isinstance(value, dict | list):
        return _type_of(value)
    shown = repr(value)
    return f"{_type_of(value)} ({shown if len(shown) <= SHOWN else shown[:SHOWN] + '...'})"


def _type_of(value: Any) -> str:
    return next((text for kind, text in _TYPES.items() if isinstance(value, kind)), "a date")
