"""The contract of every store's idempotency keys (`ingest.store.base`), tested on each database."""

import asyncio

import pytest

from ingest.errors import DuplicateKeys
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.store.base import Store
from tests.contract.store.stores import Database, opened
from tests.unit.making import NOW_US, batch, event

SAME, OTHER = b"s" * 16, b"'\\\0".ljust(16)
AT_ONCE = 20


def keyed(call_id: str, key: bytes | None, fingerprint: bytes = SAME) -> Event:
    made = event(call_id)
    made.key = None if key is None else key.ljust(16, b"\0") + fingerprint
    return made


async def commit(store: Store, made: Batch) -> None:
    await store.commit(made, lease_seconds=30.0, settled=[])


async def duplicates(store: Store, made: Batch) -> dict[int, bool]:
    with pytest.raises(DuplicateKeys) as raised:
        await commit(store, made)
    return dict(raised.value.same)


async def test_key_is_kept_with_its_event_and_tells_the_next_one(store: Store, database: Database) -> None:
    await commit(store, batch([keyed("call-1", b"1"), keyed("call-2", None), keyed("call-3", b"'\\3", OTHER)]))

    again = batch(
        [keyed("new", b"new"), keyed("call-3", b"'\\3", OTHER), keyed("call-2", None), keyed("else", b"1", OTHER)],
        slot=2,
    )

    assert await duplicates(store, again) == {1: True, 3: False}
    assert database.call_ids() == ["call-1", "call-2", "call-3"]
    assert len(database.entries()) == 1


async def test_natural_keys_have_no_fingerprint(store: Store) -> None:
    await commit(store, batch([keyed("call-1", b"1", b"")]))

    assert await duplicates(store, batch([keyed("call-1", b"1", b"")], slot=2)) == {0: True}


async def test_commit_of_unknown_outcome_is_no_repeat_of_itself(store: Store, database: Database) -> None:
    made = batch([keyed("call-1", b"1"), keyed("call-2", b"2")])
    for _ in range(2):
        await commit(store, made)

    assert database.call_ids() == ["call-1", "call-2"]


async def test_key_of_a_batch_that_failed_is_free(store: Store, database: Database) -> None:
    await commit(store, batch([keyed("call-1", b"1")]))
    await duplicates(store, batch([keyed("call-1", b"1"), keyed("call-2", b"2")], slot=2))

    await commit(store, batch([keyed("call-2", b"2")], slot=2))

    assert database.call_ids() == ["call-1", "call-2"]


async def test_of_many_at_once_one_is_stored(database: Database) -> None:
    async with opened(*(database.store() for _ in range(AT_ONCE))) as stores:
        made = [batch([keyed("one", b"1"), keyed(f"own-{n}", b"own-%d" % n)], slot=n) for n in range(AT_ONCE)]
        outcomes = await asyncio.gather(*map(commit, stores, made), return_exceptions=True)

    assert outcomes.count(None) == 1
    assert all(isinstance(one, DuplicateKeys) and one.same == {0: True} for one in outcomes if one is not None)
    assert database.call_ids().count("one") == 1
    assert len(database.rows()) == 2


async def test_restored_batches_bring_their_keys_and_say_what_they_repeat(store: Store, database: Database) -> None:
    await store.insert_published([batch([keyed("call-1", b"1")], slot=3), batch([keyed("call-2", b"2")], slot=4)])
    assert await duplicates(store, batch([keyed("call-2", b"2")], slot=5)) == {0: True}

    with pytest.raises(DuplicateKeys) as raised:
        await store.insert_published([batch([keyed("call-3", b"3"), keyed("call-1", b"1")], slot=6)])

    assert raised.value.same == {1: True}
    assert database.call_ids() == ["call-1", "call-2"]


async def test_old_keys_are_forgotten_oldest_first(store: Store) -> None:
    now_ms = NOW_US // 1000
    ids = IdGenerator(
        1, iter([NOW_US, *(NOW_US + second * 1_000_000 for second in range(3))]).__next__
    )  # the first: its writer
    for number in range(3):
        await commit(store, Batch(ids.take(1), [keyed("any", b"%d" % number)], NOW_US))

    assert await store.forget_keys(now_ms, 10) == 0
    assert await store.forget_keys(now_ms + 2000, 1) == 1
    assert await store.forget_keys(now_ms + 2000, 10) == 1

    await commit(store, batch([keyed("again", b"0"), keyed("again", b"1")], slot=2))
    assert await duplicates(store, batch([keyed("again", b"2")], slot=3)) == {0: True}
