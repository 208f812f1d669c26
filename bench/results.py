"""What a run finds, one line of JSON each: first the ``Machine``, then a ``Result`` per measure."""

import os
import platform
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import msgspec


class Quantiles(msgspec.Struct, frozen=True):
    """Of times in microseconds."""

    p50: float
    p90: float
    p99: float


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What the load generator prints; see loadgen.c."""

    seconds: float
    done: int
    errors: int
    events: int
    dials: int
    answer: Quantiles
    first: Quantiles
    event: Quantiles


class Machine(msgspec.Struct, frozen=True, tag="machine", kw_only=True):
    """Where and when. ``load_average`` is that of the minute before the run: what others did.
    ``systems``: name -> version, of those that tell one. ``tls``: where TLS was
    (``encryption.Encryption``)."""

    when: str
    processor: str
    cores: int
    kernel: str
    python: str
    nginx: str
    commit: str
    load_average: float
    systems: dict[str, str] = {}
    tls: str = "none"


class Result(msgspec.Struct, frozen=True, tag="result", kw_only=True):
    """``value`` by ``measure``: CPU microseconds per call or event for a scenario, seconds for
    ``start``, KiB per stream for ``idle`` and ``live``, streams for ``held``, bytes per call for
    ``growth``, a multiple for ``workers``. ``busy`` is the share of its core that the system
    used."""

    measure: str
    system: str
    path: str
    round: int
    value: float
    busy: float = 0.0
    load: Load | None = None


Line = Machine | Result


def this_machine(systems: dict[str, str] | None = None, tls: str = "none") -> Machine:
    """The machine, the versions and the encryption of a run that begins now."""
    info = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.partition(": ")[2] for line in info if line.startswith("model name")]
    return Machine(
        when=datetime.now(UTC).isoformat(timespec="seconds"),
        processor=names[0] if names else platform.machine(),
        cores=os.cpu_count() or 1,
        kernel=platform.release(),
        python=platform.python_version(),
        nginx=_said("nginx", "-v").rpartition("/")[2],
        commit=_said("git", "describe", "--always", "--dirty"),
        load_average=round(os.getloadavg()[0], 2),
        systems=systems or {},
        tls=tls,
    )


def _said(*command: str) -> str:
    """The first line of a command's output, "" where it cannot run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout or done.stderr).partition("\n")[0].strip()


def write(path: Path, lines: Iterable[Line]) -> None:
    """Append to a file of results."""
    with path.open("ab") as file:
        for line in lines:
            file.write(msgspec.json.encode(line) + b"\n")


def read(path: Path) -> list[Line]:
    """The lines of a file of results."""
    decoder = msgspec.json.Decoder(Line)
    return [decoder.decode(line) for line in path.read_bytes().splitlines()]
