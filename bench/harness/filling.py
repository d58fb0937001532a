"""Fills `call_event_logs` with millions of rows, as if calls had come for hours. The database server makes the rows.

The rows are the steps of `bench.harness.events`: three for each call, one millisecond apart, so that ids ascend. Call
ids are in random order, as in SIP. `fill` drops their index first and builds it again at the end. Its pages are then
as full as random inserts leave them. Updating the index for every row would take far longer once the index is larger
than the buffer pool. The rows are not written to the binary log.
"""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

import pymysql

from bench.harness.events import STEPS, step
from bench.harness.targets import BenchFailed
from ingest.events.ids import SEQUENCE_BITS, SLOT_BITS
from tests.services import MySQLServer
from tests.services.mysql import NO_TLS

FILL_SECONDS_MAX = 600
CHUNK_ROWS = 100_000
INDEX_FILL_PERCENT = 69
"""ln 2: how full the pages of a B-tree are after many random inserts (Yao, On Random 2-3 Trees, 1978)."""
INDEX_FULL_PERCENT = 100
"""InnoDB's default."""
ID_STEP = 1 << SLOT_BITS + SEQUENCE_BITS
FIRST_TIME = "2025-01-01 00:00:00"
"""The epoch of ids (`ingest.events.ids.EPOCH_MS`): all these rows are older than any row that a service adds."""

SETUP = (
    "SET SESSION sql_log_bin = 0",
    "CREATE TEMPORARY TABLE bench_numbers (n INT NOT NULL PRIMARY KEY)",
    "INSERT INTO bench_numbers VALUES " + ",".join(f"({n})" for n in range(CHUNK_ROWS)),
    "ALTER TABLE call_event_logs DROP INDEX call_event_logs_call_id",
)
INDEX = (
    f"SET GLOBAL innodb_fill_factor = {INDEX_FILL_PERCENT}",
    "ALTER TABLE call_event_logs ADD INDEX call_event_logs_call_id (call_id)",
    f"SET GLOBAL innodb_fill_factor = {INDEX_FULL_PERCENT}",
)
MARK = "MARK"
"""The statement replaces it by the call's name in each row."""


def fill(mysql: MySQLServer, database: str, rows: int, firsts: Sequence[int] = (0,)) -> float:
    """Insert `rows` rows from each of `firsts` on, and return the seconds it took.

    Each of `firsts` is a number of milliseconds, and of rows, since `FIRST_TIME`. The table must have no newer rows.
    The user must be allowed to set global variables. Raises `BenchFailed` if it takes too long.
    """
    started = time.monotonic()
    with _cursor(mysql.url_of(database)) as cursor:
        for statement in SETUP:
            cursor.execute(statement)
        for number, first in enumerate(firsts):
            for done in range(0, rows, CHUNK_ROWS):
                if time.monotonic() - started > FILL_SECONDS_MAX * len(firsts):
                    raise BenchFailed(f"only {number * rows + done:,} rows were inserted in {FILL_SECONDS_MAX} s")
                cursor.execute(insert(first + done, min(CHUNK_ROWS, rows - done)))
        for statement in INDEX:
            cursor.execute(statement)
    return time.monotonic() - started


def insert(start: int, count: int) -> str:
    """Return the statement that inserts rows `start` to `start + count` (exclusive), where `count` <= CHUNK_ROWS."""
    steps = [step(MARK, event_type) for event_type in STEPS]
    mark, kind = f"LEFT(SHA2(({start} + n) DIV 3, 256), 12)", f"({start} + n) % 3 + 1"
    payloads = ", ".join(f"'{json.dumps(fields)}'" for fields in steps)
    types = ", ".join(f"'{event_type}'" for event_type in STEPS)
    return f"""
        INSERT INTO call_event_logs (id, call_id, event_type, payload, created_time)
        SELECT ({start} + n + 1) * {ID_STEP}, REPLACE('{steps[0]["call_id"]}', '{MARK}', {mark}), ELT({kind}, {types}),
            REPLACE(ELT({kind}, {payloads}), '{MARK}', {mark}),
            TIMESTAMPADD(MICROSECOND, ({start} + n + 1) * 1000, '{FIRST_TIME}')
        FROM bench_numbers WHERE n < {count} ORDER BY n
    """


@contextmanager
def _cursor(url: str) -> "Iterator[pymysql.cursors.Cursor]":
    """Open a connection that waits for answers as long as a fill may take."""
    parts = urlsplit(url)
    login: dict[str, Any] = {"user": unquote(parts.username or ""), "password": unquote(parts.password or "")}
    connection = pymysql.connect(
        host=parts.hostname or "",
        port=parts.port or 3306,
        database=parts.path.lstrip("/"),
        autocommit=True,
        read_timeout=FILL_SECONDS_MAX,
        ssl_disabled=NO_TLS,
        **login,
    )
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()
