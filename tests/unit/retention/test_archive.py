"""A day is kept in an archive that proves itself, in a folder that is the one of yesterday."""

import json
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from datetime import date
from pathlib import Path

import pytest

from ingest.events.ids import first_id_of
from ingest.retention.archive.archiver import Archiver
from ingest.retention.archive.event_line import event_of, line_of
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.archive.manifest import ArchiveDamaged, ArchiveFailed, Manifest, manifest_of
from ingest.retention.archive.reader import check, lines
from ingest.retention.kept_rows import StoredRow, Summary
from tests.unit.making import NOW_US

DAY = date(2025, 1, 31)
FIRST = first_id_of(NOW_US // 1000)


class FakeRows:
    """The rows of a day. `changed` rows are those that a second look finds."""

    def __init__(self, count: int, first: int = FIRST) -> None:
        self.rows: list[StoredRow] = [
            (first + n, f"call-{n}", "t", "2025-01-31T13:45:00.123456Z", f'{{"n":\r\n {n}}}', {}) for n in range(count)
        ]
        self.changed: list[StoredRow] | None = None
        self._looks = 0

    async def summary(self) -> Summary:
        self._looks += 1
        rows = self.changed if self.changed is not None and self._looks > 1 else self.rows
        ids_xor = 0
        for row in rows:
            ids_xor ^= row[0]
        return Summary(len(rows), rows[0][0], rows[-1][0], ids_xor) if rows else Summary()

    async def pages(self) -> AsyncIterator[Sequence[StoredRow]]:
        for start in range(0, len(self.rows), 100):
            yield self.rows[start : start + 100]


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


@pytest.fixture
def folder(top: Path, tmp_path: Path) -> ArchiveFolder:
    return ArchiveFolder(top, tmp_path / "var" / "archive-folder.json")


def archiver(folder: ArchiveFolder, reached: Callable[[str], object] = lambda _: None) -> Archiver:
    return Archiver(folder, lambda: NOW_US, reached=reached)


def sha256sum(data: Path) -> str:
    return subprocess.run(["sha256sum", str(data)], check=True, capture_output=True, text=True).stdout.split()[0]


def only(folder: ArchiveFolder) -> tuple[Path, Manifest]:
    (found,) = folder.archives()
    return found


async def test_archive_has_every_row_and_a_manifest_that_standard_tools_can_check(folder: ArchiveFolder) -> None:
    await archiver(folder).keep(FakeRows(250))

    data, manifest = only(folder)
    assert (data.name, manifest.day, manifest.events) == (f"call_event_logs-{DAY}.ndjson.zst", str(DAY), 250)
    found = [event_of(line) for line in lines(data)]
    assert [one.event_id for one in found] == [FIRST + n for n in range(250)]
    assert json.loads(found[7].payload_bytes) == {"n": 7}
    assert sha256sum(data) == manifest.sha256
    check(data, manifest)


async def test_only_the_owner_can_read_archives(folder: ArchiveFolder) -> None:
    await archiver(folder).keep(FakeRows(1))

    modes = {path.name: path.stat().st_mode & 0o777 for path in folder.path.iterdir()}
    assert set(modes.values()) == {0o600}, modes
    assert folder.path.stat().st_mode & 0o777 == 0o700


async def test_day_without_rows_has_no_archive(folder: ArchiveFolder) -> None:
    await archiver(folder).keep(FakeRows(0))
    assert list(folder.archives()) == []


async def test_same_rows_again_are_the_same_archive_and_late_rows_a_second_part(folder: ArchiveFolder) -> None:
    for rows in (FakeRows(9), FakeRows(9), FakeRows(3, FIRST + 1000)):
        await archiver(folder).keep(rows)

    assert [(data.name[15:], manifest.events) for data, manifest in folder.archives()] == [
        (f"-{DAY}.ndjson.zst", 9),
        (f"-{DAY}.2.ndjson.zst", 3),
    ]


@pytest.mark.parametrize("step", ["page", "proven", "named", "archived"])
async def test_archive_that_was_interrupted_is_whole_after_the_next_run(folder: ArchiveFolder, step: str) -> None:
    def stop(reached: str) -> None:
        if reached == step:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await archiver(folder, stop).keep(FakeRows(150))
    (folder.path / ".draft-0.zst").touch()  # a kill would leave one

    await archiver(folder).keep(FakeRows(150))

    data, manifest = only(folder)
    check(data, manifest)
    assert manifest.events == 150
    assert not list(folder.path.glob(".draft-*"))


@pytest.mark.parametrize("seen", [8, 10])
async def test_table_that_differs_from_its_archive_is_not_archived(folder: ArchiveFolder, seen: int) -> None:
    rows = FakeRows(9)
    rows.changed = FakeRows(seen).rows

    with pytest.raises(ArchiveFailed, match=f"has 9 events, the table {seen}"):
        await archiver(folder).keep(rows)

    assert list(folder.archives()) == []


async def test_row_whose_payload_is_no_json_is_named(folder: ArchiveFolder) -> None:
    rows = FakeRows(1)
    rows.rows = [(*rows.rows[0][:4], "{no", {})]
    with pytest.raises(ArchiveFailed, match=f"event of {FIRST}"):
        await archiver(folder).keep(rows)


def test_folder_that_vanished_keeps_the_day(folder: ArchiveFolder, top: Path) -> None:
    top.rmdir()
    with pytest.raises(ArchiveFailed, match=f"there is no folder {top}"):
        folder.check()


async def test_another_folder_than_the_last_time_is_refused_until_it_is_accepted(
    folder: ArchiveFolder, top: Path
) -> None:
    await archiver(folder).keep(FakeRows(2))
    folder.path.rename(top.with_name("unmounted"))  # the mount point of a disk that is not mounted is empty

    with pytest.raises(ArchiveFailed, match=r"it has no mark\. Is its disk mounted"):
        await archiver(folder).keep(FakeRows(3))
    assert not folder.path.exists()
    folder.begin_anew()
    await archiver(folder).keep(FakeRows(3))
    assert only(folder)[1].events == 3

    (folder.path / ".mark").write_text("another's")
    with pytest.raises(ArchiveFailed, match="it has another mark"):
        await archiver(folder).check(0)


async def test_node_that_joins_uses_the_folder_as_it_is(folder: ArchiveFolder, top: Path, tmp_path: Path) -> None:
    await archiver(folder).keep(FakeRows(2))
    other = ArchiveFolder(top, tmp_path / "other.json")

    await archiver(other).keep(FakeRows(2))

    assert only(other)[1].events == 2


async def test_archive_without_room_is_refused_before_it_begins(folder: ArchiveFolder) -> None:
    with pytest.raises(ArchiveFailed, match="an archive needs"):
        await archiver(folder).check(1 << 60)


async def test_two_processes_do_not_write_to_a_folder_at_once(folder: ArchiveFolder, top: Path) -> None:
    folder.check()
    with folder.locked(), pytest.raises(ArchiveFailed, match="Another process writes"):
        await archiver(ArchiveFolder(top, folder.path / "m")).keep(FakeRows(2))


@pytest.mark.parametrize("damage", ["cut", "flipped", "longer", "another"])
async def test_damaged_archive_is_named(folder: ArchiveFolder, damage: str) -> None:
    await archiver(folder).keep(FakeRows(300))
    data, manifest = only(folder)
    content = data.read_bytes()
    middle = len(content) // 2
    wrong = {
        "cut": content[:middle],
        "flipped": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "longer": content + b"x",
        "another": b"no archive",
    }
    data.write_bytes(wrong[damage])

    with pytest.raises(ArchiveDamaged, match=str(data.name)):
        check(data, manifest)


async def test_file_without_a_manifest_is_never_deleted(folder: ArchiveFolder) -> None:
    await archiver(folder).keep(FakeRows(5))
    data, _ = only(folder)
    manifest_of(data).unlink()

    await archiver(folder).keep(FakeRows(2))

    assert [path.name[15:] for path in folder.parts(str(DAY))] == [f"-{DAY}.ndjson.zst", f"-{DAY}.2.ndjson.zst"]


def test_line_keeps_the_columns_of_a_user_and_a_missing_time() -> None:
    line = line_of(7, "c", "t", None, '{"a": 1e5}', {"old_id": 3})

    found = event_of(line)
    assert json.loads(line)["id"] == "7"
    assert (found.created_time, found.columns, found.payload_bytes) == (None, {"old_id": 3}, b'{"a": 1e5}')
