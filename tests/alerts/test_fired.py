"""Each fault fires its alert, with a real service and a real Prometheus."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from ingest.spool.segments.format import ENTRY_BYTES, HEAD_BYTES
from tests.alerts.conftest import StartScene, StartWatch
from tests.alerts.rules import SCRAPE_MS, write_hurried
from tests.alerts.watch import Watch, watching
from tests.faults.harness.disk import small_disk
from tests.faults.harness.load import Load
from tests.faults.harness.scene import Scene, let_pass, stopped
from tests.faults.harness.wire import Wire
from tests.faults.reading import declare_full_queue, delete_queue
from tests.observability import alerts
from tests.raw_http import ask, post
from tests.running import TOKEN
from tests.services import MySQLServer, RabbitMQServer
from tests.services.rabbitmq_operator import set_memory_watermark
from tests.unit.making import body

pytestmark = pytest.mark.timeout(600)

SECONDS = 30.0
SCRAPED_SECONDS = 2.0
DEATHS = 6
DAY_SECONDS = 30.0
"""A day for the rhythm of a source."""
DAY_PACE = int(86_400 / DAY_SECONDS)
MORE_SECONDS = 5.0
"""Time with a known rhythm, in which the source still posts."""
SLOW_EVENTS_PER_SECOND = 20.0
SLOW_SECONDS = 0.3
STOPPED_SECONDS = 0.3
TINY_SPOOL_BYTES = 60_000
SMALL_DISK_BYTES = 100 << 20
UNAVAILABLE = ("CallEventsUnavailableFast", "CallEventsUnavailableSteady", "CallEventsUnavailableCreeping")
SLOW = ("CallEventsSlowFast", "CallEventsSlowSteady", "CallEventsSlowCreeping")
STALE = ("CallEventsStaleFast", "CallEventsStaleSteady", "CallEventsStaleCreeping")


def seen_at_rest(seen: Watch) -> None:
    """Wait for the first scrape: `rate` does not see increases before it."""
    let_pass(SCRAPED_SECONDS)
    assert seen.firing() == set()


def test_dying_workers(start_scene: StartScene, watch: StartWatch) -> None:
    here = start_scene()
    with watch(here) as seen, here.load():
        seen_at_rest(seen)
        for _ in range(DEATHS):
            here.kill_worker()
        seen.wait_until_fired("CallEventsWorkerRestarted", "CallEventsWorkersDying")
        with supervisor_frozen(here):
            os.kill(min(here.service.worker_pids()), signal.SIGKILL)
            seen.wait_until_fired("CallEventsWorkersMissing")
        seen.wait_until_silent("CallEventsWorkersMissing", "CallEventsWorkersDying")


@contextmanager
def supervisor_frozen(here: Scene) -> Iterator[None]:
    os.kill(here.service.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(here.service.pid, signal.SIGCONT)


def test_service_that_is_down(start_scene: StartScene, watch: StartWatch) -> None:
    here = start_scene()
    with watch(here) as seen:
        seen_at_rest(seen)
        here.service.stop()
        seen.wait_until_fired("CallEventsDown")
        here.service.start()
        seen.wait_until_silent("CallEventsDown")


def test_database_down_until_the_spool_is_full(start_scene: StartScene, watch: StartWatch, mysql: MySQLServer) -> None:
    here = start_scene(SPOOL_BYTES_MAX=str(TINY_SPOOL_BYTES))
    with watch(here) as seen, here.load():
        seen_at_rest(seen)
        with stopped(mysql):
            seen.wait_until_fired("CallEventsDatabaseAway", "MySQLMetricsMissing", "CallEventsSpoolFilling")
            seen.wait_until_fired("CallEventsRefusedByService", *UNAVAILABLE)
        seen.wait_until_silent("CallEventsDatabaseAway", "CallEventsSpoolFilling", "CallEventsRefusedByService")


def test_broker_down(start_scene: StartScene, watch: StartWatch, rabbitmq: RabbitMQServer) -> None:
    here = start_scene()
    with watch(here) as seen, here.load():
        seen_at_rest(seen)
        rabbitmq.wait_until_crash_safe(here.queue)
        with stopped(rabbitmq):
            seen.wait_until_fired("CallEventsBrokerAway", "CallEventsBacklogOld", "RabbitMQMetricsMissing")
            let_pass(10.0)  # makes late events for the next alert
        seen.wait_until_fired(*STALE)
        seen.wait_until_silent("CallEventsBrokerAway", "CallEventsBacklogOld", "RabbitMQMetricsMissing")


def test_broker_with_an_alarm(start_scene: StartScene, watch: StartWatch, rabbitmq: RabbitMQServer) -> None:
    here = start_scene()
    with watch(here) as seen, here.load():
        seen_at_rest(seen)
        set_memory_watermark(rabbitmq, 0.00001)
        try:
            seen.wait_until_fired("CallEventsBrokerBlocked")
        finally:
            set_memory_watermark(rabbitmq, 0.6)
        seen.wait_until_silent("CallEventsBrokerBlocked")


def test_queue_that_refuses(start_scene: StartScene, watch: StartWatch, rabbitmq: RabbitMQServer) -> None:
    queue = rabbitmq.fresh_queue_name()
    declare_full_queue(rabbitmq.amqp_url, queue, 10)
    here = start_scene(QUEUE=queue)
    with watch(here) as seen, here.load():
        seen.wait_until_fired("CallEventsPublishFailing")
    delete_queue(rabbitmq.amqp_url, queue)


def test_queue_that_never_accepts(start_scene: StartScene, watch: StartWatch, rabbitmq: RabbitMQServer) -> None:
    queue = rabbitmq.fresh_queue_name()
    declare_full_queue(rabbitmq.amqp_url, queue, 1)
    here = start_scene(QUEUE=queue, DEAD_LETTER_SECONDS="1", RELAY_POLL_SECONDS="0.2")
    with watch(here) as seen, here.load(5.0):
        seen.wait_until_fired("CallEventsDeadLetters")
    delete_queue(rabbitmq.amqp_url, queue)


def test_clients_with_wrong_requests(start_scene: StartScene, watch: StartWatch) -> None:
    here = start_scene()
    with watch(here) as seen:
        seen_at_rest(seen)
        with Requests(here, post(b"{}", token=TOKEN), post(body(), token="a-token-of-nobody")):
            seen.wait_until_fired("CallEventsRefusedForClients", "CallEventsTokenFailures")
        seen.wait_until_silent("CallEventsTokenFailures")


class Requests:
    """Sends these requests repeatedly in a thread, until its block ends."""

    def __init__(self, here: Scene, *requests: bytes) -> None:
        self._port = here.service.port
        self._requests = requests
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(SECONDS)

    def _run(self) -> None:
        while not self._stopping.is_set():
            for request in self._requests:
                ask(self._port, request)


def test_slow_database(start_scene: StartScene, watch: StartWatch, mysql: MySQLServer) -> None:
    with Wire(mysql.fresh_database()) as wire:
        here = start_scene(
            DATABASE_URL=wire.url,
            SPOOL_BYTES_MAX="0",
            QUEUE_EVENTS_MAX="20",
            QUEUE_SECONDS_MAX="10",
            BATCH_EVENTS_MAX="5",
            STORE_CONNECTIONS_MAX="1",
        )
        with watch(here) as seen, Load(here.service.port, connections=64):
            seen_at_rest(seen)
            with wire.delayed(SLOW_SECONDS):
                seen.wait_until_fired("CallEventsCommitSlow", "CallEventsQueueFilling", *SLOW)
            seen.wait_until_silent("CallEventsCommitSlow", "CallEventsQueueFilling")


def test_workers_that_stall(start_scene: StartScene, watch: StartWatch) -> None:
    here = start_scene()
    with watch(here) as seen, here.load():
        seen_at_rest(seen)
        with limping(here):
            seen.wait_until_fired("CallEventsLoopLag")
        seen.wait_until_silent("CallEventsLoopLag")


@contextmanager
def limping(here: Scene) -> Iterator[None]:
    """Freeze all workers repeatedly for a third of a second, for the block."""
    workers, ending = here.service.worker_pids(), threading.Event()

    def limp() -> None:
        while not ending.is_set():
            for number in signal.SIGSTOP, signal.SIGCONT:
                for pid in workers:
                    os.kill(pid, number)
                ending.wait(STOPPED_SECONDS)

    thread = threading.Thread(target=limp)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join(SECONDS)
        for pid in workers:
            os.kill(pid, signal.SIGCONT)


def test_database_that_refuses_rows(start_scene: StartScene, watch: StartWatch, mysql: MySQLServer) -> None:
    here = start_scene()
    database = here.database_url.rpartition("/")[2]
    with watch(here) as seen:
        seen_at_rest(seen)
        mysql.query("RENAME TABLE call_event_logs TO elsewhere", database)
        with here.load():
            seen.wait_until_fired("CallEventsSpoolUsed", "CallEventsCommitsRefused")
        damage_a_record(Path(here.service.environment["INGEST_DATA_DIR"]))
        mysql.query("RENAME TABLE elsewhere TO call_event_logs", database)
        seen.wait_until_fired("CallEventsSetAside")
        seen.wait_until_silent("CallEventsSpoolUsed", "CallEventsCommitsRefused", "CallEventsSetAside")


def damage_a_record(data_dir: Path) -> None:
    """Damage a record in one of the spools."""
    path = next((data_dir / "spool").glob("spool-*.log"))
    with path.open("r+b") as file:
        file.seek(HEAD_BYTES + ENTRY_BYTES + 20)
        file.write(b"\xff" * 20)


def test_disk_that_is_nearly_full(start_scene: StartScene, watch: StartWatch, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", SMALL_DISK_BYTES) as disk:
        here = start_scene(DATA_DIR=str(disk.folder), SPOOL_FREE_BYTES_MIN="1000000")
        with watch(here) as seen:
            seen.wait_until_fired("CallEventsDiskFilling")
        here.service.stop()


def test_background_task_that_cannot_work(start_scene: StartScene, watch: StartWatch, tmp_path: Path) -> None:
    history = tmp_path / "data" / "run" / "status" / "history"
    history.mkdir(parents=True)  # a folder in place of the task's file
    here = start_scene(DATA_DIR=str(tmp_path / "data"))
    with watch(here) as seen:
        seen.wait_until_fired("CallEventsBackgroundFailing")
        history.rmdir()
        seen.wait_until_silent("CallEventsBackgroundFailing")


def test_backlog_that_cannot_be_read(start_scene: StartScene, watch: StartWatch, mysql: MySQLServer) -> None:
    here = start_scene()
    database = urlsplit(here.database_url).path[1:]
    with watch(here) as seen:
        mysql.query("RENAME TABLE ingest_dead_letters TO elsewhere", database)
        seen.wait_until_fired("CallEventsBacklogUnknown")
        mysql.query("RENAME TABLE elsewhere TO ingest_dead_letters", database)
        seen.wait_until_silent("CallEventsBacklogUnknown")


def test_deleted_lock(start_scene: StartScene, watch: StartWatch, tmp_path: Path) -> None:
    here = start_scene(DATA_DIR=str(tmp_path / "data"))
    with watch(here) as seen:
        next((tmp_path / "data" / "slots").glob("*.lock")).unlink()
        seen.wait_until_fired("CallEventsCheckFailing")


def test_retention_of_a_table_without_partitions(start_scene: StartScene, watch: StartWatch) -> None:
    here = start_scene(RETENTION_DAYS="7", RETENTION_CHECK_SECONDS="0.5")
    with watch(here) as seen:
        seen.wait_until_fired("CallEventsRetentionFailing")


def test_source_that_falls_silent(start_scene: StartScene, fired: set[str], tmp_path: Path) -> None:
    here = start_scene()
    rules = write_hurried(tmp_path, DAY_PACE)
    with watching({"call-events": here.service.port}, rules, SCRAPE_MS, fired) as seen:
        with here.load(SLOW_EVENTS_PER_SECOND):
            let_pass(DAY_SECONDS * 26 / 24)
            assert "CallEventsSourceSilent" not in seen.firing()
            let_pass(MORE_SECONDS)
            assert "CallEventsSourceSilent" not in seen.firing()
        seen.wait_until_fired("CallEventsSourceSilent")
        with here.load(SLOW_EVENTS_PER_SECOND):
            seen.wait_until_silent("CallEventsSourceSilent")


def test_every_alert_was_fired(fired: set[str]) -> None:
    """Checks all tests before this one together."""
    assert fired == {rule["alert"] for rule in alerts()}
