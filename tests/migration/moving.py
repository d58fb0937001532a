"""Moves a small database of the original over and back, as `ingest adopt` does; and what must be there afterwards."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from ingest.clock import unix_us
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import Connection, Row, connect_over_network
from ingest.store.mysql.laravel.adoption import Adoption
from ingest.store.mysql.laravel.options import Options
from ingest.store.mysql.laravel.way_back import WayBack
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL, opened
from tests.migration.laravel_tables import Original, model, php, queued

ROWS = 25
PENDING = range(ROWS - 10, ROWS)
FAILED = (3, 4)
OPTIONS = Options(chunk_rows=10, chunk_jobs=4, still_seconds=0.0)
MAPPED = (
    "SELECT m.old_id, e.id, e.call_id, e.event_type, CAST(e.payload AS CHAR), CAST(e.created_time AS CHAR) "
    "FROM ingest_adopted_ids AS m JOIN call_event_logs AS e ON e.id = m.id ORDER BY m.old_id"
)
SLOT = 99


class Killed(BaseException):
    """The connection ends before its next statement, as that of a killed process does."""


class Doomed(Connection):
    """Dies before the statement of that number."""

    left: int | None = None

    async def run(self, sql: bytes, *, of_first: bool = False) -> list[Row]:
        if self.left is not None:
            if self.left == 0:
                raise Killed
            self.left -= 1
        return await super().run(sql, of_first=of_first)


def event(number: int) -> dict[str, Any]:
    return {"call_id": f"call-{number}", "event_type": "call_ended", "duration": number, "path": "a/ə"}


def fill(original: Original) -> None:
    """Rows, of which the last ten have jobs; two failed jobs; and a job of another class."""
    original.add_rows([(event(number), f"NOW() - INTERVAL {(ROWS - number) // 3} SECOND") for number in range(ROWS)])
    original.add_jobs([queued({"event": php(event(n))} if n % 2 else {"log": model(n + 1)}) for n in PENDING])
    original.add_jobs([queued({"event": php(event(5))}, "App\\Jobs\\Other")])
    original.add_failed_jobs([queued({"event": php(event(number))}) for number in FAILED], "PhpAmqpLib: refused\n#0")


@asynccontextmanager
async def connected(url: str, dies_before: int | None = None) -> AsyncIterator[Connection]:
    connection = await Doomed.open(Address.parse(url), TIMEOUT_SECONDS, connect_over_network)
    assert isinstance(connection, Doomed)
    connection.left = dies_before
    try:
        yield connection
    except Killed:
        connection.close()
        raise
    except BaseException:
        await connection.end()
        raise
    await connection.end()


async def lines(work: AsyncIterator[str]) -> list[str]:
    return [line async for line in work]


def _ignore(_: str) -> None:
    pass


async def adopt(
    url: str, dies_before: int | None = None, options: Options = OPTIONS, reached: Callable[[str], object] = _ignore
) -> list[str]:
    async with connected(url, dies_before) as connection:
        return await lines(Adoption(connection, options, unix_us, lambda *_: None, reached).run())


async def go_back(
    url: str, dies_before: int | None = None, tail: str | None = None, reached: Callable[[str], object] = _ignore
) -> list[str]:
    async with connected(url, dies_before) as connection:
        return await lines(WayBack(connection, OPTIONS, tail, lambda *_: None, reached).run())


async def store(database: MySQL, numbers: range, slot: int = SLOT) -> None:
    """Commit events as a worker of the service does, and settle them as published."""
    async with opened(database.store()) as (service,):
        ids = IdGenerator(slot, unix_us)
        for number in numbers:
            body = json.dumps(event(number)).encode()
            batch = Batch(ids.take(1), [Event(f"call-{number}", "call_ended", body)], unix_us(), ids.producer)
            await service.commit(batch, lease_seconds=30, settled=())
            await service.settle([batch.first_id])


def messages(database: MySQL) -> list[tuple[int, dict[str, Any]]]:
    """Ids and bodies of all messages in the outbox."""
    batches = [unpack_one(packed) for (packed,) in database.query("SELECT batch FROM ingest_outbox")]
    pairs = [pair for batch in batches if batch for pair in zip(batch.ids, batch.events, strict=True)]
    return sorted(((event_id, json.loads(one.payload)) for event_id, one in pairs), key=lambda pair: pair[0])


def check_adopted(database: MySQL) -> None:
    """All rows are there once, in order, and each job is one message or dead letter with its row's id."""
    rows = database.query(MAPPED)
    assert [json.loads(row[4]) for row in rows] == [event(number) for number in range(ROWS)]
    assert [row[0] for row in rows] == list(range(1, ROWS + 1))
    assert [row[1] for row in rows] == sorted({row[1] for row in rows})
    assert database.query("SELECT COUNT(*) FROM call_event_logs") == [(ROWS,)]
    created = database.query("SELECT CAST(created_time AS CHAR) FROM call_event_logs_laravel ORDER BY id")
    assert [(row[5].removesuffix(".000000"),) for row in rows] == created
    ids = {row[2]: row[1] for row in rows}
    assert messages(database) == [(ids[f"call-{number}"], event(number)) for number in PENDING]
    dead = database.query("SELECT event_id, reason FROM ingest_dead_letters ORDER BY event_id")
    assert dead == [(ids[f"call-{number}"], "Laravel: PhpAmqpLib: refused") for number in FAILED]
    assert database.query("SELECT COUNT(*) FROM jobs") == [(1,)]
    assert database.query("SELECT COUNT(*) FROM failed_jobs") == [(0,)]


def calls(database: MySQL) -> list[str]:
    return sorted(call for (call,) in database.query("SELECT call_id FROM call_event_logs"))
