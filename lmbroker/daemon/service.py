"""The daemon as a service: listeners, signals, drain and reload.

SIGHUP reads the configuration anew and swaps it if it is without a mistake; calls in flight end
under the one that they began with. SIGTERM (and SIGINT) stops accepting, lets answers in flight
end for ``server.drain_timeout`` seconds, then ends them with an error in their own format; a
second one ends at once.
"""

import gc
import signal
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from twisted.application import service
from twisted.application.service import IService
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorPluggableNameResolver
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from lmbroker.backends.interfaces import IReactor
from lmbroker.backends.resolver import ThreadedResolver
from lmbroker.backends.sending import Backends
from lmbroker.broker.broker import Broker
from lmbroker.broker.health_checks import Checks
from lmbroker.broker.practice import Practice
from lmbroker.broker.tracing import Tracing
from lmbroker.call import Target
from lmbroker.config.changes import changes
from lmbroker.config.config import Config, ConfigError
from lmbroker.config.tracing import TracingRules
from lmbroker.daemon.capture_command import capture_command
from lmbroker.daemon.captures import Captures
from lmbroker.daemon.control import Control
from lmbroker.daemon.listening import CannotListen, Endpoint, Listeners, listen, problem_of
from lmbroker.daemon.listening_service import ListeningService
from lmbroker.daemon.reactor_lag import ReactorLag
from lmbroker.daemon.reloads import away
from lmbroker.errors import ErrorInfo
from lmbroker.limiting.redis_store import RedisStore, redis_store
from lmbroker.limiting.store import LocalStore, Store
from lmbroker.observers.access_log import AccessLog
from lmbroker.observers.batching import BatchingObserver
from lmbroker.observers.daemon_metrics import DaemonMetrics
from lmbroker.observers.json_log import JSONLog
from lmbroker.observers.metrics import Metrics, Refusals
from lmbroker.observers.prices import Prices
from lmbroker.observers.usage_journal import UsageJournal, ledger_of
from lmbroker.observers.usage_report import report
from lmbroker.server import descriptors
from lmbroker.server.descriptors import Shortage
from lmbroker.server.http import Site
from lmbroker.server.routes import Front

ASIDE = (b"/metrics", b"/health", b"/ready")
"""The paths that the listeners of ``server.metrics_listen`` serve."""

GC_THRESHOLDS = (50_000, 20, 20)
"""Fewer and later collections than Python's (700, 10, 10): a call makes few cycles."""

LARGEST_BLOCK = 4 * 1024 * 1024
"""glibc gives free memory back to the kernel from twice the largest block that was ever freed, at
first from 128 KiB: then each large body takes its pages anew, 2 µs for each."""

AGEING_SECONDS = 1800.0
"""A beginning of a conversation is forgotten when it was not used for so long, or for twice as
long."""

LAST_WORDS_SECONDS = 2.0
"""Seconds that clients have to take the error that ends their answer, before they are cut off."""

HURRIED_SECONDS = 0.2
"""The same after a second signal."""

SHUTTING_DOWN = ErrorInfo(
    kind="overloaded",
    message="the broker is shutting down",
    code="server_is_overloaded",
    retry_after="1",
)


PACE_SECONDS = 0.06
"""The pause between two events of the practice backend, three words each: people see text grow."""

LEVELS_SECONDS = 5.0
"""Seconds between two updates of how busy its targets are, by a worker among others."""


class Surroundings(NamedTuple):
    """The surroundings of a broker: a process of its own, or a worker among others."""

    listen: Callable[[str, Any, Any, Shortage], IService] = listen
    """(endpoint, factory, reactor, shortage) -> the service that brings connections to the
    factory."""
    shown: CollectorRegistry | None = None
    """What ``/metrics`` shows; None for the metrics of this process."""
    led: bool = False
    """Another process takes the signals, reads the configuration and logs both."""
    limits: Store | None = None
    """Where the limits are counted; None for this process."""
    pace: float = PACE_SECONDS
    """Seconds between two streamed events of the practice backend."""


class BrokerService(ListeningService):
    """The broker as a service of Twisted: the daemon, or one of its workers.

    ``read`` gives the configuration anew, for reloads; it raises ConfigError. ``observer`` is the
    log whose level a reload may change.
    """

    log = Logger()

    def __init__(
        self,
        config: Config,
        reactor: IReactor,
        observer: JSONLog | None,
        read: Callable[[], Config],
        around: Surroundings = Surroundings(),
    ) -> None:
        super().__init__(config, reactor, observer)
        self._read = read
        self._around = around
        self._waiting: Deferred[None] | None = None
        self._hurried = False
        registry = CollectorRegistry()
        if around.shown is None:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=registry)
        self._practice = Practice(reactor, around.pace)
        self._metrics = metrics = Metrics(registry)
        if not around.led:
            self._daemon_metrics = DaemonMetrics(registry, time.time())
        self._lag = ReactorLag(reactor, metrics.lagged)
        self._levels = LoopingCall(self._show_levels)
        self._levels.clock = reactor
        self.backends = Backends(reactor, dropped=metrics.dropped)
        self.shortage = Shortage(reactor, metrics.out_of_descriptors.inc)
        access_log = AccessLog(observer.write_lines if observer is not None else None)
        if observer is not None:
            observer.count_dropped(metrics.log_lines_dropped.inc)
        ledger = None
        self._limits = around.limits
        self._redis: RedisStore | None = None
        if config.limit_store is not None:
            self._limits = self._redis = redis_store(config.limit_store, reactor)
        if self._limits is None:
            ledger = ledger_of(config.usage.file, self.log)
            self._limits = LocalStore(ledger, reactor, time.time)
        self._journal = UsageJournal(config.usage, reactor, time.time, ledger)
        self._prices = Prices(datetime.now(UTC))
        self._observers = (metrics, access_log, self._journal)
        self._batching = BatchingObserver(self._observers)
        self.broker = Broker(
            config,
            self.backends,
            (self._batching,),
            reactor,
            time.time,
            price_of=self._prices.of,
            limits=self._limits,
        )
        self._tracing = Tracing(
            self.broker,
            self.backends,
            reactor,
            time.time,
            metrics.spans_dropped.inc,
            metrics.spans_exported.inc,
        )
        self.broker.offload.ended = metrics.offloaded
        self.captures = Captures(self.broker)
        beginnings = self.broker.beginnings
        self._ageing = LoopingCall(beginnings.age)
        self._ageing.clock = reactor
        beginnings.used = lambda how: metrics.beginning(how, beginnings.size)
        self._checks = Checks(self.broker, self.backends, metrics.checked)
        self._registry = around.shown or registry
        self._front = Front(self.broker, settle=self._settle)
        self._front.unknown_path = metrics.unknown_path
        self._front.usage_of = self._usage_of
        self._site = Site(self._front.resource(), reactor, config.limits, config.server.engine)
        self._site.refused = Refusals(registry)
        self._aside = Front(self.broker, self._registry, self._settle)
        # Where there are many models there are thousands of series: no call waits for them.
        self._front.away = self._aside.away = partial(away, reactor)
        # It counts its own connections, so that clients cannot crowd out monitoring.
        self._aside_site = Site(
            self._aside.resource(ASIDE), reactor, config.limits, config.server.engine
        )
        self._site.shortage = self._aside_site.shortage = self.shortage
        self._site.descriptors = self._aside_site.descriptors = descriptors.for_clients()
        self._show(config)
        self._listeners = Listeners(self, self._listener, config)
        if config.server.control and not around.led:
            commands = {"capture": capture_command(self.captures)}
            Control(config.server.control, reactor, commands).setServiceParent(self)

    def _show(self, config: Config) -> None:
        """Show the metrics to clients where they have no listener of their own."""
        self._front.registry = None if config.server.metrics_listen else self._registry

    def _settle(self) -> None:
        """Bring the metrics up to date before they are read."""
        self._batching.flush()
        self._metrics.settle()
        self._show_levels()

    def _show_levels(self) -> None:
        levels = self._metrics.levels
        levels.targets(self.broker.targets())
        levels.backends(self.backends.loads())
        levels.learned(self.broker.learned.backends(self._reactor.seconds()))
        levels.connections(self._site.connections)

    def _listener(self, endpoint: str, aside: bool) -> service.IService:
        site = self._aside_site if aside else self._site
        return self._around.listen(endpoint, site, self._reactor, self.shortage)

    # Starting.

    def privilegedStartService(self) -> None:
        """Take SIGHUP and listen. Raises CannotListen."""
        # First of all: without a handler the signal ends the process.
        if not self._around.led:
            self._on_signal(signal.SIGHUP, self.reload)
        self.broker.config = self._practice.of(self._config)
        self._begin_listening()

    def startService(self) -> None:
        """Start resolving names, checks and batching, and log that the broker serves."""
        if IReactorPluggableNameResolver.providedBy(self._reactor):
            self._reactor.installNameResolver(ThreadedResolver(self._reactor))
        super().startService()
        self._metrics.expect(self.broker.config)
        self._metrics.start(self._reactor)
        self._lag.start()
        self._batching.start(self._reactor)
        self._prices.load(_targets(self._config))
        self._journal.start()
        if self._redis is not None:
            self._redis.start()
        self._trace(self._config.tracing)
        self._ageing.start(AGEING_SECONDS, now=False)
        if self._around.shown is not None:
            # Another worker may answer the request for metrics.
            self._levels.start(LEVELS_SECONDS, now=False)
        self._checks.start()
        # What the start has made stays to the end: looking through it again and again costs
        # tens of milliseconds each time, in which no event is relayed (docs/performance.md).
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLDS)
        bytes(LARGEST_BLOCK)  # freed at once; its pages are never used
        if self._around.led:
            return
        self._log_warnings(self._config)
        self._log_serving()

    def _trace(self, rules: TracingRules | None) -> None:
        """Record spans of calls by ``rules`` from now on, none without them."""
        self._batching.flush()
        self._batching.observers = (*self._observers, *self._tracing.take(rules))

    def _usage_of(self, caller: str, since: float, by: Sequence[str]) -> "Deferred[Any]":
        """Return what a caller has used, for ``Front``."""
        self._batching.flush()
        return self._journal.read(report, since, by, caller)

    # Reloading.

    async def _reload(self) -> None:
        try:
            config = await away(self._reactor, self._read)
            changed = await away(self._reactor, changes, self._config, config)
            await away(self._reactor, self._prices.load, _targets(config))
            if not self.running:
                return
            added = self.listen_more(config)
        except (ConfigError, CannotListen) as error:
            self._report_no_reload(problem_of(error))
            return
        self.take(config, added)
        self._report_reload(config, changed)

    def listen_more(self, config: Config) -> dict[Endpoint, IService]:
        """Listen on what ``config`` has besides, for ``take``.

        Raises CannotListen, and then nothing has changed.
        """
        return self._listeners.more(config)

    def leave(self, added: dict[Endpoint, IService]) -> None:
        """Give up a configuration instead of taking it: close what ``listen_more`` listens on."""
        self._listeners.drop(added)

    def take(self, config: Config, added: dict[Endpoint, IService]) -> None:
        """Serve by ``config`` from now on."""
        self._listeners.keep(config, added)
        self._config = config
        self.broker.config = self._practice.of(config)
        self._metrics.expect(self.broker.config)
        self._journal.take(config.usage)
        self._trace(config.tracing)
        self._checks.start()
        self._site.limits = self._aside_site.limits = config.limits
        self._show(config)
        if self._observer is not None:
            self._observer.level = config.log_level

    # Stopping.

    def stopService(self) -> "Deferred[None]":
        """Drain and close; the Deferred fires when nothing is left."""
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        self.not_ready()
        if not self._around.led:
            self._manager.stopping()
        self._checks.stop()
        self.captures.end("the broker stops")
        for number in (signal.SIGTERM, signal.SIGINT) if not self._around.led else ():
            self._on_signal(number, self.hurry)
        delay = self._config.server.drain_delay
        if delay and not self._around.led:
            self.log.info(
                "Not ready any more; connections are accepted for {seconds} s more", seconds=delay
            )
            await self._within(Deferred(), delay)
        await super().stopService()
        emptied = self._site.drain()
        self._aside_site.drain()
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
        self._aside_site.abort()
        self.broker.offload.close()
        self._batching.flush()
        await self._tracing.stop()
        try:
            if self._redis is not None:
                await self._redis.stop()
            await self.backends.close()
            await self._practice.stop()
        finally:
            self._manager.stopped()
            for each in (self._levels, self._ageing):
                if each.running:
                    each.stop()
            self._lag.stop()
            self._batching.stop()
            self._metrics.stop()
            await self._journal.stop()

    async def _within(self, done: "Deferred[None]", seconds: float) -> bool:
        """Return whether ``done`` fired in time; not waited for once somebody is in a hurry."""
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

    def not_ready(self) -> None:
        """Let load balancers see that no more calls are wanted, and serve on."""
        self._front.draining = self._aside.draining = True

    def hurry(self) -> None:
        """End at once; after ``stopService``."""
        self.log.warn("Asked to stop once more: ending at once")
        self._hurried = True
        if self._waiting is not None:
            self._waiting.cancel()


def _targets(config: Config) -> list[Target]:
    return [target for route in config.aliases.values() for target in route.targets]
