import asyncio
from pathlib import Path

import msgspec
import pytest

from ingest.spool.adoption import Adoption
from ingest.spool.files import damaged, segments_of, spools, take_spool
from ingest.spool.records import Record, Refused
from ingest.spool.store import SpoolStore
from tests.unit.fakes import FakeClock
from tests.unit.making import NOW_US, batch, event
from tests.unit.spool.conftest import LIMITS, Opened

LEASE_SECONDS = 600.0
COUNT = 20


@pytest.fixture
def adoption(folder: Path, spool: SpoolStore) -> Adoption:
    return Adoption(folder, spool)


async def leave(folder: Path, opened: Opened, count: int = COUNT, *, slot: int = 1) -> list[int]:
    """A dead worker's spool: half of the batches are published. It was publishing the others when it died."""
    dead = opened(take_spool(folder))
    made = [batch(2, us=NOW_US + number * 1000, slot=slot) for number in range(count)]
    for number, one in enumerate(made):
        await dead.commit(one, lease_seconds=LEASE_SECONDS, settled=[])
        if number < count // 2:
            await dead.settle([one.first_id])
    await dead.set_aside(Refused(1, 1, "refused", b"?"))
    await dead.close()
    return [one.first_id for one in made]


async def test_dead_workers_records_are_in_the_own_spool_then(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    own = batch(1, us=NOW_US - 1000)
    await spool.commit(own, lease_seconds=0.0, settled=[])
    first_ids = await leave(folder, opened)

    await adoption.adopt()

    records = await spool.after(0, 100)
    assert [record.first_id for record in records] == [own.first_id, *first_ids]
    leases = [record.lease_until for record in records[1:]]
    assert leases == [None] * (COUNT // 2) + [0] * (COUNT // 2)
    assert [refused.first_id for refused in await spool.refused()] == [1]
    assert spools(folder) == [0]


async def test_what_was_adopted_and_drained_does_not_come_again(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    await leave(folder, opened)
    await adoption.adopt()
    records = await spool.after(0, 100)
    await spool.settle([record.first_id for record in records])
    await spool.remove(records[:-1])
    await spool.close()

    again = opened(take_spool(folder))
    await again.start()

    assert [(record.first_id, record.lease_until) for record in await again.after(0, 100)] == [
        (records[-1].first_id, None)
    ]
    await again.close()


async def test_live_workers_spool_is_left_alone(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    alive = opened(take_spool(folder))
    await alive.commit(batch(1), lease_seconds=0.0, settled=[])

    await adoption.adopt()

    assert (len(await alive.after(0, 10)), await spool.after(0, 10)) == (1, [])
    await alive.close()


async def test_live_workers_spool_whose_lock_was_deleted_is_left_alone(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    """A cleaner of stale locks does so. The file that the worker still writes would be deleted."""
    file = take_spool(folder)
    alive = opened(file)
    await alive.commit(batch(1), lease_seconds=0.0, settled=[])
    file.lock.path.unlink()

    await adoption.adopt()

    assert (len(await alive.after(0, 10)), await spool.after(0, 10)) == (1, [])
    await alive.close()


async def test_what_does_not_fit_waits_until_there_is_room(
    folder: Path, opened: Opened, spool: SpoolStore, clock: FakeClock
) -> None:
    """A worker that adopted all of a dead worker's records would have no room for new events."""
    first_ids = await leave(folder, opened)
    size = sum(path.stat().st_size for path in segments_of(folder, 1))
    own = SpoolStore(take_spool(folder), 5.0, msgspec.structs.replace(LIMITS, bytes_max=size + 200), clock.monotonic)
    assert own.files.number == 1
    await own.start()
    last = await leave(folder, opened, 1, slot=2)

    await Adoption(folder, own).adopt()
    assert [record.first_id for record in await own.after(0, 100)] == first_ids

    await own.remove(await own.after(0, 100))
    await Adoption(folder, own).adopt()
    assert [record.first_id for record in await own.after(0, 100)] == last
    await own.close()


async def test_neither_adoption_nor_an_earlier_owners_files_hold_up_the_workers_own_batches(
    folder: Path, opened: Opened
) -> None:
    """They are loaded in small steps, and other calls run between the steps."""
    for number in (0, 1):
        dead = opened(take_spool(folder))
        rows = [Record((number << 30) + at, 1, None, b"x" * 20) for at in range(1, 8000)]
        await dead.add(rows)
        if number == 0:
            kept = dead
    await dead.close()
    await kept.close()
    own = opened(take_spool(folder))
    await own.start()
    adopting = asyncio.create_task(Adoption(folder, own).adopt())
    await asyncio.sleep(0)

    await own.commit(batch(1), lease_seconds=0.0, settled=[])
    await own.take_oldest(1)

    assert not adopting.done()
    await adopting
    assert (await own.usage()).records == 2 * 7999 + 1
    await own.close()


async def test_two_batches_of_one_id_are_both_kept(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    """A worker ran on a copy of the data folder. The spool cannot decide which of the two events gets the row."""
    mine, other = batch([event("call-1")]), batch([event("call-2")])
    await spool.commit(mine, lease_seconds=0.0, settled=[])
    dead = opened(take_spool(folder))
    await dead.commit(other, lease_seconds=0.0, settled=[])
    await dead.close()

    await adoption.adopt()

    assert await spool.read([mine.first_id]) == [mine]
    (aside,) = await spool.refused()
    assert Record(aside.first_id, 1, None, aside.batch).unpacked() == other
    assert "ids" in aside.reason


async def test_what_is_whole_in_a_damaged_orphan_is_adopted_and_the_file_stays(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    first_ids = await leave(folder, opened)
    (orphan,) = segments_of(folder, 1)
    content = bytearray(orphan.read_bytes())
    content[:32] = bytes(32)  # the file's head
    orphan.write_bytes(content)

    await adoption.adopt()
    records = await spool.after(0, 100)
    assert [record.first_id for record in records] == first_ids
    assert damaged(folder) == []
    (aside,) = await spool.refused()
    await spool.retry([aside.first_id])
    await spool.remove(await spool.after(0, 100))

    assert [path.read_bytes() for path in damaged(folder)] == [bytes(content)]
    assert spools(folder) == []


async def test_request_to_retry_is_done_while_the_worker_runs(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    await spool.set_aside(Refused(7, 1, "refused", b"seven"))
    await spool.set_aside(Refused(8, 1, "refused", b"eight"))
    (folder / "spool-0.1.retry").write_bytes(b"[8,9]")
    (folder / "spool-0.2.retry").write_bytes(b"no json")

    await adoption.adopt()

    assert [(record.first_id, record.lease_until, record.batch) for record in await spool.after(0, 10)] == [
        (8, None, b"eight")
    ]
    assert [refused.first_id for refused in await spool.refused()] == [7]
    assert spool.files.requests() == []
    await spool.close()
    again = opened(take_spool(folder))
    await again.start()
    assert [record.first_id for record in await again.after(0, 10)] == [8]
    assert [refused.first_id for refused in await again.refused()] == [7]
    await again.close()
