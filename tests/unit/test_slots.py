from pathlib import Path

import msgspec
import pytest

from ingest.errors import StoreUnavailable
from ingest.slots import LEASE_SECONDS, RESERVE_MS, SlotKeeper
from ingest.store.base import SlotLease
from tests.unit.fakes import FakeClock, FakeStore

SLOT = 7


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "slots"


@pytest.fixture
def keeper(folder: Path, store: FakeStore, clock: FakeClock) -> SlotKeeper:
    return SlotKeeper(folder, store, clock.now_us)


def now_ms(clock: FakeClock) -> int:
    return clock.us // 1000


def leased(clock: FakeClock, slot: int = SLOT, floor_ms: int = 0) -> SlotLease:
    """A lease that begins now; the store fills in the node."""
    return SlotLease(slot, "", now_ms(clock) + int(LEASE_SECONDS * 1000), floor_ms)


def note(folder: Path, content: bytes) -> None:
    """Leave something in the file that remembers the slot."""
    folder.mkdir()
    (folder / f"slot-{SLOT:04}.json").write_bytes(content)


async def test_first_slot_is_leased_from_the_store(keeper: SlotKeeper, store: FakeStore, clock: FakeClock) -> None:
    store.leases.append(leased(clock, floor_ms=5))

    lease = await keeper.acquire()

    assert (lease.slot, lease.floor_ms) == (SLOT, 5)
    assert lease.node
    assert keeper.lease == lease


async def test_no_slot_while_the_database_is_away(keeper: SlotKeeper, store: FakeStore) -> None:
    store.leases.append(StoreUnavailable())

    with pytest.raises(StoreUnavailable):
        await keeper.acquire()
    assert keeper.lease is None


async def test_slot_is_remembered_without_the_database(
    folder: Path, keeper: SlotKeeper, store: FakeStore, clock: FakeClock
) -> None:
    store.leases.append(leased(clock))
    first = await keeper.acquire()
    keeper.record(now_ms(clock))
    keeper.release()

    again = await SlotKeeper(folder, store, clock.now_us).acquire()

    assert (again.slot, again.node) == (first.slot, first.node)
    assert again.floor_ms == now_ms(clock)  # no id up to the last one is made again


async def test_expired_lease_is_not_used(folder: Path, keeper: SlotKeeper, store: FakeStore, clock: FakeClock) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    await keeper.acquire()
    keeper.release()
    clock.advance(LEASE_SECONDS - 30)

    assert (await SlotKeeper(folder, store, clock.now_us).acquire()).slot == SLOT + 1


@pytest.mark.parametrize("content", [b"", b"{", b'{"slot": 7}'])
async def test_damaged_note_costs_a_new_slot_and_no_more(
    folder: Path, keeper: SlotKeeper, store: FakeStore, clock: FakeClock, content: bytes
) -> None:
    note(folder, content)
    store.leases.append(leased(clock, SLOT + 1))

    assert (await keeper.acquire()).slot == SLOT + 1


async def test_note_of_another_folder_is_not_used(
    folder: Path, keeper: SlotKeeper, store: FakeStore, clock: FakeClock
) -> None:
    note(folder, msgspec.json.encode(msgspec.structs.replace(leased(clock), node="another")))
    store.leases.append(leased(clock, SLOT + 1))

    assert (await keeper.acquire()).slot == SLOT + 1


async def test_floor_far_ahead_of_the_clock_is_not_believed(
    folder: Path, keeper: SlotKeeper, store: FakeStore, clock: FakeClock
) -> None:
    store.leases.append(leased(clock))
    await keeper.acquire()
    keeper.record(now_ms(clock) + 10 * RESERVE_MS)
    keeper.release()

    again = await SlotKeeper(folder, store, clock.now_us).acquire()

    assert again.floor_ms == now_ms(clock) + RESERVE_MS


async def test_renewal_tells_the_store_the_newest_id(keeper: SlotKeeper, store: FakeStore, clock: FakeClock) -> None:
    store.leases.append(leased(clock))
    await keeper.acquire()

    assert await keeper.renew(now_ms(clock) + 1)
    assert await keeper.renew(now_ms(clock))  # a floor never sinks

    assert [lease.floor_ms for lease in store.renewed] == [now_ms(clock) + 1] * 2


async def test_slot_lost_to_another_node_is_forgotten(keeper: SlotKeeper, store: FakeStore, clock: FakeClock) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    await keeper.acquire()
    store.slot_lost = True

    assert not await keeper.renew(now_ms(clock))
    assert keeper.lease is None
    assert (await keeper.acquire()).slot == SLOT + 1


async def test_keepers_of_one_folder_share_its_name_and_no_slot(
    folder: Path, keeper: SlotKeeper, store: FakeStore, clock: FakeClock
) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    one = await keeper.acquire()
    other = await SlotKeeper(folder, store, clock.now_us).acquire()

    assert one.node == other.node
    assert one.slot != other.slot


async def test_slot_of_a_live_worker_is_not_remembered_by_another_when_its_lock_was_deleted(
    folder: Path, keeper: SlotKeeper, store: FakeStore, clock: FakeClock
) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    one = await keeper.acquire()
    (folder / f"slot-{SLOT:04}.lock").unlink()

    other = await SlotKeeper(folder, store, clock.now_us).acquire()

    assert one.slot != other.slot
