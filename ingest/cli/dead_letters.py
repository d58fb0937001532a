"""The commands of `ingest dead`."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime

import click

from ingest.audit.operator import operator
from ingest.audit.trail import Action, AuditTrail
from ingest.cli.shell.output import say
from ingest.cli.shell.parameters import EVENT_ID, ROWS
from ingest.cli.shell.targets import using
from ingest.errors import SettingsError
from ingest.outbox.base import COUNTED_MAX
from ingest.outbox.dead_letters import DeadLetter, DeadLetterTable
from ingest.server.factories.store import audited, with_store
from ingest.settings import Settings

PAGE = 500
"""Dead letters that are read or changed at a time."""
Change = Callable[[DeadLetterTable, Sequence[int]], Awaitable[int]]

event_ids_argument = click.argument("event_ids", nargs=-1, type=EVENT_ID)
all_option = click.option("--all", "every", is_flag=True, help="All dead letters.")


@click.group()
def dead() -> None:
    """Dead letters: events that are stored in call_event_logs but never published.

    RabbitMQ refused or returned them for INGEST_DEAD_LETTER_SECONDS, or they are too large for it. Other events do not
    wait for them.
    """


@dead.command("ls")
@click.option("--limit", default=50, show_default=True, type=ROWS, help="Number of dead letters.")
@using("database")
def dead_ls(settings: Settings, limit: int) -> None:
    """List dead letters, oldest first: id, time, call, type, reason."""

    async def first(table: DeadLetterTable) -> tuple[list[DeadLetter], int]:
        return await table.dead_letters(0, limit), await table.count_dead()

    for line in lines_of(*with_store(settings, first, read_only=True)):
        say(line)


@dead.command("retry")
@event_ids_argument
@all_option
@using("database")
def dead_retry(settings: Settings, event_ids: Sequence[int], every: bool) -> None:
    """Put dead letters back into the outbox. The running service publishes them."""
    count = _change(settings, event_ids, every, "dead.retry", lambda table, ids: table.requeue_dead(ids))
    say(f"{count} are in the outbox again: the service publishes them.")


@dead.command("drop")
@event_ids_argument
@all_option
@using("database")
def dead_drop(settings: Settings, event_ids: Sequence[int], every: bool) -> None:
    """Remove dead letters from the list. Their rows stay in call_event_logs."""
    count = _change(settings, event_ids, every, "dead.drop", lambda table, ids: table.drop_dead(ids))
    say(f"{count} are removed from the list; their rows stay in call_event_logs.")


def _change(settings: Settings, event_ids: Sequence[int], every: bool, action: Action, change: Change) -> int:
    if every == bool(event_ids):
        raise SettingsError("Give ids of `ingest dead ls`, or --all.")

    actor = operator()

    async def change_pages(table: DeadLetterTable, trail: AuditTrail) -> int:
        chosen = await all_ids(table) if every else event_ids
        await trail.record_ids(actor, action, chosen)
        return sum([await change(table, chosen[start : start + PAGE]) for start in range(0, len(chosen), PAGE)])

    done = audited(settings, change_pages)
    if done < len(event_ids):
        raise SettingsError(f"{len(event_ids) - done} of these are no dead letters; {done} were. See `ingest dead ls`.")
    return done


async def all_ids(table: DeadLetterTable) -> Sequence[int]:
    """Return the ids in the table now. `--all` does not include dead letters that are added during the command."""
    found: list[int] = []
    while letters := await table.dead_letters(found[-1] if found else 0, PAGE):
        found += [letter.event_id for letter in letters]
    return found


def lines_of(letters: Sequence[DeadLetter], count: int) -> Iterator[str]:
    for letter in letters:
        time = datetime.fromtimestamp(letter.dead_lettered_us / 1e6, UTC).isoformat(" ", "seconds")
        event = letter.batch.events[0] if letter.batch else None
        shown = f"{event.call_id} {event.event_type}" if event else "(unreadable)"
        yield f"{letter.event_id}  {time}  {shown}  {letter.reason}"
    if not letters:
        yield "There are no dead letters."
    elif count > len(letters):
        yield f"… and {count - len(letters)}{' or' if count >= COUNTED_MAX else ''} more"
