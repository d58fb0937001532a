"""The contract of every store's outbox (`ingest.store.base`), tested on each database."""

import asyncio
import logging

import pytest

from ingest.clock import unix_us
from ingest.errors import IdsTaken
from ingest.events.batch import Batch
from ingest.outbox.base import COUNTED_MAX, Backlog
from ingest.store.base import Store
from tests.contract.store.stores import Database, opened
from tests.unit.making import NOW_US, batch, event

LEASE_SECONDS = 30.0
SHORT_LEASE_SECONDS = 0.2
WAIT_SECONDS = 60
OLD_SECONDS = 90


async def entry(store: Store, number: int = 0, *, events: int = 1, lease_seconds: float = 0.0) -> int:
    """Commit a batch, and return its first id. A higher number makes a newer batch."""
    made = batch(events, us=NOW_US + number * 1_000_000)
    await store.commit(made, lease_seconds=lease_seconds, settled=[])
    return made.first_id


async def waiting(store: Store) -> list[Batch]:
    """The batches of all entries, with those that are leased."""
    ids = batch(8).ids
    return await store.read([*ids, *batch(8, us=NOW_US + 1000).ids])


async def test_entry_cannot_be_claimed_while_its_lease_runs(store: Store) -> None:
    await entry(store, lease_seconds=LEASE_SECONDS)

    assert await store.claim(10, LEASE_SECONDS) == []


async def test_entry_without_a_lease_is_claimed_at_once(store: Store) -> None:
    first_id = await entry(store)

    assert await store.claim(10, LEASE_SECONDS) == [first_id]


async def test_entry_stays_if_only_the_first_events_of_its_batch_are_published(
    store: Store, database: Database
) -> None:
    """The database made the commit late, and the worker had cut the batch meanwhile."""
    whole, other = batch(3), batch(2, us=NOW_US + 1000)
    await store.commit(whole, lease_seconds=LEASE_SECONDS, settled=[])
    await store.commit(other, lease_seconds=LEASE_SECONDS, settled=[])

    await store.insert_published([whole.part(0, 2), other])
    assert await waiting(store) == [whole.part(2, 3)]
    assert len(database.rows()) == 5


async def test_part_of_a_stored_batch_has_an_entry_of_its_own(store: Store, database: Database) -> None:
    """The database made the commit late. The worker has committed the events with keys again, without the others."""
    whole = batch(4)
    await store.commit(whole, lease_seconds=LEASE_SECONDS, settled=[])

    await store.commit(whole.picked([0, 2]), lease_seconds=LEASE_SECONDS, settled=[])
    assert await waiting(store) == [whole.picked([0, 2]), whole.picked([1, 3])]
    assert [row[:2] for row in database.entries()] == [(whole.ids[0], 2), (whole.ids[1], 2)]

    assert await store.claim(10, LEASE_SECONDS) == [whole.ids[1]]  # the part has its worker's lease
    await store.settle([whole.first_id])
    assert await waiting(store) == [whole.picked([1, 3])]
    assert [row[0] for row in database.rows()] == whole.ids


async def test_entry_is_divided_again(store: Store) -> None:
    whole = batch(3)
    await store.commit(whole, lease_seconds=LEASE_SECONDS, settled=[])

    for part in (whole.part(0, 2), whole.part(0, 1), whole.part(0, 1), whole.part(1, 3)):
        await store.commit(part, lease_seconds=LEASE_SECONDS, settled=[])

    assert await waiting(store) == [whole.part(0, 1), whole.part(1, 2), whole.part(2, 3)]


async def test_claimed_entry_is_not_claimed_again_while_its_lease_runs(store: Store) -> None:
    await entry(store)
    await store.claim(10, LEASE_SECONDS)

    assert await store.claim(10, LEASE_SECONDS) == []


async def test_entry_is_claimed_again_once_its_lease_ran_out(store: Store, database: Database) -> None:
    first_id = await entry(store)
    await store.claim(10, LEASE_SECONDS)
    database.expire("ingest_outbox")

    assert await store.claim(10, LEASE_SECONDS) == [first_id]
    assert database.entries() == [(first_id, 1, 2)]


async def test_lease_runs_out_by_itself(store: Store) -> None:
    first_id = await entry(store, lease_seconds=SHORT_LEASE_SECONDS)

    async with asyncio.timeout(WAIT_SECONDS):
        while not (claimed := await store.claim(10, LEASE_SECONDS)):  # noqa: ASYNC110 - only time ends it
            await asyncio.sleep(0.02)

    assert claimed == [first_id]


async def test_lease_of_a_clock_that_was_ahead_holds_nothing_back(store: Store) -> None:
    first_id = await entry(store, lease_seconds=40 * 86_400)

    assert await store.claim(10, LEASE_SECONDS) == [first_id]
    assert await store.claim(10, LEASE_SECONDS) == []


async def test_oldest_entries_are_claimed_first(store: Store) -> None:
    first_ids = [await entry(store, number) for number in range(5)]

    assert await store.claim(2, LEASE_SECONDS) == first_ids[:2]
    assert await store.claim(2, LEASE_SECONDS) == first_ids[2:4]
    assert await store.claim(2, LEASE_SECONDS) == first_ids[4:]


async def test_claimers_never_share_an_entry(database: Database) -> None:
    async with opened(*(database.store() for _ in range(3))) as stores:
        first_ids = [await entry(stores[0], number) for number in range(40)]

        async def claim_all(store: Store) -> list[int]:
            claimed: list[int] = []
            while len(claimed) < len(first_ids) and (more := await store.claim(3, LEASE_SECONDS)):
                claimed += more
            return claimed

        claims = await asyncio.gather(*map(claim_all, stores))
        rest = await claim_all(stores[0])  # the entries that two skipped, because a third had locked them

    assert sorted(sum(claims, rest)) == first_ids


async def test_read_gives_batches_oldest_first(store: Store) -> None:
    first_ids = [await entry(store, number, events=2) for number in range(3)]

    found = await store.read([first_ids[2], first_ids[0], first_ids[1]])

    assert [one.first_id for one in found] == first_ids
    assert [len(one) for one in found] == [2, 2, 2]


async def test_batch_is_read_as_it_was_committed(store: Store) -> None:
    made = batch([event("it's 📞", note="'\\"), event("call-2", "call_ended", duration=7)])
    await store.commit(made, lease_seconds=0, settled=[])

    (found,) = await store.read([made.first_id])

    assert found == Batch(list(made.ids), list(made.events), made.created_us)


async def test_read_leaves_out_settled_and_unknown_entries(store: Store) -> None:
    kept, settled = await entry(store, 0), await entry(store, 1)
    await store.settle([settled])

    assert [one.first_id for one in await store.read([settled, kept, 77])] == [kept]
    assert await store.read([]) == []


async def test_damaged_entry_is_reported_and_the_others_are_read(
    store: Store, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, sound = await entry(store, 0), await entry(store, 1)
    database.query(f"UPDATE ingest_outbox SET batch = X'C0' WHERE first_id = {damaged}")

    with caplog.at_level(logging.ERROR, "ingest.outbox"):
        found = await store.read([damaged, sound])

    assert [one.first_id for one in found] == [sound]
    assert [record.first_id for record in caplog.records] == [damaged]  # type: ignore[attr-defined]  # from `extra`


async def test_settled_entries_are_forgotten_and_their_rows_kept(store: Store, database: Database) -> None:
    first_ids = [await entry(store, number) for number in range(3)]

    await store.settle([first_ids[0], first_ids[2], 77])

    assert [row[0] for row in database.entries()] == [first_ids[1]]
    assert [row[0] for row in database.rows()] == first_ids


async def test_settling_nothing_is_fine(store: Store, database: Database) -> None:
    first_id = await entry(store)

    await store.settle([])
    await store.settle([77])

    assert [row[0] for row in database.entries()] == [first_id]


async def test_commit_settles_earlier_entries(store: Store, database: Database) -> None:
    settled, kept = await entry(store, 0), await entry(store, 1)
    made = batch(1, slot=2)

    await store.commit(made, lease_seconds=LEASE_SECONDS, settled=[settled, 77])

    assert sorted(row[0] for row in database.entries()) == sorted([kept, made.first_id])


async def test_commit_of_a_stored_batch_settles_earlier_entries(store: Store, database: Database) -> None:
    first_id, stored = await entry(store), batch(2, us=NOW_US + 1000)
    await store.commit(stored, lease_seconds=LEASE_SECONDS, settled=[])

    await store.commit(stored, lease_seconds=LEASE_SECONDS, settled=[first_id])

    assert [row[0] for row in database.entries()] == [stored.first_id]


async def test_backlog_counts_events_and_tells_the_age_of_the_oldest(store: Store) -> None:
    assert await store.backlog() == Backlog()
    now = unix_us()
    for count, age_seconds in ((3, OLD_SECONDS), (2, 1)):
        made = batch(count, us=now - age_seconds * 1_000_000)
        await store.commit(made, lease_seconds=LEASE_SECONDS, settled=[])

    backlog = await store.backlog()

    assert (backlog.events, backlog.entries) == (5, 2)
    assert OLD_SECONDS <= backlog.age_seconds < OLD_SECONDS + WAIT_SECONDS


async def test_large_backlog_is_estimated_and_no_less_than_what_was_counted(store: Store, database: Database) -> None:
    rows = ",".join(f"({first_id}, 3, '2025-01-01', 'x')" for first_id in range(1, COUNTED_MAX + 2001))
    database.query(f"INSERT INTO ingest_outbox (first_id, count, lease_until, batch) VALUES {rows}")

    backlog = await store.backlog()

    assert COUNTED_MAX <= backlog.entries < 2 * COUNTED_MAX
    assert backlog.events == 3 * backlog.entries


async def test_age_of_an_entry_from_a_clock_ahead_is_zero(store: Store) -> None:
    await store.commit(batch(1, us=unix_us() + 3_600_000_000), lease_seconds=0, settled=[])

    assert await store.backlog() == Backlog(1, 0.0, 1)


async def test_batch_that_is_published_already_gets_rows_and_no_entry(store: Store, database: Database) -> None:
    made = batch(3)
    await store.insert_published([made])

    assert [row[0] for row in database.rows()] == made.ids
    assert database.entries() == []


async def test_published_batch_takes_along_the_entry_of_an_earlier_try(store: Store, database: Database) -> None:
    """The outcome of the first try was unknown, so the batch went to the spool and was published from there."""
    made = batch(3)
    await store.commit(made, lease_seconds=LEASE_SECONDS, settled=[])

    await store.insert_published([made])

    assert [row[0] for row in database.rows()] == made.ids
    assert database.entries() == []


async def test_batches_of_which_some_are_there_are_restored_together(store: Store, database: Database) -> None:
    made = [batch(2, us=NOW_US + number * 1000) for number in range(3)]
    await store.commit(made[1], lease_seconds=LEASE_SECONDS, settled=[])

    await store.insert_published(made)
    await store.insert_published(made)

    assert [row[0] for row in database.rows()] == [event_id for one in made for event_id in one.ids]
    assert [row[4] for row in database.rows()][::2] == sorted({row[4] for row in database.rows()})
    assert database.entries() == []


async def test_restore_takes_no_ids_of_other_events(store: Store, database: Database) -> None:
    theirs, ours = batch([event("call-1")]), batch([event("call-2")])
    await store.insert_published([theirs])

    with pytest.raises(IdsTaken):
        await store.insert_published([ours])

    assert database.call_ids() == ["call-1"]
