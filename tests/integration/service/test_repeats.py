"""Duplicate requests get the first answer, and their event is stored and published once, on any worker or node."""

from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.conftest import StartService
from tests.exposition import scrape
from tests.faults.harness.scene import stopped
from tests.faults.reading import backlog_of, rows_of, take_messages
from tests.raw_http import Reply, ask, post
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, mysql_server, wait_until
from tests.unit.making import body

BATCH = "/api/call-events/batch"
DUPLICATES = 1000
CLIENTS = 32
SECONDS = 60.0
QUEUED = (200, b'{"status":"queued"}')


def send(service: ServiceProcess, event: bytes, key: str | None = "key-1", path: str = "/api/call-events") -> Reply:
    return ask(service.port, post(event, *([f"Idempotency-Key: {key}"] if key else []), path=path))


def found(settings: Mapping[str, str]) -> tuple[int, int]:
    """Wait until all committed events are published. Return the numbers of rows and messages."""
    assert wait_until(lambda: backlog_of(settings["DATABASE_URL"]) == 0, SECONDS)
    messages = take_messages(settings["BROKER_URL"], settings["QUEUE"])
    return len(rows_of(settings["DATABASE_URL"])), len(messages)


def duplicates(*services: ServiceProcess) -> float:
    return sum(scrape(service).value("ingest_events_repeated_total") or 0 for service in services)


@pytest.fixture
def service(start_service: StartService) -> ServiceProcess:
    running = start_service(WORKERS="2")
    running.wait_for_status("ready")
    return running


def test_1000_concurrent_duplicates_on_two_nodes_are_one_row_and_one_message(
    service: ServiceProcess, full_settings: Mapping[str, str], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with (
        ServiceProcess(tmp_path / "other", {**full_settings, "WORKERS": "2"}) as other,
        ThreadPoolExecutor(CLIENTS) as clients,
    ):
        other.wait_for_status("ready")
        nodes = [service, other] * (DUPLICATES // 2)
        replies = list(clients.map(lambda node: send(node, body()), nodes))

        assert Counter((reply.status, reply.body) for reply in replies) == {QUEUED: DUPLICATES}
        assert wait_until(lambda: duplicates(service, other) == DUPLICATES - 1, SECONDS)
    assert found(full_settings) == (1, 1)


def test_duplicate_batch_gets_the_same_answer_and_stores_nothing(
    service: ServiceProcess, full_settings: Mapping[str, str]
) -> None:
    items = [body(number=number) for number in range(1000)]
    for wrong in (0, 500, 999):
        items[wrong] = b'{"call_id":1}'
    batch = b"\n".join(items)

    first = send(service, batch, path=BATCH)
    again = send(service, batch, path=BATCH)

    assert (first.status, first.json["accepted"]) == (200, 997)
    assert [item["index"] for item in first.json["rejected"]] == [0, 500, 999]
    assert (again.status, again.body) == (first.status, first.body)
    assert found(full_settings) == (997, 997)


def test_key_of_another_event_is_refused(service: ServiceProcess, full_settings: Mapping[str, str]) -> None:
    assert send(service, body()).status == 200

    reply = send(service, body(note="another"))
    assert (reply.status, reply.json["message"].partition(".")[0]) == (
        422,
        "The Idempotency-Key was used with another event",
    )
    in_batch = send(service, b"\n".join([body(note="another"), body(call_id="new")]), path=BATCH)
    assert [(item["index"], list(item["errors"])) for item in in_batch.json["rejected"]] == [(0, ["event"])]
    assert found(full_settings)[0] == 2


@pytest.mark.parametrize("key", ["", "x" * 256, "\xff"])
def test_malformed_key_is_refused(service: ServiceProcess, key: str) -> None:
    reply = ask(service.port, post(body(), f"Idempotency-Key: {key}"))

    assert reply.status == 400
    assert reply.json["message"].startswith("Idempotency-Key must have 1 to 255")


def test_each_request_without_a_key_is_a_new_event(service: ServiceProcess, full_settings: Mapping[str, str]) -> None:
    for _ in range(3):
        assert send(service, body(), key=None).status == 200

    assert found(full_settings) == (3, 3)


def test_natural_keys_find_duplicates_without_a_header(
    start_service: StartService, full_settings: Mapping[str, str]
) -> None:
    service = start_service(IDEMPOTENCY_KEY="natural")
    service.wait_for_status("ready")
    for event in (body(), body(note="sent again"), body(call_id="another"), body(timestamp="2025-01-31T13:45:01Z")):
        assert send(service, event, key=None).status == 200
    assert send(service, b"\n".join([body(), body(call_id="third")]), key=None, path=BATCH).json["accepted"] == 2

    assert found(full_settings) == (4, 4)


def test_duplicate_after_an_outage_of_the_database_is_one_row(
    start_service: StartService, rabbitmq: RabbitMQServer
) -> None:
    with mysql_server() as mysql:
        if not mysql.controllable:
            pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not stop")
        check_outage(start_service, mysql, rabbitmq)


def check_outage(start_service: StartService, mysql: MySQLServer, rabbitmq: RabbitMQServer) -> None:
    settings = {
        "DATABASE_URL": mysql.fresh_database(),
        "BROKER_URL": rabbitmq.amqp_url,
        "QUEUE": rabbitmq.fresh_queue_name(),
    }
    service = start_service(**settings)
    service.wait_for_status("ready")
    assert send(service, body(call_id="before"), "before").status == 200
    with stopped(mysql):
        for key in ("before", "meanwhile", "meanwhile"):
            assert send(service, body(call_id=key), key).status == 200
    service.wait_for_status("ready")
    assert send(service, body(call_id="meanwhile"), "meanwhile").status == 200

    rows, messages = found(settings)
    assert rows == 2
    # While the database is down, the service cannot know the key "before".
    assert messages == 3
