"""`ingest replay --from`: the events of an archive are published once more."""

import json
from pathlib import Path

import pytest

from ingest.cli.replay.archive_table import ArchiveTable
from ingest.errors import SettingsError
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.archive.manifest import ArchiveDamaged, manifest_of
from ingest.store.event_query import EventFilter
from tests.many_commands import Run, run_commands
from tests.unit.retention.test_archive import FIRST, FakeRows, archiver

EVENTS = 1200


@pytest.fixture
async def archive(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    folder = ArchiveFolder(tmp_path / "archive", tmp_path / "memory.json")
    await archiver(folder).keep(FakeRows(EVENTS))
    ((data, _),) = folder.archives()
    return data


async def ids_of(table: ArchiveTable, selection: EventFilter, limit: int = 500) -> list[int]:
    return [event_id for event_id, _ in await table.read_events(selection, limit)]


async def test_events_are_read_in_pages_and_again_by_their_ids(archive: Path) -> None:
    table = ArchiveTable.open(archive)
    after, found = 0, []

    while page := await ids_of(table, EventFilter(first_id=after)):
        again = await ids_of(table, EventFilter(ids=(page[0], page[-1])))
        assert again == sorted({page[0], page[-1]})
        found += page
        after = page[-1] + 1

    assert found == [FIRST + n for n in range(EVENTS)]
    assert await table.newest_id() == found[-1]


async def test_selection_is_the_same_as_of_the_table(archive: Path) -> None:
    table = ArchiveTable.open(archive.with_name(f"{archive.name}.json"))

    assert await table.count_events(EventFilter()) == EVENTS
    assert await table.count_events(EventFilter(call_ids=("call-3", "call-4"))) == 2
    assert await table.count_events(EventFilter(event_types=("none",))) == 0
    assert await ids_of(table, EventFilter(FIRST + 5, FIRST + 9), 3) == [FIRST + 5, FIRST + 6, FIRST + 7]


def test_archive_that_cannot_be_proven_is_not_read(archive: Path) -> None:
    whole = archive.read_bytes()
    archive.write_bytes(whole[:-9])
    with pytest.raises(ArchiveDamaged, match=r"is damaged or cut|cannot be decompressed"):
        ArchiveTable.open(archive)

    archive.write_bytes(whole)
    manifest_of(archive).unlink()
    with pytest.raises(SettingsError, match=r"\.json is missing, the manifest"):
        ArchiveTable.open(archive)


def test_archive_is_published_by_the_command_and_needs_no_database(archive: Path, tmp_path: Path) -> None:
    words = ["replay", "--from", str(archive)]
    resumed = [*words, "--resume", "progress.json"]

    dry, one, again, tail = run_commands(
        tmp_path,
        [
            Run([*words, "--dry-run"]),
            Run([*resumed, "--call", "call-7"]),
            Run([*resumed, "--call", "call-7"]),
            Run(["tail", "--limit", "1"]),
        ],
    )

    assert dry.stdout == f"{EVENTS} events would be published to the queue call-events\n", dry
    assert one.stdout == "1 events published to the queue call-events\n", one
    assert again.stdout == "0 events published to the queue call-events\n", again
    assert json.loads(tail.stdout) == {"n": 7}


async def test_progress_of_another_archive_is_refused(archive: Path, tmp_path: Path) -> None:
    folder = ArchiveFolder(tmp_path / "archive", tmp_path / "memory.json")
    await archiver(folder).keep(FakeRows(2))
    other = next(data for data, _ in folder.archives() if data != archive)
    words = ["replay", "--resume", "progress.json", "--from"]

    first, second = run_commands(tmp_path, [Run([*words, str(archive)]), Run([*words, str(other)])])

    assert (first.code, second.code) == (0, 1)
    assert "belongs to another archive" in second.reason
