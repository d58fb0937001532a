import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from ingest.errors import Overloaded, StoreError, StoreUnavailable
from ingest.events.ids import IdGenerator, milliseconds_of
from ingest.pipeline.batcher import Batcher
from ingest.pipeline.commit_target import CommitTarget
from ingest.pipeline.committer import Committer, CommitterLimits
from ingest.pipeline.event_queue import BatcherLimits
from ingest.pipeline.outcomes import failure_of
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakeDispatcher, FakeSettler, FakeStore, until
from tests.unit.making import call_ids, event, events

LIMITS = {
    "batch_events_max": 100,
    "batch_bytes_max": 1_000_000,
    "queue_events_max": 1000,
    "queue_bytes_max": 10_000_000,
    "writers": 1,
    "queue_seconds_max": 10.0,
    "patience_seconds": 0.0,
}
StartBatcher = Callable[..., Batcher]


@pytest.fixture
async def start_batcher(
    target: CommitTarget, outage: Outage, dispatcher: FakeDispatcher, metrics: Metrics, clock: FakeClock
) -> AsyncIterator[StartBatcher]:
    """`start_batcher(writers=2)`: a batcher that is closed at the end."""
    started: list[Batcher] = []

    def start(isolate_timeout_seconds: float = 10.0, queue_timeout_seconds: float = 10.0, **limits: float) -> Batcher:
        together = BatcherLimits(**(LIMITS | limits))  # type: ignore[arg-type]
        bounds = CommitterLimits(isolate_timeout_seconds, queue_timeout_seconds, 10.0)
        committer = Committer(target, None, outage, dispatcher, bounds, metrics, clock.monotonic)
        batcher = Batcher(committer, together, metrics, clock.now_us, clock.monotonic)
        batcher.use_ids(IdGenerator(1, clock.now_us))
        batcher.start()
        started.append(batcher)
        return batcher

    yield start
    for batcher in started:
        await batcher.close()


def sizes(store: FakeStore) -> list[int]:
    return [len(commit.batch) for commit in store.commits]


async def make_busy(batcher: Batcher, store: FakeStore) -> None:
    """Keep the only writer in a commit, until the test opens the store's gate."""
    store.gate.clear()
    batcher.submit(event("busy"))
    await until(lambda: store.tried)


async def test_batch_is_committed_before_any_answer(start_batcher: StartBatcher, store: FakeStore) -> None:
    batcher = start_batcher()
    store.gate.clear()
    answers = [batcher.submit(made) for made in events(3)]
    await until(lambda: store.tried)
    assert not any(answer.done() for answer in answers)

    store.gate.set()

    assert await asyncio.gather(*answers) == [None] * 3
    assert sizes(store) == [3]


async def test_idle_batcher_commits_one_event_at_once(start_batcher: StartBatcher, store: FakeStore) -> None:
    batcher = start_batcher()
    for _ in range(3):
        await batcher.submit(event())

    assert sizes(store) == [1, 1, 1]


async def test_all_that_queues_while_the_writer_is_busy_shares_a_commit(
    start_batcher: StartBatcher, store: FakeStore
) -> None:
    batcher = start_batcher()
    await make_busy(batcher, store)
    answers = []
    for made in events(20):
        answers.append(batcher.submit(made))
        await asyncio.sleep(0)  # they come one by one, each in a round of the loop of its own

    store.gate.set()
    await asyncio.gather(*answers)

    assert sizes(store) == [1, 20]
    assert call_ids(store.commits[1].batch) == [made.call_id for made in events(20)]


async def test_a_second_writer_does_not_wait_for_the_first(start_batcher: StartBatcher, store: FakeStore) -> None:
    batcher = start_batcher(writers=2)
    store.gates["slow"] = asyncio.Event()
    slow = batcher.submit(event("slow"))
    await until(lambda: store.tried)

    await batcher.submit(event("quick"))

    assert not slow.done()
    store.gates["slow"].set()
    assert await slow is None


async def test_dispatch_follows_the_order_of_commits(
    start_batcher: StartBatcher, store: FakeStore, dispatcher: FakeDispatcher
) -> None:
    batcher = start_batcher(writers=3)
    names = ["a", "b", "c"]
    answers = {}
    for name in names:
        store.gates[name] = asyncio.Event()
        answers[name] = batcher.submit(event(name))
        await until(lambda: len(store.tried) == len(answers))

    for name in ("b", "c", "a"):
        store.gates[name].set()
        await answers[name]

    assert [call_ids(batch) for batch in dispatcher.dispatched] == [["b"], ["c"], ["a"]]
    assert dispatcher.dispatched == [commit.batch for commit in store.commits]


@pytest.mark.parametrize(("limit", "expected"), [(100, [1, 7]), (4, [1, 4, 3]), (1, [1] * 8)])
async def test_batch_has_at_most_so_many_events(
    start_batcher: StartBatcher, store: FakeStore, limit: int, expected: list[int]
) -> None:
    batcher = start_batcher(batch_events_max=limit)
    await make_busy(batcher, store)
    answers = [batcher.submit(made) for made in events(7)]

    store.gate.set()
    await asyncio.gather(*answers)

    assert sizes(store) == expected


async def test_batch_has_at_most_so_many_bytes_but_one_event(start_batcher: StartBatcher, store: FakeStore) -> None:
    size = len(event().payload)
    batcher = start_batcher(batch_bytes_max=2 * size + 10)
    await make_busy(batcher, store)
    answers = [batcher.submit(event()) for _ in range(3)]
    answers.append(batcher.submit(event(extra="x" * 3 * size)))
    answers.append(batcher.submit(event()))

    store.gate.set()
    await asyncio.gather(*answers)

    assert sizes(store) == [1, 2, 1, 1, 1]


async def test_queue_is_bounded_in_events(start_batcher: StartBatcher, store: FakeStore) -> None:
    batcher = start_batcher(queue_events_max=5, batch_events_max=2)
    await make_busy(batcher, store)
    answers = [batcher.submit(made) for made in events(5)]
    assert batcher.queued_events == 5

    with pytest.raises(Overloaded):
        batcher.submit(event())

    store.gate.set()
    await asyncio.gather(*answers)
    assert batcher.queued_events == 0
    assert await batcher.submit(event()) is None


async def test_queue_is_bounded_in_bytes(start_batcher: StartBatcher, store: FakeStore) -> None:
    size = len(event().payload)
    batcher = start_batcher(queue_bytes_max=2 * size)
    await make_busy(batcher, store)
    answers = [batcher.submit(event()) for _ in range(2)]

    with pytest.raises(Overloaded):
        batcher.submit(event())

    store.gate.set()
    await asyncio.gather(*answers)
    assert await batcher.submit(event()) is None


async def test_nobody_joins_a_queue_that_waits_too_long(
    start_batcher: StartBatcher, store: FakeStore, clock: FakeClock
) -> None:
    batcher = start_batcher(batch_events_max=2, queue_seconds_max=0.4)
    store.gate.clear()
    first = batcher.submit(event("call-0"))
    await until(lambda: store.tried)
    waiting = [batcher.submit(made) for made in events(3)]
    clock.advance(0.5)
    waiting.append(batcher.submit(event("call-3")))  # fills a batch that waits already

    with pytest.raises(Overloaded):
        batcher.submit(event("call-4"))

    store.gate.set()
    await asyncio.gather(first, *waiting)
    await batcher.submit(event("call-5"))


async def test_events_have_ascending_ids_and_the_time_of_their_batch(
    start_batcher: StartBatcher, store: FakeStore, clock: FakeClock
) -> None:
    batcher = start_batcher()
    await asyncio.gather(*(batcher.submit(made) for made in events(3)))
    clock.advance(5)
    await batcher.submit(event())

    first, second = (commit.batch for commit in store.commits)
    assert list(first.ids) == sorted(set(first.ids))
    assert second.first_id > first.last_id
    assert second.created_us == first.created_us + 5_000_000 == clock.us
    assert milliseconds_of(second.first_id) == clock.us // 1000


async def test_without_a_slot_no_event_is_taken(start_batcher: StartBatcher, store: FakeStore) -> None:
    batcher = start_batcher()
    batcher.use_ids(None)

    with pytest.raises(StoreUnavailable):
        batcher.submit(event())
    assert store.tried == []


async def test_slot_lost_while_events_queue_fails_them(
    start_batcher: StartBatcher, store: FakeStore, dispatcher: FakeDispatcher
) -> None:
    batcher = start_batcher()
    await make_busy(batcher, store)
    made = event()
    answer = batcher.submit(made)
    batcher.use_ids(None)
    store.gate.set()

    assert isinstance(await failure_of(made, await answer), StoreUnavailable)
    assert sizes(store) == [1]


async def test_entries_settled_meanwhile_ride_with_the_commit(
    start_batcher: StartBatcher, store: FakeStore, settler: FakeSettler
) -> None:
    settler.settled = [11, 12]
    await start_batcher().submit(event())

    assert [(commit.settled, commit.lease_seconds) for commit in store.commits] == [([11, 12], 30.0)]
    assert settler.given_back == []


async def test_drain_waits_for_all_that_was_taken(start_batcher: StartBatcher, store: FakeStore) -> None:
    batcher = start_batcher(batch_events_max=2)
    await make_busy(batcher, store)
    answers = [batcher.submit(made) for made in events(5)]
    draining = asyncio.create_task(batcher.drain())
    await asyncio.sleep(0)
    assert not draining.done()

    store.gate.set()
    await draining

    assert all(answer.done() for answer in answers)
    assert sizes(store) == [1, 2, 2, 1]


async def test_drain_of_an_idle_batcher_is_over_at_once(start_batcher: StartBatcher) -> None:
    await start_batcher().drain()


async def test_close_fails_what_is_not_committed(
    start_batcher: StartBatcher, store: FakeStore, dispatcher: FakeDispatcher
) -> None:
    batcher = start_batcher()
    store.gate.clear()
    made = [event("in the commit"), event("queued")]
    answers = [batcher.submit(made[0])]
    await until(lambda: store.tried)
    answers.append(batcher.submit(made[1]))

    await batcher.close()

    for one, answer in zip(made, answers, strict=True):
        assert isinstance(await failure_of(one, await answer), StoreError)
    assert (store.commits, dispatcher.dispatched) == ([], [])


async def test_request_that_goes_on_after_the_close_is_refused(start_batcher: StartBatcher, store: FakeStore) -> None:
    """A request of many events queues the next ones when the first have failed. Nobody would commit them."""
    batcher = start_batcher()
    store.gate.clear()

    async def submit_two() -> None:
        await batcher.submit(event("first"))
        batcher.submit(event("second"))

    request = asyncio.create_task(submit_two())
    await until(lambda: store.tried)

    await batcher.close()

    with pytest.raises(StoreUnavailable):
        await request


async def test_events_are_counted_not_batches(start_batcher: StartBatcher, sample: Sample) -> None:
    batcher = start_batcher()
    await asyncio.gather(*(batcher.submit(made) for made in events(7)))

    assert sample("ingest_events_accepted_total") == 7
    assert sample("ingest_events_stored_total") == 7
    assert sample("ingest_batch_events_count") == 1
