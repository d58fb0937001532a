"""Start without servers, death of a worker, and stop by SIGTERM."""

import os
import signal
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import msgspec
import pytest

from ingest.broker.shared_target import UNKNOWN
from tests.conftest import StartService
from tests.faults.harness.ledger import compare
from tests.faults.harness.load import Load
from tests.faults.reading import backlog_of, rows_of, take_messages
from tests.raw_http import RawConnection, post, post_head
from tests.running import STOP_SECONDS, ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, free_port, mysql_server, rabbitmq_server, wait_until
from tests.unit.making import body

WAIT_SECONDS = 60.0
DEATHS_MAX = 10
"""Two deaths within 5.5 s are enough, but a busy machine may need longer between them."""
STARTS_MAX = 20
SLOW_START_SECONDS = 20.0
"""More than a worker needs on a busy machine."""
CHECKS = [
    *("database", "broker", "ids", "spool"),
    *("locks", "backlog", "tables", "cluster", "clock", "commits", "spool files"),
]
"""Checks of `/readyz`, in order."""
AWAY = b'{"message":"The database is unavailable. The event was not acknowledged; retry."}'


@pytest.fixture
def own_mysql() -> Iterator[MySQLServer]:
    with mysql_server() as server:
        if not server.controllable:
            pytest.skip("INGEST_TEST_MYSQL_URL names a server that tests may not stop")
        yield server


@pytest.fixture
def own_rabbitmq() -> Iterator[RabbitMQServer]:
    """A server that is not started yet."""
    server = rabbitmq_server()
    if not server.controllable:
        pytest.skip("INGEST_TEST_AMQP_URL names a server that tests may not stop")
    yield server
    server.close()


@pytest.fixture
def waiting(own_mysql: MySQLServer, own_rabbitmq: RabbitMQServer, tmp_path: Path) -> Iterator[ServiceProcess]:
    """A service whose servers are down."""
    servers = {"DATABASE_URL": own_mysql.fresh_database(), "BROKER_URL": own_rabbitmq.amqp_url}
    limits = {"DRAIN_TIMEOUT_SECONDS": "1", "RECONNECT_SECONDS_MAX": "1", "SPOOL_AFTER_SECONDS": "30"}
    service = ServiceProcess(tmp_path, {**servers, **limits}, anew=True)
    service.command("migrate")
    own_mysql.stop()
    service.start()
    yield service
    service.stop()


def checks(service: ServiceProcess) -> tuple[int, dict[str, str]]:
    """Return status and checks of `/readyz`."""
    status, answer, _ = service.request("GET", "/readyz")
    return status, msgspec.json.decode(answer)["checks"]


def test_service_waits_for_its_servers_and_stops_in_time_without_them(
    waiting: ServiceProcess, own_mysql: MySQLServer, own_rabbitmq: RabbitMQServer
) -> None:
    waiting.wait_for_status("starting")
    away_from_mysql = "MySQL error 2003: Can't connect to MySQL server"
    assert wait_until(lambda: away_from_mysql in checks(waiting)[1]["database"], WAIT_SECONDS), checks(waiting)
    status, found = checks(waiting)
    assert (status, list(found)) == (503, CHECKS)
    assert found["broker"] == found["cluster"] == UNKNOWN
    assert found["ids"] == "no id slot yet: one is leased as soon as the database is there"
    assert waiting.post(body()) == (500, AWAY)

    own_mysql.start()
    assert wait_until(lambda: checks(waiting)[1]["database"] == "ok", WAIT_SECONDS)
    waiting.wait_for_status("degraded")
    away = "RabbitMQ is not reachable: "
    assert wait_until(lambda: checks(waiting)[1]["broker"].startswith(away), WAIT_SECONDS)
    status, found = checks(waiting)
    assert (status, found["ids"]) == (200, "ok")
    assert waiting.post(body()) == (200, b'{"status":"queued"}')

    own_rabbitmq.start()
    waiting.wait_for_status("ready")
    assert checks(waiting) == (200, dict.fromkeys(CHECKS, "ok"))
    database_url = waiting.environment["INGEST_DATABASE_URL"]
    assert wait_until(lambda: backlog_of(database_url) == 0, WAIT_SECONDS)

    own_rabbitmq.freeze()
    assert waiting.post(body())[0] == 200
    assert waiting.stop() == 0
    assert "the drain took too long; the outbox keeps the rest" in waiting.log()
    assert backlog_of(database_url) == 1


def test_service_survives_several_dead_workers_within_seconds(start_service: StartService) -> None:
    service = start_service()
    before = service.worker_pids()
    for _ in range(DEATHS_MAX):
        (victim,) = service.worker_pids()
        os.kill(victim, signal.SIGKILL)
        assert wait_until(partial(another_works, service, victim), WAIT_SECONDS)
        if "the service starts again" in service.log():
            break

    service.wait_for_status("ready", seconds=WAIT_SECONDS)

    assert service.post(body())[0] == 200
    assert set(service.worker_pids()).isdisjoint(before)
    assert "the service starts again" in service.log()
    assert service.stop() == 0


def test_spawned_workers_are_replaced_and_stopped_like_forked_ones(start_service: StartService) -> None:
    """Granian spawns workers if its metrics are on."""
    service = start_service(WORKERS="2", SERVER_METRICS_PORT=str(free_port()))
    victim = min(service.worker_pids())
    os.kill(victim, signal.SIGKILL)
    assert wait_until(lambda: works_without(service, {victim}), WAIT_SECONDS), service.log()
    before = set(service.worker_pids())
    os.kill(service.pid, signal.SIGHUP)
    assert wait_until(lambda: works_without(service, before), WAIT_SECONDS), service.log()
    assert service.post(body())[0] == 200
    assert service.stop() == 0


def works_without(service: ServiceProcess, gone: set[int]) -> bool:
    """Return whether two other workers serve."""
    now = set(service.worker_pids())
    return len(now) == 2 and not now & gone and service.status() == "ready"


def another_works(service: ServiceProcess, than: int) -> bool:
    pids = service.worker_pids()
    return bool(pids) and than not in pids


def test_killed_worker_is_replaced(start_service: StartService) -> None:
    service = start_service(WORKERS="2")
    before = set(service.worker_pids())
    os.kill(min(before), signal.SIGKILL)

    def replaced() -> bool:
        now = set(service.worker_pids())
        return len(now) == 2 and now != before

    assert wait_until(replaced, WAIT_SECONDS)
    service.wait_for_status("ready")
    assert {service.post(body())[0] for _ in range(20)} == {200}
    assert len(list(Path(f"/proc/{service.pid}/task").iterdir())) == 1, "a worker was forked beside another thread"


def test_worker_that_does_not_start_is_replaced(tmp_path: Path) -> None:
    service = ServiceProcess(tmp_path, {"START_TIMEOUT_SECONDS": str(SLOW_START_SECONDS), "DRAIN_DELAY_SECONDS": "0"})
    frozen = started_with_a_frozen_worker(service)

    service.wait_for_status("ready")
    (another,) = service.worker_pids()
    assert service.stop() == 0

    assert another != frozen
    (line,) = [line for line in service.log_lines() if line["logger"] == "ingest.watchdog"]
    assert line["message"] == "a worker did not start within the limit; it is killed, and another one starts"
    assert (line["worker"], line["limit_seconds"]) == (frozen, SLOW_START_SECONDS)


def started_with_a_frozen_worker(service: ServiceProcess) -> int:
    """Start the service, and freeze its worker before it serves. On a busy machine that may need several tries."""
    for _ in range(STARTS_MAX):
        logged = len(service.log())
        service.start()
        assert wait_until(lambda: bool(service.worker_pids()), WAIT_SECONDS)
        (worker,) = service.worker_pids()
        os.kill(worker, signal.SIGSTOP)
        if "accepting connections" not in service.log()[logged:]:
            return worker
        service.kill()
    raise AssertionError(f"the worker served before it was frozen, {STARTS_MAX} times")


def test_sigterm_under_load_answers_all_requests_and_loses_no_event(
    start_service: StartService, full_settings: Mapping[str, str]
) -> None:
    service = start_service(WORKERS="2")
    service.wait_for_status("ready")
    with Load(service.port, events_per_second=1000, connections=32) as load:
        assert wait_until(lambda: len(load.ledger.ok) > 500, WAIT_SECONDS)
        assert service.stop() == 0

    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", service.port), WAIT_SECONDS)
    service.command("spool", "drain")  # on a loaded machine a batch may have gone to the spool
    messages = take_messages(full_settings["BROKER_URL"], full_settings["QUEUE"])
    result = compare(load.ledger, rows_of(full_settings["DATABASE_URL"]), messages)
    assert not result.faults, result
    assert not result.refused, result
    # A request on a closed idle connection was not accepted. Each accepted request was answered.
    assert result.unknown_stored == 0, result
    assert backlog_of(full_settings["DATABASE_URL"]) == 0


def test_worker_that_still_waits_for_its_servers_obeys_sigterm(tmp_path: Path) -> None:
    # The drain timeout is as above. A beat shows that the worker has begun to start.
    away = {"DATABASE_URL": "mysql://nobody:nothing@127.0.0.1:9/away", "DRAIN_TIMEOUT_SECONDS": "1000"}
    service = ServiceProcess(tmp_path, away)
    service.start()
    assert wait_until(lambda: any((tmp_path / "var" / "run").glob("beats/*")), WAIT_SECONDS)

    assert service.stop() == 0
    assert "started without its servers" in service.log()


def test_sigterm_makes_clients_leave_before_the_stop(tmp_path: Path) -> None:
    with (
        ServiceProcess(tmp_path, {"DRAIN_DELAY_SECONDS": "3600"}, anew=True) as service,
        ThreadPoolExecutor() as threads,
        RawConnection(service.port) as kept,
    ):
        kept.send(post(body()))
        assert "connection" not in kept.reply().headers

        (worker,) = service.worker_pids()
        stopping = threads.submit(service.stop)
        assert wait_until(lambda: service.status() == "draining", WAIT_SECONDS)

        kept.send(post(body()))
        reply = kept.reply()
        assert (reply.status, reply.headers["connection"]) == (200, "close")
        assert kept.is_closed()
        status, _, headers = service.request("GET", "/healthz")
        assert (status, headers["connection"]) == (200, "close")

        os.kill(worker, signal.SIGTERM)  # a second SIGTERM stops at once
        assert stopping.result(STOP_SECONDS) == 0


def test_unfinished_requests_are_answered_at_the_stop(tmp_path: Path) -> None:
    text = body()
    with (
        ServiceProcess(tmp_path) as service,
        ThreadPoolExecutor() as threads,
        ExitStack() as stack,
        RawConnection(service.port) as idle,
    ):
        half_sent = [stack.enter_context(RawConnection(service.port)) for _ in range(5)]
        for connection in half_sent:
            connection.send(post_head(len(text)), text[:10])
        idle.send(post(text))
        assert idle.reply().status == 200

        stopping = threads.submit(service.stop)
        assert idle.is_closed()
        for connection in half_sent:
            connection.send(text[10:])
            reply = connection.reply()
            assert (reply.status, reply.headers["connection"]) == (200, "close")

        assert stopping.result(STOP_SECONDS) == 0


@pytest.mark.parametrize("workers", ["1", "2"])
def test_starting_worker_obeys_sigterm(tmp_path: Path, workers: str) -> None:
    # With this drain timeout, a worker that missed the signal would outlive the wait of `stop`.
    service = ServiceProcess(tmp_path, {"WORKERS": workers, "DRAIN_TIMEOUT_SECONDS": "1000"}, anew=True)
    service.command("migrate")
    service.start()
    assert wait_until(lambda: f"Spawning worker-{workers}" in service.log(), WAIT_SECONDS)
    assert service.stop() == 0
