"""An observer that counts, in Prometheus' terms. Labels come from configured names only.

All is counted in ``Counter``, ``Histogram`` and ``Gauge`` (``livesum``), so that several processes
can count as one (``workers.tally``); a collector that looks things up when it is asked cannot.

What shows whether calls succeed is counted at the end of each turn; the finer pictures, of which
there are more series, are counted of several calls at once (``call_groups``).
"""

import collections
from collections.abc import Sequence
from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lmbroker.call import Attempt, Record
from lmbroker.config.config import Config
from lmbroker.observers.call_groups import UNKNOWN, Group, WaitingCalls, grouped, model_of
from lmbroker.observers.call_metrics import SECONDS, CallMetrics
from lmbroker.observers.field_names import field_of
from lmbroker.observers.gen_ai_metrics import EMBEDDINGS, GenAIMetrics
from lmbroker.observers.level_metrics import LevelMetrics
from lmbroker.observers.overhead_metrics import OverheadMetrics
from lmbroker.observers.usage_metrics import UsageMetrics
from lmbroker.routing import aliases

_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counts calls into ``registry``. See ``batching.BatchObserver``.

    ``levels`` shows what is not counted but looked at.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.levels = LevelMetrics(registry)
        self._calls = CallMetrics(registry)
        self._gen_ai = GenAIMetrics(registry)
        self._overhead = OverheadMetrics(registry)
        self._usage = UsageMetrics(registry)
        self._waiting = WaitingCalls(self._take)
        self.start, self.stop = self._waiting.start, self._waiting.stop
        self.settle = self._waiting.settle
        losses = Counter(
            "lmbroker_losses_total",
            "Calls in which a field of this name was `dropped` or `changed` in translation; "
            "`dialect` is the client's. A name that no known API has is `other`.",
            ("loss", "field", "dialect"),
            registry=registry,
        )
        self._losses = cache(losses.labels)
        queue = Histogram(
            "lmbroker_backend_queue_seconds",
            "How long calls waited for a slot of a backend with `max_in_flight`, in vain or not; "
            "0 for those that found one free.",
            ("backend",),
            buckets=(0.001, 0.005, *SECONDS[:12]),
            registry=registry,
        )
        self._queue = cache(queue.labels)
        self._lag = Histogram(
            "lmbroker_reactor_lag_seconds",
            "How much later than it was due the reactor came to a timer, ten times a second: so "
            "late may all be that it does.",
            buckets=_LAG,
            registry=registry,
        )
        self._offloaded = Counter(
            "lmbroker_offloaded_total",
            "Steps of calls with a large body, which went to a helper process: `ok`, or how they "
            "failed.",
            ("result",),
            registry=registry,
        )
        self._beginnings = Counter(
            "lmbroker_beginnings_total",
            "Translated requests with a long conversation: its beginning was `found` or `unknown`; "
            "`learned`: a longer one is remembered.",
            ("result",),
            registry=registry,
        )
        self._beginnings_bytes = Gauge(
            "lmbroker_beginnings_bytes",
            "Memory that the remembered beginnings of conversations take.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._checks = Counter(
            "lmbroker_checks_total",
            "Checks of backends; `result` is `ok`, `cannot` (the backend has no list of models), "
            "or a word for the failure, such as `refused` or `status_503`.",
            ("backend", "result"),
            registry=registry,
        )

        self._connections = Counter(
            "lmbroker_connections_dropped_total",
            "Connections to backends that were not used again for what nobody had asked for: "
            "`unasked` (something came while it was idle), `surplus` (something came behind a "
            "whole answer).",
            ("backend", "reason"),
            registry=registry,
        )
        self._unknown_paths = Counter(
            "lmbroker_unknown_paths_total",
            "Requests for paths that are not served: `version_twice`, `version_missing`, "
            "`operation_twice`, `unknown`.",
            ("cause",),
            registry=registry,
        )

        self.out_of_descriptors = Counter(
            "lmbroker_out_of_descriptors_total",
            "Connections of clients that were refused, since there were too few descriptors.",
            registry=registry,
        )
        self.spans_exported = Counter(
            "lmbroker_spans_exported_total",
            "Spans that their receiver has taken.",
            registry=registry,
        )
        self.spans_dropped = Counter(
            "lmbroker_spans_dropped_total",
            "Spans that were dropped since their receiver did not take them.",
            registry=registry,
        )
        self.log_lines_dropped = Counter(
            "lmbroker_log_lines_dropped_total",
            "Lines of the log that were dropped, since whoever reads it took nothing for too long.",
            registry=registry,
        )

    def expect(self, config: Config) -> None:
        """Let the counters of a configuration exist from now on, at 0.

        So the first event is an increase, too.
        """
        self._gen_ai.forget()
        for route in config.aliases.values():
            self._calls.expect(route)
            for target in route.targets:
                backend = target.backend
                if backend.check_interval is not None:
                    self._checks.labels(backend.name, "ok")
                if backend.max_in_flight is not None:
                    self._queue(backend.name)
                operation = "chat" if aliases.has(target, "chat") else EMBEDDINGS
                named = aliases.named(target, UNKNOWN)
                self._gen_ai.known(operation, backend, model_of(named, route.name))

    def lagged(self, seconds: float) -> None:
        """Note how late the reactor came to a timer."""
        self._lag.observe(seconds)

    def dropped(self, backend: str, reason: str) -> None:
        """Count a connection that was given up; see ``connections.Dropped``."""
        self._connections.labels(backend, reason).inc()

    def unknown_path(self, cause: str) -> None:
        """Count a request for a path that is not served; ``cause`` is one of a few words."""
        self._unknown_paths.labels(cause).inc()

    def checked(self, backend: str, result: str) -> None:
        """Count one check; ``result`` is ``ok`` or a word of ours."""
        self._checks.labels(backend, result).inc()

    def offloaded(self, how: str) -> None:
        """Count one large body that went to a helper process, by how that ended."""
        self._offloaded.labels(how).inc()

    def beginning(self, how: str, size: int) -> None:
        """Count one request by what became of its beginning, all of which take ``size`` bytes."""
        self._beginnings.labels(how).inc()
        self._beginnings_bytes.set(size)

    def opened(self, record: Record) -> None:
        """Count one more call in flight."""
        self._calls.in_flight.inc()

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Count one ended attempt."""
        self.ended((attempt,), ())

    def closed(self, record: Record) -> None:
        """Count one ended call."""
        self.ended((), (record,))

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Count ended attempts and ended calls."""
        self._calls.ended(attempts, records)
        if records:
            self._waiting.add(records)

    def _take(self, records: Sequence[Record]) -> None:
        """Count several calls together."""
        for group, members in grouped(records):
            self._usage.take(group, members)
            self._gen_ai.take(group, members)
            self._overhead.take(group, members)
            self._take_queue(group, members)
            for record in members:
                for loss, paths in (("dropped", record.dropped), ("changed", record.changed)):
                    for field in set(map(field_of, paths)):
                        self._losses(loss, field, record.dialect).inc()

    def _take_queue(self, group: Group, records: Sequence[Record]) -> None:
        for record in records:
            for attempt in record.attempts:
                backend = attempt.target.backend
                if backend.max_in_flight is not None:
                    self._queue(backend.name).observe(attempt.queued)


class Refusals(collections.Counter[int]):
    """Counts what a site refused before it became a call, by status, into ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._counted = Counter(
            "lmbroker_refused_total",
            "Requests that were refused before they became a call: malformed, too large, too slow, "
            "too many connections.",
            ("status",),
            registry=registry,
        )

    def __setitem__(self, status: int, count: int) -> None:
        self._counted.labels(str(status)).inc(count - self[status])
        super().__setitem__(status, count)
