"""``lmbroker serve``: the service of ``twistd lmbroker``, in the foreground.

Nothing is imported from Twisted until the command runs.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from lmbroker.config.endpoints import parse_endpoint

ANYWHERE = ("", "0.0.0.0", "::")
"""Interfaces that mean all of them."""


def run(options: argparse.Namespace) -> int:
    """Serve until a signal; returns the exit code where none ended it."""
    from twisted.application.service import ServiceMaker
    from twisted.python.usage import UsageError
    from twisted.scripts import twistd as twistd_command

    # twistd finds this by its plugin; here it works without one, whatever the installation.
    maker: Any = ServiceMaker("LMBroker", "lmbroker.tap", "A broker for LLMs.", "lmbroker")

    class TwistdOptions(twistd_command.ServerOptions):  # type: ignore[name-defined,misc]
        """The options of twistd with one subcommand."""

        subCommands = (("lmbroker", None, maker.options, maker.description),)
        loadedPlugins = {"lmbroker": maker}  # noqa: RUF012

    twistd = TwistdOptions()
    try:
        twistd.parseOptions(["--nodaemon", "--pidfile=", "lmbroker", *_arguments(options)])
    except UsageError as error:
        raise SystemExit(f"lmbroker: {error}") from None
    if sys.stdout.isatty():
        from twisted.internet import reactor

        # twistd makes a log of sys.stdout before this is called.
        words = "\n".join(hints(twistd.subOptions.loaded.server.listen))
        reactor.callWhenRunning(print, words, file=sys.__stdout__, flush=True)
    twistd_command.runApp(twistd)
    return 0


def _arguments(options: argparse.Namespace) -> Iterator[str]:
    """Yield the same options as ``lmbroker.tap`` reads them."""
    if options.config is not None:
        yield f"--config={options.config}"
    if options.workers is not None:
        yield f"--workers={options.workers}"
    for where in options.listen:
        yield f"--listen={where}"


def hints(listen: tuple[str, ...]) -> Iterator[str]:
    """Yield what to set in clients of a broker that listens there.

    There is nothing where it has no TCP port.
    """
    for endpoint in listen:
        found, _ = parse_endpoint(endpoint)
        if found.get("kind") not in ("tcp", "tcp6", "ssl"):
            continue
        host = found.get("interface", "")
        host = "localhost" if host in ANYWHERE else host
        host = f"[{host}]" if ":" in host else host
        scheme = "https" if found["kind"] == "ssl" else "http"
        base = f"{scheme}://{host}:{found['port']}"
        yield "Point clients here; their keys may be anything unless there are [[keys]]:"
        yield f"  export OPENAI_BASE_URL={base}/v1"
        yield f"  export ANTHROPIC_BASE_URL={base}"
        return
