"""`ingest retention` on real databases, while events are stored."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest

from ingest.events.ids import first_id_of
from ingest.retention.partitions import AHEAD_DAYS, name_of
from tests.conftest import StartService
from tests.exposition import scrape
from tests.faults.harness.clock import LIBRARIES
from tests.faults.harness.load import Load
from tests.faults.harness.scene import let_pass
from tests.faults.reading import rows_of
from tests.running import ServiceProcess
from tests.services import MySQLServer, wait_until

SECONDS = 60.0
INSERT = "INSERT INTO call_event_logs VALUES ({}, 'old-call', 'call_started', '{{}}', '2025-01-01')"


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    running = start_service(WORKERS="2")
    running.wait_for_status("ready")
    return running


def names_of_days(service: ServiceProcess) -> list[str]:
    """Return the first word of each line. The rest has the server's estimates, which change at any time."""
    return [line.split()[0] for line in output_of(service)]


def all_stored(settings: Mapping[str, str], load: Load) -> bool:
    """Return True if the table has all accepted events. On a busy machine some come by the spool."""
    return set(load.ledger.ok) <= set(dict(rows_of(settings["DATABASE_URL"])).values())


def today() -> date:
    return datetime.now(UTC).date()


def id_of(day: date) -> int:
    """The id of an event at noon."""
    return first_id_of(int(datetime(day.year, day.month, day.day, 12, tzinfo=UTC).timestamp() * 1000))


def old_event(mysql: MySQLServer, settings: Mapping[str, str], days: int) -> int:
    event_id = id_of(today() - timedelta(days=days))
    mysql.query(INSERT.format(event_id), settings["DATABASE_URL"].rpartition("/")[2])
    return event_id


def output_of(service: ServiceProcess, *words: str) -> list[str]:
    return service.command("retention", *words).stdout.splitlines()


def test_table_is_partitioned_while_events_are_stored_and_old_days_go(
    service: ServiceProcess, full_settings: Mapping[str, str], mysql: MySQLServer
) -> None:
    old = [old_event(mysql, full_settings, days) for days in (40, 39, 2)]
    refused = service.command("retention", check=False)
    assert (refused.returncode, "--convert" in refused.stderr) == (1, True)
    with Load(service.port, 200) as load:
        let_pass(1)
        lines = output_of(service, "--convert")
        let_pass(1)
    assert lines[0].startswith("call_event_logs is partitioned by days")
    assert wait_until(partial(all_stored, full_settings, load), SECONDS)
    assert set(old) <= dict(rows_of(full_settings["DATABASE_URL"])).keys()
    assert not load.ledger.refused
    assert any(line.startswith(f"{name_of(today() + timedelta(days=AHEAD_DAYS))}  about") for line in lines)

    forty, thirty_nine = (name_of(today() - timedelta(days=days)) for days in (40, 39))
    planned = output_of(service, "--days", "40", "--dry-run")
    assert any(line.startswith(f"{forty} would be dropped") for line in planned)
    database = full_settings["DATABASE_URL"].rpartition("/")[2]
    mysql.query("CREATE TABLE call_event_logs_dropped (id BIGINT)", database)  # an interruption leaves it so
    dropped = output_of(service, "--days", "40")
    assert not mysql.query("SHOW TABLES LIKE 'call_event_logs_dropped'", database)
    assert any(line.startswith(f"{forty} dropped") for line in dropped)
    assert any(line.startswith(f"{thirty_nine}  about") for line in dropped)
    assert old[0] not in dict(rows_of(full_settings["DATABASE_URL"]))
    assert old[1] in dict(rows_of(full_settings["DATABASE_URL"]))
    assert not [line for line in output_of(service, "--days", "40") if "dropped" in line or " made" in line]

    again = service.command("retention", "--convert", check=False)
    assert "partitioned already" in again.stderr


def test_day_with_an_event_that_is_not_published_is_kept(
    service: ServiceProcess, full_settings: Mapping[str, str], mysql: MySQLServer
) -> None:
    event_id = old_event(mysql, full_settings, 5)
    old_event(mysql, full_settings, 0)  # the newest event's day stays at any age
    output_of(service, "--convert")
    database = full_settings["DATABASE_URL"].rpartition("/")[2]
    mysql.query(f"INSERT INTO ingest_dead_letters VALUES ({event_id}, 'refused', '2025-01-01', '')", database)

    kept = output_of(service, "--days", "1")

    name = name_of(today() - timedelta(days=5))
    assert any(line.startswith(f"{name} is kept") for line in kept)
    assert event_id in dict(rows_of(full_settings["DATABASE_URL"]))
    mysql.query("DELETE FROM ingest_dead_letters", database)
    assert wait_until(
        lambda: any(line.startswith(f"{name} dropped") for line in output_of(service, "--days", "1")), SECONDS
    )


def test_service_archives_and_drops_old_days_by_itself(
    start_service: StartService, full_settings: Mapping[str, str], mysql: MySQLServer, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    kept = {"RETENTION_DAYS": "5", "RETENTION_CHECK_SECONDS": "0.2", "RETENTION_ARCHIVE": str(archive)}
    service = start_service(WORKERS="2", **kept)
    event_id = old_event(mysql, full_settings, 5)

    def said(message: str) -> list[str]:
        return [line["reason"] for line in service.log_lines() if line["message"] == message]

    assert wait_until(lambda: bool(said("retention failed")), SECONDS)
    assert "ingest retention --convert" in said("retention failed")[0]

    with Load(service.port, 200) as load:
        output_of(service, "--convert")
        assert wait_until(lambda: event_id not in dict(rows_of(full_settings["DATABASE_URL"])), SECONDS)

    assert wait_until(partial(all_stored, full_settings, load), SECONDS)
    assert not load.ledger.refused
    names = [line.split()[0] for line in output_of(service)]
    assert names[0] == name_of(today() - timedelta(days=4))
    assert wait_until(lambda: scrape(service).total("ingest_partitions_dropped_total") == 1, SECONDS)
    assert wait_until(lambda: scrape(service).total("ingest_events_archived_total") == 1, SECONDS)
    (data,) = archive.rglob("*.zst")
    assert any(line.startswith("archive ") and str(data) in line for line in output_of(service))
    replayed = service.command("replay", "--from", str(data), "--queue", f"{full_settings['QUEUE']}-again").stdout
    assert replayed.startswith("1 events published")


@pytest.fixture
def forty_days_ahead() -> Mapping[str, str]:
    """Settings of libfaketime that give a command a wrong clock."""
    library = next(iter(sorted(Path("/").glob(LIBRARIES))))
    return {"LD_PRELOAD": str(library), "FAKETIME": "+40d", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


def test_clock_that_is_wrong_drops_no_day(
    service: ServiceProcess,
    full_settings: Mapping[str, str],
    mysql: MySQLServer,
    forty_days_ahead: Mapping[str, str],
) -> None:
    events = {old_event(mysql, full_settings, days) for days in (9, 2, 1, 0)}
    output_of(service, "--convert")
    before = names_of_days(service)
    service.environment |= forty_days_ahead

    for words in (["--days", "30"], ["--bytes-max", "1"], ["--days", "30", "--dry-run"], []):
        refused = service.command("retention", *words, check=False)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "more than 60 s apart. Nothing was changed" in refused.stderr

    for name in forty_days_ahead:
        del service.environment[name]
    assert names_of_days(service) == before
    assert set(dict(rows_of(full_settings["DATABASE_URL"]))) == events


def test_last_days_of_a_table_that_takes_no_more_events_stay(
    service: ServiceProcess, full_settings: Mapping[str, str], mysql: MySQLServer
) -> None:
    events = [old_event(mysql, full_settings, days) for days in (50, 42, 41, 40)]
    output_of(service, "--convert")

    assert "dropped" not in "".join(output_of(service, "--days", "30"))
    dropped = [line.split()[0] for line in output_of(service, "--days", "2", "--bytes-max", "1") if "dropped" in line]

    assert name_of(today() - timedelta(days=42)) in dropped
    assert sorted(dict(rows_of(full_settings["DATABASE_URL"]))) == events[3:]
