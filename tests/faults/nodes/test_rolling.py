"""Two nodes behind a balancer are restarted in turn, and no request fails."""

from collections.abc import Iterator

import pytest

from tests.faults.form import Form
from tests.faults.harness.balancer import Balancer
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.load import Load
from tests.faults.harness.scene import Scene, scene
from tests.faults.report import Report
from tests.services import MySQLServer, RabbitMQServer

EVENTS_PER_SECOND = 1000.0
DRAIN_DELAY_SECONDS = 1.0
"""Long enough for a balancer that checks ten times a second."""


@pytest.fixture
def nodes(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> Iterator[tuple[Scene, Scene]]:
    shared = {
        "DATABASE_URL": mysql.fresh_database(),
        "QUEUE": rabbitmq.fresh_queue_name(),
        "DRAIN_DELAY_SECONDS": str(DRAIN_DELAY_SECONDS),
    }
    with scene(mysql, rabbitmq, shared) as one, scene(mysql, rabbitmq, shared) as other:
        yield one, other


def test_rolling_restart_under_load_fails_no_request(nodes: tuple[Scene, Scene], form: Form, report: Report) -> None:
    one, other = nodes
    with (
        Balancer([one.service, other.service]) as balancer,
        Load(balancer.port, EVENTS_PER_SECOND) as load,
    ):
        for _ in range(form.restarts):
            for node in nodes:
                one.wait_for_steady(load)
                assert node.service.stop() == 0
                node.service.start()
                node.service.wait_for_status("ready")
        one.wait_for_steady(load)
    other.wait_until_drained()
    result = report.add("rolling restart of two nodes", form.restarts, one.account(load.ledger))
    assert_unnoticed(result)
    assert load.ledger.unreached == 0
