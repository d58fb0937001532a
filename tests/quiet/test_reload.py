"""The short form: start and reload of two workers under load. `make alerts` runs all planned operations."""

from pathlib import Path

import pytest

from ingest.auth.tokens import entry_of
from tests.alerts.watch import rules_as_they_are
from tests.exposition import scrape
from tests.faults.harness.load import Load
from tests.quiet.figures import lasting_differences, of_workers
from tests.quiet.nodes import LogReader, reload
from tests.quiet.noise import unexpected, without_cause
from tests.quiet.watch import watching
from tests.running import TOKEN, ServiceProcess
from tests.services import MySQLServer, RabbitMQServer

OPERATION = "start, reload and stop"
EVENTS_PER_SECOND = 50.0
SETTLED_SECONDS = 60.0
SINCE_THE_START = 60.0


@pytest.fixture
def settings(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> dict[str, str]:
    return {
        "DATABASE_URL": mysql.fresh_database(),
        "BROKER_URL": rabbitmq.amqp_url,
        "QUEUE": rabbitmq.fresh_queue_name(),
        "WORKERS": "2",
        "API_TOKENS": entry_of(TOKEN),
        "DRAIN_DELAY_SECONDS": "0.5",
    }


def test_start_and_reload_are_quiet(settings: dict[str, str], tmp_path: Path) -> None:
    with ServiceProcess(tmp_path, settings) as service:
        log = LogReader(service)
        with watching(tmp_path, rules_as_they_are(), service.port) as watch, Load(service.port, EVENTS_PER_SECOND):
            reload(service)
            watch.watch(service.port)
            assert unexpected(OPERATION, watch.states(SINCE_THE_START)) == []
        assert lasting_differences(service, SETTLED_SECONDS) == []
        assert of_workers(service)["ingest_events_accepted_total"] > 0
        assert scrape(service).value("ingest_worker_restarts_total") == 0
        assert service.stop() == 0
        assert without_cause(OPERATION, log.new_lines()) == []
