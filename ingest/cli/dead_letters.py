"""`ingest dead ls|retry|drop`: what they do to the table, and what they say."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime

from ingest.errors import SettingsError
from ingest.outbox.base import COUNTED_MAX
from ingest.outbox.dead_letters import DeadLetter, DeadLetterTable
from ingest.server.wiring import with_store
from ingest.settings import Settings

NONE = "There are no dead letters."
PAGE = 500
"""Looked at, or changed, at a time."""


def ls(settings: Settings, limit: int) -> Iterator[str]:
    """A line each, oldest first: id, when it died, call, type, reason."""

    async def first(table: DeadLetterTable) -> tuple[list[DeadLetter], int]:
        return await table.dead_letters(0, limit), await table.count_dead()

    letters, count = with_store(settings, first, looks_only=True)
    for letter in letters:
        yield _line(letter)
    if not letters:
        yield NONE
    elif count > len(letters):
        yield f"… and {count - len(letters)}{' or' if count >= COUNTED_MAX else ''} more"


def retry(settings: Settings, event_ids: Sequence[int], *, every: bool) -> str:
    return f"{_change(settings, event_ids, every, 'revive')} are in the outbox again: the service publishes them."


def drop(settings: Settings, event_ids: Sequence[int], *, every: bool) -> str:
    return f"{_change(settings, event_ids, every, 'drop_dead')} are forgotten; their rows stay in call_event_logs."


def _change(settings: Settings, event_ids: Sequence[int], every: bool, what: str) -> int:
    if every == bool(event_ids):
        raise SettingsError("Give ids of `ingest dead ls`, or --all.")

    async def change(table: DeadLetterTable) -> int:
        do: Callable[[Sequence[int]], Awaitable[int]] = getattr(table, what)
        chosen = await all_ids(table) if every else event_ids
        return sum([await do(chosen[start : start + PAGE]) for start in range(0, len(chosen), PAGE)])

    done = with_store(settings, change)
    if done < len(event_ids):
        raise SettingsError(f"{len(event_ids) - done} of these are no dead letters; {done} were. See `ingest dead ls`.")
    return done


async def all_ids(table: DeadLetterTable) -> Sequence[int]:
    """Those that are there now: one that dies meanwhile has not been seen by anybody."""
    found: list[int] = []
    while letters := await table.dead_letters(found[-1] if found else 0, PAGE):
        found += [letter.event_id for letter in letters]
    return found


def _line(letter: DeadLetter) -> str:
    died = datetime.fromtimestamp(letter.dead_lettered_us / 1e6, UTC).isoformat(" ", "seconds")
    event = letter.batch.events[0] if letter.batch else None
    told = f"{event.call_id} {event.event_type}" if event else "(damaged)"
    return f"{letter.event_id}  {died}  {told}  {letter.reason}"
