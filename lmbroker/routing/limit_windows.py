"""The windows in which limits count: even buckets, and the calendar of UTC. Pure."""

from datetime import UTC, datetime

from lmbroker.routing.limit_rules import Bound, Period

SECONDS: dict[Period, int] = {"minute": 60, "hour": 3600, "day": 86_400}

_DRAINING = ("requests", "tokens")
_RATES = ("minute", "hour")


def drain_seconds(bound: Bound) -> float:
    """Return the seconds in which the bucket of a bound drains.

    It is 0.0 for a bound that has no bucket.
    """
    if bound.measure in _DRAINING and bound.period in _RATES:
        return float(SECONDS[bound.period])
    return 0.0


def has_window(bound: Bound) -> bool:
    """Return whether a bound counts in windows of the calendar."""
    return bound.measure != "parallel" and bound.period != "never" and not drain_seconds(bound)


def window_end(period: Period, now: float) -> float:
    """Return the end of the window of ``period`` in which ``now`` lies, both in unix seconds.

    The end itself belongs to the next window.
    """
    if period != "month":
        length = SECONDS[period]
        return (now // length + 1) * length
    moment = datetime.fromtimestamp(now, UTC)
    year, month = divmod(moment.year * 12 + moment.month, 12)
    return datetime(year, month + 1, 1, tzinfo=UTC).timestamp()
