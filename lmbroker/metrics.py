"""An observer that counts, in Prometheus' terms. Labels come from configured names only."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from lmbroker.call import Attempt, Record

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
UNKNOWN = "other"
"""The alias label of a call for a model that nobody configured."""


class Metrics:
    """Counts calls into ``registry``. See ``call.Observer``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._requests = Counter(
            "lmbroker_requests_total",
            "Calls by how they ended.",
            ("alias", "operation", "workflow", "outcome", "status"),
            registry=registry,
        )
        self._duration = Histogram(
            "lmbroker_request_seconds",
            "From the call's arrival to its end.",
            ("alias", "workflow"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._first = Histogram(
            "lmbroker_first_event_seconds",
            "From the call's arrival to the first event of its answer.",
            ("alias", "workflow"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge("lmbroker_in_flight", "Calls open now.", registry=registry)
        self._tokens = Counter(
            "lmbroker_tokens_total",
            "Tokens as the backends counted them, or as estimated.",
            ("alias", "direction"),
            registry=registry,
        )
        self._attempts = Counter(
            "lmbroker_attempts_total",
            "Attempts at backends by how they ended.",
            ("backend", "result"),
            registry=registry,
        )
        self._dropped = Counter(
            "lmbroker_fields_dropped_total",
            "Calls in which fields were approximated or dropped.",
            ("alias", "dialect"),
            registry=registry,
        )

        self._learned = Counter(
            "lmbroker_learned_total",
            "Calls repaired after a backend refused a parameter.",
            ("backend", "parameter"),
            registry=registry,
        )

    def opened(self, record: Record) -> None:
        self._in_flight.inc()

    def attempted(self, record: Record, attempt: Attempt) -> None:
        self._attempts.labels(attempt.target.backend.name, attempt.error or "ok").inc()

    def closed(self, record: Record) -> None:
        self._in_flight.dec()
        alias = record.alias or UNKNOWN
        workflow = record.attempts[-1].workflow if record.attempts else "none"
        self._requests.labels(
            alias, record.operation, workflow, record.outcome or "failed", str(record.status)
        ).inc()
        if record.closed_at is not None:
            self._duration.labels(alias, workflow).observe(record.closed_at - record.opened_at)
        if record.first_event_at is not None:
            self._first.labels(alias, workflow).observe(record.first_event_at - record.opened_at)
        usage = record.usage
        if usage is not None:
            prompt = usage.input + usage.cache_read + usage.cache_write
            self._tokens.labels(alias, "in").inc(prompt)
            self._tokens.labels(alias, "out").inc(usage.output)
        for parameter in record.learned:
            backend = record.attempts[-1].target.backend.name
            self._learned.labels(backend, parameter).inc()
        if record.dropped:
            self._dropped.labels(alias, record.dialect).inc()


def exposition(registry: CollectorRegistry) -> tuple[bytes, str]:
    """The body and content type of ``/metrics``."""
    return generate_latest(registry), CONTENT_TYPE_LATEST
