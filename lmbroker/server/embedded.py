"""The broker as one object, for programs that embed it in a site of their own."""

import time
from collections.abc import Callable, Sequence
from typing import Any

from prometheus_client import CollectorRegistry
from twisted.internet.defer import Deferred
from twisted.web.resource import IResource

from lmbroker.backends.interfaces import IReactor
from lmbroker.backends.sending import Backends
from lmbroker.broker.broker import Broker
from lmbroker.broker.health_checks import Checks
from lmbroker.broker.practice import Practice
from lmbroker.broker.tracing import Tracing
from lmbroker.call import Observer
from lmbroker.config.config import Config
from lmbroker.observers.metrics import Metrics
from lmbroker.server.callers import CallerHook
from lmbroker.server.routes import Front


def _uncounted(count: int) -> None:
    """Do nothing: nobody wants to know how many spans there were."""


class EmbeddedBroker:
    """A broker with all that belongs to it; ``resource`` goes into any site of Twisted's.

    ``observers`` get to know of each call. ``registry``, where there is one, counts calls, and
    ``/metrics`` of the resource shows it. ``caller`` says who sends a request by its headers, in
    the place of the configured keys. ``wall`` gives unix seconds. It works from the start on; in
    the end ``close`` leaves nothing in the reactor. ``async with`` closes it as well.
    """

    def __init__(
        self,
        config: Config,
        reactor: IReactor,
        *,
        observers: Sequence[Observer] = (),
        registry: CollectorRegistry | None = None,
        caller: CallerHook | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._metrics = metrics = None if registry is None else Metrics(registry)
        self._observers = (*observers, *(() if metrics is None else (metrics,)))
        self._practice = Practice(reactor)
        self._backends = Backends(reactor)
        self.broker = Broker(
            self._practice.of(config), self._backends, self._observers, reactor, wall
        )
        self._tracing = Tracing(
            self.broker,
            self._backends,
            reactor,
            wall,
            _uncounted if metrics is None else metrics.spans_dropped.inc,
            _uncounted if metrics is None else metrics.spans_exported.inc,
        )
        self._trace(config)
        report = metrics.checked if metrics is not None else lambda backend, result: None
        self._checks = Checks(self.broker, self._backends, report)
        self._checks.start()
        self._front = Front(self.broker, registry)
        self._front.caller_hook = caller
        self._expect()

    def _trace(self, config: Config) -> None:
        """Record spans of calls, where ``config`` says where they go."""
        self.broker.observers = (*self._observers, *self._tracing.take(config.tracing))

    def _expect(self) -> None:
        """Let the counters of the configuration exist."""
        if self._metrics is not None:
            self._metrics.expect(self.broker.config)

    def resource(self) -> IResource:
        """Return the routes of the broker as a resource."""
        return self._front.resource()

    def reload(self, config: Config) -> None:
        """Serve by ``config`` from now on; calls end under the one that they began with."""
        self.broker.config = self._practice.of(config)
        self._trace(config)
        self._expect()
        self._checks.start()

    def close(self) -> "Deferred[None]":
        """Let go of all connections to backends; fires when nothing is left in the reactor."""
        return Deferred.fromCoroutine(self._close())

    async def _close(self) -> None:
        self._checks.stop()
        self.broker.offload.close()
        await self._tracing.stop()
        await self._backends.close()
        await self._practice.stop()

    async def __aenter__(self) -> "EmbeddedBroker":
        return self

    async def __aexit__(self, *_: Any) -> None:
        await self._close()
