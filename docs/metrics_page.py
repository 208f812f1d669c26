"""Writes docs/metrics.md from the metrics themselves: their names, labels, buckets and meanings.

``python docs/metrics_page.py`` writes the page; a test holds that it is as the code says.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Histogram

from lmbroker.observers.daemon_metrics import DaemonMetrics
from lmbroker.observers.metrics import Metrics, Refusals

PAGE = Path(__file__).with_name("metrics.md")

HEAD = """\
# Metrics

<!-- Written by docs/metrics_page.py from the metrics themselves: run `make docs`. -->

`GET /metrics`, without a key, in Prometheus' text format; in OpenMetrics for who prefers that by
its `accept` header, as Prometheus does. Give it a listener of its own, so that whoever reaches the
API does not see it:

```
[server]
metrics_listen = ["tcp:9464:interface=127.0.0.1"]
```

It has `/metrics`, `/health` and `/ready`, and nothing else; where clients are served, the latter
two stay and `/metrics` is an unknown path. It may have `limits.connections` connections of its own,
of which clients take none.

Labels are names from the configuration and words of the broker's, never what clients or backends
sent. What nobody configured is `other`: the alias of a call for an unknown model, the model of a
target whose name a client made up (an alias such as `claude-*` with the target `*`), a field that
no known API has. So there are as many series as the configuration has names, whatever comes in.

The counters of aliases, targets and backends exist from the start, at 0, so that the first event is
an increase: where a label says how something ended, for what is usual and for what the alerts are
about. There are no `_created` series.

With [several workers](scaling.md#workers) the figures are those of all together. The counters of
calls, `lmbroker_request_seconds` and `lmbroker_first_event_seconds` are exact at any time; those of
usage, overhead and `gen_ai_*` are up to a second old, and a worker that is killed loses that
second; the levels (gauges) of backends, targets and connections are up to five seconds old.
`process_*` (memory, open files, CPU) are those of the Prometheus client, in one process `python_*`
as well.

[etc/prometheus-rules.yml](../etc/prometheus-rules.yml) has alerts and a few recording rules,
[etc/grafana-dashboard.json](../etc/grafana-dashboard.json) is a dashboard that asks for its data
source when it is imported.
"""

SECTIONS = (
    (
        "Calls",
        r"lmbroker_(requests|request_|first_event|in_flight|tokens|cost|limit|fields|losses|refused"
        r"|unknown|offloaded|beginnings)",
        'Worth an alert: `outcome="failed"` (a fault of the broker: please report it), and a '
        "growing share of `backend_error` and `stream_error`.",
    ),
    (
        "Who used what",
        r"lmbroker_(usage|prompt)",
        "The share of cached tokens of all calls of a target is "
        '`sum by (backend, model) (rate(lmbroker_usage_tokens_total{kind="cache_read"}[1h]))` by '
        "the same sum over `input`, `cache_read`, `cache_write` and `cache_write_1h`: the "
        "recording rule `lmbroker:cached_share:rate1h`.",
    ),
    (
        "What the broker adds",
        r"lmbroker_(overhead|reactor)",
        "The overhead is measured from the last byte of the request to the first byte of the "
        "answer, without the time in which the broker waited for the backend. The phases of a "
        "call add up to it. A byte counts as here from the moment since which it may have been: "
        "the end of the poll before, where the reactor found it without waiting. It counts as "
        "gone when all that the reactor's turn has written was sent. So a blocked reactor shows, "
        "and under load the figure is up to two turns of the reactor too high, never too low. "
        'With `server.engine = "stock"` and in other programs\' reactors turns are not known: '
        "there it begins when the call is served and ends when the answer is written. A failed "
        "attempt counts as the backend's time, but for what it took to be sent. Calls that got no "
        "answer of a backend are not counted.",
    ),
    (
        "Backends",
        r"lmbroker_(attempts|failovers|learned|connections_dropped|checks|breaker|target"
        r"|backend)",
        'Worth an alert: `result="backend_auth"` (a backend refuses the broker\'s key). A target '
        "appears among the breakers with its first call.",
    ),
    (
        "OpenTelemetry's names",
        r"gen_ai",
        "The client metrics of OpenTelemetry's [semantic conventions for generative AI]"
        "(https://github.com/open-telemetry/semantic-conventions-genai), version 0.1.0, in "
        "Prometheus' form, with their buckets and attributes. The operation is one attempt at a "
        "target; an attempt that failed and was followed by another has its own. `error_type` is "
        "empty where all went well, else the `code` of the failure, `cancelled`, or the outcome "
        "of the call. `gen_ai_provider_name` follows from the backend's host, else from the API "
        "that it is called in; `gen_ai_token_modality` is always `unknown`. Up to version 1.41 "
        "the conventions had other names (`gen_ai.client.operation.duration`, "
        "`gen_ai.client.token.usage`). They are still in development: these names follow them, "
        "ours above stay.",
    ),
    (
        "The daemon",
        r"lmbroker",
        "Worth an alert: `lmbroker_last_reload_successful == 0`, and `process_open_fds` near "
        "`process_max_fds`.",
    ),
)
"""Heading, which metrics are below it, what is said of them; the first that fits counts."""


def registered() -> list[Any]:
    """Return all metrics of a daemon, in the order in which they are made."""
    registry = CollectorRegistry()
    Metrics(registry)
    Refusals(registry)
    DaemonMetrics(registry, 0.0)
    return list(registry._collector_to_names)


def name_of(metric: Any) -> str:
    """Return the name by which queries ask for a metric, without ``_bucket`` and so on."""
    name: str = metric._name
    return f"{name}_total" if metric._type == "counter" else name


def row(metric: Any) -> str:
    """Return the row of one metric."""
    labels = ", ".join(f"`{label}`" for label in metric._labelnames)
    meaning = metric._documentation
    return f"| `{name_of(metric)}` | {metric._type} | {labels} | {meaning} |"


def buckets(metrics: list[Any]) -> Iterator[str]:
    """Yield lines that say which histograms have which buckets."""
    names: dict[tuple[str, ...], list[str]] = {}
    for metric in metrics:
        if isinstance(metric, Histogram):
            bounds = tuple(f"{float(each):g}" for each in metric._kwargs["buckets"])
            names.setdefault(bounds, []).append(name_of(metric))
    for bounds, those in names.items():
        yield f"- {', '.join(f'`{name}`' for name in those)}: {', '.join(bounds)}"


def page() -> str:
    """Return the whole page."""
    metrics = registered()
    parts = [HEAD]
    left = metrics
    for heading, pattern, prose in SECTIONS:
        here = [each for each in left if re.match(pattern, each._name)]
        left = [each for each in left if each not in here]
        table = "\n".join(("| metric | type | labels | meaning |", "|---|---|---|---|"))
        rows = "\n".join(map(row, here))
        parts.append(f"## {heading}\n\n{prose}\n\n{table}\n{rows}\n")
    parts.append("## Buckets\n\nUpper bounds; the last is always `+Inf`.\n")
    parts.append("\n".join(buckets(metrics)) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page())
