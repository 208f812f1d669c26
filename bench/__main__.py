"""``python -m bench``: all measures, the table, and the files of results."""

import argparse
import contextlib
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.measures import (
    BUILD,
    Running,
    held_result,
    idle_result,
    mock_backend,
    scenario_result,
    serving,
    start_result,
    warm_up,
)
from bench.results import Line, Result, read, this_machine, write
from bench.scenarios import PATHS, SCENARIOS
from bench.systems import SYSTEMS, System
from bench.table import table

RESULTS = Path(__file__).with_name("results")
OPEN_FILES = 16384


def main() -> int:
    """Measure, or show an earlier run."""
    options = _options()
    if options.show:
        print(table(read(options.show)), end="")
        return 0
    if not (BUILD / "mockllm").exists() or not (BUILD / "loadgen").exists():
        print("bench/build is empty: start this with `make bench`", file=sys.stderr)
        return 1
    systems = [system for system in options.systems if _can_run(system)]
    # An end by signal is an end like others: every process is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _allow_many_files()
    file = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
    RESULTS.mkdir(exist_ok=True)
    write(file, [this_machine()])
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backend_port = stack.enter_context(mock_backend(folder))
        run = _Run(file, options.paths)
        if options.whole:
            for system in systems:
                for path in run.paths_of(system):
                    with serving(system, folder, backend_port) as running:
                        run.note("start", running, "-", lambda: start_result(running, 0))
                        run.note("idle", running, path, lambda: idle_result(running, path, 0))
        all_running = [
            stack.enter_context(serving(system, folder, backend_port)) for system in systems
        ]
        run.rounds(all_running, options.rounds, options.scenarios)
        if options.whole:
            for running in all_running:
                for path in run.paths_of(running.system):
                    run.note("held", running, path, lambda: held_result(running, path, 0))
    text = table(read(file))
    file.with_suffix(".txt").write_text(text)
    print(text, end="")
    print(f"\n{file}")
    return 1 if run.failed else 0
