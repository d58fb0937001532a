"""Full disks: the spool's while the database is down, and the database's."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.form import Form
from tests.faults.harness.disk import SmallDisk, small_disk
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import RECOVERY_SECONDS, scene, stopped
from tests.faults.reading import spooled
from tests.faults.report import Report
from tests.services import MySQLServer, RabbitMQServer, mysql_server, wait_until

SPOOL_BYTES = 200_000
DATABASE_BYTES = 512 << 20
"""An empty MySQL needs 200 MB, most of it for logs."""
ENOUGH = 50
"""This number of events shows that the disk stays full."""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="call-events-faults-") as name:
        yield Path(name)


@pytest.fixture
def spool_disk(folder: Path) -> Iterator[SmallDisk]:
    with small_disk(folder / "spool", SPOOL_BYTES) as disk:
        yield disk


@pytest.fixture
def database_disk(folder: Path) -> Iterator[SmallDisk]:
    with small_disk(folder / "disk", DATABASE_BYTES) as disk:
        yield disk


@pytest.fixture
def small_mysql(database_disk: SmallDisk, monkeypatch: pytest.MonkeyPatch) -> Iterator[MySQLServer]:
    """A server whose files are on the small disk, as servers use the folder of `tempfile`."""
    monkeypatch.setattr(tempfile, "tempdir", str(database_disk.folder))
    server = mysql_server()
    monkeypatch.undo()
    with server:
        yield server


def test_full_disk_of_the_spool_refuses_events_until_the_database_is_back_and_loses_none(
    mysql: MySQLServer, rabbitmq: RabbitMQServer, spool_disk: SmallDisk, form: Form, report: Report
) -> None:
    settings = {
        "DATA_DIR": str(spool_disk.folder.parent),
        "SPOOL_FREE_BYTES_MIN": "1",
        "LEASE_SECONDS": str(form.lease_seconds),
    }
    with scene(mysql, rabbitmq, settings) as here:
        with here.load() as load:
            here.wait_for_steady(load)
            with stopped(mysql):
                full = wait_until(lambda: len(load.ledger.refused) >= ENOUGH, RECOVERY_SECONDS)
            here.wait_for_steady(load)
        kept = spooled(spool_disk.folder.parent)
        spool_disk.enlarge(2 * SPOOL_BYTES)
        remark = f"{kept} events were in the spool until its disk had room again"
        result = report.add("database stopped, the spool's disk full", 1, here.account(load.ledger), remark=remark)
    assert full
    assert not result.faults, result
    assert result.refused.keys() <= {500, 503}
    assert result.unknown == 0, result


def test_full_disk_of_the_database_is_not_noticed_by_clients_and_loses_nothing(
    small_mysql: MySQLServer, rabbitmq: RabbitMQServer, database_disk: SmallDisk, form: Form, report: Report
) -> None:
    with scene(small_mysql, rabbitmq, {"LEASE_SECONDS": str(form.lease_seconds)}) as here:
        data_dir = Path(here.service.environment["INGEST_DATA_DIR"])
        with here.load() as load:
            here.wait_for_steady(load)
            with database_disk.full():
                full = wait_until(lambda: spooled(data_dir) >= ENOUGH, RECOVERY_SECONDS)
            here.wait_for_steady(load)
        result = report.add("the database's disk full", 1, here.account(load.ledger))
    assert full
    assert_unnoticed(result)
