"""The committer while the database is away. Other cases are tested through the batcher."""

import pytest

from ingest.errors import BatchRefused, IdsTaken, RowRefused, SchemaError, SpoolFull, StoreError, StoreUnavailable
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.committer import Committer, CommitterLimits
from ingest.pipeline.isolation import UNPROVEN_MAX
from ingest.pipeline.refused_rows import ISOLATE_COMMITS_MAX
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakeDispatcher, FakeRelay, FakeSettler, FakeStore
from tests.unit.making import batch, event

QUEUE_SECONDS = 2.0
SPOOL_AFTER_SECONDS = 0.2


@pytest.fixture
def spool_store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def spool(spool_store: FakeStore) -> CommitTarget:
    return CommitTarget(spool_store, FakeSettler(), FakeRelay(), in_database=False)


@pytest.fixture
def committer(
    target: CommitTarget,
    spool: CommitTarget,
    outage: Outage,
    dispatcher: FakeDispatcher,
    metrics: Metrics,
    clock: FakeClock,
) -> Committer:
    return Committer(
        target,
        spool,
        outage,
        dispatcher,
        CommitterLimits(10.0, QUEUE_SECONDS, SPOOL_AFTER_SECONDS),
        metrics,
        clock.monotonic,
    )


async def test_provisional_batch_goes_to_the_spool_and_waits_there_for_other_ids(
    committer: Committer, store: FakeStore, spool_store: FakeStore, dispatcher: FakeDispatcher
) -> None:
    made = batch(2, slot=LEASED_SLOTS_MAX)

    assert await committer.commit(made, 0.0) == {}

    assert (store.tried, dispatcher.dispatched) == ([], [])
    assert [(commit.batch, commit.lease_seconds) for commit in spool_store.commits] == [(made, 0.0)]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), SchemaError("no such table"), StoreError("odd")])
async def test_batch_that_the_database_does_not_take_is_kept_in_the_spool(
    committer: Committer,
    store: FakeStore,
    spool_store: FakeStore,
    spool: CommitTarget,
    dispatcher: FakeDispatcher,
    outage: Outage,
    sample: Sample,
    error: StoreError,
) -> None:
    store.errors.append(error)
    made = batch(3)

    assert await committer.commit(made, 0.0) == {}

    assert [commit.batch for commit in spool_store.commits] == [made]
    assert (dispatcher.dispatched, dispatcher.targets) == ([made], [spool])
    assert outage.reason == str(error)
    assert sample("ingest_events_spooled_total") == 3
    assert sample("ingest_events_stored_total") == 0


async def test_commit_that_takes_too_long_is_given_up_for_the_spool(
    committer: Committer,
    store: FakeStore,
    spool_store: FakeStore,
    dispatcher: FakeDispatcher,
    spool: CommitTarget,
    outage: Outage,
) -> None:
    store.gate.clear()
    made = batch(3)

    assert await committer.commit(made, 0.0) == {}

    assert [commit.batch for commit in spool_store.commits] == [made]
    assert (dispatcher.dispatched, dispatcher.targets, store.commits) == ([made], [spool], [])
    assert outage.reason == "The database did not commit within 0.2 s."


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
    outage.record(0, "away")
    await committer.commit(batch(1), 0.0)
    outage.recovered()
    await committer.commit(batch(2), 0.0)

    assert [len(commit.batch) for commit in store.commits] == [2]


async def test_batch_that_waited_too_long_goes_to_the_spool_and_is_no_outage(
    committer: Committer, store: FakeStore, spool_store: FakeStore, outage: Outage
) -> None:
    assert await committer.commit(batch(1), QUEUE_SECONDS + 0.1) == {}

    assert (len(store.tried), len(spool_store.commits), outage.reason) == (0, 1, None)


async def test_without_room_in_the_spool_nobody_is_answered_200(
    committer: Committer, store: FakeStore, spool_store: FakeStore, dispatcher: FakeDispatcher, sample: Sample
) -> None:
    store.errors.append(StoreUnavailable("away"))
    spool_store.errors.append(SpoolFull("The spool is full."))

    with pytest.raises(SpoolFull):
        await committer.commit(batch(2), 0.0)

    assert dispatcher.dispatched == []
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


@pytest.mark.parametrize("count", [1, 2, 300])
async def test_database_that_refuses_every_row_blames_none(
    committer: Committer, store: FakeStore, spool_store: FakeStore, outage: Outage, sample: Sample, count: int
) -> None:
    """As after a restart that left the tables read-only, or with a foreign CHECK on them."""
    store.riddles = {f"call-{number}" for number in range(count)}
    made = batch(count)

    assert await committer.commit(made, 0.0) == {}

    assert [commit.batch.ids for commit in spool_store.commits] == [made.ids]
    assert (store.commits, outage.reason) == ([], str(BatchRefused()))
    assert len(store.tried) <= 1 + UNPROVEN_MAX
    assert sample("ingest_commits_refused_total", code="batch_refused") == 1


async def test_without_a_spool_a_refusal_that_proves_nothing_asks_for_the_event_again(
    target: CommitTarget,
    outage: Outage,
    dispatcher: FakeDispatcher,
    metrics: Metrics,
    clock: FakeClock,
    store: FakeStore,
) -> None:
    committer = Committer(target, None, outage, dispatcher, CommitterLimits(10.0, 2.0, 1.0), metrics, clock.monotonic)
    store.errors.append(BatchRefused("odd"))

    with pytest.raises(BatchRefused, match="odd"):
        await committer.commit(batch(1), 0.0)
    assert outage.reason == "odd"

    await committer.commit(batch(1), 0.0)
    assert outage.reason is None


@pytest.mark.parametrize("bad", [{0}, {4}, {9}, {0, 1, 8}], ids=str)
async def test_who_fails_while_neighbours_are_committed_is_to_blame(
    committer: Committer, store: FakeStore, spool_store: FakeStore, outage: Outage, bad: set[int]
) -> None:
    store.riddles = {f"call-{number}" for number in bad}
    made = batch(10)

    failures = await committer.commit(made, 0.0)

    assert {at for at, event in enumerate(made.events) if id(event) in failures} == bad
    assert {type(error) for error in failures.values()} == {BatchRefused}
    assert sorted(event_id for commit in store.commits for event_id in commit.batch.ids) == [
        event_id for at, event_id in enumerate(made.ids) if at not in bad
    ]
    assert (spool_store.tried, outage.reason) == ([], None)


async def test_rows_that_are_known_to_be_refused_cost_one_commit_more(
    committer: Committer, store: FakeStore, spool_store: FakeStore
) -> None:
    made = batch(500)
    bad = set(range(0, 500, 5))
    store.errors.append(RowRefused("no JSON", {made.ids[at]: "no JSON" for at in bad}))

    failures = await committer.commit(made, 0.0)

    assert {at for at, event in enumerate(made.events) if id(event) in failures} == bad
    assert {str(error) for error in failures.values()} == {"no JSON"}
    assert (len(store.tried), len(store.commits[0].batch), spool_store.tried) == (2, 400, [])


async def test_rows_that_are_known_to_be_refused_do_not_come_into_the_spool(
    committer: Committer, store: FakeStore, spool_store: FakeStore
) -> None:
    made = batch(3)
    store.errors.extend([RowRefused("no JSON", {made.ids[1]: "no JSON"}), StoreUnavailable("away")])

    failures = await committer.commit(made, 0.0)

    assert [type(failures[id(made.events[1])]), len(failures)] == [RowRefused, 1]
    assert [commit.batch.ids for commit in spool_store.commits] == [[made.ids[0], made.ids[2]]]


async def test_innocent_events_of_a_batch_with_too_many_bad_ones_go_to_the_spool(
    committer: Committer, store: FakeStore, spool_store: FakeStore, outage: Outage
) -> None:
    bad = range(0, 500, 5)
    store.riddles = {f"call-{number}" for number in bad}
    made = batch(500)

    failures = await committer.commit(made, 0.0)

    assert {at for at, event in enumerate(made.events) if id(event) in failures} <= set(bad)
    assert len(store.tried) <= 1 + ISOLATE_COMMITS_MAX
    kept = [event_id for place in (store, spool_store) for commit in place.commits for event_id in commit.batch.ids]
    assert len(kept) == len(set(kept)) == 500 - len(failures)
    assert outage.reason is None


async def test_entries_settled_in_the_spool_go_with_its_own_commits(
    committer: Committer, spool_store: FakeStore, spool: CommitTarget, settler: FakeSettler, outage: Outage
) -> None:
    assert isinstance(spool.settler, FakeSettler)
    outage.record(0, "away")
    settler.settled, spool.settler.settled = [1], [2]

    await committer.commit(batch(1), 0.0)

    assert [commit.settled for commit in spool_store.commits] == [[2]]
    assert settler.settled == [1]
