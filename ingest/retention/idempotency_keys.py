"""Deletes expired idempotency keys."""

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from ingest.clock import NowUs, jittered
from ingest.errors import StoreError, StoreUnavailable

log = logging.getLogger("ingest.keys")

ROUND_SECONDS = 60.0
FORGET_MAX = 5000
"""Keys deleted in one transaction, so that no commit waits long."""
PAUSE_SECONDS = 0.1


class KeyTable(Protocol):
    """The table of idempotency keys. Every method raises `StoreError`."""

    async def clock_us(self) -> int: ...

    async def forget_keys(self, before_ms: int, limit: int) -> int: ...


class KeyCleaner:
    """`run` works until it is cancelled. Every worker has a cleaner, and they do not block each other."""

    def __init__(
        self, store: KeyTable, remember_seconds: float, now_us: NowUs, count_failure: Callable[[], None]
    ) -> None:
        """`count_failure` counts the failures for which somebody must do something."""
        self._count_failure = count_failure
        self._store = store
        self._remember_ms = int(remember_seconds * 1000)
        self._now_us = now_us

    async def run(self) -> None:
        while True:
            await asyncio.sleep(jittered(ROUND_SECONDS))
            await self.forget_all()

    async def forget_all(self) -> None:
        """Delete all expired keys. A failure is logged; the next round tries again."""
        try:
            while await self.forget() == FORGET_MAX:  # noqa: ASYNC110 - the pause lets commits go first
                await asyncio.sleep(PAUSE_SECONDS)
        except StoreUnavailable as exc:
            log.debug("expired idempotency keys were not deleted", extra={"reason": str(exc)})
        except StoreError as exc:  # a missing right, for example: the table would grow without an end
            log.warning("expired idempotency keys were not deleted", extra={"reason": str(exc)})
            self._count_failure()

    async def forget(self) -> int:
        """Delete some keys that are expired by this host's clock and by the database's, as one may be wrong.

        Return their number.
        """
        now_us = min(self._now_us(), await self._store.clock_us())
        return await self._store.forget_keys(now_us // 1000 - self._remember_ms, FORGET_MAX)
