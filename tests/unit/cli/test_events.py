"""`ingest events` and `ingest audit` on a SQLite database that a service has left."""

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.spool.files import take_spool
from ingest.spool.store import SpoolStore
from ingest.store.sqlite.store import SQLiteStore, migrate
from tests.commands.forked import run_ingest
from tests.unit.fakes import FakeClock
from tests.unit.making import NOW_US, batch, event
from tests.unit.spool.conftest import LIMITS

HOSTILE = "\x1b[31mred\u202e"
STORED = batch([event("one"), event("one", "call_ended", duration=7), event(HOSTILE)])
DEAD = batch([event("dead")], us=NOW_US + 1_000_000)
SPOOLED = batch([event("one")], us=NOW_US + 2_000_000)
Done = CompletedProcess[str]
Ingest = Callable[..., Done]


async def prepare(folder: Path) -> None:
    store = SQLiteStore(folder / "events.db", 5.0, unix_us)
    for made in STORED, DEAD:
        await store.commit(made, lease_seconds=30.0, settled=())
    await store.add_dead(DEAD, "too large")
    await store.settle([STORED.first_id, DEAD.first_id])
    await store.close()
    spool = SpoolStore(take_spool(folder / "spool"), 5.0, LIMITS, FakeClock().monotonic)
    await spool.start()
    await spool.commit(SPOOLED, lease_seconds=30.0, settled=[])
    await spool.close()


async def claimed(folder: Path) -> list[Batch]:
    """Return the outbox entries as a relay sees them."""
    store = SQLiteStore(folder / "events.db", 5.0, unix_us)
    try:
        return await store.read(await store.claim(10, 30.0))
    finally:
        await store.close()


@pytest.fixture
def ingest(tmp_path: Path) -> Ingest:
    migrate(tmp_path / "events.db")
    asyncio.run(prepare(tmp_path))
    settings = {"INGEST_DATABASE_URL": f"sqlite:///{tmp_path}/events.db", "INGEST_DATA_DIR": str(tmp_path)}

    def run(*words: object) -> Done:
        return run_ingest([str(word) for word in words], {**os.environ, **settings})

    return run


def ids_of(result: Done) -> list[int]:
    return [int(line.split()[0]) for line in result.stdout.splitlines()]


def test_events_of_a_call_are_listed_with_those_in_the_spool(ingest: Ingest) -> None:
    listed = ingest("events", "ls", "--call", "one")

    assert ids_of(listed) == [*STORED.ids[:2], SPOOLED.first_id]
    assert "2025-01-31T13:45:00.123Z  one  call_ended  +15551230001 → +15551230002  7 s" in listed.stdout
    assert "in spool-0: not in the database yet" in listed.stdout.splitlines()[-1]


def test_events_are_listed_by_id_type_and_time(ingest: Ingest) -> None:
    assert ids_of(ingest("events", "ls")) == [DEAD.first_id, *STORED.ids[::-1]]
    assert ids_of(ingest("events", "ls", "--id", STORED.ids[1])) == [STORED.ids[1]]
    assert ids_of(ingest("events", "ls", "--since", "2025-01-31T13:45:01Z")) == [DEAD.first_id]
    assert ids_of(ingest("events", "ls", "--type", "call_ended", "--since", "2025-01-31")) == [STORED.ids[1]]
    assert "No event is found" in ingest("events", "ls", "--until", "2025-01-31").stdout
    assert "There are more events" in ingest("events", "ls", "--limit", 1).stderr


def test_value_of_a_client_cannot_control_the_terminal(ingest: Ingest) -> None:
    shown = ingest("events", "ls", "--call", HOSTILE)

    assert "\\u001b[31mred\\u202e" in shown.stdout
    assert "\x1b" not in shown.stdout + shown.stderr


def test_event_is_shown_with_the_place_where_it_is(ingest: Ingest) -> None:
    published = ingest("events", "show", STORED.first_id).stdout
    assert "published: confirmed by the broker" in published
    assert json.loads(published.splitlines()[-1]) == json.loads(STORED.events[0].payload)
    dead = ingest("events", "show", DEAD.first_id).stdout
    assert "a dead letter" in dead
    assert "reason:    too large" in dead
    assert "in spool-0 on this host" in ingest("events", "show", SPOOLED.first_id).stdout
    missing = ingest("events", "show", 1)
    assert (missing.returncode, missing.stdout) == (1, "")


def test_tokens_of_a_name_have_the_same_scopes(ingest: Ingest) -> None:
    assert ingest("tokens", "create", "alice", "--scope", "operate", "--scope", "read").returncode == 0

    other = ingest("tokens", "create", "alice")

    assert (other.returncode, other.stdout) == (1, "")
    assert "alice has tokens of the scope read,operate" in other.stderr
    assert ingest("tokens", "rotate", "alice").returncode == 0
    scopes = [line.split()[-1] for line in ingest("tokens", "list").stdout.splitlines()[1:]]
    assert scopes == ["read,operate"] * 2


def test_resent_event_is_published_as_it_was_received_and_leaves_an_audit_entry(ingest: Ingest, tmp_path: Path) -> None:
    resent = ingest("events", "resend", STORED.first_id, DEAD.first_id, 1)

    assert resent.returncode == 1
    assert [line.split(maxsplit=1)[1][:12] for line in resent.stdout.splitlines()] == [
        "in the outbo",
        "was a dead l",
        "no event has",
    ]
    entries = asyncio.run(claimed(tmp_path))
    assert [(entry.ids, entry.events[0].payload, entry.created_us) for entry in entries] == [
        ([STORED.first_id], STORED.events[0].payload, NOW_US),
        ([DEAD.first_id], DEAD.events[0].payload, NOW_US + 1_000_000),
    ]
    assert "already" in ingest("events", "resend", DEAD.first_id).stdout
    assert f'events.resend  {{"count":2,"event_ids":[{STORED.first_id},{DEAD.first_id}]}}' in ingest("audit").stdout
    assert '"logger": "ingest.audit"' in resent.stderr
