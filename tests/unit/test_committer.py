"""What the committer does while the database is away; its other ways are tested through the batcher."""

import asyncio

import pytest

from ingest.committer import Committer, CommitterLimits
from ingest.errors import IdsTaken, RowRefused, SchemaError, SpoolFull, StoreError, StoreUnavailable
from ingest.homes import Home
from ingest.metrics import Metrics
from ingest.outage import Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakeOnward, FakeSettling, FakeStore, FakeSuccessor, until
from tests.unit.making import batch, event

QUEUE_SECONDS = 2.0
SPOOL_AFTER_SECONDS = 0.02


@pytest.fixture
def spool_store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def spool(spool_store: FakeStore) -> Home:
    return Home(spool_store, FakeSettling(), FakeSuccessor())


@pytest.fixture
def committer(
    home: Home, spool: Home, outage: Outage, onward: FakeOnward, metrics: Metrics, clock: FakeClock
) -> Committer:
    return Committer(
        home, spool, outage, onward, CommitterLimits(10.0, QUEUE_SECONDS, SPOOL_AFTER_SECONDS), metrics, clock.monotonic
    )


@pytest.mark.parametrize("error", [StoreUnavailable("away"), SchemaError("no such table"), StoreError("odd")])
async def test_batch_that_the_database_does_not_take_is_kept_in_the_spool(
    committer: Committer,
    store: FakeStore,
    spool_store: FakeStore,
    spool: Home,
    onward: FakeOnward,
    outage: Outage,
    sample: Sample,
    error: StoreError,
) -> None:
    store.errors.append(error)
    made = batch(3)

    assert await committer.commit(made, 0.0) == {}

    assert [commit.batch for commit in spool_store.commits] == [made]
    assert (onward.dispatched, onward.homes) == ([made], [spool])
    assert outage.reason == str(error)
    assert sample("ingest_events_spooled_total") == 3
    assert sample("ingest_events_stored_total") == 0


async def test_commit_that_takes_too_long_is_given_up_for_the_spool(
    committer: Committer, store: FakeStore, spool_store: FakeStore, onward: FakeOnward, spool: Home, outage: Outage
) -> None:
    store.gate.clear()
    made = batch(3)

    assert await committer.commit(made, 0.0) == {}

    assert [commit.batch for commit in spool_store.commits] == [made]
    assert (onward.dispatched, onward.homes, store.commits) == ([made], [spool], [])
    assert outage.reason == "The database did not commit within 0.02 s."


async def test_slow_commit_is_waited_for_while_only_the_database_can_tell_the_order(
    committer: Committer, store: FakeStore, spool_store: FakeStore, onward: FakeOnward
) -> None:
    store.gate.clear()
    made = batch(3)
    committing = asyncio.create_task(committer.commit(made, 0.0))

    await until(lambda: store.tried)
    onward.order_is_the_databases = True  # only since it was begun
    await asyncio.sleep(3 * SPOOL_AFTER_SECONDS)
    store.gate.set()

    assert await committing == {}
    assert ([commit.batch for commit in store.commits], spool_store.commits) == ([made], [])


async def test_second_batch_of_an_outage_does_not_try_the_database(
    committer: Committer, store: FakeStore, spool_store: FakeStore
) -> None:
    store.errors.append(StoreUnavailable("away"))
    await committer.commit(batch(1), 0.0)

    await committer.commit(batch(2), 0.0)

    assert len(store.tried) == 1
    assert [len(commit.batch) for commit in spool_store.commits] == [1, 2]


async def test_after_the_outage_batches_go_to_the_database_again(
    committer: Committer, store: FakeStore, spool_store: FakeStore, outage: Outage
) -> None:
    outage.concerns(0, "away")
    await committer.commit(batch(1), 0.0)
    outage.over()
    await committer.commit(batch(2), 0.0)

    assert [len(commit.batch) for commit in store.commits] == [2]


async def test_batch_that_waited_too_long_goes_to_the_spool_and_is_no_outage(
    committer: Committer, store: FakeStore, spool_store: FakeStore, outage: Outage
) -> None:
    assert await committer.commit(batch(1), QUEUE_SECONDS + 0.1) == {}

    assert (len(store.tried), len(spool_store.commits), outage.reason) == (0, 1, None)


async def test_without_room_in_the_spool_nobody_is_answered_200(
    committer: Committer, store: FakeStore, spool_store: FakeStore, onward: FakeOnward, sample: Sample
) -> None:
    store.errors.append(StoreUnavailable("away"))
    spool_store.errors.append(SpoolFull("The spool is full."))

    with pytest.raises(SpoolFull):
        await committer.commit(batch(2), 0.0)

    assert onward.dispatched == []
    assert sample("ingest_events_spooled_total") == 0


async def test_batch_whose_ids_are_taken_is_refused_as_the_spool_would_never_get_rid_of_it(
    committer: Committer, store: FakeStore, spool_store: FakeStore, outage: Outage
) -> None:
    store.errors.append(IdsTaken(3))

    with pytest.raises(IdsTaken):
        await committer.commit(batch(2), 0.0)

    assert (spool_store.tried, outage.reason) == ([], None)


async def test_database_that_goes_away_while_a_poisoned_batch_is_halved_costs_nobody(
    committer: Committer, store: FakeStore, spool_store: FakeStore
) -> None:
    """The whole and the poisoned half are refused, then the connection is lost."""
    events = [event(f"call-{number}") for number in range(4)]
    store.errors.extend([RowRefused(), RowRefused(), StoreUnavailable("lost")])
    made = batch(events)

    assert await committer.commit(made, 0.0) == {}

    kept = [event_id for commit in spool_store.commits for event_id in commit.batch.ids]
    assert sorted(kept) == made.ids


async def test_entries_settled_in_the_spool_go_with_its_own_commits(
    committer: Committer, spool_store: FakeStore, spool: Home, settling: FakeSettling, outage: Outage
) -> None:
    assert isinstance(spool.settling, FakeSettling)
    outage.concerns(0, "away")
    settling.settled, spool.settling.settled = [1], [2]

    await committer.commit(batch(1), 0.0)

    assert [commit.settled for commit in spool_store.commits] == [[2]]
    assert settling.settled == [1]
