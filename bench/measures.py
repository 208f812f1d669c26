"""How each figure is taken."""

import contextlib
import http.client
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.encryption import encrypting
from bench.processes import (
    CORES,
    LOAD_CORE,
    Process,
    established,
    free_port,
    running,
    start,
)
from bench.results import Load, Result
from bench.scenarios import (
    CLIENT_DIALECT,
    FAST16,
    GROWTH_CALLS,
    GROWTH_STREAMS,
    GROWTH_WHOLE,
    HEADERS,
    NS64,
    URLS,
    Scenario,
    Standing,
    body,
    held,
)
from bench.systems import Secured, System

BUILD = Path(__file__).with_name("build")
START_SECONDS = 60.0
LOAD_SECONDS = 120.0
"""Longest time that one load may take; the longest planned takes 20 s, for a fast system."""

SETTLE_SECONDS = 1.0
"""After a load, until what lingers is gone."""

GROWTH_HOURS = 7
GROWTH_START_HOURS = 2
"""Of calls; in the first ones pools, caches and the allocator find their size."""

HELD_STEP = 40
HELD_STEPS = 30
EVENT_INTERVAL_US = 20_000
"""Between two events of a stream."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A system that serves."""

    system: System
    process: Process
    port: int
    backend_port: int
    folder: Path
    start_seconds: float
    """From its start to its first answer."""

    def headers(self, path: str) -> tuple[str, ...]:
        """What its clients send on ``path``."""
        more = self.system.headers(path, self.backend_port)
        return (*HEADERS[CLIENT_DIALECT[path]], *more)


@contextlib.contextmanager
def mock_backend(folder: Path) -> Iterator[int]:
    """The mock, on the load's core; gives its port."""
    port = free_port()
    command = [str(BUILD / "mockllm"), str(port)]
    with running(command, cores=(LOAD_CORE,), output=folder / "mockllm.log") as process:
        _await_answer(process, port, "a", HEADERS["openai"])
        yield port


@contextlib.contextmanager
def serving(
    system: System, folder: Path, backend_port: int, tls: Secured | None = None
) -> Iterator[Running]:
    """A system, started afresh in a folder of its own below ``folder``."""
    if tls is not None and system.secured is None:
        raise RuntimeError(f"{system.name} takes no part in runs with TLS")
    folder = folder / f"{system.name}-{time.monotonic_ns()}"
    folder.mkdir()
    port = free_port()
    if tls is not None and system.secured is not None:
        command = system.secured(folder, port, backend_port, tls)
    else:
        command = system.command(folder, port, backend_port)
    began = time.monotonic()
    path = system.paths[0]
    headers = (*HEADERS[CLIENT_DIALECT[path]], *system.headers(path, backend_port))
    with contextlib.ExitStack() as stack:
        process = stack.enter_context(
            running(command, cores=system.cores, output=folder / "output.log")
        )
        if tls is not None and tls.clients:
            port = stack.enter_context(encrypting(folder, port, tls.identity))
        _await_answer(process, port, path, headers, system.prefix)
        yield Running(
            system=system,
            process=process,
            port=port,
            backend_port=backend_port,
            folder=folder,
            start_seconds=time.monotonic() - began,
        )


def _await_answer(
    process: Process, port: int, path: str, lines: tuple[str, ...], prefix: str = ""
) -> None:
    """Wait until a call is answered. Raises RuntimeError when the process ends or takes too
    long."""
    url = URLS[CLIENT_DIALECT[path]]
    headers = dict(line.split(": ", 1) for line in lines)
    headers["Content-Type"] = "application/json"
    deadline = time.monotonic() + START_SECONDS
    status = 0
    while time.monotonic() < deadline:
        process.check()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", url, body(path, NS64, prefix), headers)
            status = connection.getresponse().status
            if status == 200:
                return
        except OSError:
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    said = process.output.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"port {port} does not answer (last status {status}): {said}")


@contextlib.contextmanager
def _loading(
    running: Running, path: str, scenario: Scenario
) -> Iterator["subprocess.Popen[bytes]"]:
    """The load generator at work; ended with the block."""
    body_file = running.folder / "body.json"
    body_file.write_bytes(body(path, scenario, running.system.prefix))
    url = URLS[CLIENT_DIALECT[path]]
    command = [str(BUILD / "loadgen"), "-p", str(running.port), "-u", url]
    command += ["-b", str(body_file), "-e", str(scenario.events), *scenario.load]
    for header in running.headers(path):
        command += ["-H", header]
    # Where the system has both cores, the load takes what it needs of either.
    cores = (LOAD_CORE,) if len(running.system.cores) == 1 else CORES
    loader = start(command, cores=cores, output=subprocess.PIPE)
    try:
        yield loader
    finally:
        loader.kill()
        loader.wait()


def _ended(loader: "subprocess.Popen[bytes]", forgiven: float = 0.0) -> Load:
    """What the load found. Raises RuntimeError where more than ``forgiven`` of the answers were
    not as they should be."""
    try:
        said, _ = loader.communicate(timeout=LOAD_SECONDS)
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"the load did not end within {LOAD_SECONDS:.0f} s") from None
    complaints, _, figures = said.rstrip().rpartition(b"\n")
    load = msgspec.json.decode(figures, type=Load)
    if load.errors > forgiven * (load.errors + load.done) or not load.done:
        raise RuntimeError(
            f"{load.errors} bad answers, {load.done} good ones: {complaints.decode()}"
        )
    return load


def scenario_result(running: Running, path: str, scenario: Scenario, round: int) -> Result:
    """One scenario once. Raises RuntimeError where an answer is not as it should be."""
    process = running.process
    cpu, began = process.cpu_ns(), time.monotonic()
    with _loading(running, path, scenario) as loader:
        load = _ended(loader, running.system.forgiven)
    cpu = process.cpu_ns() - cpu
    took = time.monotonic() - began
    process.check()
    return Result(
        measure=scenario.name,
        system=running.system.name,
        path=path,
        round=round,
        value=cpu / 1000 / (load.events if scenario.unit == "event" else load.done),
        busy=cpu / 1e9 / took,
        load=load,
    )


def warm_up(running: Running, path: str) -> None:
    """Once each way, so that nothing is done for the first time while it is measured. Raises
    RuntimeError where an answer is not as it should be."""
    for scenario in (NS64, FAST16):
        short = msgspec.structs.replace(scenario, load=("-c", "8", "-t", "0.5"))
        scenario_result(running, path, short, 0)


def standing_result(running: Running, path: str, standing: Standing, round: int) -> Result:
    """Memory per stream while many stand; of a system that has served little, since what it got
    for earlier streams it may use again. Raises RuntimeError where not all stood."""
    warm_up(running, path)
    process = running.process
    before = process.memory_kb()
    with _loading(running, path, standing) as loader:
        time.sleep(standing.sample_seconds)
        stood = established(running.backend_port)
        during = process.memory_kb()
        load = _ended(loader)
    process.check()
    if stood < standing.streams:
        raise RuntimeError(f"only {stood} of {standing.streams} streams stood when it was time")
    return Result(
        measure=standing.name,
        system=running.system.name,
        path=path,
        round=round,
        value=(during - before) / standing.streams,
        load=load,
    )


def growth_result(running: Running, path: str, round: int) -> Result:
    """Bytes that stay of each call: memory before and after some hours' calls, made in a minute."""
    memory = []
    for _ in range(GROWTH_HOURS):
        for scenario in (GROWTH_WHOLE, GROWTH_STREAMS) * 3:
            scenario_result(running, path, scenario, round)
        time.sleep(SETTLE_SECONDS)
        memory.append(running.process.memory_kb())
    # It goes up and down by a megabyte or two: what stays is between the lower of two hours.
    before = memory[GROWTH_START_HOURS : GROWTH_START_HOURS + 2]
    after = memory[-2:]
    return Result(
        measure="growth",
        system=running.system.name,
        path=path,
        round=round,
        value=(min(after) - min(before))
        * 1024
        / (GROWTH_CALLS * (GROWTH_HOURS - GROWTH_START_HOURS - 2)),
    )


def workers_result(one: Running, two: Running, path: str, round: int) -> list[Result]:
    """How much more two workers serve than one, in two figures.

    ``workers``: by CPU time. A worker can serve until its core is full, so a broker can serve as
    many calls as its busiest worker has time for: what one process spends per call, divided by
    what the busier of two spends per call of both. It counts what two do in vain and how
    unevenly they share, and not what mock and load take of the same two cores.

    ``workers-wall``: calls per second of two, divided by those of one, with mock and load on the
    same two cores. What one sees here; with a third core it would be more.
    """
    system = two.system.name
    alone = scenario_result(one, path, NS64, round)
    before = two.process.cpu_ns_by_pid()
    together = scenario_result(two, path, NS64, round)
    after = two.process.cpu_ns_by_pid()
    assert alone.load is not None and together.load is not None
    busiest_us = max(after[pid] - before.get(pid, 0) for pid in after) / 1000
    ratio = alone.value / (busiest_us / together.load.done)
    wall = together.load.done / together.load.seconds / (alone.load.done / alone.load.seconds)
    return [
        Result(measure=name, system=system, path=path, round=round, value=value)
        for name, value in (("workers", ratio), ("workers-wall", wall))
    ]


def start_result(running: Running, round: int) -> Result:
    """Time from the start of the program to its first answer."""
    return Result(
        measure="start",
        system=running.system.name,
        path="-",
        round=round,
        value=running.start_seconds,
    )


def held_result(running: Running, path: str, round: int) -> Result:
    """The most streams, at 50 events per second each, that do not fall behind. Sought by halving,
    up to ``HELD_STEP * HELD_STEPS`` streams."""
    holds, behind = 0, HELD_STEPS + 1
    best: Result | None = None
    while behind - holds > 1:
        steps = (holds + behind) // 2
        result = _holding(running, path, steps * HELD_STEP, round)
        if result is None:
            behind = steps
        else:
            holds, best = steps, result
    if best is None:
        return Result(measure="held", system=running.system.name, path=path, round=round, value=0)
    return msgspec.structs.replace(best, value=float(holds * HELD_STEP))


def _holding(running: Running, path: str, streams: int, round: int) -> Result | None:
    """What was measured while nine events in ten arrived before the next one was sent, None where
    they did not. Tried twice: it may be the machine that was behind."""
    for _ in range(2):
        try:
            result = scenario_result(running, path, held(streams), round)
        except RuntimeError:
            running.process.check()
            continue
        assert result.load is not None
        if result.load.event.p90 <= EVENT_INTERVAL_US:
            return result
    return None
