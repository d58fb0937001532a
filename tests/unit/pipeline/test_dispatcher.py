import asyncio
from collections.abc import AsyncIterator, Callable, Iterable

import msgspec
import pytest

from ingest.errors import BrokerUnavailable, NotConfirmed, PublishError
from ingest.events.batch import Batch, joined
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import GROUP_EVENTS, Dispatcher, DispatcherLimits
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import PUBLISH, Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakePublisher, FakeRelay, FakeSettler, FakeStore, until
from tests.unit.making import NOW_US, batch

LIMITS = DispatcherLimits(inflight_events_max=10, inflight_bytes_max=100_000, lease_seconds=30.0)
LEASE_SECONDS = 30.0
MakeDispatcher = Callable[..., Dispatcher]


@pytest.fixture
async def make_dispatcher(
    publisher: FakePublisher, metrics: Metrics, clock: FakeClock
) -> AsyncIterator[MakeDispatcher]:
    made: list[Dispatcher] = []

    def make(**limits: float) -> Dispatcher:
        together = msgspec.structs.replace(LIMITS, **limits)
        outage = Outage(PUBLISH, clock.monotonic)
        made.append(Dispatcher(publisher, together, outage, metrics, clock.monotonic, clock.now_us))
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
    return [event_id for made, _ in publisher.published for event_id in made.ids]


async def test_batches_are_published_live_in_the_order_of_dispatch(
    dispatcher: Dispatcher, target: CommitTarget, publisher: FakePublisher
) -> None:
    made = batches(8)
    for one in made:
        dispatcher.dispatch(one, LEASE_SECONDS, target)
        await asyncio.sleep(0)
    await dispatcher.drain()

    assert published(publisher) == [one.first_id for one in made]
    assert {priority for _, priority in publisher.published} == {"live"}


async def test_what_is_committed_while_a_publish_is_unconfirmed_is_published_together(
    dispatcher: Dispatcher, target: CommitTarget, publisher: FakePublisher
) -> None:
    publisher.gate.clear()
    first, second, third = batches(3)
    dispatcher.dispatch(first, LEASE_SECONDS, target)
    await until(lambda: publisher.tried)
    dispatcher.dispatch(second, LEASE_SECONDS, target)
    dispatcher.dispatch(third, LEASE_SECONDS, target)
    assert (publisher.tried, dispatcher.inflight_events) == ([first], 3)

    publisher.gate.set()
    await dispatcher.drain()

    assert publisher.tried == [first, joined([second, third])]
    assert dispatcher.inflight_events == 0


class Following(FakeSettler):
    """The next commit follows a confirm in the same round of the loop in which the publish ends."""

    def __init__(self, follow: Callable[[], None]) -> None:
        super().__init__()
        self._follow = follow

    def add(self, first_ids: Iterable[int]) -> None:
        if not self.given_back:
            asyncio.get_running_loop().call_soon(self._follow)
        super().add(first_ids)


async def test_batch_that_comes_as_a_publish_ends_does_not_wait_for_the_next(
    dispatcher: Dispatcher, publisher: FakePublisher, relay: FakeRelay, store: FakeStore
) -> None:
    first, second = batches(2)
    following = Following(lambda: dispatcher.dispatch(second, LEASE_SECONDS, target))
    target = CommitTarget(store, following, relay)
    dispatcher.dispatch(first, LEASE_SECONDS, target)

    await until(lambda: len(publisher.published) == 2)

    assert dispatcher.inflight_events == 0


async def test_full_group_does_not_wait_for_confirms(
    make_dispatcher: MakeDispatcher, target: CommitTarget, publisher: FakePublisher
) -> None:
    dispatcher = make_dispatcher(inflight_events_max=10_000, inflight_bytes_max=10_000_000)
    publisher.gate.clear()
    first, second, third = batches(3, GROUP_EVENTS // 2)
    dispatcher.dispatch(first, LEASE_SECONDS, target)
    await until(lambda: publisher.tried)

    dispatcher.dispatch(second, LEASE_SECONDS, target)
    dispatcher.dispatch(third, LEASE_SECONDS, target)
    await until(lambda: len(publisher.tried) == 2)

    assert publisher.tried == [first, joined([second, third])]


async def test_group_is_bounded(
    make_dispatcher: MakeDispatcher, target: CommitTarget, publisher: FakePublisher
) -> None:
    dispatcher = make_dispatcher(inflight_events_max=10_000, inflight_bytes_max=10_000_000)
    for one in batches(5, GROUP_EVENTS // 2):
        dispatcher.dispatch(one, LEASE_SECONDS, target)
    await dispatcher.drain()

    assert [len(made) for made, _ in publisher.published] == [GROUP_EVENTS, GROUP_EVENTS, GROUP_EVENTS // 2]


@pytest.mark.parametrize(
    ("limits", "events_each"),
    [({"inflight_events_max": 10}, 5), ({"inflight_bytes_max": 2 * 190}, 1)],
    ids=["events", "bytes"],
)
async def test_what_is_over_the_bound_is_left_to_the_relay(
    make_dispatcher: MakeDispatcher,
    target: CommitTarget,
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
        dispatcher.dispatch(one, LEASE_SECONDS, target)

    publisher.gate.set()
    await dispatcher.drain()

    assert published(publisher) == [*first.ids, *second.ids]
    assert sample("ingest_events_released_total") == events_each
    assert dispatcher.inflight_events == 0
    dispatcher.dispatch(third, LEASE_SECONDS, target)
    await dispatcher.drain()
    assert published(publisher)[2 * events_each :] == third.ids


async def test_nothing_is_published_while_the_broker_is_away(
    dispatcher: Dispatcher, target: CommitTarget, publisher: FakePublisher, settler: FakeSettler, sample: Sample
) -> None:
    publisher.problem = "away"
    dispatcher.dispatch(batch(3), LEASE_SECONDS, target)
    await dispatcher.drain()

    assert publisher.tried == []
    assert settler.given_back == []
    assert sample("ingest_events_released_total") == 3


@pytest.mark.parametrize(("lease_seconds", "taken"), [(30.0, [0, 1, 2]), (0.0, None)], ids=["leased", "not leased"])
async def test_batch_committed_just_before_the_broker_went_does_not_wait_for_its_lease_to_end(
    dispatcher: Dispatcher,
    target: CommitTarget,
    publisher: FakePublisher,
    relay: FakeRelay,
    lease_seconds: float,
    taken: list[int] | None,
) -> None:
    """If the entry has no lease, any worker's relay may have claimed it already."""
    publisher.problem = "away"
    made = batch(3)
    dispatcher.dispatch(made, lease_seconds, target)

    assert relay.taken.get(made.first_id) == taken


async def test_those_who_wait_for_the_commit_are_answered_before_it_is_published(
    dispatcher: Dispatcher, target: CommitTarget, publisher: FakePublisher
) -> None:
    published_before: list[int] = []
    dispatcher.dispatch(batch(), LEASE_SECONDS, target)
    # As the futures of the waiting requests are resolved: right after it, in the same round of the loop.
    asyncio.get_running_loop().call_soon(lambda: published_before.append(len(publisher.tried)))
    await dispatcher.drain()

    assert (published_before, len(publisher.tried)) == ([0], 1)


def test_new_entries_are_leased_unless_the_broker_is_away(
    make_dispatcher: MakeDispatcher, publisher: FakePublisher, target: CommitTarget
) -> None:
    dispatcher = make_dispatcher(lease_seconds=12.0)
    assert dispatcher.lease_seconds(target) == 12.0

    publisher.problem = "away"

    assert dispatcher.lease_seconds(target) == 0.0


@pytest.mark.parametrize(
    ("error", "taken", "settled", "failed"),
    [
        (BrokerUnavailable("lost"), [[0, 1, 2], [0, 1, 2], [0, 1, 2]], [], 9),
        (NotConfirmed("full", [1, 6, 8]), [[1], None, [0, 2]], [1], 3),
        (NotConfirmed("full", [3]), [None, [0], None], [0, 2], 1),
    ],
)
async def test_what_the_broker_did_not_take_is_not_settled_but_handed_over(
    dispatcher: Dispatcher,
    target: CommitTarget,
    publisher: FakePublisher,
    settler: FakeSettler,
    relay: FakeRelay,
    sample: Sample,
    error: PublishError,
    taken: list[list[int] | None],
    settled: list[int],
    failed: int,
) -> None:
    group = batches(3, 3)
    publisher.errors[group[0].first_id] = error
    for one in group:
        dispatcher.dispatch(one, LEASE_SECONDS, target)
    await dispatcher.drain()

    assert [relay.taken.get(one.first_id) for one in group] == taken
    assert settler.given_back == [group[number].first_id for number in settled]
    assert dispatcher.inflight_events == 0
    assert sample("ingest_events_publish_failed_total", route="memory") == failed
    assert sample("ingest_events_published_total", route="memory") == 9 - failed


async def test_after_a_failure_the_next_group_is_published(
    dispatcher: Dispatcher,
    target: CommitTarget,
    publisher: FakePublisher,
    settler: FakeSettler,
    relay: FakeRelay,
) -> None:
    publisher.gate.clear()
    failing, fine = batches(2)
    publisher.errors[failing.first_id] = BrokerUnavailable("lost")
    dispatcher.dispatch(failing, LEASE_SECONDS, target)
    await until(lambda: publisher.tried)
    dispatcher.dispatch(fine, LEASE_SECONDS, target)
    publisher.gate.set()
    await dispatcher.drain()

    assert (settler.given_back, list(relay.taken)) == ([fine.first_id], [failing.first_id])


async def test_publish_that_breaks_unexpectedly_is_logged_and_holds_up_nobody(
    dispatcher: Dispatcher,
    target: CommitTarget,
    publisher: FakePublisher,
    settler: FakeSettler,
    caplog: pytest.LogCaptureFixture,
) -> None:
    publisher.gate.clear()
    broken, fine = batches(2)
    publisher.errors[broken.first_id] = ZeroDivisionError("a bug")  # type: ignore[assignment]
    dispatcher.dispatch(broken, LEASE_SECONDS, target)
    await until(lambda: publisher.tried)
    dispatcher.dispatch(fine, LEASE_SECONDS, target)
    publisher.gate.set()
    await dispatcher.drain()

    assert "publishing failed unexpectedly" in caplog.text
    assert (settler.given_back, dispatcher.inflight_events) == ([fine.first_id], 0)


async def test_close_gives_up_what_is_in_flight(
    dispatcher: Dispatcher, target: CommitTarget, publisher: FakePublisher, settler: FakeSettler
) -> None:
    publisher.gate.clear()
    dispatcher.dispatch(batch(), LEASE_SECONDS, target)
    await until(lambda: publisher.tried)

    await dispatcher.close()

    assert (publisher.published, settler.given_back, dispatcher.inflight_events) == ([], [], 0)
