"""The batcher when the store refuses rows, or fails."""

import asyncio

import pytest

from ingest.errors import BatchRefused, IdsTaken, RowRefused, StoreError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.pipeline.batcher import ID_TRIES_MAX, Batcher
from ingest.pipeline.outcomes import failure_of
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeDispatcher, FakeSettler, FakeStore, until
from tests.unit.making import NOW_US, call_ids, event, events
from tests.unit.pipeline.test_batcher import StartBatcher, start_batcher

__all__ = ["start_batcher"]  # the fixture


async def outcomes(batcher: Batcher, made: list[Event]) -> dict[str, StoreError | None]:
    """Submit the events together: what became of each, by its call_id."""
    answers = [batcher.submit(one) for one in made]
    return {one.call_id: await failure_of(one, await answer) for one, answer in zip(made, answers, strict=True)}


def committed(store: FakeStore) -> list[str]:
    return [name for commit in store.commits for name in call_ids(commit.batch)]


async def test_writer_whose_dispatcher_fails_answers_and_goes_on(
    start_batcher: StartBatcher, dispatcher: FakeDispatcher, sample: Sample
) -> None:
    dispatcher.errors.append(RuntimeError("unexpected"))
    batcher = start_batcher(writers=1)

    first = await outcomes(batcher, events(1))
    second = await outcomes(batcher, events(1))

    assert [type(one) for one in first.values()] == [StoreError]
    assert set(second.values()) == {None}
    assert sample("ingest_background_failures_total", task="writer") == 1


async def test_batch_whose_ids_other_events_have_is_committed_with_others(
    start_batcher: StartBatcher, store: FakeStore, dispatcher: FakeDispatcher
) -> None:
    given_up: list[int] = []
    batcher = start_batcher()

    async def give_up(batch: Batch) -> None:
        given_up.append(batch.slot)
        batcher.use_ids(IdGenerator(2, lambda: NOW_US))

    batcher.give_up_ids = give_up
    store.errors.append(IdsTaken(1))

    found = await outcomes(batcher, events(3))

    assert set(found.values()) == {None}
    assert given_up == [1]
    assert [(commit.batch.slot, len(commit.batch)) for commit in store.commits] == [(2, 3)]
    assert dispatcher.dispatched == [store.commits[0].batch]


@pytest.mark.parametrize("tries", [1, ID_TRIES_MAX])
async def test_clients_get_an_error_without_other_ids(
    start_batcher: StartBatcher, store: FakeStore, tries: int
) -> None:
    batcher = start_batcher()

    async def give_up(_: Batch) -> None:
        if tries == 1:
            raise StoreUnavailable

    batcher.give_up_ids = give_up
    store.errors += [IdsTaken(1)] * tries

    found = await outcomes(batcher, events(3))

    assert {type(failure) for failure in found.values()} == {IdsTaken}
    assert store.commits == []


@pytest.mark.parametrize("count", [1, 2, 3, 8, 13])
@pytest.mark.parametrize("poisoned", [{0}, {-1}, {0, -1}, {0, 1, 2}], ids=str)
async def test_refused_rows_are_set_apart_and_all_others_committed(
    start_batcher: StartBatcher, store: FakeStore, dispatcher: FakeDispatcher, count: int, poisoned: set[int]
) -> None:
    made = events(count)
    store.poison = {made[position % count].call_id for position in poisoned}

    found = await outcomes(start_batcher(), made)

    assert {name for name, failure in found.items() if isinstance(failure, RowRefused)} == store.poison
    assert {name for name, failure in found.items() if failure is None} == set(found) - store.poison
    assert committed(store) == [one.call_id for one in made if one.call_id not in store.poison]
    assert dispatcher.dispatched == [commit.batch for commit in store.commits]


async def test_a_row_refused_for_an_unknown_reason_does_not_fail_the_others(
    start_batcher: StartBatcher, store: FakeStore
) -> None:
    store.riddles = {"call-2"}

    found = await outcomes(start_batcher(), events(4))

    assert type(found.pop("call-2")) is BatchRefused
    assert set(found.values()) == {None}


async def test_parts_keep_the_ids_their_events_had(start_batcher: StartBatcher, store: FakeStore) -> None:
    store.poison = {"call-2"}
    await outcomes(start_batcher(), events(4))

    whole = dict(zip(call_ids(store.tried[0]), store.tried[0].ids, strict=True))
    parts = {name: id_ for c in store.commits for name, id_ in zip(call_ids(c.batch), c.batch.ids, strict=True)}
    del whole["call-2"]
    assert parts == whole


async def test_only_the_durable_events_count_as_accepted(
    start_batcher: StartBatcher, store: FakeStore, sample: Sample
) -> None:
    store.poison = {"call-2", "call-3"}
    await outcomes(start_batcher(), events(8))

    assert sample("ingest_events_accepted_total") == 6
    assert sample("ingest_events_stored_total") == 6


async def test_store_that_fails_while_rows_are_set_apart_fails_the_rest(
    start_batcher: StartBatcher, store: FakeStore, dispatcher: FakeDispatcher
) -> None:
    store.errors.extend([RowRefused(), RowRefused(), StoreUnavailable("gone")])

    found = await outcomes(start_batcher(), events(4))

    assert [str(failure) for failure in found.values()] == ["gone"] * 4
    assert (store.commits, dispatcher.dispatched) == ([], [])


async def test_setting_apart_has_a_limit_of_time(start_batcher: StartBatcher, store: FakeStore) -> None:
    store.poison = {"call-0"}
    store.gates["call-1"] = asyncio.Event()  # the second half of the first half: never committed

    found = await outcomes(start_batcher(isolate_timeout_seconds=1.0), events(4))

    assert isinstance(found["call-0"], RowRefused)
    for name in ("call-1", "call-2", "call-3"):
        assert isinstance(found[name], StoreUnavailable)
    assert store.commits == []


@pytest.mark.parametrize("error", [StoreUnavailable("away"), StoreError("broken")])
async def test_store_failure_is_every_waiters(
    start_batcher: StartBatcher, store: FakeStore, dispatcher: FakeDispatcher, error: StoreError, sample: Sample
) -> None:
    store.errors.append(error)

    found = await outcomes(start_batcher(), events(3))

    assert list(found.values()) == [error] * 3
    assert (store.commits, dispatcher.dispatched) == ([], [])
    assert sample("ingest_events_accepted_total") == 0


async def test_unexpected_error_is_answered_and_the_writer_goes_on(
    start_batcher: StartBatcher,
    store: FakeStore,
    dispatcher: FakeDispatcher,
    sample: Sample,
    caplog: pytest.LogCaptureFixture,
) -> None:
    batcher = start_batcher()
    store.errors.append(ZeroDivisionError("a bug"))

    (failure,) = (await outcomes(batcher, [event("first")])).values()

    assert type(failure) is StoreError
    assert "commit failed unexpectedly" in caplog.text
    assert sample("ingest_background_failures_total", task="writer") == 1
    assert await outcomes(batcher, [event("second")]) == {"second": None}
    assert [call_ids(batch) for batch in dispatcher.dispatched] == [["second"]]


@pytest.mark.parametrize("error", [StoreUnavailable(), RowRefused(), ZeroDivisionError()], ids=repr)
async def test_settled_entries_are_given_back_when_the_commit_fails(
    start_batcher: StartBatcher, store: FakeStore, settler: FakeSettler, error: Exception
) -> None:
    store.errors.append(error)
    settler.settled = [11, 12]

    await outcomes(start_batcher(), [event()])

    assert settler.given_back == [11, 12]


async def test_settled_entries_are_given_back_when_the_commit_is_cancelled(
    start_batcher: StartBatcher, store: FakeStore, settler: FakeSettler
) -> None:
    batcher = start_batcher()
    settler.settled = [11]
    store.gate.clear()
    batcher.submit(event())
    await until(lambda: store.tried)

    await batcher.close()

    assert settler.given_back == [11]


async def test_failure_of_one_group_is_not_the_next_ones(start_batcher: StartBatcher, store: FakeStore) -> None:
    batcher = start_batcher(batch_events_max=1)
    store.errors.append(StoreUnavailable())

    found = await outcomes(batcher, events(3))

    assert [failure is None for failure in found.values()] == [False, True, True]
