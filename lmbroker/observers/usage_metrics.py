"""Metrics of usage: calls, tokens and cost by caller, alias, backend and model."""

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Histogram

from lmbroker.call import Record
from lmbroker.observers.call_groups import Group
from lmbroker.observers.histograms import observe_all
from lmbroker.usage import PICO, Usage

KINDS = ("input", "cache_read", "cache_write", "cache_write_1h", "output", "reasoning")
"""The kinds of tokens. The first four make up the prompt; reasoning is a part of the output."""


class UsageMetrics:
    """Counts what groups of calls used."""

    def __init__(self, registry: CollectorRegistry) -> None:
        who = ("caller", "alias", "backend", "model")
        calls = Counter(
            "lmbroker_usage_calls_total",
            "Calls that ended, by who called and by the target that answered or failed last. "
            "`backend` and `model` are `none` where no backend was asked.",
            (*who, "stream", "outcome"),
            registry=registry,
        )
        tokens = Counter(
            "lmbroker_usage_tokens_total",
            "Tokens by kind. `input` (those that no cache held), `cache_read`, `cache_write` and "
            "`cache_write_1h` make up the prompt; `reasoning` is a part of `output`. `estimated` "
            "is `true` where the backend did not count and the broker did.",
            (*who, "kind", "estimated"),
            registry=registry,
        )
        cost = Counter(
            "lmbroker_usage_cost_usd_total",
            "US dollars that the answers cost, as far as prices are known.",
            who,
            registry=registry,
        )
        cached = Histogram(
            "lmbroker_prompt_cached_ratio",
            "Which part of the tokens of a call's prompt the backend's cache held, from 0 to 1; of "
            "calls whose tokens the backend counted.",
            ("backend", "model"),
            buckets=(0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 1),
            registry=registry,
        )
        self._cached = cache(cached.labels)
        self._calls = cache(calls.labels)
        self._tokens = cache(tokens.labels)
        self._cost = cache(cost.labels)

    def take(self, group: Group, records: list[Record]) -> None:
        """Count the ended calls of a group."""
        who = group[:4]
        stream = "true" if group.stream else "false"
        outcomes: dict[str, int] = {}
        cost = 0
        for record in records:
            outcome: str = record.end.outcome or "failed"
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            cost += record.cost or 0
        for outcome, count in outcomes.items():
            self._calls(*who, stream, outcome).inc(count)
        if cost:
            self._cost(*who).inc(cost / PICO)
        usages = [record.usage for record in records if record.usage is not None]
        counted = [usage for usage in usages if not usage.estimated]
        self._take_tokens(who, counted, "false")
        shares = []
        for usage in counted:
            prompt = usage.input + usage.cache_read + usage.cache_write
            if prompt:
                shares.append(usage.cache_read / prompt)
        if shares:
            observe_all(self._cached(group.backend, group.model), shares)
        if len(counted) < len(usages):
            self._take_tokens(who, [usage for usage in usages if usage.estimated], "true")

    def _take_tokens(self, who: tuple[str, ...], usages: list[Usage], estimated: str) -> None:
        fresh = read = written = hour = output = reasoning = 0
        for usage in usages:
            fresh += usage.input
            read += usage.cache_read
            output += usage.output
            reasoning += usage.reasoning or 0
            if usage.cache_write:
                written += usage.cache_write
                hour += min((usage.cache_write_by_ttl or {}).get("1h", 0), usage.cache_write)
        counts = fresh, read, written - hour, hour, output, reasoning
        for kind, count in zip(KINDS, counts, strict=True):
            if count:
                self._tokens(*who, kind, estimated).inc(count)
