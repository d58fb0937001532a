"""`ingest adopt` on real servers: rows, jobs, odd rows, foreign tables, and the way back and there again."""

import asyncio
import json
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import timedelta, timezone

import pytest

from ingest.clock import unix_us
from ingest.errors import StoreError
from ingest.store.mysql import migrate
from ingest.store.mysql.laravel.adoption import Adoption
from ingest.store.mysql.laravel.options import Options
from ingest.store.mysql.partitioning.erasing import MySQLErasable
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.schema import Report
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL
from tests.migration.laravel_tables import EVENTS_TABLE, Original, model, php, queued
from tests.migration.moving import (
    MAPPED,
    OPTIONS,
    PENDING,
    ROWS,
    SLOT,
    Killed,
    adopt,
    calls,
    check_adopted,
    connected,
    event,
    fill,
    go_back,
    lines,
    messages,
    store,
)
from tests.services import MySQLServer
from tests.unit.making import batch


@pytest.fixture
def original(mysql: MySQLServer) -> Original:
    made = Original(MySQL(mysql))
    fill(made)
    return made


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
    with closing(database.session()) as lenient:
        lenient.query("SET sql_mode = ''")
        lenient.query(
            "INSERT INTO call_event_logs (call_id, event_type, payload, created_time) "
            "VALUES ('z', 'call_ended', '{}', '0000-00-00')"
        )
        lenient.commit()
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
        await adopt(database.url, options=Options(still_seconds=4.0))  # a busy machine may stop the writer
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


async def test_erased_events_leave_the_table_aside_too(original: Original) -> None:
    database = original.database
    await database.migrate()
    await adopt(database.url)
    erased, oldest = (row[0] for row in database.query("SELECT id FROM call_event_logs ORDER BY id DESC LIMIT 2"))
    erasable = await MySQLErasable.open(Servers.parse(database.url), TIMEOUT_SECONDS)

    found = await erasable.check()
    await erasable.erase([erased], batch(us=unix_us()))

    assert found == []
    aside = {
        row[0]
        for row in database.query(
            "SELECT m.id FROM ingest_adopted_ids AS m JOIN call_event_logs_laravel AS old ON old.id = m.old_id"
        )
    }
    assert erased not in aside
    assert oldest in aside
    database.query(f"DELETE FROM call_event_logs WHERE id <> {oldest}")
    (problem,) = await erasable.check()
    assert problem.startswith("call_event_logs_laravel also holds events")
    await erasable.close()
