"""The event loop of these tests reaches the simulation's models as well as real servers."""

import asyncio
from collections.abc import Callable, Mapping

from tests.simulation.rabbitmq.loops import NetworkLoop


def pytest_asyncio_loop_factories() -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"network": NetworkLoop}
