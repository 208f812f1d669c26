"""The soak: rounds of mixed calls with random faults and clients who leave, against the daemon.

``make soak`` runs it. Each call must end in one of four ways: a whole answer, an error in its
stream, an error as JSON, or because the client left. When a round is over nothing may be left of
it: file descriptors, threads, calls in flight, memory. Exit code 1 where something is.
"""

import argparse
import os
import re
import tempfile
from collections import Counter
from pathlib import Path
from random import Random
from typing import NamedTuple
from urllib.request import ProxyHandler, build_opener

from mixed_calls import BrokenBackends, carry_out, config, plans
from running import Daemon
from twisted.internet import reactor
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import deferLater, react
from twisted.internet.threads import deferToThread

from lmbroker.backends.connections import CLOSE_SECONDS, IDLE_SECONDS
from lmbroker.testing import PracticeBackend

GROWTH = 4 * 1024
"""KiB that the memory of the daemon may grow by in a round, once it has seen three: until then it
meets larger answers than before."""

SERVER = '[server]\nhost = "127.0.0.1"\nport = PORT\n'


class Level(NamedTuple):
    """What the daemon holds."""

    descriptors: int
    threads: int
    memory: int
    """KiB."""
    in_flight: int
    calls: int
    """Access lines so far."""


def ask(url):
    with build_opener(ProxyHandler({})).open(url, timeout=5) as answer:
        return answer.read().decode()


async def in_flight(daemon):
    text = await deferToThread(ask, daemon.url + "/metrics")
    return int(float(re.search(r"^lmbroker_in_flight (\S+)", text, re.MULTILINE)[1]))


async def level(daemon):
    """Once idle connections are closed."""
    await deferLater(reactor, IDLE_SECONDS + CLOSE_SECONDS + 0.5)
    status = Path(f"/proc/{daemon.process.pid}/status").read_text()
    return Level(
        descriptors=len(os.listdir(f"/proc/{daemon.process.pid}/fd")),
        threads=int(re.search(r"Threads:\s+(\d+)", status)[1]),
        memory=int(re.search(r"VmRSS:\s+(\d+)", status)[1]),
        in_flight=await in_flight(daemon),
        calls=daemon.out.read_text().count('"lmbroker.accesslog.AccessLog"'),
    )


async def soak(options, folder):
    """What is wrong after all rounds, as lines."""
    random = Random(options.seed)
    practice = PracticeBackend(reactor, pace=0.0)
    practice.start()
    broken = await BrokenBackends().listen(random, folder)
    text, aliases = config(practice.url, broken)
    daemon = await deferToThread(Daemon(folder, SERVER + text).wait)
    problems = []
    try:
        before = await level(daemon)
        print(f"seed {options.seed}, at first {before}", flush=True)
        levels = []
        for number in range(1, options.rounds + 1):
            wanted = list(plans(random, aliases, options.calls))
            outcomes = await carry_out(daemon.port, wanted, at_once=options.at_once)
            now = await level(daemon)
            print(f"round {number}: {dict(outcomes.most_common())}\n  {now}", flush=True)
            levels.append(now)
            problems += [
                f"round {number}: {each}" for each in judged(wanted, outcomes, before, now)
            ]
            before = before._replace(calls=now.calls)
        for number in range(3, len(levels)):
            one, now = levels[number - 1 : number + 1]
            if now.memory > one.memory + GROWTH:
                problems.append(f"round {number + 1}: memory {one.memory} -> {now.memory} KiB")
            if now.threads > one.threads:
                problems.append(f"round {number + 1}: threads {one.threads} -> {now.threads}")
    finally:
        code = daemon.stop()
        await broken.close()
        await practice.stop()
    if code not in (0, -15):
        problems.append(f"the daemon ended with {code}")
    log = daemon.out.read_text()
    if "Traceback" in log or '"level":"error"' in log or '"level":"critical"' in log:
        bad = [line for line in log.splitlines() if '"level":"info"' not in line]
        problems.append("the log tells of failures:\n  " + "\n  ".join(bad[:5]))
    return problems


def judged(wanted, outcomes, before, now):
    """What is wrong after one round."""
    if sum(outcomes.values()) != len(wanted):
        yield f"{len(wanted)} calls ended in {sum(outcomes.values())} ways: {outcomes}"
    if now.descriptors > before.descriptors:
        yield f"descriptors {before.descriptors} -> {now.descriptors}"
    if now.in_flight:
        yield f"{now.in_flight} calls in flight"
    # Who leaves within their request never made a call; who leaves right after may not have.
    unsure = Counter(plan.leaves for plan in wanted)
    least = len(wanted) - unsure[-1] - unsure[0]
    if not least <= now.calls - before.calls <= len(wanted) - unsure[-1]:
        yield f"{now.calls - before.calls} access lines for {least} calls"


def main():
    parser = argparse.ArgumentParser(description="Mixed calls with faults against the daemon.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--calls", type=int, default=1200, help="of each round")
    parser.add_argument("--at-once", type=int, default=32)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        react(lambda _: ensureDeferred(told(options, Path(folder))))


async def told(options, folder):
    """Run it, say what came of it, and exit with 1 where something is wrong."""
    problems = await soak(options, folder)
    print("\n".join(problems) or "nothing was left behind", flush=True)
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
