"""The ``lmbroker`` command: runs a subcommand and turns its errors into lines and exit codes.

Twisted is imported by ``serve`` and ``bench`` only, once they know which reactor it is to be.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence

from lmbroker.commands.captured_files import Unreadable
from lmbroker.commands.output import report, report_error
from lmbroker.commands.parser import parser
from lmbroker.config.config import ConfigError
from lmbroker.errors import BrokerError, Refused


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit code: 0 for success, 1 for a mistake in what was given."""
    options = parser().parse_args(arguments)
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
    except Unreadable as problem:
        report(str(problem))
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        # The reader has seen enough (``| head``). Python would flush stdout once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141
    return 1
