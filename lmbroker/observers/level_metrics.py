"""Levels: what is not counted but looked at, and shown anew before somebody reads it."""

from collections.abc import Iterable, Mapping
from functools import cache

from prometheus_client import CollectorRegistry, Gauge

from lmbroker.routing.breaker import State
from lmbroker.routing.target_health import TargetStatus

STATES: tuple[State, ...] = ("closed", "half_open", "open")


class LevelMetrics:
    """Shows how targets, backends and clients are now; with several workers, the sum of all."""

    def __init__(self, registry: CollectorRegistry) -> None:
        target = ("backend", "model", "operation")
        self._breakers = Levels(
            "lmbroker_breaker_open",
            "1 where the breaker of a target, or of one of its keys (`key` is where that comes "
            "from, such as `env:NAME`), is not closed; with several workers in how many of them.",
            (*target, "key"),
            registry,
        )
        self._states = Levels(
            "lmbroker_breaker_state",
            "1 for the state in which the breaker of a target or of one of its keys is, 0 for the "
            "others: `closed`, `half_open` (it is being tried) and `open`; with several workers "
            "in how many of them.",
            (*target, "key", "state"),
            registry,
        )
        self._target_in_flight = Levels(
            "lmbroker_target_in_flight",
            "Attempts at a target whose answers have not ended.",
            target,
            registry,
        )
        self._slots = Levels(
            "lmbroker_backend_slots_in_use",
            "Calls that hold a slot of a backend with `max_in_flight`.",
            ("backend",),
            registry,
        )
        self._queued = Levels(
            "lmbroker_backend_queued",
            "Calls that wait for a slot of a backend with `max_in_flight`.",
            ("backend",),
            registry,
        )
        self._learned = Levels(
            "lmbroker_learned_rejections",
            "How many models of a backend have something that it refuses, as far as the broker "
            "has learned and not yet forgotten.",
            ("backend",),
            registry,
        )
        self._connections = Gauge(
            "lmbroker_client_connections",
            "Connections of clients that are open; those to `server.metrics_listen` are not among "
            "them.",
            registry=registry,
            multiprocess_mode="livesum",
        )

    def targets(self, found: Iterable[TargetStatus]) -> None:
        """Show the states of breakers, and how busy targets are."""
        opened: dict[tuple[str, ...], float] = {}
        states: dict[tuple[str, ...], float] = {}
        busy: dict[tuple[str, ...], float] = {}
        for each in found:
            place = each.backend, each.model, each.operation
            opened[*place, each.key] = each.state != "closed"
            for state in STATES:
                states[*place, each.key, state] = each.state == state
            if not each.key:
                busy[place] = each.in_flight
        self._breakers.show(opened)
        self._states.show(states)
        self._target_in_flight.show(busy)

    def backends(self, found: Mapping[str, tuple[int, int]]) -> None:
        """Show how busy backends with a concurrency limit are: slots in use, calls that wait."""
        self._slots.show({(name,): used for name, (used, _) in found.items()})
        self._queued.show({(name,): queued for name, (_, queued) in found.items()})

    def learned(self, found: Mapping[str, int]) -> None:
        """Show of how many models of each backend something is known that it refuses."""
        self._learned.show({(name,): count for name, count in found.items()})

    def connections(self, count: int) -> None:
        """Show how many connections of clients are open."""
        self._connections.set(count)


class Levels:
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
