"""``lmbroker limits``: what is left of the limits, by the usage journal."""

import argparse
import json
import sys
import time
from collections.abc import Iterator
from typing import Any

from lmbroker.commands.limit_rules import callers_of
from lmbroker.commands.output import report as report_problem
from lmbroker.config.config import Config
from lmbroker.config.file import find_config, load
from lmbroker.limiting.reports import bounds_of, shown_limits
from lmbroker.observers.usage_report import Unreadable, used_of_limits
from lmbroker.routing.limit_ledger import Ledger

COLUMNS = ("rule", "for", "counts", "limit", "left", "again_in")
HEADINGS = {"again_in": "all of it in"}


def run(options: argparse.Namespace) -> int:
    """Print what is left; the exit code is 1 where that cannot be known."""
    name = find_config(options.config)
    config = load(name)
    if not config.limit_rules:
        report_problem(f"{name}: there are no [[limits.rules]]")
        return 1
    if config.limit_store is not None:
        report_problem(f"{name}: the limits are counted in limits.store: ask GET /v1/usage")
        return 1
    if not config.usage.file:
        report_problem(
            f"{name}: without usage.file only the running broker knows what is left: GET /v1/usage"
        )
        return 1
    try:
        rows = list(left(config, options.caller, time.time()))
    except Unreadable as error:
        report_problem(str(error))
        return 1
    if options.json:
        json.dump(rows, sys.stdout, indent=1)
        print()
    else:
        _print(rows)
    return 0


def left(config: Config, caller: str, now: float) -> Iterator[dict[str, Any]]:
    """Yield what is left of each amount for ``caller``, "" for all callers.

    It is as of the last second: what is in flight is known to the broker only.
    """
    ledger = Ledger(used_of_limits(config.usage.file))
    callers = [caller] if caller else callers_of(config)
    found = bounds_of(config.limit_rules, callers, config.aliases)
    found = [each for each in found if each[1].measure != "parallel"]
    decision = ledger.read(tuple(bound for _, bound in found), now)
    return shown_limits(found, decision)


def _print(rows: list[dict[str, Any]]) -> None:
    """Print a table for people."""
    lines = [[HEADINGS.get(name, name) for name in COLUMNS]]
    lines += [[_text(row[name]) for name in COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(map(str.ljust, line, widths)).rstrip())


def _text(value: object) -> str:
    if isinstance(value, float):
        minutes, seconds = divmod(round(value), 60)
        hours, minutes = divmod(minutes, 60)
        days, hours = divmod(hours, 24)
        if days:
            return f"{days} d {hours} h"
        return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"
    return "-" if value is None else str(value)
