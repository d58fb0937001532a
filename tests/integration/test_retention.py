"""`ingest retention` on real databases, while events are stored."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import pytest

from ingest.ids import first_id_of
from ingest.retention import AHEAD_DAYS, name_of
from tests.conftest import StartService
from tests.exposition import scrape
from tests.faults.load import Load
from tests.faults.reading import rows_of
from tests.faults.scene import let_pass
from tests.running import ServiceProcess
from tests.services import MySQLServer, wait_until

SECONDS = 20.0
INSERT = "INSERT INTO call_event_logs VALUES ({}, 'old-call', 'call_started', '{{}}', '2025-01-01')"


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    running = start_service(WORKERS="2")
    running.wait_for_status("ready")
    return running


def today() -> date:
    return datetime.now(UTC).date()


def id_of(day: date) -> int:
    """Of an event at noon."""
    return first_id_of(int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1000))


def old_event(mysql: MySQLServer, settings: Mapping[str, str], days: int) -> int:
    event_id = id_of(today() - timedelta(days=days))
    mysql.query(INSERT.format(event_id), settings["DATABASE_URL"].rpartition("/")[2])
    return event_id


def told(service: ServiceProcess, *words: str) -> list[str]:
    return service.command("retention", *words).stdout.splitlines()


def test_table_is_partitioned_while_events_are_stored_and_old_days_go(
    service: ServiceProcess, full_settings: Mapping[str, str], mysql: MySQLServer
) -> None:
    old = [old_event(mysql, full_settings, days) for days in (40, 39, 2)]
    refused = service.command("retention", check=False)
    assert (refused.returncode, "--convert" in refused.stderr) == (1, True)
    with Load(service.port, 200) as load:
        let_pass(1)
        lines = told(service, "--convert")
        let_pass(1)
    assert lines[0].startswith("call_event_logs is partitioned by days")
    rows = dict(rows_of(full_settings["DATABASE_URL"]))
    assert set(load.ledger.ok) <= set(rows.values())
    assert set(old) <= rows.keys()
    assert not load.ledger.refused
    assert any(line.startswith(f"{name_of(today() + timedelta(days=AHEAD_DAYS))}  about") for line in lines)

    forty, thirty_nine = (name_of(today() - timedelta(days=days)) for days in (40, 39))
    planned = told(service, "--days", "40", "--dry-run")
    assert any(line.startswith(f"{forty} would be dropped") for line in planned)
    database = full_settings["DATABASE_URL"].rpartition("/")[2]
    mysql.query("CREATE TABLE call_event_logs_dropped (id BIGINT)", database)  # as an interruption leaves it
    dropped = told(service, "--days", "40")
    assert not mysql.query("SHOW TABLES LIKE 'call_event_logs_dropped'", database)
    assert any(line.startswith(f"{forty} dropped") for line in dropped)
    assert any(line.startswith(f"{thirty_nine}  about") for line in dropped)
    assert old[0] not in dict(rows_of(full_settings["DATABASE_URL"]))
    assert old[1] in dict(rows_of(full_settings["DATABASE_URL"]))
    assert not [line for line in told(service, "--days", "40") if "dropped" in line or " made" in line]

    again = service.command("retention", "--convert", check=False)
    assert "partitioned already" in again.stderr


def test_day_with_an_event_that_is_not_published_is_kept(
    service: ServiceProcess, full_settings: Mapping[str, str], mysql: MySQLServer
) -> None:
    event_id = old_event(mysql, full_settings, 5)
    told(service, "--convert")
    database = full_settings["DATABASE_URL"].rpartition("/")[2]
    mysql.query(f"INSERT INTO ingest_dead_letters VALUES ({event_id}, 'refused', '2025-01-01', '')", database)

    kept = told(service, "--days", "1")

    name = name_of(today() - timedelta(days=5))
    assert any(line.startswith(f"{name} is kept") for line in kept)
    assert event_id in dict(rows_of(full_settings["DATABASE_URL"]))
    mysql.query("DELETE FROM ingest_dead_letters", database)
    assert wait_until(lambda: any(line.startswith(f"{name} dropped") for line in told(service, "--days", "1")), SECONDS)


def test_service_drops_old_days_by_itself(
    start_service: StartService, full_settings: Mapping[str, str], mysql: MySQLServer
) -> None:
    service = start_service(WORKERS="2", RETENTION_DAYS="5", RETENTION_CHECK_SECONDS="0.2")
    event_id = old_event(mysql, full_settings, 5)

    def said(message: str) -> list[str]:
        return [line["reason"] for line in service.log_lines() if line["message"] == message]

    assert wait_until(lambda: bool(said("retention failed")), SECONDS)
    assert "ingest retention --convert" in said("retention failed")[0]

    with Load(service.port, 200) as load:
        told(service, "--convert")
        assert wait_until(lambda: event_id not in dict(rows_of(full_settings["DATABASE_URL"])), SECONDS)

    assert set(load.ledger.ok) <= set(dict(rows_of(full_settings["DATABASE_URL"])).values())
    assert not load.ledger.refused
    names = [line.split()[0] for line in told(service)]
    assert names[0] == name_of(today() - timedelta(days=4))
    assert wait_until(lambda: scrape(service).total("ingest_partitions_dropped_total") == 1, SECONDS)


def test_interrupted_conversion_goes_on(
    service: ServiceProcess, full_settings: Mapping[str, str], mysql: MySQLServer
) -> None:
    """As left by one that was killed after the tables had changed places, with a newer row come since."""
    database = full_settings["DATABASE_URL"].rpartition("/")[2]
    old = [old_event(mysql, full_settings, days) for days in (3, 2)]
    told(service, "--convert")
    mysql.query("CREATE TABLE call_event_logs_unpartitioned LIKE call_event_logs", database)
    mysql.query("ALTER TABLE call_event_logs_unpartitioned REMOVE PARTITIONING", database)
    mysql.query("INSERT INTO call_event_logs_unpartitioned SELECT * FROM call_event_logs", database)
    mysql.query(f"DELETE FROM call_event_logs WHERE id = {old[0]}", database)
    assert told(service, "--convert")[0].endswith("1 rows were moved")
    assert set(old) <= dict(rows_of(full_settings["DATABASE_URL"])).keys()
    assert mysql.query("SHOW TABLES LIKE 'call_event_logs_%'", database) == []
