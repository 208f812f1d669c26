"""Looks up the profile of a model at a backend.

It consists of what is known of the model's family, then of the host that serves it, then what the
configuration says. A later source wins.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal

import msgspec

from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.profile import Profile, ProfileTable, normalised

Source = Literal["built in", "host", "configured", "target", "learned"]
"""Where a value of a profile comes from; ``configured`` stands at the alias."""

_AFTER_A_VERSION = re.compile(r"(?!\d)(?!-\d{1,5}(?!\d))")


def profile(
    dialect: str, model: str, overrides: Mapping[str, Any] | None = None, *, host: str = ""
) -> Profile:
    """Return the profile of ``model`` at a backend on ``host`` that speaks ``dialect``.

    ``overrides`` win.

    Raises TypeError for an override that names no field.
    """
    base = _built_in(dialect, model, host)
    return msgspec.structs.replace(base, **_fields(overrides)) if overrides else base


def explained(
    dialect: str, model: str, host: str, layers: Iterable[tuple[Source, Mapping[str, Any]]] = ()
) -> Iterator[tuple[str, Any, Source]]:
    """Yield each field of the profile in force with its value and the source of that value.

    A later one of ``layers`` wins over an earlier one.
    """
    table = ADAPTERS[dialect].facts.profiles
    by_host = _by_host(table, model, host)
    sources: dict[str, Source] = dict.fromkeys(by_host, "host")
    found = _by_family(table, model) | by_host
    for source, fields in layers:
        found |= _fields(fields)
        sources |= dict.fromkeys(fields, source)
    values = msgspec.structs.replace(table.unknown, **found)
    for name in Profile.__struct_fields__:
        yield name, getattr(values, name), sources.get(name, "built in")


def _fields(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``overrides`` as values of fields.

    A configured ``reasoning_control`` is also the way to turn reasoning off.
    """
    fields = {k: tuple(v) if isinstance(v, list) else v for k, v in overrides.items()}
    if "reasoning_control" in fields:
        return {"reasoning_off": (), "template_switches": ("enable_thinking",), **fields}
    return fields


@lru_cache(maxsize=1024)
def _built_in(dialect: str, model: str, host: str) -> Profile:
    table = ADAPTERS[dialect].facts.profiles
    known = _by_family(table, model) | _by_host(table, model, host)
    return msgspec.structs.replace(table.unknown, **known)


def _by_family(table: ProfileTable, model: str) -> dict[str, Any]:
    """Return what is known of the family that ``model`` belongs to."""
    name = normalised(model)
    for pattern, fields in table.families:
        found = re.match(pattern, name)
        if found and (not table.whole_versions or _AFTER_A_VERSION.match(name, found.end())):
            return dict(fields)
    return {}


def _by_host(table: ProfileTable, model: str, host: str) -> dict[str, Any]:
    """Return what is known of a host that serves models of many families."""
    if not host or not table.hosts:
        return {}
    name, known = normalised(model), f".{host.lower()}"
    for ending, pattern, fields in table.hosts:
        if known.endswith(f".{ending}") and re.match(pattern, name):
            return dict(fields)
    return {}
