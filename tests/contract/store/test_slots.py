"""The contract of every store's id slots (`ingest.store.base`), tested on each database."""

import asyncio

import msgspec
import pytest

from ingest.clock import unix_us
from ingest.errors import StoreError
from ingest.events.ids import CLOCKS_APART_MS_MAX, LEASED_SLOTS_MAX, milliseconds_of
from ingest.store.base import SlotLease, Store
from tests.contract.store.stores import Database, opened
from tests.unit.making import batch

LEASE_SECONDS = 3600.0
NODE, OTHER_NODE = "11111111-1111-1111-1111-111111111111", "22222222-2222-2222-2222-222222222222"
LIFE, OTHER_LIFE = "1" * 32, "2" * 32
FLOOR_MS = 1_738_331_100_000
WORKERS = 12


def with_last_issued(lease: SlotLease, last_issued_ms: int) -> SlotLease:
    return msgspec.structs.replace(lease, last_issued_ms=last_issued_ms)


async def test_lease_names_its_owner_and_its_end(store: Store) -> None:
    before_ms = unix_us() // 1000

    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)

    assert (lease.node, lease.last_issued_ms) == (NODE, 0)
    assert before_ms + LEASE_SECONDS * 1000 <= lease.until_ms <= unix_us() // 1000 + LEASE_SECONDS * 1000


async def test_held_slots_are_not_leased_again(store: Store) -> None:
    leases = [await store.lease_slot(NODE, LIFE, LEASE_SECONDS) for _ in range(3)]

    assert [lease.slot for lease in leases] == [0, 1, 2]


async def test_workers_that_start_at_once_get_slots_of_their_own(database: Database) -> None:
    async with opened(*(database.store() for _ in range(WORKERS))) as stores:
        leases = await asyncio.gather(*(store.lease_slot(NODE, LIFE, LEASE_SECONDS) for store in stores))

    assert sorted(lease.slot for lease in leases) == list(range(WORKERS))


async def test_workers_that_start_at_once_share_out_expired_slots(database: Database) -> None:
    async with opened(*(database.store() for _ in range(WORKERS))) as stores:
        for _ in range(WORKERS // 2):
            await stores[0].lease_slot(NODE, LIFE, LEASE_SECONDS)
        database.expire("ingest_slots")

        leases = await asyncio.gather(*(store.lease_slot(OTHER_NODE, OTHER_LIFE, LEASE_SECONDS) for store in stores))

    assert len({lease.slot for lease in leases}) == WORKERS


async def test_renewal_extends_the_lease_and_stores_the_last_issued_time(store: Store, database: Database) -> None:
    lease = await store.lease_slot(NODE, LIFE, 0.0)

    renewed = await store.renew_slot(with_last_issued(lease, FLOOR_MS), LIFE, LEASE_SECONDS)

    assert renewed is not None
    assert (renewed.slot, renewed.node, renewed.last_issued_ms) == (lease.slot, NODE, FLOOR_MS)
    assert renewed.until_ms >= lease.until_ms + LEASE_SECONDS * 1000
    assert (await store.lease_slot(OTHER_NODE, OTHER_LIFE, LEASE_SECONDS)).slot != lease.slot


async def test_last_issued_time_never_goes_down(store: Store, database: Database) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    await store.renew_slot(with_last_issued(lease, FLOOR_MS), LIFE, LEASE_SECONDS)
    await store.renew_slot(with_last_issued(lease, 1), LIFE, LEASE_SECONDS)

    assert database.query("SELECT floor_ms FROM ingest_slots") == [(FLOOR_MS,)]


async def test_expired_slot_is_leased_again_with_its_last_issued_time(store: Store, database: Database) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    await store.renew_slot(with_last_issued(lease, FLOOR_MS), LIFE, LEASE_SECONDS)
    database.expire("ingest_slots")

    again = await store.lease_slot(OTHER_NODE, OTHER_LIFE, LEASE_SECONDS)

    assert (again.slot, again.node, again.last_issued_ms) == (lease.slot, OTHER_NODE, FLOOR_MS)


async def test_slot_that_another_node_took_is_lost(store: Store, database: Database) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    database.expire("ingest_slots")
    taken = await store.lease_slot(OTHER_NODE, OTHER_LIFE, LEASE_SECONDS)

    assert await store.renew_slot(with_last_issued(lease, FLOOR_MS), LIFE, LEASE_SECONDS) is None
    assert await store.renew_slot(taken, OTHER_LIFE, LEASE_SECONDS) is not None


async def test_own_expired_slot_is_renewed_unless_another_worker_has_it(store: Store, database: Database) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    database.expire("ingest_slots")

    assert await store.renew_slot(lease, LIFE, LEASE_SECONDS) is not None
    assert (await store.lease_slot(OTHER_NODE, OTHER_LIFE, LEASE_SECONDS)).slot != lease.slot


async def test_unknown_slot_is_lost(store: Store) -> None:
    assert await store.renew_slot(SlotLease(5, NODE, 0, 0), LIFE, LEASE_SECONDS) is None


async def test_leasing_fails_when_all_slots_are_held(store: Store, database: Database) -> None:
    database.query(f"INSERT INTO ingest_slots VALUES ({LEASED_SLOTS_MAX - 1}, '{NODE}', '2999-01-01', 0, '')")

    with pytest.raises(StoreError, match=f"All {LEASED_SLOTS_MAX} id slots"):
        await store.lease_slot(NODE, LIFE, LEASE_SECONDS)


async def test_only_one_of_two_lives_with_one_name_keeps_the_slot(store: Store) -> None:
    """Two copies of a data folder or of a machine have the same node id and the same lease."""
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)

    renewed = await store.renew_slot(lease, "a", LEASE_SECONDS)
    assert renewed is not None
    assert await store.renew_slot(lease, "b", LEASE_SECONDS) is None
    assert await store.renew_slot(renewed, "c", LEASE_SECONDS) is not None


async def test_renewal_of_unknown_outcome_is_repeated(store: Store) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    await store.renew_slot(lease, OTHER_LIFE, LEASE_SECONDS)

    again = await store.renew_slot(lease, OTHER_LIFE, LEASE_SECONDS)

    assert again is not None
    assert again.life == OTHER_LIFE


async def test_released_slot_is_leased_again_with_its_last_issued_time(store: Store) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    await store.release_slot(with_last_issued(lease, FLOOR_MS), 0.0)
    await asyncio.sleep(0.002)  # leases end by the millisecond

    again = await store.lease_slot(OTHER_NODE, OTHER_LIFE, LEASE_SECONDS)

    assert (again.slot, again.last_issued_ms) == (lease.slot, FLOOR_MS)


async def test_slot_of_another_life_is_not_released(store: Store) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    await store.renew_slot(lease, OTHER_LIFE, LEASE_SECONDS)
    await store.release_slot(lease, 0.0)
    await asyncio.sleep(0.002)  # leases end by the millisecond

    assert (await store.lease_slot(OTHER_NODE, OTHER_LIFE, LEASE_SECONDS)).slot != lease.slot


async def test_last_issued_time_is_the_newest_events_if_the_table_of_slots_knows_less(store: Store) -> None:
    made = batch(us=unix_us() + 60_000_000, slot=0)
    await store.commit(made, lease_seconds=0.0, settled=[])

    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)

    assert (lease.slot, lease.last_issued_ms) == (0, milliseconds_of(made.last_id))


async def test_ids_far_ahead_of_the_clock_raise_no_last_issued_time(store: Store) -> None:
    await store.commit(batch(us=unix_us() + 40 * 86_400_000_000), lease_seconds=0.0, settled=[])

    assert (await store.lease_slot(NODE, LIFE, LEASE_SECONDS)).last_issued_ms == 0


async def test_slot_whose_ids_are_far_ahead_of_the_clock_is_not_leased(store: Store, database: Database) -> None:
    lease = await store.lease_slot(NODE, LIFE, LEASE_SECONDS)
    ahead_ms = unix_us() // 1000 + 2 * CLOCKS_APART_MS_MAX
    await store.renew_slot(with_last_issued(lease, ahead_ms), OTHER_LIFE, LEASE_SECONDS)
    database.expire("ingest_slots")

    again = await store.lease_slot(OTHER_NODE, LIFE, LEASE_SECONDS)

    assert (again.slot, again.last_issued_ms) == (lease.slot + 1, 0)


async def test_earlier_version_beside_this_one_loses_and_takes_slots_as_this_does(
    store: Store, database: Database
) -> None:
    """An earlier version does not use `life`: it compares the node only, and does not change the column."""
    database.query(
        f"INSERT INTO ingest_slots (slot, node, lease_until, floor_ms) VALUES (0, '{NODE}', '2999-01-01', 0)"
    )
    mine = await store.lease_slot(OTHER_NODE, LIFE, LEASE_SECONDS)
    assert mine.slot == 1
    database.query(f"UPDATE ingest_slots SET node = '{NODE}' WHERE slot = 1")

    assert await store.renew_slot(mine, OTHER_LIFE, LEASE_SECONDS) is None
