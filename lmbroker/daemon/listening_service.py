"""The common part of the broker's service and that of the parent of workers.

Both listen, take signals, and reload the configuration.
"""

import os
import signal
import time
from collections.abc import Callable
from typing import ClassVar

from twisted.application import service
from twisted.application.service import IServiceCollection
from twisted.logger import ILogObserver, Logger

from lmbroker import __version__
from lmbroker.backends.interfaces import IReactor
from lmbroker.config.config import Config
from lmbroker.daemon.listening import CannotListen, Listeners
from lmbroker.daemon.reloads import Reloads
from lmbroker.daemon.service_manager import ServiceManager
from lmbroker.observers.daemon_metrics import DaemonMetrics
from lmbroker.observers.json_log import JSONLog
from lmbroker.server import descriptors


class ListeningService(service.MultiService):
    """A service that listens on the endpoints of a configuration.

    ``observer`` is the log whose level a reload may change, None where the log is somebody else's.
    """

    log: ClassVar[Logger]
    _listeners: Listeners

    def __init__(self, config: Config, reactor: IReactor, observer: JSONLog | None) -> None:
        super().__init__()
        self._config = config
        self._reactor = reactor
        self._observer = observer
        self._daemon_metrics: DaemonMetrics | None = None
        """None in a worker, whose parent counts, and in a parent before it has started."""
        self._manager = ServiceManager(reactor, os.environ)
        self._reloads = Reloads(self._reload_and_tell, lambda: bool(self.running))

    async def _reload_and_tell(self) -> None:
        self._manager.reloading()
        try:
            await self._reload()
        finally:
            if self.running:
                self._report_ready()

    def _report_ready(self) -> None:
        """Report to the service manager that clients are served."""
        count = len(self._config.aliases)
        self._manager.ready(f"Serves {count} models on {', '.join(self._config.server.listen)}")

    async def _reload(self) -> None:
        """Take over the configuration as it is now; on any mistake the old one stays."""
        raise NotImplementedError

    def setServiceParent(self, parent: IServiceCollection) -> None:
        """Join the application, and give it our log observer."""
        super().setServiceParent(parent)
        if self._observer is not None:
            # twistd takes its log observer from the application.
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[attr-defined]

    def reload(self) -> None:
        """Take over the configuration as it is now.

        The old one stays on any mistake, and once the service stops.
        """
        self._reloads.ask()

    def _begin_listening(self) -> None:
        """Listen on all endpoints. Raises CannotListen."""
        service.Service.privilegedStartService(self)
        try:
            self._listeners.begin()
        except CannotListen:
            # A program that waits for the daemon's start looks at the log next.
            if self._observer is not None:
                self._observer.settle()
            raise

    def _on_signal(self, number: int, act: Callable[[], None]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(act))

    def _log_warnings(self, config: Config) -> None:
        for warning in (*config.warnings, *descriptors.warnings(config)):
            self.log.warn("{warning}", warning=warning)

    def _log_serving(self, how: str = "") -> None:
        """Log what serves where, in a line that ends with ``how``, and report that it does."""
        self._report_ready()
        server, count = self._config.server, len(self._config.aliases)
        aside = server.metrics_listen
        self.log.info(
            "LMBroker {version} serves {count} {models} on {listen}{metrics}{how}",
            version=__version__,
            count=count,
            models="model" if count == 1 else "models",
            listen=", ".join(server.listen),
            metrics=f", metrics on {', '.join(aside)}" if aside else "",
            how=how,
        )

    def _report_reload(self, config: Config, changed: str) -> None:
        """Log and count a reload that succeeded."""
        if self._daemon_metrics is not None:
            self._daemon_metrics.reloaded(time.time())
        self._log_warnings(config)
        self.log.info(
            "The configuration was reloaded: {count} models on {listen}; {changes}",
            count=len(config.aliases),
            listen=", ".join(config.server.listen),
            changes=changed,
        )

    def _report_no_reload(self, problem: str) -> None:
        """Log and count a reload that failed."""
        if self._daemon_metrics is not None:
            self._daemon_metrics.not_reloaded()
        self.log.error("The configuration was not reloaded: {problem}", problem=problem)
