"""Metrics that show whether calls succeed, counted at the end of each turn of the reactor."""

import collections
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import pairwise

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from lmbroker.call import Attempt, Record
from lmbroker.observers.call_groups import UNKNOWN
from lmbroker.observers.field_names import parameter_of
from lmbroker.observers.histograms import observe_all
from lmbroker.routing.aliases import Route
from lmbroker.usage import PICO

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)

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


class CallMetrics:
    """Counts ended attempts and calls, those of one turn together.

    What a metric keeps for its labels is looked up here: prometheus-client's own look-up takes a
    lock and makes each label a string anew. The labels are few, since they are configured.
    ``in_flight`` counts the calls that are open.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
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
            buckets=SECONDS,
            registry=registry,
        )
        first = Histogram(
            "lmbroker_first_event_seconds",
            "From the call's arrival to the first event of its answer.",
            ("alias", "workflow"),
            buckets=SECONDS,
            registry=registry,
        )
        self.in_flight = Gauge(
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

    def expect(self, route: Route) -> None:
        """Let the counters of an alias and its targets exist from now on, at 0."""
        for direction in ("in", "out"):
            self._tokens(route.name, direction)
        for workflow, outcome, status in _USUAL_ENDS:
            self._requests(route.name, "chat", workflow, outcome, status)
        for target in route.targets:
            for result in _USUAL_RESULTS:
                self._attempts(target.backend.name, result)
            if target.price is not None:
                self._cost(route.name, target.backend.name)

    def ended(self, attempts: Sequence[Attempt], records: Sequence[Record]) -> None:
        """Count ended attempts and ended calls."""
        if records:
            self.in_flight.dec(len(records))
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
