"""The spool's own thread: its work waits for the disk, so the event loop must not do it."""

import asyncio
import errno
import sqlite3
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from ingest.errors import SettingsError, SpoolFull, StoreUnavailable

T = TypeVar("T")

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DiskThread:
    """Calls run one at a time, in their order."""

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._closed = False

    async def run(self, work: Callable[[], T]) -> T:
        """Raises `StoreError` for every error of the disk, and after `close`."""
        if self._closed:
            raise StoreUnavailable("The spool is closed.")
        with _translated():
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self, last: Callable[[], object]) -> None:
        """Do the `last` work and end the thread. Safe to call twice."""
        if not self._closed:
            await self.run(last)
            self._closed = True
            self._thread.shutdown(wait=False)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        full = exc.errno in NO_ROOM
        raise (SpoolFull if full else StoreUnavailable)(f"The spool failed: {exc.strerror}. Retry.") from exc
    except (sqlite3.Error, SettingsError) as exc:
        raise StoreUnavailable(f"The spool failed: {exc}. Retry.") from exc
