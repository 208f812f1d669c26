"""Metrics of a daemon as a whole, however many workers it has: its build, reloads, restarts."""

import platform

from prometheus_client import CollectorRegistry, Counter, Gauge

from lmbroker import __version__


class DaemonMetrics:
    """Counts what happens to the daemon: in its only process, or in the parent of its workers.

    All series are made at once, so that a parent can count them into the files of its workers.
    ``now`` is in unix seconds.
    """

    def __init__(self, registry: CollectorRegistry, now: float) -> None:
        build = Gauge(
            "lmbroker_build_info",
            "1; the labels say which version runs on which Python.",
            ("version", "python"),
            registry=registry,
            multiprocess_mode="livesum",
        )
        build.labels(__version__, platform.python_version()).set(1)
        reloads = Counter(
            "lmbroker_reloads_total",
            "Reloads of the configuration; `result` is `ok` or `failed`.",
            ("result",),
            registry=registry,
        )
        self._loaded = reloads.labels("ok")
        self._failed = reloads.labels("failed")
        self._well = Gauge(
            "lmbroker_last_reload_successful",
            "Whether the last reload of the configuration succeeded; 1 before the first.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._at = Gauge(
            "lmbroker_last_reload_success_timestamp_seconds",
            "When the configuration that holds was loaded, in unix seconds.",
            registry=registry,
            multiprocess_mode="livesum",
        )
        self._restarts = Counter(
            "lmbroker_worker_restarts_total",
            "Workers that ended while the service went on, and in whose place another was started.",
            registry=registry,
        )
        self._well.set(1)
        self._at.set(now)

    def reloaded(self, now: float) -> None:
        """Count a reload that succeeded."""
        self._loaded.inc()
        self._well.set(1)
        self._at.set(now)

    def not_reloaded(self) -> None:
        """Count a reload that failed."""
        self._failed.inc()
        self._well.set(0)

    def restarted(self) -> None:
        """Count a worker that is started again."""
        self._restarts.inc()
