"""`ingest erase` in embedded mode: what it prints, and that no byte of the number stays."""

import asyncio
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from ingest.broker.embedded import FILE_NAME, EmbeddedQueue, Message
from ingest.clock import unix_us
from ingest.erasure.report import Report
from ingest.erasure.tombstone import EVENTS_ERASED
from ingest.store.sqlite.store import SQLiteStore
from tests.many_commands import Done, Run, run_commands
from tests.unit.making import NOW_US, batch, event

NUMBER = "+994501234567"
DATABASE = Path("var/call-events.db")
ERASE = ["erase", "--number", NUMBER]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with events of the number in the table, the outbox and the embedded queue."""
    path = tmp_path_factory.mktemp("erase")
    run_commands(path, [Run(["migrate"])])
    asyncio.run(filled(path))
    return path


async def filled(folder: Path) -> None:
    made = batch([event("a", from_number=NUMBER), event("b"), event("c", diverted="00994 50 123 45 67")], us=NOW_US)
    store = SQLiteStore(folder / DATABASE, 10.0, unix_us)
    await store.commit(made, lease_seconds=0.0, settled=[])
    await store.close()
    with closing(EmbeddedQueue(folder / "var" / FILE_NAME, 10.0)) as queue:
        messages = [
            Message(event_id, one.event_type, 0, one.payload)
            for event_id, one in zip(made.ids, made.events, strict=True)
        ]
        queue.publish(messages, 10)


@pytest.fixture(scope="module")
def done(folder: Path) -> Sequence[Done]:
    typed = Run(["erase", "--number", "-", "--yes", "--json"], typed=f"{NUMBER}\n")
    return run_commands(
        folder, [Run(ERASE), Run(["erase", "--call", "c"]), typed, Run([*ERASE, "--yes"]), Run(["audit"])]
    )


def test_dry_run_says_what_would_be_erased_and_what_cannot(done: Sequence[Done]) -> None:
    dry, call, *_ = done

    lines = dry.stdout.splitlines()
    assert dry.code == 0
    assert lines[:2] == ["2 events would be erased from call_event_logs, of 3", "  2025-01-31: 2"]
    assert "2 events would be erased from the embedded queue, of 3" in lines
    assert any(line.startswith("Not reached: Messages that the broker has") for line in lines)
    assert lines[-1].startswith("Nothing was changed")
    assert call.stdout.startswith("1 events would be erased from call_event_logs, of 1\n")


def test_report_is_json_and_has_no_number(done: Sequence[Done]) -> None:
    erased = done[2]

    report = msgspec.json.decode(erased.stdout, type=Report)
    assert (erased.code, report.acted, report.complete) == (0, True, True)
    assert report.found | {"archives": 0} == {
        "table": 2,
        "outbox": 2,
        "dead_letters": 0,
        "spool": 0,
        "embedded_queue": 2,
        "archives": 0,
    }
    assert NUMBER[1:] not in "".join(one.stdout + one.stderr for one in done)


def test_same_command_again_erases_nothing_more(done: Sequence[Done]) -> None:
    again = done[3]

    assert (again.code, [line for line in again.stdout.splitlines() if line.startswith("0 events erased")][:1]) == (
        0,
        ["0 events erased from call_event_logs, of 3"],
    )


def test_erasure_is_in_the_audit_trail(done: Sequence[Done]) -> None:
    assert done[4].stdout.count("events.erase") == 2


def test_no_byte_of_the_number_stays_in_any_file(folder: Path, done: Sequence[Done]) -> None:
    files = [path for path in (folder / "var").rglob("*") if path.is_file()]
    assert [path.name for path in files if b"994501234567" in path.read_bytes()] == []
    assert [path.name for path in files if b"50 123 45 67" in path.read_bytes()] == []


def test_tombstones_name_the_erased_events(folder: Path, done: Sequence[Done]) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as connection:
        rows = connection.execute("SELECT event_type, payload FROM call_event_logs ORDER BY id").fetchall()

    assert next(kind for kind, _ in rows) == "call_started"
    erased = {one for kind, payload in rows if kind == EVENTS_ERASED for one in json.loads(payload)["erased_ids"]}
    assert len(erased) == 2
