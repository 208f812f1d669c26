"""``python -m bench``: all measures, the tables, and the files of results."""

import argparse
import contextlib
import os
import resource
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

from bench.encryption import Encryption, identity, terminator
from bench.measures import BUILD, mock_backend
from bench.peers import PEERS, VERSIONS
from bench.processes import CORES
from bench.results import read, this_machine, write
from bench.run import MEASURES, USUAL, Run
from bench.scenarios import PATHS, USUAL_PATHS
from bench.systems import ENGINES, NGINX, Secured, System, lmbroker, python_version
from bench.table import markdown, summary, table

RESULTS = Path(__file__).with_name("results")
OPEN_FILES = 32768
ROUNDS = 5

KNOWN = {NGINX.name: NGINX, **dict.fromkeys(ENGINES), **{peer.name: peer for peer in PEERS}}
"""Name -> system; None for ours, of which there is one for each interpreter."""

USUAL_SYSTEMS = (NGINX.name, "lean")


def main() -> int:
    """Measure, or show an earlier run. The exit code is 1 where a measure failed."""
    options = _options()
    if options.show:
        lines = read(options.show)
        print(markdown(lines) if options.markdown else table(lines), end="")
        return 0
    if not (BUILD / "mockllm").exists() or not (BUILD / "loadgen").exists():
        print(f"{BUILD} is empty: `make bench` fills it", file=sys.stderr)
        return 1
    pythons = _pythons(options.python)
    systems, several = _systems(options.systems, pythons)
    if not systems:
        return 1
    # An end by signal is an end like others: every process is stopped.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
    RESULTS.mkdir(exist_ok=True)
    file = RESULTS / f"{datetime.now(UTC):%Y%m%dT%H%M%S}.jsonl"
    versions = {label or "lmbroker": f"Python {version}" for label, _, version in pythons}
    versions |= {each.name: VERSIONS[each.name] for each in systems if each.name in VERSIONS}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        backend_port = stack.enter_context(mock_backend(folder))
        tls = None
        if options.tls != "none":
            tls = Secured(identity(folder), options.tls == "both")
            backend_port = stack.enter_context(terminator(folder, backend_port, tls.identity))
        run = Run(
            systems=systems,
            several=several,
            paths="".join(options.paths),
            measures=options.measures,
            rounds=options.rounds,
            folder=folder,
            backend_port=backend_port,
            file=file,
            tls=tls,
        )
        names = ", ".join(system.name for system in systems)
        print(
            f"{names}; paths {', '.join(options.paths)}; {', '.join(options.measures)}; "
            f"{options.rounds} rounds: about {_minutes(run.seconds())}",
            file=sys.stderr,
        )
        if options.estimate:
            return 0
        write(file, [this_machine(versions, options.tls)])
        run.all()
    lines = read(file)
    file.with_suffix(".md").write_text(markdown(lines))
    file.with_suffix(".json").write_bytes(summary(lines))
    print(table(lines), end="")
    print(f"\nkept in {os.path.relpath(file)}, and as .md and .json beside it")
    return 1 if run.failed else 0


def _pythons(given: list[tuple[str, str]]) -> list[tuple[str, str, str]]:
    """Label, interpreter and version of those that can run the broker."""
    found = []
    for label, python in given or [("", sys.executable)]:
        version = python_version(python)
        if version:
            found.append((label, python, version))
        else:
            print(f"{python} is left out: lmbroker is not installed for it", file=sys.stderr)
    return found


def _systems(
    names: Iterable[str], pythons: list[tuple[str, str, str]]
) -> tuple[list[System], list[tuple[System, System]]]:
    """The systems that can run, and those of ours with one worker and with two on all cores."""
    systems: list[System] = []
    several: list[tuple[System, System]] = []
    for name in names:
        known = KNOWN[name]
        if known is not None:
            systems.append(known)
            continue
        for label, python, _ in pythons:
            systems.append(lmbroker(name, python, label=label))
            one, two = (
                lmbroker(name, python, label=label, workers=workers, cores=tuple(CORES))
                for workers in (1, 2)
            )
            several.append((one, two))
    return [system for system in systems if _can_run(system)], several


def _can_run(system: System) -> bool:
    missing = system.missing()
    if missing:
        print(f"{system.name} is left out: {', '.join(missing)} is missing", file=sys.stderr)
    return not missing


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=main.__doc__)
    for name, known, usual in (
        ("systems", KNOWN, USUAL_SYSTEMS),
        ("paths", PATHS, USUAL_PATHS),
        ("measures", MEASURES, USUAL),
    ):
        parser.add_argument(
            f"--{name}",
            type=_some_of(known),
            default=list(usual),
            metavar="A,B",
            help=f"some of {','.join(known)} (default: {','.join(usual)})",
        )
    parser.add_argument(
        "--tls",
        choices=get_args(Encryption),
        default="none",
        help="TLS to the backend, or to the backend and the clients (default: none)",
    )
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"default: {ROUNDS}")
    parser.add_argument(
        "--python",
        type=_labelled,
        action="append",
        default=[],
        metavar="LABEL=PATH",
        help="run ours on this interpreter, which has the project installed; may be repeated",
    )
    parser.add_argument(
        "--estimate", action="store_true", help="say how long it would take, and do nothing"
    )
    parser.add_argument("--show", type=Path, metavar="FILE", help="show an earlier run's results")
    parser.add_argument("--markdown", action="store_true", help="with --show: as Markdown")
    return parser.parse_args()


def _labelled(text: str) -> tuple[str, str]:
    label, equals, path = text.partition("=")
    if not equals or not label or not path:
        raise argparse.ArgumentTypeError(f"{text!r} is not LABEL=PATH")
    return label, path


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
