"""Two services run at once on copies of one data folder, as after a copy of a machine's image or a volume."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.faults.form import Form
from tests.faults.harness.ledger import joined
from tests.faults.harness.load import Load
from tests.faults.harness.scene import Scene, scene, stopped
from tests.faults.report import Report
from tests.running import ServiceProcess
from tests.services import MySQLServer, RabbitMQServer

EVENTS_PER_SECOND = 400.0
"""The rate of each service: ids of one slot would collide in the same millisecond."""
OWN = ("INGEST_HOST", "INGEST_PORT", "INGEST_DATA_DIR")


@pytest.fixture
def here(mysql: MySQLServer, rabbitmq: RabbitMQServer, form: Form) -> Iterator[Scene]:
    with scene(mysql, rabbitmq, {"LEASE_SECONDS": str(form.lease_seconds)}) as made:
        yield made


@contextmanager
def copy_of(here: Scene, folder: Path) -> Iterator[Scene]:
    """Start another service on a copy of the current data folder, and wait until it accepts events."""
    settings = {
        name.removeprefix("INGEST_"): value
        for name, value in here.service.environment.items()
        if name.startswith("INGEST_") and name not in OWN
    }
    folder.mkdir()
    shutil.copytree(here.service.environment["INGEST_DATA_DIR"], folder / "var")
    with ServiceProcess(folder, settings) as service:
        yield Scene(service, here.mysql, here.rabbitmq)


@contextmanager
def away(server: MySQLServer) -> Iterator[Callable[[], None]]:
    """Stop the server. It starts again when the yielded function is called, or when the block ends."""
    with ExitStack() as back:
        back.enter_context(stopped(server))
        yield back.close


def steady(*loads: tuple[Scene, Load]) -> None:
    for one, load in loads:
        one.wait_for_steady(load)


def test_copy_of_a_running_service(here: Scene, tmp_path: Path, report: Report) -> None:
    with here.load(EVENTS_PER_SECOND) as first:
        here.wait_for_steady(first)
        with copy_of(here, tmp_path / "copy") as other:
            with other.load(EVENTS_PER_SECOND) as second:
                steady((here, first), (other, second))
                with stopped(here.mysql):
                    steady((here, first), (other, second))
                steady((here, first), (other, second))
            other.wait_until_drained()
    result = report.add("data folder copied while in use", 1, here.account(joined(first.ledger, second.ledger)))
    assert not result.faults, result
    assert not result.refused, result


def test_copy_that_starts_while_the_database_is_down(here: Scene, tmp_path: Path, report: Report) -> None:
    with here.load(EVENTS_PER_SECOND) as first, away(here.mysql) as come_back:
        here.wait_for_steady(first)
        with copy_of(here, tmp_path / "copy") as other:
            with other.load(EVENTS_PER_SECOND) as second:
                steady((here, first), (other, second))
                come_back()
                steady((here, first), (other, second))
            other.wait_until_drained()
    fault = "data folder copied, database away"
    result = report.add(fault, 1, here.account(joined(first.ledger, second.ledger)))
    assert not result.faults, result
    assert not result.refused, result


def test_copy_of_a_stopped_service_and_both_start_while_the_database_is_down(
    here: Scene, tmp_path: Path, report: Report
) -> None:
    here.service.stop()
    with away(here.mysql) as come_back:
        here.service.start()
        with copy_of(here, tmp_path / "copy") as other:
            here.service.wait_for_status("ready", "degraded")
            with here.load(EVENTS_PER_SECOND) as first, other.load(EVENTS_PER_SECOND) as second:
                steady((here, first), (other, second))
                come_back()
                steady((here, first), (other, second))
            other.wait_until_drained()
    fault = "data folder copied cold, both started without database"
    result = report.add(fault, 1, here.account(joined(first.ledger, second.ledger)))
    assert not result.faults, result
    assert not result.refused, result
