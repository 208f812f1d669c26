"""How each figure is taken."""

import contextlib
import http.client
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from bench.processes import LOAD_CORE, PROXY_CORE, Process, free_port, running, start
from bench.results import Load, Result
from bench.scenarios import (
    CLIENT_DIALECT,
    FAST16,
    HEADERS,
    IDLE,
    IDLE_SAMPLE_SECONDS,
    IDLE_STREAMS,
    NS64,
    URLS,
    Scenario,
    body,
    held,
)
from bench.systems import System

BUILD = Path(__file__).with_name("build")
START_SECONDS = 60.0
LOAD_SECONDS = 60.0
"""Longest time that one load may take; the longest planned takes 8 s."""

HELD_STEP = 40
HELD_STEPS = 30
EVENT_INTERVAL_US = 20_000
"""Between two events of a stream."""


class Running(msgspec.Struct, frozen=True, kw_only=True):
    """A system that serves."""

    system: System
    process: Process
    port: int
    folder: Path
    start_seconds: float
    """From its start to its first answer."""


@contextlib.contextmanager
def mock_backend(folder: Path) -> Iterator[int]:
    """The mock, on the load's core; gives its port."""
    port = free_port()
    command = [str(BUILD / "mockllm"), str(port)]
    with running(command, core=LOAD_CORE, output=folder / "mockllm.log") as process:
        _await_answer(process, port, "a")
        yield port


@contextlib.contextmanager
def serving(system: System, folder: Path, backend_port: int) -> Iterator[Running]:
    """A system, started afresh in a folder of its own below ``folder``."""
    folder = folder / f"{system.name}-{time.monotonic_ns()}"
    folder.mkdir()
    port = free_port()
    command = system.command(folder, port, backend_port)
    began = time.monotonic()
    with running(command, core=PROXY_CORE, output=folder / "output.log") as process:
        _await_answer(process, port, system.paths[0])
        yield Running(
            system=system,
            process=process,
            port=port,
            folder=folder,
            start_seconds=time.monotonic() - began,
        )


def _await_answer(process: Process, port: int, path: str) -> None:
    """Wait until a call is answered. Raises RuntimeError when the process ends or takes too
    long."""
    dialect = CLIENT_DIALECT[path]
    headers = dict(header.split(": ", 1) for header in HEADERS[dialect])
    deadline = time.monotonic() + START_SECONDS
    status = 0
    while time.monotonic() < deadline:
        process.check()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("POST", URLS[dialect], body(path, NS64), headers)
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
    dialect = CLIENT_DIALECT[path]
    body_file = running.folder / "body.json"
    body_file.write_bytes(body(path, scenario))
    command = [str(BUILD / "loadgen"), "-p", str(running.port), "-u", URLS[dialect]]
    command += ["-b", str(body_file), "-e", str(scenario.events), *scenario.load]
    for header in HEADERS[dialect]:
        command += ["-H", header]
    loader = start(command, core=LOAD_CORE, output=subprocess.PIPE)
    try:
        yield loader
    finally:
        loader.kill()
        loader.wait()


def _ended(loader: "subprocess.Popen[bytes]") -> Load:
    said, _ = loader.communicate(timeout=LOAD_SECONDS)
    complaints, _, figures = said.rstrip().rpartition(b"\n")
    load = msgspec.json.decode(figures, type=Load)
    if load.errors or not load.done:
        raise RuntimeError(
            f"{load.errors} bad answers, {load.done} good ones: {complaints.decode()}"
        )
    return load


def scenario_result(running: Running, path: str, scenario: Scenario, round: int) -> Result:
    """One scenario once. Raises RuntimeError where an answer is not as it should be."""
    process = running.process
    cpu, began = process.cpu_ns(), time.monotonic()
    with _loading(running, path, scenario) as loader:
        load = _ended(loader)
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
    """Once each way, so that nothing is done for the first time while it is measured."""
    for scenario in (NS64, FAST16):
        short = msgspec.structs.replace(scenario, load=("-c", "8", "-t", "0.5"))
        scenario_result(running, path, short, 0)


def idle_result(running: Running, path: str, round: int) -> Result:
    """Memory per stream while 1,000 are held; of a system that has served little, since what it
    got for earlier streams it may use again."""
    warm_up(running, path)
    process = running.process
    before = process.memory_kb()
    with _loading(running, path, IDLE) as loader:
        time.sleep(IDLE_SAMPLE_SECONDS)
        during = process.memory_kb()
        load = _ended(loader)
    return Result(
        measure="idle",
        system=running.system.name,
        path=path,
        round=round,
        value=(during - before) / IDLE_STREAMS,
        load=load,
    )


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
