"""One at a time, among the workers of a data folder: a lock that ends with its process, however that ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from ingest.errors import StoreUnavailable
from ingest.files.locks import FileLock, lock

WAIT_SECONDS = 2.0
"""So long another worker's work is waited for."""
POLL_SECONDS = 0.02

Exclusively = Callable[[], AbstractAsyncContextManager[None]]
"""Entered by one worker at a time. Raises `StoreUnavailable` if the lock is not to be had within `WAIT_SECONDS`."""


def by_file(path: Path) -> Exclusively:
    @asynccontextmanager
    async def exclusively() -> AsyncIterator[None]:
        held = await _locked(path)
        try:
            yield
        finally:
            held.release()

    return exclusively


async def _locked(path: Path) -> FileLock:
    path.parent.mkdir(parents=True, exist_ok=True)
    until = asyncio.get_running_loop().time() + WAIT_SECONDS
    while (held := lock(path)) is None:
        if asyncio.get_running_loop().time() > until:
            raise StoreUnavailable(f"Another worker has {path.name} locked.")
        await asyncio.sleep(POLL_SECONDS)
    return held
