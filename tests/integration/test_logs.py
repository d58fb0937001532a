"""The log is for machines: one JSON object a line. And it tells no secrets, nor who called whom."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.commands import PASSWORD, nowhere
from tests.conftest import StartService
from tests.integration.test_http_abuse import POISON
from tests.raw_http import BATCH, RawConnection, ask, chunked_head, head, post, post_head
from tests.running import TOKEN, ServiceProcess
from tests.services import MySQLServer, wait_until
from tests.unit.making import body

FROM, TO = "+4930901820001", "+4930901820002"
WRONG_TOKEN = "a-token-of-nobody"
WAIT_SECONDS = 10.0


def lines_of(service: ServiceProcess) -> list[dict[str, object]]:
    """Every line of the log, which must be an object with these fields."""
    lines = [json.loads(line) for line in service.log().splitlines() if not line.startswith("Try: ")]
    assert [line for line in lines if not {"time", "level", "logger", "message"} <= set(line)] == []
    return lines


def told(service: ServiceProcess, *secrets: str) -> list[str]:
    """Which of these are somewhere in the log."""
    return [secret for secret in secrets if secret in service.log()]


def use(service: ServiceProcess) -> None:
    """Good and bad requests of every kind, with phone numbers in them."""
    numbers = {"from_number": FROM, "to_number": TO}
    for poison, _ in POISON.values():
        service.post(poison.replace(b"+15551230001", FROM.encode()).replace(b"+15551230002", TO.encode()))
    service.post(body(**numbers))
    service.post(body(**numbers, duration=-1))
    service.post(b"[" + body(**numbers) + b"]", BATCH)
    service.post(body(**numbers)[:-1])
    service.post(f"from_number={FROM}".encode())
    ask(service.port, post(body(**numbers), token=WRONG_TOKEN))
    ask(service.port, post(body(**numbers), path=f"/nowhere?from={FROM}"))
    ask(service.port, head("GET", f"/metrics?from={FROM}"))
    ask(service.port, b"no HTTP " + FROM.encode() + b"\r\n\r\n")
    for start in (post_head(1000), chunked_head() + b"ff\r\n"):
        with RawConnection(service.port) as connection:
            connection.send(start, body(**numbers))


def test_log_has_json_lines_and_no_secrets(
    start_service: StartService, mysql: MySQLServer, full_settings: Mapping[str, str]
) -> None:
    service = start_service(LOG_LEVEL="debug", WORKERS="2")
    service.wait_for_status("ready")
    use(service)
    mysql.query("DROP TABLE ingest_outbox", full_settings["DATABASE_URL"].rpartition("/")[2])
    assert service.post(body(from_number=FROM))[0] == 500
    use(service)
    assert service.stop() == 0

    assert len(lines_of(service)) > 5
    assert told(service, TOKEN, WRONG_TOKEN, mysql.password, FROM, TO, FROM[3:], "Traceback") == []


def test_log_of_a_service_without_its_servers_tells_no_password(tmp_path: Path) -> None:
    servers = {"DATABASE_URL": nowhere("mysql", "calls"), "BROKER_URL": nowhere("amqp", "")}
    service = ServiceProcess(tmp_path, {**servers, "LOG_LEVEL": "debug"})
    service.start()
    try:
        service.wait_for_status("starting")
        assert wait_until(lambda: "RabbitMQ connection failed" in service.log(), WAIT_SECONDS)
        assert service.post(body(from_number=FROM))[0] == 500
        page = service.request("GET", "/readyz")[1].decode()
    finally:
        assert service.stop() == 0

    assert any(line["level"] == "WARNING" for line in lines_of(service))
    assert told(service, TOKEN, PASSWORD, FROM, "Traceback") == []
    assert PASSWORD not in page


@pytest.mark.parametrize("level", ["debug", "error"])
def test_log_level_is_obeyed(tmp_path: Path, level: str) -> None:
    with ServiceProcess(tmp_path, {"LOG_LEVEL": level}) as service:
        use(service)

    levels = {line["level"] for line in lines_of(service)}
    assert ("INFO" in levels) == (level == "debug")
