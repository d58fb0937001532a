"""The order in which a worker publishes, for all orders of commits, failures and notices."""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest

from ingest.errors import BrokerUnavailable, NotConfirmed, StoreUnavailable
from ingest.events.batch import Batch
from ingest.ordering.deferred import LONG_PATIENCE_SECONDS, PATIENCE_SECONDS
from ingest.ordering.dispatcher import OWN_LEASE_SECONDS, OrderedDispatcher
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.dispatcher import DispatcherLimits
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import PUBLISH, Outage
from tests.unit.fakes import (
    FakeClock,
    FakeOrderedPublisher,
    FakeOrderedStore,
    FakePublisher,
    FakeRelay,
    FakeSettler,
    FakeStore,
    until,
)
from tests.unit.making import NOW_US, batch

LIMITS = DispatcherLimits(inflight_events_max=10, inflight_bytes_max=100_000, lease_seconds=30.0)
LEASE_SECONDS = 30.0
TRIES = 5


@pytest.fixture
def publisher() -> FakeOrderedPublisher:
    return FakeOrderedPublisher()


@pytest.fixture
async def order() -> FakeOrderedStore:
    return FakeOrderedStore()


@pytest.fixture
def spool_store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def spool(spool_store: FakeStore, relay: FakeRelay) -> CommitTarget:
    return CommitTarget(spool_store, FakeSettler(), relay, in_database=False)


@pytest.fixture
async def dispatcher(
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
    spool_store: FakeStore,
    metrics: Metrics,
    clock: FakeClock,
) -> AsyncIterator[OrderedDispatcher]:
    outage = Outage(PUBLISH, clock.monotonic)
    dead_letter_policy = DeadLetterPolicy(spool_store, 60.0, metrics, clock.now_us)
    made = OrderedDispatcher(
        publisher, order, spool_store, LIMITS, outage, metrics, clock.monotonic, clock.now_us, dead_letter_policy
    )
    yield made
    await made.close()


def batches(count: int) -> list[Batch]:
    return [batch(1, us=NOW_US + number * 1000) for number in range(count)]


def ids(published: FakePublisher) -> list[int]:
    return [event_id for made, _ in published.published for event_id in made.ids]


Commit = Callable[..., asyncio.Future[None]]


@pytest.fixture
async def commit(dispatcher: OrderedDispatcher) -> Commit:
    """`commit(batch, target, relay_mode=False)`: a commit from begin to end; what clients wait for then."""

    def run(made: Batch, target: CommitTarget, *, relay_mode: bool = False) -> "asyncio.Future[None]":
        pending = dispatcher.join(made)
        dispatcher.dispatch(made, LEASE_SECONDS, target, relay_mode=relay_mode)
        dispatcher.finish(pending)
        return pending.answer

    return run


async def test_batch_is_answered_when_it_is_published(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher
) -> None:
    publisher.gate.clear()
    (made,) = batches(1)
    answer = commit(made, target)
    await until(lambda: publisher.tried)
    assert not answer.done()

    publisher.gate.set()
    await answer

    assert ids(publisher) == [made.first_id]


async def test_batch_without_a_committed_event_is_answered_at_once(dispatcher: OrderedDispatcher) -> None:
    (made,) = batches(1)
    pending = dispatcher.join(made)
    dispatcher.finish(pending)
    assert pending.answer.done()


async def test_batches_are_published_in_the_order_of_their_ids_not_of_their_commits(
    commit: Commit,
    dispatcher: OrderedDispatcher,
    target: CommitTarget,
    publisher: FakeOrderedPublisher,
) -> None:
    first, second = batches(2)
    pending = dispatcher.join(first)
    later = commit(second, target)
    await asyncio.sleep(0)
    assert not publisher.tried
    dispatcher.dispatch(first, LEASE_SECONDS, target)
    dispatcher.finish(pending)

    await later

    assert ids(publisher) == [first.first_id, second.first_id]


async def test_batch_that_is_not_committed_delays_no_other(
    commit: Commit,
    dispatcher: OrderedDispatcher,
    target: CommitTarget,
    publisher: FakeOrderedPublisher,
) -> None:
    refused, second = batches(2)
    pending = dispatcher.join(refused)
    answer = commit(second, target)
    dispatcher.finish(pending)
    await answer
    assert ids(publisher) == [second.first_id]


async def test_parts_of_a_batch_are_published_in_its_order(
    dispatcher: OrderedDispatcher, target: CommitTarget, publisher: FakeOrderedPublisher
) -> None:
    whole = batch(4)
    pending = dispatcher.join(whole)
    for start, stop in ((3, 4), (0, 1), (1, 2)):  # one of them was refused
        dispatcher.dispatch(whole.part(start, stop), LEASE_SECONDS, target)
    dispatcher.finish(pending)
    await pending.answer
    assert ids(publisher) == [whole.ids[0], whole.ids[1], whole.ids[3]]


async def test_relay_mode_begins_before_an_unpublished_batch_is_answered(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher, order: FakeOrderedStore
) -> None:
    (made,) = batches(1)
    publisher.errors[made.first_id] = BrokerUnavailable("lost")
    order.order_gate.clear()
    answer = commit(made, target)
    await until(lambda: publisher.tried)
    await asyncio.sleep(0.01)
    assert not answer.done()

    order.order_gate.set()
    await answer

    assert (order.relay_mode, order.free) == (True, [made.first_id])


async def test_newer_batch_does_not_overtake_one_that_the_relays_have(
    commit: Commit,
    dispatcher: OrderedDispatcher,
    target: CommitTarget,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
) -> None:
    """The second was committed before relay mode began: it must not overtake the first."""
    first, second, third = batches(3)
    publisher.errors[first.first_id] = BrokerUnavailable("lost")
    answer = commit(first, target)
    pending = dispatcher.join(second)
    await answer
    dispatcher.dispatch(second, LEASE_SECONDS, target)
    dispatcher.finish(pending)
    await pending.answer
    assert order.free == [first.first_id, second.first_id]
    assert publisher.published == []

    order.relay_mode = False  # a relay has published both
    await commit(third, target)
    assert ids(publisher) == [third.first_id]


async def test_batch_committed_in_relay_mode_is_left_to_the_relays(
    commit: Commit,
    dispatcher: OrderedDispatcher,
    target: CommitTarget,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
) -> None:
    order.relay_mode = True
    first, second = batches(2)
    assert not dispatcher.relay_mode
    await commit(first, target, relay_mode=True)
    assert (order.free, publisher.tried) == ([first.first_id], [])
    assert dispatcher.relay_mode

    order.relay_mode = False
    await commit(second, target)
    assert not dispatcher.relay_mode


async def test_worker_without_a_broker_expects_relay_mode(
    dispatcher: OrderedDispatcher, publisher: FakeOrderedPublisher
) -> None:
    publisher.problem = "away"
    assert dispatcher.relay_mode
    publisher.problem = None
    assert not dispatcher.relay_mode


async def test_drain_waits_for_the_decision_of_the_database(
    commit: Commit, dispatcher: OrderedDispatcher, target: CommitTarget, order: FakeOrderedStore
) -> None:
    order.relay_mode = True
    order.order_gate.clear()
    (made,) = batches(1)
    answer = commit(made, target, relay_mode=True)
    await asyncio.sleep(0)  # it is being asked
    draining = asyncio.create_task(dispatcher.drain())
    await asyncio.sleep(0)
    assert not draining.done()

    order.order_gate.set()
    await draining

    assert answer.done()
    assert order.free == [made.first_id]


async def test_drain_waits_for_the_publish_after_a_decision(
    commit: Commit,
    dispatcher: OrderedDispatcher,
    target: CommitTarget,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
) -> None:
    order.order_gate.clear()
    (made,) = batches(1)
    commit(made, target, relay_mode=True)
    draining = asyncio.create_task(dispatcher.drain())
    await asyncio.sleep(0)
    order.order_gate.set()

    await draining

    assert ids(publisher) == [made.first_id]


async def test_worker_publishes_again_once_relay_mode_is_off(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher, order: FakeOrderedStore
) -> None:
    """It had read the note, which was taken back before it could leave the batch to the relays."""
    order.order_gate.clear()
    first, second, third = batches(3)
    answers = [commit(first, target, relay_mode=True), commit(second, target)]
    order.order_gate.set()
    answers.append(commit(third, target))
    await asyncio.gather(*answers)
    assert order.free == []
    assert ids(publisher) == [first.first_id, second.first_id, third.first_id]


async def test_client_that_waits_too_long_for_the_stream_is_answered_in_relay_mode(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher, order: FakeOrderedStore
) -> None:
    publisher.gate.clear()
    (made,) = batches(1)
    await commit(made, target)
    assert (order.relay_mode, order.free, publisher.published) == (True, [made.first_id], [])
    publisher.gate.set()
    await until(lambda: publisher.published)


async def test_client_of_a_spooled_event_is_answered_when_the_stream_has_it(
    commit: Commit, spool: CommitTarget, publisher: FakeOrderedPublisher
) -> None:
    publisher.gate.clear()
    (made,) = batches(1)
    answer = commit(made, spool)
    await asyncio.sleep(3 * PATIENCE_SECONDS)
    assert not answer.done()
    publisher.gate.set()
    await answer
    assert ids(publisher) == [made.first_id]


async def is_answered(answer: "asyncio.Future[None]", seconds: float) -> bool:
    """Return whether the answer comes in this time. A busy machine may need longer now and then."""
    with suppress(TimeoutError):
        await asyncio.wait_for(answer, seconds)
        return True
    return False


async def test_clients_of_a_long_outage_wait_no_longer_than_others(
    commit: Commit, spool: CommitTarget, publisher: FakeOrderedPublisher
) -> None:
    publisher.gate.clear()
    first, *others = batches(1 + TRIES)
    await asyncio.wait_for(commit(first, spool), 60.0)
    assert any([await is_answered(commit(made, spool), LONG_PATIENCE_SECONDS) for made in others])
    assert publisher.published == []
    publisher.gate.set()


async def test_clients_are_answered_while_the_database_cannot_be_told(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher, order: FakeOrderedStore
) -> None:
    (made,) = batches(1)
    publisher.errors[made.first_id] = BrokerUnavailable("lost")
    order.order_errors.append(StoreUnavailable())
    await commit(made, target)
    await until(lambda: order.free == [made.first_id])  # told as soon as the database is back


async def test_client_waits_for_the_stream_while_the_database_cannot_be_told(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher, order: FakeOrderedStore
) -> None:
    """The broker is only slow. Another worker may publish the client's next event, as it has read no flag."""
    publisher.gate.clear()
    order.away = StoreUnavailable()
    (made,) = batches(1)
    answer = commit(made, target)
    await asyncio.sleep(3 * PATIENCE_SECONDS)
    assert not answer.done()

    publisher.gate.set()
    await answer

    assert ids(publisher) == [made.first_id]


async def test_worker_publishes_all_its_events_if_the_database_does_not_answer(
    commit: Commit,
    target: CommitTarget,
    spool: CommitTarget,
    spool_store: FakeStore,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
) -> None:
    """Otherwise consumers would get none of them until the database is back, although the broker is there."""
    publisher.problem = "away"
    left, in_database, in_spool = batches(3)
    await commit(left, target)
    order.away, order.older = StoreUnavailable(), {in_database.first_id, in_spool.first_id}
    publisher.problem = None
    spool_store.entries = {in_spool.first_id: in_spool}
    answered_at: list[int] = []
    for made, where in ((in_database, target), (in_spool, spool)):
        commit(made, where).add_done_callback(lambda _: answered_at.append(len(publisher.published)))

    await until(lambda: len(answered_at) == 2)

    assert ids(publisher) == [in_database.first_id, in_spool.first_id]
    assert answered_at == [2, 2]  # they waited for the stream


async def test_memory_does_not_keep_events_of_the_spool_whose_clients_are_answered(
    commit: Commit, spool: CommitTarget, publisher: FakeOrderedPublisher
) -> None:
    """In a long outage the spool has more than the memory can take."""
    publisher.problem = "away"
    created_us = NOW_US + 77_000
    await commit(batch(1, us=created_us), spool)
    gc.collect()
    assert not [one for one in gc.get_objects() if isinstance(one, Batch) and one.created_us == created_us]


async def test_spooled_batch_is_published_before_newer_ones(
    commit: Commit,
    dispatcher: OrderedDispatcher,
    spool: CommitTarget,
    spool_store: FakeStore,
    publisher: FakeOrderedPublisher,
) -> None:
    publisher.problem = "away"
    first, second = batches(2)
    spool_store.entries = {first.first_id: first}
    assert dispatcher.lease_seconds(spool) == OWN_LEASE_SECONDS
    await commit(first, spool)
    publisher.problem = None
    commit(second, spool)
    spool_store.entries[second.first_id] = second
    await until(lambda: len(publisher.published) == 2)
    assert ids(publisher) == [first.first_id, second.first_id]
    assert publisher.once == [first.first_id, second.first_id]


@pytest.fixture
async def spooled(
    commit: Commit, spool: CommitTarget, spool_store: FakeStore, publisher: FakeOrderedPublisher
) -> tuple[Batch, Batch]:
    """Two batches, of which the older one is in the spool, as the broker is away."""
    publisher.problem = "away"
    older, newer = batches(2)
    spool_store.entries = {older.first_id: older}
    commit(older, spool)
    return older, newer


async def test_newer_ones_of_the_database_are_kept_back_until_the_spool_is_published(
    commit: Commit,
    target: CommitTarget,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
    spooled: tuple[Batch, Batch],
) -> None:
    older, newer = spooled
    await commit(newer, target)
    assert (order.relay_mode, order.free) == (True, [])

    publisher.problem = None
    await until(lambda: order.free)

    assert ids(publisher) == [older.first_id]
    assert order.free == [newer.first_id]


async def test_relay_mode_begins_while_the_spool_is_being_published(
    commit: Commit,
    target: CommitTarget,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
    spooled: tuple[Batch, Batch],
) -> None:
    """That may take long: newer events of the database are kept back meanwhile, and are answered."""
    _, newer = spooled
    publisher.gate.clear()
    publisher.problem = None
    await until(lambda: publisher.tried)

    await commit(newer, target)

    assert set(order.kept) == {newer.first_id}
    assert publisher.published == []
    publisher.gate.set()
    await until(lambda: order.free == [newer.first_id])


async def test_older_ones_of_the_database_are_not_kept_back(
    commit: Commit,
    target: CommitTarget,
    spool: CommitTarget,
    spool_store: FakeStore,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
) -> None:
    """The spool waits for them."""
    publisher.problem = "away"
    older, newer = batches(2)
    spool_store.entries = {newer.first_id: newer}
    order.order_gate.clear()
    commit(older, target)
    commit(newer, spool)
    order.order_gate.set()

    await until(lambda: order.free == [older.first_id])


async def test_spool_waits_for_older_entries_of_its_worker_at_the_relays(
    commit: Commit,
    target: CommitTarget,
    spool: CommitTarget,
    spool_store: FakeStore,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
) -> None:
    publisher.problem = "away"
    older, newer = batches(2)
    await commit(older, target)
    spool_store.entries = {newer.first_id: newer}
    order.older = {newer.first_id}
    commit(newer, spool)
    publisher.problem = None
    await asyncio.sleep(0.12)  # it is looked at every 50 ms
    assert publisher.published == []

    order.older.clear()
    await until(lambda: publisher.published)

    assert ids(publisher) == [newer.first_id]


@pytest.mark.parametrize("publishing", [False, True])
async def test_spooled_batches_around_one_of_the_relays_do_not_overtake_it(
    commit: Commit,
    publishing: bool,
    target: CommitTarget,
    spool: CommitTarget,
    spool_store: FakeStore,
    publisher: FakeOrderedPublisher,
    order: FakeOrderedStore,
) -> None:
    publisher.problem = "away"
    first, second, third = batches(3)
    spool_store.entries = {made.first_id: made for made in (first, third)}
    order.older = {third.first_id}
    commit(first, spool)
    if publishing:
        publisher.gate.clear()
        publisher.problem = None
        await until(lambda: publisher.tried)
    await commit(second, target)
    commit(third, spool)
    publisher.problem = None
    publisher.gate.set()

    await until(lambda: order.free == [second.first_id])
    await asyncio.sleep(0.12)  # it is looked at every 50 ms
    assert ids(publisher) == [first.first_id]

    order.older.clear()  # published by a relay
    await until(lambda: len(publisher.published) == 2)
    assert ids(publisher) == [first.first_id, third.first_id]


async def test_batches_over_the_limit_in_flight_are_left_to_the_relays(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher, order: FakeOrderedStore
) -> None:
    publisher.gate.clear()
    large, more = batch(8), batch(8, us=NOW_US + 1000)
    commit(large, target)
    await commit(more, target)
    assert more.first_id in order.free
    publisher.gate.set()


async def test_closing_answers_all_clients_as_their_events_are_durable(
    commit: Commit, dispatcher: OrderedDispatcher, target: CommitTarget, publisher: FakeOrderedPublisher
) -> None:
    publisher.gate.clear()
    (made,) = batches(1)
    answer = commit(made, target)
    await until(lambda: publisher.tried)
    await dispatcher.close()
    assert answer.done()


async def test_event_too_large_for_the_stream_delays_no_other(
    commit: Commit, target: CommitTarget, publisher: FakeOrderedPublisher, spool_store: FakeStore
) -> None:
    large, following = batches(2)
    publisher.errors[large.first_id] = NotConfirmed("too large", [0], never=[0])
    answers = [commit(made, target) for made in (large, following)]
    await asyncio.gather(*answers)
    assert [one.ids for one, _ in spool_store.dead_lettered] == [large.ids]
