"""``lmbroker replay``: runs captured calls through the code of today, offline."""

import argparse
import json
from collections.abc import Iterator
from typing import Any

from lmbroker.capture.replaying import Difference, replay
from lmbroker.commands.captured_files import Unreadable, names_in, read_file
from lmbroker.commands.output import report

SHOWN_LINES = 10
"""Lines of each side that are shown of a difference."""

SHOWN_CHARACTERS = 300
"""Characters of each of them."""

DIFFERS, UNREADABLE = 1, 2
"""Exit codes."""


def run(options: argparse.Namespace) -> int:
    """Print what differs; returns the exit code."""
    code = same = count = 0
    try:
        for name in names_in(options.place):
            call = read_file(name)
            found = replay(call)
            count += 1
            same += not found
            unfinished = "" if call.ended is not None else ", as far as it was captured"
            print(f"{name}: {'differs' if found else 'same'}{unfinished}")
            for difference in found:
                code = DIFFERS
                for line in lines_of(difference):
                    print(f"  {line}")
    except Unreadable as problem:
        report(str(problem))
        code = UNREADABLE
    print(f"{count} calls, {same} of them the same")
    return code


def lines_of(difference: Difference) -> Iterator[str]:
    """Yield the lines that say what differs: what stood there first, then what does now."""
    before, now = _lines(difference.before), _lines(difference.now)
    first = 0
    while first < min(len(before), len(now)) and before[first] == now[first]:
        first += 1
    last = 0
    while last < min(len(before), len(now)) - first and before[-1 - last] == now[-1 - last]:
        last += 1
    yield f"{difference.place} (from line {first + 1} on):"
    for sign, lines in (("-", before), ("+", now)):
        other = lines[first : len(lines) - last]
        for line in other[:SHOWN_LINES]:
            yield f"{sign} {line[:SHOWN_CHARACTERS]}"
        if len(other) > SHOWN_LINES:
            yield f"{sign} ... and {len(other) - SHOWN_LINES} lines more"


def _lines(data: bytes) -> list[str]:
    """Return ``data`` as lines for people: JSON with a line for each value."""
    text = data.decode("utf-8", "backslashreplace")
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text.splitlines()
    if not isinstance(value, dict | list):
        return text.splitlines()
    pretty = json.dumps(value, indent=1, ensure_ascii=False).splitlines()
    # Where only the layout differs, or which of two keys comes first, that has to be seen.
    return [*pretty, f"as it is: {text}"]
