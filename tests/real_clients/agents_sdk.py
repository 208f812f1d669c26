"""Drive the OpenAI Agents SDK through the broker, at a backend of each dialect.

``make test-clients`` installs it into an environment below ``build/`` and runs this. The tasks are
in ``agents_task.py``; the same go to the practice backend directly, for comparison. Everything runs
on loopback and is bounded in time.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from practice_daemon import BACKENDS, DIRECT, serving  # noqa: E402

SECONDS = 120
"""How long all tasks at one backend may take."""

MODEL = "some-cache"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--python", required=True, help="the interpreter that has the SDK")
    options = parser.parse_args()
    passed = failed = 0
    with tempfile.TemporaryDirectory() as name, serving(Path(name), (MODEL,)) as servers:
        for backend in (DIRECT, *(each.name for each in BACKENDS)):
            model = MODEL if backend == DIRECT else f"{MODEL}-{backend}"
            done = subprocess.run(
                [options.python, str(HERE / "agents_task.py"), servers.url(backend), model],
                stdout=subprocess.PIPE,
                text=True,
                timeout=SECONDS,
            )
            for line in done.stdout.splitlines():
                told = json.loads(line)
                passed += told["good"]
                failed += not told["good"]
                verdict = "pass" if told["good"] else "FAIL"
                print(f"{verdict}  {told['task']:10} {backend:10} {told['told']}", flush=True)
            failed += done.returncode != 0
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
