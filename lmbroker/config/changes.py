"""The differences between two configurations, in names only, for the log of a reload."""

import hmac
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from lmbroker.call import Backend
from lmbroker.config.config import Config
from lmbroker.routing.aliases import Route
from lmbroker.routing.keys import Key
from lmbroker.routing.limit_rules import LimitRule
from lmbroker.secret import Secret

SHOWN = 20
"""The maximum of names of one kind in a line."""

_SECTIONS = ("timeouts", "limits", "retries", "breaker")
_SERVER = ("open", "drain_timeout", "drain_delay", "cors_origins", "engine", "workers", "control")
_AT_START = (
    "server.engine",
    "server.workers",
    "server.control",
    "log_format",
    "log_files",
    "limits.store",
)
"""Settings that are read at the start only."""

_TOP = ("log_level", "log_format", "log_files", "default")


def changes(before: Config, after: Config) -> str:
    """Return what was added, removed and changed; "no changes" where there is nothing.

    Aliases, backends and keys stand there by their names, endpoints as they are written, all else
    by its key.
    """
    found = []
    for word, kind, old, new in (
        ("alias", "aliases", _aliases(before), _aliases(after)),
        ("backend", "backends", _backends(before), _backends(after)),
        ("limit rule", "limit rules", _limit_rules(before), _limit_rules(after)),
        ("key", "keys", _keys(before), _keys(after)),
        ("listener", "listeners", _listeners(before), _listeners(after)),
        ("setting", "settings", _settings(before), _settings(after)),
    ):
        for verb, names in (
            ("added", [name for name in new if name not in old]),
            ("removed", [name for name in old if name not in new]),
            ("changed", [n for n in new if n in old and not _same(old[n], new[n])]),
        ):
            if names:
                found.append(f"{verb} {word if len(names) == 1 else kind} {_listed(names)}")
    return "; ".join(found) or "no changes"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    shown = (f"{name} (at the next start)" if name in _AT_START else name for name in names[:SHOWN])
    return ", ".join(shown) + more


def _aliases(config: Config) -> Mapping[str, Any]:
    """Return each alias without what is compared elsewhere."""
    return {name: dict(_of_alias(route, config)) for name, route in config.aliases.items()}


def _of_alias(route: Route, config: Config) -> Iterator[tuple[str, Any]]:
    for name, value in msgspec.structs.asdict(route).items():
        if name not in ("targets", "keys", "retries", "request_limits"):
            yield name, value
    yield "retries", _own(route.retries, config.retries)
    yield (
        "request_limits",
        _own(route.request_limits, config.limits) if route.request_limits is not None else {},
    )
    for at, target in enumerate(route.targets):
        yield f"targets[{at}]", (target.backend.name, target.model)
        yield f"timeouts[{at}]", _own(target.timeouts, config.timeouts)
        yield f"profile[{at}]", target.profile


def _own(rules: msgspec.Struct, of_all: msgspec.Struct) -> Mapping[str, Any]:
    """Return the rules that differ from those of all."""
    fields = msgspec.structs.asdict(rules)
    return {name: value for name, value in fields.items() if value != getattr(of_all, name)}


def _backends(config: Config) -> Mapping[str, tuple[Backend, ...]]:
    """Return those that targets name, each once per key."""
    return {
        target.backend.name: route.keyed(target.backend)
        for route in config.aliases.values()
        for target in route.targets
    }


def _keys(config: Config) -> Mapping[str, Key]:
    return {key.name: key for key in config.keys}


def _limit_rules(config: Config) -> Mapping[str, LimitRule]:
    return {rule.name: rule for rule in config.limit_rules}


def _listeners(config: Config) -> Mapping[str, str]:
    server = config.server
    return dict.fromkeys(server.listen, "all") | dict.fromkeys(server.metrics_listen, "metrics")


def _settings(config: Config) -> Mapping[str, Any]:
    """Return every other key of the file with its value."""
    found: dict[str, Any] = {name: getattr(config, name) for name in _TOP}
    found["tracing"] = config.tracing
    found["limits.store"] = config.limit_store
    found |= {f"server.{name}": getattr(config.server, name) for name in _SERVER}
    for section in _SECTIONS:
        fields = msgspec.structs.asdict(getattr(config, section))
        found |= {f"{section}.{name}": value for name, value in fields.items()}
    return found


def _same(one: Any, other: Any) -> bool:
    """Return whether two values are alike, secrets among them: they refuse to be compared."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Secret):
        return hmac.compare_digest(one.reveal().encode(), other.reveal().encode())
    if isinstance(one, msgspec.Struct):
        return _same(msgspec.structs.asdict(one), msgspec.structs.asdict(other))
    if isinstance(one, Mapping):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, tuple | list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)
