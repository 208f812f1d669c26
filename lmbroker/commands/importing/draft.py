"""A configuration while it is made of another program's, and what of that could not be carried."""

import re
from collections.abc import Container, Mapping
from typing import Any
from urllib.parse import urlsplit

import toml

from lmbroker.config.endpoints import api_root, parse_url

_OPERATION = re.compile(r"/(?:chat/completions|messages|responses|completions|embeddings)/*$")
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_.-]+")


class Draft:
    """The tables of a configuration; ``left`` names each key that could not be carried, and why."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.top: dict[str, Any] = {}
        self._backends: dict[str, dict[str, Any]] = {}
        self._models: dict[str, dict[str, Any]] = {}

    def leave(self, path: str, why: str) -> None:
        """Note that the key at ``path`` was not carried."""
        line = f"{path}: {why}"
        if line not in self.left:
            self.left.append(line)

    def leave_others(self, path: str, table: Mapping[str, Any], known: Container[str]) -> None:
        """Note all keys of a table that nobody has looked at."""
        for key in table:
            if key not in known:
                self.leave(f"{path}.{key}" if path else str(key), "no key of LMBroker is like it")

    def backend(self, wanted: str, table: dict[str, Any]) -> str:
        """Return the name of the backend with these keys, made anew where there is none yet."""
        for name, known in self._backends.items():
            if known == table:
                return name
        base = _NOT_IN_NAMES.sub("-", wanted).strip("-")[:50] or "backend"
        name, number = base, 1
        while name in self._backends:
            number += 1
            name = f"{base}-{number}"
        self._backends[name] = table
        return name

    def model(self, alias: str) -> dict[str, Any]:
        """Return the table of an alias, made anew where there is none yet."""
        return self._models.setdefault(alias, {"alias": alias, "targets": []})

    def has(self, alias: str) -> bool:
        """Return whether there is such an alias."""
        return alias in self._models

    def targets(self, alias: str) -> list[dict[str, Any]]:
        """Return the targets of an alias, none where there is no such alias."""
        found: list[dict[str, Any]] = self._models.get(alias, {}).get("targets", [])
        return found

    def aliases(self) -> tuple[str, ...]:
        """Return the names of all aliases."""
        return tuple(self._models)

    def text(self) -> str:
        """Return the configuration as TOML."""
        tables = [
            self.top,
            *({"backends": [{"name": name, **table}]} for name, table in self._backends.items()),
            *({"models": [table]} for table in self._models.values()),
        ]
        return "\n".join(toml.dumps(_plain(table)).strip() + "\n" for table in tables if table)


def place(url: str) -> tuple[dict[str, str], str]:
    """Return the keys of a backend for the URL of its API or of one operation, or what is wrong.

    A URL without a version that names an operation is the exact root of that.
    """
    base = _OPERATION.sub("", url.strip().rstrip("/"))
    problem = parse_url(base)[1]
    if problem:
        return {}, problem
    if base != url.rstrip("/") and api_root(base) != base and urlsplit(base).path != "/v1":
        return {"root": base}, ""
    return {"url": base}, ""


def _plain(value: Any) -> Any:
    """Return ``value`` with ``?`` for control characters, of which the writer of TOML has no form.

    No name has any that a configuration may hold.
    """
    if isinstance(value, str):
        return "".join(each if each.isprintable() or each in "\n\t" else "?" for each in value)
    if isinstance(value, dict):
        return {_plain(key): _plain(held) for key, held in value.items()}
    return [_plain(each) for each in value] if isinstance(value, list) else value
