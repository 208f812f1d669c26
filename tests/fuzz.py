"""Fuzzing: what anybody may send us breaks none of the laws in fuzz_laws.py.

``make fuzz`` runs it for a minute in all, ``make fuzz SECONDS=3600`` for longer. With atheris the
inputs are led by the coverage of lmbroker/; without it they are changed at random. Inputs that
break a law are kept in build/fuzz/NAME/findings, those that reach new code beside them, for the
next run. ``python tests/fuzz.py --only NAME --replay FILE`` runs one input and shows where it
fails.
"""

import argparse
import re
import subprocess
import sys
import time
import traceback
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from random import Random
from typing import Any

from mutation import Mutator, vocabulary

ROOT = Path(__file__).parents[1]
STATE = ROOT / "build" / "fuzz"
LONGEST = 32 * 1024
"""Bytes of an input."""
HANGS = 20
"""Seconds after which one input hangs."""
STARTS = 5
"""Seconds that a target may take to start, beside its share."""

ATHERIS = find_spec("atheris") is not None
GUIDED = ATHERIS and "--worker" in sys.argv
if GUIDED:
    import atheris

    instrumented: Any = atheris.instrument_imports(include=["lmbroker"])
    instrumented.__enter__()

from fuzz_laws import TARGETS  # noqa: E402

if GUIDED:
    instrumented.__exit__(None, None, None)


def seeds_of(name: str) -> list[bytes]:
    tests = ROOT / "tests"
    patterns = {
        "sse": ("wire/*/*.sse", "transcripts/*.sse"),
        "request": ("transcripts/request.*.json",),
        "stream": ("wire/*/*.sse", "transcripts/*.sse"),
        "answer": ("transcripts/response.*.json",),
        "error": ("wire/*/error*.sse", "transcripts/error.*.sse"),
        "config": ("../etc/*.toml",),
    }[name]
    found = [path.read_bytes() for pattern in patterns for path in sorted(tests.glob(pattern))]
    if name == "error":
        # The errors of streams are those of bodies.
        lines = [line for seed in found for line in seed.split(b"\n") if b'"error"' in line]
        found = [line.removeprefix(b"data:").strip() for line in lines]
    if name == "config":
        page = (ROOT / "docs" / "configuration.md").read_text()
        found += [text.encode() for text in re.findall(r"```toml\n(.*?)```", page, re.DOTALL)]
    return found


class Findings:
    """Runs inputs; keeps the first one for each place where a law breaks."""

    def __init__(self, name: str) -> None:
        self._act = TARGETS[name][0]
        self._folder = STATE / name / "findings"
        self._folder.mkdir(parents=True, exist_ok=True)
        self._places: set[str] = set()

    def run(self, data: bytes) -> None:
        try:
            self._act(data)
        except Exception as failed:
            steps = traceback.extract_tb(failed.__traceback__)
            place = " < ".join(f"{Path(s.filename).name}:{s.lineno}" for s in steps[:-4:-1])
            what = f"{type(failed).__name__} at {place}"
            if what not in self._places:
                self._places.add(what)
                path = self._folder / sha256(data).hexdigest()[:12]
                path.write_bytes(data)
                print(f"FOUND {what}: {str(failed)[:200]!r} {path.relative_to(ROOT)}", flush=True)


def work(name: str, seconds: int) -> None:
    """One target, in a process of its own: atheris does not return."""
    seeds = seeds_of(name)
    mutator = Mutator(seeds, vocabulary(ROOT / "lmbroker"))
    findings = Findings(name)
    for data in seeds:
        findings.run(data)
    if GUIDED:
        guided(name, seeds, mutator, findings, seconds)
    else:
        unguided(seeds, mutator, findings, seconds)


def guided(
    name: str, seeds: list[bytes], mutator: Mutator, findings: Findings, seconds: int
) -> None:
    corpus, given = STATE / name / "corpus", STATE / name / "seeds"
    for folder in (corpus, given):
        folder.mkdir(parents=True, exist_ok=True)
    for data in seeds:
        (given / sha256(data).hexdigest()[:12]).write_bytes(data)

    def change(data: bytes, longest: int, seed: int) -> bytes:
        chance = Random(seed)
        if chance.random() < 0.15:
            return bytes(atheris.Mutate(data, longest))
        return mutator.change(data, chance)[:longest]

    limits = [f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={HANGS}"]
    files = [f"-artifact_prefix={STATE / name / 'findings'}/", str(corpus), str(given)]
    flags = ["-print_final_stats=1", "-rss_limit_mb=2048", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *limits, *flags, *files], findings.run, custom_mutator=change)
    atheris.Fuzz()


def unguided(seeds: list[bytes], mutator: Mutator, findings: Findings, seconds: int) -> None:
    chance, until, runs = Random(), time.monotonic() + seconds, 0
    while time.monotonic() < until:
        findings.run(mutator.change(chance.choice(seeds), chance)[:LONGEST])
        runs += 1
    print(f"stat::number_of_executed_units: {runs}")


def fuzz(names: list[str], seconds: int) -> int:
    """All targets, one after the other; the exit code."""
    if not ATHERIS:
        print("atheris is not installed: inputs are changed at random, not led by coverage")
    shares = sum(TARGETS[name][1] for name in names)
    failed = False
    for name in names:
        share = max(1, seconds * TARGETS[name][1] // shares - STARTS * ATHERIS)
        worker = [sys.executable, __file__, "--worker", "--only", name, "--seconds", str(share)]
        try:
            done = subprocess.run(
                worker,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                timeout=share + HANGS + 60,
            )
            output, code = done.stdout, done.returncode
        except subprocess.TimeoutExpired as late:
            output, code = late.stdout or b"", 1
        lines = output.decode(errors="replace").splitlines()
        found = [line for line in lines if line.startswith("FOUND")]
        runs = [line.split()[-1] for line in lines if "number_of_executed_units" in line]
        print(f"{name}: {runs[0] if runs else 'no'} runs, {len(found)} findings", flush=True)
        for line in found or (lines[-20:] if code else []):
            print(f"  {line}")
        failed = failed or bool(found) or code != 0
    return int(failed)


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz the pure half of LMBroker.")
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("--only", choices=TARGETS, action="append", help="a target")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run one input")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    names = options.only or list(TARGETS)
    if options.replay:
        for name in names:
            TARGETS[name][0](options.replay.read_bytes())
        return 0
    if options.worker:
        work(names[0], options.seconds)
        return 0
    return fuzz(names, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
