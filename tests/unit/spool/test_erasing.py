"""Events are erased from the files of a spool that no process has; all others stay as they were."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ingest.erasure.matcher import Matcher, Wanted
from ingest.erasure.tombstone import EVENTS_ERASED, without
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from ingest.events.event import Event
from ingest.spool.erasing import SpoolSearch, rewrite, search, unsearchable
from ingest.spool.files import segments_of, take_spool
from ingest.spool.records import Refused, SpoolLimits
from ingest.spool.segments.format import HEAD_BYTES
from ingest.spool.store import SpoolStore
from tests.unit.making import NOW_US, batch, event

NUMBER = "+994501234567"
MATCHES = Matcher(Wanted((NUMBER,))).matches


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "spool"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[SpoolStore]:
    spool = SpoolStore(take_spool(folder), 10.0, SpoolLimits(1 << 20, 0, 30.0), time.monotonic)
    await spool.start()
    try:
        yield spool
    finally:
        await spool.close()


def with_number(name: str) -> Event:
    return event(name, from_number=NUMBER)


def some_batches() -> list[Batch]:
    """Batches with the number first, in the middle, alone, and not at all."""
    made = [
        [with_number("a"), event("b")],
        [event("c"), with_number("d"), event("e")],
        [with_number("f")],
        [event("g"), event("h")],
    ]
    return [batch(events, us=NOW_US + at * 1000) for at, events in enumerate(made)]


async def filled(folder: Path) -> None:
    first, second, third, fourth = some_batches()
    async with opened(folder) as spool:
        for one in (first, second, third, fourth):
            await spool.commit(one, lease_seconds=0.0, settled=[])
        await spool.settle([second.first_id])
        await spool.remove([record for record in await spool.after(0, 9) if record.first_id == third.first_id])
        packed = (await spool.after(0, 9))[0].batch
        await spool.set_aside(Refused(first.first_id, 2, "refused", packed))


def erase(folder: Path) -> bool:
    return rewrite(folder, 0, MATCHES, lambda packed, ids: without(packed, ids, "e", NOW_US))


def searched(folder: Path) -> SpoolSearch:
    (found,) = search(folder, MATCHES)
    return found


async def test_number_is_found_in_waiting_drained_and_refused_events(folder: Path) -> None:
    await filled(folder)
    assert len(searched(folder).found) == 4
    assert not searched(folder).held


async def test_no_byte_of_the_number_stays_and_all_else_does(folder: Path) -> None:
    await filled(folder)

    assert erase(folder)

    assert searched(folder).found == []
    assert searched(folder).problems == []
    async with opened(folder) as spool:
        records = await spool.after(0, 9)
        kept = {record.first_id: record.unpacked() for record in records}
        leases = {record.first_id: record.lease_until is None for record in records}
        (refused,) = await spool.refused()
    first, second, _, fourth = some_batches()
    assert leases == {second.first_id: True, fourth.first_id: False}
    assert types_of(kept[second.first_id]) == ["call_started", EVENTS_ERASED, "call_started"]
    assert kept[fourth.first_id] == fourth
    assert (refused.first_id, refused.reason, refused.count) == (first.first_id, "refused", 2)
    assert types_of(unpack_one(refused.batch)) == [EVENTS_ERASED, "call_started"]


def types_of(one: Batch | None) -> list[str]:
    assert one
    return [made.event_type for made in one.events]


async def test_erasing_again_changes_nothing(folder: Path) -> None:
    await filled(folder)
    erase(folder)
    before = [path.read_bytes() for path in segments_of(folder, 0)]

    assert erase(folder)

    assert [path.read_bytes() for path in segments_of(folder, 0)] == before


async def test_spool_of_a_running_service_is_left_alone(folder: Path) -> None:
    async with opened(folder) as spool:
        await spool.commit(some_batches()[0], lease_seconds=0.0, settled=[])
        assert searched(folder).held
        assert not erase(folder)
        assert len(searched(folder).found) == 1


@pytest.mark.parametrize("offset", [HEAD_BYTES + 2, 100])
async def test_damage_is_reported_and_copied(folder: Path, offset: int) -> None:
    """The bytes are the head and the content of the first batch."""
    await filled(folder)
    (path,) = segments_of(folder, 0)
    content = bytearray(path.read_bytes())
    content[offset] ^= 1
    path.write_bytes(content)

    found = searched(folder)
    erase(folder)

    assert found.problems
    assert "which cannot be searched" in found.problems[0]
    assert searched(folder).found == []
    assert bytes(content[HEAD_BYTES:120]) in path.read_bytes()


def test_files_that_cannot_be_searched_are_named(folder: Path) -> None:
    folder.mkdir()
    (folder / "spool-0.00000001.9f86d081884c7d65.damaged").touch()
    (folder / "spool-1.db").touch()
    assert len(unsearchable(folder)) == 2


async def test_draft_of_a_killed_erasure_is_removed(folder: Path) -> None:
    await filled(folder)
    (path,) = segments_of(folder, 0)
    draft = folder / f".{path.name}.abc"
    draft.write_bytes(path.read_bytes())

    erase(folder)

    assert not draft.exists()
