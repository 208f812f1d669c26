"""Writes ``/metrics`` in Prometheus' text format, or in OpenMetrics on request."""

from collections.abc import Iterator
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.registry import Collector

OPEN_METRICS = "application/openmetrics-text"

_VERSIONS = frozenset({"", "0.0.1", "1.0.0"})
"""The versions of OpenMetrics that we write, "" for any."""


def exposition(registry: CollectorRegistry, accept: str = "") -> tuple[bytes, str]:
    """Return the body and content type of ``/metrics`` for this ``accept`` header."""
    shown: Any = _WithoutCreated(registry)
    if _prefers_open_metrics(accept):
        return openmetrics.generate_latest(shown), openmetrics.CONTENT_TYPE_LATEST
    return generate_latest(shown), CONTENT_TYPE_PLAIN_0_0_4


class _WithoutCreated(Collector):
    """A registry without the times at which its series were made.

    They are a third of all series, workers cannot report them, and nobody asks for them.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of the registry."""
        for metric in self._registry.collect():
            metric.samples = [each for each in metric.samples if not each.name.endswith("_created")]
            yield metric


def _prefers_open_metrics(accept: str) -> bool:
    """Return whether ``accept`` (RFC 9110, 12.5.1) names OpenMetrics, and no text before it."""
    open_metrics = text = 0.0
    for entry in accept.split(","):
        kind, *parameters = (each.strip().lower() for each in entry.split(";"))
        said = dict(each.partition("=")[::2] for each in parameters)
        weight = _weight(said.get("q", "1"))
        if kind == OPEN_METRICS and said.get("version", "").strip('"') in _VERSIONS:
            open_metrics = max(open_metrics, weight)
        elif kind in ("text/plain", "text/*"):
            text = max(text, weight)
    return open_metrics > 0 and open_metrics >= text


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return 0.0
