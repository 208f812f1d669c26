"""The metrics of all workers as one: a folder of files that each worker maps into its memory.

They are ``prometheus_client``'s own. A count is in the file as soon as it is made (what a turn of
the reactor has brought, at its end), so a worker that dies loses none but of that turn, and who
asks waits for nobody. Each file belongs to the number of a worker, not to a process: who takes
the number of a dead worker counts on where that one stopped.
"""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import prometheus_client
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import Metric
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from prometheus_client.samples import Sample
from prometheus_client.values import MultiProcessValue

KINDS = ("counter", "histogram", "gauge_livesum")
"""The files of one worker. Gauges count only while it lives."""

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Where ``prometheus_client`` looks for the folder."""

PARENT = 0
"""The number at which the parent counts; workers are counted from 1."""

_PIDS = "pids"
_TIMES = slice(13, 15)
"""In ``/proc/PID/stat`` behind the name: what children used that have ended."""


class Tally:
    """The folder, from its making to its end. Raises OSError where none can be made."""

    def __init__(self) -> None:
        self.folder = tempfile.mkdtemp(prefix="lmbroker-", dir=_memory())
        self._pids: tuple[int, ...] = ()

    def begin(self, number: int) -> None:
        """Make the files of a worker where there are none yet, and let its gauges begin at 0."""
        mark_process_dead(number, self.folder)
        for kind in KINDS:
            path = os.path.join(self.folder, f"{kind}_{number}.db")
            if not os.path.exists(path):
                # Whole at once: somebody may be reading.
                MmapedDict(path + ".new").close()
                os.rename(path + ".new", path)

    def end(self, number: int) -> None:
        """Note that a worker has ended: its gauges go, its counts stay."""
        mark_process_dead(number, self.folder)

    def living(self, pids: Sequence[int]) -> None:
        """Note which processes there are, the parent first."""
        path = os.path.join(self.folder, _PIDS)
        with open(path + ".new", "w") as file:
            file.write(" ".join(map(str, pids)))
        os.rename(path + ".new", path)

    def remove(self) -> None:
        """Delete the folder and its files."""
        remove(self.folder)


def remove(folder: str) -> None:
    """Delete the folder and its files."""
    shutil.rmtree(folder, ignore_errors=True)


def count_at(folder: str, number: int) -> None:
    """Let all metrics that this process makes from now on count as the worker of this number."""
    os.environ[FOLDER] = folder
    prometheus_client.values.ValueClass = MultiProcessValue(lambda: number)


@contextmanager
def counted_at(folder: str, number: int) -> Iterator[None]:
    """Let the series that are made meanwhile, and no others, count as the worker of this number."""
    kind, place = prometheus_client.values.ValueClass, os.environ.get(FOLDER)
    count_at(folder, number)
    try:
        yield
    finally:
        prometheus_client.values.ValueClass = kind
        if place is None:
            del os.environ[FOLDER]
        else:
            os.environ[FOLDER] = place


def merged(folder: str) -> CollectorRegistry:
    """Return the metrics of all workers, and of their processes and the parent's."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)
    PlatformCollector(registry)
    Processes(lambda: _pids(folder), registry)
    return registry


def _pids(folder: str) -> list[int]:
    with open(os.path.join(folder, _PIDS)) as file:
        return list(map(int, file.read().split()))


class Processes(Collector):
    """``process_*`` of several processes together, the first of which is the parent of the others.

    They are sums, and the time when the first has started. CPU time is also that of the workers
    that have ended.
    """

    def __init__(self, pids: Callable[[], list[int]], registry: CollectorRegistry) -> None:
        self._pids = pids
        registry.register(self)

    def describe(self) -> list[Metric]:
        """Return no metrics ahead of a collection."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the process metrics, summed over all processes."""
        parent, *workers = self._pids()
        # One that ends meanwhile must be counted once: among the living or among the dead.
        ended = -1.0
        while ended != (now := _ended_seconds(parent)):
            ended = now
            found = [list(_process(pid)) for pid in (parent, *workers)]
        for number, metric in enumerate(found[0]):
            values = [each[number].samples[0].value for each in found if each]
            name = metric.samples[0].name
            value = min(values) if name.endswith("start_time_seconds") else sum(values)
            if name.endswith("cpu_seconds_total"):
                value += ended
            metric.samples = [Sample(name, {}, value)]
            yield metric


def _process(pid: int) -> list[Metric]:
    """Return the metrics of a process, none for one that has just ended."""
    found = list(ProcessCollector(pid=lambda: pid, registry=None).collect())
    return sorted(found, key=lambda metric: metric.name) if len(found) == _ALL else []


_ALL = len(list(ProcessCollector(registry=None).collect()))


def _ended_seconds(pid: int) -> float:
    """Return the CPU seconds of those children of a process that have ended."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            times = file.read().rpartition(b")")[2].split()[_TIMES]
    except OSError:
        return 0.0
    return sum(map(int, times)) / os.sysconf("SC_CLK_TCK")


def _memory() -> str:
    """Return a folder in memory if there is one that we may write to, else any."""
    folders = (os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0], "/dev/shm")
    for folder in folders:
        if folder and os.access(folder, os.W_OK | os.X_OK):
            return folder
    return tempfile.gettempdir()
