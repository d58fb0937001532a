"""`ingest events`: list, show and resend stored events."""

import time
from collections.abc import Callable, Iterator, Sequence

import click

from ingest.audit.operator import operator
from ingest.audit.trail import AuditTrail
from ingest.cli.events.lines import RESENT, listed, listed_spooled, shown, shown_spooled
from ingest.cli.replay.replay import id_at
from ingest.cli.shell.output import json_line, say, warn
from ingest.cli.shell.parameters import EVENT_ID
from ingest.cli.shell.targets import using
from ingest.clock import unix_us
from ingest.errors import SettingsError, StoreError
from ingest.events.event import Event
from ingest.events.ids import ID_MAX
from ingest.reading.base import RESEND_MAX, ROWS_MAX, EventPage, EventQuery
from ingest.reading.events import Events, FoundEvent
from ingest.server.factories.store import audited, with_store
from ingest.settings import Settings
from ingest.spool.search import SpooledEvent, spooled
from ingest.store.base import Store

PAGES_SECONDS_MAX = 30.0
"""Time for the pages of one list. A search by type may read many rows to find few."""
LIMIT_MAX = 10_000


@click.group()
def events() -> None:
    """List, show or resend the events of call_event_logs: did call X arrive?

    Searches use the indexes by call, id and time. The server ends a search after two seconds.
    """


@events.command("ls", short_help="List events by call, id, type and time.")
@click.option("--call", "call_id", metavar="ID", help="Events of this call, oldest first. Others come newest first.")
@click.option("--id", "event_id", type=EVENT_ID, metavar="ID", help="The event of this id.")
@click.option("--type", "event_type", metavar="TYPE", help="Events of this type. It needs --call or --since.")
@click.option("--since", metavar="TIME", help="Accepted at or after TIME: 2026-11-25 or 2026-11-25T13:45:00Z (UTC).")
@click.option("--until", metavar="TIME", help="Accepted before TIME.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, LIMIT_MAX), help="Number of events.")
@using("database")
def events_ls(
    settings: Settings,
    call_id: str | None,
    event_id: int | None,
    event_type: str | None,
    since: str | None,
    until: str | None,
    limit: int,
) -> None:
    """List events: id, time of acceptance (UTC), call, type, numbers, duration.

    Events of a call that wait in a spool of this host are listed, too.
    """
    if event_type is not None and call_id is None and event_id is None and since is None:
        raise SettingsError("--type has no index: give --call, or --since for the time to search.")
    first_id, last_id = (id_at(since) if since else 0), (id_at(until) - 1 if until else ID_MAX)
    if event_id is not None:
        first_id, last_id = max(first_id, event_id), min(last_id, event_id)
    query = EventQuery(call_id, event_type, first_id, last_id, newest=call_id is None)
    waiting = list(_spooled(settings, lambda _, event: event.call_id == call_id)) if call_id is not None else []

    async def find(store: Store) -> bool:
        return await _print_pages(store, query, limit)

    complete = with_store(settings, find, read_only=True)
    for found in waiting:
        say(listed_spooled(found))
    if not complete:
        warn("There are more events: narrow the search, or give a larger --limit.")


@events.command("show")
@click.argument("event_id", type=EVENT_ID)
@using("database")
def events_show(settings: Settings, event_id: int) -> None:
    """Show an event: when it was accepted, where it is stored, whether it is published or where it waits.

    It is in call_event_logs, in the outbox, among the dead letters, or in a spool of this host. The last line is the
    payload as the database keeps it.
    """
    waiting = list(_spooled(settings, lambda found_id, _: found_id == event_id))

    async def find(store: Store) -> FoundEvent | None:
        return await _reader(store).find(event_id)

    found = with_store(settings, find, read_only=True)
    if found is None and not waiting:
        raise SettingsError(f"No event has the id {event_id}: not in the database, nor in a spool of this host.")
    lines = shown(found, f"{settings.publish_to} {settings.queue}") if found else shown_spooled(waiting[0])
    for line in lines:
        say(line)
    payload = found.row.payload if found else waiting[0].batch.events[0].payload
    say(json_line((payload or b"null").decode()))


@events.command("resend", short_help="Publish events once more, with the same message id.")
@click.argument("event_ids", nargs=-1, type=EVENT_ID, required=True)
@using("database")
def events_resend(settings: Settings, event_ids: Sequence[int]) -> None:
    """Put events into the outbox once more. The running service publishes them.

    A message has the same message_id, type and time as the first one, so consumers that discard known ids ignore it.
    `ingest replay` marks its messages instead. The body is the payload as the database keeps it. MariaDB and SQLite
    keep the bytes as received; MySQL's JSON changes spacing and the order of keys. The headers `token` and
    `traceparent` of the first message are not kept. A dead letter is sent as it was received, with its headers. An
    event that still waits in the outbox is left alone.
    """
    if len(event_ids) > RESEND_MAX:
        raise SettingsError(f"Give at most {RESEND_MAX} ids at a time; for many events use `ingest replay`.")
    actor = operator()

    async def resend(store: Store, trail: AuditTrail) -> bool:
        outcome = await Events(store, trail).resend(actor, event_ids)
        for event_id, done in outcome.items():
            say(f"{event_id} {RESENT[done]}")
        return "unknown" not in outcome.values()

    if not audited(settings, resend):
        raise SettingsError("Some ids are unknown; see `ingest events ls`.")


async def _print_pages(store: Store, query: EventQuery, limit: int) -> bool:
    """Print the events. Return False if there may be more."""
    ends, left, began = time.monotonic() + PAGES_SECONDS_MAX, limit, query
    while left > 0:
        page: EventPage = await store.find_events(query, min(left, ROWS_MAX))
        for row in page.rows:
            say(listed(row))
        left -= len(page.rows)
        if page.last_id is None:
            if left == limit:
                say(f"No event is found{'' if began.call_id is None else ' for this call'} in the database.")
            return True
        if time.monotonic() > ends:
            raise StoreError(f"The search took longer than {PAGES_SECONDS_MAX:g} s: give a shorter time.")
        query = query.after(page.last_id)
    return False


def _reader(store: Store) -> Events:
    return Events(store, AuditTrail(store, unix_us))


def _spooled(settings: Settings, wanted: Callable[[int, Event], bool]) -> Iterator[SpooledEvent]:
    folder = settings.data_dir / "spool"
    return spooled(folder, wanted) if folder.is_dir() else iter(())
