"""Metrics of the process: event loop, garbage collections, CPU, memory. Read every few seconds, never per event."""

import asyncio
import gc
import platform
import resource
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import granian
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ingest import __version__
from ingest.telemetry.metrics import UNKNOWN_LEAST
from ingest.ticks import to_tick

TICK_SECONDS = 0.5
LEVELS_TICKS = 10
"""`run` reads CPU, memory, files and disk in every tenth tick."""
LAG_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
GENERATIONS = ("0", "1", "2")


class RuntimeMetrics:
    """`run` works until it is cancelled. `limits` are gauges of `LIMITS` by name, with this worker's values."""

    def __init__(self, registry: CollectorRegistry, data_dir: Path, workers: int, limits: Mapping[str, float]) -> None:
        self._data_dir = data_dir
        self._used = resource.getrusage(resource.RUSAGE_SELF)
        self._began = 0.0
        self.loop_lag_seconds = Histogram(
            "ingest_event_loop_lag_seconds",
            "How late a due task of the event loop ran, measured every half second.",
            buckets=LAG_SECONDS,
            registry=registry,
        )
        self.cpu_seconds = Counter(
            "ingest_worker_cpu_seconds_total", "CPU time of the workers.", ["mode"], registry=registry
        )
        self.resident_bytes = Gauge(
            "ingest_worker_resident_bytes",
            "Resident memory of the workers.",
            multiprocess_mode="livesum",
            registry=registry,
        )
        self.open_fds = Gauge(
            "ingest_worker_open_fds", "Open files and sockets.", multiprocess_mode="livesum", registry=registry
        )
        self.gc_collections = Counter(
            "ingest_gc_collections_total", "Collections of cyclic garbage.", ["generation"], registry=registry
        )
        self.gc_seconds = Counter(
            "ingest_gc_seconds_total", "Time of collections of cyclic garbage.", registry=registry
        )
        self.disk_free_bytes = Gauge(
            "ingest_disk_free_bytes",
            "Free space on the disk of the data folder.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        self.disk_free_bytes.set(UNKNOWN_LEAST)  # until the first look
        wanted = Gauge(
            "ingest_workers_wanted", "Worker processes configured.", multiprocess_mode="livemax", registry=registry
        )
        wanted.set(workers)
        info = Gauge(
            "ingest_build_info",
            "Always 1. The labels are the versions.",
            ["version", "python", "granian"],
            multiprocess_mode="livemax",
            registry=registry,
        )
        info.labels(__version__, platform.python_version(), granian.__version__).set(1)
        started = Gauge(
            "ingest_start_time_seconds",
            "Start of the oldest worker, as Unix time.",
            multiprocess_mode="livemin",
            registry=registry,
        )
        started.set(time.time())
        for name, value in limits.items():
            Gauge(name, LIMITS[name], multiprocess_mode="livesum", registry=registry).set(value)
        for generation in GENERATIONS:
            self.gc_collections.labels(generation)
        for mode in ("user", "system"):
            self.cpu_seconds.labels(mode)

    async def run(self) -> None:
        gc.callbacks.append(self._collected)
        loop = asyncio.get_running_loop()
        try:
            while True:
                self.look()
                for _ in range(LEVELS_TICKS):
                    wait = to_tick(TICK_SECONDS)
                    due = loop.time() + wait
                    await asyncio.sleep(wait)
                    self.loop_lag_seconds.observe(max(0.0, loop.time() - due))
        finally:
            gc.callbacks.remove(self._collected)

    def look(self) -> None:
        """Read CPU time, memory, open files and free disk space."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        self.cpu_seconds.labels("user").inc(used.ru_utime - self._used.ru_utime)
        self.cpu_seconds.labels("system").inc(used.ru_stime - self._used.ru_stime)
        self._used = used
        self.disk_free_bytes.set(shutil.disk_usage(self._data_dir).free)
        self.resident_bytes.set(_resident_bytes())
        self.open_fds.set(_open_fds())

    def _collected(self, phase: str, info: Mapping[str, Any]) -> None:
        if phase == "start":
            self._began = time.perf_counter()
        else:
            self.gc_collections.labels(str(info["generation"])).inc()
            self.gc_seconds.inc(time.perf_counter() - self._began)


LIMITS = {
    "ingest_queued_events_max": "Events that may wait for a commit, all workers.",
    "ingest_publish_inflight_events_max": "Events that may be in flight to the broker without a confirm, all workers.",
    "ingest_spool_bytes_max": "Bytes that the spools may hold, all workers.",
}


def _resident_bytes() -> int:
    """Read Linux's /proc; 0 on other systems."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * resource.getpagesize()


def _open_fds() -> int:
    try:
        return sum(1 for _ in Path("/proc/self/fd").iterdir())
    except OSError:
        return 0
