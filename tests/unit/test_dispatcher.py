import asyncio
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from ingest.batches import Batch
from ingest.dispatcher import SETTLED_ENTRIES_MAX, SETTLED_ENTRIES_MIN, Dispatcher, DispatcherLimits
from ingest.errors import BrokerUnavailable, NotConfirmed, PublishError, StoreUnavailable
from ingest.metrics import Metrics
from ingest.outage import Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakePublisher, FakeStore, FakeSuccessor, until
from tests.unit.making import NOW_US, batch

LIMITS = DispatcherLimits(inflight_events_max=10, inflight_bytes_max=100_000, lease_seconds=30.0)
LEASE_SECONDS = 30.0
MakeDispatcher = Callable[..., Dispatcher]


@pytest.fixture
async def make_dispatcher(
    store: FakeStore, publisher: FakePublisher, successor: FakeSuccessor, metrics: Metrics, clock: FakeClock
) -> AsyncIterator[MakeDispatcher]:
    made: list[Dispatcher] = []

    def make(**limits: float) -> Dispatcher:
        together = msgspec.structs.replace(LIMITS, **limits)
        outage = Outage(clock.monotonic)
        made.append(Dispatcher(store, publisher, successor, together, outage, metrics, clock.monotonic))
        return made[-1]

    yield make
    for dispatcher in made:
        await dispatcher.close()


@pytest.fixture
def dispatcher(make_dispatcher: MakeDispatcher) -> Dispatcher:
    return make_dispatcher()


def batches(count: int, of: int = 1) -> list[Batch]:
    return [batch(of, us=NOW_US + number * 1000) for number in range(count)]


def published(publisher: FakePublisher) -> list[int]:
    return [made.first_id for made, _ in publisher.published]


async def test_batches_are_published_live_in_the_order_of_dispatch(
    dispatcher: Dispatcher, publisher: FakePublisher
) -> None:
    made = batches(8)
    for one in made:
        dispatcher.dispatch(one, LEASE_SECONDS)
    await until(lambda: len(publisher.published) == 8)

    assert publisher.published == [(one, "live") for one in made]


async def test_the_next_batch_is_written_before_the_first_is_confirmed(
    dispatcher: Dispatcher, publisher: FakePublisher
) -> None:
    publisher.gate.clear()
    made = batches(3)
    for one in made:
        dispatcher.dispatch(one, LEASE_SECONDS)

    await until(lambda: publisher.tried == made)

    assert publisher.published == []
    assert dispatcher.inflight_events == 3


@pytest.mark.parametrize(
    ("limits", "events_each"),
    [({"inflight_events_max": 10}, 5), ({"inflight_bytes_max": 2 * 190}, 1)],
    ids=["events", "bytes"],
)
async def test_what_is_over_the_bound_is_left_to_the_relay(
    make_dispatcher: MakeDispatcher,
    publisher: FakePublisher,
    sample: Sample,
    limits: dict[str, float],
    events_each: int,
) -> None:
    dispatcher = make_dispatcher(**limits)
    publisher.gate.clear()
    first, second, third = batches(3, events_each)
    assert 127 < len(first.events[0].payload) <= 190
    for one in (first, second, third):
        dispatcher.dispatch(one, LEASE_SECONDS)

    publisher.gate.set()
    await dispatcher.drain()

    assert published(publisher) == [first.first_id, second.first_id]
    assert sample("ingest_events_released_total") == events_each
    assert dispatcher.inflight_events == 0
    dispatcher.dispatch(third, LEASE_SECONDS)
    await dispatcher.drain()
    assert published(publisher)[2:] == [third.first_id]


async def test_nothing_is_published_while_the_broker_is_away(
    dispatcher: Dispatcher, publisher: FakePublisher, store: FakeStore, sample: Sample
) -> None:
    publisher.problem = "away"
    dispatcher.dispatch(batch(3), LEASE_SECONDS)
    await dispatcher.drain()

    assert publisher.tried == []
    assert store.settled == []
    assert sample("ingest_events_released_total") == 3


@pytest.mark.parametrize(("lease_seconds", "taken"), [(30.0, [0, 1, 2]), (0.0, None)], ids=["leased", "not leased"])
async def test_batch_committed_just_before_the_broker_went_does_not_wait_for_its_lease_to_end(
    dispatcher: Dispatcher,
    publisher: FakePublisher,
    successor: FakeSuccessor,
    lease_seconds: float,
    taken: list[int] | None,
) -> None:
    """Without a lease any worker's relay may have claimed it already."""
    publisher.problem = "away"
    made = batch(3)
    dispatcher.dispatch(made, lease_seconds)

    assert successor.taken.get(made.first_id) == taken


async def test_those_who_wait_for_the_commit_are_answered_before_it_is_published(
    dispatcher: Dispatcher, publisher: FakePublisher
) -> None:
    published_before: list[int] = []
    dispatcher.dispatch(batch(), LEASE_SECONDS)
    # As the futures of the waiting requests are resolved: right after it, in the same round of the loop.
    asyncio.get_running_loop().call_soon(lambda: published_before.append(len(publisher.tried)))
    await dispatcher.drain()

    assert (published_before, len(publisher.tried)) == ([0], 1)


def test_new_entries_are_leased_unless_the_broker_is_away(
    make_dispatcher: MakeDispatcher, publisher: FakePublisher
) -> None:
    dispatcher = make_dispatcher(lease_seconds=12.0)
    assert dispatcher.lease_seconds() == 12.0

    publisher.problem = "away"

    assert dispatcher.lease_seconds() == 0.0


@pytest.mark.parametrize(("error", "rest"), [(BrokerUnavailable("lost"), [0, 1, 2]), (NotConfirmed("full", [1]), [1])])
async def test_failed_publish_is_not_settled_but_handed_over(
    dispatcher: Dispatcher,
    publisher: FakePublisher,
    store: FakeStore,
    successor: FakeSuccessor,
    sample: Sample,
    error: PublishError,
    rest: list[int],
) -> None:
    failing, fine = batches(2, 3)
    publisher.errors[failing.first_id] = error
    dispatcher.dispatch(failing, LEASE_SECONDS)
    dispatcher.dispatch(fine, LEASE_SECONDS)
    await dispatcher.drain()

    assert store.settled == [fine.first_id]
    assert successor.taken == {failing.first_id: rest}
    assert dispatcher.take_settled() == []
    assert dispatcher.inflight_events == 0
    assert sample("ingest_events_publish_failed_total", route="memory") == 3
    assert sample("ingest_events_published_total", route="memory") == 3


async def test_publish_that_breaks_unexpectedly_is_logged_and_not_settled(
    dispatcher: Dispatcher, publisher: FakePublisher, store: FakeStore, caplog: pytest.LogCaptureFixture
) -> None:
    broken = batch()
    publisher.errors[broken.first_id] = ZeroDivisionError("a bug")  # type: ignore[assignment]
    dispatcher.dispatch(broken, LEASE_SECONDS)
    await until(lambda: "publishing failed unexpectedly" in caplog.text)

    assert dispatcher.inflight_events == 0
    assert dispatcher.take_settled() == []


async def test_confirmed_batches_settle_with_the_next_commit(
    dispatcher: Dispatcher, publisher: FakePublisher, store: FakeStore
) -> None:
    made = batches(SETTLED_ENTRIES_MIN)
    for one in made:
        dispatcher.dispatch(one, LEASE_SECONDS)
    await until(lambda: len(publisher.published) == len(made) and dispatcher.inflight_events == 0)

    assert dispatcher.take_settled() == [one.first_id for one in made]
    assert dispatcher.take_settled() == []
    await dispatcher.drain()
    assert store.settled == []


async def test_batch_is_settled_by_a_timer_when_no_commit_comes(dispatcher: Dispatcher, store: FakeStore) -> None:
    made = batch()
    dispatcher.dispatch(made, LEASE_SECONDS)

    await until(lambda: store.settled)

    assert store.settled == [made.first_id]


async def test_entries_given_back_are_settled_later(dispatcher: Dispatcher, store: FakeStore) -> None:
    dispatcher.give_back_settled([11, 12])

    await until(lambda: store.settled)

    assert store.settled == [11, 12]


async def test_settling_is_tried_again_after_a_failure(dispatcher: Dispatcher, store: FakeStore) -> None:
    store.settle_errors.extend([StoreUnavailable(), StoreUnavailable()])
    dispatcher.give_back_settled([11])

    await until(lambda: store.settled)

    assert store.settled == [11]


async def test_one_commit_settles_a_bounded_number(dispatcher: Dispatcher) -> None:
    dispatcher.give_back_settled(range(SETTLED_ENTRIES_MAX + SETTLED_ENTRIES_MIN))

    assert dispatcher.take_settled() == list(range(SETTLED_ENTRIES_MAX))
    assert len(dispatcher.take_settled()) == SETTLED_ENTRIES_MIN


async def test_a_commit_does_not_settle_a_few(dispatcher: Dispatcher, store: FakeStore) -> None:
    few = list(range(SETTLED_ENTRIES_MIN - 1))
    dispatcher.give_back_settled(few)

    assert dispatcher.take_settled() == []
    await until(lambda: store.settled)

    assert store.settled == few


async def test_drain_ends_with_all_confirmed_and_settled(
    dispatcher: Dispatcher, publisher: FakePublisher, store: FakeStore
) -> None:
    made = batches(3)
    for one in made:
        dispatcher.dispatch(one, LEASE_SECONDS)

    await dispatcher.drain()

    assert published(publisher) == store.settled == [one.first_id for one in made]


async def test_drain_settles_also_more_than_one_commit_would(dispatcher: Dispatcher, store: FakeStore) -> None:
    first_ids = list(range(2 * SETTLED_ENTRIES_MAX + 7))
    dispatcher.give_back_settled(first_ids)

    await dispatcher.drain()

    assert store.settled == first_ids


async def test_close_gives_up_what_is_in_flight(
    dispatcher: Dispatcher, publisher: FakePublisher, store: FakeStore
) -> None:
    publisher.gate.clear()
    dispatcher.dispatch(batch(), LEASE_SECONDS)
    await until(lambda: publisher.tried)

    await dispatcher.close()

    assert (publisher.published, store.settled, dispatcher.inflight_events) == ([], [], 0)
