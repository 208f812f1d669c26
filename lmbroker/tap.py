"""twistd's door: ``twistd lmbroker --config FILE``. Builds everything, owns nothing."""

import os
import sys
import time
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from twisted.application import service, strports
from twisted.application.service import IServiceCollection
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, Logger
from twisted.python import usage
from twisted.python.logfile import LogFile
from twisted.web.server import Site

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
from lmbroker.testing import PracticeBackend
from lmbroker.web import Front


class Options(usage.Options):
    """The options of ``twistd lmbroker``. The config is read and checked here, so that a mistake
    ends the start before anything forks or listens."""

    optParameters = [["config", "c", "etc/config.toml", "The configuration file (TOML)."]]

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
        path = os.path.relpath(self["config"])
        return self["config"] if path.startswith("..") else path

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
        self._site = Site(Front(self.broker, registry).resource(), parsePOSTFormSubmission=False)
        self._site.log = lambda request: None  # type: ignore[method-assign]
        for endpoint in config.server.listen:
            strports.service(endpoint, self._site, reactor=reactor).setServiceParent(self)

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
        super().privilegedStartService()

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
        stream = LogFile.fromFullPath(os.path.abspath(name or "twistd.log"))
    return JSONLog(stream, options.loaded.log_level)
