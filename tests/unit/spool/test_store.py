import logging
import os
import sqlite3
from pathlib import Path

import msgspec
import pytest

from ingest.errors import SpoolFull, StoreUnavailable
from ingest.spool.files import damaged, spools, take_spool
from ingest.spool.records import RECORD_BYTES, Record, Refused, SpoolLimits, Usage
from ingest.spool.store import VACUUM_BYTES, SpoolStore
from tests.unit.fakes import FakeClock
from tests.unit.making import NOW_US, batch, event
from tests.unit.spool.conftest import LIMITS, Opened

LEASE_SECONDS = 10.0


async def keep(spool: SpoolStore, number: int = 0, of: int = 1, lease_seconds: float = 0.0) -> int:
    made = batch(of, us=NOW_US + number * 1_000_000)
    await spool.commit(made, lease_seconds=lease_seconds, settled=[])
    return made.first_id


async def test_batch_is_read_as_it_was_kept(spool: SpoolStore) -> None:
    made = batch([event("call-1", note="звонок"), event("call-2")])
    await spool.commit(made, lease_seconds=LEASE_SECONDS, settled=[])

    (record,) = await spool.take_oldest(10) or await spool.after(0, 10)

    assert record.unpacked() == made
    assert await spool.read([made.first_id]) == [made]


async def test_batch_kept_twice_is_there_once(spool: SpoolStore) -> None:
    await keep(spool)
    await keep(spool)

    assert len(await spool.after(0, 10)) == 1


async def test_batch_is_on_disk_when_commit_returns(spool: SpoolStore, folder: Path) -> None:
    first_id = await keep(spool)

    with sqlite3.connect(spools(folder)[0]) as other:
        assert other.execute("SELECT first_id FROM spool").fetchall() == [(first_id,)]
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)


async def test_leased_record_is_nobodys_until_the_lease_ends(spool: SpoolStore, clock: FakeClock) -> None:
    first_id = await keep(spool, lease_seconds=LEASE_SECONDS)
    assert (await spool.claim(10, LEASE_SECONDS), await spool.take_oldest(10)) == ([], [])

    clock.advance(LEASE_SECONDS)

    assert await spool.claim(10, LEASE_SECONDS) == [first_id]
    assert await spool.take_oldest(10) == []


async def test_published_record_is_not_claimed_but_brought_over(spool: SpoolStore) -> None:
    first_id = await keep(spool, lease_seconds=LEASE_SECONDS)
    await spool.settle([first_id])

    assert await spool.claim(10, LEASE_SECONDS) == []
    (record,) = await spool.take_oldest(10)
    assert (record.first_id, record.lease_until) == (first_id, None)


async def test_published_with_the_next_commit(spool: SpoolStore) -> None:
    first_id = await keep(spool, lease_seconds=LEASE_SECONDS)
    await spool.commit(batch(1, us=NOW_US + 5_000_000), lease_seconds=LEASE_SECONDS, settled=[first_id])

    assert [record.first_id for record in await spool.take_oldest(10)] == [first_id]


async def test_record_that_is_brought_over_is_not_published_meanwhile(spool: SpoolStore, clock: FakeClock) -> None:
    first_id = await keep(spool)
    assert len(await spool.take_oldest(10)) == 1

    assert await spool.claim(10, LEASE_SECONDS) == []
    clock.advance(LIMITS.lease_seconds)
    assert await spool.claim(10, LEASE_SECONDS) == [first_id]


async def test_oldest_are_taken_first(spool: SpoolStore) -> None:
    first_ids = [await keep(spool, number) for number in (2, 0, 1)]

    taken = [record.first_id for record in await spool.take_oldest(2)]

    assert taken == sorted(first_ids)[:2]


async def test_usage_follows_what_comes_and_goes(spool: SpoolStore, folder: Path, opened: Opened) -> None:
    await keep(spool, 0, of=3)
    await spool.usage()
    await keep(spool, 1, of=2)
    first, second = await spool.after(0, 10)
    assert await spool.usage() == Usage(2, 5, first.bytes + second.bytes)
    await spool.remove([first])
    assert await spool.usage() == Usage(1, 2, second.bytes)
    await spool.set_aside(Refused(second.first_id, 2, "refused", second.batch))
    assert await spool.usage() == Usage(0, 0, 0, refused_events=2)


async def test_full_spool_takes_nothing_and_keeps_what_it_has(folder: Path, clock: FakeClock) -> None:
    limits = SpoolLimits(bytes_max=RECORD_BYTES + 400, free_bytes_min=1, lease_seconds=1.0)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.now_us)
    await keep(spool, 0)

    with pytest.raises(SpoolFull, match="spool is full"):
        await keep(spool, 1)

    assert len(await spool.after(0, 10)) == 1
    await spool.remove(await spool.after(0, 10))
    await keep(spool, 2)
    await spool.close()


async def test_spool_leaves_the_disk_the_room_that_others_need(folder: Path, clock: FakeClock) -> None:
    limits = SpoolLimits(bytes_max=1_000_000, free_bytes_min=1 << 60, lease_seconds=1.0)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.now_us)

    with pytest.raises(SpoolFull, match="bytes free"):
        await keep(spool)
    await spool.close()


async def test_what_a_killed_owner_was_publishing_is_the_relays_at_the_start(
    folder: Path, opened: Opened, spool: SpoolStore
) -> None:
    leased, published = [await keep(spool, number, lease_seconds=LEASE_SECONDS) for number in (0, 1)]
    await spool.settle([published])

    await spool.start()

    assert await spool.claim(10, LEASE_SECONDS) == [leased]


async def test_damaged_file_is_set_aside_and_takes_no_commit_down(
    folder: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    file = take_spool(folder)
    file.path.write_bytes(b"no database, surely" * 1000)
    spool = opened(file)

    with caplog.at_level(logging.ERROR):
        first_id = await keep(spool)

    assert [record.first_id for record in await spool.after(0, 10)] == [first_id]
    (aside,) = damaged(folder)
    assert aside.read_bytes() == b"no database, surely" * 1000
    assert "the spool's file is damaged" in caplog.text
    await spool.close()


async def test_closed_spool_says_so(folder: Path, opened: Opened) -> None:
    spool = opened(take_spool(folder))
    await spool.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await keep(spool)


async def test_empty_spool_gives_its_room_back(spool: SpoolStore, folder: Path) -> None:
    records = [Record(number, 1, None, os.urandom(1 << 20)) for number in range(1, VACUUM_BYTES // (1 << 20) + 2)]
    await spool.add(records)
    await spool.remove(records[1:])
    await spool.give_room_back()
    assert size_of(folder) > VACUUM_BYTES

    await spool.remove(records[:1])
    await spool.give_room_back()

    assert size_of(folder) < 1 << 20


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("spool-0.db*"))


async def test_where_the_order_counts_nothing_is_brought_over_before_it_is_published(
    folder: Path, clock: FakeClock
) -> None:
    """In the database's outbox others could publish it out of its turn."""
    limits = msgspec.structs.replace(LIMITS, published_first=True)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.now_us)
    await spool.start()
    first, second = [await keep(spool, number) for number in range(2)]
    assert await spool.take_oldest(10) == []

    await spool.settle([first])

    assert [record.first_id for record in await spool.take_oldest(10)] == [first]
    assert await spool.claim(10, LEASE_SECONDS) == [second]
    await spool.close()
