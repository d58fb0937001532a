"""Parts that most unit tests need."""

from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from ingest.metrics import Metrics
from tests.unit.fakes import FakeClock, FakeOnward, FakePublisher, FakeStore

Sample = Callable[..., float]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def publisher() -> FakePublisher:
    return FakePublisher()


@pytest.fixture
def onward() -> FakeOnward:
    return FakeOnward()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def metrics(registry: CollectorRegistry) -> Metrics:
    return Metrics(registry)


@pytest.fixture
def sample(registry: CollectorRegistry, metrics: Metrics) -> Sample:
    """`sample("ingest_events_accepted_total", route="relay")`: a metric's value."""

    def value(name: str, **labels: str) -> float:
        return registry.get_sample_value(name, labels) or 0.0

    return value
