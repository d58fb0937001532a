"""Differences in tables of other makers, on real servers. `migrate`, `doctor` and the start name them."""

import pytest

from ingest.errors import SchemaError
from ingest.store.mysql import migrate
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.schema import Report
from tests.conftest import StartService
from tests.contract.store.stores import TIMEOUT_SECONDS, MySQL, opened
from tests.running import EVENT
from tests.services import MySQLServer, wait_until
from tests.unit.making import batch, event

SECONDS = 60.0
OF_LARAVEL = """CREATE TABLE call_event_logs (
    id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
    call_id VARCHAR(255) COLLATE utf8mb4_unicode_ci NOT NULL,
    event_type ENUM('call_started', 'call_ended') COLLATE utf8mb4_unicode_ci NOT NULL,
    payload JSON NOT NULL,
    created_time TIMESTAMP NULL
) ENGINE = InnoDB DEFAULT CHARSET = utf8mb4 COLLATE = utf8mb4_unicode_ci"""
LARAVELS_ROW = (
    "INSERT INTO call_event_logs (call_id, event_type, payload, created_time) VALUES ('a', 'call_ended', '{}', NOW())"
)
BIN = "CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
KEY = "ALTER TABLE call_event_logs ADD KEY call_event_logs_call_id (call_id)"


async def report_of(database: MySQL) -> Report:
    return await migrate.examine(Servers.parse(database.url), TIMEOUT_SECONDS)


@pytest.fixture
async def database(mysql: MySQLServer) -> MySQL:
    made = MySQL(mysql)
    await made.migrate()
    return made


async def test_tables_as_migrated_differ_in_nothing(database: MySQL) -> None:
    assert await report_of(database) == Report()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP COLUMN payload", "payload is missing"),
        ("MODIFY id INT NOT NULL", "id is int"),
        (
            "MODIFY call_id VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
            "is varchar(64), and must be",
        ),
        ("MODIFY call_id VARCHAR(255) CHARACTER SET latin1 NOT NULL", "lacks some characters"),
        ("MODIFY event_type ENUM('a', 'b') NOT NULL", "event_type is enum('a','b'), and must be varchar(64)"),
        ("MODIFY payload TEXT NOT NULL", "payload is text, and must be json"),
        ("MODIFY created_time DATETIME NOT NULL", "created_time is datetime, and must be datetime(6)"),
        ("MODIFY created_time TIMESTAMP(6) NOT NULL", "SET time_zone = '+00:00'; ALTER TABLE call_event_logs MODIFY"),
        ("DROP PRIMARY KEY", "ADD PRIMARY KEY (id)"),
        ("DROP KEY call_event_logs_call_id, ENGINE = MyISAM", "ALTER TABLE call_event_logs ENGINE = InnoDB"),
        ("ADD owner INT NOT NULL", "MODIFY owner int"),
        ("ADD UNIQUE KEY once (call_id, event_type)", "DROP INDEX once"),
        ("ADD CONSTRAINT known CHECK (event_type IN ('a', 'b'))", "DROP CONSTRAINT known"),
    ],
)
async def test_what_would_lose_or_refuse_events_stops_commits(database: MySQL, change: str, said: str) -> None:
    database.query(f"ALTER TABLE call_event_logs {change}")

    report = await report_of(database)

    assert said in " ".join(report.stops)
    async with opened(database.store()) as (store,):
        for act in (store.ping(), store.commit(batch([event("call-1")]), lease_seconds=30, settled=())):
            with pytest.raises(SchemaError, match="The tables are not those this version needs"):
                await act
    assert database.query("SELECT COUNT(*) FROM ingest_outbox") == [(0,)]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("DROP KEY call_event_logs_call_id", KEY),
        ("MODIFY call_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_unicode_ci NOT NULL", "utf8mb4_unicode_ci"),
        (f"MODIFY call_id VARCHAR(500) {BIN} NOT NULL", "wider than varchar(255)"),
        ("MODIFY payload JSON NULL", "payload takes NULL"),
        ("MODIFY id BIGINT NOT NULL AUTO_INCREMENT", "id is AUTO_INCREMENT"),
        ("MODIFY id BIGINT UNSIGNED NOT NULL", "id is bigint"),
        ("ROW_FORMAT = COMPRESSED", "ROW_FORMAT = DYNAMIC"),
        ("ADD seconds BIGINT AS (id DIV 1000) VIRTUAL", "seconds is computed"),
        ("PARTITION BY HASH (id) PARTITIONS 2", "partitioned by HASH"),
        ("DROP PRIMARY KEY, ADD PRIMARY KEY (id, created_time)", "is (id, created_time), and must be (id)"),
        ("ADD note VARCHAR(9) NULL, ADD KEY mine (created_time), ADD score INT NOT NULL DEFAULT 0", ""),
    ],
)
async def test_difference_that_only_costs_is_reported_and_events_are_stored(
    database: MySQL, change: str, said: str
) -> None:
    database.query(f"ALTER TABLE call_event_logs {change}")

    report = await report_of(database)

    assert (report.stops, report.unfinished) == ((), ())
    assert said in " ".join(report.costs) if said else report.costs == ()
    async with opened(database.store()) as (store,):
        await store.ping()
        await store.commit(batch([event("call-1")]), lease_seconds=30, settled=())
    assert database.query("SELECT call_id FROM call_event_logs") == [("call-1",)]


async def test_proposed_statements_repair_the_difference(database: MySQL) -> None:
    changes = (
        "MODIFY event_type ENUM('a', 'b') NOT NULL",
        "MODIFY created_time TIMESTAMP(0) NULL",
        "MODIFY id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT",
        "DROP KEY call_event_logs_call_id",
        "ADD UNIQUE KEY once (event_type)",
        "ENGINE = MyISAM",
    )
    for change in changes:
        database.query(f"ALTER TABLE call_event_logs {change}")
    report = await report_of(database)

    for text in (text for text in [*report.stops, *report.costs] if "ALTER TABLE" in text):
        for statement in text[text.index("ALTER TABLE") :].rstrip(".;").split("; "):
            database.query(statement)

    assert await report_of(database) == Report()


async def test_tables_of_the_service_are_compared_too(database: MySQL) -> None:
    database.query("ALTER TABLE ingest_outbox MODIFY batch BLOB NOT NULL, ALTER attempts DROP DEFAULT")
    database.query("ALTER TABLE ingest_keys ENGINE = MyISAM")
    database.query("DROP TABLE ingest_tokens")

    said = " ".join((await report_of(database)).stops)

    for text in ("ingest_outbox.batch is blob", "ingest_outbox.attempts has no default", "ingest_tokens is missing"):
        assert text in said
    assert "ingest_keys has engine MyISAM" in said


async def test_table_that_is_missing_though_it_was_noted_as_made_is_made(database: MySQL) -> None:
    database.query("RENAME TABLE call_event_logs TO call_event_logs_before")
    assert "call_event_logs is missing" in " ".join((await report_of(database)).stops)

    await database.migrate()

    assert await report_of(database) == Report()


async def test_triggers_and_foreign_keys_are_reported(database: MySQL) -> None:
    database.query("CREATE TRIGGER mine BEFORE INSERT ON call_event_logs FOR EACH ROW SET NEW.call_id = NEW.call_id")
    database.query("CREATE TABLE notes (event_id BIGINT, FOREIGN KEY (event_id) REFERENCES call_event_logs (id))")
    report = await report_of(database)
    assert "trigger mine" in " ".join(report.costs)
    assert "cannot be partitioned" in " ".join(report.costs)

    database.query("CREATE TABLE calls (call_id VARCHAR(255) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PRIMARY KEY)")
    database.query(
        "ALTER TABLE call_event_logs ADD CONSTRAINT of_call FOREIGN KEY (call_id) REFERENCES calls (call_id)"
    )
    assert "DROP FOREIGN KEY of_call" in " ".join((await report_of(database)).stops)


async def test_ids_that_tell_no_time_stop_commits(database: MySQL) -> None:
    row = "INSERT INTO call_event_logs VALUES ({}, 'a', 'b', '{{}}', UTC_TIMESTAMP(6))"
    database.query(row.format(7))

    assert "id 7 is of 2025-01-01T00:00:00Z" in (await report_of(database)).stops[0]

    async with opened(database.store()) as (store,):
        database.query("DELETE FROM call_event_logs")
        await store.commit(batch([event("call-1")]), lease_seconds=30, settled=())
    database.query(row.format(7))  # among rows of the service, as an earlier version allowed
    report = await report_of(database)
    assert report.stops == ()
    assert "Ids and created_time disagree" in report.costs[0]


def test_laravels_table_is_refused_at_migrate_doctor_and_start_until_it_is_kept_apart(
    mysql: MySQLServer, full_settings: dict[str, str], start_service: StartService
) -> None:
    name = full_settings["DATABASE_URL"].rpartition("/")[2]
    mysql.query(OF_LARAVEL, name)
    mysql.query(LARAVELS_ROW, name)

    service = start_service(WORKERS="1")  # it runs `migrate`, and takes events

    migrated = service.command("migrate", check=False)
    assert migrated.returncode == 1
    for said in ("Ids and created_time disagree", "enum(", "created_time is timestamp", "RENAME TABLE"):
        assert said in migrated.stderr
    examined = service.command("doctor", check=False)
    assert "FAIL  schema: The tables are not those this version needs" in examined.stdout
    assert service.post(EVENT)[0] == 200
    assert wait_until(lambda: "Ids and created_time disagree" in service.request("GET", "/readyz")[1].decode(), SECONDS)
    assert mysql.query("SELECT COUNT(*) FROM call_event_logs", name) == [(1,)]

    mysql.query("RENAME TABLE call_event_logs TO call_event_logs_before", name)
    service.command("migrate")
    assert wait_until(
        lambda: mysql.query("SELECT call_id FROM call_event_logs", name) == [(EVENT["call_id"],)], SECONDS
    )
    service.wait_for_status("ready", seconds=SECONDS)
