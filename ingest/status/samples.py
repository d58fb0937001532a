"""Samples of all workers' metrics, and a file with the samples of the last minutes."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec
from prometheus_client import Metric

from ingest.files.atomic import replace_volatile

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
        "ingest_queued_events",
        "ingest_publish_inflight_events",
        "ingest_backlog_events",
        "ingest_backlog_age_seconds",
        "ingest_spool_events",
        "ingest_spool_bytes",
        "ingest_spool_age_seconds",
        "ingest_database_up",
        "ingest_broker_up",
    }
)
_REFUSED = "ingest_requests_refused_total"

Buckets = dict[float, float]
"""Upper bound → number of observations up to it. `LAST` stands for the infinite last bound."""
LAST = 1e9


class Sample(msgspec.Struct, frozen=True):
    """Values are sums over all labels; `refused` has the refusals by code. `time` is Unix time in seconds."""

    time: float
    values: dict[str, float]
    refused: dict[str, float]
    buckets: dict[str, Buckets]

    def value(self, name: str) -> float:
        return self.values.get(name, 0.0)

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


def sample_of(families: Iterable[Metric], time: float) -> Sample:
    values: dict[str, float] = defaultdict(float)
    refused: dict[str, float] = {}
    buckets: dict[str, Buckets] = defaultdict(lambda: defaultdict(float))
    histograms = frozenset(LATENCIES.values())
    for family in families:
        for one in family.samples:
            if one.name in VALUES:
                values[one.name] += one.value
            if one.name == _REFUSED:
                refused[one.labels["code"]] = one.value
            elif family.name in histograms and one.name.endswith("_bucket"):
                buckets[family.name][min(float(one.labels["le"]), LAST)] += one.value
    return Sample(time, values, refused, buckets)


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


class History:
    """The file of samples, which one worker writes and all workers read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self, until: Sample) -> list[Sample]:
        """Return the samples of the last minutes that `until` continues."""
        try:
            samples = _decode(self._path.read_bytes())
        except (OSError, ValueError):
            return []  # no file yet, a damaged one, or one of another version
        since = until.time - HISTORY_SECONDS
        return [sample for sample in samples if sample.time > since and until.continues(sample)]

    def add(self, sample: Sample) -> None:
        replace_volatile(self._path, _encode([*self.read(sample), sample]))
