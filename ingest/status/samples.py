"""Samples of all workers' metrics, and a file with the samples of the last minutes."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import msgspec

from ingest.files.atomic import replace_volatile
from ingest.telemetry.metrics import UNKNOWN, UNKNOWN_LEAST
from ingest.telemetry.multiprocess import Value

HISTORY_SECONDS = 600.0
SAMPLE_SECONDS = 5.0

LATENCIES = {
    "answer": "ingest_ack_seconds",
    "commit": "ingest_commit_seconds",
    "publish": "ingest_publish_seconds",
    "end_to_end": "ingest_end_to_end_seconds",
}
"""Name in the status → histogram."""
VALUES = frozenset(
    {
        "ingest_events_accepted_total",
        "ingest_events_published_total",
        "ingest_requests_refused_total",
        "ingest_worker_restarts_total",
        "ingest_workers",
        "ingest_workers_wanted",
        "ingest_queued_events",
        "ingest_queued_events_max",
        "ingest_publish_inflight_events",
        "ingest_backlog_events",
        "ingest_backlog_age_seconds",
        "ingest_spool_events",
        "ingest_spool_set_aside_events",
        "ingest_spool_bytes",
        "ingest_spool_bytes_max",
        "ingest_spool_age_seconds",
        "ingest_database_up",
        "ingest_broker_up",
    }
)
_REFUSED = "ingest_requests_refused_total"
_CHECK = "ingest_check_failing"

HISTOGRAMS = frozenset(LATENCIES.values())
COMBINED: Mapping[str, Callable[[Iterable[float]], float]] = {"livemax": max, "livemin": min}
"""Mode of a gauge → how the values of all workers become one. All others are added."""

Buckets = dict[float, float]
"""Upper bound → number of observations up to it. `LAST` stands for the infinite last bound."""
LAST = 1e9


class Sample(msgspec.Struct, frozen=True):
    """Values are sums over all labels; `refused` has the refusals by code. `time` is Unix time in seconds.

    `failing` has the checks that find a problem in any worker.
    """

    time: float
    values: dict[str, float]
    refused: dict[str, float]
    buckets: dict[str, Buckets]
    failing: set[str] = set()

    def value(self, name: str, default: float = 0.0) -> float:
        return self.values.get(name, default)

    def known(self, name: str) -> float | None:
        """The value, or None if no worker knows it."""
        return self.values.get(name)

    def count(self, name: str) -> int:
        return int(self.value(name))

    def since(self, before: "Sample") -> "Sample":
        """Return the increase of each value since `before`."""
        return Sample(
            self.time,
            _difference(self.values, before.values),
            _difference(self.refused, before.refused),
            {name: _difference(buckets, before.buckets.get(name, {})) for name, buckets in self.buckets.items()},
        )

    def continues(self, before: "Sample") -> bool:
        """False if the service has restarted since `before`, which resets its counters."""
        counters = (name for name in VALUES if name.endswith("_total"))
        return before.time < self.time and all(self.value(name) >= before.value(name) for name in counters)


Key = TypeVar("Key", str, float)


def _difference(now: Mapping[Key, float], before: Mapping[Key, float]) -> dict[Key, float]:
    return {key: value - before.get(key, 0.0) for key, value in now.items()}


def sample_of(series: Iterable[Value], time: float) -> Sample:
    """`series` are the values of all workers, as their files have them."""
    values: dict[str, float] = {}
    refused: dict[str, float] = defaultdict(float)
    buckets: dict[str, Buckets] = defaultdict(lambda: defaultdict(float))
    failing: set[str] = set()
    for kind, key, value in series:
        family, name, labels = _parsed(key)
        if name in VALUES and value not in (UNKNOWN, UNKNOWN_LEAST):
            values[name] = COMBINED.get(kind, sum)((values[name], value)) if name in values else value
        if name == _REFUSED:
            refused[labels["code"]] += value
        elif name == _CHECK and value:
            failing.add(labels["check"])
        elif "le" in labels and family in HISTOGRAMS:
            buckets[family][min(float(labels["le"]), LAST)] += value
    cumulative = {name: _cumulative(counts) for name, counts in buckets.items()}
    return Sample(time, values, dict(refused), cumulative, failing)


@lru_cache(maxsize=4096)
def _parsed(key: str) -> tuple[str, str, dict[str, str]]:
    """Return the name of the metric, the name of the series, and its labels."""
    family, name, labels, _ = json.loads(key)
    return family, name, labels


def _cumulative(counts: Buckets) -> Buckets:
    bounds = sorted(counts)
    return dict(zip(bounds, accumulate(counts[bound] for bound in bounds), strict=True))


def quantile(buckets: Buckets, share: float) -> float | None:
    """Interpolate linearly within a bucket, like Prometheus's histogram_quantile. None without observations."""
    bounds = sorted(buckets)
    total = buckets[bounds[-1]] if bounds else 0.0
    below_bound = below_count = 0.0
    for bound in bounds if total > 0 else ():
        if buckets[bound] >= total * share:
            if bound == LAST:
                return below_bound
            part = (total * share - below_count) / (buckets[bound] - below_count)
            return round(below_bound + (bound - below_bound) * part, 6)
        below_bound, below_count = bound, buckets[bound]
    return None


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[Sample]).decode


def _encoded(sample: Sample) -> tuple[float, msgspec.Raw]:
    return sample.time, msgspec.Raw(_encode(sample))


class History:
    """The file of samples, which one worker writes and all workers read."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: list[tuple[float, msgspec.Raw]] = []
        """Times and encoded samples of the file, if this worker writes it."""
        self._last: Sample | None = None

    def read(self, until: Sample) -> list[Sample]:
        """Return the samples of the last minutes that `until` continues."""
        try:
            samples = _decode(self._path.read_bytes())
        except (OSError, ValueError):
            return []  # no file yet, a damaged one, or one of another version
        since = until.time - HISTORY_SECONDS
        return [sample for sample in samples if sample.time > since and until.continues(sample)]

    def add(self, sample: Sample) -> None:
        """Write the file anew. The first call reads what an earlier worker wrote. Later no other worker may write."""
        if self._last is None or not sample.continues(self._last):
            self._kept = [_encoded(one) for one in self.read(sample)]
        since = sample.time - HISTORY_SECONDS
        self._kept = [one for one in self._kept if one[0] > since] + [_encoded(sample)]
        replace_volatile(self._path, _encode([encoded for _, encoded in self._kept]))
        self._last = sample
