"""The metrics of workers. As files would, they outlive the workers of an index.

A registry takes a twentieth of a schedule's time. So a process makes a few, and uses them in all its worlds.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from ingest.telemetry.durable_counters import DurableCounters
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.traffic.callers import Callers
from ingest.telemetry.traffic.stored import StoredEvents


class _Reused(NamedTuple):
    """Metrics, and the first value of each series that they begin with."""

    metrics: Metrics
    first: Mapping[Any, float]

    def begin_anew(self) -> None:
        """Make them as they were. Labels that workers have added stay, at zero."""
        metrics = self.metrics
        for value in _values(metrics.registry):
            value.set(self.first.get(value, 0.0))
        metrics.callers = Callers(metrics.by_client)
        metrics._stored_events = StoredEvents(metrics.by_type, metrics.call_seconds)


_unused: list[_Reused] = []
"""Those of worlds that have ended."""


class MetricFiles:
    """The metrics of all worker indexes of a world."""

    def __init__(self) -> None:
        self._all: dict[tuple[Path, int], _Reused] = {}

    @property
    def all(self) -> list[Metrics]:
        return [one.metrics for one in self._all.values()]

    def of(self, folder: Path, worker_index: int) -> Metrics:
        """The metrics for a worker that starts now."""
        folder.mkdir(parents=True, exist_ok=True)
        found = self._all.get((folder, worker_index))
        if found is None:
            found = self._all[folder, worker_index] = _unused.pop() if _unused else _made()
        metrics = found.metrics
        counters = (metrics.accepted, metrics.stored, metrics.repeated)
        metrics.durable_counters = DurableCounters(*counters, folder / f"pending-{worker_index}")
        return metrics

    def close(self) -> None:
        """Give the metrics to the next world."""
        for one in self._all.values():
            one.begin_anew()
            _unused.append(one)
        self._all.clear()


def _made() -> _Reused:
    metrics = Metrics(CollectorRegistry())
    return _Reused(metrics, {value: value.get() for value in _values(metrics.registry)})


def _values(registry: CollectorRegistry) -> Iterator[Any]:
    """Each number of each series."""
    for collector in [*registry._collector_to_names]:
        metric: Any = collector
        for series in metric._metrics.values() if metric._is_parent() else (metric,):
            if hasattr(series, "_buckets"):
                yield from (series._sum, *series._buckets)
            else:
                yield series._value
