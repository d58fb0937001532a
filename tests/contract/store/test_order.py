"""Workers and nodes keep the order of what they publish through the database (`OrderedStore`)."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import pytest

from ingest.clock import unix_us
from ingest.errors import BrokerUnavailable, DuplicateKeys
from ingest.events.batch import Batch
from ingest.store.mysql.order import LAST_ENTRIES_MAX, LAST_SECONDS, Entry, OrderedMySQLStore, chosen
from tests.contract.store.simulated import SimulatedMySQL
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL, opened
from tests.contract.store.test_keys import keyed
from tests.unit.making import NOW_US, batch

LEASE_SECONDS = 30.0
WAIT_SECONDS = 60.0


AnyMySQL = MySQL | SimulatedMySQL


@pytest.fixture(
    params=["simulated", *(pytest.param(name, marks=pytest.mark.servers) for name in ("mysql", "hostile_mysql"))]
)
async def database(request: pytest.FixtureRequest) -> AnyMySQL:
    simulated = request.param == "simulated"
    database = SimulatedMySQL() if simulated else MySQL(request.getfixturevalue(request.param))
    await database.migrate()
    return database


def store_of(database: AnyMySQL) -> OrderedMySQLStore:
    return OrderedMySQLStore(
        database.servers(),
        connections_max=2,
        connect_timeout_seconds=TIMEOUT_SECONDS,
        commit_timeout_seconds=TIMEOUT_SECONDS,
        now_us=unix_us,
    )


@pytest.fixture
async def store(database: AnyMySQL) -> AsyncIterator[OrderedMySQLStore]:
    made = store_of(database)
    async with opened(made):
        yield made


def numbered(number: int, slot: int = 1) -> Batch:
    return batch(1, slot=slot, us=NOW_US + number * 1000)


async def commit(store: OrderedMySQLStore, made: Batch, lease_seconds: float = LEASE_SECONDS) -> bool:
    return await store.commit(made, lease_seconds=lease_seconds, settled=[])


class Published:
    """A publisher that may fail or be slow."""

    def __init__(self, error: Exception | None = None, seconds: float = 0.0) -> None:
        self.first_ids: list[int] = []
        self.began = asyncio.Event()
        self._error = error
        self._seconds = seconds

    async def __call__(self, batches: Sequence[Batch]) -> None:
        self.began.set()
        await asyncio.sleep(self._seconds)
        if self._error:
            raise self._error
        self.first_ids += [made.first_id for made in batches]


async def test_every_commit_returns_the_relay_mode(store: OrderedMySQLStore) -> None:
    assert not await commit(store, numbered(0))
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    assert await commit(store, numbered(1))
    assert await store.leave_relay_mode(Published())
    assert not await commit(store, numbered(2))


async def test_entries_left_to_the_relays_are_claimed_at_once(store: OrderedMySQLStore) -> None:
    first, second, third = (numbered(number) for number in range(3))
    for made in (first, second, third):
        await commit(store, made)
    await store.enter_relay_mode([first.first_id, second.first_id], [], LEASE_SECONDS)
    assert await store.claim(10, LEASE_SECONDS) == [first.first_id, second.first_id]
    assert await store.claim(10, LEASE_SECONDS) == []


async def test_entries_are_released_only_in_relay_mode(store: OrderedMySQLStore) -> None:
    made = numbered(0)
    await commit(store, made)
    assert not await store.leave_to_relays([made.first_id], [], LEASE_SECONDS)
    assert await store.claim(10, LEASE_SECONDS) == []
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    assert await store.leave_to_relays([made.first_id], [], LEASE_SECONDS)
    assert await store.claim(10, LEASE_SECONDS) == [made.first_id]


async def test_entries_kept_back_stay_their_workers(store: OrderedMySQLStore) -> None:
    made = numbered(0)
    await commit(store, made, lease_seconds=0.0)
    await store.enter_relay_mode((), [made.first_id], LEASE_SECONDS)
    assert await store.claim(10, LEASE_SECONDS) == []


async def test_unpublished_events_are_found_in_the_outbox_until_relay_mode_is_on(store: OrderedMySQLStore) -> None:
    first, other, last = batch(3), numbered(1, slot=2), numbered(2)
    for made in (first, other, last):
        await commit(store, made)

    assert await store.unpublished({first.ids[1], last.first_id}) == [last.first_id, first.first_id]
    assert await store.unpublished({first.last_id + 1, numbered(5).first_id}) == []
    await store.settle([first.first_id])
    assert await store.unpublished({*first.ids}) == []
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    assert await store.unpublished({last.first_id}) == []


async def test_commit_of_a_repeated_event_names_the_original(store: OrderedMySQLStore) -> None:
    original = batch([keyed("call-0", b"1")])
    await commit(store, original)

    with pytest.raises(DuplicateKeys) as raised:
        await commit(store, Batch(batch(1, us=NOW_US + 1000).ids, original.events, NOW_US + 1000))

    assert (raised.value.same, raised.value.originals) == ({0: True}, original.ids)


def test_no_entry_overtakes_a_leased_one_of_its_slot_or_in_relay_mode_of_any() -> None:
    ids = [numbered(number, slot).first_id for number, slot in enumerate((1, 2, 1, 2, 3))]
    entries = [Entry(first_id, free=number != 1, attempts=0) for number, first_id in enumerate(ids)]
    assert chosen(entries, 10, in_all=False) == [ids[0], ids[2], ids[4]]
    assert chosen(entries, 10, in_all=True) == [ids[0]]
    assert chosen(entries, 1, in_all=False) == [ids[0]]


async def test_relay_mode_claims_the_oldest_entries_of_all_slots(store: OrderedMySQLStore) -> None:
    """The second entry's own worker still publishes it, so newer entries of all slots wait."""
    first, second, third = numbered(0, 1), numbered(1, 2), numbered(2, 3)
    for made in (first, second, third):
        await commit(store, made)
    await store.enter_relay_mode([first.first_id, third.first_id], [], LEASE_SECONDS)
    assert await store.claim(10, LEASE_SECONDS) == [first.first_id]
    await store.settle([first.first_id, second.first_id])
    assert await store.claim(10, LEASE_SECONDS) == [third.first_id]


async def test_the_last_entries_are_published_before_all_have_caught_up(store: OrderedMySQLStore) -> None:
    made = [numbered(number) for number in range(3)]
    for one in made:
        await commit(store, one)
    await store.enter_relay_mode([one.first_id for one in made], [], LEASE_SECONDS)
    published = Published()
    assert await store.leave_relay_mode(published)
    assert published.first_ids == [one.first_id for one in made]
    assert (await store.backlog()).entries == 0


async def test_entries_that_live_workers_publish_need_not_be_waited_for(store: OrderedMySQLStore) -> None:
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    await commit(store, numbered(0))
    published = Published()
    assert await store.leave_relay_mode(published)
    assert published.first_ids == []


async def test_relay_mode_stays_while_a_relay_has_entries(store: OrderedMySQLStore) -> None:
    made = numbered(0)
    await commit(store, made, lease_seconds=0.0)
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    await store.claim(10, LEASE_SECONDS)
    assert not await store.leave_relay_mode(Published())
    assert await commit(store, numbered(1))


async def test_many_entries_are_published_before_anybody_is_held_off(store: OrderedMySQLStore) -> None:
    for number in range(LAST_ENTRIES_MAX + 1):
        await commit(store, numbered(number), lease_seconds=0.0)
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    published = Published()
    assert not await store.leave_relay_mode(published)
    assert published.first_ids == []


@pytest.mark.parametrize("published", [Published(BrokerUnavailable("lost")), Published(seconds=5.0)])
async def test_entries_that_cannot_be_published_stay(store: OrderedMySQLStore, published: Published) -> None:
    made = numbered(0)
    await commit(store, made, lease_seconds=0.0)
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    with suppress(BrokerUnavailable):
        assert not await store.leave_relay_mode(published)
    assert await commit(store, numbered(1))
    assert await store.claim(10, LEASE_SECONDS) == [made.first_id]


async def test_no_commit_is_made_while_the_last_entries_are_published(
    store: OrderedMySQLStore, database: MySQL
) -> None:
    await commit(store, numbered(0), lease_seconds=0.0)
    await store.enter_relay_mode([], [], LEASE_SECONDS)
    other = store_of(database)
    async with opened(other), asyncio.timeout(WAIT_SECONDS):
        for number in itertools.count(1):
            published = Published(seconds=LAST_SECONDS / 3)
            catching_up = asyncio.create_task(store.leave_relay_mode(published))
            await published.began.wait()
            relay_mode = await commit(other, numbered(number, slot=2))
            came_after = bool(published.first_ids)
            if await catching_up:
                break  # else a busy machine needed longer than the publishing may hold off commits
    assert came_after
    assert not relay_mode


async def test_older_entries_of_the_same_slot_are_waited_for(store: OrderedMySQLStore) -> None:
    older, other, newer = numbered(0, 1), numbered(1, 2), numbered(2, 1)
    await commit(store, older)
    assert await store.has_older(newer.first_id)
    assert not await store.has_older(other.first_id)
    assert not await store.has_older(older.first_id)


async def test_commit_of_unknown_outcome_may_have_been_in_relay_mode(store: OrderedMySQLStore) -> None:
    """The second try cannot know the flag that the first one read, so the caller must ask."""
    made = numbered(0)
    await commit(store, made)
    assert await commit(store, made)
    assert (await store.backlog()).entries == 1


async def test_relay_mode_stays_while_entries_are_deferred(store: OrderedMySQLStore) -> None:
    """Their clients were answered, so newer events must not overtake them."""
    made = numbered(0)
    await commit(store, made)
    await store.enter_relay_mode([], [made.first_id], LEASE_SECONDS)
    assert await store.claim(10, LEASE_SECONDS) == []
    assert not await store.leave_relay_mode(Published())
    await store.enter_relay_mode([made.first_id], [], LEASE_SECONDS)
    assert await store.leave_relay_mode(Published())


async def test_entries_kept_back_by_a_dead_worker_are_a_relays_after_their_lease(
    store: OrderedMySQLStore, database: MySQL
) -> None:
    made = numbered(0)
    await commit(store, made)
    await store.enter_relay_mode([], [made.first_id], LEASE_SECONDS)
    database.expire("ingest_outbox")
    assert await store.claim(10, LEASE_SECONDS) == [made.first_id]
    assert not await store.leave_relay_mode(Published())


async def test_relay_mode_stays_while_a_worker_publishes_an_older_entry_of_its_slot(
    store: OrderedMySQLStore,
) -> None:
    """The worker may fail. If the newer event were published first, the stream would discard the older one."""
    older, newer, other = numbered(0, 1), numbered(1, 1), numbered(2, 2)
    for made in (older, newer, other):
        await commit(store, made)
    await store.enter_relay_mode([newer.first_id], [], LEASE_SECONDS)
    published = Published()
    assert not await store.leave_relay_mode(published)
    assert published.first_ids == []
    await store.settle([older.first_id])
    assert await store.leave_relay_mode(published)
    assert published.first_ids == [newer.first_id]
