"""A worker makes no more ids of a slot before anything by which another worker could have it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.errors import StoreError, StoreUnavailable
from ingest.events.ids import CLOCKS_APART_MS_MAX
from ingest.files.atomic import replace_file
from ingest.store.base import SlotLease
from tests.unit.fakes import FakeClock, FakeStore, until
from tests.unit.making import batch
from tests.unit.pipeline.test_identity import SLOT, Life, folder, leased

__all__ = ["folder"]


class ReleasingStore(FakeStore):
    """Notes which ids are in use while a slot is released. Another worker may have it before the answer."""

    def __init__(self) -> None:
        super().__init__()
        self.in_use: Callable[[], object] = lambda: None
        self.used: list[object] = []

    async def release_slot(self, lease: SlotLease, keep_seconds: float) -> None:
        self.used.append(self.in_use())
        await super().release_slot(lease, keep_seconds)


@pytest.mark.parametrize("errors", [[], [StoreUnavailable("Away.")]])
async def test_no_ids_are_made_of_a_slot_while_it_is_released(
    folder: Path, clock: FakeClock, errors: list[StoreError]
) -> None:
    store = ReleasingStore()
    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    store.slot_errors.append(StoreUnavailable("Away."))
    life = Life(folder, store, clock)
    store.in_use = lambda: life.ids
    life.begin()
    await until(lambda: not store.slot_errors)
    assert life.ids
    clock.advance(2 * CLOCKS_APART_MS_MAX / 1000)
    life.ids.take(1)
    clock.advance(-2 * CLOCKS_APART_MS_MAX / 1000)
    store.slot_errors += errors  # the outcome is unknown

    await until(lambda: life.slot == SLOT + 1)

    assert store.used == [None]
    await life.end()


@pytest.mark.parametrize("found_by", ["renewal", "commit"])
async def test_no_ids_are_made_of_a_slot_while_it_is_given_up(
    folder: Path, store: FakeStore, clock: FakeClock, found_by: str
) -> None:
    used: list[object] = []

    def replace(path: Path, content: bytes) -> None:
        if path.name == "node-id" and path.exists():
            used.append(life.ids)
        replace_file(path, content)

    store.leases += [leased(clock), leased(clock, SLOT + 1)]
    store.slot_lost = found_by == "renewal"
    life = Life(folder, store, clock, replace=replace)
    life.begin()
    if not store.slot_lost:
        await until(lambda: life.ids and store.renewed)
        assert life.ids
        await life.identity.give_up(batch().renamed(life.ids))

    await until(lambda: life.slot == SLOT + 1)

    assert used == [None]
    await life.end()
