"""A histogram that costs the hot path little, and takes many observations at once."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence

from prometheus_client import Histogram


class BatchHistogram(Histogram):
    """prometheus-client takes one amount a call. Here a batch costs some microseconds, however many events it has."""

    def observe(self, amount: float, exemplar: Mapping[str, str] | None = None) -> None:
        """The amount finds its bucket by halves; there are no exemplars."""
        self.observe_times(amount, 1)

    def observe_times(self, amount: float, times: int) -> None:
        """The same amount so many times; below 0, as between two hosts' clocks, it is 0: a sum never falls."""
        amount = max(0.0, amount)
        self._buckets[bisect_left(self._upper_bounds, amount)].inc(times)
        self._sum.inc(amount * times)

    def observe_since(self, now: float, moments: Sequence[float]) -> None:
        """How long ago each of the moments was, of which none is before the last one."""
        left = len(moments)
        for bucket, bound in zip(self._buckets, self._upper_bounds, strict=True):
            older = bisect_left(moments, now - bound, 0, left)  # than the bucket's bound; the others are its own
            if older < left:
                bucket.inc(left - older)
                left = older
            if not left:
                break
        self._sum.inc(now * len(moments) - sum(moments))
