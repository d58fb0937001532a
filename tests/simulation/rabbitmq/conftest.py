"""The event loop of these tests reaches the models over a network in memory."""

import asyncio
from collections.abc import Callable, Mapping

from tests.simulation.rabbitmq.loops import NetworkLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"network": NetworkLoop}
