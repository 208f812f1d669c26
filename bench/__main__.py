"""``python -m bench``: all measures, the table, and the files of results."""

import argparse
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from bench.measures import BUILD, mock_backend
from bench.results import read, this_machine, write
from bench.run import MEASURES, Run
from bench.scenarios import PATHS
from bench.systems import SYSTEMS, System
from bench.table import table

RESULTS = Path(__file__).with_name("results")
OPEN_FILES = 16384
ROUNDS = 5


def main() -> int:
    """Measure, or show an earlier run. The exit code is 1 where a measure failed."""
    options = _options()
    if options.show:
        print(table(read(options.show)), end="")
        return 0
    if not (BUILD / "mockllm").exists() or not (BUILD / "loadgen").exists():
        print(f"{BUILD} is empty: `make bench` fills it", file=sys.stderr)
        return 1
    systems = [SYSTEMS[name] for name in options.systems if _can_run(SYSTEMS[name])]
    # An end by signal is an end like others: every process is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
    write(file, [this_machine()])
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        mock_backend(Path(folder)) as backend_port,
    ):
        run = Run(
            systems=systems,
            paths="".join(options.paths),
            measures=options.measures,
            rounds=options.rounds,
            folder=Path(folder),
            backend_port=backend_port,
            file=file,
        )
        run.fresh()
        run.interleaved()
    text = table(read(file))
    file.with_suffix(".txt").write_text(text)
    print(text, end="")
    print(f"\nkept in {os.path.relpath(file)} and .txt beside it")
    return 1 if run.failed else 0


def _can_run(system: System) -> bool:
    missing = system.missing()
    if missing:
        print(f"{system.name} is left out: {', '.join(missing)} is missing", file=sys.stderr)
    return not missing


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    for name, known in (("systems", SYSTEMS), ("paths", PATHS), ("measures", MEASURES)):
        parser.add_argument(
            f"--{name}",
            type=_some_of(known),
            default=list(known),
            metavar="A,B",
            help=f"some of {','.join(known)} (default: all)",
        )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument("--show", type=Path, metavar="FILE", help="show an earlier run's results")
    return parser.parse_args()


def _some_of(known: Iterable[str]) -> Callable[[str], list[str]]:
    def words(text: str) -> list[str]:
        given = text.split(",")
        for word in given:
            if word not in known:
                raise argparse.ArgumentTypeError(f"{word!r} is none of {','.join(known)}")
        return given

    return words


if __name__ == "__main__":
    sys.exit(main())
