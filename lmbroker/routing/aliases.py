"""Alias -> targets: which alias a name leads to, and what may be sent where. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from lmbroker import envelope
from lmbroker.call import (
    Backend,
    Call,
    Dialect,
    Mode,
    Operation,
    Target,
    in_dialect,
    in_second_dialect,
)
from lmbroker.errors import Refused
from lmbroker.routing.balancing import Strategy
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.routing.retries import Retries
from lmbroker.translation.dialects.catalog import ADAPTERS

ANY = "*"
"""At the end of an alias it stands for any rest of a name, in a target's model for the name asked
for."""

MODEL = "{model}"
"""The place of the name asked for in a target's model."""


LACKING = frozenset({"tools_with_reasoning", "tool_result_images"})
"""Fields of a profile that make a call go to a backend in its second dialect
(``workflows.second_dialect``)."""


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """The targets and rules to which an alias leads."""

    name: str
    """The alias, which clients ask for."""
    targets: tuple[Target, ...]
    mode: Mode = "default"
    profile: Mapping[str, Any] = {}
    """Fields of ``Profile`` that were configured for all targets."""
    expose_limits: bool = False
    """Clients may see how much of its rate limits a backend has left."""
    strategy: Strategy = "ordered"
    weights: tuple[float, ...] = ()
    """The weight of each target; none given: all alike."""
    keys: Mapping[str, tuple[Backend, ...]] = {}
    """Each backend that has several keys, by its name: once per key, each with its own
    ``credential_ref``."""
    sticky: tuple[str, ...] | None = None
    """The sources of the sticky key (``sticky_key``): calls with the same key go to the same
    target. None: the calls of a conversation do; (): none do."""
    retries: Retries = Retries()
    request_limits: RequestLimits | None = None
    """The maxima that a call may ask for."""

    def overrides(self, target: Target) -> Mapping[str, Any]:
        """Return the configured profile fields of ``target``, its own before those of the alias.

        What they say that the first dialect lacks says nothing of the second one.
        """
        fields = {**self.profile, **target.profile} if target.profile else self.profile
        if fields and in_second_dialect(target.backend):
            return {name: value for name, value in fields.items() if name not in LACKING}
        return fields

    def weight(self, at: int) -> float:
        """Return the weight of the target at this position."""
        return self.weights[at] if self.weights else 1.0

    def keyed(self, backend: Backend) -> tuple[Backend, ...]:
        """Return ``backend`` once per key that it has."""
        return self.keys.get(backend.name) or (backend,)


LONG_CONTEXT = "[1m]"
"""The suffix of a model's name that asks for the long context window, as Claude Code writes it."""


class Aliases:
    """All aliases of a configuration, as names are looked up in them.

    ``default`` is the alias for names that lead nowhere else, "" for none. Raises ValueError for
    two aliases of one name and for a default that is none.
    """

    def __init__(self, routes: Iterable[Route], default: str = "") -> None:
        self.exact: dict[str, Route] = {}
        for route in routes:
            if route.name in self.exact:
                raise ValueError(f"two aliases are called {route.name!r}")
            self.exact[route.name] = route
        if default and default not in self.exact:
            raise ValueError(f"the default alias {default!r} does not exist")
        prefixes = [(name.removesuffix(ANY), route) for name, route in self.exact.items()]
        self.prefixes = tuple(
            sorted(
                ((prefix, route) for prefix, route in prefixes if prefix != route.name),
                key=lambda pair: -len(pair[0]),
            )
        )
        self.default = self.exact.get(default)

    def find(self, name: str) -> Route | None:
        """Return the alias that a model name leads to, None where that is nowhere.

        The alias of that very name wins, then that of the name without ``[1m]``, then the longest
        beginning (``claude-*``), ``*`` last of them, then the default.
        """
        route = self.exact.get(name)
        if route is not None:
            return route
        if name.endswith(LONG_CONTEXT):
            return self.find(name[: -len(LONG_CONTEXT)])
        for prefix, route in self.prefixes:
            if name.startswith(prefix):
                return route
        return self.default

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Aliases) and (self.exact, self.default) == (
            other.exact,
            other.default,
        )

    __hash__ = None  # type: ignore[assignment]


def asked_plainly(call: Call, aliases: Aliases) -> Call:
    """Return ``call`` with the model's name alone, where ``[1m]`` stands behind it.

    It stays where it is a part of an alias. What it means is remembered.
    """
    if not call.asked.endswith(LONG_CONTEXT) or call.asked in aliases.exact:
        return call
    name = call.asked[: -len(LONG_CONTEXT)]
    return msgspec.structs.replace(call, asked=name, long_context=True) if name else call


def named(target: Target, asked: str) -> Target:
    """Return ``target`` with its model's name as the backend shall see it.

    ``asked`` is the name that the client asked for.
    """
    if target.model == ANY:
        return msgspec.structs.replace(target, model=asked, named_by_client=True)
    if MODEL in target.model:
        model = target.model.replace(MODEL, asked)
        return msgspec.structs.replace(target, model=model, named_by_client=True)
    return target


def keeps_names(target: Target) -> bool:
    """Return whether each name that is asked for is a name of its own at the backend."""
    return target.model == ANY or target.model.count(MODEL) == 1


def asked_for(target: Target, model: str) -> str | None:
    """Return the reverse of ``named``, for a target that keeps names.

    What to ask for so that the backend sees ``model``; None where there is nothing.
    """
    if target.model == ANY:
        return model
    before, _, after = target.model.partition(MODEL)
    fits = model.startswith(before) and model.endswith(after)
    asked = model[len(before) : len(model) - len(after)] if fits else ""
    return asked or None


def for_client(route: Route, dialect: Dialect) -> Route:
    """Return ``route`` for a client of ``dialect``.

    Backends that can also be called in that dialect are called in it.
    """
    if not any(target.backend.also == dialect for target in route.targets):
        return route

    def called(backend: Backend) -> Backend:
        return in_dialect(backend, dialect) if backend.also == dialect else backend

    return msgspec.structs.replace(
        route,
        targets=tuple(
            msgspec.structs.replace(target, backend=called(target.backend))
            for target in route.targets
        ),
        keys={name: tuple(map(called, backends)) for name, backends in route.keys.items()},
    )


def serving(route: Route, operation: Operation) -> Route:
    """Return ``route`` with only those targets whose dialect has ``operation``, maybe none."""
    if operation == "chat":
        return route  # all of them have it
    return only(route, lambda target: has(target, operation))


def only(route: Route, kept_by: Callable[[Target], bool]) -> Route:
    """Return ``route`` with those of its targets only that ``kept_by`` wants, maybe none."""
    kept = [at for at, target in enumerate(route.targets) if kept_by(target)]
    if len(kept) == len(route.targets):
        return route
    return msgspec.structs.replace(
        route,
        targets=tuple(route.targets[at] for at in kept),
        weights=tuple(route.weight(at) for at in kept),
    )


def has(target: Target, operation: Operation) -> bool:
    """Return whether the dialect of a target's backend has ``operation``."""
    return operation in ADAPTERS[target.backend.dialect].facts.paths


def check_memory(route: Route, call: Call) -> None:
    """Raise Refused for a call that builds on what a backend may not remember.

    It remembers an earlier call, which may have come to another backend, or with another key
    (translation.md 8.5).
    """
    needs_memory = ADAPTERS[call.dialect].facts.needs_memory
    if needs_memory is None:
        return
    fields = call.fields if call.fields is not None else envelope.read(call.body).fields
    field = needs_memory(fields)
    if not field:
        return
    backends = {target.backend.name for target in route.targets}
    if len(backends) != 1 or len(route.keyed(route.targets[0].backend)) != 1:
        raise Refused(
            "invalid_request",
            f"{field!r} builds on what one backend remembers, and model {call.asked!r} leads to "
            "several backends or keys: send the whole conversation instead",
            param=field,
            code="unsupported_parameter",
        )


def sticky_key(route: Route, call: Call) -> str:
    """Return the value whose calls stay together, "" where there is none.

    Each of ``route.sticky`` names one place, the first that has a value wins: ``caller``,
    ``header:NAME``, or ``body:NAME`` for a string in the body (``body:metadata.user_id`` for one
    inside an object). It is hashed, never logged or sent.
    """
    for place in route.sticky or ():
        kind, _, name = place.partition(":")
        value: object = None
        if kind == "caller":
            value = call.caller.name
        elif kind == "header":
            value = call.headers.get(name.lower())
        elif kind == "body":
            top, *steps = name.split(".")
            value = envelope.read(call.body).value(top)
            for step in steps:
                value = value.get(step) if isinstance(value, dict) else None
        if isinstance(value, str) and value:
            return f"{place}={value}"
    return ""


def unknown_model(name: str) -> Refused:
    """Return the answer to a model name that leads nowhere."""
    return Refused(
        "not_found",
        f"model {name!r} does not exist or is not available to this key",
        param="model",
        code="model_not_found",
    )
