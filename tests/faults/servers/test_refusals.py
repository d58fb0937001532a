"""A database that answers and takes no commits: no event is blamed for it, and none is lost."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.faults.harness.disk import small_disk
from tests.faults.harness.scene import Scene
from tests.faults.report import Report
from tests.services import wait_until
from tests.services.mysql import PrivateMySQL

SECONDS = 30.0
TMPDIR_BYTES = 1 << 20

Fault = Callable[[Scene], AbstractContextManager[None]]


@contextmanager
def back_read_only(here: Scene) -> Iterator[None]:
    """As after a crash, when an operator recovers what can be."""
    assert isinstance(here.mysql, PrivateMySQL)
    with here.mysql.back_with("--innodb-force-recovery=4", "--skip-log-bin"):  # MySQL cannot write one then
        yield


@contextmanager
def back_without_writes(here: Scene) -> Iterator[None]:
    assert isinstance(here.mysql, PrivateMySQL)
    with here.mysql.back_with("--innodb-read-only", "--skip-log-bin"):
        yield


@contextmanager
def with_a_full_tmpdir(here: Scene) -> Iterator[None]:
    """What of a transaction is larger than the binary log's cache goes there: most commits fail, and some do not."""
    assert isinstance(here.mysql, PrivateMySQL)
    options = ("--log-bin=binary-log", "--server-id=1", "--binlog-cache-size=4096")
    with (
        small_disk(here.mysql.sandbox.path / "small", TMPDIR_BYTES) as disk,
        here.mysql.back_with(f"--tmpdir={here.mysql.inside('small')}", *options),
        disk.full(),
    ):
        yield


@contextmanager
def with_a_foreign_column(here: Scene) -> Iterator[None]:
    database = here.database_url.rpartition("/")[2]
    here.mysql.query("ALTER TABLE call_event_logs ADD COLUMN tenant INT NOT NULL", database)
    try:
        yield
    finally:
        here.mysql.query("ALTER TABLE call_event_logs DROP COLUMN tenant", database)


@contextmanager
def without_a_table(here: Scene) -> Iterator[None]:
    database = here.database_url.rpartition("/")[2]
    here.mysql.query("RENAME TABLE ingest_outbox TO elsewhere", database)
    try:
        yield
    finally:
        here.mysql.query("RENAME TABLE elsewhere TO ingest_outbox", database)


FAULTS: dict[str, Fault] = {
    "server back read-only": back_read_only,
    "server back without writes": back_without_writes,
    "tmpdir full": with_a_full_tmpdir,
    "column of somebody's that refuses every row": with_a_foreign_column,
    "table gone": without_a_table,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_database_that_takes_no_commits_blames_no_event(here: Scene, report: Report, fault: str) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        with FAULTS[fault](here):
            assert wait_until(lambda: here.problem("commits") is not None, SECONDS), here.service.log()
            here.wait_for_steady(load)
        here.wait_for_steady(load)
    result = report.add(fault, 1, here.account(load.ledger))
    assert not result.faults, result
    assert not result.refused, result
    assert here.set_aside() == 0
    assert wait_until(lambda: here.problem("commits") is None, SECONDS)
