"""The entry of twistd: ``twistd lmbroker --config FILE``. Builds everything, owns nothing."""

import atexit
import os
import re
import signal
import sys
from typing import TYPE_CHECKING, Any, ClassVar, cast

from twisted.application import service
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.logfile import LogFile

from lmbroker import __version__
from lmbroker.config.config import Config, ConfigError
from lmbroker.config.endpoints import endpoint_of, parse_endpoint
from lmbroker.config.file import Source, find_config, load_source
from lmbroker.config.settings import MOST_WORKERS
from lmbroker.daemon.reactor import install, time_by_monotonic_clock
from lmbroker.daemon.workers.log import Lines, SharedFile
from lmbroker.observers.console_log import render_for
from lmbroker.observers.json_log import JSONLog
from lmbroker.observers.log_writer import LogWriter

if TYPE_CHECKING:
    from lmbroker.backends.interfaces import IReactor


ROTATE_BYTES = 10_000_000
"""At this length a log file is renamed and begun anew."""

BAD_CONFIGURATION = 78
"""The exit code for a mistake in the configuration (``EX_CONFIG`` of sysexits.h): to start again
would not help, and service managers can be configured not to."""


class Options(usage.Options):
    """The options of ``twistd lmbroker``.

    The config is read and checked here, so that a mistake ends the start before anything forks or
    listens.
    """

    optParameters: ClassVar[list[list[Any]]] = [
        [
            "config",
            "c",
            None,
            "The configuration file (TOML). [default: the first of ./config.toml, "
            "./etc/config.toml, $XDG_CONFIG_HOME/lmbroker/config.toml, "
            "/etc/lmbroker/config.toml]",
        ],
        ["workers", "w", None, "How many processes serve. [default: server.workers]"],
    ]

    def __init__(self) -> None:
        super().__init__()
        self["listen"] = ()

    def opt_listen(self, where: str) -> None:
        """Listen at PORT, HOST:PORT or a Twisted endpoint, not as configured; may be repeated."""
        self["listen"] = (*self["listen"], endpoint_of(where))

    def postOptions(self) -> None:
        """Read and check the configuration.

        On a mistake this ends the start with the exit code ``BAD_CONFIGURATION``.
        """
        # First of all: what is opened next would take the place of a closed stdout.
        open_standard_files()
        twistd: Any = self.parent or {}
        if twistd.get("syslog"):
            raise SystemExit(
                "lmbroker: --syslog is not supported: log to stdout, which systemd and containers "
                "take, or to a --logfile"
            )
        try:
            self["config"] = os.path.abspath(find_config(self["config"]))
            self._check_listen()
            self.loaded, self.source = self.read_source()
            self.count = self._count()
        except ConfigError as error:
            for problem in error.problems:
                print(problem, file=sys.stderr)
            raise SystemExit(BAD_CONFIGURATION) from None
        if self.loaded.server.engine == "lean":
            # Before anything is imported that brings the stock reactor with it.
            install()

    def read(self) -> Config:
        """Return the configuration as the file is now. Raises ConfigError."""
        return self.read_source()[0]

    def read_source(self) -> tuple[Config, Source]:
        """Return the configuration as the file is now, with the texts of which it was read."""
        config, source = load_source(self["config"], shown=self._shown(), listen=self["listen"])
        if config.server.engine == "lean":
            # Before anything is imported that brings the stock reactor with it.
            install()
        from lmbroker.daemon.listening import endpoint_problems
        from lmbroker.observers.spans import span_problems

        problems = (*endpoint_problems(config), *span_problems(config))
        if problems:
            raise ConfigError(tuple(f"{self._shown()}: {problem}" for problem in problems))
        return config, source

    def _check_listen(self) -> None:
        """Raise ConfigError for a ``--listen`` that is no endpoint."""
        for endpoint in self["listen"]:
            problem = parse_endpoint(endpoint)[1]
            if problem:
                raise ConfigError(
                    (f"--listen: found {endpoint!r}, expected PORT, HOST:PORT or: {problem}",)
                )

    def _count(self) -> int:
        """Return how many processes serve. Raises ConfigError."""
        given = self["workers"]
        if given is None:
            where, count = "server.workers", self.loaded.server.workers
        elif re.fullmatch(r"[0-9]{1,2}", given) and 1 <= int(given) <= MOST_WORKERS:
            where, count = "--workers", int(given)
        else:
            raise ConfigError((f"--workers: expected an integer from 1 to {MOST_WORKERS}",))
        if count > 1 and sys.platform != "linux":
            raise ConfigError((f"{where}: several processes need Linux",))
        return count

    def _shown(self) -> str:
        """Return the path of the configuration for messages.

        It is relative to the working directory where it lies below that.
        """
        path: str = self["config"]
        relative = os.path.relpath(path)
        return path if relative.startswith("..") else relative

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"lmbroker {__version__}")
        raise SystemExit(0)


def open_standard_files() -> None:
    """Open ``/dev/null`` in the place of each of stdin, stdout and stderr that is closed."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number, inheritable=True)
            if null != number:
                os.close(null)
    # Python has none for a descriptor that was closed when it began.
    for name, number in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            stream = open(number, "w", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def makeService(options: Options) -> service.IService:
    """Return the service that twistd runs."""
    from twisted.internet import reactor as installed

    from lmbroker.daemon.listening import CannotListen, check_free
    from lmbroker.server.descriptors import raise_limit

    reactor = cast("IReactor", installed)
    time_by_monotonic_clock(reactor)
    raise_limit(options.loaded)
    twistd: Any = options.parent or {}
    if not twistd.get("nodaemon", True):
        try:
            check_free(options.loaded)
        except CannotListen as failure:
            failure.print_problem()
            raise
    several = options.count > 1
    if signal.getsignal(signal.SIGUSR1) is signal.SIG_DFL:
        # It is for log files, and would end a process that has none.
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    stream = _stream(options, several)
    writer = None if stream is None else _writer(stream, reactor)
    log = None
    if writer is not None:
        descriptor = stream.descriptor if isinstance(stream, Lines) else None
        render = render_for(options.loaded.log_format, descriptor)
        log = JSONLog(writer, options.loaded.log_level, render=render)
    try:
        if several:
            return _parent(options, reactor, stream, writer, log)
        from lmbroker.daemon.service import BrokerService

        return BrokerService(options.loaded, reactor, log, options.read)
    except CannotListen as failure:
        failure.print_problem()
        raise


def _parent(
    options: Options,
    reactor: "IReactor",
    stream: Any,
    writer: LogWriter | None,
    log: JSONLog | None,
) -> service.IService:
    from lmbroker.daemon.workers.parent import ParentService

    twistd: Any = options.parent or {}
    logger = twistd.get("logger")
    if logger and not hasattr(logger, "__qualname__"):
        raise SystemExit("lmbroker: --logger must name a function, for several workers")
    return ParentService(
        (options.loaded, options.source),
        reactor,
        options.read_source,
        options.count,
        observer=log,
        stream=stream,
        writer=writer,
        logger=f"{logger.__module__}.{logger.__qualname__}" if logger else "",
        reactor_name=twistd.get("reactor") or "",
    )


def _stream(options: Options, several: bool) -> Any:
    """Return what twistd is configured to log to; None where it has a logger of its own."""
    twistd: Any = options.parent or {}
    if twistd.get("logger"):
        return None
    name = twistd.get("logfile")
    if name == "-" or (not name and twistd.get("nodaemon", True)):
        return Lines(sys.stdout.fileno())
    path = os.path.abspath(name or "twistd.log")
    try:
        if os.path.exists(path) and not os.path.isfile(path):
            # A FIFO, a terminal: without a reader it must not stop us here.
            return Lines(os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
        return (SharedFile if several else LogFile).fromFullPath(
            path, rotateLength=ROTATE_BYTES, maxRotatedFiles=options.loaded.log_files or None
        )
    except OSError as error:
        raise SystemExit(f"lmbroker: cannot log to {path}: {error.strerror}") from None


def _writer(stream: Any, reactor: "IReactor") -> LogWriter:
    """Return what writes to ``stream`` while ``reactor`` runs.

    A file is begun anew on SIGUSR1, as with twistd's own log.
    """
    writer = LogWriter(stream, direct=not isinstance(stream, Lines) or stream.regular)
    reactor.callWhenRunning(writer.start)
    # twistd ends the process by the signal that it got: nothing comes after this.
    reactor.addSystemEventTrigger("after", "shutdown", writer.settle)
    atexit.register(writer.settle)
    if not isinstance(stream, Lines):

        def rotate() -> None:
            try:
                stream.rotate()
            except OSError as error:
                Logger().error("The log file cannot be begun anew: {why}", why=error.strerror)

        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(writer.do, rotate))
    return writer
