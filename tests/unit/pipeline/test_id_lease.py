"""Which slot a worker has, and what its note in the data folder is worth."""

import asyncio
import errno
import shutil
import threading
from pathlib import Path

import msgspec
import pytest

from ingest.errors import StoreUnavailable
from ingest.events.ids import CLOCKS_APART_MS_MAX, LEASED_SLOTS_MAX
from ingest.files.atomic import replace_file
from ingest.files.evidence import Evidence, Machine
from ingest.pipeline.id_lease import LEASE_SECONDS, IdLease, Note
from ingest.store.base import SlotLease
from tests.unit.fakes import FakeClock, FakeStore

SLOT = 7


class FakeMachine(Machine):
    """A boot that the test chooses; its time goes with the clock unless that is set."""

    def __init__(self, clock: FakeClock) -> None:
        self.boot_id = "this boot"
        self.set_ms = 0
        self._clock = clock

    def boot(self) -> str:
        return self.boot_id

    def up_ms(self) -> int:
        return self._clock.us // 1000 - self.set_ms

    def set_clock(self, by_ms: int) -> None:
        self._clock.us += by_ms * 1000
        self.set_ms += by_ms


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "slots"


@pytest.fixture
def machine(clock: FakeClock) -> FakeMachine:
    return FakeMachine(clock)


@pytest.fixture
def id_lease(folder: Path, store: FakeStore, clock: FakeClock, machine: FakeMachine) -> IdLease:
    return IdLease(folder, store, clock.now_us, machine)


@pytest.fixture
def next_id_lease(folder: Path, store: FakeStore, clock: FakeClock, machine: FakeMachine) -> IdLease:
    """The next life on the same folder."""
    return IdLease(folder, store, clock.now_us, machine)


def now_ms(clock: FakeClock) -> int:
    return clock.us // 1000


def leased(clock: FakeClock, slot: int = SLOT, last_issued_ms: int = 0) -> SlotLease:
    """A lease that begins now; the store fills in the node and the life."""
    return SlotLease(slot, "", now_ms(clock) + int(LEASE_SECONDS * 1000), last_issued_ms)


def note_of(folder: Path) -> Note:
    return msgspec.json.decode((folder / f"slot-{SLOT:04}.json").read_bytes(), type=Note)


def write(folder: Path, content: bytes) -> None:
    (folder / f"slot-{SLOT:04}.json").write_bytes(content)


@pytest.fixture
async def killed(id_lease: IdLease, store: FakeStore, clock: FakeClock) -> SlotLease:
    """The lease of a killed worker."""
    store.leases.append(leased(clock))
    lease = await id_lease.take()
    assert id_lease.lock
    id_lease.lock.release()
    return lease


async def test_first_slot_is_leased_from_the_store(id_lease: IdLease, store: FakeStore, clock: FakeClock) -> None:
    store.leases.append(leased(clock, last_issued_ms=5))
    assert not id_lease.known
    assert await id_lease.recall() is None

    lease = await id_lease.take()

    assert (lease.slot, lease.last_issued_ms) == (SLOT, 5)
    assert lease.node
    assert lease.life
    assert id_lease.lease == lease
    assert id_lease.known


async def test_no_slot_while_the_database_is_away(id_lease: IdLease, store: FakeStore) -> None:
    store.leases.append(StoreUnavailable())

    with pytest.raises(StoreUnavailable):
        await id_lease.take()
    assert id_lease.lease is None


async def test_slot_is_remembered_without_the_database(killed: SlotLease, next_id_lease: IdLease) -> None:
    again = await next_id_lease.recall()

    assert again
    assert (again.slot, again.node, again.life) == (killed.slot, killed.node, killed.life)


async def test_copied_folder_has_no_slot_and_another_name(
    killed: SlotLease, folder: Path, store: FakeStore, clock: FakeClock, machine: FakeMachine
) -> None:
    copy = folder.with_name("copy")
    shutil.copytree(folder, copy)
    store.leases.append(leased(clock, SLOT + 1))
    id_lease = IdLease(copy, store, clock.now_us, machine)

    assert await id_lease.recall() is None
    assert (await id_lease.take()).node != killed.node


async def test_machine_that_was_started_anew_may_be_a_copy(
    killed: SlotLease, next_id_lease: IdLease, machine: FakeMachine
) -> None:
    machine.boot_id = "another boot"

    assert await next_id_lease.recall() is None


async def test_unknown_boot_proves_nothing(next_id_lease: IdLease, killed: SlotLease, machine: FakeMachine) -> None:
    machine.boot_id = ""

    assert await next_id_lease.recall() is None


async def test_expired_lease_is_not_used(killed: SlotLease, next_id_lease: IdLease, clock: FakeClock) -> None:
    clock.advance(LEASE_SECONDS - 30)

    assert await next_id_lease.recall() is None


async def test_lease_that_ends_too_late_was_noted_by_another_clock(
    killed: SlotLease, next_id_lease: IdLease, clock: FakeClock
) -> None:
    clock.advance(-3600)

    assert await next_id_lease.recall() is None


@pytest.mark.parametrize("content", [b"", b"{", b'{"slot": 7}', b'{"node": "\xff"}'])
async def test_damaged_note_costs_a_new_slot_and_no_more(
    killed: SlotLease, folder: Path, next_id_lease: IdLease, content: bytes
) -> None:
    write(folder, content)

    assert await next_id_lease.recall() is None


async def test_note_that_is_no_file_is_passed_over(killed: SlotLease, folder: Path, next_id_lease: IdLease) -> None:
    (folder / "slot-0000.json").mkdir()

    assert await next_id_lease.recall()


async def test_slots_that_are_never_leased_are_not_remembered(
    killed: SlotLease, folder: Path, next_id_lease: IdLease
) -> None:
    note = msgspec.structs.replace(note_of(folder), slot=LEASED_SLOTS_MAX)
    write(folder, msgspec.json.encode(note))

    assert await next_id_lease.recall() is None


async def test_note_of_an_earlier_version_proves_nothing(
    killed: SlotLease, folder: Path, next_id_lease: IdLease
) -> None:
    write(folder, msgspec.json.encode(msgspec.structs.replace(note_of(folder), evidence=Evidence())))

    assert await next_id_lease.recall() is None


@pytest.mark.parametrize("name", [b"", b"\xff\xfe", b"no id"])
async def test_damaged_name_of_the_folder_is_replaced(
    id_lease: IdLease, folder: Path, store: FakeStore, clock: FakeClock, name: bytes
) -> None:
    make_node_id(folder, name)
    store.leases.append(leased(clock))

    lease = await id_lease.take()

    assert len(lease.node) == 36
    assert (folder / "node-id").read_text() == lease.node


def make_node_id(folder: Path, name: bytes) -> None:
    folder.mkdir()
    (folder / "node-id").write_bytes(name)


async def test_slot_with_ids_far_ahead_of_the_clock_is_not_used(
    id_lease: IdLease, next_id_lease: IdLease, store: FakeStore, clock: FakeClock
) -> None:
    store.leases.append(leased(clock))
    await id_lease.take()
    await id_lease.renew(now_ms(clock) + 2 * CLOCKS_APART_MS_MAX)
    id_lease.let_go()

    assert await next_id_lease.recall() is None


async def test_ids_of_a_killed_worker_are_not_made_again_though_the_clock_went_back(
    killed: SlotLease, next_id_lease: IdLease, clock: FakeClock, machine: FakeMachine
) -> None:
    clock.advance(30)
    killed_ms = now_ms(clock)
    machine.set_clock(-20_000)

    again = await next_id_lease.recall()

    assert again
    assert again.last_issued_ms == killed_ms


async def test_renewal_tells_the_store_the_newest_id(id_lease: IdLease, store: FakeStore, clock: FakeClock) -> None:
    store.leases.append(leased(clock))
    first = await id_lease.take()

    assert await id_lease.renew(now_ms(clock) + 1)
    assert await id_lease.renew(now_ms(clock))  # a floor never sinks

    assert [lease.last_issued_ms for lease in store.renewed] == [now_ms(clock) + 1] * 2
    assert len({first.life, store.renewed[1].life, id_lease.lease and id_lease.lease.life}) == 3


async def test_renewal_of_unknown_outcome_is_known_to_the_next_life(
    id_lease: IdLease, next_id_lease: IdLease, folder: Path, store: FakeStore, clock: FakeClock
) -> None:
    store.leases.append(leased(clock))
    await id_lease.take()
    store.slot_errors.append(StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await id_lease.renew(now_ms(clock))
    perhaps = note_of(folder).next_life
    id_lease.let_go()

    assert await next_id_lease.recall()
    assert await next_id_lease.renew(now_ms(clock))

    assert perhaps
    assert next_id_lease.lease
    assert next_id_lease.lease.life == perhaps


async def test_slot_lost_to_another_life_is_forgotten(
    id_lease: IdLease, next_id_lease: IdLease, store: FakeStore, clock: FakeClock
) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    first = await id_lease.take()
    store.slot_lost = True

    assert not await id_lease.renew(now_ms(clock))
    await id_lease.give_up()
    assert id_lease.lease is None
    assert await next_id_lease.recall() is None
    again = await id_lease.take()
    assert again.slot == SLOT + 1
    assert again.node != first.node


async def test_released_slot_is_not_remembered_and_its_floor_is_kept(
    id_lease: IdLease, next_id_lease: IdLease, store: FakeStore, clock: FakeClock
) -> None:
    store.leases.append(leased(clock))
    await id_lease.take()

    await id_lease.release(now_ms(clock) + 5, 0.0)
    id_lease.let_go()

    assert [(lease.last_issued_ms, seconds) for lease, seconds in store.released] == [(now_ms(clock) + 5, 0.0)]
    assert await next_id_lease.recall() is None


async def test_slot_that_could_not_be_released_is_remembered(
    id_lease: IdLease, next_id_lease: IdLease, store: FakeStore, clock: FakeClock
) -> None:
    store.leases.append(leased(clock))
    await id_lease.take()
    store.slot_errors.append(StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await id_lease.release(now_ms(clock) + 5, 0.0)
    id_lease.let_go()

    again = await next_id_lease.recall()

    assert again
    assert again.last_issued_ms == now_ms(clock) + 5


async def test_leases_of_one_folder_share_its_name_and_no_slot(
    id_lease: IdLease, next_id_lease: IdLease, store: FakeStore, clock: FakeClock
) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    one = await id_lease.take()
    assert await next_id_lease.recall() is None
    other = await next_id_lease.take()

    assert one.node == other.node
    assert one.slot != other.slot


async def test_slot_of_a_live_worker_is_not_remembered_by_another_when_its_lock_was_deleted(
    folder: Path, id_lease: IdLease, next_id_lease: IdLease, store: FakeStore, clock: FakeClock
) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    one = await id_lease.take()
    (folder / f"slot-{SLOT:04}.lock").unlink()

    assert await next_id_lease.recall() is None
    assert (await next_id_lease.take()).slot != one.slot


async def test_slot_that_cannot_be_remembered_is_used_all_the_same(
    id_lease: IdLease, folder: Path, store: FakeStore, clock: FakeClock
) -> None:
    (folder / f"slot-{SLOT:04}.json").mkdir(parents=True)
    store.leases.append(leased(clock))

    assert (await id_lease.take()).slot == SLOT
    assert await id_lease.renew(now_ms(clock))


async def test_slot_is_given_up_though_the_disk_fails(
    folder: Path, store: FakeStore, clock: FakeClock, machine: FakeMachine, next_id_lease: IdLease
) -> None:
    def replace(path: Path, content: bytes) -> None:
        if path.name == "node-id" and path.exists():
            raise OSError(errno.EIO, "the disk fails")
        replace_file(path, content)

    store.leases += [leased(clock), leased(clock)]
    id_lease = IdLease(folder, store, clock.now_us, machine, replace)
    await id_lease.take()

    await id_lease.give_up()

    assert id_lease.lease is None
    assert (await next_id_lease.take()).slot == SLOT, "the slot's file is no longer locked"


async def test_slot_whose_lock_cannot_be_had_is_given_back(
    id_lease: IdLease, folder: Path, store: FakeStore, clock: FakeClock
) -> None:
    (folder / f"slot-{SLOT:04}.lock").mkdir(parents=True)
    store.leases.append(leased(clock))

    with pytest.raises(OSError, match="directory"):
        await id_lease.take()

    assert [lease.slot for lease, _ in store.released] == [SLOT]


async def test_slot_whose_file_another_process_has_is_given_back(
    id_lease: IdLease, next_id_lease: IdLease, store: FakeStore, clock: FakeClock
) -> None:
    """A restored table of slots may give out what a live worker of this folder has."""
    store.leases += [leased(clock), leased(clock)]
    await id_lease.take()

    with pytest.raises(Exception, match="another process"):
        await next_id_lease.take()

    assert [lease.slot for lease, _ in store.released] == [SLOT]


async def test_disk_that_stands_still_does_not_stop_the_loop(
    folder: Path, store: FakeStore, clock: FakeClock, machine: FakeMachine
) -> None:
    loop = asyncio.get_running_loop()
    begun, may_end = asyncio.Event(), threading.Event()

    def replace(path: Path, content: bytes) -> None:
        loop.call_soon_threadsafe(begun.set)
        may_end.wait()
        replace_file(path, content)

    id_lease = IdLease(folder, store, clock.now_us, machine, replace)
    store.leases.append(SlotLease(SLOT, "", now_ms(clock) + int(LEASE_SECONDS * 1000), 0))
    taking = asyncio.create_task(id_lease.take())
    await begun.wait()  # the loop goes on meanwhile
    assert not taking.done()
    may_end.set()

    lease = await taking
    assert (folder / f"slot-{lease.slot:04}.json").is_file()
