"""Records the spans of a broker's calls, as long as its configuration says where they go."""

import random
from collections.abc import Callable

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime

from lmbroker.backends.sending import Sender
from lmbroker.backends.span_receiver import SpanReceiver
from lmbroker.broker.broker import Broker
from lmbroker.config.tracing import TracingRules
from lmbroker.observers.span_export import Count, SpanExport


class Tracing:
    """Decides for ``broker`` which calls have spans, and gives the observer that exports these.

    Spans go by ``sender``. ``wall`` gives unix seconds; ``dropped`` and ``exported`` count spans.
    """

    def __init__(
        self,
        broker: Broker,
        sender: Sender,
        reactor: IReactorTime,
        wall: Callable[[], float],
        dropped: Count,
        exported: Count,
    ) -> None:
        self._broker = broker
        self._sender = sender
        self._reactor = reactor
        self._wall = wall
        self._dropped = dropped
        self._exported = exported
        self._export: SpanExport | None = None

    def take(self, rules: TracingRules | None) -> tuple[SpanExport, ...]:
        """Record spans by ``rules`` from now on, none without them; return their observers."""
        if rules is None:
            self._broker.trace_ratio = None
            self.stop()
            return ()
        post = SpanReceiver(self._sender, rules.receiver).post
        if self._export is not None:
            self._export.take(rules.service_name, post)
        else:
            self._export = SpanExport(
                rules.service_name,
                post,
                self._reactor,
                self._wall,
                random.random,
                self._dropped,
                self._exported,
            )
        self._broker.trace_ratio = rules.ratio
        return (self._export,)

    def stop(self) -> "Deferred[None]":
        """Send the spans that wait, for a bounded time; fires when that is over."""
        export, self._export = self._export, None
        return succeed(None) if export is None else export.stop()
