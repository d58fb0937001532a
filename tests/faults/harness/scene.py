"""The service with two workers, with its own database and queue; and the faults that a test can cause."""

import json
import os
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import structs

from ingest.spool.inspection import contents
from tests.faults.harness.ledger import Ledger, Message, Result, compare
from tests.faults.harness.load import EVENTS_PER_SECOND, Load
from tests.faults.reading import backlog_of, rows_of, spooled, take_messages
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, wait_until
from tests.services.server import Server

WORKERS = 2
RECOVERY_SECONDS = 120.0
PUBLISHED_SECONDS = 60.0
"""The promise: one minute after the broker's return there is no backlog."""
DRAINED_SECONDS = 300.0
STEADY_SECONDS = 0.7
"""Between two faults the service must answer as many events as are sent in this time."""
WORKER_DEATHS_APART_SECONDS = 6.0
"""Granian stops its server when a second worker dies within 5.5 s of the first (STACK.md)."""


class Scene:
    """A running service with its servers."""

    def __init__(self, service: ServiceProcess, mysql: MySQLServer, rabbitmq: RabbitMQServer) -> None:
        self.service = service
        self.mysql = mysql
        self.rabbitmq = rabbitmq
        self.database_url = service.environment["INGEST_DATABASE_URL"]
        self.queue = service.environment["INGEST_QUEUE"]

    def load(self, events_per_second: float = EVENTS_PER_SECOND) -> Load:
        return Load(self.service.port, events_per_second)

    def wait_for_steady(self, load: Load) -> None:
        """Wait until the service has answered as many further events as are sent in `STEADY_SECONDS`."""
        wanted = len(load.ledger.ok) + int(STEADY_SECONDS * load.events_per_second)
        if not wait_until(lambda: len(load.ledger.ok) >= wanted, RECOVERY_SECONDS):
            raise AssertionError(f"events are not accepted (again):\n{self.service.log()}")

    def wait_until_drained(self) -> None:
        """Wait until the spools are empty, so that all accepted events are in the database."""

        def left() -> int:
            return spooled(Path(self.service.environment["INGEST_DATA_DIR"]))

        if not wait_until(lambda: left() == 0, DRAINED_SECONDS):
            raise AssertionError(f"{left()} events are in the spool still:\n{self.service.log()}")

    def wait_until_published(self, accepted_before_ms: int | None = None) -> None:
        """Wait until the outbox is empty, or holds no event accepted before this Unix time."""

        def backlog() -> int:
            return backlog_of(self.database_url, accepted_before_ms)

        if not wait_until(lambda: backlog() == 0, PUBLISHED_SECONDS):
            raise AssertionError(f"{backlog()} events are not published in time:\n{self.service.log()}")

    def take_messages(self) -> list[Message]:
        return take_messages(self.rabbitmq.amqp_url, self.queue)

    def account(self, ledger: Ledger, taken: Sequence[Message] = (), *, sent_since: float = 0.0) -> Result:
        """Wait until all events are in the database and published, then consume the queue and compare.

        `taken` are messages that the test has already consumed.
        """
        self.wait_until_drained()
        self.wait_until_published()
        messages = [*taken, *self.take_messages()]
        result = compare(ledger, rows_of(self.database_url), messages, sent_since)
        return structs.replace(result, reasons=self._reasons())

    def _reasons(self) -> Counter[str]:
        """Count the reasons of the responses 5xx in the service's log."""
        lines = self.service.log_lines()
        return Counter(line["reason"] for line in lines if line["message"] == "request refused" and "reason" in line)

    def kill_worker(self) -> None:
        """Kill (-9) one worker, and return when another one has replaced it."""
        victim = min(self.service.worker_pids())
        os.kill(victim, signal.SIGKILL)
        self._wait_until_replaced([victim])

    def kill_all_workers(self) -> None:
        """Kill (-9) every worker, and return when others have replaced them."""
        victims = self.service.worker_pids()
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        self._wait_until_replaced(victims)

    def freeze_worker(self) -> None:
        """Stop one worker with SIGSTOP, without a later SIGCONT. Return when another one has replaced it."""
        victim = min(self.service.worker_pids())
        os.kill(victim, signal.SIGSTOP)
        self._wait_until_replaced([victim])

    @contextmanager
    def frozen_service(self) -> Iterator[None]:
        """Stop supervisor and workers with SIGSTOP, for the block."""
        self.service.signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.service.signal(signal.SIGCONT)

    def _wait_until_replaced(self, victims: Sequence[int]) -> None:
        def replaced() -> bool:
            pids = self.service.worker_pids()
            return set(pids).isdisjoint(victims) and len(pids) == WORKERS

        if not wait_until(replaced, RECOVERY_SECONDS):
            raise AssertionError(f"no worker replaced the dead one:\n{self.service.log()}")
        self.service.wait_for_status("ready")

    def kill_mysql(self) -> None:
        """Kill (-9) and restart the database. Return when the service works with it again."""
        self.mysql.kill()
        self.mysql.start()
        self.service.wait_for_status("ready", seconds=RECOVERY_SECONDS)

    def kill_rabbitmq(self) -> None:
        """Kill (-9) and restart the broker. Return when the service works with it again."""
        self.rabbitmq.wait_until_crash_safe(self.queue)
        self.rabbitmq.kill()
        self.rabbitmq.start()
        self.service.wait_for_status("ready", seconds=RECOVERY_SECONDS)

    def kill_service(self) -> None:
        """Kill (-9) the supervisor and all workers, and start the service again."""
        self.service.kill()
        self.service.start()
        self.service.wait_for_status("ready")

    def problem(self, check: str) -> str | None:
        """Return the problem of a check in `/readyz`, from any worker; None if the check is fine."""
        answer = json.loads(self.service.request("GET", "/readyz")[1])["checks"][check]
        return None if answer == "ok" else str(answer)

    def set_aside(self) -> int:
        """Count the events that the spools have set aside, and do not bring to the database."""
        spools = contents(Path(self.service.environment["INGEST_DATA_DIR"]) / "spool")
        return sum(spool.usage.refused_events for spool in spools)

    def logged(self, logger: str) -> list[str]:
        """Return the messages of this logger so far."""
        return [line["message"] for line in self.service.log_lines() if line.get("logger") == logger]


@contextmanager
def stopped(server: Server) -> Iterator[None]:
    """Stop the server for the block."""
    server.stop()
    try:
        yield
    finally:
        server.start()


@contextmanager
def frozen(server: Server) -> Iterator[None]:
    """Stop the server with SIGSTOP for the block: connections stay open, and it does not answer."""
    server.freeze()
    try:
        yield
    finally:
        server.thaw()


def let_pass(seconds: float) -> None:
    """Wait, for faults that have a fixed length."""
    until = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= until, seconds + 1)


@contextmanager
def scene(
    mysql: MySQLServer,
    rabbitmq: RabbitMQServer,
    settings: Mapping[str, str] | None = None,
    ready: str = "ready",
) -> Iterator[Scene]:
    """Run the service until it is `ready`, with a new database and queue; `settings` as for `ServiceProcess`."""
    values = {
        "DATABASE_URL": mysql.fresh_database(),
        "BROKER_URL": rabbitmq.amqp_url,
        "QUEUE": rabbitmq.fresh_queue_name(),
        "WORKERS": str(WORKERS),
        **(settings or {}),
    }
    with (
        tempfile.TemporaryDirectory(prefix="call-events-faults-") as folder,
        ServiceProcess(Path(folder), values) as service,
    ):
        service.wait_for_status(ready)
        yield Scene(service, mysql, rabbitmq)
