"""Checks of the database."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import cast

from ingest.broker.target_record import explain_difference, live_nodes, same_target, target_of, target_text
from ingest.cli.doctor.commit_check import commit_checks
from ingest.cli.doctor.finding import Check
from ingest.cli.doctor.hints import database_hint
from ingest.cli.doctor.retention_check import check_retention
from ingest.cli.doctor.sqlite_check import try_sqlite
from ingest.errors import SchemaError, SettingsError, StoreError
from ingest.server.factories.store import make_store
from ingest.settings import Settings, mask_url
from ingest.sqlite import file_of
from ingest.store.base import Store
from ingest.store.mysql.migrate import examine
from ingest.store.mysql.pool import Servers
from ingest.store.mysql.schema import Report
from ingest.store.mysql.store import MySQLStore

DURABILITY = b"SELECT @@innodb_flush_log_at_trx_commit"


def database_checks(settings: Settings) -> Mapping[str, Check]:
    checks: dict[str, Check] = {"database": _database, "schema": _schema}
    if settings.database_url.startswith("mysql:"):
        checks |= {"durability": _durability, **commit_checks(), "clock": _clock, "cluster": _cluster}
        if settings.retention_days or settings.retention_bytes_max:
            checks["retention"] = check_retention
    else:
        checks["commit"] = try_sqlite
    return checks


@asynccontextmanager
async def _store(settings: Settings) -> AsyncIterator[Store]:
    store = make_store(settings, read_only=True)
    try:
        yield store
    finally:
        await store.close()


async def _database(settings: Settings) -> str:
    file = file_of(settings.database_url)
    if file and not file.exists():
        return f"{mask_url(settings.database_url)} is not there yet; `ingest migrate` creates it"
    try:
        async with _store(settings) as store:
            await store.ping()
    except SchemaError:
        pass  # the database answered; the next check reports the schema
    except StoreError as exc:
        hint = database_hint(str(exc), settings.database_url)
        raise StoreError(
            f"{exc} Check INGEST_DATABASE_URL ({mask_url(settings.database_url)}) and the server. {hint}".rstrip()
        ) from exc
    return f"{mask_url(settings.database_url)} answers"


async def _schema(settings: Settings) -> str:
    try:
        if settings.database_url.startswith("mysql:"):
            report = await examine(Servers.parse(settings.database_url), settings.connect_timeout_seconds)
        else:
            async with _store(settings) as store:
                await store.ping()
            report = Report()
    except SchemaError as exc:
        if not exc.unmigrated:
            raise
        raise SchemaError("The tables are missing or old: run `ingest migrate`.") from exc
    report.raise_for_stops()
    if report.unfinished:
        raise SchemaError(" ".join(report.unfinished))
    return " ".join(["up to date, but:", *report.costs]) if report.costs else "up to date"


async def _durability(settings: Settings) -> str:
    connection = await Servers.parse(settings.database_url).connect(settings.connect_timeout_seconds)
    try:
        value = (await connection.run(DURABILITY))[0][0]
    finally:
        await connection.end()
    if value != 1:
        raise StoreError(
            f"innodb_flush_log_at_trx_commit is {value}: a crash of the server loses acknowledged events. Set it to 1."
        )
    return "each commit is flushed"


async def _clock(settings: Settings) -> str:
    async with _store(settings) as store:
        with suppress(SchemaError):  # reported by the check of the schema
            await store.ping()
        if problem := cast(MySQLStore, store).clocks.problem():
            raise StoreError(f"{problem[0].upper()}{problem[1:]}.")
    return "the clocks of this host and the database agree"


async def _cluster(settings: Settings) -> str:
    target = target_of(settings)
    try:
        async with _store(settings) as store:
            record = await cast(MySQLStore, store).record()
    except SchemaError:
        return "not checked: the tables are missing or old"
    if record.shared is None:
        return "no node has started yet"
    if same_target(target, record.shared):
        return f"all nodes agreed to publish to this: {target_text(target)}"
    nodes = live_nodes(record, record.shared)
    raise SettingsError(explain_difference(target, record.shared, f"live nodes with it: {', '.join(nodes) or 'none'}"))
