"""kill -9 under load: each event answered 200 is one row and at least one message after any kill."""

import time

from tests.faults.form import Form
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import WORKER_DEATHS_APART_SECONDS, Scene, let_pass
from tests.faults.report import Report


def test_killed_workers_come_back_and_lose_nothing(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        for _ in range(form.rounds):
            killed = time.monotonic()
            here.kill_worker()
            here.wait_for_steady(load)
            if form.rounds > 1:
                let_pass(killed + WORKER_DEATHS_APART_SECONDS - time.monotonic())
    result = report.add("kill -9 of a worker", form.rounds, here.account(load.ledger))
    assert not result.faults, result
    assert not result.refused, result


def test_killed_database_is_not_noticed_by_clients_and_loses_nothing(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        for _ in range(form.rounds):
            here.wait_for_steady(load)
            here.kill_mysql()
        here.wait_for_steady(load)
    result = report.add("kill -9 of the database", form.rounds, here.account(load.ledger))
    assert_unnoticed(result)


def test_killed_broker_is_not_noticed_by_clients_and_loses_nothing(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        for _ in range(form.rounds):
            here.wait_for_steady(load)
            here.kill_rabbitmq()
        here.wait_for_steady(load)
    result = report.add("kill -9 of RabbitMQ", form.rounds, here.account(load.ledger))
    assert_unnoticed(result)


def test_killed_service_publishes_acknowledged_events_after_its_restart(
    here: Scene, form: Form, report: Report
) -> None:
    with here.load() as load:
        for _ in range(form.rounds):
            here.wait_for_steady(load)
            here.kill_service()
        here.wait_for_steady(load)
    result = report.add("kill -9 of the whole service", form.rounds, here.account(load.ledger))
    assert not result.faults, result
    assert not result.refused, result
