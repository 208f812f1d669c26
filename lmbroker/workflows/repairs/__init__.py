"""Repairs requests that a backend refused (translation.md 0.4). Pure.

A repair is a change of the model's profile, with which the request is encoded anew. It changes
only what the broker itself placed or may change: the conversation and the tools stay. What the
words mean is known by ``translation.refusals.sentences``, which fields they name by
``named_fields``; the other modules say what to do about it.
"""

from collections.abc import Callable, Iterable
from typing import Any

from lmbroker.errors import ErrorInfo
from lmbroker.translation.profiles.profile import Profile
from lmbroker.translation.refusals.sentences import meanings
from lmbroker.translation.refusals.wordings import NEVER_CODES, NEVER_KINDS, NEVER_WORDS
from lmbroker.workflows.learned_rejections import Repair, together
from lmbroker.workflows.repairs.case import Case, Found
from lmbroker.workflows.repairs.fields import by_name
from lmbroker.workflows.repairs.limits import limits, shared_window, stops
from lmbroker.workflows.repairs.named_fields import Fields, named, plain
from lmbroker.workflows.repairs.schemas import schemas
from lmbroker.workflows.repairs.shapes import shapes

__all__ = ["repair_of"]

_LISTS = ("omit", "omit_schema_keywords", "ranges")
"""List fields of a profile to which a refusal adds, instead of replacing them."""


def repair_of(
    error: ErrorInfo, body: dict[str, Any], profile: Profile, prompt: Callable[[], int]
) -> Repair | None:
    """Return the repair of a request whose ``body`` was refused.

    It is None where none is possible: the words blame nothing of it, or what only the client may
    change. ``prompt`` counts the input tokens of the request, by estimate.
    """
    if error.kind in NEVER_KINDS or (error.code or "").lower() in NEVER_CODES:
        return None
    if error.kind == "context_length":
        case = Case(text=error.message, fields=Fields(body), profile=profile, prompt=prompt)
        return _put_together(shared_window(case), profile)
    text = plain(error.message)
    if NEVER_WORDS.search(text) and not meanings(text, ("summary",)):
        return None
    if error.kind not in ("invalid_request", "not_found", "unsupported", "server", "too_large"):
        return None
    case = Case(text=text, fields=Fields(body), profile=profile, prompt=prompt)
    fields = named(error.message, error.param, error.code, case.fields)
    found = [*shapes(case), *limits(case, fields), *stops(case), *schemas(case)]
    if not found or any(kind in ("effort", "limit") for kind, *_ in found):
        done = {parameter for _, parameter, _, _ in found}
        found += [each for each in by_name(case, fields) if each[1] not in done]
    return _put_together(found, profile)


def _put_together(found: Iterable[Found], profile: Profile) -> Repair | None:
    """Return all repairs as one, without those that change nothing."""
    parameters: dict[str, None] = {}
    kinds: set[str] = set()
    lasting: dict[str, Any] = {}
    once: dict[str, Any] = {}
    for kind, parameter, overrides, only_now in found:
        new = {name: each for name, each in overrides.items() if _changes(profile, name, each)}
        now = {name: each for name, each in only_now.items() if _changes(profile, name, each)}
        if new or now:
            parameters.setdefault(parameter)
            kinds.add(kind)
            lasting, once = together(lasting, new), together(once, now)
    if not kinds:
        return None
    lasting, once = _added(profile, lasting), _added(profile, once)
    return Repair(
        parameters=tuple(parameters), kinds=frozenset(kinds), overrides=lasting, once=once
    )


def _changes(profile: Profile, name: str, value: Any) -> bool:
    known = getattr(profile, name)
    if name in _LISTS:
        return not set(value) <= set(known)
    return bool(known != value)


def _added(profile: Profile, overrides: dict[str, Any]) -> dict[str, Any]:
    """Return ``overrides`` whose lists include what the profile has in them already.

    An override replaces the whole list.
    """
    added: dict[str, Any] = {}
    for name in _LISTS:
        if name in overrides:
            added[name] = tuple(dict.fromkeys((*getattr(profile, name), *overrides[name])))
    return {**overrides, **added}
