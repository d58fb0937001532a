"""The service creates and drops days by itself."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ingest.errors import StoreError, StoreUnavailable
from ingest.retention.archive.archiver import Archiver
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.kept_rows import Keep
from ingest.retention.partitions import AHEAD_DAYS, Facts, Partition, Row, days, end_of, name_of
from ingest.retention.scheduler import RetentionScheduler, count_archived
from ingest.telemetry.metrics import Metrics
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, until
from tests.unit.making import NOW_US
from tests.unit.retention.test_archive import FakeRows

TODAY = datetime.fromtimestamp(NOW_US / 1e6, UTC).date()
OLDER = TODAY - timedelta(days=4)
OLD, KEPT = TODAY - timedelta(days=3), TODAY - timedelta(days=1)


class FakeTable:
    """Its partitions are days. With `busy` another process changes them. `clock` is the database's."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock = clock
        self.made = [Partition(name_of(day), end_of(day), 10, 100) for day in (OLD, KEPT, TODAY)]
        self.newest: int | None = end_of(TODAY) - 1
        self.needed: int | None = None
        self.rows: Sequence[Row] = ()
        self.wrong: str | None = None
        self.busy = self.late = False
        self.closed = 0
        self.errors: list[Exception] = []
        self.finished: list[int] = []
        self.dropping: Callable[[], object] = lambda: None

    async def open(self) -> "FakeTable":
        if self.errors:
            raise self.errors.pop()
        return self

    async def lock(self, seconds_max: int) -> bool:
        return not self.busy

    async def check(self) -> None:
        if self.wrong:
            raise StoreError(self.wrong)

    async def facts(self) -> Facts:
        partitions = [*self.made, Partition("pmax", None)] if self.made else []
        return Facts(self.clock.now_us(), partitions, self.newest, self.needed)

    async def sample(self, partition: Partition) -> Sequence[Row]:
        return self.rows

    async def create(self, of_days: Sequence[date]) -> None:
        self.made += [Partition(name_of(day), end_of(day)) for day in of_days]

    async def finish_drop(self, before_id: int, keep: Keep) -> None:
        self.finished.append(before_id)

    async def drop(self, partition: Partition, keep: Keep) -> bool:
        await keep(FakeRows(3, (partition.end or 0) - 1000))
        if self.late:
            return False
        self.made.remove(partition)
        self.dropping()
        return True

    async def close(self) -> None:
        self.closed += 1

    @property
    def names(self) -> list[str]:
        return [partition.name for partition in self.made]


@pytest.fixture
def database_clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def table(database_clock: FakeClock) -> FakeTable:
    return FakeTable(database_clock)


@pytest.fixture
def scheduler(table: FakeTable, clock: FakeClock, metrics: Metrics) -> RetentionScheduler:
    return RetentionScheduler(table.open, 2, None, 0.01, clock.now_us, metrics)


async def test_days_to_come_are_made_and_old_ones_dropped(
    scheduler: RetentionScheduler, table: FakeTable, sample: Sample
) -> None:
    await scheduler.check()

    assert table.names == [name_of(day) for day in days(KEPT, TODAY + timedelta(days=AHEAD_DAYS))]
    assert sample("ingest_partitions_dropped_total") == 1
    await scheduler.check()
    assert (sample("ingest_partitions_dropped_total"), table.closed) == (1, 2)


async def test_nothing_is_done_while_somebody_else_is_at_it(scheduler: RetentionScheduler, table: FakeTable) -> None:
    table.busy = True

    await scheduler.check()

    assert (table.names[0], len(table.made), table.closed) == (name_of(OLD), 3, 1)


async def test_day_with_an_event_that_is_not_published_is_kept_and_logged(
    scheduler: RetentionScheduler, table: FakeTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.needed = end_of(OLD) - 1

    await scheduler.check()

    assert table.names[0] == name_of(OLD)
    levels = [record.levelno for record in caplog.records if "kept although it is due" in record.message]
    assert levels == [logging.WARNING]


@pytest.mark.parametrize("days", [40, -40])
async def test_nothing_is_dropped_or_made_while_the_clocks_are_apart(
    scheduler: RetentionScheduler, table: FakeTable, clock: FakeClock, days: int
) -> None:
    clock.advance(days * 86_400)

    with pytest.raises(StoreError, match=r"This host's clock says 20.*Z, the database's 20.*Z: more than 60 s apart"):
        await scheduler.check()

    assert table.names == [name_of(day) for day in (OLD, KEPT, TODAY)]


async def test_each_drop_is_planned_again(scheduler: RetentionScheduler, table: FakeTable) -> None:
    """An event becomes a dead letter while the day before its own is dropped."""
    table.made.insert(0, Partition(name_of(OLDER), end_of(OLDER)))

    def add_dead() -> None:
        table.needed = end_of(OLD) - 1

    table.dropping = add_dead

    await scheduler.check()

    assert table.names[0] == name_of(OLD)


async def test_day_whose_rows_are_newer_than_its_ids_say_is_not_dropped(
    scheduler: RetentionScheduler, table: FakeTable
) -> None:
    table.rows = [Row(end_of(OLD) - 1, NOW_US)]

    with pytest.raises(StoreError, match=f"disagree in partition {name_of(OLD)}"):
        await scheduler.check()

    assert table.names[0] == name_of(OLD)


async def test_table_that_is_not_whole_loses_no_day(scheduler: RetentionScheduler, table: FakeTable) -> None:
    table.wrong = "its conversion has not ended"

    with pytest.raises(StoreError, match="not ended"):
        await scheduler.check()

    assert table.names == [name_of(day) for day in (OLD, KEPT, TODAY)]


async def test_day_with_late_rows_is_left_to_the_next_check(
    scheduler: RetentionScheduler, table: FakeTable, sample: Sample
) -> None:
    table.late = True

    await scheduler.check()

    assert (table.names[0], sample("ingest_partitions_dropped_total")) == (name_of(OLD), 0)


async def test_day_is_archived_before_it_is_dropped_or_it_stays(
    table: FakeTable, clock: FakeClock, metrics: Metrics, sample: Sample, tmp_path: Path
) -> None:
    folder = ArchiveFolder(tmp_path / "archive", tmp_path / "memory.json")
    archiver = Archiver(folder, clock.now_us, partial(count_archived, metrics))
    scheduler = RetentionScheduler(table.open, 2, None, 0.01, clock.now_us, metrics, archiver)
    working = asyncio.create_task(scheduler.run())

    await until(lambda: sample("ingest_archive_failures_total"))
    assert table.names[0] == name_of(OLD)
    assert sample("ingest_check_failing", check="retention") == 1

    (tmp_path / "archive").mkdir()
    await until(lambda: name_of(OLD) not in table.names)
    working.cancel()
    ((data, manifest),) = folder.archives()
    assert (manifest.day, sample("ingest_events_archived_total")) == (str(OLD), 3)
    assert sample("ingest_archived_bytes_total") == data.stat().st_size


async def test_interrupted_drop_is_finished_first(scheduler: RetentionScheduler, table: FakeTable) -> None:
    await scheduler.check()

    assert table.finished == [end_of(TODAY - timedelta(days=2))]


async def test_table_without_partitions_is_logged(scheduler: RetentionScheduler, table: FakeTable) -> None:
    table.made = []

    with pytest.raises(StoreError, match="retention --convert"):
        await scheduler.check()

    assert table.closed == 1


async def test_failures_are_counted_and_tried_again(
    scheduler: RetentionScheduler, table: FakeTable, sample: Sample
) -> None:
    table.errors = [ZeroDivisionError("a bug"), StoreUnavailable("away")]
    working = asyncio.create_task(scheduler.run())

    await until(lambda: name_of(OLD) not in table.names)

    assert sample("ingest_retention_failures_total") == 2
    working.cancel()


async def test_retention_fails_until_a_check_succeeds(
    scheduler: RetentionScheduler, table: FakeTable, sample: Sample
) -> None:
    failing: list[float | None] = []
    table.errors = [StoreUnavailable("away")]
    table.dropping = lambda: failing.append(sample("ingest_check_failing", check="retention"))
    working = asyncio.create_task(scheduler.run())

    await until(lambda: failing and sample("ingest_check_failing", check="retention") == 0)

    assert failing == [1]
    working.cancel()
