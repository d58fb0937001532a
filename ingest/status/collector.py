"""Records samples of the last minutes, and provides the service's state."""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ingest.files.locks import FileLock, lock
from ingest.single_flight import SingleFlight
from ingest.status.figures import status_of
from ingest.status.health import Report
from ingest.status.recent_errors import RecentErrors
from ingest.status.refused_clients import ENTRIES_MAX, RefusedClients
from ingest.status.samples import SAMPLE_SECONDS, History, Sample, sample_of
from ingest.status.snapshot import Limits, RefusedClient, Status
from ingest.telemetry.multiprocess import MetricFiles
from ingest.ticks import pause

CACHE_SECONDS = 1.0
SAVE_SECONDS = 1.0


class StatusSource:
    """One worker records the samples: the holder of a lock. The lock ends with its process."""

    def __init__(
        self,
        folder: Path,
        worker_index: int,
        files: MetricFiles,
        limits: Limits,
        report: Callable[[], Report],
        refused: RefusedClients,
    ) -> None:
        self._folder = folder
        self._files = files
        self._limits = limits
        self._report = report
        self._errors = RecentErrors(folder, worker_index)
        self._refused = refused
        self._refused_path = folder / f"{worker_index}.refused"
        self._history = History(folder / "history")
        self._lock_path = folder / "recorder.lock"
        self._lock: FileLock | None = None
        self._status = SingleFlight(partial(asyncio.to_thread, self._make), CACHE_SECONDS, time.monotonic)

    async def status(self) -> Status:
        """Return the state, at most one second old; all requests of a second share one."""
        return await self._status.result()

    def refused(self, hours: int) -> list[RefusedClient]:
        """Return the clients that were refused in the last hours, by all workers of this node."""
        return self._refused.of_all(self._folder, self._refused_path, hours * 3600.0, ENTRIES_MAX)

    async def run(self) -> None:
        """Save this worker's errors for the other workers, and record samples, until cancelled."""
        root = logging.getLogger()
        root.addHandler(self._errors)
        try:
            await self._keep()
        finally:
            root.removeHandler(self._errors)

    async def _keep(self) -> None:
        due = time.monotonic()
        while True:
            self._errors.save()
            self._refused.save(self._refused_path)
            if time.monotonic() >= due and self._is_recorder():
                due = time.monotonic() + SAMPLE_SECONDS
                await asyncio.to_thread(self._record)
            await pause(SAVE_SECONDS)

    def _is_recorder(self) -> bool:
        if self._lock is not None and not self._lock.intact and not self._lock.renew():
            self._lock.release()
            self._lock = None
        if self._lock is None:
            self._folder.mkdir(parents=True, exist_ok=True)
            self._lock = lock(self._lock_path)
            self._history = History(self._folder / "history")  # another worker may have written the file
        return self._lock is not None

    def _record(self) -> None:
        self._history.add(self._sample())

    def _sample(self) -> Sample:
        return sample_of(self._files.values(), time.time())

    def _make(self) -> Status:
        now = self._sample()
        refused = self._refused.of_all(self._folder, self._refused_path)
        return status_of(self._report(), self._limits, now, self._history.read(now), self._errors.of_all(), refused)
