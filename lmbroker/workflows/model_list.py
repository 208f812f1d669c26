"""``GET /v1/models``, asked by clients and of backends: one body that both official SDKs read
(translation.md 7.1). Pure."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from lmbroker import envelope, headers
from lmbroker.call import Alias, Caller, Dialect, Target
from lmbroker.errors import Refused
from lmbroker.routing.aliases import ANY, Aliases, Route, asked_for, keeps_names, named
from lmbroker.routing.keys import may_use
from lmbroker.translation.dialects.catalog import ADAPTERS
from lmbroker.translation.profiles.lookup import profile
from lmbroker.workflows.contract import Outbound

MAX_LIMIT = 1000


def entry(alias: Alias, created: int) -> dict[str, Any]:
    """One model, in both dialects at once. ``created`` is in unix seconds; the limits, in
    tokens, are those that the profile of the alias's first target knows."""
    target = alias.targets[0]
    backend = target.backend
    known = profile(backend.dialect, target.model, alias.overrides(target), host=backend.host)
    return {
        "id": alias.name,
        "object": "model",
        "created": created,
        "owned_by": "lmbroker",
        "type": "model",
        "display_name": alias.name,
        "created_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(created)),
        "lifecycle": "active",
        "max_input_tokens": known.context,
        "max_tokens": known.max_output,
        "capabilities": None,
        "line": None,
        "deprecated_at": None,
        "retires_at": None,
    }


def page(aliases: Mapping[str, Alias], created: int, query: Mapping[str, str]) -> dict[str, Any]:
    """The list of models, in the order of ``aliases``; ``query`` may hold ``limit`` (1..1000),
    ``after_id`` and ``before_id``.

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
    shown = chosen[:limit]
    return {
        "object": "list",
        "data": [entry(aliases[name], created) for name in shown],
        "has_more": len(chosen) > len(shown),
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }


# What backends list.

MODELS_OF_A_BACKEND = 2000
"""So many of them are known, the first ones."""

_NOT_THERE = frozenset({"not_found", "model_not_found", "404"})
"""Words in ``fallback_on`` with which a model that one target lacks is asked of the next."""


class _Model(msgspec.Struct):
    id: str = ""


class _Page(msgspec.Struct):
    data: list[_Model]
    has_more: bool | None = False
    last_id: str | None = None


_PAGE = msgspec.json.Decoder(_Page | list[_Model])


def request(dialect: Dialect, after: str = "") -> Outbound:
    """What asks a backend for its models; ``after`` is the last one of the page before. OpenAI's
    list has no pages."""
    facts = ADAPTERS[dialect].facts
    query = f"limit={MAX_LIMIT}" if dialect == "anthropic" else ""
    if after:
        query += f"&after_id={quote(after, safe='')}"
    return Outbound(
        method="GET",
        path=facts.paths["models"],
        query=query.encode(),
        headers=headers.to_list(facts.headers),
    )


def decode(body: bytes, dialect: Dialect) -> tuple[tuple[str, ...], str]:
    """The models that a backend lists and that may be asked for; and, where there is a next page,
    the last one of this. Raises ValueError for what is no list."""
    try:
        page = _PAGE.decode(body)
    except envelope.JSON_ERRORS:
        raise ValueError("no list of models") from None
    if isinstance(page, list):
        page = _Page(data=page)
    names = tuple(each.id for each in page.data if envelope.can_be_asked_for(each.id))
    more = dialect == "anthropic" and page.has_more
    return names, (page.last_id or "") if more else ""


def patterns(aliases: Aliases) -> Iterator[tuple[Route, tuple[Target, ...]]]:
    """The aliases that stand for other names than their own, each with those of its targets that
    keep these names; none where no target does."""
    for name, route in aliases.exact.items():
        if name.endswith(ANY) or route is aliases.default:
            targets = tuple(target for target in route.targets if keeps_names(target))
            if targets:
                yield route, targets


def offered(
    aliases: Aliases, lists: Mapping[str, Sequence[str]], caller: Caller
) -> dict[str, Alias]:
    """The names that ``caller`` may ask for, as far as they are known, each with where it leads:
    the aliases, and in the place of a pattern the models behind it. ``lists`` has the models of
    each backend that told them.

    Of several targets any may get a call: what one of them lacks is left out, unless
    ``fallback_on`` says that it is then asked of the next.
    """
    behind = {route.name: _behind(route, targets, lists) for route, targets in patterns(aliases)}
    found: dict[str, Alias] = {}
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
    """Whether a call for ``name`` goes by ``route``, as a name that is no alias."""
    return name not in aliases.exact and aliases.find(name) is route
