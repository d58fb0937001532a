"""What the service does by itself about old days."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from ingest.errors import StoreError, StoreUnavailable
from ingest.metrics import Metrics
from ingest.retention import AHEAD_DAYS, Partition, days, end_of, name_of
from ingest.retention_keeper import RetentionKeeper
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, until
from tests.unit.making import NOW_US

TODAY = datetime.fromtimestamp(NOW_US / 1e6, UTC).date()
OLD, KEPT = TODAY - timedelta(days=3), TODAY - timedelta(days=1)


class FakeTable:
    """Its partitions are days; `busy` is somebody else who changes them."""

    def __init__(self) -> None:
        self.made = [Partition(name_of(day), end_of(day), 10, 100) for day in (OLD, KEPT, TODAY)]
        self.needed: int | None = None
        self.busy = False
        self.closed = 0
        self.errors: list[Exception] = []

    async def open(self) -> "FakeTable":
        if self.errors:
            raise self.errors.pop()
        return self

    async def lock(self, seconds_max: int) -> bool:
        return not self.busy

    async def partitions(self) -> list[Partition]:
        return [*self.made, Partition("pmax", None)] if self.made else []

    async def oldest_needed(self) -> int | None:
        return self.needed

    async def create(self, of_days: Sequence[date]) -> None:
        self.made += [Partition(name_of(day), end_of(day)) for day in of_days]

    async def drop(self, partition: Partition) -> None:
        self.made.remove(partition)

    async def close(self) -> None:
        self.closed += 1

    @property
    def names(self) -> list[str]:
        return [partition.name for partition in self.made]


@pytest.fixture
def table() -> FakeTable:
    return FakeTable()


@pytest.fixture
def keeper(table: FakeTable, clock: FakeClock, metrics: Metrics) -> RetentionKeeper:
    return RetentionKeeper(table.open, 2, None, 0.01, clock.now_us, metrics)


async def test_days_to_come_are_made_and_old_ones_dropped(
    keeper: RetentionKeeper, table: FakeTable, sample: Sample
) -> None:
    await keeper.check()

    assert table.names == [name_of(day) for day in days(KEPT, TODAY + timedelta(days=AHEAD_DAYS))]
    assert sample("ingest_partitions_dropped_total") == 1
    await keeper.check()
    assert (sample("ingest_partitions_dropped_total"), table.closed) == (1, 2)


async def test_nothing_is_done_while_somebody_else_is_at_it(keeper: RetentionKeeper, table: FakeTable) -> None:
    table.busy = True

    await keeper.check()

    assert (table.names[0], len(table.made), table.closed) == (name_of(OLD), 3, 1)


async def test_day_with_an_event_that_is_not_published_is_kept_and_told(
    keeper: RetentionKeeper, table: FakeTable, caplog: pytest.LogCaptureFixture
) -> None:
    table.needed = end_of(OLD) - 1

    await keeper.check()

    assert table.names[0] == name_of(OLD)
    told = [record.levelno for record in caplog.records if "kept beyond its time" in record.message]
    assert told == [logging.WARNING]


async def test_table_without_partitions_is_told(keeper: RetentionKeeper, table: FakeTable) -> None:
    table.made = []

    with pytest.raises(StoreError, match="retention --convert"):
        await keeper.check()

    assert table.closed == 1


async def test_failures_are_counted_and_tried_again(keeper: RetentionKeeper, table: FakeTable, sample: Sample) -> None:
    table.errors = [ZeroDivisionError("a bug"), StoreUnavailable("away")]
    working = asyncio.create_task(keeper.run())

    await until(lambda: name_of(OLD) not in table.names)

    assert sample("ingest_retention_failures_total") == 2
    working.cancel()
