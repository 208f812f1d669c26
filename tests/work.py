"""Work, counted and not timed: the lines of Python that the core executes.

Time says nothing on a busy machine; the number of lines is the same each time. Each turn of a loop
counts as one at least, that of a comprehension, too, which may stand in one line with the rest. It
leaves out what one line does in C, such as to search a list or to copy a text. That is seen as
processor time, which is no measure of work but grows like it: ``growth`` compares two sizes so
far apart that noise cannot be taken for a square.
"""

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import lmbroker

CORE = str(Path(lmbroker.__file__).parent)

Action = Callable[[], object]


def lines(action: Action) -> dict[CodeType, int]:
    """How many lines ``action`` executes, by the functions of the package that it reaches:
    a square in one of them does not hide behind the work of all others."""
    counts: dict[CodeType, list[int]] = {}
    tracers: dict[CodeType, Any] = {}

    def called(frame: FrameType, event: str, _: Any) -> Any:
        code = frame.f_code
        tracer = tracers.get(code)
        if tracer is None:
            if not code.co_filename.startswith(CORE):
                return None
            counts[code] = [0]
            tracer = tracers[code] = _tracer(counts[code])
        return tracer

    before = sys.gettrace()
    sys.settrace(called)
    try:
        action()
    finally:
        sys.settrace(before)
    return {code: count for code, [count] in counts.items()}


def functions(action: Action) -> set[CodeType]:
    """The functions of the package that ``action`` reaches."""
    found: set[CodeType] = set()

    def called(frame: FrameType, event: str, _: Any) -> None:
        found.add(frame.f_code)

    before = sys.gettrace()
    sys.settrace(called)
    try:
        action()
    finally:
        sys.settrace(before)
    return {code for code in found if code.co_filename.startswith(CORE)}


def _tracer(count: list[int]) -> Any:
    def executed(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            count[0] += 1
        return executed

    return executed


def growth(
    small: Action, large: Action, bound: float, tries: int = 6, least: float = 0.002
) -> float:
    """How much more processor time ``large`` takes than ``small``: the least of each, measured
    again until the ratio is below ``bound`` or ``tries`` are used up. Times below ``least``, in
    seconds, are not compared."""
    least_small, least_large = float("inf"), float("inf")
    for _ in range(tries):
        least_large = min(least_large, _seconds(large))
        if least_large < bound * least:
            break
        least_small = min(least_small, _seconds(small))
        if least_large < bound * least_small:
            break
    return least_large / max(min(least_small, least_large), least)


def _seconds(action: Action) -> float:
    """Processor time, without that of the garbage collector: what it looks at is everybody's."""
    gc.disable()
    began = time.process_time()
    try:
        action()
        return time.process_time() - began
    finally:
        gc.enable()
