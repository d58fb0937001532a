"""The command `ingest replay`."""

import asyncio
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import click

from ingest.cli.replay.archive_table import ArchiveTable
from ingest.cli.replay.progress import ProgressFile
from ingest.cli.replay.replay import Replay, id_at
from ingest.cli.shell.output import say, warn
from ingest.cli.shell.parameters import EVENT_ID, RATE_MAX, Number
from ingest.cli.shell.targets import announce, check_database
from ingest.events.ids import ID_MAX
from ingest.interrupts import run_main
from ingest.server.factories.broker import make_publisher
from ingest.server.factories.store import make_store
from ingest.server.file_owner import act_as_owner
from ingest.settings import Settings, read_settings
from ingest.store.event_query import EventFilter, EventTable


@click.command()
@click.option("--since", metavar="TIME", help="Events accepted at or after TIME: 2026-11-25 or 2026-11-25T13:45:00Z.")
@click.option("--until", metavar="TIME", help="Events accepted before TIME.")
@click.option("--call", "calls", multiple=True, metavar="ID", help="Events of this call; may be repeated.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Events of this type; may be repeated.")
@click.option("--id", "ids", multiple=True, type=EVENT_ID, metavar="ID", help="The event of this id; may be repeated.")
@click.option("--publish-to", type=click.Choice(["queue", "stream"]), help="Use this instead of INGEST_PUBLISH_TO.")
@click.option(
    "--queue",
    metavar="NAME",
    help="Use this queue or stream instead of INGEST_QUEUE, without an exchange; it is declared.",
)
@click.option("--rate", type=Number(1, RATE_MAX), metavar="N", help="Publish at most N events a second.")
@click.option("--resume", type=click.Path(dir_okay=False, path_type=Path), help="Keep the progress in FILE.")
@click.option(
    "--from",
    "archive",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Publish the events of this archive instead of the table's.",
)
@click.option("--dry-run", is_flag=True, help="Print the number of events without publishing them.")
def replay(
    since: str | None,
    until: str | None,
    calls: tuple[str, ...],
    types: tuple[str, ...],
    ids: tuple[int, ...],
    publish_to: str | None,
    queue: str | None,
    rate: float | None,
    resume: Path | None,
    archive: Path | None,
    dry_run: bool,
) -> None:
    """Publish events of call_event_logs once more, in the order of their ids, to the queue or stream.

    Each message has the id, type and time of the first one, and a header `replay: 1`. Its body is the payload as the
    database keeps it: MySQL's JSON changes spacing and the order of keys. Events that are stored after the start are
    left out. With --resume FILE the same command continues after an interruption; it publishes at most 500 events
    twice. The exit code is 1 if RabbitMQ refused events, or if events were deleted from the table meanwhile.

    With --from FILE the events come from an archive of INGEST_RETENTION_ARCHIVE. Its checksum is checked first.
    """
    changes = {"INGEST_PUBLISH_TO": publish_to, "INGEST_QUEUE": queue}
    environ = {**os.environ, **{name: value for name, value in changes.items() if value}}
    settings = read_settings(
        {name: value for name, value in environ.items() if name not in _dropped(publish_to, queue)}
    )
    announce(settings, *(() if archive else ("database",)), *(() if dry_run else ("broker",)))
    if archive:
        warn(f"archive: {archive}")
    else:
        check_database(settings)
    if not dry_run:
        act_as_owner(settings, folder=settings.broker_url == "embedded:")
    selection = EventFilter(id_at(since) if since else 0, id_at(until) - 1 if until else ID_MAX, calls, types, ids)
    run_main(_replay(settings, selection, rate, resume, archive, dry_run))


def _dropped(publish_to: str | None, queue: str | None) -> Sequence[str]:
    """The settings that do not go together with these options. An exchange would route the events to every queue."""
    routing = ("INGEST_EXCHANGE", "INGEST_ROUTING_KEY") if publish_to or queue else ()
    return (*routing, "INGEST_STREAM_FILTER") if publish_to == "queue" else routing


async def _replay(
    settings: Settings,
    selection: EventFilter,
    rate: float | None,
    resume: Path | None,
    archive: Path | None,
    dry_run: bool,
) -> None:
    target, file = target_of(settings), ProgressFile(resume)
    async with AsyncExitStack() as stack:
        table: EventTable
        if archive:
            table = opened = await asyncio.to_thread(ArchiveTable.open, archive)
            progress = file.read(selection, target, opened.source)
        else:
            table = store = make_store(settings, read_only=dry_run)
            progress = file.read(selection, target)
            await store.start()
            stack.push_async_callback(store.close)
        publisher = make_publisher(settings)
        bar = click.progressbar(length=0, label="replay", file=sys.stderr)
        running = Replay(table, publisher, progress, file, rate, bar.update)
        if dry_run:
            left = await running.count()
            say(f"{left} events would be published to the {settings.publish_to} {settings.queue}")
            return
        bar.length = await running.begin()
        await publisher.start()
        stack.push_async_callback(publisher.close)
        with bar:
            published = await running.run()
        say(f"{published} events published to the {settings.publish_to} {settings.queue}")
        running.check()


def target_of(settings: Settings) -> str:
    """Name the destination of the messages, without user and password."""
    parts = urlsplit(settings.stream_url if settings.publish_to == "stream" else settings.broker_url)
    hosts = parts.netloc.rpartition("@")[2]
    where = f"exchange {settings.exchange}" if settings.exchange else f"{settings.publish_to} {settings.queue}"
    return f"{where} at {urlunsplit((parts.scheme, hosts, parts.path, '', ''))}"
