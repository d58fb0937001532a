"""Partitions of the events' table on real servers. They are dropped only on evidence, and survive each kill."""

import asyncio
import errno
import os
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ingest.clock import unix_us
from ingest.errors import StoreError
from ingest.events.ids import first_id_of
from ingest.retention.archive.archiver import Archiver
from ingest.retention.archive.event_line import event_of
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.archive.reader import check, lines
from ingest.retention.partitions import day_of, name_of
from ingest.retention.run import Retention
from ingest.store.event_query import EventFilter
from ingest.store.mysql.partitioning.conversion import CHUNK_ROWS, Conversion
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.partitioning.unfinished import unfinished
from ingest.store.mysql.pool import Servers
from tests.commands.forked import run_module
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL
from tests.contract.store.stores import opened as stores
from tests.paths import ROOT
from tests.services import MySQLServer

DAYS = (5, 4, 0)
INTO = "INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time) "
INSERT = INTO + "VALUES ({}, 'c', 't', '{{}}', '{}')"
MANY = (
    INTO
    + """WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 900)
    SELECT {} + a.n * 1000 + b.n, 'many', 't', '{{}}', '{}' FROM n AS a JOIN n AS b WHERE a.n <= 7"""
)
CONVERTING = ("made", "partitioned", "swapped", "copied", "removed")
DROPPING = ("made", "exchanged", "dropped")
ARCHIVING = ("made", "exchanged", "page", "proven", "named", "archived", "kept", "dropped")


@pytest.fixture
async def database(mysql: MySQLServer) -> MySQL:
    """A database with an event at noon of each of `DAYS` days ago, and more than a chunk of events before these."""
    made = MySQL(mysql)
    await made.migrate()
    for days in DAYS:
        made.query(INSERT.format(id_of(ago(days)), ago(days)))
    made.query(MANY.format(id_of(ago(6)), ago(6)))
    return made


def ago(days: int) -> date:
    return datetime.now(UTC).date() - timedelta(days=days)


def id_of(day: date) -> int:
    return first_id_of(int(datetime(day.year, day.month, day.day, 0, 0, 1, tzinfo=UTC).timestamp() * 1000))


def ids_of(database: MySQL) -> set[int]:
    return {row[0] for row in database.query("SELECT id FROM call_event_logs")}


def tables_of(database: MySQL) -> list[str]:
    return [row[0] for row in database.query("SHOW TABLES LIKE 'call_event_logs%'")]


@asynccontextmanager
async def opened(url: str, kill_at: str = "") -> AsyncIterator[PartitionedTable]:
    connection = (await PartitionedTable.open(Servers.parse(url), TIMEOUT_SECONDS)).connection
    table = PartitionedTable(connection, lambda step: die_at(kill_at, step))
    assert await table.lock(60)  # a killed process has it until the server notices
    try:
        yield table
    finally:
        await table.close()


def die_at(wanted: str, step: str) -> None:
    if step == wanted:
        os.kill(os.getpid(), signal.SIGKILL)


async def convert(url: str, kill_at: str = "") -> int:
    async with opened(url) as table:
        return await Conversion(table.connection, unix_us, lambda *_: None, lambda step: die_at(kill_at, step)).run()


async def drop(url: str, keep_days: int, kill_at: str = "", archive: Path | None = None) -> Sequence[str]:
    archiver = archiver_of(archive, kill_at) if archive else None
    async with opened(url, kill_at) as table:
        return [partition.name async for partition in Retention(table, keep_days, None, unix_us, archiver).drop()]


def archiver_of(folder: Path, kill_at: str = "") -> Archiver:
    reached = partial(die_at, kill_at)
    return Archiver(ArchiveFolder(folder, folder.with_suffix(".json")), unix_us, reached=reached)


def archived_ids(folder: Path) -> list[int]:
    """The ids in all archives, each of which is proven."""
    found = []
    for data, manifest in ArchiveFolder(folder, folder.with_suffix(".json")).archives():
        check(data, manifest)
        found += [event_of(line).event_id for line in lines(data)]
    return found


async def unfinished_text(url: str) -> str:
    async with opened(url) as table:
        return " ".join(await unfinished(table.connection))


async def replayed(database: MySQL) -> None:
    """The check that `ingest replay` does first."""
    async with stores(database.store()) as (store,):
        await store.read_events(EventFilter(), 1)


def killed(what: str, url: str, step: str, *more: str) -> None:
    """Run it in another process, which is killed when the step has ended."""
    ran = run_module(__name__, [what, url, step, *more], folder=ROOT)
    assert ran.returncode == -signal.SIGKILL, ran.stderr


@pytest.mark.parametrize("step", CONVERTING)
async def test_killed_conversion_is_reported_and_continues(database: MySQL, step: str) -> None:
    before = ids_of(database)
    assert len(before) > CHUNK_ROWS

    killed("convert", database.url, step)

    halfway = "call_event_logs_unpartitioned" in tables_of(database)
    assert halfway == (step in ("swapped", "copied"))
    said = await unfinished_text(database.url)
    if halfway:
        assert len(ids_of(database)) == {"swapped": 0, "copied": CHUNK_ROWS}[step]
        assert "has not ended" in said
        assert "`ingest retention --convert`" in said
        for act in (drop(database.url, 1), database.migrate(), replayed(database)):
            with pytest.raises(StoreError, match="does not hold all events"):
                await act
    if step != "removed":
        await convert(database.url)
    assert ids_of(database) == before
    assert tables_of(database) == ["call_event_logs"]
    assert await unfinished_text(database.url) == ""


@pytest.mark.parametrize("step", DROPPING)
async def test_killed_drop_is_reported_and_finished(database: MySQL, step: str) -> None:
    await convert(database.url)

    killed("drop", database.url, step)

    assert "An interrupted drop left call_event_logs_dropped" in await unfinished_text(database.url)
    await drop(database.url, 5)
    assert ids_of(database) == {id_of(ago(days)) for days in (4, 0)}
    assert tables_of(database) == ["call_event_logs"]


def names_in(archive: Path) -> list[str]:
    return [path.name for path in archive.rglob("*")]


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "archive").mkdir()
    return tmp_path / "archive"


@pytest.mark.parametrize("step", ARCHIVING)
async def test_killed_archive_or_drop_loses_nothing_and_keeps_nothing_twice(
    database: MySQL, archive: Path, step: str
) -> None:
    await convert(database.url)
    before = ids_of(database)

    killed("drop", database.url, step, str(archive))

    await drop(database.url, 5, archive=archive)
    left = ids_of(database)
    assert left == {id_of(ago(days)) for days in (4, 0)}
    assert sorted(archived_ids(archive)) == sorted(before - left)
    assert tables_of(database) == ["call_event_logs"]
    assert [name for name in names_in(archive) if name.startswith(".draft")] == []


async def test_row_that_comes_late_is_archived_too(database: MySQL, archive: Path) -> None:
    await convert(database.url)
    late = id_of(ago(6)) + 7

    def come(step: str) -> None:
        if step == "kept":
            database.query(INSERT.format(late, ago(6)))

    async with opened(database.url) as table:
        arriving = PartitionedTable(table.connection, come)
        run = Retention(arriving, 6, None, unix_us, archiver_of(archive))
        assert [partition.name async for partition in run.drop()] == []

    assert late in ids_of(database)
    assert late not in archived_ids(archive)
    assert await drop(database.url, 6, archive=archive) == [name_of(ago(6))]
    assert archived_ids(archive).count(late) == 1
    assert len(set(archived_ids(archive))) == len(archived_ids(archive))


async def test_row_that_comes_late_is_not_dropped_unseen_without_an_archive(database: MySQL) -> None:
    await convert(database.url)
    late = id_of(ago(6)) + 7
    async with opened(database.url) as table:
        arriving = PartitionedTable(
            table.connection,
            lambda step: step == "exchanged" and database.query(INSERT.format(late, ago(6))),
        )
        assert [partition.name async for partition in Retention(arriving, 6, None, unix_us).drop()] == []

    assert late in ids_of(database)


async def test_day_whose_archive_fails_is_back_in_its_place(database: MySQL, archive: Path) -> None:
    await convert(database.url)
    before = ids_of(database)

    def fail(step: str) -> None:
        if step == "proven":
            raise OSError(errno.ENOSPC, "No space left on device")

    async with opened(database.url) as table:
        archiver = Archiver(ArchiveFolder(archive, archive.with_suffix(".json")), unix_us, reached=fail)
        with pytest.raises(OSError, match="No space left"):
            [one async for one in Retention(table, 5, None, unix_us, archiver).drop()]

    assert ids_of(database) == before
    assert tables_of(database) == ["call_event_logs"]


async def test_columns_of_a_users_own_are_archived(database: MySQL, archive: Path) -> None:
    database.query("ALTER TABLE call_event_logs ADD old_id BIGINT NULL, ADD raw VARBINARY(9) NULL")
    database.query(f"UPDATE call_event_logs SET old_id = 7, raw = x'00ff' WHERE id = {id_of(ago(5))}")
    await convert(database.url)

    await drop(database.url, 5, archive=archive)

    (data,) = [data for data, manifest in archiver_of(archive)._folder.archives() if manifest.day == str(ago(5))]
    (event,) = [event_of(line) for line in lines(data)]
    assert event.columns == {"old_id": 7, "raw": "0x00ff"}
    assert event.created_time == f"{ago(5)}T00:00:00.000000Z"


async def test_table_that_a_drop_works_on_is_no_fault(database: MySQL) -> None:
    await convert(database.url)
    said: list[str] = []

    async def look(_: object) -> None:
        async with other.transaction():
            said.extend(await unfinished(other))

    other = await Servers.parse(database.url).connect(TIMEOUT_SECONDS)
    async with opened(database.url) as table:
        await table.drop((await table.facts()).partitions[0], look)
    await other.end()

    assert said == []


async def test_events_that_a_drop_took_out_are_kept_unless_they_are_due(database: MySQL) -> None:
    await convert(database.url)
    killed("drop", database.url, "dropped")
    rows = "SELECT COUNT(*) FROM call_event_logs_dropped"
    before = database.query(rows)

    for keep_days in (30, 7):
        with pytest.raises(StoreError, match=r"not all beyond their time.*INSERT IGNORE INTO call_event_logs SELECT"):
            await drop(database.url, keep_days)
    database.query(f"INSERT INTO ingest_dead_letters VALUES ({id_of(ago(6))}, 'refused', '2025-01-01', '')")
    with pytest.raises(StoreError, match="some are not published"):
        await drop(database.url, 5)

    assert database.query(rows) == before


async def test_day_with_a_row_that_is_newer_than_its_id_says_is_not_dropped(database: MySQL) -> None:
    await convert(database.url)
    database.query(f"UPDATE call_event_logs SET created_time = UTC_TIMESTAMP(6) WHERE id = {id_of(ago(5))}")
    before = ids_of(database)

    with pytest.raises(StoreError, match=f"Ids and created_time disagree in .*id {id_of(ago(5))} is of"):
        await drop(database.url, 1)

    assert ids_of(database) == before


async def test_table_whose_ids_are_numbers_is_not_converted(database: MySQL) -> None:
    database.query("DELETE FROM call_event_logs")
    for number in range(1, 20):
        database.query(INSERT.format(number, "2026-11-01"))

    with pytest.raises(StoreError, match="Ids and created_time disagree in call_event_logs: id 1 is of 2025-01-01"):
        await convert(database.url)

    assert tables_of(database) == ["call_event_logs"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("PARTITION BY HASH (id) PARTITIONS 4", r"partitioned by HASH \(.?id.?\)"),
        ("PARTITION BY KEY (id) PARTITIONS 4", r"partitioned by KEY \(.?id.?\)"),
        ("PARTITION BY RANGE COLUMNS (id) (PARTITION p20200101 VALUES LESS THAN (5))", "partitioned by RANGE COLUMNS"),
        (
            "PARTITION BY RANGE (id) SUBPARTITION BY HASH (id) SUBPARTITIONS 2 "
            "(PARTITION p20200101 VALUES LESS THAN (5), PARTITION pmax VALUES LESS THAN MAXVALUE)",
            "with subpartitions",
        ),
        (
            "PARTITION BY RANGE (id) (PARTITION p20200101 VALUES LESS THAN (5), "
            "PARTITION pmax VALUES LESS THAN MAXVALUE)",
            "Partition p20200101 of call_event_logs ends at 5",
        ),
        (
            "DROP PRIMARY KEY, ADD PRIMARY KEY (id, created_time) PARTITION BY RANGE (TO_DAYS(created_time)) "
            "(PARTITION p20200101 VALUES LESS THAN (737791), PARTITION pmax VALUES LESS THAN MAXVALUE)",
            r"partitioned by RANGE \(to_days\(.?created_time.?\)\)",
        ),
    ],
)
async def test_partitions_of_another_kind_are_named_and_left_alone(
    mysql: MySQLServer, change: str, reason: str
) -> None:
    other = MySQL(mysql)
    await other.migrate()
    separator = ", " if change.startswith("DROP") else " "
    other.query(f"ALTER TABLE call_event_logs{separator if separator == ' ' else ' '}{change}")
    definition = other.query("SHOW CREATE TABLE call_event_logs")

    with pytest.raises(StoreError, match=f"(?i){reason}"):
        await drop(other.url, 1)

    assert other.query("SHOW CREATE TABLE call_event_logs") == definition


async def test_table_with_a_trigger_is_not_converted(database: MySQL) -> None:
    database.query("CREATE TRIGGER mine BEFORE INSERT ON call_event_logs FOR EACH ROW SET NEW.call_id = NEW.call_id")

    with pytest.raises(StoreError, match="call_event_logs has trigger mine, which a partitioned table cannot have"):
        await convert(database.url)


async def test_columns_of_a_users_own_are_converted_with_the_rest(database: MySQL) -> None:
    database.query("ALTER TABLE call_event_logs ADD note VARCHAR(9) NULL FIRST, ADD twice BIGINT AS (id * 2) STORED")
    database.query(f"UPDATE call_event_logs SET note = 'mine' WHERE id = {id_of(ago(4))}")

    await convert(database.url)

    found = database.query(f"SELECT note, twice DIV 2 FROM call_event_logs WHERE id = {id_of(ago(4))}")
    assert found == [("mine", id_of(ago(4)))]


async def test_row_that_cannot_be_copied_keeps_the_old_table(database: MySQL) -> None:
    killed("convert", database.url, "swapped")
    database.query(INSERT.format(id_of(ago(5)), ago(1)))  # another event has the id of a row that is not copied yet

    with pytest.raises(StoreError, match=rf"Event {id_of(ago(5))} of call_event_logs_unpartitioned is not in"):
        await convert(database.url)

    assert "call_event_logs_unpartitioned" in tables_of(database)


async def test_events_of_all_days_are_in_partitions_of_their_own(database: MySQL) -> None:
    await convert(database.url)

    async with opened(database.url) as table:
        facts = await table.facts()

    assert facts.partitions[0].name == name_of(ago(6))
    assert facts.newest_id is not None
    assert day_of(facts.newest_id) == ago(0)


if __name__ == "__main__":
    what, url, step, *folders = sys.argv[1:]
    archive_folder = Path(folders[0]) if folders else None
    asyncio.run(convert(url, step) if what == "convert" else drop(url, 5, step, archive_folder))
