import os
from pathlib import Path

import msgspec
import pytest

from ingest.errors import IdsTaken, SpoolFull, StoreUnavailable
from ingest.spool.files import segments_of, take_spool
from ingest.spool.inspection import contents
from ingest.spool.records import RECORD_BYTES, SEGMENT_BYTES_MIN, Record, Refused, SpoolLimits, Usage
from ingest.spool.segments.format import HEAD_BYTES
from ingest.spool.segments.journal import Journal
from ingest.spool.segments.upkeep import Upkeep
from ingest.spool.store import SpoolStore
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


async def test_batch_is_in_the_file_when_commit_returns(spool: SpoolStore, folder: Path) -> None:
    first_id = await keep(spool)

    (found,) = contents(folder)
    assert (found.usage.records, found.unpublished) == (1, 1)
    (path,) = segments_of(folder, 0)
    assert first_id.to_bytes(8, "little") in path.read_bytes()


async def test_another_batch_with_the_same_ids_is_refused(spool: SpoolStore) -> None:
    kept, other = batch([event("call-1")]), batch([event("call-2")])
    await spool.commit(kept, lease_seconds=LEASE_SECONDS, settled=[])

    with pytest.raises(IdsTaken):
        await spool.commit(other, lease_seconds=LEASE_SECONDS, settled=[])

    assert await spool.read([kept.first_id]) == [kept]
    assert (await spool.usage()).records == 1


async def test_leased_record_is_not_given_out_until_the_lease_ends(spool: SpoolStore, clock: FakeClock) -> None:
    first_id = await keep(spool, lease_seconds=LEASE_SECONDS)
    assert (await spool.claim(10, LEASE_SECONDS), await spool.take_oldest(10)) == ([], [])

    clock.advance(LEASE_SECONDS)

    assert await spool.claim(10, LEASE_SECONDS) == [first_id]
    assert await spool.take_oldest(10) == []


async def test_published_record_is_not_claimed_but_moved(spool: SpoolStore) -> None:
    first_id = await keep(spool, lease_seconds=LEASE_SECONDS)
    await spool.settle([first_id])

    assert await spool.claim(10, LEASE_SECONDS) == []
    (record,) = await spool.take_oldest(10)
    assert (record.first_id, record.lease_until) == (first_id, None)


async def test_published_with_the_next_commit(spool: SpoolStore) -> None:
    first_id = await keep(spool, lease_seconds=LEASE_SECONDS)
    await spool.commit(batch(1, us=NOW_US + 5_000_000), lease_seconds=LEASE_SECONDS, settled=[first_id])

    assert [record.first_id for record in await spool.take_oldest(10)] == [first_id]


async def test_record_that_is_being_moved_is_not_published_meanwhile(spool: SpoolStore, clock: FakeClock) -> None:
    first_id = await keep(spool)
    assert len(await spool.take_oldest(10)) == 1

    assert await spool.claim(10, LEASE_SECONDS) == []
    clock.advance(LIMITS.lease_seconds)
    assert await spool.claim(10, LEASE_SECONDS) == [first_id]


async def test_oldest_are_taken_first(spool: SpoolStore) -> None:
    first_ids = [await keep(spool, number) for number in (2, 0, 1)]

    taken = [record.first_id for record in await spool.take_oldest(2)]

    assert taken == sorted(first_ids)[:2]


async def test_clock_that_is_set_back_prolongs_no_lease(spool: SpoolStore, clock: FakeClock) -> None:
    await spool.commit(batch(1), lease_seconds=30.0, settled=())
    clock.us -= 3600 * 1_000_000
    assert await spool.take_oldest(10) == []

    clock.advance(30.0)

    assert await spool.claim(10, lease_seconds=30.0) == [batch(1).first_id]
    clock.advance(30.0)
    assert len(await spool.take_oldest(10)) == 1


async def test_usage_follows_what_comes_and_goes(spool: SpoolStore, folder: Path, opened: Opened) -> None:
    await keep(spool, 0, of=3)
    await keep(spool, 1, of=2)
    first, second = await spool.after(0, 10)
    assert await used(spool) == Usage(2, 5, first.bytes + second.bytes)
    await keep(spool, 1, of=2)
    await spool.add([first])
    assert await used(spool) == Usage(2, 5, first.bytes + second.bytes)
    await spool.remove([first])
    await spool.remove([first])
    assert await used(spool) == Usage(1, 2, second.bytes)
    await spool.set_aside(Refused(second.first_id, 2, "refused", second.batch))
    await spool.remove([second])
    assert await used(spool) == Usage(0, 0, 0, refused_events=2)


async def used(spool: SpoolStore) -> Usage:
    return msgspec.structs.replace(await spool.usage(), file_bytes=0)


async def test_full_spool_takes_nothing_and_keeps_what_it_has(folder: Path, clock: FakeClock) -> None:
    limits = SpoolLimits(bytes_max=HEAD_BYTES + RECORD_BYTES + 250, free_bytes_min=1, lease_seconds=1.0)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)
    await keep(spool, 0)

    with pytest.raises(SpoolFull, match="spool is full"):
        await keep(spool, 1)

    assert len(await spool.after(0, 10)) == 1
    await spool.remove(await spool.after(0, 10))
    await keep(spool, 2)
    await spool.close()


async def test_spool_leaves_the_disk_the_room_that_others_need(folder: Path, clock: FakeClock) -> None:
    limits = SpoolLimits(bytes_max=1_000_000, free_bytes_min=1 << 60, lease_seconds=1.0)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)

    with pytest.raises(SpoolFull, match="bytes free"):
        await keep(spool)
    await spool.close()


async def test_what_a_killed_owner_was_publishing_is_the_relays_at_the_start(
    folder: Path, opened: Opened, spool: SpoolStore
) -> None:
    leased, published = [await keep(spool, number, lease_seconds=LEASE_SECONDS) for number in (0, 1)]
    await spool.settle([published])
    await spool.close()

    again = opened(take_spool(folder))
    await again.start()

    assert await again.claim(10, LEASE_SECONDS) == [leased]
    assert [record.first_id for record in await again.take_oldest(10)] == [published]
    await again.close()


async def test_closed_spool_says_so(folder: Path, opened: Opened) -> None:
    spool = opened(take_spool(folder))
    await spool.close()

    with pytest.raises(StoreUnavailable, match="closed"):
        await keep(spool)


async def test_files_go_with_what_is_in_them(folder: Path, clock: FakeClock) -> None:
    limits = msgspec.structs.replace(LIMITS, bytes_max=SEGMENT_BYTES_MIN)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)
    await spool.add([Record(number, 1, None, os.urandom(1000)) for number in range(1, 9)])
    for number in range(11, 19):
        await spool.add([Record(number, 1, None, os.urandom(1000))])
    records, segments = await spool.after(0, 100), segments_of(folder, 0)
    assert len(segments) == 3

    await spool.remove(records[8:])
    assert segments_of(folder, 0)[:3] == segments  # their marks about older segments are still needed
    await spool.remove(records[:8])

    assert segments_of(folder, 0) == []
    assert await spool.usage() == Usage()
    await spool.close()


async def test_empty_spool_answers_without_its_thread(spool: SpoolStore) -> None:
    await spool.close()  # the thread has ended

    assert (await spool.claim(9, 30.0), await spool.take_oldest(9)) == ([], [])
    assert (await spool.usage(), await spool.oldest_ms()) == (Usage(), None)
    await spool.give_room_back()


async def test_spool_is_not_empty_before_its_room_is_given_back(folder: Path, opened: Opened) -> None:
    journal = Journal(take_spool(folder), SEGMENT_BYTES_MIN)
    upkeep = Upkeep(journal, LIMITS, lambda: 0.0)
    made = batch(2)
    assert journal.empty

    journal.index.keep_keys(made)
    assert not journal.empty
    journal.add([Record(made.first_id, 2, None, b"packed")])
    upkeep.give_room_back()
    assert not journal.empty
    journal.remove([made.first_id])
    assert not journal.empty
    upkeep.give_room_back()

    assert journal.empty
    journal.close()


async def test_one_record_that_stays_does_not_hold_the_room_of_all_others(folder: Path, clock: FakeClock) -> None:
    limits = msgspec.structs.replace(LIMITS, bytes_max=SEGMENT_BYTES_MIN)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)
    for number in range(1, 41):
        await spool.add([Record(number, 1, None, os.urandom(1000))])
    stays, *records = await spool.after(0, 100)
    await spool.set_aside(Refused(77, 1, "refused", b"?"))
    await spool.remove(records)

    for _ in range(10):
        await spool.give_room_back()

    assert (await spool.usage()).file_bytes < 3 * SEGMENT_BYTES_MIN
    await spool.close()
    again = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)
    await again.start()
    assert await again.after(0, 100) == [stays]
    assert [refused.first_id for refused in await again.refused()] == [77]
    await again.close()


async def test_where_the_order_matters_nothing_is_moved_before_it_is_published(folder: Path, clock: FakeClock) -> None:
    """From the database's outbox others could publish it out of order."""
    limits = msgspec.structs.replace(LIMITS, published_first=True)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)
    await spool.start()
    first, second = [await keep(spool, number) for number in range(2)]
    assert await spool.take_oldest(10) == []

    await spool.settle([first])

    assert [record.first_id for record in await spool.take_oldest(10)] == [first]
    assert await spool.claim(10, LEASE_SECONDS) == [second]
    await spool.close()


async def test_damaged_record_is_the_drainers_although_the_order_matters(folder: Path, clock: FakeClock) -> None:
    """No relay can publish it first."""
    limits = msgspec.structs.replace(LIMITS, published_first=True)
    spool = SpoolStore(take_spool(folder), 5.0, limits, clock.monotonic)
    await spool.start()
    await spool.add([Record(7, 2, 0, b"not what it was")])
    fine = await keep(spool, 1)
    claimed = await spool.claim(10, LEASE_SECONDS)

    assert [batch.first_id for batch in await spool.read(claimed)] == [fine]

    assert [record.first_id for record in await spool.take_oldest(10)] == [7]
    await spool.close()
