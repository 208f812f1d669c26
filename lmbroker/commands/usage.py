"""``lmbroker usage``: who used what, by the usage journal."""

import argparse
import csv
import json
import sqlite3
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmbroker.commands.output import report as report_problem
from lmbroker.config.file import find_config, load
from lmbroker.observers.usage_report import COUNTS, check_by, report, seconds_of
from lmbroker.usage import dollars

HEADINGS = {"cache_read": "cached", "cache_write": "written", "cost": "US dollars"}


def run(options: argparse.Namespace) -> int:
    """Print a report. The exit code is 1 where there is no journal."""
    by = [word for word in options.by.split(",") if word]
    try:
        check_by(by)
        since = time.time() - seconds_of(options.since)
    except ValueError as error:
        options.usage_error(str(error))
    config = "" if options.file else find_config(options.config)
    file = options.file or load(config).usage.file
    if not file:
        report_problem(f"{config}: there is no usage.file, so nothing is kept")
        return 1
    if not Path(file).exists():
        report_problem(f"{file}: no such file; the daemon makes it")
        return 1
    try:
        # An URI, so that a reader never makes or changes the file.
        uri = f"{Path(file).resolve().as_uri()}?mode=ro"
        with sqlite3.connect(uri, uri=True, timeout=5.0) as connection:
            rows = report(connection, since, by)
    except sqlite3.Error as error:
        report_problem(f"{file}: {error}")
        return 1
    for row in rows:
        row["cost"] = dollars(row["cost"])
    if options.format == "json":
        json.dump(rows, sys.stdout, indent=1)
        print()
    elif options.format == "csv":
        writer = csv.DictWriter(sys.stdout, [*by, *COUNTS])
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print(rows, by)
    return 0


def _print(rows: Sequence[dict[str, Any]], by: Sequence[str]) -> None:
    """Print the rows as a table."""
    names = [*by, *COUNTS]
    lines = [[HEADINGS.get(name, name) for name in names]]
    lines += [[_text(row[name]) for name in names] for row in rows]
    widths = [max(len(line[at]) for line in lines) for at in range(len(names))]
    for line in lines:
        left = [f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)][: len(by)]
        right = [f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)][len(by) :]
        print("  ".join((*left, *right)).rstrip())
    unpriced = sum(row["unpriced"] for row in rows)
    if unpriced:
        print(f"{unpriced} calls have no price: see price in docs/configuration.md")


def _text(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value) or "-"
