"""Deletes old entries of the audit trail."""

import asyncio
import logging
from collections.abc import Callable

from ingest.audit.trail import AuditTable
from ingest.clock import NowUs, jittered
from ingest.errors import StoreError, StoreUnavailable

log = logging.getLogger("ingest.audit")

ROUND_SECONDS = 3600.0
FORGET_MAX = 1000
"""Entries deleted in one transaction."""
DAY_US = 86_400_000_000


class AuditCleaner:
    """`run` works until it is cancelled. Every worker has a cleaner, and they do not block each other."""

    def __init__(self, table: AuditTable, keep_days: int, now_us: NowUs, count_failure: Callable[[], None]) -> None:
        """`count_failure` counts the failures for which somebody must do something."""
        self._table = table
        self._keep_us = keep_days * DAY_US
        self._now_us = now_us
        self._count_failure = count_failure

    async def run(self) -> None:
        while True:
            await asyncio.sleep(jittered(ROUND_SECONDS))
            await self.forget_old()

    async def forget_old(self) -> None:
        """Delete all old entries. They are old by this host's clock and by the database's, as one may be wrong."""
        try:
            now_us = min(self._now_us(), await self._table.clock_us())
            while await self._table.forget_audit(now_us - self._keep_us, FORGET_MAX) == FORGET_MAX:
                pass
        except StoreUnavailable as exc:
            log.debug("old audit entries were not deleted", extra={"reason": str(exc)})
        except StoreError as exc:  # a missing right, for example: the table would grow without an end
            log.warning("old audit entries were not deleted", extra={"reason": str(exc)})
            self._count_failure()
