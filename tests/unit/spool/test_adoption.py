from pathlib import Path

import pytest

from ingest.spool.adoption import MOVED_RECORDS, Adoption
from ingest.spool.files import damaged, salvaged, spools, take_spool
from ingest.spool.records import Refused
from ingest.spool.store import SpoolStore
from tests.unit.making import NOW_US, batch
from tests.unit.spool.conftest import Opened

LEASE_SECONDS = 600.0


@pytest.fixture
def adoption(folder: Path, spool: SpoolStore, opened: Opened) -> Adoption:
    return Adoption(folder, spool, opened)


async def leave(folder: Path, opened: Opened, count: int) -> list[int]:
    """A worker's last will: the first half is published, the others were being published when it died."""
    dead = opened(take_spool(folder))
    made = [batch(2, us=NOW_US + number * 1000) for number in range(count)]
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
    count = MOVED_RECORDS + 4
    first_ids = await leave(folder, opened, count)

    await adoption.adopt()

    records = await spool.after(0, 100)
    assert [record.first_id for record in records] == first_ids
    assert [record.lease_until for record in records] == [None] * (count // 2) + [0] * (count // 2)
    assert [refused.first_id for refused in await spool.refused()] == [1]
    assert [path.name for path in spools(folder)] == ["spool-0.db"]


async def test_live_workers_spool_is_left_alone(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    alive = opened(take_spool(folder))
    await alive.commit(batch(1), lease_seconds=0.0, settled=[])

    await adoption.adopt()

    assert (len(await alive.after(0, 10)), await spool.after(0, 10)) == (1, [])
    await alive.close()


async def test_live_workers_spool_is_left_alone_also_when_its_lock_was_deleted(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    file = take_spool(folder)
    alive = opened(file)
    await alive.commit(batch(1), lease_seconds=0.0, settled=[])
    file.path.with_suffix(".lock").unlink()

    await adoption.adopt()

    assert (len(await alive.after(0, 10)), await spool.after(0, 10)) == (1, [])
    await alive.close()


async def test_what_is_whole_in_a_damaged_orphan_is_adopted_and_the_file_stays(
    adoption: Adoption, spool: SpoolStore, folder: Path, opened: Opened
) -> None:
    first_ids = await leave(folder, opened, 10)
    orphan = spools(folder)[1]
    content = bytearray(orphan.read_bytes())
    content[:100] = b"\0" * 100  # the file's header
    orphan.write_bytes(content)

    await adoption.adopt()

    assert [record.first_id for record in await spool.after(0, 100)] == first_ids
    assert damaged(folder) == []
    assert [path.read_bytes() for path in salvaged(folder)] == [bytes(content)]
    assert [path.name for path in spools(folder)] == ["spool-0.db"]
