"""The contract of reading events back (`ingest.store.event_query`), tested on each database."""

import json

import pytest

from ingest.store.base import Store
from ingest.store.event_query import EventFilter
from tests.unit.making import NOW_US, batch, event

CALLS = ("call-1", "it's", "call-3")


@pytest.fixture
async def ids(store: Store) -> list[int]:
    """Six events, two of each call."""
    found: list[int] = []
    for number, event_type in enumerate(("call_started", "call_ringing")):
        made = batch([event(call, event_type) for call in CALLS], us=NOW_US + number * 1_000_000)
        await store.commit(made, lease_seconds=30.0, settled=[])
        found += made.ids
    return found


async def selected(store: Store, selection: EventFilter) -> list[int]:
    found = [event_id for event_id, _ in await store.read_events(selection, 10)]
    assert await store.count_events(selection) == len(found)
    return found


async def test_events_are_read_in_the_order_of_their_ids(store: Store, ids: list[int]) -> None:
    assert await selected(store, EventFilter()) == ids
    first = (await store.read_events(EventFilter(), 1))[0]
    assert (first[0], first[1].call_id, first[1].event_type) == (ids[0], "call-1", "call_started")
    assert json.loads(first[1].payload) == json.loads(event("call-1", "call_started").payload)


async def test_events_are_selected_by_id_time_call_and_type(store: Store, ids: list[int]) -> None:
    assert await selected(store, EventFilter(first_id=ids[2], last_id=ids[4])) == ids[2:5]
    assert await selected(store, EventFilter(call_ids=("it's",))) == [ids[1], ids[4]]
    assert await selected(store, EventFilter(call_ids=CALLS[1:], event_types=("call_ringing",))) == ids[4:]
    assert await selected(store, EventFilter(ids=(ids[5], ids[0], 7))) == [ids[0], ids[5]]
    assert await selected(store, EventFilter(event_types=("none",))) == []
