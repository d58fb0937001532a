"""Connections between the service and its servers are cut, slow or silent: no request fails, and nothing is lost."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack

import pytest

from tests.faults.form import Form
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import WORKERS, Scene, let_pass, scene
from tests.faults.harness.wire import Wire
from tests.faults.report import Report
from tests.services import MySQLServer, RabbitMQServer

CUTS_APART_SECONDS = 0.5
DELAY_SECONDS = 0.1
ANSWER_SECONDS_MAX = 5.0

SERVERS = ("the database", "RabbitMQ")
Wires = Mapping[str, Wire]


@pytest.fixture(scope="module")
def wires(mysql: MySQLServer, rabbitmq: RabbitMQServer) -> Iterator[Wires]:
    urls = (mysql.fresh_database(), rabbitmq.amqp_url)
    with ExitStack() as stack:
        yield {name: stack.enter_context(Wire(url)) for name, url in zip(SERVERS, urls, strict=True)}


@pytest.fixture(scope="module")
def here(mysql: MySQLServer, rabbitmq: RabbitMQServer, wires: Wires, form: Form) -> Iterator[Scene]:
    settings = {
        "DATABASE_URL": wires[SERVERS[0]].url,
        "BROKER_URL": wires[SERVERS[1]].url,
        "LEASE_SECONDS": str(form.lease_seconds),
    }
    with scene(mysql, rabbitmq, settings) as made:
        yield made


@pytest.mark.parametrize("server", SERVERS)
def test_connections_cut_again_and_again_are_not_noticed_by_clients(
    here: Scene, wires: Wires, server: str, form: Form, report: Report
) -> None:
    connections = 0
    with here.load() as load:
        here.wait_for_steady(load)
        for _ in range(form.cuts):
            connections += wires[server].cut()
            let_pass(CUTS_APART_SECONDS)
        here.wait_for_steady(load)
    remark = f"{connections} connections in all"
    result = report.add(f"connections to {server} cut", form.cuts, here.account(load.ledger), remark=remark)
    assert connections >= WORKERS  # the pauses between attempts to reach RabbitMQ grow
    assert_unnoticed(result)


@pytest.mark.parametrize("server", SERVERS)
def test_slow_connections_are_not_noticed_by_clients(
    here: Scene, wires: Wires, server: str, form: Form, report: Report
) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        with wires[server].delayed(DELAY_SECONDS):
            let_pass(form.slow_seconds)
        here.wait_for_steady(load)
    fault = f"{server} {DELAY_SECONDS:g} s away, {form.slow_seconds:g} s"
    assert_unnoticed(report.add(fault, 1, here.account(load.ledger)))


@pytest.mark.parametrize("server", SERVERS)
def test_connections_that_swallow_everything_are_not_noticed_by_clients(
    here: Scene, wires: Wires, server: str, form: Form, report: Report
) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        with wires[server].swallowing():
            let_pass(form.freeze_seconds)
        here.wait_for_steady(load)
    fault = f"nothing arrives at {server}, {form.freeze_seconds:g} s"
    assert_unnoticed(report.add(fault, 1, here.account(load.ledger)))
