"""Looks at the spool's files and contents, for `/readyz` and the gauges."""

from ingest.clock import NowUs
from ingest.errors import StoreError
from ingest.spool.records import Usage
from ingest.spool.store import SpoolStore
from ingest.status.health import waiting_text
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage
from ingest.ticks import pause

LOOK_SECONDS = 1.0


class SpoolWatch:
    """See `ingest.status.health.Spool`. `run` works until it is cancelled. `outage` is the database's.

    It is a task of its own: a database that does not answer must not delay the look at the spool's files.
    """

    def __init__(self, store: SpoolStore, outage: Outage, metrics: Metrics, now_us: NowUs) -> None:
        self._store = store
        self._outage = outage
        self._metrics = metrics
        self._now_us = now_us
        self._usage = Usage()
        self.problem: str | None = None
        self._damages = 0

    @property
    def used(self) -> bool:
        return self._outage.reason is not None

    @property
    def waiting(self) -> str | None:
        return waiting_text(self._usage.events, self._usage.refused_events)

    def trouble(self) -> str | None:
        """A problem with the spool's files. The spool still takes events."""
        return self._store.file_problem

    async def run(self) -> None:
        while True:
            await self.look()
            await pause(LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. The spool's errors become `problem`."""
        try:
            self._usage = await self._store.usage()
            self._show(await self._store.oldest_ms())
            await self._store.check()
            self.problem = None
        except StoreError as exc:
            self.problem = str(exc)

    def _show(self, oldest_ms: int | None) -> None:
        age_ms = 0 if oldest_ms is None else self._now_us() // 1000 - oldest_ms
        self._metrics.spool_events.set(self._usage.events)
        self._metrics.spool_set_aside_events.set(self._usage.refused_events)
        self._metrics.spool_bytes.set(max(self._usage.bytes, self._usage.file_bytes))
        self._metrics.spool_age_seconds.set(max(0, age_ms) / 1000)
        self._metrics.set_aside.inc(self._store.damages - self._damages)
        self._damages = self._store.damages
