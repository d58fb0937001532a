"""Parts that most unit tests need."""

from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, settings
from prometheus_client import CollectorRegistry

from ingest.auth.authenticator import Authenticator
from ingest.events.idempotency import Keys
from ingest.events.ids import IdGenerator
from ingest.http.admission import Admission
from ingest.http.body_reader import BodyReader
from ingest.http.event_handler import EventHandler
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.committer import Committer, CommitterLimits
from ingest.pipeline.event_queue import BatcherLimits
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import COMMIT, Outage
from tests.unit.fakes import FakeClock, FakeDispatcher, FakePublisher, FakeRelay, FakeSettler, FakeStore

# A busy machine is no failure.
settings.register_profile("unit", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unit")

Sample = Callable[..., float]

TOKEN = "secret"
BODY_BYTES_MAX = 1000
QUEUE_EVENTS_MAX = 10


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
def relay() -> FakeRelay:
    return FakeRelay()


@pytest.fixture
def dispatcher() -> FakeDispatcher:
    return FakeDispatcher()


@pytest.fixture
def settler() -> FakeSettler:
    return FakeSettler()


@pytest.fixture
def target(store: FakeStore, settler: FakeSettler, relay: FakeRelay) -> CommitTarget:
    """The database."""
    return CommitTarget(store, settler, relay)


@pytest.fixture
def outage(clock: FakeClock) -> Outage:
    """The database's."""
    return Outage(COMMIT, clock.monotonic)


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


@pytest.fixture
async def batcher(
    target: CommitTarget, outage: Outage, dispatcher: FakeDispatcher, metrics: Metrics, clock: FakeClock
) -> AsyncIterator[Batcher]:
    """The batcher behind the handlers: one writer, which commits all queued events at once."""
    limits = BatcherLimits(
        batch_events_max=QUEUE_EVENTS_MAX,
        batch_bytes_max=100_000,
        queue_events_max=QUEUE_EVENTS_MAX,
        queue_bytes_max=100_000,
        queue_seconds_max=60.0,
        writers=1,
        patience_seconds=60.0,
    )
    committer = Committer(target, None, outage, dispatcher, CommitterLimits(60.0, 60.0, 60.0), metrics, clock.monotonic)
    batcher = Batcher(committer, limits, metrics, clock.now_us, clock.monotonic)
    batcher.use_ids(IdGenerator(1, clock.now_us))
    batcher.start()
    yield batcher
    await batcher.close()


@pytest.fixture
def bodies(clock: FakeClock) -> BodyReader:
    return BodyReader(5.0, clock.monotonic)


@pytest.fixture
def admission(metrics: Metrics, clock: FakeClock) -> Admission:
    return Admission(Authenticator([TOKEN], clock.monotonic), Keys(natural=False), metrics)


@pytest.fixture
def handler(admission: Admission, bodies: BodyReader, batcher: Batcher) -> EventHandler:
    return EventHandler(admission, bodies, batcher, BODY_BYTES_MAX)
