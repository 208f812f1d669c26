"""The list of models, for clients and of backends (translation.md 7.1). Pure."""

from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import quote

import msgspec

from lmbroker import envelope, headers
from lmbroker.call import Caller, Dialect, Target
from lmbroker.errors import Refused
from lmbroker.json_text import JSON
from lmbroker.routing.aliases import ANY, Aliases, Route, asked_for, keeps_names, named
from lmbroker.routing.keys import may_use
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.model_lists import ModelListFacts, ShownModel, read_list
from lmbroker.translation.profiles.lookup import profile
from lmbroker.workflows.contract import Outbound

PATH = "/v1/models"
"""The path on which the clients of most dialects ask for models."""

MAX_LIMIT = 1000
"""The maximum of models on one page."""


def list_paths() -> tuple[str, ...]:
    """Return the paths on which clients of all dialects ask for models."""
    return tuple(dict.fromkeys(each.facts.models.client_path for each in ADAPTERS.values()))


def _shown_on(path: str) -> list[ModelListFacts]:
    """Return how models are listed by the dialects whose clients ask for them on ``path``."""
    every = (adapter.facts.models for adapter in ADAPTERS.values())
    return [facts for facts in every if facts.client_path == path]


def entry(alias: Route, created: int, path: str = PATH) -> JSON:
    """Return the object of one model, for all dialects whose clients ask for models on ``path``.

    ``created`` is in unix seconds; the limits are those that the profile of the alias's first
    target knows.
    """
    return _entry(_shown(alias, created), _shown_on(path))


def _shown(alias: Route, created: int) -> ShownModel:
    target = alias.targets[0]
    backend = target.backend
    known = profile(backend.dialect, target.model, alias.overrides(target), host=backend.host)
    return ShownModel(
        name=alias.name, created=created, context=known.context, max_output=known.max_output
    )


def _entry(model: ShownModel, dialects: Sequence[ModelListFacts]) -> JSON:
    fields: JSON = {}
    for facts in dialects:
        fields |= facts.entry(model)
    return fields


def page(
    aliases: Mapping[str, Route], created: int, query: Mapping[str, str], path: str = PATH
) -> JSON:
    """Return a page of the list of models, in the order of ``aliases``.

    ``query`` may hold ``limit`` (1..1000), ``after_id`` and ``before_id``.

    Raises Refused for a limit that is none.
    """
    chosen = list(aliases)
    if query.get("after_id") in chosen:
        chosen = chosen[chosen.index(query["after_id"]) + 1 :]
    if query.get("before_id") in chosen:
        chosen = chosen[: chosen.index(query["before_id"])]
    limit = len(chosen)
    if "limit" in query:
        text = query["limit"]
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:5]) <= MAX_LIMIT:
            raise Refused(
                "invalid_request",
                f"'limit' must be an integer from 1 to {MAX_LIMIT}",
                param="limit",
                code="invalid_value",
            )
        limit = int(text[:5])
    shown = [_shown(aliases[name], created) for name in chosen[:limit]]
    dialects = _shown_on(path)
    entries = [_entry(model, dialects) for model in shown]
    fields: JSON = {}
    for facts in dialects:
        fields |= facts.page(shown, len(chosen) > len(shown))
        fields.setdefault(facts.key, entries)
    return fields


# What backends list.

MODELS_OF_A_BACKEND = 2000
"""The maximum of models that are known of one backend: the first ones of its list."""

OBJECTS = 50_000
"""The maximum of objects in one page of a backend's list: ten thousand take up to 2 ms. Models of
OpenRouter have five each."""

_NOT_THERE = frozenset({"not_found", "model_not_found", "404"})
"""Words in ``fallback_on`` that make a call for a missing model go on to the next target."""


def request(dialect: Dialect, after: str = "") -> Outbound:
    """Return the request that asks a backend for its models.

    ``after`` is the last one of the page before, "" for the first page.
    """
    facts = ADAPTERS[dialect].facts
    asking = facts.models
    query = asking.query
    if after and asking.after:
        query += f"&{asking.after}={quote(after, safe='')}"
    return Outbound(
        method="GET",
        path=facts.paths["models"],
        query=query.encode(),
        headers=headers.to_list(facts.headers),
    )


def decode(body: bytes, dialect: Dialect) -> tuple[tuple[str, ...], str]:
    """Return the models that a backend lists, and the last one where a further page follows.

    Only models that clients may ask for count. Raises ValueError for a body that is no list, or one
    of more than ``OBJECTS`` objects.
    """
    if body.count(b"{") > OBJECTS:
        raise ValueError("a list of too many objects")
    facts = ADAPTERS[dialect].facts.models
    names, last = (facts.read or read_list)(body)
    return tuple(filter(envelope.can_be_asked_for, names)), last if facts.after else ""


def patterns(aliases: Aliases) -> Iterator[tuple[Route, tuple[Target, ...]]]:
    """Yield the aliases that stand for other names than their own, each with its targets.

    Of these only the ones that keep such names count, maybe none.
    """
    for name, route in aliases.exact.items():
        if name.endswith(ANY) or route is aliases.default:
            targets = tuple(target for target in route.targets if keeps_names(target))
            if targets:
                yield route, targets


def offered(
    aliases: Aliases, lists: Mapping[str, Sequence[str]], caller: Caller
) -> dict[str, Route]:
    """Return the names that ``caller`` may ask for, as far as they are known, each with its route.

    They are the aliases, and in the place of a pattern the models behind it. ``lists`` has the
    models of each backend that listed them.

    Of several targets any may get a call: what one of them lacks is left out, unless
    ``fallback_on`` says that it is then asked of the next.
    """
    behind = {route.name: _behind(route, targets, lists) for route, targets in patterns(aliases)}
    found: dict[str, Route] = {}
    for name, route in aliases.exact.items():
        if not name.endswith(ANY) and may_use(caller, name):
            found[name] = route
        for each in behind.get(name, ()):
            if each not in found and _leads(each, route, aliases) and may_use(caller, name, each):
                targets = tuple(named(target, each) for target in route.targets)
                found[each] = msgspec.structs.replace(route, name=each, targets=targets)
    return found


def _behind(
    route: Route, targets: Sequence[Target], lists: Mapping[str, Sequence[str]]
) -> Sequence[str]:
    known = [
        [asked for model in lists[target.backend.name] if (asked := asked_for(target, model))]
        for target in targets
        if target.backend.name in lists
    ]
    every = list(dict.fromkeys(name for names in known for name in names))
    if not _NOT_THERE.isdisjoint(route.retries.fallback_on):
        return every
    sets = [set(names) for names in known]
    return [name for name in every if all(name in names for names in sets)]


def _leads(name: str, route: Route, aliases: Aliases) -> bool:
    """Return whether a call for ``name`` goes by ``route``, as a name that is no alias."""
    return name not in aliases.exact and aliases.find(name) is route
