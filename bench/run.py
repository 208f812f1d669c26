"""One run: which measure is taken of which system, and in which order."""

import contextlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from bench.measures import (
    Running,
    held_result,
    idle_result,
    scenario_result,
    serving,
    start_result,
    warm_up,
)
from bench.results import Result, write
from bench.scenarios import SCENARIOS
from bench.systems import System

MEASURES = ("start", "idle", *SCENARIOS, "held")


class Run(msgspec.Struct, kw_only=True):
    """Results go to ``file`` as they come. A measure that fails is told and left out; ``failed``
    says that there was one. What is no failure of a measure ends the run."""

    systems: Sequence[System]
    paths: str
    measures: Sequence[str]
    rounds: int
    folder: Path
    backend_port: int
    file: Path
    failed: bool = False

    def fresh(self) -> None:
        """Of each system started anew, once for each path."""
        for system in self.systems:
            for path in self._shared(system):
                with (
                    self._telling(f"{system.name} {path} fresh"),
                    serving(system, self.folder, self.backend_port) as running,
                ):
                    if "start" in self.measures:
                        self._keep(start_result(running, 0))
                    if "idle" in self.measures:
                        self._keep(idle_result(running, path, 0))

    def interleaved(self) -> None:
        """Of all systems at once, since an idle one costs nothing, in turns: what else the
        machine does meets all alike."""
        with contextlib.ExitStack() as stack:
            running = [
                stack.enter_context(serving(system, self.folder, self.backend_port))
                for system in self.systems
            ]
            for one, path in self._turn(running):
                with self._telling(f"{one.system.name} {path} warm-up"):
                    warm_up(one, path)
            for number in range(self.rounds):
                for scenario in SCENARIOS.values():
                    if scenario.name in self.measures:
                        for one, path in self._turn(running):
                            with self._telling(f"{one.system.name} {path} {scenario.name}"):
                                self._keep(scenario_result(one, path, scenario, number))
            if "held" in self.measures:
                for one, path in self._turn(running):
                    with self._telling(f"{one.system.name} {path} held"):
                        self._keep(held_result(one, path, 0))

    def _shared(self, system: System) -> Iterator[str]:
        """The paths that are wanted and that the system serves."""
        return (path for path in self.paths if path in system.paths)

    def _turn(self, running: Sequence[Running]) -> Iterator[tuple[Running, str]]:
        for path in self.paths:
            for one in running:
                if path in one.system.paths:
                    yield one, path

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
