"""The command `ingest adopt`."""

import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, tzinfo
from urllib.parse import urlsplit, urlunsplit

import click

from ingest.audit.operator import operator
from ingest.audit.trail import AuditTrail
from ingest.cli.shell.output import say, show
from ingest.cli.shell.targets import using
from ingest.clock import unix_us
from ingest.errors import SettingsError, StoreError
from ingest.events.local_times import zone_named
from ingest.interrupts import run_main
from ingest.server.factories.mysql import make_mysql_store
from ingest.settings import Settings
from ingest.store.mysql.connection import Connection
from ingest.store.mysql.laravel.adoption import Adoption
from ingest.store.mysql.laravel.options import JOB, RESERVED_SECONDS, Options
from ingest.store.mysql.laravel.swap import Swap
from ingest.store.mysql.laravel.tables import look
from ingest.store.mysql.laravel.way_back import DATABASE, WayBack
from ingest.store.mysql.migrate import migrate
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.partitioning.unfinished import check_whole
from ingest.store.mysql.pool import Servers
from ingest.telemetry.connection_metrics import NO_OBSERVER

LOCK_SECONDS = 10
RESERVED_SECONDS_MAX = 86_400
CLASS = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")
BUSY = "Another adoption, or a change of the partitions of call_event_logs, runs. Nothing was done; try again later."
NO_MYSQL = "`ingest adopt` needs MySQL or MariaDB: INGEST_DATABASE_URL names the original's database."


class ZoneType(click.ParamType[tzinfo]):
    name = "zone"

    def convert(self, value: str | tzinfo, param: click.Parameter | None, ctx: click.Context | None) -> tzinfo:
        if isinstance(value, tzinfo):
            return value
        try:
            return zone_named(value) or UTC
        except ValueError as exc:
            self.fail(f"{exc}.", param, ctx)


class NameType(click.ParamType[str]):
    """A text that matches a pattern, as it becomes a part of statements."""

    def __init__(self, name: str, pattern: "re.Pattern[str]") -> None:
        self.name = name
        self._pattern = pattern

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not self._pattern.fullmatch(value):
            self.fail(f"{value!r} is no {self.name}.", param, ctx)
        return value


@click.command()
@click.option("--run", "act", is_flag=True, help="Do it. Otherwise the command prints what it would do.")
@click.option("--prepare", is_flag=True, help="Make this service's tables beside the original's, so that it can start.")
@click.option("--back", is_flag=True, help="The way back: the original's table with all events takes its place again.")
@click.option(
    "--from",
    "database",
    type=NameType("name of a database", DATABASE),
    metavar="DATABASE",
    help="With --back: copy the events of this database on the same server, where the service took them meanwhile.",
)
@click.option("--zone", type=ZoneType(), default="UTC", metavar="ZONE", help="Zone of created_time, such as Asia/Baku.")
@click.option(
    "--job",
    type=NameType("class", CLASS),
    default=JOB,
    show_default=True,
    metavar="CLASS",
    help="Class of the jobs that publish events, without its namespace.",
)
@click.option(
    "--reserved-seconds",
    type=click.IntRange(0, RESERVED_SECONDS_MAX),
    default=RESERVED_SECONDS,
    show_default=True,
    help="Laravel's retry_after: a job that a worker reserved earlier than that is taken.",
)
@using("database")
def adopt(
    settings: Settings,
    act: bool,
    prepare: bool,
    back: bool,
    database: str | None,
    zone: tzinfo,
    job: str,
    reserved_seconds: int,
) -> None:
    """Move over from the Laravel original, or back. docs/migrate-from-laravel.md has every step.

    The original's call_event_logs is put aside as call_event_logs_laravel, and nothing in it is changed. Its rows are
    copied under ids made of their created_time, while the service takes events. ingest_adopted_ids keeps the original's
    id of each row. Unsent jobs go to the outbox, and failed jobs become dead letters. An interrupted command may be run
    again, as often as you like. Nothing is changed unless you give --run or --prepare.
    """
    if database and not back:
        raise SettingsError("--from needs --back.")
    if prepare and act:
        raise SettingsError("--prepare and --run exclude each other: --run prepares first.")
    if prepare and back and not database:
        raise SettingsError("--back --prepare needs --from: the database that takes events meanwhile.")
    if not settings.database_url.startswith("mysql:"):
        raise SettingsError(NO_MYSQL)
    options = Options(zone, job, reserved_seconds)
    if prepare and database:
        run_main(_prepare_meanwhile(settings, database, options))
        return
    run_main(_back(settings, act, database, options) if back else _adopt(settings, act, prepare, options))


async def _adopt(settings: Settings, act: bool, prepare: bool, options: Options) -> None:
    async with _locked(settings) as connection:
        if act or prepare:
            await _prepare(settings, connection, options)
        if act:
            await _record(settings, {"job": options.job, "zone": str(options.zone)})
        adoption = Adoption(connection, options, unix_us, _show_progress)
        await _say_all(adoption.run() if act else adoption.plan(), act)


async def _back(settings: Settings, act: bool, database: str | None, options: Options) -> None:
    async with _locked(settings) as connection:
        way = WayBack(connection, options, database, _show_progress)
        if act:
            await _record(settings, {"back": True, "from": database})
        await _say_all(way.run() if act else way.plan(), act)


async def _prepare(settings: Settings, connection: Connection, options: Options) -> None:
    """Bring this service's own tables to this version. The original's table stays as it is."""
    tables = await look(connection)
    if tables.events is None and tables.original is not None:
        # Otherwise the migration would make an empty table in its place.
        await Swap(connection, options.still_seconds).forward(tables)
    for name in await migrate(Servers.parse(settings.database_url), settings.connect_timeout_seconds):
        say(f"applied {name}")


async def _record(settings: Settings, details: Mapping[str, object]) -> None:
    """Write the run to the audit trail. Raises `StoreError`: then nothing is moved."""
    store = make_mysql_store(settings, NO_OBSERVER)
    try:
        await AuditTrail(store, unix_us).record(operator(), "events.adopt", details)
    finally:
        await store.close()


async def _prepare_meanwhile(settings: Settings, database: str, options: Options) -> None:
    """Make a database in which another process of the service takes events while the tables are exchanged."""
    async with _locked(settings) as connection:
        way = WayBack(connection, options, database, _show_progress)
        await way.make_database()
        url = urlunsplit(urlsplit(settings.database_url)._replace(path=f"/{database}"))
        for name in await migrate(Servers.parse(url), settings.connect_timeout_seconds):
            say(f"applied {name} in {database}")
        await way.keep_ids_apart()
    say(f"{database} is ready: start the service with it in INGEST_DATABASE_URL, and a data folder of its own")


@asynccontextmanager
async def _locked(settings: Settings) -> AsyncIterator[Connection]:
    """A connection that no other change of `call_event_logs` has now. Raises `StoreError`."""
    table = await PartitionedTable.open(Servers.parse(settings.database_url), settings.connect_timeout_seconds)
    try:
        if not await table.lock(LOCK_SECONDS):
            raise StoreError(BUSY)
        await check_whole(table.connection)
        yield table.connection
    finally:
        await table.close()


async def _say_all(lines: AsyncIterator[str], act: bool) -> None:
    async for line in lines:
        say(line)
    if not act:
        say("--run does this. No row and no job was changed.")


def _show_progress(done: int, total: int) -> None:
    if sys.stderr.isatty():
        show(f"{done} of {total} rows")
