"""The contract of every store's commit (`ingest.store.base`), tested on each database."""

import json

import pytest

from ingest.errors import SchemaError, StoreError
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import SEQUENCE_BITS
from ingest.store.base import Store
from tests.contract.store.stores import Database, opened
from tests.unit.making import NOW_US, batch, call_ids, event, events

LEASE_SECONDS = 30.0
CREATED = "2025-01-31 13:45:00.123456"
"""NOW_US in UTC."""

PAYLOADS = {
    "spaces": b'  { "b" : 1.0,\t"a":[ ] ,"b2":1e2}\r\n',
    "quotes": b"""{"a":"it's \\"quoted\\" `so`","b":"''","c":"'); DROP TABLE call_event_logs; -- "}""",
    "backslashes": b'{"a":"\\\\","b":"\\\\\\\\\'","c":"\\n\\t\\u0041\\/"}',
    "percent": b'{"a":"%s %d %% %(x)s","b":"_%"}',
    "nul": b'{"a":"\\u0000"}',
    "latin": '{"a":"Zoë à Malmö"}'.encode(),
    "four bytes": '{"a":"📞 𝄞 \U0010ffff"}'.encode(),
    "long number": b'{"a":12345678901234567890.12345678901234567890}',
    "control characters": b'{"a":"\x7f\xc2\x85\xe2\x80\xa8"}',
}
NAMES = ["it's", 'a"b', "back\\slash\\", "%s%d", "Zoë 📞", "line\nbreak\ttab", "nul\0", " spaces ", "ab", "AB"]


async def commit(store: Store, made: Batch, *settled: int, lease_seconds: float = LEASE_SECONDS) -> None:
    await store.commit(made, lease_seconds=lease_seconds, settled=settled)


async def test_commit_makes_a_row_of_every_event_and_one_entry(store: Store, database: Database) -> None:
    made = batch([event("call-1", "call_started"), event("call-2", "call_ended", duration=7)])

    await commit(store, made)

    first, second = database.rows()
    assert first[:3] == (made.ids[0], "call-1", "call_started")
    assert second[:3] == (made.ids[1], "call-2", "call_ended")
    assert json.loads(second[3])["duration"] == 7
    assert database.entries() == [(made.first_id, 2, 0)]


async def test_created_time_is_utc_to_the_microsecond(store: Store, database: Database) -> None:
    await commit(store, batch(2))

    assert [row[4] for row in database.rows()] == [CREATED, CREATED]


@pytest.mark.parametrize("payload", PAYLOADS.values(), ids=PAYLOADS)
async def test_payload_is_kept_and_read_back_from_the_outbox_byte_for_byte(
    store: Store, database: Database, payload: bytes
) -> None:
    made = batch([Event("call-1", "call_started", payload)])

    await commit(store, made)

    assert database.same_payload(database.rows()[0][3], payload)
    (found,) = await store.read([made.first_id])
    assert [one.payload for one in found.events] == [payload]


async def test_names_are_kept_as_they_are(store: Store, database: Database) -> None:
    made = batch([Event(name, name, b"{}") for name in NAMES])

    await commit(store, made)

    assert [row[1:3] for row in database.rows()] == [(name, name) for name in NAMES]


async def test_longest_names_fit(store: Store, database: Database) -> None:
    made = batch([Event("📞" * 255, "é" * 64, b"{}")])

    await commit(store, made)

    assert database.call_ids() == ["📞" * 255]


async def test_same_commit_again_changes_nothing(store: Store, database: Database) -> None:
    made = batch(3)
    await commit(store, made)
    before = database.rows(), database.entries()

    await commit(store, made)

    assert (database.rows(), database.entries()) == before


async def test_same_commit_again_does_not_bring_a_settled_entry_back(store: Store, database: Database) -> None:
    made = batch(3)
    await commit(store, made)
    await store.settle([made.first_id])

    await commit(store, made)

    assert database.entries() == []


@pytest.mark.parametrize(("start", "stop"), [(0, 2), (2, 3)])
async def test_part_of_a_committed_batch_adds_no_event(store: Store, database: Database, start: int, stop: int) -> None:
    made = batch(3)
    await commit(store, made)
    before = database.rows()

    await commit(store, made.part(start, stop))

    assert database.rows() == before
    assert sum(count for _, count, _ in database.entries()) == 3


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(batch([event("other"), event("call-1")]), id="other call"),
        pytest.param(batch([event("call-0", "other"), event("call-1")]), id="other type"),
        pytest.param(batch([event("call-0"), event("other"), event("call-2")]).part(0, 2), id="other last"),
        pytest.param(Batch(batch(2).ids, events(2), NOW_US + 1), id="other time"),
        pytest.param(batch(1), id="part"),
    ],
)
async def test_ids_that_another_worker_made_are_refused_and_nothing_is_stored(
    store: Store, database: Database, other: Batch
) -> None:
    await commit(store, other)
    before = database.rows(), database.entries()

    with pytest.raises(StoreError, match="Another worker issued ids of slot 1"):
        await commit(store, batch(2))

    assert (database.rows(), database.entries()) == before


async def test_store_goes_on_after_refused_ids(store: Store, database: Database) -> None:
    await commit(store, batch([event("other")]))
    with pytest.raises(StoreError):
        await commit(store, batch(1))

    await commit(store, batch([event("next")], slot=2))

    assert database.call_ids() == ["other", "next"]


async def test_large_batch_is_one_commit(store: Store, database: Database) -> None:
    made = batch([event(f"call-{number}", note="x" * 1000) for number in range(500)])

    await commit(store, made)

    assert database.call_ids() == call_ids(made)
    assert database.entries() == [(made.first_id, 500, 0)]


async def test_rows_are_counted_between_two_ids_of_a_slot(store: Store) -> None:
    made = batch(5)
    await commit(store, made)
    await commit(store, Batch([made.ids[2] ^ 1 << SEQUENCE_BITS], [event("call-6")], made.created_us))  # another slot

    assert await store.count_rows(made.ids[1], made.ids[3]) == 3
    assert await store.count_rows(made.first_id, made.last_id) == 5
    assert await store.count_rows(made.last_id + 1, made.last_id + 9) == 0


async def test_ping_asks_for_migrations_first(empty_database: Database) -> None:
    async with opened(empty_database.store()) as (store,):
        with pytest.raises(SchemaError, match="ingest migrate"):
            await store.ping()
        await empty_database.migrate()
        await store.ping()


async def test_commit_without_tables_asks_for_migrations(empty_database: Database) -> None:
    async with opened(empty_database.store()) as (store,):
        with pytest.raises(SchemaError, match="ingest migrate"):
            await commit(store, batch(1))


async def test_schema_of_an_older_release_asks_for_migrations(store: Store, database: Database) -> None:
    database.query("DELETE FROM ingest_migrations")

    with pytest.raises(SchemaError, match="ingest migrate"):
        await store.ping()


async def test_schema_of_a_newer_release_will_do(store: Store, database: Database) -> None:
    database.query("INSERT INTO ingest_migrations VALUES (9999, 'of_the_future', '2030-01-01')")

    await store.ping()


async def test_closing_twice_is_safe(database: Database) -> None:
    async with opened(database.store()) as (store,):
        await store.ping()
        await store.close()
