"""The metrics of a worker's process."""

import asyncio
import gc
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from ingest.telemetry.metrics import UNKNOWN_LEAST
from ingest.telemetry.runtime import RuntimeMetrics
from tests.unit.fakes import until


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def runtime(registry: CollectorRegistry, tmp_path: Path) -> RuntimeMetrics:
    return RuntimeMetrics(registry, tmp_path, 2, {"ingest_queued_events_max": 7})


def test_gauges_show_the_process(runtime: RuntimeMetrics, registry: CollectorRegistry) -> None:
    sum(range(2_000_000))  # some CPU time
    runtime.look()

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    assert value("ingest_worker_cpu_seconds_total", mode="user") > 0
    assert 1e6 < value("ingest_worker_resident_bytes") < 1e11
    assert value("ingest_worker_open_fds") >= 3
    assert value("ingest_disk_free_bytes") > 0
    assert (value("ingest_workers_wanted"), value("ingest_queued_events_max")) == (2, 7)


def test_free_disk_is_unknown_and_not_zero_before_the_first_look(
    runtime: RuntimeMetrics, registry: CollectorRegistry
) -> None:
    """A zero of a worker that starts would be the least value of all, and a disk that is full within hours."""
    assert registry.get_sample_value("ingest_disk_free_bytes") == UNKNOWN_LEAST


async def test_collections_and_loop_lag_are_counted_while_it_runs(
    runtime: RuntimeMetrics, registry: CollectorRegistry
) -> None:
    task = asyncio.create_task(runtime.run())
    await asyncio.sleep(0)
    gc.collect()
    async with asyncio.timeout(60):
        await until(lambda: registry.get_sample_value("ingest_event_loop_lag_seconds_count"))
    task.cancel()
    await asyncio.wait([task])
    counted = registry.get_sample_value("ingest_gc_collections_total", {"generation": "2"})
    gc.collect()

    assert counted
    assert registry.get_sample_value("ingest_gc_collections_total", {"generation": "2"}) == counted
    assert registry.get_sample_value("ingest_gc_seconds_total")
