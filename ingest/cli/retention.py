"""The command `ingest retention`; what it decides is in `ingest.retention.partitions`."""

import asyncio
import os
import sys
from typing import TYPE_CHECKING

import click

from ingest.errors import SettingsError, StoreError
from ingest.settings import Settings, read_settings

if TYPE_CHECKING:
    from ingest.retention.run import Retention
    from ingest.store.mysql.partitioning.partitions import PartitionedTable

LOCK_SECONDS = 10
BUSY = "Somebody else is changing the partitions of call_event_logs: nothing was done. Try again when that has ended."


@click.command(short_help="Keep the last days of call_event_logs, and drop older ones.")
@click.option("--days", type=click.IntRange(min=1), help="Keep this many days, including the last; drop older ones.")
@click.option("--bytes-max", type=click.IntRange(min=1), help="Drop the oldest days while the table is larger.")
@click.option("--convert", is_flag=True, help="Partition a table that is not yet; events are stored meanwhile.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def retention(days: int | None, bytes_max: int | None, convert: bool, dry_run: bool) -> None:
    """Manage call_event_logs by days (UTC): make partitions ahead, drop old ones, and list what is there.

    A service with INGEST_RETENTION_DAYS does the same by itself; for one without, run it daily: `ingest retention
    --days 30`. The last day is today by the database's clock, or the day of the newest event if that is earlier. A day
    with an event that is not published, or is a dead letter, is never dropped. Dropping a partition takes a moment,
    however many rows it has.
    """
    asyncio.run(_retention(read_settings(os.environ), days, bytes_max, convert, dry_run))


async def _retention(
    settings: Settings, keep_days: int | None, bytes_max: int | None, convert: bool, dry_run: bool
) -> None:
    from ingest.clock import unix_us
    from ingest.retention.run import Retention
    from ingest.store.mysql.partitioning.partitions import PartitionedTable
    from ingest.store.mysql.pool import Servers

    if not settings.database_url.startswith("mysql:"):
        raise SettingsError("ingest retention is for MySQL and MariaDB; of a SQLite file delete rows as you like.")
    table = await PartitionedTable.open(Servers.parse(settings.database_url), settings.connect_timeout_seconds)
    try:
        if not await table.lock(LOCK_SECONDS):
            raise StoreError(BUSY)
        if convert:
            await _convert(table)
        run = Retention(table, keep_days, bytes_max, unix_us)
        await (_tell(run) if dry_run else _apply(run))
        await _list(table)
    finally:
        await table.close()


async def _convert(table: "PartitionedTable") -> None:
    from ingest.clock import unix_us
    from ingest.store.mysql.partitioning.conversion import Conversion

    with click.progressbar(length=0, label="rows", file=sys.stderr) as bar:

        def told(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        moved = await Conversion(table.connection, unix_us, told).run()
    click.echo(f"call_event_logs is partitioned by days; {moved} rows were moved")


async def _apply(run: "Retention") -> None:
    from ingest.retention.partitions import name_of

    for day in await run.create():
        click.echo(f"{name_of(day)} made")
    async for partition in run.drop():
        click.echo(f"{partition.name} dropped, about {partition.rows} rows, {partition.bytes} bytes")
    for partition in (await run.plan()).kept:
        click.echo(_kept(partition.name))


async def _tell(run: "Retention") -> None:
    from ingest.retention.partitions import name_of

    to_do = await run.plan()
    for day in to_do.create:
        click.echo(f"{name_of(day)} would be made")
    for partition in to_do.drop:
        click.echo(f"{partition.name} would be dropped, about {partition.rows} rows, {partition.bytes} bytes")
    for partition in to_do.kept:
        click.echo(_kept(partition.name))


async def _list(table: "PartitionedTable") -> None:
    from ingest.store.mysql.partitioning.unfinished import unfinished

    for partition in (await table.facts()).partitions:
        click.echo(f"{partition.name}  about {partition.rows} rows, {partition.bytes} bytes")
    for sentence in await unfinished(table.connection):
        click.echo(sentence)


def _kept(name: str) -> str:
    return f"{name} is kept: it has events that are not published; see the backlog and `ingest dead ls`"
