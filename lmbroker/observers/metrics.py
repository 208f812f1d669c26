"""An observer that counts, in Prometheus' terms. Labels come from configured names only.

All is counted in ``Counter``, ``Histogram`` and ``Gauge`` (``livesum``), so that several processes
can count as one (``workers.tally``); a collector that looks things up when it is asked cannot. What
is not counted but looked at (``targets``, ``backends``) is shown anew before somebody reads it.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import pairwise

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from lmbroker.call import Attempt, Record
from lmbroker.routing.target_health import TargetStatus
from lmbroker.usage import PICO

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
UNKNOWN = "other"
"""The alias label of a call for a model that nobody configured."""


class Metrics:
    """Counts calls into ``registry``. See ``batching.BatchObserver``.

    What a metric keeps for its labels is looked up here: prometheus-client's own look-up takes a
    lock and makes each label a string anew. The labels are few, since they are configured.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        requests = Counter(
            "lmbroker_requests_total",
            "Calls by how they ended.",
            ("alias", "operation", "workflow", "outcome", "status"),
            registry=registry,
        )
        duration = Histogram(
            "lmbroker_request_seconds",
            "From the call's arrival to its end.",
            ("alias", "workflow"),
            buckets=_SECONDS,
            registry=registry,
        )
        first = Histogram(
            "lmbroker_first_event_seconds",
            "From the call's arrival to the first event of its answer.",
            ("alias", "workflow"),
            buckets=_SECONDS,
            registry=registry,
        )
        self._in_flight = Gauge(
            "lmbroker_in_flight",
            "Calls open now.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        tokens = Counter(
            "lmbroker_tokens_total",
            "Tokens as the backends counted them, or as estimated.",
            ("alias", "direction"),
            registry=registry,
        )
        cost = Counter(
            "lmbroker_cost_usd_total",
            "US dollars that the answers cost, as far as prices are known.",
            ("alias", "backend"),
            registry=registry,
        )
        attempts = Counter(
            "lmbroker_attempts_total",
            "Attempts at backends by how they ended.",
            ("backend", "result"),
            registry=registry,
        )
        dropped = Counter(
            "lmbroker_fields_dropped_total",
            "Calls in which fields were dropped.",
            ("alias", "dialect"),
            registry=registry,
        )
        changed = Counter(
            "lmbroker_fields_changed_total",
            "Calls in which fields were changed (approximated).",
            ("alias", "dialect"),
            registry=registry,
        )

        failovers = Counter(
            "lmbroker_failovers_total",
            "Attempts after which a call went on to another target, by what they failed with.",
            ("backend", "reason"),
            registry=registry,
        )
        self._failovers = cache(failovers.labels)
        learned = Counter(
            "lmbroker_learned_total",
            "Calls repaired after a backend refused a parameter.",
            ("backend", "parameter"),
            registry=registry,
        )
        self._limits = Counter(
            "lmbroker_limit_calls_total",
            "Calls that a limit rule met, by what it said.",
            ("rule", "result"),
            registry=registry,
        )
        self._limit_taken = Counter(
            "lmbroker_limit_taken_total",
            "What calls took of a limit rule: requests, tokens, US dollars (cost).",
            ("rule", "measure"),
            registry=registry,
        )
        self._requests = cache(requests.labels)
        self._duration = cache(duration.labels)
        self._first = cache(first.labels)
        self._tokens = cache(tokens.labels)
        self._cost = cache(cost.labels)
        self._attempts = cache(attempts.labels)
        self._dropped = cache(dropped.labels)
        self._changed = cache(changed.labels)
        self._learned = cache(learned.labels)

        self._offloaded = Counter(
            "lmbroker_offloaded_total",
            "Steps of calls with a large body, which went to a helper process.",
            ("result",),
            registry=registry,
        )
        self._checks = Counter(
            "lmbroker_checks_total",
            "Checks of backends by how they ended.",
            ("backend", "result"),
            registry=registry,
        )

        self._connections = Counter(
            "lmbroker_connections_dropped_total",
            "Connections to backends that were given up for what nobody had asked for.",
            ("backend", "reason"),
            registry=registry,
        )
        self._breakers = _Levels(
            "lmbroker_breaker_open",
            "1 where the breaker of a target or of one of its keys is not closed.",
            ("backend", "model", "operation", "key"),
            registry,
        )
        self._target_in_flight = _Levels(
            "lmbroker_target_in_flight",
            "Attempts at a target whose answers have not ended.",
            ("backend", "model", "operation"),
            registry,
        )
        self._slots = _Levels(
            "lmbroker_backend_slots_in_use",
            "Calls that hold a slot of a backend with max_in_flight.",
            ("backend",),
            registry,
        )
        self._queued = _Levels(
            "lmbroker_backend_queued",
            "Calls that wait for a slot of a backend with max_in_flight.",
            ("backend",),
            registry,
        )
        self._unknown_paths = Counter(
            "lmbroker_unknown_paths_total",
            "Requests for paths that are not served, by the likely cause.",
            ("cause",),
            registry=registry,
        )

        self.out_of_descriptors = Counter(
            "lmbroker_out_of_descriptors_total",
            "Connections of clients that were refused since there were too few descriptors.",
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
            "Lines of the log that were dropped since nothing took them.",
            registry=registry,
        )

    def targets(self, found: Iterable[TargetStatus]) -> None:
        """Show which breakers are open, and how busy targets are."""
        opened: dict[tuple[str, ...], float] = {}
        busy: dict[tuple[str, ...], float] = {}
        for each in found:
            place = each.backend, each.model, each.operation
            opened[*place, each.key] = each.state != "closed"
            if not each.key:
                busy[place] = each.in_flight
        self._breakers.show(opened)
        self._target_in_flight.show(busy)

    def backends(self, found: Mapping[str, tuple[int, int]]) -> None:
        """Show how busy backends with a concurrency limit are: slots in use, calls that wait."""
        self._slots.show({(name,): used for name, (used, _) in found.items()})
        self._queued.show({(name,): queued for name, (_, queued) in found.items()})

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

    def opened(self, record: Record) -> None:
        """Count one more call in flight."""
        self._in_flight.inc()

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Count one ended attempt."""
        self.ended((attempt,), ())

    def closed(self, record: Record) -> None:
        """Count one ended call."""
        self.ended((), (record,))

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Count ended attempts and ended calls."""
        self._in_flight.dec(len(records))
        counts: dict[Counter, int] = collections.defaultdict(int)
        for attempt in attempts:
            counts[self._attempts(attempt.target.backend.name, attempt.error or "ok")] += 1
        for record in records:
            for one, other in pairwise(record.attempts):
                if one.error and _place(one) != _place(other):
                    counts[self._failovers(one.target.backend.name, one.error)] += 1
            alias = record.alias or UNKNOWN
            workflow = record.attempts[-1].workflow if record.attempts else "none"
            end = record.end
            outcome = end.outcome or "failed"
            requests = self._requests(alias, record.operation, workflow, outcome, end.status)
            counts[requests] += 1
            if record.closed_at is not None:
                self._duration(alias, workflow).observe(record.closed_at - record.opened_at)
            if record.first_event_at is not None:
                self._first(alias, workflow).observe(record.first_event_at - record.opened_at)
            usage = record.usage
            if usage is not None:
                prompt = usage.input + usage.cache_read + usage.cache_write
                counts[self._tokens(alias, "in")] += prompt
                counts[self._tokens(alias, "out")] += usage.output
            if record.cost:
                self._cost(alias, record.attempts[-1].target.backend.name).inc(record.cost / PICO)
            for parameter in record.learned:
                backend = record.attempts[-1].target.backend.name
                counts[self._learned(backend, parameter)] += 1
            if record.limits:
                self._limited(record)
            if record.dropped:
                counts[self._dropped(alias, record.dialect)] += 1
            if record.changed:
                counts[self._changed(alias, record.dialect)] += 1
        for counter, count in counts.items():
            counter.inc(count)

    def _limited(self, record: Record) -> None:
        """Count what the limit rules said of a call, and what it took of them."""
        for rule, said in record.limits:
            self._limits.labels(rule, said).inc()
        if record.reservation is None:
            return
        taken: dict[tuple[str, str], int] = {}
        for rule, measure, amount in record.reservation.shares():
            # A rule may have one measure for several periods.
            taken[rule, measure] = amount
        for (rule, measure), amount in taken.items():
            self._limit_taken.labels(rule, measure).inc(
                amount / PICO if measure == "cost" else amount
            )


class _Levels:
    """A gauge whose values are all shown anew each time; what is gone is shown as 0."""

    def __init__(
        self, name: str, meaning: str, labels: tuple[str, ...], registry: CollectorRegistry
    ) -> None:
        gauge = Gauge(name, meaning, labels, registry=registry, multiprocess_mode="livesum")
        self._level = cache(gauge.labels)
        self._shown: Mapping[tuple[str, ...], float] = {}

    def show(self, levels: Mapping[tuple[str, ...], float]) -> None:
        """Set the value of each combination of labels; a file of several workers forgets none."""
        for labels in self._shown.keys() - levels.keys():
            self._level(*labels).set(0)
        for labels, level in levels.items():
            self._level(*labels).set(level)
        self._shown = levels


def _place(attempt: Attempt) -> tuple[str, str]:
    return attempt.target.backend.name, attempt.target.model


class Refusals(collections.Counter[int]):
    """What a site refused before it became a call, status -> count; counted into ``registry``."""

    def __init__(self, registry: CollectorRegistry) -> None:
        super().__init__()
        self._counted = Counter(
            "lmbroker_refused_total",
            "Requests that were refused before they became a call.",
            ("status",),
            registry=registry,
        )

    def __setitem__(self, status: int, count: int) -> None:
        self._counted.labels(str(status)).inc(count - self[status])
        super().__setitem__(status, count)


def exposition(registry: CollectorRegistry) -> tuple[bytes, str]:
    """Return the body and content type of ``/metrics``."""
    return generate_latest(registry), CONTENT_TYPE_LATEST
