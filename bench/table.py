"""The tables of a run: as text, one for each system; as Markdown, one for all; as JSON."""

from collections.abc import Sequence

import msgspec

from bench.goals import Goal, Row, goals, rows
from bench.results import Line, Machine, Result
from bench.systems import BASE

_ENCRYPTED = {"none": "", "backend": "; TLS to the backend", "both": "; TLS on both sides"}
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
        cells = [columns, *(_cells(row) for row in rows(results, system, BASE.name, _tls(lines)))]
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


def markdown(lines: Sequence[Line]) -> str:
    """All systems side by side: each cell has the figure, what it comes to against the base, and
    what that reaches."""
    results, by_place = _compared(lines)
    systems = list(by_place)
    measured = {result.system for result in results}
    out = ["# Benchmark", ""]
    out += [
        _heading(line).replace("\n", "  \n") + "\n" for line in lines if isinstance(line, Machine)
    ]
    columns = ("measure", "path", *([BASE.name] if BASE.name in measured else ()))
    out.append("| " + " | ".join((*columns, *systems, "must", "aim")) + " |")
    out.append("|---" * (len(columns) + len(systems) + 2) + "|")
    places = dict.fromkeys(place for found in by_place.values() for place in found)
    order = goals(_tls(lines))
    for place in sorted(places, key=lambda place: order.index(place[0])):
        goal, path = place
        found = {name: rows.get(place) for name, rows in by_place.items()}
        base = next((row.base for row in found.values() if row is not None), None)
        sign = _SIGNS[goal.kind]
        cells = [goal.label, path, *([_figure(base)] if BASE.name in measured else ())]
        cells += ["-" if row is None else _cell(row) for row in found.values()]
        cells += [sign + _figure(goal.must), sign + _figure(goal.aim)]
        out.append("| " + " | ".join(cells) + " |")
    bad = [
        f"- {result.system} {result.path} {result.measure}: {result.load.errors} errors beside "
        f"{result.load.done} good answers"
        for result in results
        if result.load is not None and result.load.errors
    ]
    if bad:
        out += ["", "Answers that were errors, and are not counted:", "", *dict.fromkeys(bad)]
    return "\n".join(out) + "\n"


def summary(lines: Sequence[Line]) -> bytes:
    """The same as JSON: the machine, and for each system and measure the median of the rounds,
    the base's, what is compared, the goals, and which of them was reached."""
    _, by_place = _compared(lines)
    found = [
        {
            "measure": goal.measure,
            "label": goal.label,
            "path": path,
            "system": system,
            "found": row.found,
            BASE.name: row.base,
            "compared": row.compared,
            "kind": goal.kind,
            "must": goal.must,
            "aim": goal.aim,
            "reached": row.verdict,
        }
        for system, rows in by_place.items()
        for (goal, path), row in rows.items()
    ]
    machines = [line for line in lines if isinstance(line, Machine)]
    whole = {"machine": machines[0] if machines else None, "results": found}
    return msgspec.json.format(msgspec.json.encode(whole), indent=1) + b"\n"


def _compared(
    lines: Sequence[Line],
) -> tuple[list[Result], dict[str, dict[tuple[Goal, str], Row]]]:
    """The results, and the rows of each system that is not the base alone."""
    results = [line for line in lines if isinstance(line, Result)]
    names = list(dict.fromkeys(result.system for result in results))
    shown = [name for name in names if name != BASE.name or len(names) == 1]
    return results, {
        name: {(row.goal, row.path): row for row in rows(results, name, BASE.name, _tls(lines))}
        for name in shown
    }


def _tls(lines: Sequence[Line]) -> str:
    """Where the TLS of a run was."""
    return next((line.tls for line in lines if isinstance(line, Machine)), "none")


def _cell(row: Row) -> str:
    if row.compared is None or row.goal.kind in ("most", "least"):
        return f"{_figure(row.found)} ({row.verdict})"
    return f"{_figure(row.found)} ({_SIGNS[row.goal.kind]}{_figure(row.compared)}, {row.verdict})"


def _heading(machine: Machine) -> str:
    versions = "".join(f"; {name}: {version}" for name, version in machine.systems.items())
    return (
        f"{machine.when}, commit {machine.commit or 'unknown'}\n"
        f"{machine.processor}, {machine.cores} cores, Linux {machine.kernel}, "
        f"Python {machine.python}, nginx {machine.nginx or 'missing'}; "
        f"load average before: {machine.load_average}{versions}{_ENCRYPTED[machine.tls]}"
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
