"""Which column types hold all values of the service, and when the tables are compared."""

from collections.abc import Sequence

import pytest

from ingest.errors import SchemaError, StoreError, StoreUnavailable
from ingest.store.migrations import migrations
from ingest.store.mysql.schema import Report
from ingest.store.mysql.schema_guard import CHECK_SECONDS, WRONG_SECONDS, SchemaGuard
from ingest.store.schema_types import fits
from ingest.store.table_shapes import expected_tables, statements
from tests.unit.fakes import FakeClock


@pytest.mark.parametrize(
    ("wanted", "found", "fit"),
    [
        ("bigint", "bigint(20)", "same"),
        ("bigint", "bigint(20) unsigned", "wider"),
        ("bigint", "int(11)", None),
        ("smallint", "int", "wider"),
        ("varchar(255)", "varchar(255)", "same"),
        ("varchar(255)", "varchar(191)", None),
        ("varchar(255)", "text", "wider"),
        ("varchar(64)", "tinytext", None),
        ("varchar(64)", "char(64)", None),
        ("varchar(64)", "enum('a')", None),
        ("varchar(255)", "varbinary(1020)", None),
        ("char(36)", "varchar(36)", "wider"),
        ("json", "longtext", "same"),
        ("json", "mediumtext", None),
        ("datetime(6)", "datetime(6)", "same"),
        ("datetime(6)", "datetime", None),
        ("datetime(6)", "timestamp(6)", None),
        ("binary(32)", "binary(64)", None),
        ("binary(32)", "varbinary(32)", "wider"),
        ("varbinary(16)", "blob", "wider"),
        ("longblob", "blob", None),
        ("longblob", "longtext", None),
    ],
)
def test_column_fits_if_it_holds_all_values(wanted: str, found: str, fit: str | None) -> None:
    assert fits(wanted, found, unsigned=True) == fit


def test_column_that_may_be_negative_is_not_unsigned() -> None:
    assert fits("int", "int unsigned", unsigned=False) is None


def test_schema_file_is_understood_whole() -> None:
    made = {
        line.split()[5] for one in migrations("mysql") for line in one.statements if line.startswith("CREATE TABLE")
    }
    assert {table.name for table in expected_tables()} == set(statements()) == made


class Looks:
    """The results of the guard's looks, one after the other."""

    def __init__(self, *reports: Report | StoreError) -> None:
        self._reports = list(reports)
        self.count = 0

    async def __call__(self) -> Report:
        self.count += 1
        report = self._reports.pop(0) if len(self._reports) > 1 else self._reports[0]
        if isinstance(report, StoreError):
            raise report
        return report


async def checked(guard: SchemaGuard, clock: FakeClock, waits: Sequence[float]) -> None:
    for seconds in waits:
        await guard.check()
        clock.advance(seconds)


async def test_tables_are_compared_once_a_minute(clock: FakeClock) -> None:
    looks = Looks(Report(costs=("no index",)))
    guard = SchemaGuard(looks, clock.monotonic)

    await checked(guard, clock, [1.0] * int(CHECK_SECONDS))
    await guard.check_once()
    assert looks.count == 1

    await guard.check()
    assert looks.count == 2


async def test_what_was_mended_works_soon(clock: FakeClock) -> None:
    looks = Looks(Report(stops=("an ENUM",)), Report())
    guard = SchemaGuard(looks, clock.monotonic)

    for _ in range(2):
        with pytest.raises(SchemaError, match="an ENUM"):
            await guard.check_once()
    assert looks.count == 1

    clock.advance(WRONG_SECONDS)
    await guard.check()
    guard.refuse()


async def test_what_was_seen_counts_while_the_question_waits(clock: FakeClock) -> None:
    looks = Looks(Report(unfinished=("half",)), StoreUnavailable("no answer"))
    guard = SchemaGuard(looks, clock.monotonic)

    await checked(guard, clock, [WRONG_SECONDS, WRONG_SECONDS])

    assert (looks.count, guard.unfinished) == (2, "half")


async def test_unseen_tables_take_no_events(clock: FakeClock) -> None:
    guard = SchemaGuard(Looks(StoreUnavailable("away")), clock.monotonic)

    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await guard.check_once()
