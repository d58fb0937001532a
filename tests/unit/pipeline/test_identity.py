"""The ids of a worker while slots come and go."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from ingest.errors import StoreError, StoreUnavailable
from ingest.events.ids import CLOCKS_APART_MS_MAX, LEASED_SLOTS_MAX, IdGenerator
from ingest.files.atomic import replace_file
from ingest.pipeline.id_lease import LEASE_SECONDS, IdLease
from ingest.pipeline.identity import Identity
from ingest.store.base import ALL_LEASED, SlotLease
from ingest.tasks import end
from tests.unit.fakes import FakeClock, FakeStore, until
from tests.unit.making import batch
from tests.unit.pipeline.test_id_lease import FakeMachine

SLOT = 7
PROVISIONAL_SLOT = LEASED_SLOTS_MAX + 3


class Life:
    """One life of a worker: its running identity, and the ids that it is to use."""

    def __init__(
        self,
        folder: Path,
        store: FakeStore,
        clock: FakeClock,
        provisional_slot: int | None = None,
        replace: Callable[[Path, bytes], None] = replace_file,
    ) -> None:
        self.slots = IdLease(folder, store, clock.now_us, FakeMachine(clock), replace)
        self.identity = Identity(self.slots, clock.now_us, provisional_slot, 0.0)
        self.ids: IdGenerator | None = None
        self.identity.use_ids = self._use
        self._task: asyncio.Task[None] | None = None

    def _use(self, ids: IdGenerator | None) -> None:
        self.ids = ids

    def begin(self) -> None:
        self._task = asyncio.create_task(self.identity.run())

    async def end(self) -> None:
        if self._task:
            await end([self._task])

    @property
    def slot(self) -> int | None:
        return self.ids.slot if self.ids else None


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "slots"


@pytest.fixture
async def life(folder: Path, store: FakeStore, clock: FakeClock) -> AsyncIterator[Life]:
    made = Life(folder, store, clock)
    yield made
    await made.end()


def leased(clock: FakeClock, slot: int = SLOT) -> SlotLease:
    return SlotLease(slot, "", clock.us // 1000 + int(LEASE_SECONDS * 1000), 0)


async def test_slot_is_leased_as_soon_as_the_database_is_there(
    life: Life, store: FakeStore, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    store.leases += [StoreUnavailable("Away."), StoreUnavailable("Away."), leased(clock)]
    with caplog.at_level(logging.WARNING):
        life.begin()
        await until(lambda: len(store.leases) < 3)
        assert life.identity.problem == "no id slot yet: one is leased as soon as the database is there"
        assert life.ids is None

        await until(lambda: life.slot == SLOT)

    assert life.identity.problem is None
    assert [record.getMessage() for record in caplog.records] == ["no id slot"]


async def test_reason_is_logged(life: Life, store: FakeStore) -> None:
    store.leases += [StoreError(ALL_LEASED) for _ in range(100)]

    life.begin()

    await until(lambda: life.identity.problem == f"no id slot yet: {ALL_LEASED}")


async def test_slot_lost_to_another_life_is_replaced(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.slot_lost = True
    store.leases += [leased(clock), leased(clock, SLOT + 1)]

    life.begin()

    await until(lambda: life.slot == SLOT + 1)


async def test_taken_ids_give_up_slot_and_name(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    life.begin()
    await until(lambda: life.ids)
    assert life.ids
    assert life.slots.lease
    node, taken = life.slots.lease.node, batch(slot=SLOT).renamed(life.ids)

    await life.identity.give_up(taken)
    assert life.slot == SLOT + 1
    assert life.slots.lease.node != node
    await life.identity.give_up(taken)  # another writer's batch, made before

    assert life.slot == SLOT + 1


async def test_without_other_ids_there_are_none(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.leases += [leased(clock), StoreUnavailable("Away.")]
    life.begin()
    await until(lambda: life.ids)
    assert life.ids

    with pytest.raises(StoreError, match="Away"):
        await life.identity.give_up(batch().renamed(life.ids))
    assert life.ids is None


async def test_lease_ends_with_a_clean_stop(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.leases.append(leased(clock))
    life.begin()
    await until(lambda: life.ids and store.renewed)
    assert life.ids
    last_ms = life.ids.last_ms
    await life.end()

    await life.identity.release()

    assert [(lease.slot, lease.last_issued_ms, seconds) for lease, seconds in store.released] == [(SLOT, last_ms, 0.0)]


async def test_stop_does_not_fail_without_the_database(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.leases.append(leased(clock))
    life.begin()
    await until(lambda: life.ids and store.renewed)
    await life.end()
    store.slot_errors.append(StoreUnavailable("Away."))

    await life.identity.release()

    assert store.released == []
    assert life.slots.lock is None


async def test_stop_does_not_fail_while_the_slot_is_given_up(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.leases.append(leased(clock))
    life.begin()
    await until(lambda: life.ids and store.renewed)
    await life.slots.give_up()
    await life.end()

    await life.identity.release()

    assert store.released == []


async def test_slot_is_not_used_beyond_its_lease(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.leases += [leased(clock), *(StoreUnavailable("Away.") for _ in range(100))]
    store.slot_errors += [StoreUnavailable("Away.") for _ in range(100)]
    life.begin()
    await until(lambda: len(store.slot_errors) < 100)
    assert life.slot == SLOT

    clock.advance(LEASE_SECONDS)

    await until(lambda: life.ids is None)


async def test_slot_far_ahead_of_the_clock_is_left(life: Life, store: FakeStore, clock: FakeClock) -> None:
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    store.slot_errors.append(StoreUnavailable("Away."))
    life.begin()
    await until(lambda: not store.slot_errors)
    assert life.ids
    clock.advance(2 * CLOCKS_APART_MS_MAX / 1000)
    last = life.ids.take(1)[0]
    clock.advance(-2 * CLOCKS_APART_MS_MAX / 1000)

    await until(lambda: life.slot == SLOT + 1)

    assert life.ids.take(1)[0] < last
    assert store.released[0][0].last_issued_ms > clock.us // 1000 + CLOCKS_APART_MS_MAX


async def test_known_folder_makes_provisional_ids_until_there_is_a_slot(
    folder: Path, store: FakeStore, clock: FakeClock, life: Life
) -> None:
    store.leases.append(leased(clock))
    life.begin()
    await until(lambda: life.ids and store.renewed)
    await life.end()
    await life.identity.release()
    store.leases += [StoreUnavailable("Away."), leased(clock, SLOT + 1)]
    second = Life(folder, store, clock, PROVISIONAL_SLOT)

    second.begin()

    await until(lambda: second.slot == PROVISIONAL_SLOT)
    assert second.identity.problem
    await until(lambda: second.slot == SLOT + 1)
    assert second.identity.problem is None
    await second.end()


async def test_new_folder_makes_none(folder: Path, store: FakeStore, clock: FakeClock) -> None:
    store.leases += [StoreUnavailable("Away.") for _ in range(100)]
    first = Life(folder, store, clock, PROVISIONAL_SLOT)

    first.begin()
    await until(lambda: len(store.leases) < 99)

    assert first.ids is None
    await first.end()


async def test_events_get_new_ids(life: Life, store: FakeStore, clock: FakeClock) -> None:
    made = batch(3, slot=PROVISIONAL_SLOT)
    store.leases += [StoreUnavailable("Away."), leased(clock)]

    with pytest.raises(StoreUnavailable):
        await life.identity.renew_ids(made)
    named = await life.identity.renew_ids(made)

    assert made.provisional
    assert not named.provisional
    assert (named.slot, named.events, named.created_us) == (SLOT, made.events, made.created_us)
