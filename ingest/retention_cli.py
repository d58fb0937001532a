"""The command `ingest retention`; what it decides is in `ingest.retention`."""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ingest.errors import SettingsError, StoreError
from ingest.settings import Settings, read_settings

if TYPE_CHECKING:
    from ingest.store.mysql_partitions import PartitionedTable

LOCK_SECONDS = 10
BUSY = "Somebody else is changing the partitions of call_event_logs: nothing was done. Try again when that has ended."


@click.command(short_help="Keep the last days of call_event_logs, and drop older ones.")
@click.option("--days", type=click.IntRange(min=1), help="Drop days before the last so many, of which today is one.")
@click.option("--bytes-max", type=click.IntRange(min=1), help="Drop the oldest days while the table is larger.")
@click.option("--convert", is_flag=True, help="Partition a table that is not yet; events are stored meanwhile.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def retention(days: int | None, bytes_max: int | None, convert: bool, dry_run: bool) -> None:
    """Manage call_event_logs by days (UTC): make partitions ahead, drop old ones, and list what is there.

    A service with INGEST_RETENTION_DAYS does the same by itself; for one without, run it daily: `ingest retention
    --days 30`. A day with an event that is not published, or is a dead letter, is never dropped. Dropping a partition
    takes a moment, however many rows it has.
    """
    asyncio.run(_retention(read_settings(os.environ), days, bytes_max, convert, dry_run))


async def _retention(
    settings: Settings, keep_days: int | None, bytes_max: int | None, convert: bool, dry_run: bool
) -> None:
    from ingest.store.mysql_partitions import PartitionedTable
    from ingest.store.mysql_pool import Servers

    if not settings.database_url.startswith("mysql:"):
        raise SettingsError("ingest retention is for MySQL and MariaDB; of a SQLite file delete rows as you like.")
    table = await PartitionedTable.open(Servers.parse(settings.database_url), settings.connect_timeout_seconds)
    try:
        if not await table.lock(LOCK_SECONDS):
            raise StoreError(BUSY)
        if convert:
            await _convert(table)
        await _apply(table, keep_days, bytes_max, dry_run, click.echo)
    finally:
        await table.close()


async def _convert(table: "PartitionedTable") -> None:
    with click.progressbar(length=0, label="rows", file=sys.stderr) as bar:

        def told(moved: int, total: int) -> None:
            bar.length = total
            bar.update(moved - bar.pos)

        moved = await table.convert(datetime.now(UTC).date(), told)
    click.echo(f"call_event_logs is partitioned by days; {moved} rows were moved")


async def _apply(
    table: "PartitionedTable",
    keep_days: int | None,
    bytes_max: int | None,
    dry_run: bool,
    say: Callable[[str], object],
) -> None:
    from ingest.retention import name_of, plan_for

    to_do = await plan_for(table, datetime.now(UTC).date(), keep_days, bytes_max)
    would = "would be " if dry_run else ""
    if not dry_run:
        await table.create(to_do.create)
        for partition in to_do.drop:
            await table.drop(partition)
    for day in to_do.create:
        say(f"{name_of(day)} {would}made")
    for partition in to_do.drop:
        say(f"{partition.name} {would}dropped, about {partition.rows} rows, {partition.bytes} bytes")
    for partition in to_do.kept:
        say(f"{partition.name} is kept: it has events that are not published; see the backlog and `ingest dead ls`")
    for partition in await table.partitions():
        say(f"{partition.name}  about {partition.rows} rows, {partition.bytes} bytes")
