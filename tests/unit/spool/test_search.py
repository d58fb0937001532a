"""Events in the spools of a data folder are found without changing them."""

from pathlib import Path

from ingest.events.event import Event
from ingest.spool.search import spooled
from ingest.spool.store import SpoolStore
from tests.unit.making import NOW_US, batch, event


def of_call(call_id: str, folder: Path, events_max: int = 100) -> list[tuple[int, bool]]:
    def wanted(_: int, found: Event) -> bool:
        return found.call_id == call_id

    return [(one.batch.first_id, one.published) for one in spooled(folder, wanted, events_max)]


async def test_events_of_a_call_are_found_in_the_spool(spool: SpoolStore, folder: Path) -> None:
    first, second = batch([event("one"), event("two")]), batch([event("two")], us=NOW_US + 1_000_000)
    for made in first, second:
        await spool.commit(made, lease_seconds=10.0, settled=[])
    await spool.settle([first.first_id])

    assert of_call("two", folder) == [(first.ids[1], True), (second.first_id, False)]
    assert of_call("three", folder) == []


async def test_search_decodes_a_bounded_number_of_events(spool: SpoolStore, folder: Path) -> None:
    for number in range(200):
        await spool.commit(batch([event("one")], us=NOW_US + number * 1_000_000), lease_seconds=10.0, settled=[])

    assert 0 < len(of_call("one", folder, events_max=1)) < 200
