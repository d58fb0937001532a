"""A publisher reconnects after every loss, whichever error the driver raises."""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator

import pytest

from ingest.broker.supervisor import Connection, Supervisor
from ingest.errors import BrokerUnavailable
from tests.unit.fakes import until


class FakeConnection(Connection):
    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.close_error: Exception | None = None

    async def close(self) -> None:
        self.closed = True
        if self.close_error:
            raise self.close_error


class FakeDriver:
    """Fails with the next of `errors`, then connects."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = deque(errors)
        self.made: list[FakeConnection] = []

    async def connect(self) -> FakeConnection:
        if self.errors:
            raise self.errors.popleft()
        self.made.append(FakeConnection())
        return self.made[-1]


@pytest.fixture
def driver() -> FakeDriver:
    return FakeDriver()


@pytest.fixture
async def supervisor(driver: FakeDriver) -> AsyncIterator[Supervisor[FakeConnection]]:
    supervisor = Supervisor(driver.connect, reconnect_seconds_max=0.001)
    yield supervisor
    await supervisor.close()


def connected(supervisor: Supervisor[FakeConnection]) -> bool:
    return supervisor.problem is None


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records]


async def test_there_is_no_connection_before_the_start(supervisor: Supervisor[FakeConnection]) -> None:
    with pytest.raises(BrokerUnavailable, match="Not connected"):
        supervisor.connection()


async def test_open_connection_is_available(driver: FakeDriver, supervisor: Supervisor[FakeConnection]) -> None:
    supervisor.start()
    await until(lambda: connected(supervisor))
    assert supervisor.connection() is driver.made[0]


async def test_dropped_connection_is_unavailable_then_closed_and_replaced(
    driver: FakeDriver, supervisor: Supervisor[FakeConnection]
) -> None:
    supervisor.start()
    await until(lambda: connected(supervisor))
    supervisor.connection().drop("the reason")
    driver.made[0].drop("a later reason")
    with pytest.raises(BrokerUnavailable, match="the reason"):
        supervisor.connection()
    await until(lambda: connected(supervisor))
    assert driver.made[0].closed
    assert supervisor.connection() is driver.made[1]


@pytest.mark.parametrize(
    "error", [OSError("refused"), TimeoutError(), RuntimeError("?"), ValueError("?"), asyncio.CancelledError()]
)
async def test_any_failure_to_connect_is_followed_by_another_try(
    error: BaseException, driver: FakeDriver, supervisor: Supervisor[FakeConnection]
) -> None:
    driver.errors.extend([error] * 3)
    supervisor.start()
    await until(lambda: connected(supervisor))
    assert len(driver.made) == 1


async def test_failure_to_close_does_not_end_it(driver: FakeDriver, supervisor: Supervisor[FakeConnection]) -> None:
    supervisor.start()
    await until(lambda: connected(supervisor))
    driver.made[0].close_error = ValueError("?")
    driver.made[0].drop("lost")
    await until(lambda: len(driver.made) == 2)


async def test_failure_is_logged_once_until_it_ends(
    driver: FakeDriver, supervisor: Supervisor[FakeConnection], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "ingest.publisher")
    driver.errors.extend([OSError("refused")] * 5)
    supervisor.start()
    await until(lambda: connected(supervisor))
    driver.errors.extend([OSError("refused")] * 5)
    driver.made[0].drop("lost")
    await until(lambda: len(driver.made) == 2 and connected(supervisor))
    outage = ["RabbitMQ connection failed", "RabbitMQ connected"]
    assert said(caplog) == [*outage, "RabbitMQ connection lost", *outage]


async def test_close_ends_the_connection_for_good(driver: FakeDriver, supervisor: Supervisor[FakeConnection]) -> None:
    supervisor.start()
    await until(lambda: connected(supervisor))
    await supervisor.close()
    await supervisor.close()
    assert driver.made[0].closed
    assert "closed" in (supervisor.problem or "")


async def test_confirm_deadline_drops_the_connection(supervisor: Supervisor[FakeConnection]) -> None:
    connection = FakeConnection()
    with pytest.raises(BrokerUnavailable, match="did not confirm"):
        async with connection.confirming(0.001):
            await asyncio.get_running_loop().create_future()
    assert "did not confirm" in (connection.problem or "")
