"""Two nodes are restarted in turn behind a balancer, and one node is reloaded. No request fails."""

import os
import signal
from collections.abc import Iterator

import pytest

from tests.faults.form import Form
from tests.faults.harness.balancer import Balancer
from tests.faults.harness.ledger import assert_unnoticed, joined
from tests.faults.harness.load import Load
from tests.faults.harness.scene import Scene, scene
from tests.faults.report import Report
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer, wait_until

EVENTS_PER_SECOND = 500.0
DRAIN_DELAY_SECONDS = 4.0
"""Long enough for a balancer that checks ten times a second, and for each client to get an answer that says close. A
busy machine may stop them for some of this time."""
RELOAD_SECONDS = 60.0
CONNECTIONS_PER_SECOND = 200.0


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


@pytest.fixture
def reloaded(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> Iterator[Scene]:
    with scene(
        mysql, rabbitmq, {"LISTENER": "direct", "WORKERS": "2", "DRAIN_DELAY_SECONDS": str(DRAIN_DELAY_SECONDS)}
    ) as one:
        yield one


def reload(service: ServiceProcess) -> None:
    """Replace all workers."""
    before = set(service.worker_pids())
    os.kill(service.pid, signal.SIGHUP)
    assert wait_until(lambda: not before & set(service.worker_pids()), RELOAD_SECONDS), service.log()
    service.wait_for_status("ready")


def test_reload_under_load_fails_no_request(reloaded: Scene, form: Form, report: Report) -> None:
    """All workers accept from one socket, so this holds without the kernel's `tcp_migrate_req`."""
    service = reloaded.service
    with (
        Load(service.port, EVENTS_PER_SECOND) as load,
        Load(service.port, CONNECTIONS_PER_SECOND, keep_alive=False) as newcomers,
    ):
        for _ in range(form.restarts):
            reloaded.wait_for_steady(load)
            reload(service)
        reloaded.wait_for_steady(load)
        reloaded.wait_for_steady(newcomers)
    ledger = joined(load.ledger, newcomers.ledger)
    result = report.add("reload of the direct listener", form.restarts, reloaded.account(ledger))
    assert_unnoticed(result)
    assert ledger.unreached == 0
