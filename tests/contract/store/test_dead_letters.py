"""The contract of every store's dead letters (`ingest.outbox.dead_letters`), tested on each database."""

import msgspec
import pytest

from ingest.errors import StoreError
from ingest.store.base import Store
from tests.contract.store.stores import Database
from tests.unit.making import NOW_US, batch

LEASE_SECONDS = 30.0


async def test_dead_letters_are_kept_with_their_reason(store: Store) -> None:
    made = msgspec.structs.replace(batch(3), producer=7)
    await store.add_dead(made, "too large: it's é")
    await store.add_dead(made, "again")

    letters = await store.dead_letters(0, 10)

    assert [(letter.event_id, letter.reason) for letter in letters] == [(i, "too large: it's é") for i in made.ids]
    assert [letter.batch and (letter.batch.ids, letter.batch.events, letter.batch.producer) for letter in letters] == [
        ([event_id], [event], 0) for event_id, event in zip(made.ids, made.events, strict=True)
    ]
    assert {letter.dead_lettered_us > 0 for letter in letters} == {True}
    assert await store.count_dead() == 3


async def test_dead_letters_are_read_in_pages(store: Store) -> None:
    made = batch(3)
    await store.add_dead(made, "refused")
    assert [letter.event_id for letter in await store.dead_letters(0, 2)] == made.ids[:2]
    assert [letter.event_id for letter in await store.dead_letters(made.ids[1], 2)] == made.ids[2:]


async def test_requeued_letters_are_in_the_outbox_again(store: Store) -> None:
    made = batch(3)
    await store.add_dead(made, "refused")

    assert await store.requeue_dead([made.ids[0], made.ids[2], 1]) == 2

    assert await store.claim(10, LEASE_SECONDS) == [made.ids[0], made.ids[2]]
    assert [one.events for one in await store.read([made.ids[2]])] == [made.events[2:]]
    assert [letter.event_id for letter in await store.dead_letters(0, 10)] == [made.ids[1]]


async def test_letter_whose_entry_still_exists_is_not_requeued(store: Store, database: Database) -> None:
    made = batch(1, us=NOW_US)
    await store.commit(made, lease_seconds=LEASE_SECONDS, settled=[])
    await store.add_dead(made, "refused")
    with pytest.raises(StoreError):
        await store.requeue_dead(made.ids)
    assert await store.count_dead() == 1
    assert len(database.entries()) == 1


async def test_dropped_letters_are_forgotten(store: Store) -> None:
    made = batch(2)
    await store.add_dead(made, "refused")
    assert await store.drop_dead([made.ids[0], 1]) == 1
    assert await store.count_dead() == 1
    assert await store.drop_dead([]) == 0
    assert await store.requeue_dead([]) == 0
