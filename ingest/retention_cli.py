"""The command `ingest retention`; what it decides is in `ingest.retention`."""

import asyncio
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from ingest.errors import SettingsError
from ingest.settings import Settings, read_settings

if TYPE_CHECKING:
    from ingest.store.mysql_partitions import PartitionedTable

UNPARTITIONED = "call_event_logs has no partitions: `ingest retention --convert` makes them, while events are stored."


@click.command(short_help="Keep the last days of call_event_logs, and drop older ones.")
@click.option("--days", type=click.IntRange(min=1), help="Drop days before the last so many, of which today is one.")
@click.option("--bytes-max", type=click.IntRange(min=1), help="Drop the oldest days while the table is larger.")
@click.option("--convert", is_flag=True, help="Partition a table that is not yet; events are stored meanwhile.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
def retention(days: int | None, bytes_max: int | None, convert: bool, dry_run: bool) -> None:
    """Manage call_event_logs by days (UTC): make partitions ahead, drop old ones, and list what is there.

    Run it daily: `ingest retention --days 30`. A day with an event that is not published, or is a dead letter, is never
    dropped. Dropping a partition takes a moment, however many rows it has.
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
        if convert:
            await _convert(table)
        elif not await table.partitions():
            raise SettingsError(UNPARTITIONED)
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
    from ingest.retention import name_of, plan

    today = datetime.now(UTC).date()
    partitions = await table.partitions()
    planned = plan(partitions, today, await table.oldest_needed(), keep_days, bytes_max)
    would = "would be " if dry_run else ""
    if not dry_run:
        await table.create(planned.create)
        for partition in planned.drop:
            await table.drop(partition)
    for day in planned.create:
        say(f"{name_of(day)} {would}made")
    for partition in planned.drop:
        say(f"{partition.name} {would}dropped, about {partition.rows} rows, {partition.bytes} bytes")
    for partition in planned.kept:
        say(f"{partition.name} is kept: it has events that are not published; see the backlog and `ingest dead ls`")
    for partition in partitions if dry_run else await table.partitions():
        say(f"{partition.name}  about {partition.rows} rows, {partition.bytes} bytes")
