"""A spool's file is damaged in many ways. Undamaged records come back, and the damage is reported."""

import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from ingest.events.batch import Batch
from ingest.spool.files import damaged, segments_of, take_spool
from ingest.spool.records import Record
from ingest.spool.segments.format import ENTRY_BYTES, HEAD_BYTES
from ingest.spool.segments.index import Index
from ingest.spool.segments.loading import Loader
from ingest.spool.segments.log import Segment
from tests.unit.making import NOW_US, batch, event
from tests.unit.spool.conftest import Opened

MADE = [batch([event(f"call-{number}", note=f"{number:x}")], us=NOW_US + number * 1000) for number in range(4)]
IDS = {made.first_id for made in MADE}


@pytest.fixture
async def path(folder: Path, opened: Opened) -> Path:
    """Four records and a mark, in a spool whose owner was killed."""
    return await leave(folder, opened, MADE)


async def leave(folder: Path, opened: Opened, made: Sequence[Batch]) -> Path:
    dead = opened(take_spool(folder))
    for one in made:
        await dead.commit(one, lease_seconds=1.0, settled=[])
    await dead.settle([made[0].first_id])
    await dead.close()
    (path,) = segments_of(folder, 0)
    return path


class Look(NamedTuple):
    whole: int
    reported: list[str]


def look(folder: Path) -> Look:
    """Load a spool's one file: the number of whole records, and the reported damage."""
    segment = Segment(1, segments_of(folder, 0)[0], writable=False)
    index = Index(lambda segment, change: None)
    loader = Loader(index, segment.read, [segment])
    while loader.step():
        pass
    rows = index.after(0, 1000)
    records = [Record(*row[:3], segment.read(row.place)) for row in rows]
    index.close()
    segment.close()
    return Look(sum(record.unpacked() is not None for record in records), loader.damage)


def flip(path: Path, at: bytes) -> bytes:
    """Flip a bit of these bytes. Return the file's new content."""
    content = bytearray(path.read_bytes())
    content[content.index(at)] ^= 1
    path.write_bytes(content)
    return bytes(content)


def damages(content: bytes) -> Iterator[tuple[str, bytes]]:
    """Copies of the content, each with one damaged byte."""
    for place in range(len(content)):
        flipped = bytearray(content)
        flipped[place] ^= 1 << place % 8
        yield f"byte {place}", bytes(flipped)


def test_each_flipped_byte_costs_one_record_at_most_and_is_reported(path: Path, folder: Path) -> None:
    content = path.read_bytes()
    assert look(folder) == Look(len(MADE), [])
    costs = []
    for what, changed in damages(content):
        path.write_bytes(changed)
        found = look(folder)
        costs.append(len(MADE) - found.whole)
        assert found.reported, what
    assert (min(costs), max(costs)) == (0, 1)


def test_file_that_was_cut_off_has_all_before_its_end_and_that_is_reported(path: Path, folder: Path) -> None:
    content = path.read_bytes()
    before = 0
    for size in range(len(content)):
        path.write_bytes(content[:size])
        found = look(folder)
        assert found.reported, size
        assert before <= found.whole <= before + 1
        before = found.whole
    assert before == len(MADE)


@pytest.mark.parametrize("stretch", [1, ENTRY_BYTES, 300, 4096])
async def test_stretch_of_other_bytes_costs_what_it_covers(folder: Path, opened: Opened, stretch: int) -> None:
    made = [batch([event(f"call-{at}", note=os.urandom(200).hex())], us=NOW_US + at * 1000) for at in range(100)]
    path = await leave(folder, opened, made)
    content, dice = path.read_bytes(), random.Random(stretch)
    smallest = (len(content) - HEAD_BYTES) // len(made) - 50
    for filling in (bytes(stretch), b"\xff" * stretch, dice.randbytes(stretch), content[:stretch]):
        place = dice.randrange(len(content) - stretch)
        while content.startswith(filling, place):  # nothing would be damaged
            place = dice.randrange(len(content) - stretch)
        path.write_bytes(content[:place] + filling + content[place + stretch :])
        found = look(folder)
        assert len(made) - found.whole <= stretch // smallest + 2
        assert found.reported


async def test_what_is_whole_is_used_and_the_damaged_file_stays_when_that_is_gone(
    path: Path, folder: Path, opened: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    content = flip(path, MADE[1].first_id.to_bytes(8, "little"))
    again = opened(take_spool(folder))
    await again.start()

    records = await again.after(0, 10)
    assert [record.unpacked() for record in records] == [MADE[0], MADE[2], MADE[3]]
    assert "the spool's files are damaged" in caplog.text
    assert again.damages == 1
    await again.remove(records)

    assert [kept.read_bytes() for kept in damaged(folder)] == [content]
    await again.check()
    assert "see `ingest spool verify`" in str(again.file_problem)
    await again.close()


async def test_bytes_of_an_event_are_never_taken_for_an_entry(folder: Path, opened: Opened) -> None:
    """A client knows the format and sends entries in an event. Then the disk damages the bytes around them."""
    path = await leave(folder, opened, MADE)
    forged = path.read_bytes()[HEAD_BYTES:].hex()
    path.unlink()
    hostile = batch([event("call-x", note=forged)], us=NOW_US + 10_000)
    path = await leave(folder, opened, [hostile])
    content = path.read_bytes()
    path.write_bytes(content[:HEAD_BYTES] + bytes(ENTRY_BYTES) + content[HEAD_BYTES + ENTRY_BYTES :])

    found = look(folder)

    assert found.whole == 0
    assert found.reported


def test_end_that_a_crash_has_left_is_no_damage(path: Path, folder: Path) -> None:
    content = path.read_bytes()
    for left in (content[HEAD_BYTES : HEAD_BYTES + 40], bytes(700), b"\xff" * 10):
        path.write_bytes(content + left)
        assert look(folder) == Look(len(MADE), [])


async def test_files_of_the_folder_that_are_none_of_the_spools_are_left_alone(folder: Path, opened: Opened) -> None:
    path = await leave(folder, opened, MADE)
    strange = [
        folder / name for name in ("spool-9.9", "spool-8.log", "spool-.log", "spool-x.0.log", "spool-0.1.log.swp")
    ]
    for one in strange:
        one.write_bytes(b"not a segment" * 50)
    (folder / "spool-0.7.log").mkdir()
    again = opened(take_spool(folder))

    await again.start()

    assert len(await again.after(0, 10)) == len(MADE)
    assert all(one.exists() for one in strange)
    assert path.exists()
    await again.close()
