"""Overhead: what the broker itself adds to the time that a client waits for its answer.

It is the time from the last byte of the request to the first byte of the answer, without that in
which the broker waited for the backend. It is never less than the truth: a byte counts as here from
the moment since which it may have been, and as gone when all that the reactor's turn has written
was sent. While the reactor is blocked, the time counts as overhead, and not as the backend's.
"""

from functools import cache

from prometheus_client import CollectorRegistry, Histogram

from lmbroker.call import Record
from lmbroker.observers.call_groups import Group
from lmbroker.observers.histograms import observe_all

PHASES = {
    "read": "the request is received: parsed, its key checked, its body read",
    "translate": "targets are chosen, and their requests are made",
    "queue": "a slot of a backend with `max_in_flight` is waited for",
    "connect": "a connection is made, or taken, and the request is written to it",
    "relay": "the backend's answer is read and translated, and the first byte of it is sent",
    "pause": "another attempt is waited for, after a failed one",
}
"""The parts of the overhead, and what is done meanwhile. ``queue`` and ``pause`` are counted where
there was something to wait for."""

_BOUNDS = (
    *(0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


class OverheadMetrics:
    """Counts the overhead of groups of calls that got an answer of a backend."""

    def __init__(self, registry: CollectorRegistry) -> None:
        overhead = Histogram(
            "lmbroker_overhead_seconds",
            "What the broker added to an answer: from the last byte of the request to the first "
            "byte of the answer, without the time in which it waited for backends. Never less "
            "than the truth; under load up to two turns of the reactor more.",
            ("workflow", "stream"),
            buckets=_BOUNDS,
            registry=registry,
        )
        parts = "; ".join(f"`{phase}`: {what}" for phase, what in PHASES.items())
        phases = Histogram(
            "lmbroker_overhead_phase_seconds",
            f"The parts of `lmbroker_overhead_seconds`. {parts}. `queue` and `pause` have only the "
            "calls that waited.",
            ("phase", "workflow"),
            buckets=_BOUNDS,
            registry=registry,
        )
        self._overhead = cache(overhead.labels)
        self._phase = cache(phases.labels)

    def take(self, group: Group, records: list[Record]) -> None:
        """Count the overhead of the ended calls of a group."""
        found = [each for each in map(phases_of, records) if each is not None]
        if not found:
            return
        stream = "true" if group.stream else "false"
        observe_all(self._overhead(group.workflow, stream), list(map(sum, found)))
        for phase, values in zip(PHASES, zip(*found, strict=True), strict=True):
            if phase in ("queue", "pause"):
                values = tuple(value for value in values if value)
            observe_all(self._phase(phase, group.workflow), values)


def phases_of(record: Record) -> tuple[float, float, float, float, float, float] | None:
    """Return the seconds of each of ``PHASES``; None where no backend's answer was sent on."""
    came, answered, read = record.came_at, record.answered, record.read_at
    if came is None or answered is None or read is None or record.arrived_at is None:
        return None
    attempts = record.attempts
    last = attempts[-1]
    sent, queue = last.sent_at, last.queued
    if sent is None:
        sent = last.started + queue
    connect = sent - last.started - queue
    translate = last.started - read
    if len(attempts) > 1:
        translate -= record.paused
        for attempt in attempts[:-1]:
            ended = attempt.ended or attempt.started
            translate -= ended - attempt.started
            queue += attempt.queued
            gone = ended if attempt.sent_at is None else attempt.sent_at
            connect += gone - attempt.started - attempt.queued
    if came < sent:
        came = sent  # it cannot have come before its request was sent
    out = answered.ended
    if out is None:
        # Asked for within that very turn.
        out = record.closed_at or came
    relay = out - came if out > came else 0.0
    return read - record.arrived_at, translate, queue, connect, relay, record.paused
