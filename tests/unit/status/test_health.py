import asyncio
from functools import partial

import pytest

from ingest.errors import StoreError, StoreUnavailable
from ingest.status.health import Health
from ingest.telemetry.metrics import UNKNOWN_LEAST, Metrics
from tests.unit.conftest import Sample
from tests.unit.fakes import FakePublisher, FakeStore, until

AWAY = "MySQL is away."


class PingedStore(FakeStore):
    """Raises `problem` at a ping, if there is one."""

    def __init__(self) -> None:
        super().__init__()
        self.problem: Exception | None = None
        self.pings = 0

    async def ping(self) -> None:
        self.pings += 1
        if self.problem:
            raise self.problem


@pytest.fixture
def store() -> PingedStore:
    return PingedStore()


@pytest.fixture
def health(store: PingedStore, publisher: FakePublisher, metrics: Metrics) -> Health:
    return Health(store, None, publisher, metrics)


def status(health: Health) -> tuple[str, bool]:
    report = health.report()
    return report.status, report.ready


async def test_nothing_is_ready_before_the_first_check(health: Health) -> None:
    assert status(health) == ("starting", False)
    assert health.report().checks["database"] == "not checked yet"


async def test_a_further_check_that_fails_degrades_the_service(
    store: PingedStore, publisher: FakePublisher, metrics: Metrics, sample: Sample
) -> None:
    problems: dict[str, str] = {}
    checks = {name: partial(problems.get, name) for name in ("locks", "topology")}
    health = Health(store, None, publisher, metrics, checks)
    health.has_slot = health.started = True
    await health.check()
    assert status(health) == ("ready", True)

    problems["topology"] = "A partition is not bound."

    assert status(health) == ("degraded", True)
    assert health.report().checks["locks"] == "ok"
    assert health.report().checks["topology"] == "A partition is not bound."
    await health.check()
    assert [sample("ingest_check_failing", check=check) for check in ("locks", "topology")] == [0, 1]


async def test_ready_with_database_broker_and_id_slot(health: Health) -> None:
    health.has_slot = True
    await health.check()

    assert status(health) == ("ready", True)
    assert health.report().checks == {"database": "ok", "broker": "ok", "ids": "ok"}


async def test_events_are_accepted_without_a_broker(health: Health, publisher: FakePublisher) -> None:
    health.has_slot = True
    publisher.problem = "RabbitMQ is away."
    await health.check()

    assert status(health) == ("degraded", True)
    assert health.report().checks["broker"] == "RabbitMQ is away."


async def test_no_events_are_accepted_without_a_database(health: Health, store: PingedStore) -> None:
    health.has_slot = True
    store.problem = StoreUnavailable(AWAY)
    await health.check()

    assert status(health) == ("unavailable", False)
    assert health.report().checks["database"] == AWAY


async def test_no_events_are_accepted_without_an_id_slot(health: Health) -> None:
    await health.check()

    assert status(health) == ("starting", False)


async def test_draining_goes_before_all(health: Health) -> None:
    health.has_slot = True
    await health.check()
    health.draining = True

    assert status(health) == ("draining", False)


async def test_gauges_follow_the_checks(
    health: Health, store: PingedStore, publisher: FakePublisher, sample: Sample
) -> None:
    await health.check()
    assert [sample(f"ingest_{name}") for name in ("database_up", "broker_up")] == [1, 1]

    health.started = True
    store.problem, publisher.problem = StoreError(AWAY), "RabbitMQ is away."
    await health.check()
    assert [sample(f"ingest_{name}") for name in ("database_up", "broker_up")] == [0, 0]


async def test_unexpected_failure_does_not_end_the_checks(health: Health, store: PingedStore) -> None:
    health.has_slot = True
    store.problem = RuntimeError("a fault in the driver")
    running = asyncio.create_task(health.run())
    await until(lambda: store.pings)

    assert status(health) == ("unavailable", False)
    assert not running.done()
    running.cancel()
    await asyncio.wait([running])


async def test_refused_messages_degrade_the_service(store: PingedStore, metrics: Metrics) -> None:
    class Refusing(FakePublisher):
        @property
        def ready(self) -> bool:
            return True

    publisher = Refusing()
    health = Health(store, None, publisher, metrics)
    health.has_slot = True
    await health.check()
    assert status(health) == ("ready", True)
    publisher.problem = "RabbitMQ refuses 1 messages"
    assert status(health) == ("degraded", True)
    assert health.report().checks["broker"] == "RabbitMQ refuses 1 messages"


async def test_worker_that_starts_shows_no_outage_before_it_could_connect(
    health: Health, store: PingedStore, publisher: FakePublisher, sample: Sample
) -> None:
    """Otherwise each planned replacement of a worker would look like an outage of all workers."""
    names = ("ingest_database_up", "ingest_broker_up")
    store.problem, publisher.problem = StoreUnavailable(AWAY), "RabbitMQ is away."
    await health.check()
    assert [sample(name) for name in names] == [UNKNOWN_LEAST] * 2

    health.started = True
    await health.check()
    assert [sample(name) for name in names] == [0, 0]
