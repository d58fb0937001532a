"""`ingest adopt` on real servers: nothing is lost or doubled, whatever is killed, there and back and there again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta, timezone
from typing import Any

import pytest

from ingest.clock import unix_us
from ingest.errors import StoreError
from ingest.events.batch import Batch
from ingest.events.batch_codec import unpack_one
from ingest.events.event import Event
from ingest.events.ids import IdGenerator
from ingest.store.mysql import migrate
from ingest.store.mysql.address import Address
from ingest.store.mysql.connection import Connection, Row
from ingest.store.mysql.laravel.adoption import Adoption
from ingest.store.mysql.laravel.options import Options
from ingest.store.mysql.laravel.way_back import WayBack
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.schema import Report
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL, opened
from tests.migration.laravel_tables import EVENTS_TABLE, Original, model, php, queued
from tests.services import MySQLServer

ROWS = 25
PENDING = range(ROWS - 10, ROWS)
FAILED = (3, 4)
OPTIONS = Options(chunk_rows=10, chunk_jobs=4, still_seconds=0.0)
STEPS = ("prepared", "made", "swapped", "copied", "jobs", "failed_jobs")
STEPS_BACK = ("copied back", "swapped back")
MAPPED = (
    "SELECT m.old_id, e.id, e.call_id, e.event_type, CAST(e.payload AS CHAR), CAST(e.created_time AS CHAR) "
    "FROM ingest_adopted_ids AS m JOIN call_event_logs AS e ON e.id = m.id ORDER BY m.old_id"
)
SLOT = 99
STATEMENTS_MIN = 30
"""An adoption of the fixture has more statements than this."""


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


@pytest.fixture
def original(mysql: MySQLServer) -> Original:
    made = Original(MySQL(mysql))
    fill(made)
    return made


@asynccontextmanager
async def connected(url: str, dies_before: int | None = None) -> AsyncIterator[Connection]:
    connection = await Doomed.open(Address.parse(url), TIMEOUT_SECONDS)
    assert isinstance(connection, Doomed)
    connection.left = dies_before
    try:
        yield connection
    except Killed:
        connection.close()
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


async def test_rows_and_jobs_move_and_a_repeated_run_moves_nothing(original: Original) -> None:
    database = original.database
    await database.migrate()

    said = await adopt(database.url)

    check_adopted(database)
    assert said[0] == f"{ROWS} rows copied to call_event_logs"
    assert (await adopt(database.url))[0] == "0 rows copied to call_event_logs"
    check_adopted(database)
    assert await migrate.examine(Servers.parse(database.url), TIMEOUT_SECONDS) == Report()


async def test_a_plan_changes_nothing(original: Original) -> None:
    tables = original.database.query("SHOW TABLES")

    async with connected(original.database.url) as connection:
        said = await lines(Adoption(connection, OPTIONS, unix_us, lambda *_: None).plan())

    assert f"{ROWS} rows would be copied" in said[1]
    assert "10 jobs of jobs (SendCallEventToRabbitJob) would become messages" in said[2]
    assert "2 jobs of failed_jobs (SendCallEventToRabbitJob) would become dead letters" in said[3]
    assert original.database.query("SHOW TABLES") == tables


async def test_a_death_before_each_statement_is_made_good_by_the_next_run(original: Original) -> None:
    database = original.database
    await database.migrate()
    number, ended = 0, False
    while not ended:
        original.forget()
        fill(original)
        try:
            await adopt(database.url, number)
            ended = True
        except Killed:
            await adopt(database.url)
        check_adopted(database)
        number += 1
    assert number > STATEMENTS_MIN


async def test_a_death_on_the_way_back_is_made_good_by_the_next_run(original: Original) -> None:
    database = original.database
    await database.migrate()
    number, ended = 0, False
    while not ended:
        original.forget()
        fill(original)
        await adopt(database.url)
        database.query("DELETE FROM ingest_outbox")
        await store(database, range(100, 103))
        try:
            await go_back(database.url, number)
            ended = True
        except Killed:
            await go_back(database.url)
        assert calls(database) == sorted(f"call-{n}" for n in (*range(ROWS), *range(100, 103)))
        assert "auto_increment" in database.query("SHOW COLUMNS FROM call_event_logs")[0]
        number += 1
    assert number > STATEMENTS_MIN // 2


@pytest.mark.parametrize("step", [*STEPS, *STEPS_BACK])
async def test_kill_9_at_each_step_is_made_good_by_the_next_run(original: Original, step: str) -> None:
    database = original.database
    await database.migrate()
    if step in STEPS_BACK:
        await adopt(database.url)
        database.query("DELETE FROM ingest_outbox")
        await store(database, range(100, 102))

    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, "-m", __name__, database.url, step], check=False, timeout=60
    )

    assert ran.returncode == -signal.SIGKILL
    if step in STEPS:
        await adopt(database.url)
        check_adopted(database)
    else:
        await go_back(database.url)
        assert calls(database) == sorted(f"call-{n}" for n in (*range(ROWS), 100, 101))


async def test_rows_are_copied_while_the_service_stores_events(original: Original) -> None:
    database = original.database
    await database.migrate()
    storing: list[asyncio.Task[None]] = []

    def reached(step: str) -> None:
        if step == "swapped":
            storing.append(asyncio.get_running_loop().create_task(store(database, range(100, 150))))

    await adopt(database.url, reached=reached)
    await asyncio.gather(*storing)

    assert calls(database) == sorted(f"call-{n}" for n in (*range(ROWS), *range(100, 150)))


async def test_back_and_there_again_doubles_and_loses_no_event(original: Original, mysql: MySQLServer) -> None:
    database = original.database
    await database.migrate()
    await adopt(database.url)
    database.query("DELETE FROM ingest_outbox")
    ids = database.query("SELECT m.old_id, m.id FROM ingest_adopted_ids AS m ORDER BY m.old_id")
    await store(database, range(100, 105))
    meanwhile = MySQL(mysql)
    await meanwhile.migrate()
    await store(meanwhile, range(200, 203), slot=SLOT + 1)

    await go_back(database.url)
    original.add_rows([(event(number), "NOW()") for number in range(300, 303)])
    await go_back(database.url, tail=meanwhile.name)
    await go_back(database.url, tail=meanwhile.name)

    every = sorted(f"call-{n}" for n in (*range(ROWS), *range(100, 105), *range(200, 203), *range(300, 303)))
    assert calls(database) == every
    exact = "SELECT CAST(created_time AS CHAR) FROM call_event_logs WHERE call_id = 'call-100'"
    assert "." not in database.query(exact)[0][0]

    await adopt(database.url)

    assert calls(database) == every
    assert database.query("SELECT m.old_id, m.id FROM ingest_adopted_ids AS m ORDER BY m.old_id")[: len(ids)] == ids
    assert not database.query(exact)[0][0].endswith(".000000")  # the service's own row was kept, not the original's
    assert messages(database) == []


async def test_odd_rows_are_kept_and_repaired(mysql: MySQLServer) -> None:
    database = MySQL(mysql)
    original = Original(database, payload="LONGTEXT")
    original.add_rows([(event(1), "'2026-01-02 03:04:05'"), (event(2), "NULL"), (event(3), "'2019-01-01'")])
    for column, value in (("call_id", "NULL"), ("payload", "'a:1:{not JSON'"), ("payload", "NULL")):
        original.add_rows([(event(4), "'2026-01-02 03:04:06'")])
        database.query(f"UPDATE call_event_logs SET {column} = {value} ORDER BY id DESC LIMIT 1")
    database.query(
        "SET STATEMENT sql_mode = '' FOR INSERT INTO call_event_logs (call_id, event_type, payload, created_time) "
        "VALUES ('z', 'call_ended', '{}', '0000-00-00')"
        if mysql.query("SELECT VERSION() LIKE '%MariaDB%'")[0][0]
        else "INSERT /*+ SET_VAR(sql_mode = '') */ INTO call_event_logs (call_id, event_type, payload, created_time) "
        "VALUES ('z', 'call_ended', '{}', '0000-00-00')"
    )
    await database.migrate()

    said = await adopt(database.url)

    assert "7 rows copied to call_event_logs; 2 had no time" in said[0]
    assert "2 had a payload that is no JSON" in said[0]
    rows = database.query(MAPPED)
    assert [row[2] for row in rows] == ["call-1", "call-2", "call-3", "call-4", "call-4", "call-4", "z"]
    assert [json.loads(row[4]) for row in rows[4:]] == ["a:1:{not JSON", None, {}]
    assert [row[5][:19] for row in rows[:3]] == ["2026-01-02 03:04:05", "2026-01-02 03:04:05", "2019-01-01 00:00:00"]
    assert rows[6][5] == rows[5][5]


async def test_job_that_a_worker_of_laravel_has_stays_until_its_time_is_over(original: Original) -> None:
    database = original.database
    await database.migrate()
    database.query("UPDATE jobs SET reserved_at = UNIX_TIMESTAMP() ORDER BY id LIMIT 2")
    database.query("UPDATE jobs SET reserved_at = UNIX_TIMESTAMP() - 91 WHERE reserved_at IS NULL ORDER BY id LIMIT 1")

    with pytest.raises(StoreError, match=r"2 jobs are left in jobs\. A worker of Laravel has 2 of them"):
        await adopt(database.url)

    assert len(messages(database)) == len(PENDING) - 2
    await adopt(database.url, options=Options(reserved_seconds=0, still_seconds=0.0))
    check_adopted(database)


async def test_job_that_cannot_be_read_stays_and_is_named(original: Original) -> None:
    database = original.database
    await database.migrate()
    original.add_jobs([queued({"a": php(1)}), queued({"log": model(9999)})])

    with pytest.raises(StoreError, match="2 jobs are left in jobs"):
        await adopt(database.url)

    assert len(messages(database)) == len(PENDING)


async def test_event_whose_row_is_gone_is_sent_under_an_id_of_its_own(original: Original) -> None:
    database = original.database
    await database.migrate()
    database.query("DELETE FROM call_event_logs WHERE id = 16")  # the first with a job

    said = await adopt(database.url)

    assert "1 of them have ids of their own" in said[2]
    assert sorted(body["duration"] for _, body in messages(database)) == list(PENDING)
    assert database.query("SELECT COUNT(*) FROM call_event_logs") == [(ROWS - 1,)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("DROP payload", "has no column payload; its columns are id, call_id, event_type, created_time, note"),
        ("MODIFY id BIGINT UNSIGNED NOT NULL", "its id is no AUTO_INCREMENT primary key"),
        ("MODIFY created_time VARCHAR(20) NULL", r"its column created_time is varchar\(20\)"),
    ],
)
async def test_foreign_table_is_refused_with_its_columns(original: Original, change: str, reason: str) -> None:
    database = original.database
    database.query(f"ALTER TABLE call_event_logs {change}")
    tables = database.query("SHOW TABLES")

    with pytest.raises(StoreError, match=f"call_event_logs is not the original's table.*{reason}"):
        await adopt(database.url)

    assert database.query("SHOW TABLES") == tables


async def test_foreign_table_of_jobs_is_left_alone(original: Original) -> None:
    database = original.database
    await database.migrate()
    database.query("ALTER TABLE jobs DROP attempts")

    async with connected(database.url) as connection:
        said = await lines(Adoption(connection, OPTIONS, unix_us, lambda *_: None).plan())
    await adopt(database.url)

    assert "jobs is not Laravel's table, and is left alone: it has no column attempts" in said[2]
    assert database.query("SELECT COUNT(*) FROM jobs") == [(len(PENDING) + 1,)]


async def test_two_tables_of_the_original_are_refused(original: Original) -> None:
    original.database.query(
        EVENTS_TABLE.format(payload="JSON").replace("TABLE call_event_logs", "TABLE call_event_logs_laravel")
    )

    with pytest.raises(StoreError, match="Both call_event_logs and call_event_logs_laravel are the original's"):
        await adopt(original.database.url)


async def test_rows_of_the_future_are_refused_until_their_zone_is_given(original: Original) -> None:
    database = original.database
    await database.migrate()
    database.query("UPDATE call_event_logs SET created_time = created_time + INTERVAL 4 HOUR")

    with pytest.raises(StoreError, match="give the zone of created_time, such as --zone Asia/Baku"):
        await adopt(database.url)

    baku = Options(zone=timezone(timedelta(hours=4)), still_seconds=0.0)
    await adopt(database.url, options=baku)
    (ahead,) = database.query("SELECT TIMESTAMPDIFF(SECOND, UTC_TIMESTAMP(), MAX(created_time)) FROM call_event_logs")
    assert ahead[0] <= 0


async def test_tables_are_not_exchanged_while_somebody_stores_events(original: Original) -> None:
    database = original.database
    await database.migrate()

    async def write() -> None:
        while True:
            await asyncio.to_thread(original.add_rows, [(event(1), "NOW()")])

    writing = asyncio.create_task(write())
    with pytest.raises(StoreError, match="Another program still stores events in call_event_logs"):
        await adopt(database.url, options=Options())
    writing.cancel()
    with suppress(asyncio.CancelledError):
        await writing

    assert database.query("SHOW TABLES LIKE 'call_event_logs%'") == [("call_event_logs",)]


async def test_way_back_waits_for_unpublished_messages(original: Original) -> None:
    await original.database.migrate()
    await adopt(original.database.url)

    with pytest.raises(StoreError, match=r"The outbox still has \d+ entries"):
        await go_back(original.database.url)

    assert original.database.query("SHOW TABLES LIKE 'call_event_logs_ingest'") == []


async def test_event_type_that_the_original_refuses_is_named_and_kept(original: Original) -> None:
    database = original.database
    await database.migrate()
    await adopt(database.url)
    database.query("DELETE FROM ingest_outbox")
    await store(database, range(100, 101))
    database.query("UPDATE call_event_logs SET event_type = 'call_held' WHERE call_id = 'call-100'")

    with pytest.raises(StoreError, match=r"refuses an event from .*Widen the column"):
        await go_back(database.url)

    assert len(calls(database)) == ROWS + 1


async def test_unfinished_adoption_is_reported(original: Original) -> None:
    database = original.database
    await database.migrate()

    with pytest.raises(Killed):
        await adopt(database.url, reached=_raise_at("copied"))

    report = await migrate.examine(Servers.parse(database.url), TIMEOUT_SECONDS)
    assert "`ingest adopt --run` copies the rest" in report.unfinished[0]
    assert report.stops == ()


def _raise_at(wanted: str) -> Callable[[str], None]:
    def reached(step: str) -> None:
        if step == wanted:
            raise Killed

    return reached


def _kill_at(wanted: str) -> Callable[[str], None]:
    def reached(step: str) -> None:
        if step == wanted:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


if __name__ == "__main__":
    database_url, at = sys.argv[1:]
    asyncio.run((adopt if at in STEPS else go_back)(database_url, reached=_kill_at(at)))
