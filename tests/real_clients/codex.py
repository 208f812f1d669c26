"""Drive the real Codex CLI through the broker, at a backend of each dialect.

``make test-clients`` installs the npm package below ``build/`` and runs this. For each backend
Codex gets some tasks with reasoning on; the practice backend behind the broker says which tools to
call, Codex runs them, and the task ends with what the last one said. The same tasks go to the
practice backend directly, for comparison. Everything runs on loopback, and each task is bounded in
time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from practice_daemon import BACKENDS, DIRECT, Servers, serving  # noqa: E402

JSON = dict[str, Any]

TASK_SECONDS = 90
"""How long one task may take."""

LIKE_DIRECT = 0.01
"""By so much less of the prompts may be in the cache than where Codex asks the backend directly."""

NOBODY = "00000000-0000-4000-8000-000000000000"
PATCH = "*** Begin Patch\n*** Add File: note.txt\n+said so\n*** End Patch"


def call(tool: str, arguments: object) -> str:
    """A step of the plan that the practice backend carries out."""
    return f"[[call {tool} {json.dumps(arguments)}]]"


class Task(NamedTuple):
    """``model`` is the name that Codex knows its tools by, ``plan`` what the backend has it do,
    ``kinds`` the items that it must tell, besides reasoning, and ``answer`` what must stand in its
    last message. ``config`` are settings of Codex; ``fails`` where the task must end with an
    error that has ``answer`` in it."""

    name: str
    model: str
    plan: str
    kinds: tuple[str, ...]
    answer: str
    config: tuple[str, ...] = ()
    fails: bool = False


TASKS = (
    Task(
        "tools",
        "gpt-5.5-cache",
        " ".join(
            (
                call("exec_command", {"cmd": "echo first-$((40+2))"}),
                call("apply_patch", PATCH),
                call("exec_command", {"cmd": "cat note.txt"}),
            )
        ),
        ("command_execution", "file_change", "command_execution", "agent_message"),
        "said so",
    ),
    Task(
        "parallel",
        "gpt-5.5-cache",
        "&".join(call("exec_command", {"cmd": f"echo number-$((40+{n}))"}) for n in (1, 2)),
        ("command_execution", "command_execution", "agent_message"),
        "number-42",
    ),
    Task(
        "namespace",
        "some-cache",
        # No agent has that id, and none is started: what one says would come between the steps.
        call("close_agent", {"target": NOBODY}) + call("exec_command", {"cmd": "echo five"}),
        ("collab_tool_call", "command_execution", "agent_message"),
        "five",
    ),
    Task(
        "websocket",
        "gpt-5.5-cache",
        call("exec_command", {"cmd": "echo over-sse"}),
        ("command_execution", "agent_message"),
        "over-sse",
        ("model_providers.broker.supports_websockets=true",),
    ),
    Task(
        "compaction",
        "some-cache",
        call("exec_command", {"cmd": "seq 1 9000"}),
        ("command_execution", "agent_message"),
        "",
        ("model_auto_compact_token_limit=6000",),
    ),
    Task("overflow", "overflow", "too long", (), "context window", fails=True),
)


class Ended(NamedTuple):
    """How a task ended; ``cached`` is the share of the prompt that the backend's cache had."""

    good: bool
    told: str
    cached: float = 0.0


def run(codex: str, servers: Servers, folder: Path, backend: str, task: Task) -> Ended:
    """One task at one backend."""
    work = folder / f"{backend}-{task.name}"
    work.mkdir()
    home = folder / "home" / work.name
    home.mkdir(parents=True)
    settings = (
        'model_provider="broker"',
        'model_providers.broker.name="broker"',
        f'model_providers.broker.base_url="{servers.url(backend)}"',
        'model_providers.broker.wire_api="responses"',
        'model_providers.broker.env_key="CLIENT_KEY"',
        "model_providers.broker.stream_max_retries=1",
        'model_reasoning_effort="high"',
        'model_reasoning_summary="detailed"',
        *task.config,
    )
    model = task.model if backend == DIRECT else f"{task.model}-{backend}"
    command = [codex, "exec", "--skip-git-repo-check", "--json", "--model", model]
    command += ["--dangerously-bypass-approvals-and-sandbox"]
    for setting in settings:
        command += ["-c", setting]
    keep = {key: os.environ[key] for key in ("PATH", "LANG", "TERM") if key in os.environ}
    started = time.monotonic()
    try:
        done = subprocess.run(
            [*command, f"Do it: {task.plan}"],
            cwd=work,
            env={**keep, "HOME": str(home), "CODEX_HOME": str(home), "CLIENT_KEY": "none"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TASK_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return Ended(False, f"did not end within {TASK_SECONDS} s")
    events = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return judged(task, events, time.monotonic() - started)


def judged(task: Task, events: list[JSON], seconds: float) -> Ended:
    """What the events of a task say."""
    if task.fails:
        errors = [json.dumps(event) for event in events if "failed" in event["type"]]
        good = any(task.answer in error for error in errors)
        return Ended(good, f"{seconds:.1f} s, {' '.join(errors)[:200]}")
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    kinds = [item["type"] for item in items]
    shown = [kind for kind in kinds if kind not in ("reasoning", "error")]
    answer = items[-1].get("text", "") if items else ""
    ends = [event["usage"] for event in events if event["type"] == "turn.completed"]
    whole = all(shown.count(kind) >= task.kinds.count(kind) for kind in task.kinds)
    good = bool(ends) and whole and task.answer in answer and "reasoning" in kinds
    told = f"{kinds.count('reasoning')} answers with reasoning, {seconds:.1f} s"
    if not good:
        rest = [event for event in events if "item" not in event or "error" in json.dumps(event)]
        return Ended(False, f"{told}: {kinds} {answer[:200]!r} {json.dumps(rest)[-600:]}")
    usage = ends[-1]
    cached = usage["cached_input_tokens"] / max(1, usage["input_tokens"])
    return Ended(True, f"{told}, {100 * cached:.1f} % cached", cached)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--codex", required=True, help="the codex program")
    parser.add_argument("--only", default="", help="names of tasks, with commas between them")
    options = parser.parse_args()
    codex = str(Path(options.codex).resolve())
    wanted = options.only.split(",") if options.only else [task.name for task in TASKS]
    passed = failed = 0
    models = ("gpt-5.5-cache", "some-cache", "overflow")
    with tempfile.TemporaryDirectory(dir=HERE.parents[1] / "build") as name:
        folder = Path(name)
        with serving(folder, models) as servers:
            for task in (task for task in TASKS if task.name in wanted):
                direct = 0.0
                for backend in (DIRECT, *(each.name for each in BACKENDS)):
                    ended = run(codex, servers, folder, backend, task)
                    direct = direct or ended.cached
                    good = ended.good and ended.cached >= direct - LIKE_DIRECT
                    passed += good
                    failed += not good
                    verdict = "pass" if good else "FAIL"
                    print(f"{verdict}  {task.name:10} {backend:10} {ended.told}", flush=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
