"""Frozen workers, and all workers killed at once."""

from tests.faults.form import Form
from tests.faults.harness.load import CONNECTIONS
from tests.faults.harness.scene import Scene, let_pass
from tests.faults.report import Report

ANSWER_SECONDS_MAX = 5.0


def test_frozen_worker_is_replaced_before_its_clients_give_up(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        for _ in range(form.freezes):
            here.wait_for_steady(load)
            here.freeze_worker()
        here.wait_for_steady(load)
    result = report.add("SIGSTOP of a worker, until the watchdog acts", form.freezes, here.account(load.ledger))
    assert not result.faults, result
    assert not result.refused, result
    assert result.unknown <= CONNECTIONS * form.freezes, result
    assert result.longest_seconds < ANSWER_SECONDS_MAX


def test_frozen_service_continues_after_it_is_thawed(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        for _ in range(form.freezes):
            here.wait_for_steady(load)
            workers = here.service.worker_pids()
            with here.frozen_service():
                let_pass(form.freeze_seconds)
            here.wait_for_steady(load)
            assert here.service.worker_pids() == workers, "the watchdog killed a worker of a frozen service"
    fault = f"SIGSTOP of the whole service, {form.freeze_seconds:g} s"
    result = report.add(fault, form.freezes, here.account(load.ledger))
    assert not result.faults, result
    assert not result.refused, result
    assert result.unknown <= CONNECTIONS * form.freezes, result


def test_killing_all_workers_at_once_loses_nothing(here: Scene, form: Form, report: Report) -> None:
    with here.load() as load:
        for _ in range(form.rounds):
            here.wait_for_steady(load)
            here.kill_all_workers()
        here.wait_for_steady(load)
    result = report.add("kill -9 of all workers", form.rounds, here.account(load.ledger))
    assert not result.faults, result
    assert not result.refused, result
