"""twistd's door: ``twistd lmbroker --config FILE``. Builds everything, owns nothing."""

import os
import sys
import time
from typing import Any, ClassVar

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from twisted.application import service, strports
from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.logfile import LogFile

from lmbroker import __version__
from lmbroker.accesslog import AccessLog
from lmbroker.backends import Backends
from lmbroker.broker import Broker
from lmbroker.call import Alias, Target
from lmbroker.config import Config, ConfigError
from lmbroker.configfile import load
from lmbroker.endpoints import PRACTICE
from lmbroker.jsonlog import JSONLog
from lmbroker.metrics import Metrics
from lmbroker.site import Site
from lmbroker.testing import PracticeBackend
from lmbroker.web import Front


class CannotListen(SystemExit, Exception):
    """An endpoint of the configuration cannot be listened on; the message is one line.

    An Exception, so that twistd removes its pid file and tells the waiting parent of a daemon;
    a SystemExit, so that Python then exits with 1 and prints no traceback.
    """

    def __init__(self, endpoint: str, error: Exception) -> None:
        cause = getattr(error, "socketError", error)
        reason = getattr(cause, "strerror", None) or f"{type(cause).__name__}: {cause}"
        if endpoint.startswith("systemd:"):
            reason = "systemd passed no such socket"
        super().__init__(f"cannot listen on {endpoint}: {reason}")
        self.code = 1

    def tell(self) -> None:
        """Print the line where people look; twistd has made a log of ``sys.stderr``."""
        print(f"lmbroker: {self}", file=sys.__stderr__)


class Options(usage.Options):
    """The options of ``twistd lmbroker``. The config is read and checked here, so that a mistake
    ends the start before anything forks or listens."""

    optParameters: ClassVar[list[list[str]]] = [
        ["config", "c", "etc/config.toml", "The configuration file (TOML)."]
    ]

    def postOptions(self) -> None:
        self["config"] = os.path.abspath(self["config"])
        try:
            self.loaded = load(self["config"], shown=self._shown())
        except ConfigError as error:
            for complaint in error.complaints:
                print(complaint, file=sys.stderr)
            raise SystemExit(1) from None

    def _shown(self) -> str:
        """The config's path as people write it: relative to where they stand, if it is below."""
        path: str = self["config"]
        relative = os.path.relpath(path)
        return path if relative.startswith("..") else relative

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"lmbroker {__version__}")
        raise SystemExit(0)


class BrokerService(service.MultiService):
    """The daemon: listeners, the practice backend where the config names it, the log."""

    log = Logger()

    def __init__(self, config: Config, reactor: Any, observer: JSONLog | None) -> None:
        super().__init__()
        self._observer = observer
        self._reactor = reactor
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.backends = Backends(reactor)
        self._practice: PracticeBackend | None = None
        self._config = config
        self.broker = Broker(
            config, self.backends, (Metrics(registry), AccessLog()), reactor, time.time
        )
        self._site = Site(Front(self.broker, registry).resource(), reactor)
        self._listeners = [
            (endpoint, self._listener(endpoint)) for endpoint in config.server.listen
        ]

    def _listener(self, endpoint: str) -> service.IService:
        """Raises CannotListen where a certificate or a socket of systemd cannot be used."""
        try:
            listener = strports.service(endpoint, self._site, reactor=self._reactor)
        except Exception as error:
            # Whatever the endpoint's own parser trips over: IndexError, OpenSSL's errors, ...
            failure = CannotListen(endpoint, error)
            failure.tell()
            raise failure from None
        listener.setServiceParent(self)
        return listener

    def setServiceParent(self, parent: IServiceCollection) -> None:
        super().setServiceParent(parent)
        if self._observer is not None:
            # twistd takes its log observer from the application.
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[attr-defined]

    def privilegedStartService(self) -> None:
        if any(
            target.backend.url == PRACTICE
            for alias in self._config.aliases.values()
            for target in alias.targets
        ):
            self._practice = PracticeBackend(self._reactor)
            self._practice.start()
            self.broker.config = with_practice(self._config, self._practice.url)
        service.Service.privilegedStartService(self)
        for endpoint, listener in self._listeners:
            try:
                listener.privilegedStartService()
            except (CannotListenError, OSError) as error:
                failure = CannotListen(endpoint, error)
                self.log.critical("{problem}", problem=str(failure))
                failure.tell()
                raise failure from None

    def startService(self) -> None:
        super().startService()
        for warning in self._config.warnings:
            self.log.warn("{warning}", warning=warning)
        self.log.info(
            "LMBroker {version} serves {count} models on {listen}",
            version=__version__,
            count=len(self._config.aliases),
            listen=", ".join(self._config.server.listen),
        )

    async def _stop(self) -> None:
        await super().stopService()
        await self.backends.close()
        if self._practice is not None:
            await self._practice.stop()

    def stopService(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._stop())


def with_practice(config: Config, url: str) -> Config:
    """``config`` with the practice backend's real address in the place of ``practice:``."""

    def real(target: Target) -> Target:
        if target.backend.url != PRACTICE:
            return target
        return msgspec.structs.replace(
            target, backend=msgspec.structs.replace(target.backend, url=url)
        )

    def routed(alias: Alias) -> Alias:
        return msgspec.structs.replace(alias, targets=tuple(map(real, alias.targets)))

    return msgspec.structs.replace(
        config, aliases={name: routed(alias) for name, alias in config.aliases.items()}
    )


def makeService(options: Options) -> service.IService:
    """The service that twistd runs."""
    from twisted.internet import reactor

    return BrokerService(options.loaded, reactor, _log(options))


def _log(options: Options) -> JSONLog | None:
    """JSON lines to where twistd was told to log; None where it was given a logger of its own."""
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
    return JSONLog(stream, options.loaded.log_level)
