"""``lmbroker bench``: measures what the broker adds to the latency of a backend.

Nothing is imported from Twisted until the reactor is chosen; ``latency`` measures.
"""

import argparse
from typing import TYPE_CHECKING, cast

from lmbroker.commands.output import Progress
from lmbroker.config.file import find_config, load

if TYPE_CHECKING:
    from lmbroker.backends.interfaces import IReactor


def run(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit code.

    Raises ConfigError, or a BrokerError for an alias that leads nowhere.
    """
    config = load(find_config(options.config))
    if config.server.engine == "lean":
        from lmbroker.daemon.reactor import install

        install()
    from twisted.internet import reactor as installed

    from lmbroker.commands import latency

    if not 1 <= options.calls <= latency.MOST_CALLS:
        options.usage_error(f"--calls must be from 1 to {latency.MOST_CALLS}")
    if not 0 < options.rate <= latency.MOST_RATE:
        options.usage_error(f"--rate must be above 0, and at most {latency.MOST_RATE:g}")
    plan = latency.Plan(
        alias=options.alias,
        calls=options.calls,
        rate=options.rate,
        stream=options.stream,
        client=options.client,
    )
    reactor = cast("IReactor", installed)
    progress = Progress(2 * (latency.WARM_UP + plan.calls), "calls")

    def print_line(line: str) -> None:
        progress.clear()
        print(line, flush=True)

    return latency.run(reactor, config, plan, print_line, progress.step)
