"""Runs retention on `call_event_logs` from time to time, within the service."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from ingest.clock import NowUs, jittered
from ingest.errors import StoreError
from ingest.retention.archive.archiver import Archiver
from ingest.retention.archive.manifest import ArchiveFailed, Manifest
from ingest.retention.partitions import Partition, Table, name_of
from ingest.retention.run import Retention
from ingest.telemetry.metrics import Metrics

OpenTable = Callable[[], Awaitable[Table]]

log = logging.getLogger("ingest.retention")


class RetentionScheduler:
    """`run` works until it is cancelled. Every worker of every node has one: the first with the lock does the work."""

    def __init__(
        self,
        opened: OpenTable,
        keep_days: int | None,
        bytes_max: int | None,
        check_seconds: float,
        now_us: NowUs,
        metrics: Metrics,
        archiver: Archiver | None = None,
    ) -> None:
        self._opened = opened
        self._keep_days = keep_days
        self._bytes_max = bytes_max
        self._check_seconds = check_seconds
        self._now_us = now_us
        self._metrics = metrics
        self._archiver = archiver

    async def run(self) -> None:
        while True:
            await asyncio.sleep(jittered(self._check_seconds))
            failed = True
            try:
                await self.check()
                failed = False
            except StoreError as exc:
                self._metrics.archive_failures.inc(isinstance(exc, ArchiveFailed))
                log.warning(
                    "retention failed",
                    extra={"reason": str(exc), "kept": "the days that are due; the next check tries again"},
                )
            except Exception:
                log.exception("retention failed unexpectedly; the next check tries again")
                self._metrics.background_failures.labels("retention").inc()
            self._metrics.retention_failures.inc(failed)
            self._metrics.check_failing.labels("retention").set(failed)

    async def check(self) -> None:
        """Create and drop days, unless another process is at it. Raises `StoreError`."""
        table = await self._opened()
        try:
            if not await table.lock(0):
                return
            run = Retention(table, self._keep_days, self._bytes_max, self._now_us, self._archiver)
            for day in await run.create():
                log.info("a day's partition was created", extra={"partition": name_of(day)})
            async for partition in run.drop():
                self._metrics.partitions_dropped.inc()
                log.info("a day was dropped", extra=_described(partition))
            kept = (await run.plan()).kept
        finally:
            await table.close()
        for partition in kept:
            log.warning(
                "a day is kept although it is due: some of its events are not published, or are dead letters",
                extra=_described(partition),
            )


def count_archived(metrics: Metrics, manifest: Manifest) -> None:
    """Count and log a proven archive."""
    metrics.archived.inc(manifest.events)
    metrics.archived_bytes.inc(manifest.bytes)
    log.info(
        "a day was archived",
        extra={"file": manifest.file, "events": manifest.events, "bytes": manifest.bytes, "sha256": manifest.sha256},
    )


def _described(partition: Partition) -> dict[str, object]:
    return {"partition": partition.name, "rows": partition.rows, "bytes": partition.bytes}
