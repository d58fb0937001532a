"""A database that answers, but refuses commits: the service sets no event aside, and loses no event."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from tests.faults.harness.disk import small_disk
from tests.faults.harness.scene import Scene
from tests.faults.report import Report
from tests.services import wait_until
from tests.services.mysql import PrivateMySQL

SECONDS = 60.0
TMPDIR_BYTES = 1 << 20

Fault = Callable[[Scene], AbstractContextManager[None]]


@contextmanager
def back_read_only(here: Scene) -> Iterator[None]:
    """Restart read-only, as an operator does to recover data after a crash."""
    assert isinstance(here.mysql, PrivateMySQL)
    with here.mysql.back_with(
        "--innodb-force-recovery=4", "--skip-log-bin"
    ):  # MySQL cannot write its binary log in this mode
        yield


@contextmanager
def back_without_writes(here: Scene) -> Iterator[None]:
    assert isinstance(here.mysql, PrivateMySQL)
    with here.mysql.back_with("--innodb-read-only", "--skip-log-bin"):
        yield


@contextmanager
def with_a_full_tmpdir(here: Scene) -> Iterator[None]:
    """Fill TMPDIR, to which large transactions overflow from the binary log's cache: most commits fail."""
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
    "foreign column that refuses every row": with_a_foreign_column,
    "table missing": without_a_table,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_database_that_refuses_commits_sets_no_event_aside(here: Scene, report: Report, fault: str) -> None:
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
