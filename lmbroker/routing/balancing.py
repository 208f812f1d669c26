"""Orders the targets of an alias for a call. Pure: chance is an argument.

``ordered``     as the configuration lists them
``weighted``    by chance, each first as often as its weight says
``least-busy``  the one with the fewest calls for its weight
``fastest``     of two that chance names, the one where a call would wait less

Calls with the same sticky key come to the same target as long as it is free, and when targets are
added or removed only the keys of those move; where the list is ordered, the order stands above it.
Targets that are not free stand last, the one that is free soonest first.
"""

from collections.abc import Callable, Sequence
from hashlib import blake2b
from math import inf, log
from typing import Literal

import msgspec

Strategy = Literal["ordered", "weighted", "least-busy", "fastest"]

Chance = Callable[[], float]
"""Gives a number from 0 up to but not 1, as ``random.random`` does."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One target as it stands now.

    ``free_at`` is from when on it is free where it is not; ``cost`` what one more call would wait
    there, in seconds.
    """

    name: str
    weight: float = 1.0
    free: bool = True
    free_at: float = 0.0
    in_flight: int = 0
    cost: float = 0.0


def order(
    candidates: Sequence[Candidate], strategy: Strategy, chance: Chance, key: str = ""
) -> list[int]:
    """Return the positions of all ``candidates``, best first.

    ``key`` is the sticky key, "" for none. A target of weight 0 comes only when no other is left
    (but for ``ordered`` and ``fastest``, which have no weights).
    """
    free = [at for at, candidate in enumerate(candidates) if candidate.free]
    others = [at for at, candidate in enumerate(candidates) if not candidate.free]
    others.sort(key=lambda at: candidates[at].free_at)
    if len(free) > 1:
        if key and strategy != "ordered":
            free.sort(key=lambda at: distance(key, candidates[at].name, candidates[at].weight))
        elif strategy == "weighted":
            ranks = [_rank(1 - chance(), candidate.weight) for candidate in candidates]
            free.sort(key=ranks.__getitem__)
        elif strategy == "least-busy":
            ties = [chance() for _ in candidates]
            free.sort(key=lambda at: (_share(candidates[at]), ties[at]))
        elif strategy == "fastest":
            first = _two_choices(free, candidates, chance)
            free.sort(key=lambda at: (at != first, candidates[at].cost))
    return free + others


def distance(key: str, name: str, weight: float = 1.0) -> float:
    """Return how far ``name`` is from ``key`` (rendezvous hashing).

    It depends on nothing but the two, so the nearest of a list stays it whatever else the list
    holds. Each of several names is the nearest for a share of the keys that is as large as its
    weight.
    """
    # Lengths first, so that no two pairs are hashed alike.
    data = f"{len(key)}:{key}{name}".encode("utf-8", "surrogatepass")
    number = int.from_bytes(blake2b(data, digest_size=8).digest())
    return _rank((number + 1) / 2.0**64, weight)


def _rank(uniform: float, weight: float) -> float:
    """Return a random rank, the smallest of several by each one's weight."""
    return -log(uniform) / weight if weight > 0 else inf


def _share(candidate: Candidate) -> float:
    return (candidate.in_flight + 1) / candidate.weight if candidate.weight > 0 else inf


def _two_choices(free: Sequence[int], candidates: Sequence[Candidate], chance: Chance) -> int:
    one = int(chance() * len(free))
    other = int(chance() * (len(free) - 1))
    other += other >= one
    return min(free[one], free[other], key=lambda at: candidates[at].cost)
