"""The ledger of limits: what was used of each bound, and what is reserved for calls in flight.

Pure: the time is an argument of each step, in unix seconds. docs/design/limits.md has the rules.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from lmbroker.routing.limit_rules import Bound
from lmbroker.routing.limit_windows import drain_seconds, has_window, window_end

NEVER = -1.0
"""The time of what does not come."""

SOON = 1.0
"""Seconds after which it is worth to ask again where only calls in flight are in the way."""

_ROUNDING = 1e-8
"""The part of a limit by which the level of a bucket may be off."""


class Decision(msgspec.Struct, frozen=True, array_like=True):
    """A store's answer to a reservation, with the bounds as they are after it."""

    granted: bool
    refusing: tuple[int, ...] = ()
    """Which bounds refuse it, the one that does so longest first."""
    retry_after: float = 0.0
    """Seconds after which it may be let through; ``NEVER`` where waiting does not help."""
    over: tuple[int, ...] = ()
    """Which soft bounds it exceeds."""
    remaining: tuple[int, ...] = ()
    """What is left of each bound, 0 or more."""
    resets: tuple[float, ...] = ()
    """Seconds until nothing of each bound is used any more; ``NEVER`` where that does not come."""


class _Counter:
    """The state behind a bound.

    ``at`` is when the bucket was looked at last, or when the window ends. ``slack`` is the part of
    the limit that does not matter.
    """

    __slots__ = ("at", "drains", "reserved", "slack", "used", "windowed")

    def __init__(self, bound: Bound, used: float, at: float) -> None:
        self.used = used
        self.at = at
        self.reserved = 0
        self.drains = drain_seconds(bound)
        self.windowed = has_window(bound)
        self.slack = _ROUNDING if self.drains else 0.0


Kept = tuple[str, float, float]
"""What is kept of a counter: its name, what was used, and its ``at``."""

_Lease = tuple[list[_Counter], list[int]]


class Ledger:
    """Counters by their names, and the leases of holders. What changed is in ``changed``."""

    def __init__(self, kept: Iterable[Kept] = ()) -> None:
        self._counters: dict[str, _Counter] = {}
        self._kept = {name: (used, at) for name, used, at in kept}
        self._leases: dict[str, dict[str, _Lease]] = {"": {}}
        self.changed: set[str] = set()

    def reserve(
        self,
        lease: str,
        bounds: Sequence[Bound],
        needs: Sequence[int],
        now: float,
        holder: str = "",
    ) -> Decision:
        """Reserve ``needs`` of ``bounds`` under the name ``lease``: all of them, or nothing."""
        counters = []
        refusing: list[tuple[float, int]] = []
        over: list[int] = []
        for at, (bound, need) in enumerate(zip(bounds, needs, strict=True)):
            counter = self._counter(bound, now)
            counters.append(counter)
            if (
                need
                and counter.used + counter.reserved + need
                > bound.limit + bound.limit * counter.slack
            ):
                if bound.soft:
                    over.append(at)
                else:
                    refusing.append((_wait(bound, counter, need, now), at))
        if refusing:
            refusing.sort(key=_longest)
            order = tuple(at for _, at in refusing)
            return _decision(bounds, counters, now, False, order, refusing[0][0], tuple(over))
        held = []
        changed = self.changed
        for bound, counter, need in zip(bounds, counters, needs, strict=True):
            if bound.measure == "requests":
                if need:
                    _use(bound, counter, need)
                    changed.add(bound.counter)
                held.append(0)
            else:
                counter.reserved += need
                held.append(need)
        leases = self._leases.get(holder)
        if leases is None:
            leases = self._leases[holder] = {}
        leases[lease] = (counters, held)
        return _decision(bounds, counters, now, True, (), 0.0, tuple(over))

    def settle(
        self,
        lease: str,
        bounds: Sequence[Bound],
        used: Sequence[int],
        now: float,
        holder: str = "",
    ) -> None:
        """Give a lease back, and count what its call has used.

        A lease that there is not gives nothing back.
        """
        held = self._leases.get(holder, {}).pop(lease, None)
        if held is not None:
            self._give_back(held)
        for bound, amount in zip(bounds, used, strict=True):
            if amount:
                _use(bound, self._counter(bound, now), amount)
                self.changed.add(bound.counter)

    def drop(self, holder: str) -> None:
        """Give back all leases of a holder that is gone; what their calls used is not known."""
        for held in self._leases.pop(holder, {}).values():
            self._give_back(held)

    def read(self, bounds: Sequence[Bound], now: float) -> Decision:
        """Return how ``bounds`` are now."""
        counters = [self._counter(bound, now) for bound in bounds]
        return _decision(bounds, counters, now, True, (), 0.0, ())

    @property
    def leases(self) -> int:
        """How many leases there are."""
        return sum(map(len, self._leases.values()))

    def reserved(self) -> dict[str, int]:
        """Return what is reserved of each counter of which anything is."""
        return {name: each.reserved for name, each in self._counters.items() if each.reserved}

    def take_changed(self) -> list[Kept]:
        """Return what has changed since this was called last, to be kept."""
        names, self.changed = self.changed, set()
        return list(self.kept(names))

    def all_changed(self) -> None:
        """Take all counters for changed: they are to be kept elsewhere from now on."""
        self.changed.update(name for name, each in self._counters.items() if each.used)

    def kept(self, names: Iterable[str]) -> Iterator[Kept]:
        """Yield what is to be kept of counters, for the next ledger."""
        for name in names:
            counter = self._counters[name]
            yield name, counter.used, counter.at

    def _counter(self, bound: Bound, now: float) -> _Counter:
        """Return the counter of a bound, with its window or bucket as it is ``now``."""
        counter = self._counters.get(bound.counter)
        if counter is None:
            used, at = self._kept.pop(bound.counter, (0.0, now if drain_seconds(bound) else 0.0))
            counter = self._counters[bound.counter] = _Counter(bound, used, at)
        if counter.drains:
            # Where the clock went back, it drains on from there.
            gone = now - counter.at
            if gone > 0.0 and counter.used:
                counter.used = max(0.0, counter.used - gone * bound.limit / counter.drains)
            counter.at = now
        elif counter.windowed and now >= counter.at:
            counter.used = 0
            counter.at = window_end(bound.period, now)
        return counter

    @staticmethod
    def _give_back(held: _Lease) -> None:
        for counter, amount in zip(*held, strict=True):
            counter.reserved -= amount


def _use(bound: Bound, counter: _Counter, amount: int) -> None:
    counter.used += amount
    if bound.soft and counter.drains and counter.used > bound.limit + amount:
        # A soft bound refuses nobody, so a large excess would take long to drain.
        counter.used = bound.limit + amount


def _longest(waiting: tuple[float, int]) -> tuple[bool, float]:
    return waiting[0] != NEVER, -waiting[0]


def _wait(bound: Bound, counter: _Counter, need: int, now: float) -> float:
    """Return seconds until ``need`` may fit into a bound that is exceeded now."""
    if need > bound.limit:
        return NEVER
    if counter.used + need <= bound.limit:
        return SOON
    if counter.drains:
        return (counter.used + need - bound.limit) * counter.drains / bound.limit
    return counter.at - now if counter.windowed else NEVER


def _decision(
    bounds: Sequence[Bound],
    counters: Sequence[_Counter],
    now: float,
    granted: bool,
    refusing: tuple[int, ...],
    retry_after: float,
    over: tuple[int, ...],
) -> Decision:
    remaining = []
    resets = []
    for bound, counter in zip(bounds, counters, strict=True):
        left = int(bound.limit - counter.used - counter.reserved + bound.limit * counter.slack)
        remaining.append(left if left > 0 else 0)
        if counter.drains:
            resets.append(counter.used * counter.drains / bound.limit)
        else:
            resets.append(counter.at - now if counter.windowed else NEVER)
    return Decision(granted, refusing, retry_after, over, tuple(remaining), tuple(resets))
