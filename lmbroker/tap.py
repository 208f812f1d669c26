"""twistd's door: ``twistd lmbroker --config FILE``. Builds everything, owns nothing."""

import os
import signal
import sys
from typing import Any, ClassVar

from twisted.application import service
from twisted.python import usage
from twisted.python.logfile import LogFile

from lmbroker import __version__
from lmbroker.config import Config, ConfigError
from lmbroker.configfile import load
from lmbroker.jsonlog import JSONLog
from lmbroker.reactor import install


class Options(usage.Options):
    """The options of ``twistd lmbroker``. The config is read and checked here, so that a mistake
    ends the start before anything forks or listens."""

    optParameters: ClassVar[list[list[str]]] = [
        ["config", "c", "etc/config.toml", "The configuration file (TOML)."]
    ]

    def postOptions(self) -> None:
        self["config"] = os.path.abspath(self["config"])
        try:
            self.loaded = self.read()
        except ConfigError as error:
            for complaint in error.complaints:
                print(complaint, file=sys.stderr)
            raise SystemExit(1) from None
        if self.loaded.server.engine == "lean":
            # Before anything is imported that brings the stock reactor with it.
            install()

    def read(self) -> Config:
        """The configuration as the file is now. Raises ConfigError."""
        return load(self["config"], shown=self._shown())

    def _shown(self) -> str:
        """The config's path as people write it: relative to where they stand, if it is below."""
        path: str = self["config"]
        relative = os.path.relpath(path)
        return path if relative.startswith("..") else relative

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"lmbroker {__version__}")
        raise SystemExit(0)


def makeService(options: Options) -> service.IService:
    """The service that twistd runs."""
    from twisted.internet import reactor

    from lmbroker.daemon import BrokerService, CannotListen

    try:
        return BrokerService(options.loaded, reactor, _log(options, reactor), options.read)
    except CannotListen as failure:
        failure.tell()
        raise


def _log(options: Options, reactor: Any) -> JSONLog | None:
    """JSON lines to where twistd was told to log; None where it was given a logger of its own.
    A file is begun anew on SIGUSR1, as with twistd's own log."""
    twistd: Any = options.parent or {}
    if twistd.get("logger"):
        return None
    name = twistd.get("logfile")
    stream: Any
    if name == "-" or (not name and twistd.get("nodaemon", True)):
        stream = sys.stdout
    else:
        path = os.path.abspath(name or "twistd.log")
        try:
            stream = LogFile.fromFullPath(path)
        except OSError as error:
            raise SystemExit(f"lmbroker: cannot log to {path}: {error.strerror}") from None
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(stream.rotate))
    return JSONLog(stream, options.loaded.log_level)
