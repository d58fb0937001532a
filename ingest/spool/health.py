"""What is in the spool, and whether it works: for `/readyz` and the gauges."""

from ingest.clock import NowUs
from ingest.errors import StoreError
from ingest.spool.records import Usage
from ingest.spool.store import SpoolStore
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage


class SpoolWatch:
    """See `ingest.status.health.Spool`. `outage` is the database's."""

    def __init__(self, store: SpoolStore, outage: Outage, metrics: Metrics, now_us: NowUs) -> None:
        self._store = store
        self._outage = outage
        self._metrics = metrics
        self._now_us = now_us
        self._usage = Usage()
        self._problem: str | None = None
        self._trouble: str | None = None
        self._damages = 0

    @property
    def used(self) -> bool:
        return self._outage.reason is not None

    @property
    def problem(self) -> str | None:
        return self._problem

    @property
    def waiting(self) -> str | None:
        said = [f"{self._usage.events} events wait for the database"] if self._usage.events else []
        if self._usage.refused_events:
            said.append(f"{self._usage.refused_events} events are set aside: see `ingest spool ls`")
        return "; ".join(said) or None

    def trouble(self) -> str | None:
        """What is wrong with its files, though it takes events."""
        return self._trouble

    async def look(self) -> None:
        """Never raises."""
        try:
            self._usage = await self._store.usage()
            self._show(await self._store.oldest_ms())
            self._trouble = await self._store.check_files()
            await self._store.check_room()
            self._problem = None
        except StoreError as exc:
            self._problem = str(exc)

    def _show(self, oldest_ms: int | None) -> None:
        age_ms = 0 if oldest_ms is None else self._now_us() // 1000 - oldest_ms
        self._metrics.spool_events.set(self._usage.events)
        self._metrics.spool_bytes.set(max(self._usage.bytes, self._usage.file_bytes))
        self._metrics.spool_age_seconds.set(max(0, age_ms) / 1000)
        self._metrics.set_aside.inc(self._store.damages - self._damages)
        self._damages = self._store.damages
