"""A healthy service under load fires no alert, with the rules at their real speed."""

import pytest

from tests.alerts.conftest import StartScene
from tests.alerts.watch import rules_as_they_are, watching
from tests.faults.harness.scene import let_pass
from tests.services import MysqldExporter, RabbitMQServer

SCRAPE_MS = 5000
EVENTS_PER_SECOND = 300.0


@pytest.mark.timeout(3600)
def test_healthy_service_has_no_pending_or_firing_alert(
    start_scene: StartScene, rabbitmq: RabbitMQServer, exporter: MysqldExporter, silent_seconds: float
) -> None:
    here = start_scene()
    ports = {"call-events": here.service.port, "rabbitmq": rabbitmq.metrics_port, "mysql": exporter.port}
    with here.load(EVENTS_PER_SECOND) as load, watching(ports, rules_as_they_are(), SCRAPE_MS, set()) as seen:
        let_pass(silent_seconds)
        assert seen.ever(f"{int(silent_seconds) + 60}s") == set()
    assert not load.ledger.refused
    assert not load.ledger.unknown
    assert len(load.ledger.ok) > silent_seconds * EVENTS_PER_SECOND / 2
