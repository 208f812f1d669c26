"""Histograms that take many values at once, for a part of what each would cost by itself."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence

from prometheus_client import Histogram


def observe_all(histogram: Histogram, values: Sequence[float]) -> None:
    """Observe each of ``values``, as ``Histogram.observe`` does."""
    bounds, buckets = histogram._upper_bounds, histogram._buckets
    if len(values) == 1:
        [value] = values
        buckets[bisect_left(bounds, value)].inc(1)
        histogram._sum.inc(value)
        return
    if len(values) <= len(bounds):
        for value in values:
            buckets[bisect_left(bounds, value)].inc(1)
    else:
        # To sort them takes less time than to look for the bucket of each.
        ordered, below = sorted(values), 0
        for at, bound in enumerate(bounds):
            upto = bisect_right(ordered, bound, below)
            if upto > below:
                buckets[at].inc(upto - below)
                below = upto
    if values:
        histogram._sum.inc(sum(values))


def add_counts(histogram: Histogram, counts: Iterable[int], total: float) -> None:
    """Add values that were sorted already: how many are in each bucket, and their sum."""
    for bucket, count in zip(histogram._buckets, counts, strict=True):
        if count:
            bucket.inc(count)
    histogram._sum.inc(total)
