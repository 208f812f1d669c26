"""The processes of a run: started on a core of their own, measured, and stopped in any case."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

CORES = sorted(os.sched_getaffinity(0))
PROXY_CORE, LOAD_CORE = CORES[0], CORES[-1]
"""What is measured has a core to itself; the mock backend and the load share the other."""

STOP_SECONDS = 5.0
NICE = -10
"""Where we may. On a busy machine a proxy that waits for its turn finds several events at once
when it comes, and looks faster than it is."""


def start(
    command: Sequence[str], *, cores: Sequence[int], output: IO[bytes] | int
) -> "subprocess.Popen[bytes]":
    """A program in a session of its own, on some cores, before others. The kernel ends it with us,
    should we be killed before we can."""
    listed = ",".join(map(str, cores))
    prefix = ["setpriv", "--pdeathsig", "KILL", "taskset", "--cpu-list", listed]
    popen = subprocess.Popen(
        [*prefix, *command],
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, popen.pid, NICE)
        # Where the scheduler first divides between sessions, this is what counts.
        Path(f"/proc/{popen.pid}/autogroup").write_text(str(NICE))
    return popen


class Process:
    """A program and its children, as one process group; ``output`` is the file that holds what it
    says."""

    def __init__(self, command: Sequence[str], *, cores: Sequence[int], output: Path) -> None:
        self.output = output
        with output.open("wb") as file:
            self._popen = start(command, cores=cores, output=file)
        self.pid = self._popen.pid

    def check(self) -> None:
        """Raises RuntimeError, with the end of what it said, if it has ended by itself."""
        if self._popen.poll() is not None:
            said = self.output.read_text(errors="replace")[-2000:]
            raise RuntimeError(f"{self._popen.args!r} ended: {said}")

    def stop(self) -> None:
        """End the whole group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGTERM)
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._popen.wait()

    def cpu_ns(self) -> int:
        """CPU time of the group so far."""
        return sum(self.cpu_ns_by_pid().values())

    def cpu_ns_by_pid(self) -> dict[int, int]:
        """CPU time so far of each process of the group. Exact to the nanosecond, unlike
        ``/proc/PID/stat``."""
        times = {}
        for pid in self._group():
            times[pid] = 0
            for schedstat in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                with contextlib.suppress(OSError):
                    times[pid] += int(schedstat.read_text().split()[0])
        return times

    def memory_kb(self) -> int:
        """Memory of the group in KiB; what several share counts once."""
        total = 0
        for pid in self._group():
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(
                    int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")
                )
        return total

    def _group(self) -> Iterator[int]:
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(") ")[2].split()
                if int(fields[2]) == self.pid:
                    yield int(stat.parent.name)


@contextlib.contextmanager
def running(command: Sequence[str], *, cores: Sequence[int], output: Path) -> Iterator[Process]:
    """A process for as long as the block runs."""
    process = Process(command, cores=cores, output=output)
    try:
        yield process
    finally:
        process.stop()


def established(port: int) -> int:
    """The connections of others to a port of 127.0.0.1."""
    local = f"0100007F:{port:04X}"
    lines = (line.split(maxsplit=4) for line in Path("/proc/net/tcp").read_text().splitlines())
    return sum(line[1] == local and line[3] == "01" for line in lines)


def free_port() -> int:
    """A port of 127.0.0.1 on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def find(program: str) -> str | None:
    """Where a program is, None if it is not installed. Daemons live where not every PATH leads."""
    return shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
