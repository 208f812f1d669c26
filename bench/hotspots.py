"""Where the broker's time goes: ``python -m bench.hotspots SCENARIO PATH``.

Runs the broker under cProfile with the load of one scenario and prints the functions with the
most time of their own. The profiler makes calls dearer than what they do, so it shows where to
look, not what is gained there: measure that with ``python -m bench``.
"""

import pstats
import sys
import tempfile
from pathlib import Path

import msgspec

from bench.measures import mock_backend, scenario_result, serving, warm_up
from bench.scenarios import PATHS, SCENARIOS
from bench.systems import LMBROKER

SHOWN = 60
REPEATS = 3


def main() -> int:
    """Profile one scenario on one path."""
    if len(sys.argv) != 3 or sys.argv[1] not in SCENARIOS or sys.argv[2] not in list(PATHS):
        print(__doc__, file=sys.stderr)
        return 2
    scenario, path = SCENARIOS[sys.argv[1]], sys.argv[2]
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        stats = folder / "stats"

        def profiled(own: Path, port: int, backend_port: int) -> list[str]:
            twistd, *rest = LMBROKER.command(own, port, backend_port)
            return [twistd, "--profile", str(stats), "--profiler=cprofile", "--savestats", *rest]

        system = msgspec.structs.replace(LMBROKER, command=profiled)
        with mock_backend(folder) as backend_port, serving(system, folder, backend_port) as running:
            warm_up(running, path)
            for number in range(REPEATS):
                scenario_result(running, path, scenario, number)
        pstats.Stats(str(stats)).sort_stats("tottime").print_stats(SHOWN)
    return 0


if __name__ == "__main__":
    sys.exit(main())
