"""The committer that keeps the order; its other ways are tested through the batcher and with the plain committer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from ingest.errors import DuplicateKeys, StoreUnavailable
from ingest.ordering.committer import OrderedCommitter
from ingest.ordering.dispatcher import OrderedDispatcher
from ingest.outbox.dead_letters import DeadLetterPolicy
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.committer import CommitterLimits
from ingest.pipeline.dispatcher import DispatcherLimits
from ingest.pipeline.outcomes import Failures
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import PUBLISH, Outage
from tests.unit.fakes import (
    FakeClock,
    FakeOrderedPublisher,
    FakeOrderedStore,
    FakeRelay,
    FakeSettler,
    FakeStore,
    until,
)
from tests.unit.making import NOW_US, batch, event

SPOOL_AFTER_SECONDS = 0.2


@pytest.fixture
def publisher() -> FakeOrderedPublisher:
    return FakeOrderedPublisher()


@pytest.fixture
def store() -> FakeOrderedStore:
    return FakeOrderedStore()


@pytest.fixture
def spool_store() -> FakeStore:
    return FakeStore()


@pytest.fixture
async def committer(
    publisher: FakeOrderedPublisher,
    store: FakeOrderedStore,
    spool_store: FakeStore,
    settler: FakeSettler,
    relay: FakeRelay,
    outage: Outage,
    metrics: Metrics,
    clock: FakeClock,
) -> AsyncIterator[OrderedCommitter]:
    dispatcher = OrderedDispatcher(
        publisher,
        store,
        spool_store,
        DispatcherLimits(1000, 1_000_000, 30.0),
        Outage(PUBLISH, clock.monotonic),
        metrics,
        clock.monotonic,
        clock.now_us,
        DeadLetterPolicy(store, 60.0, metrics, clock.now_us),
    )
    database = CommitTarget(store, settler, relay)
    spool = CommitTarget(spool_store, FakeSettler(), FakeRelay(), in_database=False)
    limits = CommitterLimits(10.0, 2.0, SPOOL_AFTER_SECONDS)
    yield OrderedCommitter(database, spool, outage, dispatcher, limits, metrics, clock.monotonic)
    await dispatcher.close()


class Answers:
    """The failures of each batch, once clients may be told."""

    def __init__(self) -> None:
        self.failures: list[Failures] = []

    def __call__(self, failures: Failures) -> None:
        self.failures.append(failures)


def ids(publisher: FakeOrderedPublisher) -> list[int]:
    return [event_id for made, _ in publisher.published for event_id in made.ids]


async def test_clients_are_answered_when_the_stream_has_their_events(
    committer: OrderedCommitter, publisher: FakeOrderedPublisher, store: FakeOrderedStore
) -> None:
    answers = Answers()
    publisher.gate.clear()

    await committer.commit_and_answer(batch(2), 0.0, answers)

    await until(lambda: publisher.tried)
    assert (len(store.commits), answers.failures) == (1, [])
    publisher.gate.set()
    await until(lambda: answers.failures)
    assert answers.failures == [{}]


async def test_batches_are_published_in_the_order_of_their_ids_not_of_their_commits(
    committer: OrderedCommitter, publisher: FakeOrderedPublisher, store: FakeOrderedStore
) -> None:
    answers = Answers()
    first, second = batch([event("slow")]), batch([event("quick")], us=NOW_US + 1000)
    store.gates["slow"] = asyncio.Event()
    committing = asyncio.create_task(committer.commit_and_answer(first, 0.0, answers))
    await until(lambda: store.tried)
    await committer.commit_and_answer(second, 0.0, answers)
    assert publisher.tried == []

    store.gates["slow"].set()
    await committing

    await until(lambda: len(answers.failures) == 2)
    assert ids(publisher) == [first.first_id, second.first_id]


async def test_repeated_event_is_answered_when_its_original_has_left_the_outbox(
    committer: OrderedCommitter, publisher: FakeOrderedPublisher, store: FakeOrderedStore
) -> None:
    answers, original = Answers(), batch(1)
    store.waiting = {original.first_id}
    store.errors.append(DuplicateKeys({0: True}, original.ids))
    repeated = batch([event("repeated"), event("new")], us=NOW_US + 1000)

    await committer.commit_and_answer(repeated, 0.0, answers)
    await until(lambda: publisher.published)
    assert answers.failures == []

    store.waiting.clear()
    await until(lambda: answers.failures)
    assert (answers.failures, store.relay_mode) == ([{}], False)
    assert ids(publisher) == repeated.ids[1:]


async def test_original_of_a_dead_worker_is_left_to_the_relays_before_the_answer(
    committer: OrderedCommitter, store: FakeOrderedStore
) -> None:
    """Otherwise the client's next event could overtake it: no relay publishes it before its lease is over."""
    answers, of_newer, original = Answers(), Answers(), batch(2)
    store.waiting = {original.first_id}
    store.errors.append(DuplicateKeys({0: True}, original.ids))
    store.order_errors.append(StoreUnavailable("for a moment"))

    await committer.commit_and_answer(batch(1, us=NOW_US + 1000), 0.0, answers)
    await committer.commit_and_answer(batch(1, us=NOW_US + 2000), 0.0, of_newer)
    await until(lambda: of_newer.failures)
    assert answers.failures == []  # other clients do not wait for it

    await until(lambda: answers.failures)
    assert (store.relay_mode, store.free) == (True, [original.first_id])


async def test_repeated_event_is_answered_in_time_while_the_order_is_unknown(
    committer: OrderedCommitter, store: FakeOrderedStore
) -> None:
    answers = Answers()
    store.errors.append(DuplicateKeys({0: True}, batch(1).ids))
    store.away = StoreUnavailable("away")

    await committer.commit_and_answer(batch(1, us=NOW_US + 1000), 0.0, answers)

    await until(lambda: answers.failures)
    assert answers.failures == [{}]


async def test_batch_that_fails_is_answered_at_once_and_delays_no_other(
    committer: OrderedCommitter, publisher: FakeOrderedPublisher, store: FakeOrderedStore, spool_store: FakeStore
) -> None:
    answers = Answers()
    first, second = batch(1), batch(1, us=NOW_US + 1000)
    store.errors.append(StoreUnavailable("away"))
    spool_store.errors.append(StoreUnavailable("no disk"))

    with pytest.raises(StoreUnavailable):
        await committer.commit_and_answer(first, 0.0, answers)
    await committer.commit_and_answer(second, 0.0, answers)

    await until(lambda: answers.failures)
    assert ids(publisher) == [second.first_id]


async def test_batch_committed_in_relay_mode_is_left_to_the_relays(
    committer: OrderedCommitter, publisher: FakeOrderedPublisher, store: FakeOrderedStore
) -> None:
    answers = Answers()
    store.relay_mode = True
    made = batch(1)

    await committer.commit_and_answer(made, 0.0, answers)

    await until(lambda: answers.failures)
    assert (store.free, publisher.tried) == ([made.first_id], [])


async def test_slow_commit_is_waited_for_in_relay_mode(
    committer: OrderedCommitter, publisher: FakeOrderedPublisher, store: FakeOrderedStore, spool_store: FakeStore
) -> None:
    store.gate.clear()
    made = batch(3)
    answers: list[Failures] = []
    committing = asyncio.create_task(committer.commit_and_answer(made, 0.0, answers.append))

    await until(lambda: store.tried)
    publisher.problem = "away"  # only since the commit was begun
    await asyncio.sleep(3 * SPOOL_AFTER_SECONDS)
    assert not committing.done()
    store.gate.set()
    await committing

    await until(lambda: answers == [{}])
    assert ([commit.batch for commit in store.commits], spool_store.tried) == ([made], [])
