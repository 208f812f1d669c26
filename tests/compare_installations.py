"""Shows that two installations of LMBroker answer alike, byte for byte.

    python tests/compare_installations.py --before OLD/bin/python --after NEW/bin/python

Each of the two interpreters has LMBroker installed, of whatever age: nothing of it is imported
here, only its programs are run. Both play the same samples (``installations/``): calls of clients
of each dialect to backends of each, whole and streamed, right and with one thing wrong; recorded
traffic where it is there; requests that are no calls; pages; runs of ``lmbroker``.

What is compared: the bytes that the backend received, those that the client received, the log, and
the output of the programs. Dates, times, ports and the ids that the broker makes up are taken out
before. An installation of another commit: ``git archive COMMIT | tar x -C FOLDER``, then
``pip install FOLDER`` in an environment of its own.

Exit code 1 where there is a difference; each is shown with the bytes around it, and at the end how
many there are of which part. ``--without "access line"`` leaves a part out whose form has changed
on purpose, and ``--every 20`` plays only each 20th sample.
"""

import argparse
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from installations.player import Outcome, play
from installations.programs import commands
from installations.samples import Sample, Setting
from installations.settings import settings

ENVIRON = {"COLUMNS": "100", "OPENAI_KEY": "backend-key-o", "ANTHROPIC_KEY": "backend-key-a"}
"""What the programs find in their environment: the width of their help, and backends' keys."""
AROUND = 70
"""Bytes that are shown on each side of the first difference."""
LINES = 5
"""Lines that are shown of those that are on one side only."""


class Difference(NamedTuple):
    """What is not the same in one part of a sample's outcome."""

    name: str
    before: str
    after: str


def shown(data: bytes | None, other: bytes | None) -> str:
    """What ``data`` has where it differs from ``other`` first, and the first of its lines that the
    other one has not, where there are such besides."""
    if data is None:
        return "(nothing)"
    at = first_difference(data, other or b"")
    begin = max(0, at - AROUND)
    text = f"{len(data)} bytes, from {begin}: {data[begin : at + AROUND]!r}"
    known = set((other or b"").splitlines())
    lines = [line for line in data.splitlines() if line not in known]
    more = [f"\n    {line[: 4 * AROUND]!r}" for line in lines[:LINES] if len(lines) > 1]
    return text + "".join(more)


def first_difference(one: bytes, other: bytes) -> int:
    for at, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return at
    return min(len(one), len(other))


def differences(
    before: Outcome, after: Outcome, without: tuple[str, ...] = ()
) -> Iterator[Difference]:
    """What is different of a sample, part by part; not of parts whose names begin as one of
    ``without``."""
    for name in dict.fromkeys((*before.parts, *after.parts)):
        if before.parts.get(name) == after.parts.get(name) or name.startswith(without):
            continue
        one, other = before.part(name), after.part(name)
        whole = f"{before.group}: {before.name}: {name}"
        yield Difference(whole, shown(one, other), shown(other, one))


def paired(before: list[Outcome], after: list[Outcome]) -> Iterator[tuple[Outcome, Outcome]]:
    """The outcomes of each sample. Where a daemon did not start, there is only that one of its
    group, and what the other one made of the samples is not looked at."""
    groups = dict.fromkeys(outcome.group for outcome in (*before, *after))
    for group in groups:
        ones = [outcome for outcome in before if outcome.group == group]
        others = [outcome for outcome in after if outcome.group == group]
        if len(ones) == len(others):
            yield from zip(ones, others, strict=True)
        else:
            yield ones[-1], others[-1]


def played(python: str, every: int) -> list[Outcome]:
    """In a process of its own."""
    some = [replace(each, samples=partial(thinned, each, every)) for each in settings()]
    # Not resolved: the interpreter of a virtual environment is a link, whose place counts.
    return play(Path(python).absolute(), some, islice(commands(), 0, None, every))


def thinned(setting: Setting, every: int) -> Iterator[Sample]:
    """Each so many-th sample of a setting."""
    return islice(setting.samples(), 0, None, every)


def kind(difference: Difference) -> str:
    """The group and the part of a difference, without the name of its sample and its number."""
    group, _, rest = difference.name.partition(": ")
    return f"{group}: {rest.rpartition(': ')[2].rstrip(' 0123456789')}"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--before", metavar="PYTHON", required=True)
    parser.add_argument("--after", metavar="PYTHON", required=True)
    parser.add_argument("--most", type=int, default=100, help="differences that are shown")
    parser.add_argument("--every", metavar="N", type=int, default=1, help="play each Nth sample")
    parser.add_argument(
        "--without",
        metavar="PART",
        action="append",
        default=[],
        help="do not compare the parts whose name begins so; may be given more than once",
    )
    options = parser.parse_args()
    began = time.monotonic()
    for name in [name for name in os.environ if name.startswith("PYTHON")]:
        del os.environ[name]
    os.environ.update(ENVIRON)
    with ProcessPoolExecutor(2) as processes:
        both = (options.before, options.after)
        before, after = processes.map(partial(played, every=options.every), both)
    counts = Counter[str]()
    found: list[Difference] = []
    for one, other in paired(before, after):
        counts[one.group] += len(one.parts)
        found += differences(one, other, tuple(options.without))
    for each in found[: options.most]:
        print(f"{each.name}\n  before: {each.before}\n  after:  {each.after}")
    for group, count in counts.items():
        print(f"{group}: {count:,} comparisons")
    for name, count in Counter(map(kind, found)).most_common():
        print(f"{name}: {count:,} differences")
    print(
        f"{sum(counts.values()):,} comparisons of {len(before):,} samples, "
        f"{len(found):,} differences, {time.monotonic() - began:.0f} s"
    )
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
