"""The event loop of these tests reaches the simulation's models as well as real servers."""

from tests.contract.broker.conftest import pytest_asyncio_loop_factories

__all__ = ["pytest_asyncio_loop_factories"]
