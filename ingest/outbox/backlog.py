"""Watches the backlog of unpublished events, apart from `ingest.status.health`, whose checks it must not delay."""

from typing import Protocol

from ingest.errors import StoreError
from ingest.outbox.base import Backlog
from ingest.telemetry.metrics import Metrics
from ingest.ticks import pause

LOOK_SECONDS = 5.0
RETRY_SECONDS = 1.0
"""Pause after a failed look."""


class BacklogTable(Protocol):
    """Raises `StoreError`."""

    async def backlog(self) -> Backlog: ...

    async def count_dead(self) -> int: ...


class BacklogWatch:
    """`run` works until it is cancelled."""

    def __init__(self, store: BacklogTable, metrics: Metrics) -> None:
        self._store = store
        self._metrics = metrics
        self._problem: str | None = None

    def problem(self) -> str | None:
        """Why the backlog is unknown. None if it is known, and before the first look."""
        return self._problem

    async def run(self) -> None:
        while True:
            await self.look()
            await pause(RETRY_SECONDS if self._problem else LOOK_SECONDS)

    async def look(self) -> None:
        """Look once. Never raises while the database is away. An unknown backlog is shown as unknown, never as 0."""
        try:
            backlog, dead = await self._store.backlog(), await self._store.count_dead()
        except StoreError as exc:
            self._problem = f"unknown: {exc}"
            self._metrics.backlog_is_unknown()
            return
        self._problem = None
        self._metrics.backlog_events.set(backlog.events)
        self._metrics.outbox_entries.set(backlog.entries)
        self._metrics.backlog_age_seconds.set(backlog.age_seconds)
        self._metrics.dead_letters.set(dead)
