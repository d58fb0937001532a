"""A live owner's files: people and cleaners delete them, and disks get full."""

import asyncio
import fcntl
import multiprocessing
import os
import resource
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from ingest.errors import SpoolFull, StoreUnavailable
from ingest.events.batch import Batch
from ingest.files.lock_watch import TOUCH_SECONDS
from ingest.spool.files import segments_of, spools, take_spool
from ingest.spool.records import Refused
from ingest.spool.store import SpoolStore
from tests.unit.fakes import FakeClock
from tests.unit.making import NOW_US, batch
from tests.unit.spool.conftest import LIMITS, Opened

SMALL_SEGMENTS = msgspec.structs.replace(LIMITS, bytes_max=50_000)


def number(of: int) -> Batch:
    return batch(1, us=NOW_US + of * 1000)


async def keep(spool: SpoolStore, *numbers: int) -> None:
    for one in numbers:
        await spool.commit(number(one), lease_seconds=0.0, settled=[])


async def found_by_the_next(folder: Path, opened: Opened) -> list[Batch | None]:
    """The batches that another process finds after the first one was killed."""
    next_one = opened(take_spool(folder))
    await next_one.start()
    records = await next_one.after(0, 100)
    await next_one.close()
    return [record.unpacked() for record in records]


def replace_segment(folder: Path) -> None:
    (path,) = segments_of(folder, 0)
    shutil.copy(path, folder / "copy")
    (folder / "copy").replace(path)


def replace(folder: Path) -> None:
    """Move the folder away. Another worker makes it anew first."""
    folder.rename(folder.with_name("elsewhere"))
    folder.mkdir()


def empty(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


LOSSES: dict[str, Callable[[Path], object]] = {
    "segment": lambda folder: segments_of(folder, 0)[0].unlink(),
    "lock": lambda folder: (folder / "spool-0.lock").unlink(),
    "lock and segment": empty,
    "folder": shutil.rmtree,
    "data folder": lambda folder: shutil.rmtree(folder.parent),
    "moved away": lambda folder: folder.rename(folder.with_name("elsewhere")),
    "segment replaced": replace_segment,
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "var" / "spool"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("noticed_by", ["the next commit", "a look"])
async def test_acknowledged_events_are_written_anew_and_that_is_reported(
    folder: Path, opened: Opened, spool: SpoolStore, caplog: pytest.LogCaptureFixture, loss: str, noticed_by: str
) -> None:
    await keep(spool, 1, 2)
    await spool.settle([number(1).first_id])
    await spool.set_aside(Refused(7, 1, "refused", b"seven"))
    LOSSES[loss](folder)

    if noticed_by == "a look":
        await spool.check()
    await keep(spool, 3)

    await spool.check()
    assert "deleted or moved" in str(spool.file_problem)
    assert "deleted or moved while in use" in caplog.text
    await spool.close()
    assert await found_by_the_next(folder, opened) == [number(1), number(2), number(3)]


async def test_lock_of_the_spool_never_looks_old(folder: Path, spool: SpoolStore, clock: FakeClock) -> None:
    await spool.check()
    os.utime(folder / "spool-0.lock", (0, 0))
    clock.advance(TOUCH_SECONDS)

    await spool.check()

    assert (folder / "spool-0.lock").stat().st_mtime > 0


@pytest.mark.parametrize("renews", [False, True], ids=["", "its lock was renewed first"])
async def test_next_commit_notices_a_replaced_folder_also_if_it_begins_a_segment_there(
    folder: Path, opened: Opened, clock: FakeClock, renews: bool
) -> None:
    spool = SpoolStore(take_spool(folder), 5.0, SMALL_SEGMENTS, clock.monotonic)
    await spool.start()
    count = 1
    await keep(spool, count)
    while segments_of(folder, 0)[0].stat().st_size < SMALL_SEGMENTS.segment_bytes:  # the next entry begins another one
        count += 1
        await keep(spool, count)
    replace(folder)
    if renews:
        assert spool.files.lock.renew()

    await keep(spool, count + 1)

    fcntl.flock(spool.files.lock.descriptor, fcntl.LOCK_UN)  # as a kill does
    assert await found_by_the_next(folder, opened) == [number(one) for one in range(1, count + 2)]
    await spool.close()


async def test_records_of_a_deleted_file_are_still_moved(folder: Path, spool: SpoolStore) -> None:
    await keep(spool, 1)
    shutil.rmtree(folder)

    (record,) = await spool.take_oldest(10)

    assert record.unpacked() == number(1)
    await spool.remove([record])
    assert await spool.after(0, 10) == []


async def test_lock_that_another_worker_has_by_now_is_left_to_it(
    folder: Path, spool: SpoolStore, opened: Opened
) -> None:
    """The worker belongs to another user, or the system does not show who has a deleted file open."""
    await keep(spool, 1)
    (folder / "spool-0.lock").replace(folder / "kept-for-the-other")
    (folder / "spool-0.lock").touch()
    other = multiprocessing.get_context("fork").Process(target=hold, args=(folder / "spool-0.lock",))
    other.start()
    try:
        while not (folder / "held").exists():
            assert other.is_alive()
        await keep(spool, 2)
    finally:
        other.kill()
        other.join()

    assert spool.files.number == 1
    assert spools(folder) == [1]
    await spool.close()
    assert await found_by_the_next(folder, opened) == []  # the lowest free one is the other's
    second = SpoolStore(take_spool(folder), 5.0, LIMITS, time.monotonic)
    await second.close()


def hold(path: Path) -> None:
    fcntl.flock(os.open(path, os.O_RDWR), fcntl.LOCK_EX)
    path.with_name("held").touch()
    signal.pause()


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Writes beyond the limit fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_failed_write_is_reported_and_loses_no_acknowledged_event(
    folder: Path, spool: SpoolStore, opened: Opened
) -> None:
    await keep(spool, 1)
    (path,) = segments_of(folder, 0)
    size = path.stat().st_size
    with file_size_limit(size + 50):
        with pytest.raises(SpoolFull):
            await keep(spool, 2)
        assert path.stat().st_size == size
        records = await spool.take_oldest(10)
        await spool.settle([records[0].first_id])
        await spool.give_back(records)

    await keep(spool, 3)
    assert [path.stat().st_size == size for path in segments_of(folder, 0)] == [True, False]
    await spool.close()
    assert await found_by_the_next(folder, opened) == [number(1), number(3)]


async def test_moved_records_give_their_room_back_on_a_full_disk(folder: Path, spool: SpoolStore) -> None:
    """A removal needs no room."""
    await keep(spool, 1, 2)
    with file_size_limit(10):
        await spool.remove(await spool.after(0, 10))

        assert segments_of(folder, 0) == []


@contextmanager
def in_the_way(folder: Path) -> Iterator[None]:
    """A file replaces the folder, so no folder can be made there."""
    shutil.rmtree(folder)
    folder.touch()
    yield
    folder.unlink()


async def test_nothing_is_acknowledged_while_nothing_can_be_written(
    folder: Path, spool: SpoolStore, opened: Opened
) -> None:
    await keep(spool, 1)
    with in_the_way(folder):
        with pytest.raises(StoreUnavailable):
            await keep(spool, 2)
        assert await spool.read([number(1).first_id]) == [number(1)]
    await keep(spool, 3)
    await spool.close()
    found = await found_by_the_next(folder, opened)
    assert [one for one in found if one != number(2)] == [number(1), number(3)]


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def commit_for_ever(folder: Path, acknowledged_file: Path) -> None:
    """Writes the number of each batch that is acknowledged."""

    async def work() -> None:
        spool = SpoolStore(take_spool(folder), 5.0, LIMITS, time.monotonic)
        await spool.start()
        for one in range(100_000):
            await keep(spool, one)
            append(acknowledged_file, f"{one}\n")

    asyncio.run(work())


async def test_kill_9_loses_no_acknowledged_event(folder: Path, tmp_path: Path, opened: Opened) -> None:
    acknowledged_file = tmp_path / "acknowledged_file"
    worker = multiprocessing.get_context("spawn").Process(target=commit_for_ever, args=(folder, acknowledged_file))
    worker.start()
    while not acknowledged_file.exists() or len(acknowledged_file.read_text().splitlines()) < 100:
        assert worker.is_alive()
    worker.kill()
    worker.join()

    found = await found_by_the_next(folder, opened)

    acknowledged = acknowledged_file.read_text().splitlines()
    assert found[: len(acknowledged)] == [number(int(one)) for one in acknowledged][:100]
