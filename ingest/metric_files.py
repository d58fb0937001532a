"""prometheus-client's multiprocess files: one set a worker's seat, added up at each scrape."""

import os
import shutil
import time
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector

EMPTY_SECONDS = 5.0
"""An empty file this old was left by a worker killed while it made it; a younger one is being made."""
TRIES_MAX = 5
TRY_PAUSE_SECONDS = 0.02


class MetricFiles:
    """The folder of the files, shared by all workers of a service."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def clear(self) -> None:
        """Forget the counts of an earlier service; for its start, before any worker."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)

    def use_seat(self, seat: int) -> None:
        """Let this process's metrics live in the seat's files. Before any metric is made."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for file in self._folder.glob(f"gauge_live*_{seat}.db"):
            file.unlink()  # levels of the worker before; its counters go on
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(self._folder)
        values.ValueClass = values.MultiProcessValue(lambda: seat)  # type: ignore[no-untyped-call]

    def exposition(self) -> bytes:
        """All workers' metrics in Prometheus's text format."""
        for attempt in range(TRIES_MAX):
            registry = CollectorRegistry()
            MultiProcessCollector(registry, path=str(self._folder))  # type: ignore[no-untyped-call]
            try:
                return generate_latest(registry)
            except (ValueError, KeyError, IndexError, OSError, UnicodeDecodeError):
                if attempt == TRIES_MAX - 1:
                    raise
                self._remove_empty()
                time.sleep(TRY_PAUSE_SECONDS)  # a worker is making a file right now
        raise AssertionError("unreachable")

    def _remove_empty(self) -> None:
        for file in self._folder.glob("*.db"):
            status = file.stat()
            if status.st_size == 0 and time.time() - status.st_mtime > EMPTY_SECONDS:
                file.unlink(missing_ok=True)
