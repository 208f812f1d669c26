"""The daemon as a service: listeners, signals, drain and reload.

SIGHUP reads the configuration anew and swaps it if it is without a mistake; calls in flight end
under the one that they began with. SIGTERM (and SIGINT) stops accepting, lets answers in flight
end for ``server.drain_timeout`` seconds, then ends them with an error in their own format; a
second one ends at once.
"""

import gc
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from twisted.application import service, strports
from twisted.application.service import IServiceCollection
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, Logger

from lmbroker import __version__
from lmbroker.accesslog import AccessLog
from lmbroker.backends import Backends
from lmbroker.broker import Broker
from lmbroker.call import Alias, Target
from lmbroker.config import Config, ConfigError
from lmbroker.endpoints import PRACTICE
from lmbroker.errors import ErrorInfo
from lmbroker.jsonlog import JSONLog
from lmbroker.metrics import Metrics
from lmbroker.site import Site
from lmbroker.testing import PracticeBackend
from lmbroker.web import Front

GC_THRESHOLDS = (50_000, 20, 20)
"""Fewer and later collections than Python's (700, 10, 10): a call makes few cycles."""

LAST_WORDS_SECONDS = 2.0
"""How long clients have to take the error that ends their answer, before they are cut off."""

HURRIED_SECONDS = 0.2
"""The same after a second signal."""

SHUTTING_DOWN = ErrorInfo(
    kind="overloaded",
    message="the broker is shutting down",
    code="server_is_overloaded",
    retry_after="1",
)


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


class BrokerService(service.MultiService):
    """The daemon. ``read`` gives the configuration anew, for reloads; it raises ConfigError.
    ``observer`` is the log whose level a reload may change."""

    log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: Any,
        observer: JSONLog | None,
        read: Callable[[], Config],
    ) -> None:
        super().__init__()
        self._observer = observer
        self._reactor = reactor
        self._read = read
        self._waiting: Deferred[None] | None = None
        self._hurried = False
        registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)
        self.backends = Backends(reactor)
        self._practice: PracticeBackend | None = None
        self._config = config
        self.broker = Broker(
            config, self.backends, (Metrics(registry), AccessLog()), reactor, time.time
        )
        self._front = Front(self.broker, registry)
        self._site = Site(self._front.resource(), reactor, config.limits)
        self._listeners = {each: self._listener(each) for each in config.server.listen}

    def _listener(self, endpoint: str) -> service.IService:
        """Raises CannotListen where a certificate or a socket of systemd cannot be used."""
        try:
            listener = strports.service(endpoint, self._site, reactor=self._reactor)
        except Exception as error:
            # Whatever the endpoint's own parser trips over: IndexError, OpenSSL's errors, ...
            raise CannotListen(endpoint, error) from None
        listener.setServiceParent(self)
        return listener

    def setServiceParent(self, parent: IServiceCollection) -> None:
        super().setServiceParent(parent)
        if self._observer is not None:
            # twistd takes its log observer from the application.
            parent.setComponent(ILogObserver, self._observer)  # type: ignore[attr-defined]

    # Starting.

    def privilegedStartService(self) -> None:
        # First of all: without a handler the signal ends the process.
        self._on_signal(signal.SIGHUP, self.reload)
        self.broker.config = self._practiced(self._config)
        service.Service.privilegedStartService(self)
        for endpoint, listener in self._listeners.items():
            self._listen(endpoint, listener)

    def _listen(self, endpoint: str, listener: Any) -> None:
        """Raises CannotListen, which was logged."""
        try:
            listener.privilegedStartService()
        except (CannotListenError, OSError) as error:
            failure = CannotListen(endpoint, error)
            self.log.critical("{problem}", problem=str(failure))
            failure.tell()
            raise failure from None

    def _practiced(self, config: Config) -> Config:
        """``config`` with the practice backend running where it is named."""
        named = any(
            target.backend.url == PRACTICE
            for alias in config.aliases.values()
            for target in alias.targets
        )
        if not named:
            return config
        if self._practice is None:
            self._practice = PracticeBackend(self._reactor)
            self._practice.start()
        return with_practice(config, self._practice.url)

    def startService(self) -> None:
        super().startService()
        # What the start has made stays to the end: looking through it again and again costs
        # tens of milliseconds each time, in which no event is relayed (docs/performance.md).
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        for warning in self._config.warnings:
            self.log.warn("{warning}", warning=warning)
        self.log.info(
            "LMBroker {version} serves {count} models on {listen}",
            version=__version__,
            count=len(self._config.aliases),
            listen=", ".join(self._config.server.listen),
        )

    def _on_signal(self, number: int, act: Callable[[], None]) -> None:
        signal.signal(number, lambda *_: self._reactor.callFromThread(act))

    # Reloading.

    def reload(self) -> None:
        """Take over the configuration as it is now; the old one stays on any mistake."""
        try:
            config = self._read()
            self._relisten(config)
        except ConfigError as error:
            self.log.error(
                "The configuration was not reloaded: {problems}",
                problems="; ".join(error.complaints),
            )
            return
        except CannotListen as error:
            self.log.error("The configuration was not reloaded: {problem}", problem=str(error))
            return
        self._config = config
        self.broker.config = self._practiced(config)
        self._site.limits = config.limits
        if self._observer is not None:
            self._observer.level = config.log_level
        for warning in config.warnings:
            self.log.warn("{warning}", warning=warning)
        self.log.info(
            "The configuration was reloaded: {count} models on {listen}",
            count=len(config.aliases),
            listen=", ".join(config.server.listen),
        )

    def _relisten(self, config: Config) -> None:
        """Listen where ``config`` says, and nowhere else. Raises CannotListen, and then listens
        where it did before."""
        added: dict[str, Any] = {}
        try:
            for endpoint in config.server.listen:
                if endpoint not in self._listeners:
                    # The service runs: adding a listener to it starts it.
                    added[endpoint] = self._listener_now(endpoint)
        except CannotListen:
            for listener in added.values():
                listener.disownServiceParent()
            raise
        for endpoint in set(self._listeners) - set(config.server.listen):
            self._listeners.pop(endpoint).disownServiceParent()
        self._listeners.update(added)

    def _listener_now(self, endpoint: str) -> service.IService:
        try:
            return self._listener(endpoint)
        except (CannotListenError, OSError) as error:
            raise CannotListen(endpoint, error) from None

    # Stopping.

    def stopService(self) -> "Deferred[None]":
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self._front.draining = True
        for number in (signal.SIGTERM, signal.SIGINT):
            self._on_signal(number, self._end_now)
        await super().stopService()
        emptied = self._site.drain()
        if self._site.connections:
            self.log.info(
                "Draining {count} connections for up to {seconds} s",
                count=self._site.connections,
                seconds=self._config.server.drain_timeout,
            )
        if not await self._within(emptied, self._config.server.drain_timeout):
            self._front.end(SHUTTING_DOWN)
            if not await self._within(self._site.drain(), LAST_WORDS_SECONDS):
                self._site.abort()
        await self.backends.close()
        if self._practice is not None:
            await self._practice.stop()

    async def _within(self, done: "Deferred[None]", seconds: float) -> bool:
        """Whether ``done`` fired in time; not waited for once somebody is in a hurry."""
        waiting: Deferred[None] = Deferred()

        def arrived(_: None) -> None:
            if not waiting.called:
                waiting.callback(None)

        done.addCallback(arrived)
        self._waiting = waiting
        if self._hurried:
            seconds = min(seconds, HURRIED_SECONDS)
        timer = self._reactor.callLater(seconds, waiting.cancel)
        try:
            await waiting
        except CancelledError:
            return False
        finally:
            if timer.active():
                timer.cancel()
        return True

    def _end_now(self) -> None:
        self.log.warn("Told to stop once more: ending at once")
        self._hurried = True
        if self._waiting is not None:
            self._waiting.cancel()


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
