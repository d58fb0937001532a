from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ingest.spool.files import SpoolFiles, take_spool
from ingest.spool.records import SpoolLimits
from ingest.spool.store import SpoolStore
from tests.unit.fakes import FakeClock

LIMITS = SpoolLimits(bytes_max=1_000_000, free_bytes_min=1, lease_seconds=30.0)
Opened = Callable[[SpoolFiles], SpoolStore]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@pytest.fixture
async def opened(clock: FakeClock) -> AsyncIterator[Opened]:
    """Opens spools, and closes them after the test."""
    async with AsyncExitStack() as spools:

        def open_spool(file: SpoolFiles) -> SpoolStore:
            spool = SpoolStore(file, 5.0, LIMITS, clock.monotonic)
            spools.push_async_callback(spool.close)
            return spool

        yield open_spool


@pytest.fixture
async def spool(folder: Path, opened: Opened) -> AsyncIterator[SpoolStore]:
    spool = opened(take_spool(folder))
    await spool.start()
    yield spool
    await spool.close()
