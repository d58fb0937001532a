"""The contract of every store's searches (`ingest.reading.base`), tested on each database."""

import json

import msgspec
import pytest

from ingest.errors import StoreError
from ingest.events.batch import Batch
from ingest.events.ids import ID_MAX, first_id_of
from ingest.reading.base import LISTED_PAYLOAD_BYTES_MAX, EventQuery
from ingest.store.base import Store
from ingest.store.mysql import lookup as mysql
from ingest.store.sqlite import lookup as sqlite
from tests.contract.store.simulated import SimulatedMySQL
from tests.contract.store.stores import Database, SQLite
from tests.unit.making import NOW_US, batch, event

LEASE_SECONDS = 30.0
SECOND_US = 1_000_000
HOSTILE = "x' OR 1=1; DROP TABLE call_event_logs; -- \\\u0259\U0001f4de"


@pytest.fixture
async def stored(store: Store) -> list[Batch]:
    """Three batches, a second apart, with events of two calls and two types in each."""
    made = [
        batch(
            [event("one", "call_started"), event("two", "call_started"), event("one", "call_ended", duration=number)],
            us=NOW_US + number * SECOND_US,
        )
        for number in range(3)
    ]
    for one in made:
        await store.commit(one, lease_seconds=LEASE_SECONDS, settled=())
    return made


async def ids_of(store: Store, query: EventQuery, limit: int = 100) -> list[int]:
    return [row.id for row in (await store.find_events(query, limit)).rows]


async def test_events_of_a_call_come_in_order(store: Store, stored: list[Batch]) -> None:
    page = await store.find_events(EventQuery("one"), 100)

    assert [row.id for row in page.rows] == [i for one in stored for i in (one.ids[0], one.ids[2])]
    assert {row.call_id for row in page.rows} == {"one"}
    assert [row.accepted_us for row in page.rows[:2]] == [NOW_US, NOW_US]
    assert json.loads(page.rows[1].payload or b"")["duration"] == 0
    assert page.last_id is None


async def test_pages_continue_behind_the_last_event(store: Store, stored: list[Batch]) -> None:
    expected = [i for one in stored for i in one.ids]
    for newest in False, True:
        query, found = EventQuery(newest=newest), list[int]()
        while True:
            page = await store.find_events(query, 4)
            found += [row.id for row in page.rows]
            if page.last_id is None:
                break
            query = query.after(page.last_id)
        assert found == (expected[::-1] if newest else expected)


async def test_time_and_type_select_events(store: Store, stored: list[Batch]) -> None:
    since, until = (first_id_of((NOW_US + seconds * SECOND_US) // 1000) for seconds in (1, 2))

    assert await ids_of(store, EventQuery(first_id=since, last_id=until - 1)) == stored[1].ids
    assert await ids_of(store, EventQuery(event_type="call_ended", first_id=since)) == [
        stored[1].ids[2],
        stored[2].ids[2],
    ]
    assert await ids_of(store, EventQuery("two", "call_ended")) == []


@pytest.mark.parametrize("newest", [False, True])
async def test_search_by_type_reads_a_bounded_number_of_rows_for_a_page(
    store: Store, stored: list[Batch], newest: bool
) -> None:
    expected = [one.ids[2] for one in stored]
    query, found, pages = EventQuery(event_type="call_ended", newest=newest), list[int](), 0
    while True:
        page = await store.find_events(query, 100, scan_rows_max=3)
        pages, found = pages + 1, found + [row.id for row in page.rows]
        if page.last_id is None:
            break
        query = query.after(page.last_id)

    assert found == (expected[::-1] if newest else expected)
    assert pages == 4  # the last one finds that nothing is left


async def test_hostile_texts_select_nothing_and_change_nothing(store: Store, stored: list[Batch]) -> None:
    assert await ids_of(store, EventQuery(HOSTILE)) == []
    assert await ids_of(store, EventQuery(event_type=HOSTILE)) == []

    hostile = batch([event(HOSTILE, HOSTILE[:64])], us=NOW_US - SECOND_US)
    await store.commit(hostile, lease_seconds=LEASE_SECONDS, settled=())
    page = await store.find_events(EventQuery(HOSTILE, HOSTILE[:64]), 10)
    assert [(row.id, row.call_id) for row in page.rows] == [(hostile.first_id, HOSTILE)]
    assert len(await ids_of(store, EventQuery())) == 10


async def test_page_leaves_out_large_payloads_and_one_event_is_whole(store: Store) -> None:
    large = batch([event("one", text="x" * LISTED_PAYLOAD_BYTES_MAX)])
    await store.commit(large, lease_seconds=LEASE_SECONDS, settled=())

    assert [row.payload for row in (await store.find_events(EventQuery("one"), 10)).rows] == [None]
    row = await store.event_row(large.first_id)
    assert row is not None
    assert json.loads(row.payload or b"") == json.loads(large.events[0].payload)
    assert await store.event_row(large.first_id + 1) is None
    assert await store.event_row(ID_MAX) is None


async def test_outbox_entry_is_found_by_any_of_its_events(
    store: Store, stored: list[Batch], database: Database
) -> None:
    for event_id in stored[1].ids:
        entry = await store.outbox_entry_of(event_id)
        assert entry is not None
        assert (entry.batch.ids, entry.attempts) == ([event_id], 0)
    await store.settle([stored[1].first_id])

    assert await store.outbox_entry_of(stored[1].ids[1]) is None
    assert await store.outbox_entry_of(stored[2].ids[1]) is not None
    assert await store.outbox_entry_of(stored[2].last_id + 1) is None


async def test_entry_of_a_requeued_event_does_not_hide_the_entry_of_its_batch(store: Store) -> None:
    whole = batch(3)
    await store.commit(whole, lease_seconds=LEASE_SECONDS, settled=())
    await store.add_dead(whole.part(1, 2), "too large")
    await store.requeue_dead([whole.ids[1]])

    entry = await store.outbox_entry_of(whole.ids[2])

    assert entry is not None
    assert entry.batch.ids == [whole.ids[2]]


async def test_added_entries_are_claimable_at_once(store: Store, stored: list[Batch]) -> None:
    await store.settle([one.first_id for one in stored])
    again = [stored[0].part(1, 2), stored[2].part(0, 1)]

    await store.add_entries(again)

    claimed = await store.claim(10, LEASE_SECONDS)
    assert claimed == [one.first_id for one in again]
    assert [msgspec.to_builtins(one) for one in await store.read(claimed)] == [
        msgspec.to_builtins(one) for one in again
    ]


async def test_entry_that_exists_stops_all_added_with_it(store: Store, stored: list[Batch]) -> None:
    await store.settle([stored[0].first_id])

    with pytest.raises(StoreError, match="still being published"):
        await store.add_entries([stored[0], stored[1]])

    assert await store.outbox_entry_of(stored[0].first_id) is None


async def test_search_by_call_uses_its_index(store: Store, database: Database) -> None:
    """Otherwise the order by id would make the server read the table from one end."""
    await store.commit(batch(300), lease_seconds=LEASE_SECONDS, settled=())
    query = EventQuery("call-7", "call_started", first_id=5)

    if isinstance(database, SimulatedMySQL):
        pytest.skip("the model has no plan of a query")
    if isinstance(database, SQLite):
        statement, values = sqlite.statement_of(query, None)
        explain = "EXPLAIN QUERY PLAN " + statement.replace("?", "{!r}").format(*values)
    else:
        explain = "EXPLAIN SELECT " + mysql.statement_of(query, 10).removeprefix(mysql.SELECT).decode()
    (plan,) = map(str, database.query(explain))

    assert "call_event_logs_call_id" in plan
    assert not any(whole in plan for whole in ("SCAN", "'ALL'", "'index'"))
