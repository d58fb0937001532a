"""A lock among the workers of a data folder, for work that one worker at a time may do. It ends with its process."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from ingest.errors import StoreUnavailable
from ingest.files.locks import FileLock, lock

WAIT_SECONDS = 2.0
"""Maximum wait for another worker's work."""
POLL_SECONDS = 0.02

ExclusiveLock = Callable[[], AbstractAsyncContextManager[None]]
"""One worker at a time can enter it. Raises `StoreUnavailable` if the lock is not free within `WAIT_SECONDS`."""


def file_lock(path: Path) -> ExclusiveLock:
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
