import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest
from msgspec.structs import replace

from ingest.errors import DuplicateKeys, IdsTaken, SpoolFull, StoreUnavailable
from ingest.events.batch import FORMAT, Batch
from ingest.events.batch_codec import pack, unpack_one
from ingest.events.ids import LEASED_SLOTS_MAX
from ingest.spool.drainer import TAKE_RECORDS, Drainer
from ingest.spool.files import take_spool
from ingest.spool.records import Record
from ingest.spool.store import SpoolStore
from ingest.telemetry.metrics import Metrics
from ingest.telemetry.outage import COMMIT, Outage
from tests.unit.conftest import Sample
from tests.unit.fakes import Commit, FakeClock, FakeNamer, FakeRelay, FakeStore, until
from tests.unit.making import NOW_US, batch, call_ids, event
from tests.unit.spool.conftest import LIMITS, Opened

LEASE_SECONDS = 10.0


class Database(FakeStore):
    """Counts pings, which fail while the database is away."""

    def __init__(self) -> None:
        super().__init__()
        self.pings = 0
        self.taken: set[int] = set()
        self.keys: set[bytes | None] = set()
        self.reused: set[bytes | None] = set()
        """Keys of other events."""
        self.too_much: set[str] = set()

    async def insert_published(self, batches: Sequence[Batch]) -> None:
        if any(event_id in self.taken for batch in batches for event_id in batch.ids):
            raise IdsTaken(1)
        if any(one.call_id in self.too_much for batch in batches for one in batch.events):
            raise StoreUnavailable("The database did not answer.")
        await super().insert_published(batches)

    async def commit(self, batch: Batch, *, lease_seconds: float, settled: Sequence[int]) -> bool:
        if not self.taken.isdisjoint(batch.ids):
            raise IdsTaken(1)
        known = self.keys | self.reused
        same = {at: event.key in self.keys for at, event in enumerate(batch.events) if event.key in known}
        if same:
            raise DuplicateKeys(same)
        return await super().commit(batch, lease_seconds=lease_seconds, settled=settled)

    async def ping(self) -> None:
        self.pings += 1
        if self.errors:
            raise self.errors[0]


@pytest.fixture
def database() -> Database:
    return Database()


@pytest.fixture
def outage(clock: FakeClock) -> Outage:
    return Outage(COMMIT, clock.monotonic)


@pytest.fixture
def namer() -> FakeNamer:
    return FakeNamer()


@pytest.fixture
def polling(
    spool: SpoolStore,
    folder: Path,
    opened: Opened,
    database: Database,
    relay: FakeRelay,
    outage: Outage,
    metrics: Metrics,
    namer: FakeNamer,
) -> Callable[[float], Drainer]:
    """Makes a drainer that pauses for this time."""
    return lambda seconds: Drainer(spool, database, relay, outage, seconds, metrics, namer.renew_ids)


@pytest.fixture
def drainer(polling: Callable[[float], Drainer]) -> Drainer:
    return polling(0.01)


async def keep(spool: SpoolStore, made: Batch, *, published: bool = True) -> Batch:
    await spool.commit(made, lease_seconds=0.0, settled=[])
    if published:
        await spool.settle([made.first_id])
    return made


async def left(spool: SpoolStore) -> int:
    return len(await spool.after(0, 100))


async def test_published_batch_is_moved_without_an_outbox_entry(
    drainer: Drainer, spool: SpoolStore, database: Database, sample: Sample
) -> None:
    made = await keep(spool, batch(3))

    assert await drainer.round()

    assert (database.restored, database.commits) == ([made], [])
    assert await left(spool) == 0
    assert sample("ingest_events_drained_total") == sample("ingest_events_stored_total") == 3


async def test_unpublished_batch_gets_an_entry_that_a_relay_may_have_at_once(
    drainer: Drainer, spool: SpoolStore, database: Database, relay: FakeRelay
) -> None:
    made = await keep(spool, batch(3), published=False)

    await drainer.round()

    assert database.commits == [Commit(made, 0.0, [])]
    assert await left(spool) == 0


async def test_batch_that_is_being_published_is_left_alone(
    drainer: Drainer, spool: SpoolStore, database: Database
) -> None:
    await spool.commit(batch(1), lease_seconds=LEASE_SECONDS, settled=[])

    assert not await drainer.round()

    assert database.tried == []


async def test_oldest_come_first_and_all_come(drainer: Drainer, spool: SpoolStore, database: Database) -> None:
    count = TAKE_RECORDS * 2 + 1
    made = [batch(us=NOW_US + number * 1000) for number in range(count)]
    for one in reversed(made):
        await keep(spool, one)

    while await drainer.round():
        pass

    assert database.restored == made
    assert database.restores == 3


async def test_first_batch_that_arrives_ends_the_outage(
    drainer: Drainer, spool: SpoolStore, database: Database, outage: Outage
) -> None:
    outage.record(0, "away")
    await keep(spool, batch(1))
    database.errors.append(StoreUnavailable("still away"))
    with pytest.raises(StoreUnavailable):
        await drainer.round()
    assert (outage.reason, await left(spool)) == ("away", 1)

    database.errors.clear()
    await drainer.round()

    assert outage.reason is None


async def test_what_the_database_did_not_take_may_be_published_meanwhile(
    drainer: Drainer, spool: SpoolStore, database: Database
) -> None:
    unpublished = await keep(spool, batch(1), published=False)
    published = await keep(spool, batch(1, us=NOW_US + 1000))
    database.errors.append(StoreUnavailable("away"))
    with pytest.raises(StoreUnavailable):
        await drainer.round()

    assert await spool.claim(10, LEASE_SECONDS) == [unpublished.first_id]
    assert [record.first_id for record in await spool.take_oldest(10)] == [published.first_id]


async def test_with_an_empty_spool_the_database_is_asked(drainer: Drainer, database: Database, outage: Outage) -> None:
    await drainer.round()
    assert database.pings == 0
    outage.record(0, "away")
    database.errors.append(StoreUnavailable("still away"))
    with pytest.raises(StoreUnavailable):
        await drainer.round()
    assert outage.reason

    database.errors.clear()
    await drainer.round()

    assert outage.reason is None


class LateSpool(SpoolStore):
    """An outage begins just after the drainer found the spool empty."""

    outage: Outage

    async def give_room_back(self) -> None:
        self.outage.record(0, "away")


async def test_outage_that_begins_meanwhile_is_not_ended_by_an_answer(
    folder: Path, clock: FakeClock, database: Database, relay: FakeRelay, outage: Outage, metrics: Metrics
) -> None:
    """New records prove more than an answer: the database may answer, but refuse every write."""
    spool = LateSpool(take_spool(folder), 5.0, LIMITS, clock.now_us)
    spool.outage = outage
    drainer = Drainer(spool, database, relay, outage, 0.01, metrics, FakeNamer().renew_ids)

    await drainer.round()

    assert (outage.reason, database.pings) == ("away", 0)
    await spool.close()


class FullSpool(SpoolStore):
    """The spool can read published records from a full disk, but it cannot write a lease or remove a record."""

    async def take_oldest(self, limit: int) -> list[Record]:
        records = await self.after(0, limit)
        if any(record.lease_until is not None for record in records):
            raise SpoolFull
        return records

    async def remove(self, records: Sequence[Record]) -> None:
        raise SpoolFull


@pytest.mark.parametrize("published", [True, False])
async def test_spool_whose_disk_is_full_does_not_keep_the_database_from_being_used(
    folder: Path,
    clock: FakeClock,
    database: Database,
    relay: FakeRelay,
    outage: Outage,
    metrics: Metrics,
    published: bool,
) -> None:
    spool = FullSpool(take_spool(folder), 5.0, LIMITS, clock.now_us)
    drainer = Drainer(spool, database, relay, outage, 0.01, metrics, FakeNamer().renew_ids)
    made = await keep(spool, batch(1), published=published)
    outage.record(0, "away")

    with pytest.raises(SpoolFull):
        await drainer.round()

    assert outage.reason is None
    assert await left(spool) == 1
    assert database.restored == ([made] if published else [])
    await spool.close()


async def test_event_that_cannot_come_is_set_aside_and_all_others_come(
    drainer: Drainer,
    spool: SpoolStore,
    database: Database,
    caplog: pytest.LogCaptureFixture,
    sample: Sample,
) -> None:
    before, after = batch(us=NOW_US - 1000), batch(us=NOW_US + 1000)
    bad = batch([event("call-1"), event("bad"), event("call-2")])
    database.poison = {"bad"}
    for one in (before, bad, after):
        await keep(spool, one)

    await drainer.round()

    stored = [event_id for restored in database.restored for event_id in restored.ids]
    assert stored == [*before.ids, bad.ids[0], bad.ids[2], *after.ids]
    (refused,) = await spool.refused()
    kept = Record(refused.first_id, refused.count, None, refused.batch).unpacked()
    assert kept is not None
    assert [kept.call_id for kept in kept.events] == ["bad"]
    assert await left(spool) == 0
    assert "could not be brought to the database" in caplog.text
    assert sample("ingest_events_set_aside_total") == 1
    assert sample("ingest_events_drained_total") == 4


def stored(database: Database) -> list[int]:
    return [event_id for restored in database.restored for event_id in restored.ids]


@pytest.mark.parametrize("away", [True, False])
async def test_database_that_refuses_everything_blames_no_event(
    drainer: Drainer, spool: SpoolStore, database: Database, outage: Outage, away: bool
) -> None:
    """For example its tables came back read-only. The drainer moves all records once they are writable."""
    made = [await keep(spool, batch(5, us=NOW_US + number * 1000)) for number in range(40)]
    if away:
        outage.record(0, "away")
    database.riddles = {f"call-{number}" for number in range(5)}
    for _ in range(30):
        await drainer.round()
    assert (await left(spool), await spool.refused(), database.restored) == (40, [], [])

    database.riddles = set()
    while await left(spool):
        await drainer.round()

    assert sorted(stored(database)) == [event_id for one in made for event_id in one.ids]
    assert (await spool.refused(), outage.reason) == ([], None)


@pytest.mark.parametrize("away", [True, False])
async def test_single_event_refused_for_an_unknown_reason_is_set_aside_once_a_later_one_is_taken(
    drainer: Drainer, spool: SpoolStore, database: Database, outage: Outage, away: bool
) -> None:
    bad = await keep(spool, batch([event("bad")]))
    if away:
        outage.record(0, "away")
    database.riddles = {"bad"}
    for _ in range(5):
        await drainer.round()
    assert (await left(spool), await spool.refused()) == (1, [])
    assert bool(outage.reason) == away

    fine = await keep(spool, batch(us=NOW_US + 1000))
    while await left(spool):
        await drainer.round()

    assert stored(database) == fine.ids
    (refused,) = await spool.refused()
    assert (refused.first_id, outage.reason) == (bad.first_id, None)


async def test_many_refused_records_do_not_hold_up_the_next_ones(
    drainer: Drainer, spool: SpoolStore, database: Database, outage: Outage
) -> None:
    outage.record(0, "away")
    database.riddles = {"bad"}
    for number in range(30):
        await keep(spool, batch([event("bad")], us=NOW_US + number * 1000))
    fine = await keep(spool, batch(us=NOW_US + 100_000))

    for _ in range(10):
        await drainer.round()

    assert stored(database) == fine.ids
    assert (len(await spool.refused()), await left(spool), outage.reason) == (30, 0, None)


async def test_record_that_always_fails_otherwise_does_not_hold_up_the_next_ones(
    drainer: Drainer, spool: SpoolStore, database: Database, outage: Outage
) -> None:
    """For example it is too slow for the deadline. The database may be to blame, so the record stays."""
    outage.record(0, "away")
    database.too_much = {"slow"}
    slow = await keep(spool, batch([event("slow")]))
    fine = await keep(spool, batch(us=NOW_US + 1000))

    for _ in range(3):
        with suppress(StoreUnavailable):
            await drainer.round()

    assert (stored(database), outage.reason) == (fine.ids, None)
    assert [record.first_id for record in await spool.after(0, 10)] == [slow.first_id]
    assert await spool.refused() == []


async def test_damaged_record_does_not_tell_that_the_database_is_back(
    drainer: Drainer, spool: SpoolStore, database: Database, outage: Outage
) -> None:
    outage.record(0, "away")
    database.errors.append(StoreUnavailable("still away"))
    await spool.add([Record(7, 2, None, b"not what it was")])

    await drainer.round()

    assert (outage.reason, len(await spool.refused())) == ("away", 1)


async def test_refused_batch_is_published_before_any_of_it_is_set_aside(
    drainer: Drainer, spool: SpoolStore, database: Database, relay: FakeRelay
) -> None:
    database.poison = {"bad"}
    made = await keep(spool, batch([event("call-1"), event("bad")]), published=False)

    await drainer.round()

    assert relay.taken == {made.first_id: [0, 1]}
    assert (database.commits, await spool.refused(), await left(spool)) == ([], [], 1)


async def test_damaged_record_is_set_aside(drainer: Drainer, spool: SpoolStore, database: Database) -> None:
    await spool.add([Record(7, 2, None, b"not what it was")])
    fine = await keep(spool, batch(1))

    await drainer.round()

    (refused,) = await spool.refused()
    assert (refused.first_id, refused.count, refused.reason) == (7, 2, "the record is damaged")
    assert database.restored == [fine]


async def test_two_damaged_records_with_one_id_are_both_kept(spool: SpoolStore) -> None:
    """Nobody can tell that they are the same batch."""
    await spool.add([Record(7, 2, None, b"not what it was")])
    await spool.add([Record(7, 2, None, b"nor is this")])

    assert [record.batch for record in await spool.after(0, 10)] == [b"not what it was"]
    assert [refused.batch for refused in await spool.refused()] == [b"nor is this"]


async def test_record_of_a_newer_version_is_set_aside_and_published_after_a_retry(
    drainer: Drainer, spool: SpoolStore, database: Database
) -> None:
    """A retry asks for it when that version is back. Nobody has published it by then."""
    newer = pack(replace(batch(2), format=FORMAT + 1))
    await spool.add([Record(7, 2, 0, newer)])

    await drainer.round()

    (refused,) = await spool.refused()
    assert refused.reason.startswith(f"a newer version of the service wrote it (format {FORMAT + 1}; ")
    assert (refused.batch, database.commits) == (newer, [])
    assert await spool.retry() == 2
    assert await spool.claim(10, 1.0) == [7]


async def test_database_is_asked_as_soon_as_an_outage_begins(
    polling: Callable[[float], Drainer], spool: SpoolStore, database: Database, outage: Outage
) -> None:
    drainer = polling(3600.0)
    await keep(spool, batch(1))
    working = asyncio.create_task(drainer.run())
    await until(lambda: database.restored)
    await asyncio.sleep(0.1)  # the spool is empty: it pauses

    outage.record(1, "slow")

    await until(lambda: not outage.reason)
    assert database.pings == 1
    working.cancel()


async def test_work_goes_on_after_failures(drainer: Drainer, spool: SpoolStore, database: Database) -> None:
    database.errors.extend([StoreUnavailable("away"), ZeroDivisionError("a bug")])
    await keep(spool, batch(1))
    working = asyncio.create_task(drainer.run())

    await until(lambda: database.restored)
    working.cancel()


async def test_event_whose_id_another_one_has_gets_another_and_is_published_with_it(
    drainer: Drainer, spool: SpoolStore, database: Database, sample: Sample
) -> None:
    made = await keep(spool, batch(3))
    database.taken = {made.ids[1]}

    while await left(spool):
        await drainer.round()

    assert stored(database) == [made.ids[0], made.ids[2]]
    (commit,) = database.commits
    assert (commit.batch.slot, commit.lease_seconds) == (FakeNamer.SLOT, 0.0)
    assert [one.call_id for one in commit.batch.events] == ["call-1"]
    assert (await spool.refused(), sample("ingest_events_drained_total")) == ([], 3)


@pytest.mark.parametrize("provisional", [True, False])
async def test_unpublished_batch_gets_other_ids_where_its_own_name_others(
    drainer: Drainer, spool: SpoolStore, database: Database, outage: Outage, provisional: bool
) -> None:
    made = await keep(spool, batch(3, slot=LEASED_SLOTS_MAX if provisional else 1), published=False)
    database.taken = {made.ids[2]}
    outage.record(0, "away")

    while await left(spool):
        await drainer.round()

    assert [commit.batch.slot for commit in database.commits] == [FakeNamer.SLOT]
    assert [one.payload for one in database.commits[0].batch.events] == [one.payload for one in made.events]
    assert database.commits[0].batch.created_us == made.created_us
    assert outage.reason is None


async def test_batch_with_new_ids_that_came_already_is_not_doubled(
    drainer: Drainer, spool: SpoolStore, database: Database
) -> None:
    """The batch was committed, and then the worker was killed before it could remove the record."""
    made = await keep(spool, batch(3, slot=LEASED_SLOTS_MAX), published=False)
    database.keys = {one.key for one in made.keyed_by_ids().events}

    while await left(spool):
        await drainer.round()

    assert (database.commits, database.restored) == ([], [])


async def test_duplicate_counts_once_as_repeated_and_never_as_stored(
    drainer: Drainer, spool: SpoolStore, database: Database, relay: FakeRelay, sample: Sample
) -> None:
    again, new = event("again"), event("new")
    again.key = b"k" * 32
    database.keys = {again.key}
    await keep(spool, batch([again, new]), published=False)
    database.errors.append(StoreUnavailable("away"))

    while await left(spool):
        with suppress(StoreUnavailable):
            await drainer.round()

    assert len(database.tried) == 2
    assert [call_ids(commit.batch) for commit in database.commits] == [["new"]]
    assert (sample("ingest_events_repeated_total"), sample("ingest_events_stored_total")) == (1, 1)


@pytest.mark.parametrize("slot", [1, LEASED_SLOTS_MAX], ids=["own id", "provisional id"])
async def test_event_whose_key_another_event_has_is_set_aside(
    drainer: Drainer, spool: SpoolStore, database: Database, sample: Sample, slot: int
) -> None:
    """Two workers took it, and no database knew the key. Both were acknowledged, so both are kept."""
    other, new = event("other"), event("new")
    other.key = b"k" * 32
    database.reused = {other.key}
    made = await keep(spool, batch([other, new], slot=slot), published=False)

    while await left(spool):
        await drainer.round()

    assert [call_ids(commit.batch) for commit in database.commits] == [["new"]]
    (refused,) = await spool.refused()
    assert (refused.first_id, refused.count) == (made.first_id, 1)
    assert "idempotency key" in refused.reason
    kept = unpack_one(refused.batch)
    assert kept
    assert call_ids(kept) == ["other"]
    counted = ("repeated", "stored", "set_aside")
    assert [sample(f"ingest_events_{name}_total") for name in counted] == [0, 1, 1]


async def test_event_that_an_earlier_try_has_stored_under_another_id_counts_as_stored(
    drainer: Drainer, spool: SpoolStore, database: Database, sample: Sample
) -> None:
    made = await keep(spool, batch(1))
    database.taken, database.keys = {*made.ids}, {made.keyed_by_ids().events[0].key}

    await drainer.round()

    assert await left(spool) == 0
    assert (sample("ingest_events_repeated_total"), sample("ingest_events_stored_total")) == (0, 1)


async def test_provisional_batch_waits_for_a_slot_and_is_no_relays(
    drainer: Drainer, spool: SpoolStore, database: Database, namer: FakeNamer
) -> None:
    await keep(spool, batch(3, slot=LEASED_SLOTS_MAX), published=False)
    namer.errors.append(StoreUnavailable())
    with pytest.raises(StoreUnavailable):
        await drainer.round()
    assert await spool.claim(10, LEASE_SECONDS) == []

    await drainer.round()

    assert len(database.commits) == 1


async def test_provisional_event_that_is_refused_is_set_aside_and_all_others_come(
    drainer: Drainer, spool: SpoolStore, database: Database, relay: FakeRelay
) -> None:
    database.poison = {"bad"}
    made = batch([event("call-1"), event("bad"), event("call-2")], slot=LEASED_SLOTS_MAX)
    await keep(spool, made, published=False)

    while await left(spool):
        await drainer.round()

    assert [one.call_id for commit in database.commits for one in commit.batch.events] == ["call-1", "call-2"]
    assert len(await spool.refused()) == 1
    assert relay.taken == {}
