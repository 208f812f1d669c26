"""Keeps what refusals of backends showed: changes of a model's profile, for an hour.

See translation.md 0.4. ``repairs`` finds the change that a refusal calls for; here it is kept, per
backend and model. Pure: the time is an argument.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from lmbroker.call import Target
from lmbroker.errors import AttemptFailed, BackendRefused, Broken

SECONDS = 3600.0
"""How long a learned rejection holds, in seconds."""

MODELS = 1000
"""The maximum of models with learned rejections: where an alias ends with ``*``, clients make up
their names."""

PER_MODEL = 50
"""The maximum of learned rejections of one model; the oldest go first."""

REPAIRS = 2
"""How often one call is repaired."""

_GATHERED = frozenset({"omit", "omit_schema_keywords", "ranges"})
"""List fields of a profile to which a rejection adds, instead of replacing them."""


class Repair(msgspec.Struct, frozen=True, kw_only=True):
    """The change of a profile that a refusal calls for.

    ``parameters`` are the backend's names for what it refused, ``kinds`` what kinds of repair these
    are; ``overrides`` change the profile for the next hour, ``once`` for this call only.
    """

    parameters: tuple[str, ...]
    kinds: frozenset[str]
    overrides: Mapping[str, Any] = {}
    once: Mapping[str, Any] = {}

    def only(self, name: str) -> "Repair | None":
        """Return the repair reduced to its lasting change of one field of the profile.

        It is None where it does not change that field.
        """
        if name not in self.overrides:
            return None
        return msgspec.structs.replace(self, overrides={name: self.overrides[name]}, once={})

    def without(self, names: Iterable[str]) -> "Repair | None":
        """Return the repair without the profile's fields ``names``, None where nothing is left.

        The user has set those fields.
        """
        names = frozenset(names)
        if names.isdisjoint(self.overrides) and names.isdisjoint(self.once):
            return self
        kept = {name: value for name, value in self.overrides.items() if name not in names}
        once = {name: value for name, value in self.once.items() if name not in names}
        if not kept and not once:
            return None
        return msgspec.structs.replace(self, overrides=kept, once=once)


NO_COUNT = Repair(
    parameters=("count_tokens",),
    kinds=frozenset({"count_tokens"}),
    overrides={"counts_tokens": False},
)
"""The backend does not count tokens."""

_NOT_THERE = frozenset({404, 405, 501})


def counts_nothing(error: AttemptFailed) -> bool:
    """Return whether ``error`` shows that a backend cannot count tokens.

    That is so where it says so, or answered with something else, but not where it says that it has
    no such model.
    """
    if isinstance(error, Broken):
        return error.phase == "answer"
    if not isinstance(error, BackendRefused) or error.info.status not in _NOT_THERE:
        return False
    return "model" not in error.info.message.lower()


class LearnedRejections:
    """The rejections that are known now, per backend, dialect and model.

    Times are seconds of one clock.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[str, ...], list[tuple[float, Mapping[str, Any]]]] = {}

    def learn(self, target: Target, repair: Repair, now: float) -> None:
        """Remember what ``repair`` says of the model."""
        if not repair.overrides:
            return
        key = _key(target)
        if key not in self._known and len(self._known) >= MODELS:
            del self._known[next(iter(self._known))]
        known = self._known.setdefault(key, [])
        known.append((now + SECONDS, repair.overrides))
        del known[:-PER_MODEL]

    def backends(self, now: float) -> dict[str, int]:
        """Return of how many models of each backend something is known, by the backend's name."""
        found: dict[str, int] = {}
        for (backend, *_), known in self._known.items():
            if known and known[-1][0] > now:
                found[backend] = found.get(backend, 0) + 1
        return found

    def counts_nothing(self, target: Target, now: float) -> bool:
        """Return whether the backend of ``target`` said that it does not count tokens.

        It is about requests of the dialect that ``target`` names, and holds even where the
        configuration says that the backend counts.
        """
        return self.overrides(target, now).get("counts_tokens") is False

    def overrides(self, target: Target, now: float) -> dict[str, Any]:
        """Return the changes of the profile of ``target``."""
        if not self._known:
            return {}
        key = _key(target)
        known = self._known.get(key)
        if known is None:
            return {}
        known[:] = [(until, overrides) for until, overrides in known if until > now]
        if not known:
            del self._known[key]
        merged: dict[str, Any] = {}
        for _, overrides in known:
            merged = together(merged, overrides)
        return merged


def _key(target: Target) -> tuple[str, ...]:
    return (target.backend.name, target.backend.dialect, target.model)


def together(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Return two changes of a profile as one.

    Where they differ the later one holds, and lists are joined.
    """
    merged = dict(one)
    for name, value in other.items():
        if name in _GATHERED:
            value = [tuple(each) if isinstance(each, list) else each for each in value]
            value = tuple(dict.fromkeys((*merged.get(name, ()), *value)))
        merged[name] = value
    return merged


class Repairs:
    """The repairs of one call at one target.

    It knows which profile applies to the next try, and which repairs turned out to be right and are
    to be remembered. ``configured`` is the user's own profile, ``listed`` what the backend's list
    of models says.
    """

    __slots__ = ("_changes", "_configured", "_kinds", "_learned", "_open", "_target", "_words")

    def __init__(
        self,
        learned: LearnedRejections,
        target: Target,
        configured: Mapping[str, Any],
        now: float,
        listed: Mapping[str, Any] = {},
    ) -> None:
        self._learned = learned
        self._target = target
        self._configured = configured
        known = learned.overrides(target, now)
        self._changes: Mapping[str, Any] = {**listed, **known} if listed else known
        self._kinds: set[str] = set()
        self._open: list[Repair] = []
        self._words = ""

    @property
    def overrides(self) -> Mapping[str, Any]:
        """What differs from the built-in profile.

        What the user configured is never overridden; lists of his are added to.
        """
        if not self._changes:
            return self._configured
        merged = dict(self._changes)
        for name, value in self._configured.items():
            merged[name] = (
                tuple(dict.fromkeys((*value, *merged.get(name, ()))))
                if name in _GATHERED
                else value
            )
        return merged

    def add(self, repair: Repair | None, words: str, now: float) -> Repair | None:
        """Note that a refusal came, and return the repair to try next, None for no other try.

        ``words`` are those of the refusal, and ``repair`` is what it calls for. A refusal in other
        words than the one before says that the repair before was right.
        """
        if self._open and words != self._words:
            self.succeeded(now)
        own = [name for name in self._configured if name not in _GATHERED]
        repair = None if repair is None else repair.without(own)
        if repair is None or repair.kinds <= self._kinds:
            return None
        self._kinds |= repair.kinds
        self._open.append(repair)
        self._words = words
        self._changes = together(together(self._changes, repair.overrides), repair.once)
        return repair

    def changes(self, name: str) -> bool:
        """Return whether a repair of this call changed the profile's field ``name`` for good."""
        return any(name in repair.overrides for repair in self._open)

    def would_help(self, repair: Repair | None, words: str, now: float) -> bool:
        """Return whether the next call would get further than this one.

        This one is not repaired again. The next would get further where the refusal came in other
        words than the one before, so that what was learned holds, and where ``repair`` is one that
        was not tried.
        """
        further = bool(self._open) and words != self._words
        return self.add(repair, words, now) is not None and further

    def succeeded(self, now: float) -> None:
        """Remember the last repair: the try after it got further."""
        for repair in self._open:
            self._learned.learn(self._target, repair, now)
        self._open.clear()
