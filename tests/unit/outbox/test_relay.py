import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from ingest.errors import BrokerUnavailable, NotConfirmed, PublishError, StoreUnavailable
from ingest.events.batch import Batch
from ingest.outbox.dead_letters import TRIES_MIN, DeadLetterPolicy
from ingest.outbox.progress import Progress
from ingest.outbox.relay import READ_ENTRIES, SLICE_EVENTS, Relay, RelayLimits, RelayTools
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import PUBLISH, Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import FakeClock, FakePublisher, FakeStore, until
from tests.unit.making import NOW_US, batch, call_ids, event

LARGE = SLICE_EVENTS // READ_ENTRIES + 1
"""Events of an entry so large that as many as are read at a time fill a slice."""
DEAD_SECONDS = 60.0
LIMITS = RelayLimits(poll_seconds=0.001, entries_max=64, lease_seconds=30.0)


@pytest.fixture
def tools(store: FakeStore, metrics: Metrics, clock: FakeClock) -> RelayTools:
    outage, dead_letter_policy = (
        Outage(PUBLISH, clock.monotonic),
        DeadLetterPolicy(store, DEAD_SECONDS, metrics, clock.now_us),
    )
    return RelayTools(LIMITS, outage, metrics, clock.monotonic, clock.now_us, dead_letter_policy, Progress())


@pytest.fixture
def relay(store: FakeStore, publisher: FakePublisher, tools: RelayTools) -> Relay:
    return Relay(store, publisher, tools)


@pytest.fixture
def relay_before(relay: Relay, publisher: FakePublisher, tools: RelayTools) -> Relay:
    """The relay of an outbox whose entries move to the one of `relay`."""
    return Relay(FakeStore(), publisher, tools, "spool", entries_move=True)


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    yield
    assert not task.done()
    task.cancel()
    await asyncio.wait([task])


def left(store: FakeStore, count: int = 1, of: int = 1) -> list[Batch]:
    """Batches in the outbox, claimed together by the next claim."""
    made = [batch(of, us=NOW_US + (len(store.entries) + number) * 1000) for number in range(count)]
    store.entries |= {one.first_id: one for one in made}
    store.claims.append([one.first_id for one in made])
    return made


async def test_round_publishes_what_it_claims_and_settles_it(
    relay: Relay, store: FakeStore, publisher: FakePublisher, sample: Sample
) -> None:
    made = left(store, 3, of=2)

    assert not await relay.round()

    assert publisher.published == [(one, "relay") for one in made]
    assert store.settled == [one.first_id for one in made]
    assert sample("ingest_events_published_total", route="relay") == 6


async def test_nothing_is_settled_before_it_is_confirmed(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    left(store)
    publisher.gate.clear()
    working = asyncio.create_task(relay.round())
    await until(lambda: publisher.tried)
    assert store.settled == []

    publisher.gate.set()
    await working

    assert store.settled


@pytest.mark.parametrize("error", [BrokerUnavailable("lost"), NotConfirmed("full", [0])], ids=repr)
async def test_only_confirmed_batches_are_settled(
    relay: Relay, store: FakeStore, publisher: FakePublisher, sample: Sample, error: PublishError
) -> None:
    first, second, third = left(store, 3)
    publisher.errors[second.first_id] = error

    with pytest.raises(type(error)):
        await relay.round()

    assert store.settled == [first.first_id, third.first_id]
    assert sample("ingest_events_publish_failed_total", route="relay") == 1
    assert sample("ingest_events_published_total", route="relay") == 2


async def test_few_batches_are_held_in_memory_at_once(relay: Relay, store: FakeStore, publisher: FakePublisher) -> None:
    left(store, READ_ENTRIES + 3, of=LARGE)
    publisher.gate.clear()
    working = asyncio.create_task(relay.round())
    await until(lambda: len(publisher.tried) == READ_ENTRIES)

    publisher.gate.set()
    await working

    assert len(store.settled) == READ_ENTRIES + 3


async def test_small_entries_are_published_together(relay: Relay, store: FakeStore, publisher: FakePublisher) -> None:
    """Each wait for the broker costs a fsync of its own: entries of an outage at little load hold few events each."""
    left(store, READ_ENTRIES * 2 + 3)
    publisher.gate.clear()
    working = asyncio.create_task(relay.round())
    await until(lambda: len(publisher.tried) == READ_ENTRIES * 2 + 3)

    publisher.gate.set()
    await working

    assert len(store.settled) == READ_ENTRIES * 2 + 3


async def test_next_round_goes_on_with_what_a_failed_one_left(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    """A lease runs for long: who waited for its end would leave events there while the broker is back."""
    made = left(store, READ_ENTRIES + 3, of=LARGE)
    publisher.errors[made[0].first_id] = BrokerUnavailable()

    with pytest.raises(BrokerUnavailable):
        await relay.round()
    assert publisher.tried == made[:READ_ENTRIES]
    publisher.errors.clear()
    await relay.round()

    assert sorted(store.settled) == [one.first_id for one in made]


async def test_claim_is_given_up_when_half_of_its_lease_is_over(
    relay: Relay, store: FakeStore, publisher: FakePublisher, clock: FakeClock
) -> None:
    (first,) = left(store)
    publisher.errors[first.first_id] = BrokerUnavailable()
    with pytest.raises(BrokerUnavailable):
        await relay.round()

    clock.advance(LIMITS.lease_seconds / 2)
    await relay.round()

    assert publisher.tried == [first]


async def test_what_the_broker_has_of_a_batch_is_not_sent_again(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    (made,) = left(store, of=5)
    publisher.errors[made.first_id] = NotConfirmed("full", [2, 4])
    with pytest.raises(NotConfirmed):
        await relay.round()
    publisher.errors = {made.ids[2]: NotConfirmed("full", [1])}
    with pytest.raises(NotConfirmed):
        await relay.round()

    await relay.round()

    assert [call_ids(one) for one, _ in publisher.published] == [["call-4"]]
    assert store.settled == [made.first_id]


async def test_confirmed_batch_whose_settling_failed_is_settled_later_without_a_repeat(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    (made,) = left(store)
    store.claims.append([made.first_id])
    store.settle_errors.append(StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await relay.round()

    await relay.round()

    assert publisher.tried == [made]
    assert store.settled == [made.first_id]


async def test_settling_that_failed_is_tried_again_before_another_worker_may_claim_the_entry(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    (made,) = left(store)
    store.settle_errors.append(StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await relay.round()

    await relay.round()

    assert not store.claims
    assert (publisher.tried, store.settled) == ([made], [made.first_id])


async def test_entry_taken_over_is_published_without_a_claim(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    (made,) = left(store, of=3)
    store.claims.clear()

    relay.retry(made, [1, 2])
    await relay.round()

    assert [call_ids(one) for one, _ in publisher.published] == [["call-1", "call-2"]]
    assert store.settled == [made.first_id]


async def test_entry_taken_over_again_has_no_more_to_publish_than_before(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    (made,) = left(store, of=3)
    store.claims.clear()

    relay.retry(made, [2])
    relay.retry(made, [0, 1, 2])
    await relay.round()

    assert {name for one, _ in publisher.published for name in call_ids(one)} == {"call-2"}


async def test_the_rest_of_an_entry_that_moves_is_published_by_the_next_relay(
    relay: Relay, store: FakeStore, publisher: FakePublisher, relay_before: Relay
) -> None:
    (made,) = left(store, of=3)
    relay_before.retry(made, [1])

    await relay.round()

    assert [call_ids(one) for one, _ in publisher.published] == [["call-1"]]
    assert store.settled == [made.first_id]


async def test_entry_that_was_published_before_it_moved_is_only_settled(
    store: FakeStore, publisher: FakePublisher, tools: RelayTools
) -> None:
    """The database made its commit late, so the spool had the batch, too."""
    spool = FakeStore()
    (made,) = left(store, of=3)
    assert left(spool, of=3) == [made]

    await Relay(spool, publisher, tools, "spool", entries_move=True).round()
    await Relay(store, publisher, tools).round()

    assert publisher.published == [(made, "relay")]
    assert (spool.settled, store.settled) == ([made.first_id], [made.first_id])


def part(made: Batch) -> Batch:
    return made.part(0, 2)


def of_a_copied_worker(made: Batch) -> Batch:
    return Batch(made.ids, [event(f"other-{number}") for number in range(3)], made.created_us)


@pytest.mark.parametrize("other", [part, of_a_copied_worker])
async def test_another_batch_with_the_same_first_id_is_published_as_a_whole(
    relay: Relay, store: FakeStore, publisher: FakePublisher, relay_before: Relay, other: Callable[[Batch], Batch]
) -> None:
    (made,) = left(store, of=3)
    relay_before.retry(other(made), [1])

    await relay.round()

    assert publisher.published == [(made, "relay")]
    assert store.settled == [made.first_id]


async def test_entry_taken_over_is_left_alone_when_its_lease_may_be_over(
    relay: Relay, store: FakeStore, publisher: FakePublisher, clock: FakeClock
) -> None:
    (made,) = left(store)
    store.claims.clear()
    relay.retry(made, [0])

    clock.advance(LIMITS.lease_seconds / 2)
    await relay.round()

    assert publisher.tried == []


async def test_no_more_is_taken_over_than_is_claimed_at_a_time(relay: Relay, store: FakeStore) -> None:
    made = left(store, LIMITS.entries_max + 1)
    store.claims.clear()
    for one in made:
        relay.retry(one, [0])

    await relay.round()

    assert store.settled == [one.first_id for one in made[: LIMITS.entries_max]]


async def test_entries_settled_meanwhile_are_skipped(relay: Relay, store: FakeStore, publisher: FakePublisher) -> None:
    first, second = left(store, 2)
    del store.entries[first.first_id]

    await relay.round()

    assert [one for one, _ in publisher.published] == [second]
    assert store.settled == [second.first_id]


async def test_a_full_claim_says_that_there_may_be_more(relay: Relay, store: FakeStore) -> None:
    left(store, LIMITS.entries_max)

    assert await relay.round()


async def test_relay_works_until_nothing_is_left(relay: Relay, store: FakeStore) -> None:
    for _ in range(5):
        left(store, 3)

    async with running(relay):
        await until(lambda: len(store.settled) == 15)


@pytest.mark.parametrize("error", [StoreUnavailable(), BrokerUnavailable(), ZeroDivisionError("a bug")], ids=repr)
async def test_relay_goes_on_after_an_error(relay: Relay, store: FakeStore, error: Exception) -> None:
    store.claims.append(error)
    (made,) = left(store)

    async with running(relay):
        await until(lambda: store.settled == [made.first_id])


async def test_unexpected_error_is_logged(relay: Relay, store: FakeStore, caplog: pytest.LogCaptureFixture) -> None:
    store.claims.append(ZeroDivisionError("a bug"))

    async with running(relay):
        await until(lambda: "the relay failed unexpectedly" in caplog.text)


async def test_nothing_is_claimed_while_the_broker_is_away(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    """A claim would only use up the entry's lease."""
    publisher.problem = "away"
    left(store)

    async with running(relay):
        for _ in range(20):
            await asyncio.sleep(0)
        assert store.claims
        publisher.problem = None
        await until(lambda: store.settled)


async def test_event_that_is_never_taken_becomes_a_dead_letter_and_the_others_are_settled(
    relay: Relay, store: FakeStore, publisher: FakePublisher, sample: Sample
) -> None:
    (made,) = left(store, of=3)
    publisher.errors[made.first_id] = NotConfirmed("too large", [1], never=[1])

    await relay.round()

    assert [one.ids for one, _ in store.dead_lettered] == [[made.ids[1]]]
    assert store.dead_lettered[0][1].startswith("too large Tried 1 times")
    assert store.settled == [made.first_id]
    assert (sample("ingest_events_dead_total"), sample("ingest_events_publish_failed_total", route="relay")) == (1, 0)


async def test_refused_event_becomes_a_dead_letter_after_some_tries_and_some_time(
    relay: Relay, store: FakeStore, publisher: FakePublisher, clock: FakeClock
) -> None:
    (made,) = left(store)
    publisher.errors[made.first_id] = NotConfirmed("full", [0])
    for _ in range(TRIES_MIN + 1):
        with pytest.raises(NotConfirmed):
            await relay.round()
    assert not store.dead_lettered

    clock.advance(DEAD_SECONDS)
    store.claims.append([made.first_id])  # its lease has run out
    await relay.round()

    assert [one.ids for one, _ in store.dead_lettered] == [made.ids]
    assert store.settled == [made.first_id]


async def test_event_is_not_given_up_where_it_cannot_be_kept(
    relay: Relay, store: FakeStore, publisher: FakePublisher
) -> None:
    (made,) = left(store)
    publisher.errors[made.first_id] = NotConfirmed("too large", [0], never=[0])
    store.dead_letter_errors.append(StoreUnavailable())
    with pytest.raises(NotConfirmed):
        await relay.round()
    assert not store.settled
    await relay.round()
    assert store.settled == [made.first_id]
