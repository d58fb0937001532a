"""kill -9 under load: what was answered 200 is one row and at least one message, whatever was killed."""

import time

from tests.faults.scene import RECOVERY_SECONDS, WORKER_DEATHS_APART_SECONDS, Scene
from tests.services import wait_until

WORKER_ROUNDS = 3


def test_killed_workers_come_back_and_lose_nothing(here: Scene) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        for _ in range(WORKER_ROUNDS):
            killed = time.monotonic()
            here.kill_worker()
            here.wait_for_steady(load)
            apart = killed + WORKER_DEATHS_APART_SECONDS
            assert wait_until(lambda apart=apart: time.monotonic() > apart, RECOVERY_SECONDS)  # type: ignore[misc]
    result = here.account(load.ledger)
    assert not result.faults, result
    assert not result.refused, result


def test_killed_database_loses_no_acknowledged_event(here: Scene) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        here.kill_mysql()
        here.wait_for_steady(load)
    result = here.account(load.ledger)
    assert not result.faults, result
    assert result.unknown == 0, result
    assert set(result.refused) <= {500}, result


def test_killed_broker_is_not_noticed_by_clients_and_loses_nothing(here: Scene) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        here.kill_rabbitmq()
        here.wait_for_steady(load)
    result = here.account(load.ledger)
    assert not result.faults, result
    assert not result.refused, result
    assert result.unknown == 0, result


def test_killed_service_publishes_after_its_restart_what_it_had_acknowledged(here: Scene) -> None:
    with here.load() as load:
        here.wait_for_steady(load)
        here.kill_service()
        here.wait_for_steady(load)
    result = here.account(load.ledger)
    assert not result.faults, result
    assert not result.refused, result
