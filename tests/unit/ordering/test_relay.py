"""The relay that keeps the order; what it shares with the other one is tested there."""

import pytest

from ingest.errors import BrokerUnavailable, NotConfirmed, PublishError
from ingest.events.batch import Batch
from ingest.ordering.relay import OrderedRelay
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.outbox.progress import Progress
from ingest.outbox.relay import READ_ENTRIES, SLICE_EVENTS, RelayLimits, RelayTools
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import PUBLISH, Outage
from tests.unit.fakes import FakeClock, FakeOrderedPublisher, FakeOrderedStore
from tests.unit.making import NOW_US, batch

LIMITS = RelayLimits(poll_seconds=0.001, entries_max=64, lease_seconds=30.0)


@pytest.fixture
def store() -> FakeOrderedStore:
    return FakeOrderedStore()


@pytest.fixture
def publisher() -> FakeOrderedPublisher:
    return FakeOrderedPublisher()


@pytest.fixture
def relay(store: FakeOrderedStore, publisher: FakeOrderedPublisher, metrics: Metrics, clock: FakeClock) -> OrderedRelay:
    outage, dead_letter_policy = Outage(PUBLISH, clock.monotonic), DeadLetterPolicy(store, 60.0, metrics, clock.now_us)
    tools = RelayTools(LIMITS, outage, metrics, clock.monotonic, clock.now_us, dead_letter_policy, Progress())
    return OrderedRelay(store, publisher, tools)


def left(store: FakeOrderedStore, count: int, events: int = 1) -> list[Batch]:
    made = [batch(events, us=NOW_US + number * 1000) for number in range(count)]
    store.entries |= {one.first_id: one for one in made}
    store.claims.append([one.first_id for one in made])
    return made


async def test_nothing_is_settled_before_it_is_known_not_to_be_discarded(
    relay: OrderedRelay, store: FakeOrderedStore, publisher: FakeOrderedPublisher
) -> None:
    made = left(store, 2)
    publisher.once_errors.append(BrokerUnavailable("lost"))

    with pytest.raises(PublishError):
        await relay.round()
    assert store.settled == []

    await relay.round()

    first_ids = [one.first_id for one in made]
    assert (store.settled, publisher.once) == (first_ids, first_ids)


async def test_batch_that_is_refused_for_now_is_published_again_before_newer_ones(
    relay: OrderedRelay, store: FakeOrderedStore, publisher: FakeOrderedPublisher
) -> None:
    first, *others, newer = left(store, READ_ENTRIES + 1, events=SLICE_EVENTS // READ_ENTRIES + 1)
    publisher.once_errors.append(NotConfirmed("refused", [0]))
    with pytest.raises(NotConfirmed):
        await relay.round()
    assert store.settled == [one.first_id for one in others]

    await relay.round()

    assert publisher.once == [first.first_id, newer.first_id]


async def test_claims_are_kept_for_their_whole_lease(
    relay: OrderedRelay, store: FakeOrderedStore, publisher: FakeOrderedPublisher, clock: FakeClock
) -> None:
    """No relay gets them before. All newer entries wait for them."""
    (made,) = left(store, 1)
    publisher.once_errors.append(BrokerUnavailable("lost"))
    with pytest.raises(PublishError):
        await relay.round()

    clock.advance(0.9 * LIMITS.lease_seconds)
    await relay.round()

    assert store.settled == [made.first_id]


async def test_event_that_the_stream_never_takes_is_settled_all_the_same(
    relay: OrderedRelay, store: FakeOrderedStore, publisher: FakeOrderedPublisher
) -> None:
    (made,) = left(store, 1)
    publisher.once_errors.append(NotConfirmed("too large", [0], never=[0]))
    await relay.round()
    assert store.settled == [made.first_id]


async def test_who_catches_up_makes_sure_too(
    relay: OrderedRelay, store: FakeOrderedStore, publisher: FakeOrderedPublisher
) -> None:
    store.last = [batch(1)]
    store.claims.append([])
    await relay.round()
    assert publisher.once == [store.last[0].first_id]


async def test_more_is_claimed_at_once_as_long_as_there_is_much(relay: OrderedRelay, store: FakeOrderedStore) -> None:
    left(store, LIMITS.entries_max)
    left(store, 1)

    assert await relay.round()
    assert store.caught_up == 0

    assert not await relay.round()
    assert (len(store.settled), store.caught_up) == (LIMITS.entries_max + 1, 1)
