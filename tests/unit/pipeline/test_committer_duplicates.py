"""Events whose key is an earlier one's: answered, and neither stored nor passed on again."""

import asyncio
from collections.abc import Callable

import pytest

from ingest.errors import DuplicateKeys, KeyReused, RowRefused, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.committer import Committer, CommitterLimits
from ingest.pipeline.outcomes import Undecided
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakeDispatcher, FakeRelay, FakeSettler, FakeStore
from tests.unit.making import batch, call_ids, event

SAME, OTHER = b"s" * 16, b"o" * 16


@pytest.fixture
def committer(
    target: CommitTarget, outage: Outage, dispatcher: FakeDispatcher, metrics: Metrics, clock: FakeClock
) -> Committer:
    return Committer(target, None, outage, dispatcher, CommitterLimits(10.0, 10.0, 0.02), metrics, clock.monotonic)


@pytest.fixture
def spool() -> FakeStore:
    return FakeStore()


WithSpool = Callable[[CommitterLimits], Committer]


@pytest.fixture
def with_spool(
    target: CommitTarget,
    spool: FakeStore,
    outage: Outage,
    dispatcher: FakeDispatcher,
    metrics: Metrics,
    clock: FakeClock,
) -> WithSpool:
    """`with_spool(limits)`: a committer that also has a spool."""
    second_target = CommitTarget(spool, FakeSettler(), FakeRelay())
    return lambda limits: Committer(target, second_target, outage, dispatcher, limits, metrics, clock.monotonic)


def keyed(call_id: str, key: bytes, fingerprint: bytes = SAME) -> Event:
    made = event(call_id)
    made.key = key.ljust(16) + fingerprint
    return made


def committed(store: FakeStore) -> list[list[str]]:
    return [call_ids(commit.batch) for commit in store.commits]


async def test_duplicates_are_left_out_and_answered(
    committer: Committer, store: FakeStore, dispatcher: FakeDispatcher, sample: Sample
) -> None:
    made = batch([keyed("call-1", b"1"), event("call-2"), keyed("call-3", b"3")])
    store.errors.append(DuplicateKeys({0: True}))

    assert await committer.commit(made, 0.0) == {}

    assert committed(store) == [["call-2", "call-3"]]
    assert [call_ids(one) for one in dispatcher.dispatched] == [["call-2", "call-3"]]
    assert store.commits[0].batch.ids == made.ids[1:]
    assert sample("ingest_events_repeated_total") == 1
    assert sample("ingest_events_stored_total") == 2


async def test_batch_of_duplicates_alone_is_not_committed(committer: Committer, store: FakeStore) -> None:
    store.errors.append(DuplicateKeys({0: True, 1: True}))

    assert await committer.commit(batch([keyed("call-1", b"1"), keyed("call-2", b"2")]), 0.0) == {}

    assert not store.commits


async def test_another_event_under_the_same_key_is_refused(committer: Committer, store: FakeStore) -> None:
    made = batch([keyed("call-1", b"1"), keyed("call-2", b"2")])
    store.errors.append(DuplicateKeys({1: False}))

    failures = await committer.commit(made, 0.0)

    assert {key: type(error) for key, error in failures.items()} == {id(made.events[1]): KeyReused}
    assert committed(store) == [["call-1"]]


async def test_in_batch_duplicates_share_the_outcome_of_the_first(
    committer: Committer, store: FakeStore, sample: Sample
) -> None:
    made = batch([keyed("call-1", b"1"), keyed("duplicate", b"1"), keyed("bad", b"2"), keyed("bad duplicate", b"2")])
    store.poison = {"bad"}

    failures = await committer.commit(made, 0.0)

    assert {key: type(error) for key, error in failures.items()} == {
        id(made.events[2]): RowRefused,
        id(made.events[3]): RowRefused,
    }
    assert committed(store) == [["call-1"]]
    assert sample("ingest_events_repeated_total") == 1


async def test_in_batch_duplicate_key_of_another_event_is_refused(committer: Committer, store: FakeStore) -> None:
    made = batch([keyed("call-1", b"1"), keyed("call-2", b"1", OTHER)])

    failures = await committer.commit(made, 0.0)

    assert {key: type(error) for key, error in failures.items()} == {id(made.events[1]): KeyReused}
    assert committed(store) == [["call-1"]]


async def test_batch_with_keys_waits_for_the_database_which_alone_knows_all_of_them(
    with_spool: WithSpool, store: FakeStore, spool: FakeStore
) -> None:
    store.gate.clear()
    committer = with_spool(CommitterLimits(10.0, 10.0, spool_after_seconds=0.0))
    done = asyncio.create_task(committer.commit(batch([keyed("call-1", b"1")]), 0.0))
    await asyncio.sleep(0.01)  # past the limit
    store.gate.set()

    assert await done == {}
    assert not spool.commits
    assert committed(store) == [["call-1"]]


async def test_spool_finds_its_own_duplicates_in_an_outage(
    with_spool: WithSpool, store: FakeStore, spool: FakeStore
) -> None:
    store.errors.append(StoreUnavailable("away"))
    spool.errors.append(DuplicateKeys({0: True}))
    committer = with_spool(CommitterLimits(10.0, 10.0, 1.0))
    made: Batch = batch([keyed("call-1", b"1"), keyed("call-2", b"2")])

    assert await committer.commit(made, 0.0) == {}

    assert committed(spool) == [["call-2"]]


async def test_duplicates_count_once_if_an_outage_begins_after_they_are_found(
    with_spool: WithSpool, store: FakeStore, spool: FakeStore, sample: Sample
) -> None:
    store.errors += [DuplicateKeys({0: True}), StoreUnavailable("away")]
    committer = with_spool(CommitterLimits(10.0, 10.0, 1.0))

    assert await committer.commit(batch([keyed("call-1", b"1"), event("call-2")]), 0.0) == {}

    assert committed(spool) == [["call-1", "call-2"]]
    assert sample("ingest_events_accepted_total") == 2
    assert sample("ingest_events_repeated_total") == 0  # the drainer finds the duplicate, and counts it


async def test_only_events_with_a_key_wait_for_a_slow_database(
    with_spool: WithSpool, store: FakeStore, spool: FakeStore
) -> None:
    committer = with_spool(CommitterLimits(10.0, 2.0, 0.02))
    made = batch([event("plain"), keyed("keyed", b"1"), event("other")])
    store.gate.clear()

    failures = await committer.commit(made, 0.0)

    assert [commit.batch.ids for commit in spool.commits] == [[made.ids[0], made.ids[2]]]
    (undecided,) = failures.values()
    assert isinstance(undecided, Undecided)
    store.gate.set()
    assert await undecided.failure() is None
    await committer.drain()
    assert [commit.batch.ids for commit in store.commits] == [[made.ids[1]]]


async def test_event_with_a_key_is_refused_if_the_worker_stops_before_its_commit_begins(
    with_spool: WithSpool, store: FakeStore
) -> None:
    committer = with_spool(CommitterLimits(10.0, 2.0, 0.02))
    store.gate.clear()

    failures = await committer.commit(batch([event("plain"), keyed("keyed", b"1")]), 0.0)
    await committer.close()

    (undecided,) = failures.values()
    assert isinstance(undecided, Undecided)
    assert isinstance(await undecided.failure(), StoreUnavailable)


async def test_duplicate_of_an_event_that_waits_is_counted_once_the_database_has_answered(
    with_spool: WithSpool, store: FakeStore, sample: Sample
) -> None:
    committer = with_spool(CommitterLimits(10.0, 2.0, 0.02))
    store.gate.clear()
    await committer.commit(batch([event("plain"), keyed("keyed", b"1"), keyed("keyed", b"1")]), 0.0)
    assert sample("ingest_events_accepted_total") == 1

    store.gate.set()
    await committer.drain()

    assert sample("ingest_events_accepted_total") == 3
    assert sample("ingest_events_repeated_total") == 1


async def test_event_with_a_key_gets_the_final_answer_of_the_database(
    with_spool: WithSpool, store: FakeStore, spool: FakeStore
) -> None:
    committer = with_spool(CommitterLimits(10.0, 2.0, 0.02))
    made = batch([event("plain"), keyed("keyed", b"1")])
    store.gate.clear()
    (undecided,) = (await committer.commit(made, 0.0)).values()
    store.errors.append(DuplicateKeys({0: False}))
    store.gate.set()

    assert isinstance(undecided, Undecided)
    assert isinstance(await undecided.failure(), KeyReused)
