"""The ``lmbroker`` command: its options, and which module runs each of its subcommands.

Nothing here listens or connects but ``lmbroker bench``; the daemon is ``twistd lmbroker``.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from lmbroker import __version__
from lmbroker.commands import bench, check, explain, genkey, translate, usage
from lmbroker.commands.output import report, report_error
from lmbroker.config.config import ConfigError
from lmbroker.config.models import MODES
from lmbroker.errors import BrokerError, Refused
from lmbroker.observers.usage_report import BY
from lmbroker.translation.dialects.catalog import ADAPTERS


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit code: 0 for success, 1 for a mistake in what was given."""
    options = _parser().parse_args(arguments)
    run: Callable[[argparse.Namespace], int] = options.run
    try:
        code = run(options)
        sys.stdout.flush()
        return code
    except ConfigError as error:
        for problem in error.problems:
            report(problem)
    except BrokerError as error:
        report_error(error.info, "refused" if isinstance(error, Refused) else "error")
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough (``| head``). Python would flush stdout once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="lmbroker",
        description="Check a configuration, measure what the broker adds to a model's latency, or "
        "translate a request or an answer, offline.",
        epilog="The broker itself is a daemon: twistd lmbroker --help",
    )
    parser.add_argument("--version", action="version", version=f"lmbroker {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    dialects = tuple(ADAPTERS)

    checking = commands.add_parser("check", help="list every mistake of a configuration file")
    checking.add_argument("--config", metavar="FILE", default="etc/config.toml")
    checking.set_defaults(run=check.run)

    explaining = commands.add_parser(
        "explain",
        help="show where a call would go",
        description="Show which targets a model name leads to and, for a request on stdin, what "
        "the first of them would get. Calls nobody.",
    )
    explaining.add_argument("--config", metavar="FILE", default="etc/config.toml")
    explaining.add_argument("--alias", metavar="NAME", required=True)
    explaining.add_argument("--from", dest="client", choices=dialects, default=dialects[0])
    explaining.add_argument(
        "--no-request", action="store_true", help="do not read a request from stdin"
    )
    explaining.set_defaults(run=explain.run)

    measuring = commands.add_parser(
        "bench",
        help="measure what the broker adds to a model's latency",
        description="Ask a model directly and through a broker in this process, in turns, and show "
        "how much longer the one takes than the other. Says first how many calls and tokens that "
        "takes.",
    )
    measuring.add_argument("--config", metavar="FILE", default="etc/config.toml")
    measuring.add_argument("--alias", metavar="NAME", required=True)
    measuring.add_argument(
        "--from", dest="client", choices=dialects, help="default: as the backend"
    )
    measuring.add_argument(
        "--calls", type=int, default=20, metavar="N", help="each way; default: 20"
    )
    measuring.add_argument(
        "--rate", type=float, default=1.0, metavar="R", help="calls a second; default: 1"
    )
    measuring.add_argument("--stream", action=argparse.BooleanOptionalAction, default=True)
    measuring.set_defaults(run=bench.run, usage_error=measuring.error)

    counting = commands.add_parser(
        "usage",
        help="show who used what",
        description="Show tokens and costs by caller, model or whatever else, from the usage "
        "journal (usage.file in the configuration). Hours and days are UTC.",
    )
    counting.add_argument("--config", metavar="FILE", default="etc/config.toml")
    counting.add_argument("--file", metavar="FILE", help="the journal, in the place of --config")
    counting.add_argument(
        "--since", metavar="SPAN", default="30d", help="24h, 7d, 4w; default: 30d"
    )
    counting.add_argument(
        "--by",
        metavar="A,B",
        default="caller,model",
        help=f"some of {','.join(BY)}; default: caller,model",
    )
    for name in ("csv", "json"):
        counting.add_argument(f"--{name}", dest="format", action="store_const", const=name)
    counting.set_defaults(run=usage.run, format="table", usage_error=counting.error)

    making = commands.add_parser("genkey", help="make a key for a client, and its hash")
    making.set_defaults(run=genkey.run)

    translating = commands.add_parser(
        "translate",
        help="translate what stands on stdin",
        description="Translate a request, a whole answer or a streamed one from stdin to stdout; "
        "what could not be carried over is named on stderr.",
    )
    translating.add_argument("--from", dest="source", choices=dialects, required=True)
    translating.add_argument("--to", dest="goal", choices=dialects, required=True)
    what = translating.add_mutually_exclusive_group()
    for name, meaning in (
        ("request", "a client's request for a backend (default)"),
        ("response", "a backend's whole answer for a client"),
        ("stream", "a backend's event stream for a client"),
    ):
        what.add_argument(f"--{name}", dest="what", action="store_const", const=name, help=meaning)
    translating.add_argument("--model", metavar="NAME", help="the model's name in what comes out")
    translating.add_argument("--config", metavar="FILE", help="with --alias: a configuration")
    translating.add_argument(
        "--alias", metavar="NAME", help="the alias whose model to translate for"
    )
    translating.add_argument("--mode", choices=MODES, help="what may be lost")
    translating.set_defaults(run=translate.run, what="request", usage_error=translating.error)
    return parser
