"""The spool of the real service. MySQL refuses writes, the service still takes events, and all reach MySQL later."""

import json
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ingest.spool.files import damaged, segments_of
from ingest.spool.segments.format import ENTRY_BYTES, HEAD_BYTES
from ingest.status.health import CHECK_SECONDS
from tests.commands import told
from tests.conftest import StartService
from tests.faults.harness.wire import Wire
from tests.faults.reading import await_messages, spooled
from tests.running import EVENT, ServiceProcess
from tests.services import MySQLServer, wait_until

SECONDS = 60.0


class Database:
    """The service's own database. A test can hide its table, so that every commit fails."""

    def __init__(self, server: MySQLServer, url: str) -> None:
        self._server = server
        self._name = url.rpartition("/")[2]

    @contextmanager
    def away(self) -> Iterator[None]:
        self.hide()
        try:
            yield
        finally:
            self.show()

    def hide(self) -> None:
        self._server.query("RENAME TABLE call_event_logs TO hidden", self._name)

    def show(self) -> None:
        self._server.query("RENAME TABLE hidden TO call_event_logs", self._name)

    def call_ids(self) -> Counter[str]:
        return Counter(row[0] for row in self._server.query("SELECT call_id FROM call_event_logs", self._name))


@pytest.fixture
def database(mysql: MySQLServer, full_settings: Mapping[str, str]) -> Database:
    return Database(mysql, full_settings["DATABASE_URL"])


def data_dir(service: ServiceProcess) -> Path:
    return Path(service.environment["INGEST_DATA_DIR"])


def folder_of(service: ServiceProcess) -> Path:
    return data_dir(service) / "spool"


def post(service: ServiceProcess, count: int, start: int = 0, **more: Any) -> list[str]:
    """Post this number of events, one after the other. Each must be answered 200. Return their call ids."""
    call_ids = [f"spooled-{number}@tests.example.com" for number in range(start, start + count)]
    for call_id in call_ids:
        assert service.post({**EVENT, "call_id": call_id, **more})[0] == 200, service.log()
    return call_ids


def report(service: ServiceProcess) -> dict[str, Any]:
    return dict(json.loads(service.request("GET", "/readyz")[1]))


def wait_until_drained(service: ServiceProcess) -> None:
    assert wait_until(lambda: spooled(data_dir(service)) == 0, SECONDS), service.log()


def test_events_are_taken_published_and_moved_once(
    start_service: StartService, database: Database, full_settings: Mapping[str, str]
) -> None:
    service = start_service()
    before = post(service, 2)
    with database.away():
        during = post(service, 5, start=2)

        messages = await_messages(full_settings["BROKER_URL"], full_settings["QUEUE"], 7)
        assert [json.loads(body)["call_id"] for _, body in messages] == before + during
        service.wait_for_status("degraded")
        assert wait_until(lambda: report(service)["checks"]["spool"] == "5 events wait for the database", SECONDS)
        assert database_said(service)[-1] == "MySQL commit failed"

    wait_until_drained(service)
    service.wait_for_status("ready")
    after = post(service, 2, start=7)

    assert database.call_ids() == Counter(before + during + after)
    said = database_said(service)  # on a loaded machine an earlier commit may have timed out
    assert said == ["MySQL commit failed", "MySQL commit works again"] * (len(said) // 2)
    later = await_messages(full_settings["BROKER_URL"], full_settings["QUEUE"], 2)
    assert [json.loads(body)["call_id"] for _, body in later] == after


def test_deleted_spool_is_noticed_while_the_database_does_not_answer(
    start_service: StartService, database: Database, full_settings: Mapping[str, str]
) -> None:
    with Wire(full_settings["DATABASE_URL"]) as wire:
        service = start_service(DATABASE_URL=wire.url, COMMIT_TIMEOUT_SECONDS=str(3 * SECONDS))
        with database.away():
            sent = post(service, 3)
            with wire.swallowing():
                time.sleep(2 * CHECK_SECONDS)  # a check of the database has begun, and waits
                shutil.rmtree(folder_of(service))
                assert wait_until(lambda: "deleted" in report(service)["checks"]["spool files"], SECONDS), service.log()
                service.kill()

        service.start()
        wait_until_drained(service)
        assert database.call_ids() == Counter(sent)


def database_said(service: ServiceProcess) -> list[str]:
    return [line["message"] for line in service.log_lines() if line["message"].startswith("MySQL commit")]


def test_service_that_starts_without_its_database_has_what_the_last_one_kept(
    start_service: StartService, database: Database
) -> None:
    service = start_service(WORKERS="2")
    sent = post(service, 2)
    with database.away():
        sent += post(service, 4, start=2)
        service.kill()
        service.start()
        service.wait_for_status("degraded", "ready")
        sent += post(service, 4, start=6)

    wait_until_drained(service)
    service.stop()

    assert database.call_ids() == Counter(sent)


@pytest.mark.parametrize("settings", [{"SPOOL_BYTES_MAX": "0"}, {"SPOOL_BYTES_MAX": "100"}], ids=["off", "full"])
def test_without_room_the_answer_is_500_and_the_service_is_not_ready(
    start_service: StartService, database: Database, settings: Mapping[str, str]
) -> None:
    service = start_service(**settings)
    kept = post(service, 1)
    with database.away():
        status, answer = service.post({**EVENT, "call_id": "refused"})
        assert (status, set(json.loads(answer))) == (500, {"message"})
        if settings["SPOOL_BYTES_MAX"] != "0":
            assert "spool is full" in json.loads(answer)["message"]

    assert wait_until(lambda: service.post({**EVENT, "call_id": "taken"})[0] == 200, SECONDS)
    assert database.call_ids() == Counter([*kept, "taken"])


def test_readyz_reports_a_disk_that_must_keep_room(start_service: StartService, database: Database) -> None:
    service = start_service(SPOOL_FREE_BYTES_MIN=str(1 << 60))
    with database.away():
        assert service.post(EVENT)[0] == 500
        service.wait_for_status("unavailable")
        assert wait_until(lambda: "bytes free" in report(service)["checks"]["spool"], SECONDS)
    service.wait_for_status("ready")


def test_damaged_spool_costs_only_what_is_damaged(start_service: StartService, database: Database) -> None:
    service = start_service()
    service.post(EVENT)
    with database.away():
        sent = post(service, 40, note="x" * 100)
        service.stop()
        damage(segment_of(service))
        service.start()
        service.wait_for_status("degraded", "ready")

    wait_until_drained(service)
    assert wait_until(lambda: len(damaged(folder_of(service))) == 1, SECONDS), service.log()

    found = database.call_ids()
    assert found - Counter([*sent, EVENT["call_id"]]) == Counter()
    assert 36 <= len(found) < 41
    assert wait_until(lambda: "the spool's files are damaged" in service.log(), SECONDS)
    service.wait_for_status("degraded")
    assert wait_until(lambda: "hold damage" in report(service)["checks"]["spool files"], SECONDS)
    listed, verified = service.command("spool", "ls").stdout, service.command("spool", "verify", check=False)
    assert "damaged; all whole records were read out of it" in listed
    assert verified.returncode == 1
    damaged(folder_of(service))[0].unlink()
    service.wait_for_status("ready")


def segment_of(service: ServiceProcess) -> Path:
    (path,) = segments_of(folder_of(service), 0)
    return path


def damage(path: Path) -> None:
    """Damage the file's head with that of its first entry, and bytes in the middle."""
    content = bytearray(path.read_bytes())
    content[:50] = bytes(50)
    content[len(content) // 2 : len(content) // 2 + 300] = bytes(300)
    path.write_bytes(content)


def test_commands_list_verify_and_drain_it(start_service: StartService, database: Database) -> None:
    service = start_service()
    assert "empty" in service.command("spool", "ls").stdout
    with database.away():
        sent = post(service, 3)
        in_use = service.command("spool", "drain", check=False)
        assert (in_use.returncode, told(in_use.stderr)) == (
            1,
            "ingest: The service is running, and moves its spool to the database itself.\n",
        )
        service.stop()
        listed = service.command("spool", "ls").stdout
        assert "left behind; 3 events" in listed
        assert "0 events unpublished" in listed
        assert service.command("spool", "verify").stdout.endswith("3 events are whole\n")
        assert service.command("spool", "drain", check=False).returncode == 1

    assert service.command("spool", "drain").stdout == "3 events were moved to the database.\n"

    assert database.call_ids() == Counter(sent)
    assert "empty" in service.command("spool", "ls").stdout


def test_verify_names_a_damaged_record_and_the_service_sets_it_aside(
    start_service: StartService, database: Database
) -> None:
    service = start_service()
    with database.away():
        sent = post(service, 3)
        service.stop()
        with segment_of(service).open("r+b") as file:
            first_id = int.from_bytes(file.read()[HEAD_BYTES + 9 : HEAD_BYTES + 17], "little")
            file.seek(HEAD_BYTES + ENTRY_BYTES + 20)
            file.write(bytes(20))
        verified = service.command("spool", "verify", check=False)
        assert (verified.returncode, f"damaged records: {first_id}" in verified.stdout) == (1, True)
        service.start()
        service.wait_for_status("degraded", "ready")

    wait_until_drained(service)

    assert database.call_ids() == Counter(sent[1:])
    assert wait_until(lambda: "could not be brought to the database" in service.log(), SECONDS)
    assert wait_until(lambda: "set aside" in report(service)["checks"]["spool"], SECONDS)
    assert f"id {first_id} on: the record is damaged" in service.command("spool", "ls").stdout
    assert told(service.command("spool", "retry", "1", check=False).stderr).startswith(
        "ingest: No events, or none with these ids, are set aside"
    )
    assert service.command("spool", "retry", str(first_id)).stdout.startswith("1 events wait")
    assert wait_until(lambda: service.log().count("could not be brought to the database") == 2, SECONDS)
