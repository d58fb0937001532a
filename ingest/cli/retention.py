"""The command `ingest retention`. `ingest.retention.partitions` decides which days to keep."""

import sys
from collections.abc import Iterator

import click

from ingest.cli.shell.output import say
from ingest.cli.shell.targets import using
from ingest.clock import unix_us
from ingest.errors import SettingsError, StoreError
from ingest.interrupts import run_main
from ingest.retention.archive.folder import ArchiveFolder
from ingest.retention.archive.manifest import Manifest
from ingest.retention.partitions import Plan, name_of
from ingest.retention.run import Retention
from ingest.server.factories.erasure import make_archive_folder
from ingest.server.factories.mysql import make_archiver
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings
from ingest.store.mysql.partitioning.conversion import Conversion
from ingest.store.mysql.partitioning.partitions import PartitionedTable
from ingest.store.mysql.partitioning.unfinished import unfinished
from ingest.store.mysql.pool import Servers

LOCK_SECONDS = 10
DAYS_MAX = 36_500
"""A century, which every date function can count back."""
BUSY = "Another process is changing the partitions of call_event_logs. Nothing was done; try again later."


@click.command()
@click.option("--days", type=click.IntRange(1, DAYS_MAX), help="Keep this many days, including today; drop older ones.")
@click.option("--bytes-max", type=click.IntRange(min=1), help="Drop the oldest days while the table is larger.")
@click.option("--convert", is_flag=True, help="Partition a table without partitions, while the service stores events.")
@click.option("--dry-run", is_flag=True, help="Print the changes without making them.")
@click.option("--new-archive", is_flag=True, help="Accept another folder at the path of INGEST_RETENTION_ARCHIVE.")
@using("database")
def retention(
    settings: Settings, days: int | None, bytes_max: int | None, convert: bool, dry_run: bool, new_archive: bool
) -> None:
    """Manage call_event_logs by days (UTC): create partitions ahead, drop old ones, and list them.

    A service with INGEST_RETENTION_DAYS does the same by itself. Otherwise run `ingest retention --days 30` daily. The
    last day is today by the database's clock, or the day of the newest event if that is earlier. A day with an event
    that is not published, or is a dead letter, is never dropped. Dropping a partition is quick, whatever its size.

    With INGEST_RETENTION_ARCHIVE a day is first written to that folder, read back and compared.
    """
    if not settings.database_url.startswith("mysql:"):
        raise SettingsError("`ingest retention` needs MySQL or MariaDB. Delete rows of a SQLite file directly.")
    folder = make_archive_folder(settings)
    if folder:
        act_as_owner(settings, folder=True, writes=not dry_run)
    if new_archive:
        if folder is None:
            raise SettingsError("--new-archive needs INGEST_RETENTION_ARCHIVE, which names the folder.")
        folder.begin_anew()
    run_main(_retention(settings, days, bytes_max, convert, dry_run))
    for line in archive_lines(folder) if folder else ():
        say(line)


async def _retention(
    settings: Settings, keep_days: int | None, bytes_max: int | None, convert: bool, dry_run: bool
) -> None:
    table = await PartitionedTable.open(Servers.parse(settings.database_url), settings.connect_timeout_seconds)
    try:
        if not await table.lock(LOCK_SECONDS):
            raise StoreError(BUSY)
        if convert:
            await _convert(table)
        run = Retention(table, keep_days, bytes_max, unix_us, make_archiver(settings, _say_archived))
        await (_print_plan(run) if dry_run else _apply(run))
        await _list(table)
    finally:
        await table.close()


async def _convert(table: PartitionedTable) -> None:
    with click.progressbar(length=0, label="rows", file=sys.stderr) as bar:

        def report(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        moved = await Conversion(table.connection, unix_us, report).run()
    say(f"call_event_logs is partitioned by days; {moved} rows were moved")


async def _apply(run: Retention) -> None:
    for day in await run.create():
        say(f"{name_of(day)} created")
    async for partition in run.drop():
        say(f"{partition.name} dropped, about {partition.rows} rows, {partition.bytes} bytes")
    _echo_kept(await run.plan())


def _say_archived(manifest: Manifest) -> None:
    say(f"{manifest.day} archived in {manifest.file}, {manifest.events} events, {manifest.bytes} bytes")


def archive_lines(folder: ArchiveFolder) -> Iterator[str]:
    """Yield a line for each archive. Only `ingest replay --from` reads the files to their end."""
    for data, manifest in folder.archives():
        erased = f", {manifest.erased} erased" if manifest.erased else ""
        yield f"archive {manifest.day}  {manifest.events} events{erased}, {manifest.bytes} bytes, {data}"


async def _print_plan(run: Retention) -> None:
    plan = await run.plan()
    for day in plan.create:
        say(f"{name_of(day)} would be created")
    for partition in plan.drop:
        say(f"{partition.name} would be dropped, about {partition.rows} rows, {partition.bytes} bytes")
    _echo_kept(plan)


async def _list(table: PartitionedTable) -> None:
    for partition in (await table.facts()).partitions:
        say(f"{partition.name}  about {partition.rows} rows, {partition.bytes} bytes")
    for sentence in await unfinished(table.connection):
        say(sentence)


def _echo_kept(plan: Plan) -> None:
    for partition in plan.kept:
        say(f"{partition.name} is kept: it has events that are not published; see the backlog and `ingest dead ls`")
