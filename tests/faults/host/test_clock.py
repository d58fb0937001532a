"""The clock is set back under load: no id is made twice, and nothing waits until the clock reaches the old time."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.form import Form
from tests.faults.harness.clock import SEEN_SECONDS, Clock
from tests.faults.harness.ledger import assert_unnoticed
from tests.faults.harness.scene import Scene, let_pass, scene, stopped
from tests.faults.report import Report
from tests.services import MySQLServer, RabbitMQServer

EVENTS_PER_SECOND = 400.0
"""At this rate the same milliseconds, of which ids are made, occur again."""
FAR_SECONDS = 3600.0
"""A lease of the old time ends long after the test."""
NEAR_SECONDS = 2.0
"""A time at which events arrived, whose ids must not be made again."""


@pytest.fixture
def clock() -> Iterator[Clock]:
    with tempfile.TemporaryDirectory(prefix="call-events-faults-") as folder:
        yield Clock(Path(folder) / "clock")


@pytest.fixture
def here(
    mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Scene]:
    """The whole service uses that clock."""
    for name, value in clock.environment.items():
        monkeypatch.setenv(name, value)
    with scene(mysql, rabbitmq, {"LEASE_SECONDS": str(form.lease_seconds)}) as made:
        monkeypatch.undo()
        yield made


def test_clock_stepped_back_is_not_noticed_by_clients_and_loses_nothing(
    here: Scene, clock: Clock, form: Form, report: Report
) -> None:
    with here.load(EVENTS_PER_SECOND) as load:
        for _ in range(form.steps):
            here.wait_for_steady(load)
            with stopped(here.mysql):
                here.wait_for_steady(load)  # these events go to the spool, with leases of the old time
                clock.step_back(FAR_SECONDS)
                let_pass(SEEN_SECONDS)
            here.wait_for_steady(load)
            clock.step_back(NEAR_SECONDS)
            let_pass(SEEN_SECONDS)
            here.wait_for_steady(load)
    fault = "clock set back by an hour, and by 2 s"
    result = report.add(fault, form.steps, here.account(load.ledger), remark="the hour while the database was stopped")
    times = [line["time"] for line in here.service.log_lines()]
    assert times[-1] < times[0], "the service does not use the new time"
    assert_unnoticed(result)
