"""An observer that counts, in Prometheus' terms. Labels come from configured names only.

All is counted in ``Counter``, ``Histogram`` and ``Gauge`` (``livesum``), so that several processes
can count as one (``workers.tally``); a collector that looks things up when it is asked cannot.

What shows whether calls succeed is counted at the end of each turn; the finer pictures, of which
there are more series, are counted of several calls at once (``call_groups``).
"""

import collections
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lmbroker.call import Attempt, Record
from lmbroker.config.config import Config
from lmbroker.observers.call_groups import UNKNOWN, Group, WaitingCalls, grouped, model_of
from lmbroker.observers.field_names import field_of, parameter_of
from lmbroker.observers.gen_ai_metrics import EMBEDDINGS, GenAIMetrics
from lmbroker.observers.histograms import observe_all
from lmbroker.observers.level_metrics import LevelMetrics
from lmbroker.observers.overhead_metrics import OverheadMetrics
from lmbroker.observers.usage_metrics import UsageMetrics
from lmbroker.routing import aliases
from lmbroker.usage import PICO

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

_USUAL_ENDS = (
    ("passthrough", "complete", 200),
    ("translation", "complete", 200),
    ("passthrough", "failed", 500),
    ("translation", "failed", 500),
    ("none", "failed", 500),
)
"""Workflow, outcome and status of the calls that are counted from the start: those that are well,
and those that an alert is about although there may be one of them only."""

_USUAL_RESULTS = ("ok", "backend_auth")
"""The same of attempts."""

_LAG = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


class Metrics:
    """Counts calls into ``registry``. See ``batching.BatchObserver``.

    What a metric keeps for its labels is looked up here: prometheus-client's own look-up takes a
    lock and makes each label a string anew. The labels are few, since they are configured.
    ``levels`` shows what is not counted but looked at.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.levels = LevelMetrics(registry)
        self._gen_ai = GenAIMetrics(registry)
        self._overhead = OverheadMetrics(registry)
        self._usage = UsageMetrics(registry)
        self._waiting = WaitingCalls(self._take)
        self.start, self.stop = self._waiting.start, self._waiting.stop
        self.settle = self._waiting.settle
        requests = Counter(
            "lmbroker_requests_total",
            "Calls that ended, by how. `workflow` is `none` where no backend was asked.",
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
            "Tokens, `in` and `out`, as the backends counted or the broker estimated them.",
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
            "Attempts at backends; `result` is `ok`, `cancelled`, or the `code` of the failure.",
            ("backend", "result"),
            registry=registry,
        )
        dropped = Counter(
            "lmbroker_fields_dropped_total",
            "Calls in which a field was dropped in translation; `dialect` is the client's.",
            ("alias", "dialect"),
            registry=registry,
        )
        changed = Counter(
            "lmbroker_fields_changed_total",
            "Calls in which a field was changed (approximated) in translation; `dialect` is the "
            "client's.",
            ("alias", "dialect"),
            registry=registry,
        )
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
            buckets=(0.001, 0.005, *_SECONDS[:12]),
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
        failovers = Counter(
            "lmbroker_failovers_total",
            "Attempts after which a call went on to another target; `reason` is the `code` of the "
            "failure.",
            ("backend", "reason"),
            registry=registry,
        )
        self._failovers = cache(failovers.labels)
        learned = Counter(
            "lmbroker_learned_total",
            "Calls that were repaired after a backend refused a parameter. One that no known API "
            "has is `other`.",
            ("backend", "parameter"),
            registry=registry,
        )
        self._limits = Counter(
            "lmbroker_limit_calls_total",
            "Calls that a [limit rule](limits.md) met; `result` is `allowed`, `exceeded`, "
            "`refused` or `then`.",
            ("rule", "result"),
            registry=registry,
        )
        self._limit_taken = Counter(
            "lmbroker_limit_taken_total",
            "What calls took of a limit rule: `requests`, `tokens`, or US dollars (`cost`).",
            ("rule", "measure"),
            registry=registry,
        )
        self._requests = cache(requests.labels)
        self._series: dict[tuple[str, str, str, str | None, int], _Series] = {}
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
            for direction in ("in", "out"):
                self._tokens(route.name, direction)
            for workflow, outcome, status in _USUAL_ENDS:
                self._requests(route.name, "chat", workflow, outcome, status)
            for target in route.targets:
                backend = target.backend
                for result in _USUAL_RESULTS:
                    self._attempts(backend.name, result)
                if target.price is not None:
                    self._cost(route.name, backend.name)
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
        self._in_flight.inc()

    def attempted(self, record: Record, attempt: Attempt) -> None:
        """Count one ended attempt."""
        self.ended((attempt,), ())

    def closed(self, record: Record) -> None:
        """Count one ended call."""
        self.ended((), (record,))

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Count ended attempts and ended calls."""
        if records:
            self._in_flight.dec(len(records))
            self._waiting.add(records)
        counts: dict[Counter, int] = collections.defaultdict(int)
        for attempt in attempts:
            counts[self._attempts(attempt.target.backend.name, attempt.error or "ok")] += 1
        touched: dict[_Series, None] = {}
        for record in records:
            end, tried = record.end, record.attempts
            workflow = tried[-1].workflow if tried else "none"
            key = record.alias, record.operation, workflow, end.outcome, end.status
            series = self._series.get(key) or self._make_series(*key)
            touched[series] = None
            series.calls += 1
            if record.closed_at is not None:
                series.durations.append(record.closed_at - record.opened_at)
            if record.first_event_at is not None:
                series.first.append(record.first_event_at - record.opened_at)
            usage = record.usage
            if usage is not None:
                series.tokens_in += usage.input + usage.cache_read + usage.cache_write
                series.tokens_out += usage.output
                series.used = True
            if record.cost:
                cost = record.cost / PICO
                self._cost(record.alias or UNKNOWN, tried[-1].target.backend.name).inc(cost)
            if len(tried) > 1:
                for one, other in pairwise(tried):
                    if one.error and _place(one) != _place(other):
                        counts[self._failovers(one.target.backend.name, one.error)] += 1
            for parameter in record.learned:
                backend = tried[-1].target.backend.name
                counts[self._learned(backend, parameter_of(parameter))] += 1
            if record.limits:
                self._limited(record)
            if record.dropped:
                counts[self._dropped(record.alias or UNKNOWN, record.dialect)] += 1
            if record.changed:
                counts[self._changed(record.alias or UNKNOWN, record.dialect)] += 1
        for counter, count in counts.items():
            counter.inc(count)
        for series in touched:
            series.count()

    def _make_series(
        self, alias: str, operation: str, workflow: str, outcome: str | None, status: int
    ) -> "_Series":
        name = alias or UNKNOWN
        made = _Series(
            self._requests(name, operation, workflow, outcome or "failed", status),
            self._duration(name, workflow),
            self._first(name, workflow),
            partial(self._tokens, name),
        )
        self._series[alias, operation, workflow, outcome, status] = made
        return made

    def _take(self, records: Sequence[Record]) -> None:
        """Count what several calls are counted for together."""
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


class _Series:
    """What the calls of one turn with the same labels are counted into."""

    __slots__ = (
        "_add_calls",
        "_add_tokens",
        "_duration",
        "_first",
        "_tokens",
        "calls",
        "durations",
        "first",
        "tokens_in",
        "tokens_out",
        "used",
    )

    def __init__(
        self,
        requests: Counter,
        duration: Histogram,
        first: Histogram,
        tokens: Callable[[str], Counter],
    ) -> None:
        self._duration, self._first, self._tokens = duration, first, tokens
        # ``Counter.inc`` looks twice whether it may before it calls this.
        self._add_calls = requests._value.inc
        self._add_tokens: tuple[Callable[[float], None], ...] = ()
        self.calls = self.tokens_in = self.tokens_out = 0
        self.used = False
        self.durations: list[float] = []
        self.first: list[float] = []

    def count(self) -> None:
        """Count what was taken, and begin anew."""
        self._add_calls(self.calls)
        observe_all(self._duration, self.durations)
        self.durations.clear()
        if self.first:
            observe_all(self._first, self.first)
            self.first.clear()
        if self.used:
            if not self._add_tokens:
                self._add_tokens = tuple(self._tokens(way)._value.inc for way in ("in", "out"))
            add_in, add_out = self._add_tokens
            add_in(self.tokens_in)
            add_out(self.tokens_out)
            self.used = False
            self.tokens_in = self.tokens_out = 0
        self.calls = 0


def _place(attempt: Attempt) -> tuple[str, str]:
    return attempt.target.backend.name, attempt.target.model


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
