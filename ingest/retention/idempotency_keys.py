"""Forgets the keys that tell repeats once they are older than they have to be remembered."""

import asyncio
import logging
from typing import Protocol

from ingest.clock import NowUs, jittered
from ingest.errors import StoreError

log = logging.getLogger("ingest.keys")

ROUND_SECONDS = 60.0
FORGET_MAX = 5000
"""In one transaction, so that no commit waits for long."""
PAUSE_SECONDS = 0.1


class KeyTable(Protocol):
    """What the store offers for it. Raises `StoreError`."""

    async def clock_us(self) -> int: ...

    async def forget_keys(self, before_ms: int, limit: int) -> int: ...


class KeyCleaner:
    """`run` works until it is cancelled; every worker has one, and they do not hinder each other."""

    def __init__(self, store: KeyTable, remember_seconds: float, now_us: NowUs) -> None:
        self._store = store
        self._remember_ms = int(remember_seconds * 1000)
        self._now_us = now_us

    async def run(self) -> None:
        while True:
            await asyncio.sleep(jittered(ROUND_SECONDS))
            try:
                while await self.forget() == FORGET_MAX:  # noqa: ASYNC110 - the pause is for the others
                    await asyncio.sleep(PAUSE_SECONDS)
            except StoreError as exc:
                log.debug("keys not forgotten", extra={"reason": str(exc)})

    async def forget(self) -> int:
        """Some of those that are due, by this host's clock and by the database's: one may be wrong. How many."""
        now_us = min(self._now_us(), await self._store.clock_us())
        return await self._store.forget_keys(now_us // 1000 - self._remember_ms, FORGET_MAX)
