"""Reports of the usage journal: sums over a time, by whatever they are wanted."""

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmbroker.config.config import MOST_TAGS
from lmbroker.routing.limit_ledger import Kept
from lmbroker.usage import dollars

BUSY_SECONDS = 5.0
"""How long a process waits for another one's write."""

TAGS = tuple(f"tag{number}" for number in range(1, MOST_TAGS + 1))
NAMES = ("caller", "alias", "backend", "model", *TAGS)
COUNTS = (
    "calls",
    "failed",
    "input",
    "cache_read",
    "cache_write",
    "output",
    "reasoning",
    "estimated",
    "unpriced",
    "cost",
)
"""The sums: calls, those that failed, tokens by kind, calls whose tokens are estimated, calls with
tokens and without a price, and the cost in 1 / ``usage.PICO`` US dollars."""

_UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
_SPAN = re.compile(r"(\d{1,5})([hdw])")

_BY = {
    "hour": "strftime('%Y-%m-%dT%H:00Z', hour, 'unixepoch')",
    "day": "strftime('%Y-%m-%d', hour, 'unixepoch')",
    "month": "strftime('%Y-%m', hour, 'unixepoch')",
    **{name: name for name in ("caller", "alias", "backend", "model", *TAGS)},
}
BY = tuple(_BY)
"""By what usage can be split; times are UTC."""


def seconds_of(span: str) -> int:
    """Return the seconds of a span of time such as ``24h``, ``7d`` or ``4w``. Raises ValueError."""
    found = _SPAN.fullmatch(span)
    if found is None:
        raise ValueError(
            f"since: found {span[:20]!r}, expected a span of time such as 24h, 7d or 4w"
        )
    return int(found[1]) * _UNITS[found[2]]


def check_by(by: Sequence[str]) -> None:
    """Raise ValueError for a word that is none of ``BY``, or that stands twice."""
    unknown = [name for name in by if name not in _BY or by.count(name) > 1]
    if unknown:
        raise ValueError(
            f"by: found {unknown[0][:20]!r}, expected some of {', '.join(BY)}, each of them once"
        )


def shown_usage(caller: str, since: float, rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a report as the JSON object that a caller gets of its own usage.

    Costs are in US dollars, as text, since JSON's numbers are not exact.
    """
    return {
        "object": "usage",
        "caller": caller,
        "since": int(since),
        "data": [{**row, "cost": dollars(row["cost"])} for row in rows],
    }


def report(
    connection: Any, since: float, by: Sequence[str], caller: str | None = None
) -> list[dict[str, Any]]:
    """Return the sums of each group since a moment, in unix seconds, of one caller or of all.

    The dearest comes first where no time is among ``by``. The hour in which ``since`` lies counts
    whole.

    ``connection`` is one of ``sqlite3``, or a cursor. Raises ValueError as ``check_by``.
    """
    check_by(by)
    columns = [f"{_BY[name]} AS {name}" for name in by]
    columns += [f"sum({name}) AS {name}" for name in COUNTS]
    where = "hour > ?" if caller is None else "hour > ? AND caller = ?"
    given: tuple[Any, ...] = (since - 3600,) if caller is None else (since - 3600, caller)
    text = f"SELECT {', '.join(columns)} FROM hours WHERE {where}"
    if by:
        times = [name for name in by if name in ("hour", "day", "month")]
        order = ", ".join([*times, "sum(cost) DESC", "sum(calls) DESC"])
        text += f" GROUP BY {', '.join(_BY[name] for name in by)} ORDER BY {order}"
    rows = connection.execute(text, given)
    names = [*by, *COUNTS]
    found = [dict(zip(names, row, strict=True)) for row in (rows or connection).fetchall()]
    return [row for row in found if row["calls"]]


class Unreadable(Exception):
    """A journal cannot be read; the message names it and says why."""


def used_of_limits(file: str) -> list[Kept]:
    """Return what a journal has kept of limits, nothing where there is no such file yet.

    Raises Unreadable.
    """
    if not file or not Path(file).exists():
        return []
    try:
        # A URI, so that a reader never makes or changes the file.
        uri = f"{Path(file).resolve().as_uri()}?mode=ro"
        connection = sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)
        try:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            if version < 2:
                return []
            rows = connection.execute("SELECT counter, used, at FROM limits").fetchall()
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as error:
        raise Unreadable(f"{file}: {error}") from None
    return [(str(name), whole(used), float(at)) for name, used, at in rows]


def whole(used: float) -> float:
    """Return ``used`` as a whole number where it is one: money and what is prepaid are exact."""
    return int(used) if used == int(used) else used
