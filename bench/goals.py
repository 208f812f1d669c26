"""What to reach, and what a run has reached. The reasons are in docs/performance.md."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

import msgspec

from bench.results import Result
from bench.scenarios import BASE_PATH, PASSED, PATHS, TRANSLATED

Kind = Literal["ratio", "more", "most", "least"]
"""How a figure is judged: as a multiple of the base's, as what is added to it, or by itself, as
the most it may be or the least it must be."""

ALL = PATHS

# TensorZero's CPU time per call as a multiple of nginx's, on a machine where nginx took 21.5 µs.
TENSORZERO_PASSED = 238 / 21.5
TENSORZERO_TRANSLATED = 245 / 21.5


def _value(result: Result) -> float:
    return result.value


def _event_ms(share: str) -> Callable[[Result], float]:
    def read(result: Result) -> float:
        assert result.load is not None
        return float(getattr(result.load.event, share)) / 1000

    return read


class Goal(msgspec.Struct, frozen=True):
    """A figure of a measure: what it ``must`` be, and what we ``aim`` at."""

    label: str
    measure: str
    paths: str
    kind: Kind
    must: float
    aim: float
    read: Callable[[Result], float] = _value


GOALS = (
    Goal(
        "ns64, CPU µs/call",
        "ns64",
        PASSED,
        "ratio",
        1.1 * TENSORZERO_PASSED,
        0.5 * TENSORZERO_PASSED,
    ),
    Goal(
        "ns64, CPU µs/call",
        "ns64",
        TRANSLATED,
        "ratio",
        1.2 * TENSORZERO_TRANSLATED,
        0.7 * TENSORZERO_TRANSLATED,
    ),
    Goal("paced512, CPU µs/event", "paced512", PASSED, "ratio", 1.9, 1.5),
    Goal("paced512, CPU µs/event", "paced512", TRANSLATED, "ratio", 2.3, 1.8),
    Goal("fast16, CPU µs/event", "fast16", PASSED, "ratio", 2.0, 1.2),
    Goal("fast16, CPU µs/event", "fast16", TRANSLATED, "ratio", 4.0, 2.5),
    Goal("big16, CPU µs/call", "big16", PASSED, "ratio", 3.0, 1.5),
    Goal("big16, CPU µs/call", "big16", TRANSLATED, "ratio", 2.5, 2.0),
    Goal("paced512, event p50, ms", "paced512", ALL, "more", 5.0, 1.0, _event_ms("p50")),
    Goal("paced512, event p99, ms", "paced512", ALL, "more", 60.0, 15.0, _event_ms("p99")),
    Goal("streams held", "held", ALL, "least", 480, 650),
    Goal("1,000 idle streams, KiB each", "idle", ALL, "most", 40, 25),
    Goal("1,000 live streams, KiB each", "live", ALL, "most", 40, 25),
    Goal("4,000 idle streams, KiB each", "idle4000", ALL, "most", 40, 25),
    Goal("4,000 live streams, KiB each", "live4000", ALL, "most", 40, 25),
    Goal("start to first answer, s", "start", "-", "most", 1.0, 0.6),
    # The smallest thing that Python could keep of each call takes more than 32 bytes.
    Goal("hours of calls, bytes that stay of each", "growth", ALL, "most", 32, 8),
    Goal("two workers, times one, by CPU", "workers", ALL, "least", 1.8, 1.95),
    Goal("two workers, times one, as seen here", "workers-wall", ALL, "least", 1.8, 1.95),
)


_WITH_TLS = {
    ("ns64", PASSED): (6.5, 5.0),
    ("ns64", TRANSLATED): (9.0, 7.0),
    ("paced512", PASSED): (2.0, 1.7),
    ("paced512", TRANSLATED): (2.2, 1.9),
    ("fast16", PASSED): (3.0, 2.0),
    ("fast16", TRANSLATED): (4.0, 2.5),
    ("big16", TRANSLATED): (3.5, 2.5),
}
"""Measure and paths -> what a ratio must be and what we aim at, beside nginx with TLS to the
backend."""

_WITH_TLS_ON_BOTH_SIDES = _WITH_TLS | {
    ("paced512", PASSED): (2.2, 1.9),
    ("paced512", TRANSLATED): (2.2, 1.9),
}


def goals(tls: str = "none") -> tuple[Goal, ...]:
    """The goals of a run, by where its TLS is (``encryption.Encryption``)."""
    if tls == "none":
        return GOALS
    other = _WITH_TLS_ON_BOTH_SIDES if tls == "both" else _WITH_TLS
    return tuple(
        msgspec.structs.replace(goal, must=must, aim=aim)
        for goal in GOALS
        for must, aim in [other.get((goal.measure, goal.paths), (goal.must, goal.aim))]
    )


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One line of the table; None where a run has no such figure."""

    goal: Goal
    path: str
    base: float | None
    found: float

    @property
    def compared(self) -> float | None:
        """What is held against the goal."""
        if self.goal.kind in ("most", "least"):
            return self.found
        if self.base is None:
            return None
        return self.found / self.base if self.goal.kind == "ratio" else self.found - self.base

    @property
    def verdict(self) -> str:
        """Which of the two was reached: ``aim``, ``must``, or ``no``."""
        compared = self.compared
        if compared is None:
            return "?"
        sign = -1 if self.goal.kind == "least" else 1
        if sign * compared <= sign * self.goal.aim:
            return "aim"
        return "must" if sign * compared <= sign * self.goal.must else "no"


def rows(results: Sequence[Result], system: str, base: str, tls: str = "none") -> Iterable[Row]:
    """The lines of one system's table, those that were measured."""
    for goal in goals(tls):
        for path in goal.paths:
            found = _median(results, goal, system, path)
            if found is not None:
                based_on = _median(results, goal, base, BASE_PATH.get(path, path))
                yield Row(goal=goal, path=path, base=based_on, found=found)


def _median(results: Sequence[Result], goal: Goal, system: str, path: str) -> float | None:
    """Over the rounds."""
    values = [
        goal.read(result)
        for result in results
        if (result.measure, result.system, result.path) == (goal.measure, system, path)
    ]
    return statistics.median(values) if values else None
