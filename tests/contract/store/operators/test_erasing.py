"""Events of a number are erased from each database, and a killed erasure is finished by the next."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import pytest

from ingest.clock import unix_us
from ingest.erasure.database import ErasableDatabase
from ingest.erasure.matcher import Matcher, Wanted
from ingest.erasure.report import Report
from ingest.erasure.run import PAGE_ROWS, Erasure
from ingest.erasure.tombstone import EVENTS_ERASED
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.store.base import Store
from ingest.store.mysql.partitioning.erasing import MySQLErasable
from ingest.store.mysql.pool import Servers
from ingest.store.sqlite.erasing import SQLiteErasable
from tests.commands.forked import run_module
from tests.contract.store.simulated import SimulatedMySQL
from tests.contract.store.stores import TIMEOUT_SECONDS, Database, MySQL, SQLite
from tests.paths import ROOT
from tests.unit.making import NOW_US, batch, event

NUMBER = "+994501234567"
LEASE_SECONDS = 30.0
STEPS = ("letter", "entry", "rows")
WANTED = Wanted((NUMBER,))


def url_of(database: Database) -> str:
    if isinstance(database, SQLite):
        return f"sqlite:{database.path}"
    if isinstance(database, SimulatedMySQL):
        pytest.skip("the model has no URL, and is no other process's")
    assert isinstance(database, MySQL)
    return database.url


async def erasable(url: str) -> ErasableDatabase:
    if url.startswith("sqlite:"):
        return SQLiteErasable(Path(url.removeprefix("sqlite:")), TIMEOUT_SECONDS)
    return await MySQLErasable.open(Servers.parse(url), TIMEOUT_SECONDS)


def nothing(_: str) -> None:
    pass


async def erase(
    url: str, wanted: Wanted = WANTED, *, act: bool = True, reached: Callable[[str], object] = nothing
) -> Report:
    """Erase as the command does."""
    ids = IdGenerator(7, unix_us)

    async def new_batch(made: Event) -> Batch:
        return Batch(ids.take(1), [made], unix_us())

    report = Report("run", act)
    database = await erasable(url)
    try:
        assert await database.lock()
        await Erasure(database, Matcher(wanted), report, new_batch, unix_us, 0.0, reached).run()
    finally:
        await database.close()
    return report


def mine(name: str) -> Event:
    return event(name, from_number="00994 50 123 45 67")


class Scene:
    """Rows with and without the number: published, in the outbox, and a dead letter."""

    def __init__(self) -> None:
        self.published = batch([mine("a"), event("b")], us=NOW_US)
        self.waiting = batch([event("c"), mine("d"), event("e")], us=NOW_US + 2000)
        self.dead = batch([mine("f")], us=NOW_US + 4000)
        self.many = batch([event(f"n{n}") for n in range(PAGE_ROWS)], us=NOW_US + 6000)

    async def store(self, store: Store) -> None:
        batches = (self.published, self.waiting, self.dead, self.many)
        for one in batches:
            await store.commit(one, lease_seconds=LEASE_SECONDS, settled=[])
        await store.add_dead(self.dead, "refused")
        await store.settle([self.published.first_id, self.dead.first_id, self.many.first_id])

    @property
    def erased(self) -> set[int]:
        return {self.published.ids[0], self.waiting.ids[1], self.dead.ids[0]}


@pytest.fixture
async def scene(store: Store) -> Scene:
    made = Scene()
    await made.store(store)
    return made


def bodies_of(database: Database) -> dict[int, bytes]:
    return {row[0]: str(row[3]).encode() for row in database.rows()}


def packed(database: Database, table: str) -> Mapping[int, Batch]:
    column = "first_id" if table == "ingest_outbox" else "event_id"
    found = {row[0]: unpack_one(row[1]) for row in database.query(f"SELECT {column}, batch FROM {table}")}
    return {first_id: one for first_id, one in found.items() if one}


def told(database: Database) -> set[int]:
    """The ids that tombstones in the outbox name."""
    found = set()
    for one in packed(database, "ingest_outbox").values():
        for made in one.events:
            if made.event_type == EVENTS_ERASED:
                found |= {int(event_id) for event_id in msgspec.json.decode(made.payload)["erased_ids"]}
    return found


def check(database: Database, scene: Scene) -> None:
    bodies = bodies_of(database)
    kept = {*scene.published.ids, *scene.waiting.ids, *scene.many.ids} - scene.erased
    assert scene.erased.isdisjoint(bodies)
    assert kept <= bodies.keys()
    assert not Matcher(WANTED).matches(b"".join(bodies.values()))
    for table in ("ingest_outbox", "ingest_dead_letters"):
        for one in packed(database, table).values():
            assert not any(Matcher(WANTED).matches(made.payload) for made in one.events)
    entry = packed(database, "ingest_outbox")[scene.waiting.first_id]
    assert entry.ids == scene.waiting.ids
    assert [made.event_type for made in entry.events] == ["call_started", EVENTS_ERASED, "call_started"]
    assert told(database) == scene.erased


async def test_dry_run_counts_and_changes_nothing(database: Database, scene: Scene) -> None:
    before = database.rows(), database.entries()

    report = await erase(url_of(database), act=False)

    assert (database.rows(), database.entries()) == before
    assert (report.found["table"], report.found["outbox"], report.found["dead_letters"]) == (3, 1, 1)
    assert sum(report.days.values()) == 3
    assert not report.tombstones


async def test_events_of_a_number_go_and_consumers_are_told(database: Database, scene: Scene) -> None:
    report = await erase(url_of(database))

    check(database, scene)
    assert report.complete
    assert (report.found["table"], report.found["outbox"], report.found["dead_letters"]) == (3, 1, 1)
    assert sum(report.days.values()) == 3
    tombstones = {int(event_id) for event_id in report.tombstones}
    assert tombstones <= bodies_of(database).keys()
    assert tombstones <= packed(database, "ingest_outbox").keys()


async def test_erasing_again_finds_nothing(database: Database, scene: Scene) -> None:
    await erase(url_of(database))
    before = database.rows(), database.entries()

    report = await erase(url_of(database))

    assert sum(report.found.values()) == 0
    assert (database.rows(), database.entries()) == before


@pytest.mark.parametrize("step", STEPS)
async def test_killed_erasure_is_finished_by_the_same_command(database: Database, scene: Scene, step: str) -> None:
    ran = await asyncio.to_thread(run_module, __name__, [url_of(database), step], folder=ROOT)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    gone = scene.erased - bodies_of(database).keys()
    assert gone
    assert gone <= told(database)

    await erase(url_of(database))

    check(database, scene)


async def test_event_that_becomes_a_dead_letter_meanwhile_goes_too(database: Database, scene: Scene) -> None:
    ((event_id, content),) = database.query("SELECT event_id, batch FROM ingest_dead_letters")
    again = f"INSERT INTO ingest_dead_letters VALUES ({event_id}, 'late', '2025-01-31', x'{content.hex()}')"

    def return_letter(step: str) -> None:
        if step == "rows":
            database.query(again)

    await erase(url_of(database), reached=return_letter)

    assert not database.query("SELECT event_id FROM ingest_dead_letters")


async def test_events_of_a_call_go(database: Database, scene: Scene) -> None:
    report = await erase(url_of(database), Wanted(calls=("b", "n7")))

    assert scene.erased <= bodies_of(database).keys() | told(database)
    assert report.found["table"] == 2
    assert {"b", "n7"}.isdisjoint(database.call_ids())


async def test_damaged_batch_is_reported(database: Database, scene: Scene) -> None:
    database.query("UPDATE ingest_dead_letters SET batch = x'64616d61676564'")

    report = await erase(url_of(database))

    assert [text[:13] for text in report.problems] == ["a dead letter"]


if __name__ == "__main__":
    url, wanted_step = sys.argv[1:]

    def die(step: str) -> None:
        if step == wanted_step:
            os.kill(os.getpid(), signal.SIGKILL)

    asyncio.run(erase(url, reached=die))
