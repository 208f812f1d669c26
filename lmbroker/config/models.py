"""The models of the configuration file: aliases, where they lead, and by which rules."""

from typing import Any, Literal, get_args

import msgspec

from lmbroker.call import Mode, Target, Timeouts
from lmbroker.config.backends import PLACE, Backends, Placed
from lmbroker.config.fields import read_fields, read_settings
from lmbroker.config.prices import read_price
from lmbroker.config.settings import ModelTable, NamedTargetTable, TargetTable
from lmbroker.config.table import Table, describe
from lmbroker.routing.aliases import Route
from lmbroker.routing.request_limits import RequestLimits
from lmbroker.routing.retries import Retries
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.profile import Profile
from lmbroker.usage import Price

MODES = get_args(Mode)

NAME_LENGTH = 256
"""Longest alias or model name, in characters: what a client may ask for (``envelope``)."""

NOT_IN_RETRIES = ("unsafe", "fallback_on")
"""Rules of retries that have keys of their own, beside the table."""

_STICKY = ("caller", "header:", "body:")


class _Read(msgspec.Struct):
    """A target as it was read, with what it has of its own."""

    placed: Placed
    model: str
    weight: float
    profile: dict[str, Any]
    price: Price | None


class Models:
    """Reads the ``[[models]]`` tables into routes.

    ``timeouts``, ``retries`` and ``request_limits`` hold where a model says nothing else.
    """

    def __init__(
        self,
        backends: Backends,
        timeouts: Timeouts,
        retries: Retries,
        request_limits: RequestLimits,
    ) -> None:
        self._backends = backends
        self._timeouts = timeouts
        self._retries = retries
        self._request_limits = request_limits
        self._alias_paths: dict[str, str] = {}

    def read(self, root: Table) -> dict[str, Route]:
        """Return the routes of ``[[models]]`` by their aliases."""
        routes = [self._model(table) for table in root.tables("models")]
        return {route.name: route for route in routes if route is not None}

    def _model(self, table: Table) -> Route | None:
        settings = read_settings(table, ModelTable, ("type",))
        name = self._alias(table, settings.alias)
        profile = read_fields(table.table("profile"), Profile)
        timeouts = read_fields(table.table("timeouts"), Timeouts)
        sticky = self._sticky(table, settings.sticky)
        retries = self._rules(table, settings)
        request_limits = msgspec.structs.replace(
            self._request_limits, **read_fields(table.table("limits"), RequestLimits)
        )
        price = read_price(table)
        several = table.has("targets")
        read = self._several(table, name) if several else self._single(table, name)
        table.done()
        if not name or not read:
            return None
        targets = [
            Target(
                backend=each.placed.backend,
                model=each.model,
                timeouts=msgspec.structs.replace(
                    self._timeouts, **{**each.placed.timeouts, **timeouts}
                ),
                profile=each.profile,
                price=each.price or price,
            )
            for each in read
        ]
        return Route(
            name=name,
            targets=tuple(targets),
            weights=tuple(each.weight for each in read) if several else (),
            keys={
                each.placed.backend.name: each.placed.keyed for each in read if each.placed.keyed
            },
            mode=settings.mode,
            profile=profile,
            expose_limits=settings.expose_limits,
            strategy=settings.strategy,
            sticky=sticky,
            retries=retries,
            request_limits=None if request_limits == RequestLimits() else request_limits,
        )

    def _alias(self, table: Table, written: str) -> str:
        name = _name(table, "alias", written)
        used = self._alias_paths.setdefault(name, table.path("alias"))
        if name and used != table.path("alias"):
            table.report("alias", f"found {describe(name)}, which is {used} already")
        if "*" in name[:-1]:
            table.report("alias", f"found {describe(name)}: a * may stand at the end only")
        return name

    def _single(self, table: Table, alias: str) -> list[_Read]:
        """Return the one target of a model that names its backend itself."""
        dialect = table.text("type", required=True, choices=tuple(ADAPTERS))
        held = table.table("target", required=True)
        settings = read_settings(held, TargetTable, PLACE)
        model = _name(held, "model", settings.model or alias)
        profile = read_fields(held.table("profile"), Profile)
        price = read_price(held)
        placed = self._backends.inline(held, settings, dialect)
        held.done()
        if placed is None or not model:
            return []
        return [_Read(placed, model, 1.0, profile, price)]

    def _several(self, table: Table, alias: str) -> list[_Read]:
        if table.has("target"):
            table.report("targets", "cannot stand beside target: use the one or the other")
            table.any("target")
        if table.has("type"):
            table.report("type", "the type of named backends stands with them")
            table.any("type")
        found = []
        for target in table.tables("targets"):
            settings = read_settings(target, NamedTargetTable)
            name = settings.backend
            model = _name(target, "model", settings.model or alias)
            profile = read_fields(target.table("profile"), Profile)
            price = read_price(target)
            target.done()
            placed = self._backends.named.get(name)
            if placed is None and name:
                known = ", ".join(self._backends.named) or "none"
                target.report(
                    "backend", f"found {describe(name)}, expected one of [[backends]]: {known}"
                )
            if placed is not None and model:
                found.append(_Read(placed, model, settings.weight, profile, price))
        return found

    def _sticky(
        self, table: Table, places: tuple[str, ...] | Literal[False] | None
    ) -> tuple[str, ...] | None:
        if places is False:
            return ()
        for number, place in enumerate(places or ()):
            kind, colon, name = place.partition(":")
            if kind + colon not in _STICKY or bool(colon) != bool(name):
                table.report(
                    f"sticky[{number}]",
                    f'found {describe(place)}, expected "caller", "header:NAME" or "body:NAME"',
                )
        return places

    def _rules(self, table: Table, settings: ModelTable) -> Retries:
        own = read_fields(table.table("retries"), Retries, NOT_IN_RETRIES)
        return msgspec.structs.replace(
            self._retries,
            **own,
            unsafe=settings.retry_unsafe,
            fallback_on=frozenset(settings.fallback_on or ()),
        )


def _name(table: Table, key: str, name: str) -> str:
    """Return ``name``, the value of ``key``.

    A problem where it cannot stand in a request and a header.
    """
    if len(name) > NAME_LENGTH or not name.isprintable():
        table.report(
            key,
            f"found {describe(name)}, expected at most {NAME_LENGTH} characters, all of them "
            "visible",
        )
    return name
