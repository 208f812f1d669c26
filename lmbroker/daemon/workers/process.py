"""A worker's process: ``python -m lmbroker.workers``, started by the parent.

Its end of the line is descriptor 3. What the parent says first decides what is imported next.
"""

import atexit
import signal
import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.logger import globalLogBeginner
from twisted.python.reflect import namedAny

from lmbroker.daemon.workers.beginning import LINE, Beginning, read
from lmbroker.daemon.workers.log import Lines
from lmbroker.observers.console_log import render_for
from lmbroker.observers.json_log import JSONLog
from lmbroker.observers.log_writer import LogWriter
from lmbroker.offload.channel import Message, take

if TYPE_CHECKING:
    from lmbroker.backends.interfaces import IReactor


def main() -> None:
    """Serve until the end."""
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGINT):
        # The parent acts on them and sends us what concerns us; a terminal signals all processes.
        signal.signal(number, signal.SIG_IGN)
    end = socket.socket(fileno=LINE)
    try:
        beginning = read(_file(take(end)), Beginning)
        lines = None if beginning.logger else Lines(_file(take(end)))
    except EOFError:
        return
    config = beginning.source.config()
    _install(beginning.reactor, config.server.engine)
    observer: Any
    writer: LogWriter | None = None
    if lines is None:
        observer = namedAny(beginning.logger)()
    else:
        lines.share(beginning.lock)
        writer = LogWriter(lines, direct=lines.regular)
        writer.start()
        atexit.register(writer.settle)
        render = render_for(config.log_format, lines.descriptor)
        observer = JSONLog(writer, config.log_level, beginning.number, render)
    globalLogBeginner.beginLoggingTo([observer])
    from twisted.internet import reactor as installed

    from lmbroker.daemon.reactor import time_by_monotonic_clock
    from lmbroker.daemon.workers.worker import Worker

    reactor = cast("IReactor", installed)
    time_by_monotonic_clock(reactor)
    Worker(beginning, config, end, lines, writer, observer, reactor).run()


def _file(message: tuple[Message, int | None]) -> int:
    file = message[1]
    if file is None:
        raise EOFError
    return file


def _install(reactor: str, engine: str) -> None:
    """Install the reactor on which the parent runs."""
    if reactor:
        from twisted.application.reactors import installReactor

        installReactor(reactor)
    elif engine == "lean":
        from lmbroker.daemon.reactor import install

        install()
