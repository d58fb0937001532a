"""The log is for machines: one JSON object a line. It contains no secrets and no phone numbers."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from ingest.auth.tokens import entry_of
from tests.commands import PASSWORD, nowhere
from tests.conftest import StartService
from tests.integration.http.test_abuse import POISON
from tests.raw_http import BATCH, RawConnection, ask, chunked_head, head, post, post_head
from tests.running import TOKEN, ServiceProcess
from tests.services import MySQLServer, wait_until
from tests.unit.making import body

FROM, TO = "+4930901820001", "+4930901820002"
WRONG_TOKEN = "a-token-of-nobody"
WAIT_SECONDS = 60.0


def lines_of(service: ServiceProcess) -> list[dict[str, object]]:
    """Parse every line of the log, which must be an object with these fields."""
    lines = [json.loads(line) for line in service.log().splitlines()]
    assert [line for line in lines if not {"time", "level", "logger", "message"} <= set(line)] == []
    return lines


def told(service: ServiceProcess, *secrets: str) -> list[str]:
    """Return those of these texts that are in the log."""
    return [secret for secret in secrets if secret in service.log()]


def use(service: ServiceProcess) -> None:
    """Send good and bad requests of every kind, with phone numbers in them."""
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


@pytest.mark.parametrize(("spool_bytes_max", "status"), [("0", 500), ("10000000", 200)], ids=["without spool", "spool"])
def test_log_has_json_lines_and_no_secrets(
    start_service: StartService,
    mysql: MySQLServer,
    full_settings: Mapping[str, str],
    spool_bytes_max: str,
    status: int,
) -> None:
    service = start_service(LOG_LEVEL="debug", WORKERS="2", SPOOL_BYTES_MAX=spool_bytes_max)
    service.wait_for_status("ready")
    use(service)
    mysql.query("DROP TABLE ingest_outbox", full_settings["DATABASE_URL"].rpartition("/")[2])
    assert service.post(body(from_number=FROM))[0] == status
    use(service)
    assert service.stop() == 0

    assert len(lines_of(service)) > 5
    assert told(service, TOKEN, WRONG_TOKEN, mysql.password, FROM, TO, FROM[3:], "Traceback") == []


@pytest.mark.parametrize(("away", "said"), [("database", "no id slot"), ("broker", "RabbitMQ connection failed")])
def test_log_of_a_service_without_a_server_tells_no_password(
    tmp_path: Path, full_settings: Mapping[str, str], away: str, said: str
) -> None:
    """The service does not connect to RabbitMQ yet, because the database records the shared target."""
    nobody = {"DATABASE_URL": nowhere("mysql", "calls")} if away == "database" else {"BROKER_URL": nowhere("amqp", "")}
    service = ServiceProcess(tmp_path, {**full_settings, **nobody, "LOG_LEVEL": "debug"})
    service.command("migrate", check=away == "broker")
    service.start()
    try:
        service.wait_for_status("starting", "degraded")
        assert wait_until(lambda: said in service.log(), WAIT_SECONDS)
        service.post(body(from_number=FROM))
        page = service.request("GET", "/readyz")[1].decode()
    finally:
        assert service.stop() == 0

    assert any(line["level"] == "WARNING" for line in lines_of(service))
    assert told(service, TOKEN, PASSWORD, FROM, "Traceback") == []
    assert PASSWORD not in page


def test_what_mysql_quotes_is_masked(tmp_path: Path, mysql: MySQLServer) -> None:
    """A user named like a phone number stands for any value in a server's message."""
    settings = {"DATABASE_URL": mysql.url_of("calls", FROM.removeprefix("+"), PASSWORD), "LOG_LEVEL": "debug"}
    service = ServiceProcess(tmp_path, settings)
    service.start()
    try:
        assert wait_until(lambda: "Access denied for user '***01'" in service.log(), WAIT_SECONDS)
    finally:
        assert service.stop() == 0

    assert told(service, PASSWORD, FROM[1:], "Traceback") == []


def test_hashed_tokens_let_their_tokens_in_and_plain_ones_are_warned_of(start_service: StartService) -> None:
    service = start_service(API_TOKENS=f"{entry_of(TOKEN)},{WRONG_TOKEN}")

    assert service.post(body())[0] == 200
    assert ask(service.port, post(body(), token=entry_of(TOKEN))).status == 401
    warnings = [line for line in lines_of(service) if line["logger"] == "ingest.server"]
    assert [str(line["message"]).partition(" in ")[0] for line in warnings] == ["1 of 2 tokens"]
    assert told(service, TOKEN, WRONG_TOKEN, entry_of(TOKEN)) == []


@pytest.mark.parametrize("level", ["debug", "error"])
def test_log_level_is_obeyed(tmp_path: Path, level: str) -> None:
    with ServiceProcess(tmp_path, {"LOG_LEVEL": level}) as service:
        use(service)

    levels = {line["level"] for line in lines_of(service)}
    assert ("INFO" in levels) == (level == "debug")


def test_refusal_is_found_in_the_log_by_the_id_its_answer_has(embedded_service: ServiceProcess) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    sent = [{"X-Request-Id": "my-request-7"}, {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}, {}]
    ids = []
    for headers in sent:
        status, _, answered = embedded_service.request(
            "POST", "/api/call-events", b"{}", {"X-API-TOKEN": TOKEN, **headers}
        )
        assert status == 422
        ids.append(answered["x-request-id"])
    assert ids[:2] == ["my-request-7", trace]
    refused = [line for line in lines_of(embedded_service) if line["message"] == "request refused"]
    assert [line["request_id"] for line in refused] == ids
    assert {(line["code"], line["status"]) for line in refused} == {("invalid", 422)}


def test_request_id_that_may_be_a_phone_number_is_masked(embedded_service: ServiceProcess) -> None:
    embedded_service.post(b"{}", **{"X-Request-Id": FROM.removeprefix("+")})
    (refused,) = (line for line in lines_of(embedded_service) if line["message"] == "request refused")
    assert FROM[1:] not in str(refused)


def test_level_is_changed_while_the_service_runs(embedded_service: ServiceProcess) -> None:
    def lines(message: str) -> int:
        return sum(line["message"] == message for line in lines_of(embedded_service))

    said = embedded_service.command("log-level", "error", "--for", "90s").stdout
    assert said == "the log level is error for 90s, then info\n"
    assert wait_until(lambda: lines("log level changed") == 1, WAIT_SECONDS)
    embedded_service.post(b"{}")
    embedded_service.command("log-level", "usual")
    assert wait_until(lambda: lines("log level changed") == 2, WAIT_SECONDS)
    assert lines("request refused") == 0
    embedded_service.post(b"{}")
    assert lines("request refused") == 1
