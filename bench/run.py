"""One run: which measure is taken of which system, and in which order."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.measures import (
    Running,
    growth_result,
    held_result,
    scenario_result,
    serving,
    standing_result,
    start_result,
    warm_up,
    workers_result,
)
from bench.processes import CORES
from bench.results import Result, write
from bench.scenarios import BASE_PATH, PATHS, SCENARIOS, STANDING
from bench.systems import BASE, Secured, System

USUAL = ("start", "idle", *SCENARIOS, "held")
MEASURES = (
    "start",
    *STANDING,
    *SCENARIOS,
    "held",
    "growth",
    "workers",
)

START_SECONDS = 1.5
WARM_SECONDS = 2.0
HELD_SECONDS = 40.0
GROWTH_SECONDS = 160.0
OVERHEAD_SECONDS = 0.2
"""About how long these take; what a load takes beside its own time."""


class Run(msgspec.Struct, kw_only=True):
    """Results go to ``file`` as they come. A measure that fails is told and left out; ``failed``
    says that there was one. What is no failure of a measure ends the run. ``several`` are the
    brokers with two workers, beside those with one."""

    systems: Sequence[System]
    several: Sequence[tuple[System, System]] = ()
    paths: str
    measures: Sequence[str]
    rounds: int
    folder: Path
    backend_port: int
    file: Path
    tls: Secured | None = None
    failed: bool = False

    def seconds(self) -> float:
        """About how long it will take."""
        places = sum(len(self._shared(system)) for system in self.systems)
        fresh = [
            WARM_SECONDS + standing.seconds
            for name, standing in STANDING.items()
            if name in self.measures
        ]
        if "growth" in self.measures:
            fresh.append(GROWTH_SECONDS)
        seconds = places * sum(each + START_SECONDS for each in fresh)
        if "start" in self.measures:
            seconds += self.rounds * len(self.systems) * START_SECONDS
        loads = [SCENARIOS[name].seconds for name in self.measures if name in SCENARIOS]
        if loads or "held" in self.measures:
            seconds += places * WARM_SECONDS
        seconds += self.rounds * places * sum(each + OVERHEAD_SECONDS for each in loads)
        if "held" in self.measures:
            seconds += places * HELD_SECONDS
        if "workers" in self.measures:
            turns = len(self.several) * len(self.paths)
            seconds += turns * 2 * (WARM_SECONDS + self.rounds * SCENARIOS["ns64"].seconds)
        return seconds

    def all(self) -> None:
        """Everything that is wanted."""
        if "start" in self.measures:
            self._starts()
        self._fresh()
        if set(self.measures) & {*SCENARIOS, "held"}:
            self._interleaved()
        if "workers" in self.measures:
            for one, two in self.several:
                self._workers(one, two)

    def _starts(self) -> None:
        for number in range(self.rounds):
            for system in self.systems:
                with (
                    self._telling(f"{system.name} start"),
                    serving(system, self.folder, self.backend_port, self.tls) as running,
                ):
                    self._keep(start_result(running, number))

    def _fresh(self) -> None:
        """What is taken of each system started anew, on each path."""
        for name in self.measures:
            if name not in STANDING and name != "growth":
                continue
            for path in PATHS:
                for system in self.systems:
                    if path not in self._shared(system) or (name == "growth" and system is BASE):
                        continue
                    with (
                        self._telling(f"{system.name} {path} {name}"),
                        serving(system, self.folder, self.backend_port, self.tls) as running,
                    ):
                        if name == "growth":
                            self._keep(growth_result(running, path, 0))
                        else:
                            self._keep(standing_result(running, path, STANDING[name], 0))

    def _interleaved(self) -> None:
        """Of all systems at once, since an idle one costs nothing, in turns: what else the
        machine does meets all alike. What fails its warm-up is not measured."""
        with contextlib.ExitStack() as stack:
            running: list[Running] = []
            for system in self.systems:
                with self._telling(f"{system.name} does not serve"):
                    running.append(
                        stack.enter_context(
                            serving(system, self.folder, self.backend_port, self.tls)
                        )
                    )
            sound: list[tuple[Running, str]] = []
            for path in PATHS:
                for one in running:
                    if path in self._shared(one.system):
                        with self._telling(f"{one.system.name} {path} is left out"):
                            warm_up(one, path)
                            sound.append((one, path))
            for number in range(self.rounds):
                for scenario in SCENARIOS.values():
                    if scenario.name in self.measures:
                        for one, path in sound:
                            with self._telling(f"{one.system.name} {path} {scenario.name}"):
                                self._keep(scenario_result(one, path, scenario, number))
            if "held" in self.measures:
                for one, path in sound:
                    with self._telling(f"{one.system.name} {path} held"):
                        self._keep(held_result(one, path, 0))

    def _workers(self, one: System, two: System) -> None:
        """One worker and two, in turns, on all cores."""
        if len(CORES) < 2:
            print("workers: it takes two cores", file=sys.stderr)
            return
        with (
            self._telling(f"{two.name} workers"),
            serving(one, self.folder, self.backend_port, self.tls) as alone,
            serving(two, self.folder, self.backend_port, self.tls) as together,
        ):
            for path in self._shared(two):
                warm_up(alone, path)
                warm_up(together, path)
                for number in range(self.rounds):
                    for result in workers_result(alone, together, path, number):
                        self._keep(result)

    def _shared(self, system: System) -> list[str]:
        """The paths that are wanted and that the system serves; of the base, those that the
        others are compared with."""
        wanted = {BASE_PATH[path] for path in self.paths} if system is BASE else self.paths
        return [path for path in PATHS if path in wanted and path in system.paths]

    def _keep(self, result: Result) -> None:
        write(self.file, [result])
        print(
            f"{result.measure} {result.round} {result.path} {result.system}: {result.value:.4g}",
            file=sys.stderr,
        )

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self.failed = True
            print(f"{what}: {error}", file=sys.stderr)
