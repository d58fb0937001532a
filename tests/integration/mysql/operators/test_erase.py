"""`ingest erase` on real servers, while events are stored."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ingest.events.ids import first_id_of
from tests.conftest import StartService
from tests.faults.harness.load import Load
from tests.faults.reading import channel_to, rows_of
from tests.services import MySQLServer, wait_until
from tests.unit.making import body

NUMBER = "+994501234567"
SECONDS = 60.0
ERASE_SECONDS = 240.0
"""The command has the lowest priority, and a machine that is busy with other tests gives it little time."""
WRITTEN = "00994 50 123-45-67"
INSERT = "INSERT INTO call_event_logs VALUES ({}, 'old-call', 'call_started', '{}', '{}')"


@pytest.mark.timeout(600)
def test_number_leaves_every_place_while_events_are_stored(
    start_service: StartService, full_settings: Mapping[str, str], mysql: MySQLServer, tmp_path: Path
) -> None:
    (tmp_path / "archive").mkdir()
    service = start_service(WORKERS="2", RETENTION_ARCHIVE=str(tmp_path / "archive"))
    service.wait_for_status("ready")
    five_days_ago = datetime.now(UTC) - timedelta(days=5)
    old = first_id_of(int(five_days_ago.timestamp() * 1000))
    old_body = body(from_number=WRITTEN).decode()
    mysql.query(INSERT.format(old, old_body, five_days_ago.date()), full_settings["DATABASE_URL"].rpartition("/")[2])
    for number in range(3):
        assert service.post(body(call_id=f"mine-{number}", to_number=NUMBER))[0] == 200
    mine = {row_id for row_id, call_id in rows_of(full_settings["DATABASE_URL"]) if call_id.startswith("mine-")}
    service.command("retention", "--convert")
    archived = service.command("retention", "--days", "3").stdout

    with Load(service.port, 200) as load:
        erased = service.command("erase", "--number", NUMBER, "--yes", "--json", seconds=ERASE_SECONDS)
        report = json.loads(erased.stdout)

    assert f"{five_days_ago.date()} archived in" in archived
    assert (report["problems"], report["found"]["table"], report["found"]["archives"]) == ([], 3, 1)

    def rows() -> dict[int, str]:
        return dict(rows_of(full_settings["DATABASE_URL"]))

    assert wait_until(lambda: set(load.ledger.ok) <= set(rows().values()), SECONDS)
    assert mine.isdisjoint(rows())
    assert not load.ledger.refused
    again = json.loads(service.command("erase", "--number", NUMBER, "--json").stdout)
    assert sum(again["found"].values()) == 0
    assert wait_until(lambda: told_by_tombstones(full_settings) >= {*mine, old}, SECONDS)
    assert NUMBER[1:] not in service.log()
    assert '"erasure"' in service.command("audit").stdout


def told_by_tombstones(settings: Mapping[str, str]) -> set[int]:
    """The ids in messages that have the service's own header. The messages go back to the queue."""
    told = set()
    with channel_to(settings["BROKER_URL"]) as channel:
        while (found := channel.basic_get(settings["QUEUE"]))[0]:
            _, properties, content = found
            if "erasure" in (properties.headers or {}):
                told |= {int(event_id) for event_id in json.loads(content)["erased_ids"]}
    return told
