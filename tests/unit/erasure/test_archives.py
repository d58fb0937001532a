"""Events leave an archive by a new file in its place, and a killed erasure is finished by the next."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ingest.erasure.archives import ArchiveErasure
from ingest.erasure.matcher import Matcher, Wanted
from ingest.erasure.report import Report
from ingest.retention.archive.event_line import event_of
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.archive.manifest import manifest_of
from ingest.retention.archive.reader import check, lines
from tests.commands.forked import run_module
from tests.paths import ROOT
from tests.unit.making import NOW_US, body
from tests.unit.retention.test_archive import FIRST, FakeRows, archiver

NUMBER = "+994501234567"
EVENTS = 1300
MINE = {FIRST + n for n in (0, 600, 1299)}
STEPS = ("told", "rewritten", "named", "described", "removed")


class Erasing:
    """The erasure of the archives, with the ids that consumers are told: those are in a file."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.folder = ArchiveFolder(top / "archive", top / "memory.json")
        self._told = top / "told"

    async def erase(self, event_ids: Sequence[int]) -> None:
        with self._told.open("a") as file:
            file.write("".join(f"{event_id}\n" for event_id in event_ids))

    @property
    def told(self) -> list[int]:
        return [int(line) for line in self._told.read_text().split()] if self._told.exists() else []

    def killed(self, step: str) -> None:
        """Erase in another process, which is killed when the step has ended."""
        ran = run_module(__name__, [str(self.top), step], folder=ROOT)
        assert ran.returncode == -signal.SIGKILL, ran.stderr

    async def run(self, *, act: bool = True, die_at: str = "") -> Report:
        def reached(step: str) -> None:
            if step == die_at:
                os.kill(os.getpid(), signal.SIGKILL)

        report = Report("run", act)
        await ArchiveErasure(self.folder, Matcher(Wanted((NUMBER,))), report, self.erase, lambda: NOW_US, reached).run()
        return report

    def archived(self) -> list[int]:
        """The ids in all archives, each of which is proven."""
        found = []
        for data, manifest in self.folder.archives():
            check(data, manifest)
            found += [event_of(line).event_id for line in lines(data)]
        return found


@pytest.fixture
async def erasing(tmp_path: Path) -> Erasing:
    (tmp_path / "archive").mkdir()
    made = Erasing(tmp_path)
    rows = FakeRows(EVENTS)
    rows.rows = [
        (*row[:4], body(from_number=NUMBER if row[0] in MINE else "+15551230001").decode(), {}) for row in rows.rows
    ]
    await archiver(made.folder).keep(rows)
    return made


async def test_dry_run_counts_and_changes_nothing(erasing: Erasing) -> None:
    report = await erasing.run(act=False)

    assert (report.searched["archives"], report.found["archives"]) == (EVENTS, 3)
    assert len(erasing.archived()) == EVENTS
    assert not erasing.told


async def test_events_go_and_the_new_archive_proves_itself(erasing: Erasing) -> None:
    report = await erasing.run()

    assert report.complete
    assert erasing.archived() == [FIRST + n for n in range(EVENTS) if FIRST + n not in MINE]
    ((data, manifest),) = erasing.folder.archives()
    assert (manifest.events, manifest.erased, manifest.first_id) == (EVENTS - 3, 3, str(FIRST + 1))
    assert set(erasing.told) == MINE
    assert not any(b"994501234567" in line for line in lines(data))
    again = await erasing.run()
    assert (again.found["archives"], len(erasing.told)) == (0, 3)


@pytest.mark.parametrize("step", STEPS)
async def test_killed_erasure_is_finished_by_the_same_command(erasing: Erasing, step: str) -> None:
    erasing.killed(step)

    report = await erasing.run()

    assert report.complete
    assert sorted(erasing.archived()) == [FIRST + n for n in range(EVENTS) if FIRST + n not in MINE]
    assert set(erasing.told) == MINE
    names = sorted(path.name for path in erasing.folder.path.iterdir() if not path.name.startswith("."))
    assert len(names) == 2, names
    assert not list(erasing.folder.path.glob(".draft-*"))


async def test_old_manifest_that_a_kill_left_goes_too(erasing: Erasing) -> None:
    ((old, _),) = erasing.folder.archives()
    left = manifest_of(old).read_bytes()
    await erasing.run()
    manifest_of(old).write_bytes(left)

    await erasing.run()

    assert not manifest_of(old).exists()


async def test_damaged_archive_is_reported_and_kept(erasing: Erasing) -> None:
    ((data, _),) = erasing.folder.archives()
    data.write_bytes(data.read_bytes()[:-3])

    report = await erasing.run()

    assert not report.complete
    assert data.exists()
    assert data.name in report.problems[0]


async def test_archive_whose_successor_is_damaged_gets_another_one(erasing: Erasing) -> None:
    erasing.killed("described")
    _, damaged = erasing.folder.parts("2025-01-31")
    damaged.write_bytes(b"damaged")

    report = await erasing.run()

    assert not report.complete
    assert damaged.exists()
    damaged.unlink()
    assert len(erasing.archived()) == EVENTS - 3


async def test_archive_without_a_manifest_is_reported(erasing: Erasing) -> None:
    ((data, _),) = erasing.folder.archives()
    manifest_of(data).unlink()

    report = await erasing.run()

    assert data.exists()
    assert "no manifest" in report.problems[0]


@pytest.mark.parametrize("act", [True, False])
async def test_folder_that_is_not_mounted_is_reported(erasing: Erasing, act: bool) -> None:
    erasing.folder.path.rename(erasing.folder.path.with_name("elsewhere"))

    report = await erasing.run(act=act)

    assert "it has no mark" in report.problems[0]
    assert not erasing.folder.path.exists()


if __name__ == "__main__":
    asyncio.run(Erasing(Path(sys.argv[1])).run(die_at=sys.argv[2]))
