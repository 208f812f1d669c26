"""The table of a run, as text."""

from collections.abc import Sequence

from bench.goals import Row, rows
from bench.results import Line, Machine, Result
from bench.systems import BASE

_SIGNS = {"ratio": "x", "more": "+", "most": "", "least": ""}


def table(lines: Sequence[Line]) -> str:
    """Every system of a run beside the base and the goals; medians over the rounds."""
    results = [line for line in lines if isinstance(line, Result)]
    out = [_heading(line) for line in lines if isinstance(line, Machine)]
    systems = dict.fromkeys(result.system for result in results)
    for system in systems:
        if system == BASE.name and len(systems) > 1:
            continue
        columns = ("measure", "path", BASE.name, system, "compared", "must", "aim", "reached")
        cells = [columns, *(_cells(row) for row in rows(results, system, BASE.name))]
        widths = [max(len(line[column]) for line in cells) for column in range(len(columns))]
        out.append("")
        for line in cells:
            measure, path, *figures, verdict = line
            left = f"{measure:<{widths[0]}}  {path:<{widths[1]}}"
            right = "  ".join(
                f"{figure:>{width}}" for figure, width in zip(figures, widths[2:], strict=False)
            )
            out.append(f"{left}  {right}  {verdict}")
    return "\n".join(out) + "\n"


def _heading(machine: Machine) -> str:
    return (
        f"{machine.when}, commit {machine.commit or 'unknown'}\n"
        f"{machine.processor}, {machine.cores} cores, Linux {machine.kernel}, "
        f"Python {machine.python}, nginx {machine.nginx or 'missing'}; "
        f"load average before: {machine.load_average}"
    )


def _cells(row: Row) -> tuple[str, ...]:
    goal = row.goal
    sign = _SIGNS[goal.kind]
    return (
        goal.label,
        row.path,
        _figure(row.base),
        _figure(row.found),
        "-" if row.compared is None else sign + _figure(row.compared),
        sign + _figure(goal.must),
        sign + _figure(goal.aim),
        row.verdict,
    )


def _figure(value: float | None) -> str:
    """With three digits that count."""
    if value is None:
        return "-"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:.{digits}f}"
