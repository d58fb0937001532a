"""Publishes stored events once more, at a rate, and continues after an interruption."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import msgspec

from ingest.broker.base import Publisher
from ingest.cli.replay.progress import Progress, ProgressFile
from ingest.errors import IngestError, NotConfirmed, PublishError, SettingsError
from ingest.events.batch import Batch
from ingest.events.event import Event
from ingest.events.ids import ID_MAX, first_id_of
from ingest.store.event_query import EventFilter, EventTable

PAGE = 500
"""Events read and published at a time. With a rate it is the events of 0.1 s, if they are fewer."""
HEADERS = {"replay": "1"}
READY_SECONDS = 30.0
TRIES_MAX = 20
TRY_PAUSE_SECONDS = 0.5
REFUSED_MAX = 1000
"""Limit of permanently refused events. Beyond it the cause is not in the events."""
REFUSED_SHOWN = 20


class ReplayFailed(IngestError):
    """The events could not be published."""

    code = "replay"


def id_at(text: str) -> int:
    """Return the first id of that time, in RFC 3339; a time without an offset is UTC. Raises `SettingsError`."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise SettingsError(f"{text!r} is no time: write it as 2026-11-25 or 2026-11-25T13:45:00Z.") from None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return min(first_id_of(int(at.timestamp() * 1000)), ID_MAX)


class Replay:
    """One run. `advance` receives the number of events of each published batch."""

    def __init__(
        self,
        table: EventTable,
        publisher: Publisher,
        progress: Progress,
        file: ProgressFile,
        per_second: float | None,
        advance: Callable[[int], object],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._table = table
        self._publisher = publisher
        self._file = file
        self._per_second = per_second
        self._advance = advance
        self._sleep = sleep
        self._page = min(PAGE, max(1, int(per_second / 10))) if per_second else PAGE
        self._unconfirmed: Sequence[int] = ()
        self.progress = progress

    async def count(self) -> int:
        """Return the number of events that are left to publish."""
        return await self._table.count_events(self.progress.left) + len(self.progress.missing)

    async def begin(self) -> int:
        """Fix the last event and count all; only the first of several runs does. Return how many are left."""
        if self.progress.end is None:
            self.progress.end = await self._table.newest_id()
        if self.progress.counted is None:
            self.progress.counted = self.progress.done + await self.count()
            self._file.write(self.progress)
        return max(0, self.progress.counted - self.progress.done)

    async def run(self) -> int:
        """Return how many events were published. Raises `ReplayFailed` or `StoreError`; the progress is saved."""
        began, before = time.monotonic(), self.progress.published
        while events := await self._next():
            done = self.progress.done
            self._unconfirmed = [event_id for event_id, _ in events]
            try:
                await self._publish(Batch(list(self._unconfirmed), [_marked(event) for _, event in events], 0))
            finally:
                self._save(events)
            self._advance(self.progress.done - done)
            if self._per_second:
                published = self.progress.published - before
                await self._sleep(max(0.0, began + published / self._per_second - time.monotonic()))
        return self.progress.published - before

    def check(self) -> None:
        """Raises `ReplayFailed` if fewer events were published than existed at the start."""
        problems = []
        if refused := self.progress.refused:
            some = "; ".join(f"{event_id}: {reason}" for event_id, reason in [*refused.items()][:REFUSED_SHOWN])
            more = f"; and {len(refused) - REFUSED_SHOWN} more" if len(refused) > REFUSED_SHOWN else ""
            problems.append(f"RabbitMQ never takes {len(refused)} of these events ({some}{more}).")
        if gone := max(0, (self.progress.counted or 0) - self.progress.done):
            problems.append(
                f"{gone} of {self.progress.counted} events were not in the table any more: a day was dropped, or rows "
                "were deleted, after the start. The others are published."
            )
        if problems:
            raise ReplayFailed(" ".join(problems))

    async def _next(self) -> list[tuple[int, Event]]:
        """Return the events that an earlier run left unconfirmed, then the next page."""
        if missing := self.progress.missing:
            events = await self._table.read_events(EventFilter(ids=tuple(missing)), len(missing))
            self.progress.missing = []
            if events:
                return events
        return await self._table.read_events(self.progress.left, self._page)

    async def _publish(self, left: Batch) -> None:
        """Publish without a producer name: a stream would drop the events as duplicates. Retry what is missing."""
        reason = ""
        for attempt in range(TRIES_MAX):
            await self._until_ready()
            try:
                await self._publisher.publish(left, "relay")
                left = left.part(0, 0)
            except NotConfirmed as exc:
                reason, never = str(exc), [left.ids[at] for at in exc.never]
                left = left.picked([at for at in exc.positions if at not in exc.never])
                self._refuse(never, reason, left)
            except PublishError as exc:
                reason = str(exc)
            self._unconfirmed = left.ids
            if not left:
                return
            await self._sleep(TRY_PAUSE_SECONDS * min(attempt + 1, 10))
        raise ReplayFailed(f"{reason} Tried {TRIES_MAX} times; with --resume the same command continues from here.")

    def _refuse(self, event_ids: Sequence[int], reason: str, left: Batch) -> None:
        self.progress.refused |= dict.fromkeys(event_ids, reason)
        self._unconfirmed = left.ids
        if len(self.progress.refused) > REFUSED_MAX:
            raise ReplayFailed(f"RabbitMQ never takes more than {REFUSED_MAX} of these events: {reason}")

    def _save(self, events: Sequence[tuple[int, Event]]) -> None:
        progress, left = self.progress, set(self._unconfirmed) - self.progress.refused.keys()
        progress.published += sum(i not in left and i not in progress.refused for i, _ in events)
        progress.last_id = max(progress.last_id, events[-1][0])
        progress.missing = sorted(left)
        self._file.write(progress)

    async def _until_ready(self) -> None:
        try:
            async with asyncio.timeout(READY_SECONDS):
                while not self._publisher.ready:  # noqa: ASYNC110 - the publisher has no event to wait for
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise ReplayFailed(self._publisher.problem or "RabbitMQ is not reachable.") from None


def _marked(event: Event) -> Event:
    return msgspec.structs.replace(event, headers={**(event.headers or {}), **HEADERS})
